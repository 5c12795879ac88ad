"""Which shard comes next, and whether there is room for it."""

import heapq
import re
from contextlib import AbstractContextManager
from pathlib import Path

from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.shards.manifest import (
    DATASET_FILE,
    Manifest,
    ShardRecord,
    ShardSpan,
)
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.factory.limits import _UNITS

SHARD_SAMPLES = 50_000

# A shard may be this much larger than the largest so far, by bytes per sample.
_RESERVE = 1.05
# Left free on the disk, whatever the limit: room for everybody else [bytes].
_DISK_RESERVE = 1_000_000_000

_UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("kMGT", start=1)}


class ShardPlan:
    """Hands out shards that are still to be written, and keeps within the limits.

    The sizes of shards in progress are reserved beforehand, and a writer gives up
    rather than exceed its reservation: the folder never outgrows its limit.

    Attributes:
        shard_samples: Samples of a full shard.
        total_samples: Where the set ends; None for no end.
        max_bytes: Size that the folder's shards may have together.
        bytes_per_sample: Largest seen so far.
        samples: Of finished shards, retired ones included.
        bytes: Size of the shards that are there.
    """

    def __init__(
        self,
        manifest: Manifest,
        location: str | Path | Store,
        *,
        total_samples: int | None,
        max_bytes: int,
    ) -> None:
        self.shard_samples = manifest.shard_samples
        self.total_samples = total_samples
        self.max_bytes = max_bytes
        self.bytes_per_sample = 0.0
        # Totals run along: a sum over all shards would cost more with every shard.
        self.bytes = 0
        self.samples = manifest.retired_below * manifest.shard_samples
        self._store = open_store(location)
        self._below = manifest.retired_below
        # Numbers from here on were not looked at yet; those given up lie before it.
        self._next = self._below
        self._again: list[int] = []
        # Retired shards are done too: whoever misses them draws them from the recipe.
        self._samples: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self._incomplete = {int(name.partition("-")[2]) for name in manifest.missing}
        self._reserved: dict[int, int] = {}
        self._reserved_bytes = 0
        for record in manifest.records:
            self._note(record.index, record.samples)
            self._hold(record.index, record.bytes)
        for record in manifest.retired:
            self._note(record.index, record.samples)
        for record in manifest.records + manifest.retired:
            self._learn(record.bytes, record.samples)
        self.next_span()  # passes over what is there, once

    @property
    def shards(self) -> int:
        """Number of finished shards that are there."""
        return len(self._bytes)

    @property
    def retired(self) -> int:
        """Number of shards that were read and deleted."""
        return self._below + len(self._samples) - len(self._bytes)

    @property
    def total_shards(self) -> int | None:
        """Number of shards in the end; None for no end."""
        if self.total_samples is None:
            return None
        return -(-self.total_samples // self.shard_samples)

    def next_span(self) -> ShardSpan | None:
        """Find the first shard that is neither written nor in progress."""
        if self._again:
            return self._span(self._again[0])
        while self.total_shards is None or self._next < self.total_shards:
            span = self._span(self._next)
            if self._samples.get(span.index, 0) < span.samples:
                return span
            self._next += 1
        return None

    def _span(self, index: int) -> ShardSpan:
        return ShardSpan.of(index, self.shard_samples, self.total_samples)

    def has_record(self, span: ShardSpan) -> bool:
        """Whether a record of this number stands there, which must give way."""
        return span.index in self._samples or span.index in self._incomplete

    def room_for(self, span: ShardSpan) -> int:
        """Bytes that a shard is expected to need at most; 0 if there is no room."""
        # A tar ends with up to 10 kB of zeros.
        needed = int(_RESERVE * self.bytes_per_sample * span.samples) + 20_000
        free = min(self.max_bytes - self.bytes, self._free_disk) - self._reserved_bytes
        return needed if needed <= free else 0

    @property
    def is_disk_short(self) -> bool:
        """Whether the disk ends before the size limit does."""
        return self._free_disk < self.max_bytes - self.bytes

    @property
    def _free_disk(self) -> float:
        free = self._store.free_bytes()
        return float("inf") if free is None else free - _DISK_RESERVE

    def expect(self, bytes_per_sample: float) -> None:
        """Say how large a sample is likely to be, before there is any."""
        self.bytes_per_sample = max(self.bytes_per_sample, bytes_per_sample)

    def start(self, span: ShardSpan, reserved_bytes: int) -> None:
        """Note that the shard that `next_span` found is in progress."""
        if self._again and self._again[0] == span.index:
            heapq.heappop(self._again)
        else:
            self._next = span.index + 1
        self._reserved[span.index] = reserved_bytes
        self._reserved_bytes += reserved_bytes

    def finish(self, record: ShardRecord) -> None:
        """Note that a shard is written."""
        self._reserved_bytes -= self._reserved.pop(record.index)
        self._note(record.index, record.samples)
        self._hold(record.index, record.bytes)
        self._incomplete.discard(record.index)
        self._learn(record.bytes, record.samples)

    def retire(self, index: int) -> None:
        """Note that a shard was deleted after its consumer had read it."""
        self.bytes -= self._bytes.pop(index, 0)

    def give_up(self, span: ShardSpan, samples: int = 0, size: int = 0) -> None:
        """Note that a shard is not written after all, and what was seen of its size."""
        self._reserved_bytes -= self._reserved.pop(span.index)
        heapq.heappush(self._again, span.index)
        self._learn(size, samples)

    def _note(self, index: int, samples: int) -> None:
        """Count the samples of a shard, once."""
        self.samples += samples - self._samples.get(index, 0)
        self._samples[index] = samples

    def _hold(self, index: int, size: int) -> None:
        """Count the bytes of a shard, once."""
        self.bytes += size - self._bytes.get(index, 0)
        self._bytes[index] = size

    def _learn(self, size: int, samples: int) -> None:
        if samples:
            self.expect(size / samples)


def lock_folder(location: str | Path | Store) -> AbstractContextManager[None]:
    """Keep other runs out of a folder; the lock ends with the process.

    Raises:
        ShardError: If another run has it.
    """
    return open_store(location).lock()


def open_folder(
    location: str | Path | Store, card: RecipeCard, shard_samples: int | None = None
) -> Manifest:
    """Describe a new folder, or check that a recipe belongs into an old one.

    Args:
        location: Where the shards are or will be.
        card: What is to be written.
        shard_samples: Samples of a shard; those of the folder, or 50,000, if None.

    Raises:
        ShardError: If the folder holds another recipe or other shards.
    """
    store = open_store(location)
    names = store.sizes()
    if DATASET_FILE not in names:
        strangers = sorted(n for n in names if re.fullmatch(r"shard-.*\.tar", n))
        if strangers:
            raise ShardError(
                f"{store.location} holds {strangers[0]} but no {DATASET_FILE}: another "
                "program wrote it; choose another folder"
            )
        manifest = Manifest(card, shard_samples or SHARD_SAMPLES)
        manifest.write(store)
        return manifest
    manifest = Manifest.read(store)
    if manifest.card.digest != card.digest:
        differences = "; ".join(manifest.card.differences(card))
        raise ShardError(
            f"{store.location} holds samples of another recipe: there {differences}. "
            "One folder holds one recipe: choose another --out, or repeat the options "
            "of the first run"
        )
    if shard_samples not in {None, manifest.shard_samples}:
        raise ShardError(
            f"{store.location} holds shards of {manifest.shard_samples:,} samples, not "
            f"{shard_samples:,}: leave --shard-samples away, or choose another --out"
        )
    return manifest


def sweep_folder(location: str | Path | Store) -> None:
    """Remove what interrupted writers left; nobody else may be writing."""
    open_store(location).sweep()
