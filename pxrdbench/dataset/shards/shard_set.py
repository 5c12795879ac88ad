"""Shards as a source of batches: read in blocks, rendered on loading."""

import re
import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.shards.block_rendering import (
    BlockRenderer,
    describe_measurement,
    empty_batch,
    take_rows,
)
from pxrdbench.dataset.shards.cache import ShardCache
from pxrdbench.dataset.shards.manifest import (
    DATASET_FILE,
    Manifest,
    ShardRecord,
    ShardWarning,
)
from pxrdbench.dataset.shards.own_prior import recall_recipe
from pxrdbench.dataset.shards.packing import unpack_peaks
from pxrdbench.dataset.shards.rolling import find_end
from pxrdbench.dataset.shards.shard import Block, read_recorded_block
from pxrdbench.dataset.source import BatchSource
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store, explain_read_error
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import ShardError, StoreError

# Blocks kept in memory, a third of a megabyte each: a shuffling loader takes samples
# from some dozens at a time, and is about to begin with the next ones.
_CACHED_BLOCKS = 96
# Effects are drawn for runs of samples: so many stay together when they are shuffled.
_MEASURED_RUN = 16


class ShardSet(BatchSource):
    """A folder or store of shards as numbered samples, finished shards only.

    Sample numbers count what is there, in the order of the recipe, without gaps;
    ``Batch.index`` holds the number within the recipe. Reads are safe from several
    threads and after a fork: no file stays open.

    Attributes:
        location: Folder or URL of the shards.
        manifest: What the folder held when the set was opened.
        epoch: Pass over the samples: 0 renders with the crystallite sizes stored and
            the effects of the recipe, any other with sizes and effects drawn anew.
        skipped: Samples left out so far because their shard is damaged, by its name;
            stays empty unless the set was told to skip them.
    """

    is_random_access = True
    skipped: Counter[str]

    def __init__(
        self,
        location: str | Path | Store,
        *,
        epoch: int = 0,
        measurement: Measurement | str | None = None,
        prior: str | Path | Prior | None = None,
        skip_damaged: bool = False,
        cache: Path | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """Open a folder of shards.

        Args:
            location: Folder of the shards, or a URL such as ``s3://bucket/prefix``.
            epoch: Pass over the samples.
            measurement: What instrument and sample add when patterns are rendered,
                instead of what the recipe says; ``Measurement()`` adds nothing.
            prior: Where the recipe's prior is; only asked for where a measurement
                adds impurities, and looked for among those that ship and beside the
                shards if left away.
            skip_damaged: Leave samples of damaged blocks out and count them, instead
                of stopping with the name of the shard.
            cache: Where shards of an object store are kept; a temporary folder, or
                ``PXRDBENCH_CACHE``, if left away.
            cache_bytes: What they may take there; 4 GB, or ``PXRDBENCH_CACHE_SIZE``,
                if left away.

        Raises:
            ShardError: If the folder holds no data set.
            RecipeError: If an effect of the measurement acts when peaks are drawn and
                the stored peaks were drawn without it.
        """
        self._store = open_store(location)
        self.location = self._store.location
        self.manifest = Manifest.read(self._store)
        self.epoch = epoch
        self.skipped = Counter()
        self._skip_damaged = skip_damaged
        self._say_what_is_missing()
        self._shards = ShardCache(self._store, cache, cache_bytes)
        card = self.manifest.card
        self._how = measurement, prior
        self._renderer = BlockRenderer(
            card, measurement, lambda: recall_recipe(self._store, card, prior)
        )
        self.grid = card.grid
        self.radiation = card.radiation
        self.space_groups = card.space_groups
        self.block_samples = self.manifest.block_samples
        # Samples that a shuffling loader keeps together.
        self.run_samples = 1 if self.measurement is None else _MEASURED_RUN
        self._number_samples()

    def _number_samples(self) -> None:
        """Count the samples of the shards, and forget all blocks."""
        samples = [record.samples for record in self.manifest.records]
        self._shard_offset = np.concatenate([[0], np.cumsum(samples)]).astype(np.int64)
        self._shard_offset.flags.writeable = False
        self.shard_starts = self._shard_offset
        self.length: int = int(self._shard_offset[-1])
        self._block = _BlockCache(self._read_block, _CACHED_BLOCKS)

    def __getstate__(self) -> dict[str, Any]:
        """For a process that another one starts: what was opened, without locks."""
        left = ("_renderer", "_block", "_shards")
        state = {name: value for name, value in vars(self).items() if name not in left}
        return {**state, "_cached": (self._shards.folder, self._shards.max_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be the same set again, with its shards as they were when it was opened."""
        folder, max_bytes = state.pop("_cached")
        vars(self).update(state)
        measurement, prior = self._how
        self._shards = ShardCache(self._store, folder, max_bytes)
        self._renderer = BlockRenderer(
            self.card,
            measurement,
            lambda: recall_recipe(self._store, self.card, prior),
        )
        self._number_samples()

    def identity(self) -> dict[str, str | int]:
        """What tells this set from another: recipe, measurement, blocks, shards."""
        return {
            "source": "ShardSet",
            "recipe": self.card.digest,
            "measurement": describe_measurement(self.measurement),
            "block_samples": self.block_samples,
            "shard_samples": self.manifest.shard_samples,
            "shards": _list_shards(self.manifest.records),
        }

    def resumed(self, identity: Mapping[str, Any]) -> "ShardSet":
        """The shards that a state names, of a set that has only grown since."""
        listed = str(identity.get("shards", ""))
        wanted = dict(_parse_shards(listed))
        kept = tuple(
            record
            for record in self.manifest.records
            if wanted.get(record.index) == record.samples
        )
        is_same = len(kept) == len(self.manifest.records)
        if is_same or not kept or _list_shards(kept) != listed:
            return self
        other = self.with_epoch(self.epoch)
        other.manifest = replace(self.manifest, records=kept)
        other._number_samples()
        return other

    @property
    def shards_at_once(self) -> int:  # type: ignore[override]  # as wide as the cache
        """Shards that a shuffling loader mixes: as many as there is room for."""
        most = BatchSource.shards_at_once
        largest = max((record.bytes for record in self.manifest.records), default=1)
        if not self._shards.is_needed:
            return most
        # One more is fetched while the others are read.
        return max(1, min(most, self._shards.max_bytes // largest - 1))

    def __getitem__(self, which: int | slice) -> dict[str, Any] | Batch:
        """One sample as plain values, for torch's own loaders; a slice as a batch.

        Args:
            which: Number of a sample, negative ones from the end; or a range of them.

        Returns:
            Of one sample: ``intensity`` (points,), ``label`` (position of its space
            group in ``space_groups``), ``space_group`` and ``index``.

        Raises:
            IndexError: If there is no such sample.
        """
        numbers = np.arange(self.length)[which]
        if isinstance(which, slice):
            if not len(numbers):
                return empty_batch(self.card)
            if (np.diff(numbers) > 0).all():
                return self.take(numbers)
            return Batch.join([self.batch(int(n), 1) for n in numbers])
        return self.__getitems__([int(numbers)])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Some samples at once, as torch asks for the samples of a batch."""
        wanted = np.asarray(numbers, np.int64)
        ascending, place = np.unique(wanted, return_inverse=True)
        batch = self.take(ascending)
        if len(batch) != len(ascending):
            raise ShardError(f"{self.location}: some of samples {numbers} are damaged")
        labels = np.searchsorted(np.array(self.space_groups), batch.space_group)
        return [
            {
                "intensity": batch.intensity[row].copy(),
                "label": int(labels[row]),
                "space_group": int(batch.space_group[row]),
                "index": int(batch.index[row]),
            }
            for row in place
        ]

    def _say_what_is_missing(self) -> None:
        """A set with fewer samples than were written never says so by a number alone.

        A record without its tar is damage: no writer leaves one. A gap may be a shard
        that is being written.
        """
        manifest, named = self.manifest, ""
        if manifest.missing:
            first, more = manifest.missing[0], len(manifest.missing) - 1
            named = f"{self._store.address(first)}.tar is missing or cut short"
            named += f", and {more} more" if more else ""
            if not self._skip_damaged:
                raise ShardError(
                    f"{named}; run the same `pxrdbench generate` again: it comes back "
                    "the same. Or skip what is damaged (skip_damaged=True)"
                )
        gaps = manifest.find_gaps()
        if gaps:
            named += "; " if named else ""
            named += f"{self.location}: {gaps[0]} is not there"
            named += f", and {len(gaps) - 1} more" if gaps[1:] else ""
        end, held = find_end(self._store), manifest.held_samples
        if end is not None and held < end:
            named += "; " if named else f"{self.location}: "
            named += f"it was written with {end:,} samples"
        if named:
            warnings.warn(
                f"{named}: {manifest.samples:,} samples are left",
                ShardWarning,
                stacklevel=3,
            )

    @property
    def card(self) -> RecipeCard:
        """The recipe of the samples, without the prior's arrays."""
        return self.manifest.card

    @property
    def measurement(self) -> Measurement | None:
        """What instrument and sample add to the patterns; None for nothing."""
        return self._renderer.measurement

    def __len__(self) -> int:
        return self.length

    def with_epoch(self, epoch: int) -> "ShardSet":
        """Give the same samples with other sizes and effects, without reading anew."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other.epoch = epoch
        return other

    def expect(self, numbers: Int64[np.ndarray, " soon"]) -> None:
        """Begin to fetch the shards of samples that are wanted soon.

        Args:
            numbers: Samples in any order.
        """
        if self._shards.is_needed:
            self._shards.fetch_ahead(self._records_of(numbers))

    def _records_of(self, numbers: Int64[np.ndarray, " batch"]) -> list[ShardRecord]:
        """The shards that hold some samples."""
        shards = np.searchsorted(self._shard_offset, numbers, "right") - 1
        return [self.manifest.records[shard] for shard in np.unique(shards)]

    def batch(self, start: int, count: int) -> Batch:
        """Read and render samples start to start + count.

        Raises:
            ShardError: If there are fewer samples, or a shard is damaged.
        """
        return self.take(self._range(start, count))

    def take(self, numbers: Int64[np.ndarray, " batch"]) -> Batch:
        """Read and render samples by their numbers, ascending.

        Raises:
            ShardError: If there are no such samples, or a shard is damaged.
        """
        blocks = self._pick(numbers)
        if not blocks:
            return empty_batch(self.card)
        try:
            return self._renderer.batch(Block.join(blocks), self.epoch)
        except OSError as error:  # kernels are files too, when they are first loaded
            raise explain_read_error(
                f"a kernel to render {self.location}", error
            ) from (error)
        except ShardError as error:
            raise ShardError(f"{self.location}: {error}") from error

    def peaks(self, start: int, count: int) -> PeakBatch:
        """Read the reflections of samples start to start + count."""
        return unpack_peaks(self.read(start, count).peaks)

    def read(self, start: int, count: int) -> Block:
        """Read samples start to start + count as they are stored.

        Raises:
            ShardError: If there are fewer samples, or all of them are damaged.
        """
        blocks = self._pick(self._range(start, count))
        if not blocks:
            raise ShardError(
                f"{self.location}: samples from {start} on are all damaged"
            )
        return Block.join(blocks)

    def _range(self, start: int, count: int) -> Int64[np.ndarray, " batch"]:
        stop = start + count
        if start < 0 or count < 1 or stop > self.length:
            raise ShardError(
                f"samples {start} to {stop - 1} of a set that holds {self.length}"
            )
        return np.arange(start, stop)

    def _pick(self, numbers: Int64[np.ndarray, " batch"]) -> list[Block]:
        """Samples by ascending numbers, a piece for each block they lie in."""
        self.expect(numbers)  # all at once, where there are several
        shards = np.searchsorted(self._shard_offset, numbers, "right") - 1
        number, row = np.divmod(
            numbers - self._shard_offset[shards], self.block_samples
        )
        changes = np.flatnonzero((np.diff(shards) != 0) | (np.diff(number) != 0)) + 1
        pieces = []
        for rows, first in zip(
            np.split(row, changes), np.concatenate([[0], changes]), strict=True
        ):
            shard = int(shards[first])
            try:
                block = self._block(shard, int(number[first]))
            except StoreError:  # the machine, not the data
                raise
            except ShardError:
                if not self._skip_damaged:
                    raise
                self.skipped[self.manifest.records[shard].name] += len(rows)
                continue
            is_run = rows[-1] - rows[0] == len(rows) - 1
            pieces.append(
                block.rows(int(rows[0]), int(rows[-1]) + 1)
                if is_run
                else take_rows(block, rows)
            )
        return pieces

    def _read_block(self, shard: int, number: int) -> Block:
        record = self.manifest.records[shard]
        first, last = record.block_offset[number : number + 2]
        name = f"{record.name}.tar"
        try:
            try:
                data = self._shards.read(record, first, last)
                return read_recorded_block(data, record, number, self.block_samples)
            except StoreError:
                raise
            except ShardError:
                # The copy on this disk may be to blame; the store's is then well.
                if not self._shards.drop_damaged(record):
                    raise
                data = self._shards.read(record, first, last)
                return read_recorded_block(data, record, number, self.block_samples)
        except FileNotFoundError as error:
            raise self._explain_missing(record, error) from error
        except OSError as error:
            raise explain_read_error(self._store.address(name), error) from error
        except StoreError:
            raise
        except ShardError as error:
            raise self._damaged(record, error) from error

    def _explain_missing(self, record: ShardRecord, error: OSError) -> ShardError:
        """A shard that is gone; or its whole folder, which no shard can help."""
        try:
            has_set = DATASET_FILE in self._store.sizes()
        except (OSError, StoreError):
            has_set = False
        if not has_set:
            return explain_read_error(self.location, error)
        return self._damaged(record, "it has been deleted since")

    def _damaged(self, record: ShardRecord, why: object) -> ShardError:
        return ShardError(
            f"{self._store.address(record.name)}.tar cannot be read ({why}); delete it "
            "and run the same `pxrdbench generate` again: it comes back the same"
        )


def _list_shards(records: Sequence[ShardRecord]) -> str:
    """Numbers and sizes of shards, as ``0-9:1000,10:400``."""
    runs: list[list[int]] = []
    for record in records:
        if runs and runs[-1][1] == record.index - 1 and runs[-1][2] == record.samples:
            runs[-1][1] = record.index
        else:
            runs.append([record.index, record.index, record.samples])
    return ",".join(f"{a}-{b}:{n}" if a < b else f"{a}:{n}" for a, b, n in runs)


def _parse_shards(text: str) -> Iterator[tuple[int, int]]:
    """Number and samples of each shard of such a list; nothing if it is none."""
    for first, last, samples in re.findall(r"(\d+)(?:-(\d+))?:(\d+)", text):
        for index in range(int(first), int(last or first) + 1):
            yield index, int(samples)


class _BlockCache:
    """The blocks used last; each is read once, however many threads want it."""

    def __init__(self, read: Callable[[int, int], Block], size: int) -> None:
        self._read = read
        self._size = size
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[int, int], _Slot] = OrderedDict()

    def __call__(self, shard: int, number: int) -> Block:
        key = shard, number
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot()
            self._slots.move_to_end(key)
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        with slot.lock:
            # What failed is tried again next time: its cause may be gone.
            if slot.block is None:
                slot.block = self._read(shard, number)
            return slot.block


class _Slot:
    """One block, once it has been read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.block: Block | None = None
