"""Shards: ranges of a recipe on disk, written whole and read in blocks.

A shard is a tar of blocks. A block is 256 samples as six members that share a key,
the number of the first sample:

    000000001024.json              first sample, samples, peaks, wavelength, recipe
    000000001024.space_group       uint16  (samples,)   1-230
    000000001024.crystallite_size  float32 (samples,)   [nm]
    000000001024.peak_count        uint32  (samples,)
    000000001024.two_theta         uint32  (peaks,)     [1e-7 degrees]
    000000001024.intensity         uint16  (peaks,)     fourth root, see `packing`

Numbers are little-endian and raw, so that any language reads them and webdataset
hands them over untouched. Patterns are rendered on loading: a sample takes 1.3 kB
instead of 34 kB, and every pass may have other crystallite sizes.
"""

import builtins
import contextlib
import hashlib
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float64, Int16, Int64

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import (
    BLOCK_SAMPLES,
    MOST_COUNT,
    ShardRecord,
    ShardSpan,
    describe_versions,
)
from pxrdbench.dataset.shards.packing import POSITION_UNIT, pack_peaks
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import part_path
from pxrdbench.outside import guard, parse_strict_json, take

# Members of a block and how their numbers are stored.
MEMBER_TYPES: dict[str, str] = {
    "space_group": "<u2",
    "crystallite_size": "<f4",
    "peak_count": "<u4",
    "two_theta": "<u4",
    "intensity": "<u2",
}

_MOST_POSITION = round(180.0 / POSITION_UNIT)

# Blocks that are drawn and simulated in one go: enough that Python costs nothing,
# few enough that a worker answers within a fraction of a second.
_BLOCKS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class Block:
    """Samples as they stand in a shard.

    Attributes:
        index: Number of each sample in its recipe.
        space_group: Number in the International Tables, 1-230.
        crystallite_size_nm: Size that the sample is rendered with [nm].
        peaks: The arrays of `pack_peaks`.
    """

    index: Int64[np.ndarray, " batch"]
    space_group: Int16[np.ndarray, " batch"]
    crystallite_size_nm: Float64[np.ndarray, " batch"]
    peaks: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> "Block":
        """Take some of the samples."""
        ends = np.cumsum(self.peaks["peak_count"][:stop], dtype=np.int64)
        span = slice(ends[start - 1] if start else 0, ends[stop - 1] if stop else 0)
        return Block(
            self.index[start:stop],
            self.space_group[start:stop],
            self.crystallite_size_nm[start:stop],
            {
                "two_theta": self.peaks["two_theta"][span],
                "intensity": self.peaks["intensity"][span],
                "peak_count": self.peaks["peak_count"][start:stop],
                "wavelength": self.peaks["wavelength"],
            },
        )

    @classmethod
    def join(cls, blocks: "list[Block]") -> "Block":
        """Put blocks behind each other."""
        if len(blocks) == 1:
            return blocks[0]
        return cls(
            np.concatenate([block.index for block in blocks]),
            np.concatenate([block.space_group for block in blocks]),
            np.concatenate([block.crystallite_size_nm for block in blocks]),
            {
                "two_theta": np.concatenate([b.peaks["two_theta"] for b in blocks]),
                "intensity": np.concatenate([b.peaks["intensity"] for b in blocks]),
                "peak_count": np.concatenate([b.peaks["peak_count"] for b in blocks]),
                "wavelength": blocks[0].peaks["wavelength"],
            },
        )


class ShardWriter:
    """Writes one shard; the file gets its name when it is whole.

    Leaving the ``with`` block without `commit` or `finish` removes what was written.

    Attributes:
        span: Which samples.
        bytes: Size so far.
        samples: Number of samples so far.
        part: The file in progress.
    """

    def __init__(self, folder: Path, span: ShardSpan, recipe_digest: str) -> None:
        self.span = span
        self.bytes = 0
        self.samples = 0
        self._folder = folder
        self._recipe_digest = recipe_digest
        self._counts = np.zeros(231, np.int64)
        self._hash = hashlib.sha256()
        self._block_offset = [0]
        self._block_crc32: list[int] = []
        self._crc32 = 0
        self.part = part_path(folder / f"{span.name}.tar")
        self._is_finished = False
        self._file = self.part.open("xb")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # what a full disk has left unwritten
            self._file.close()
        if not self._is_finished:
            self.part.unlink(missing_ok=True)

    def add(self, block: Block) -> None:
        """Append a block; blocks come in the order of their samples."""
        expected = self.span.first + self.samples
        if len(block) == 0 or not np.array_equal(
            block.index, np.arange(expected, expected + len(block))
        ):
            raise ShardError(
                f"{self.span.name} goes on with sample {expected}, "
                f"but the block holds {block.index[:1]} and following"
            )
        key = f"{expected:012d}"
        for name, data in _members(block, self._recipe_digest):
            self._write_member(f"{key}.{name}", data)
        self.samples += len(block)
        self._counts += np.bincount(block.space_group, minlength=231)
        self._block_offset.append(self.bytes)
        self._block_crc32.append(self._crc32)
        self._crc32 = 0

    def commit(self, rejections: Mapping[str, int]) -> ShardRecord:
        """Give the shard its name, and write its record.

        Raises:
            ShardError: If samples of the span are missing.
        """
        record = self.finish(rejections)
        publish_shard(LocalStore(self._folder), self.part, record)
        return record

    def finish(self, rejections: Mapping[str, int]) -> ShardRecord:
        """End the file, which is left without its name, and give its record.

        Raises:
            ShardError: If samples of the span are missing.
        """
        if self.samples != self.span.samples:
            raise ShardError(
                f"{self.span.name} has {self.samples} of {self.span.samples} samples"
            )
        self._end_archive()
        record = ShardRecord(
            name=self.span.name,
            index=self.span.index,
            first=self.span.first,
            samples=self.samples,
            bytes=self.bytes,
            sha256=self._hash.hexdigest(),
            recipe=self._recipe_digest,
            space_group_counts={
                int(g): int(self._counts[g]) for g in np.flatnonzero(self._counts)
            },
            rejections=rejections,
            block_offset=tuple(self._block_offset),
            made_with=describe_versions(),
            block_crc32=tuple(self._block_crc32),
        )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._is_finished = True
        return record

    def _write_member(self, name: str, data: bytes) -> None:
        # No time, owner or mode of this run: the same samples are the same bytes.
        info = tarfile.TarInfo(name)
        info.size = len(data)
        padding = -len(data) % tarfile.BLOCKSIZE
        self._write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(padding))

    def _end_archive(self) -> None:
        end = self.bytes + 2 * tarfile.BLOCKSIZE
        self._write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self.bytes += len(data)


def publish_shard(store: Store, part: Path | None, record: ShardRecord) -> None:
    """Give a finished shard its name, then write its record.

    A record never stands beside another tar than its own, not even for a moment.

    Args:
        store: Where the shard goes.
        part: The finished file; None if the object already has its name.
        record: What it holds.
    """
    if part is not None:
        store.remove(f"{record.name}.json")
        store.adopt(part, f"{record.name}.tar")
    store.write(f"{record.name}.json", record.to_json().encode())


def _members(block: Block, recipe_digest: str) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each member of a block."""
    about = {
        "first": int(block.index[0]),
        "samples": len(block),
        "peaks": len(block.peaks["two_theta"]),
        "wavelength": float(block.peaks["wavelength"]),
        "recipe": recipe_digest,
    }
    yield "json", json.dumps(about).encode()
    arrays = {
        "space_group": block.space_group,
        "crystallite_size": block.crystallite_size_nm,
        "peak_count": block.peaks["peak_count"],
        "two_theta": block.peaks["two_theta"],
        "intensity": block.peaks["intensity"],
    }
    for name, stored_as in MEMBER_TYPES.items():
        yield name, arrays[name].astype(stored_as).tobytes()


def read_recorded_block(
    data: bytes,
    record: ShardRecord,
    number: int,
    block_samples: int,
) -> Block:
    """Read a block of a shard, and see that it is the one that its record says.

    Args:
        data: Its stretch of the tar, from ``block_offset[number]`` to the next.
        record: Of the shard; belongs to its set.
        number: Of the block in its shard.
        block_samples: Samples of a full block.

    Raises:
        ShardError: If the block has changed since it was written, or is another.
    """
    if record.block_crc32 and zlib.crc32(data) != record.block_crc32[number]:
        raise ShardError(f"block {number} has changed since it was written")
    block = read_block(data, record.recipe)
    before = number * block_samples
    expected = min(block_samples, record.samples - before)
    if block.index[0] != record.first + before or len(block) != expected:
        raise ShardError(f"block {number} is not where it should be")
    return block


def read_block(data: bytes, recipe_digest: str | None = None) -> Block:
    """Read a block from its stretch of a shard.

    Args:
        data: The stretch.
        recipe_digest: Whose samples they must be; anybody's if None.

    Raises:
        ShardError: If the stretch is no block.
    """
    with guard(ShardError, "a block is damaged"):
        members = _split_members(data)
        about = parse_strict_json(
            bytes(members["json"]), "a block's own word", ShardError
        )
        arrays = {
            name: np.frombuffer(members[name], stored_as)
            for name, stored_as in MEMBER_TYPES.items()
        }
        _check_block(about, arrays, recipe_digest)
        first, wavelength = about["first"], float(about["wavelength"])
    return Block(
        np.arange(first, first + len(arrays["space_group"])),
        arrays["space_group"].astype(np.int16),
        arrays["crystallite_size"].astype(np.float64),
        {
            "two_theta": arrays["two_theta"].astype(np.uint32, copy=False),
            "intensity": arrays["intensity"].astype(np.uint16, copy=False),
            "peak_count": arrays["peak_count"].astype(np.uint32, copy=False),
            "wavelength": np.array(wavelength, np.float64),
        },
    )


def _split_members(data: bytes) -> dict[str, memoryview]:
    """The six members of a block; a tar of plain files, read without copies."""
    view, members, keys, at = memoryview(data), {}, set(), 0
    while at < len(view):
        header = bytes(view[at : at + tarfile.BLOCKSIZE])
        # POSIX ustar: name, size, checksum, kind and magic at fixed places.
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:135], 8)
        checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        start = at + tarfile.BLOCKSIZE
        if int(header[148:154], 8) != checksum or header[156:157] != tarfile.REGTYPE:
            raise ValueError(f"at {at} stands no member")
        if not 0 <= size <= len(view) - start:
            raise ValueError(f"{name} does not end in its block")
        key, _, ending = name.partition(".")
        if ending in members:
            raise ValueError(f"{ending} stands twice")
        members[ending] = view[start : start + size]
        keys.add(key)
        at = start + size + -size % tarfile.BLOCKSIZE
    if members.keys() != {"json", *MEMBER_TYPES} or len(keys) != 1:
        raise ValueError("members are missing, or of several blocks")
    return members


def _check_block(
    about: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    recipe_digest: str | None,
) -> None:
    """See that the arrays belong together, and hold what kernels may read."""
    samples, peaks, first = (take(about, n, int) for n in ("samples", "peaks", "first"))
    groups, sizes = arrays["space_group"], arrays["crystallite_size"]
    counts, two_theta = arrays["peak_count"], arrays["two_theta"]
    if not 1 <= samples == len(groups) == len(sizes) == len(counts):
        raise ValueError("numbers of samples contradict each other")
    total = int(counts.sum(dtype=np.int64))
    if not peaks == total == len(two_theta) == len(arrays["intensity"]):
        raise ValueError("numbers of peaks contradict each other")
    if not 0 <= first <= MOST_COUNT - samples:
        raise ValueError(f"the first sample is {first}")
    if recipe_digest is not None and about.get("recipe") != recipe_digest:
        raise ValueError("it is of another recipe")
    if groups.min() < 1 or groups.max() > 230:
        raise ValueError(f"space groups run from {groups.min()} to {groups.max()}")
    if not sizes.min() > 0.0:  # NaN fails; infinity is a width of the profile's own
        raise ValueError("a crystallite size is not positive")
    if peaks and not 0 < two_theta.min() <= two_theta.max() <= _MOST_POSITION:
        raise ValueError("an angle lies outside 0-180 degrees")
    # The bounds of wavelengths [Å], see `radiation`.
    if not 0.1 <= take(about, "wavelength", (int, float)) <= 25.0:
        raise ValueError(f"the wavelength is {about['wavelength']}")


def draw_block(recipe: Recipe, start: int, count: int) -> tuple[Block, Counter[str]]:
    """Make samples as a shard stores them; count what was thrown away by reason."""
    drawn = recipe.draw(start, count)
    block = Block(
        np.arange(start, start + count),
        drawn.crystals.space_group,
        recipe.card.crystallite_sizes(start, count),
        pack_peaks(drawn.peaks),
    )
    return block, drawn.rejections


@dataclass(frozen=True)
class ShardProgress:
    """How far a shard in progress is.

    Attributes:
        samples: Samples written.
        bytes: Bytes written.
        record: The record, once the shard is finished.
        stopped: Why the shard was given up: ``asked``, ``size`` if it would have
            become larger than allowed, or ``disk`` if there was no room left; empty
            while it goes on.
        part: The finished file that still has to get its name; empty if there is none.
        data: The next piece of the finished file, where it is sent.
    """

    samples: int = 0
    bytes: int = 0
    record: ShardRecord | None = None
    stopped: str = ""
    part: str = ""
    data: "builtins.bytes" = b""


def write_shard(
    recipe: Recipe,
    folder: Path,
    span: ShardSpan,
    *,
    block_samples: int = BLOCK_SAMPLES,
    max_bytes: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    publish: bool = True,
) -> Iterator[ShardProgress]:
    """Draw, simulate and write one shard, telling how far it is.

    A shard that is given up leaves nothing behind.

    Args:
        recipe: What to write.
        folder: Where to; it exists.
        span: Which samples.
        block_samples: Samples of a block.
        max_bytes: Size that the shard must not exceed.
        should_stop: Asked several times a second.
        publish: Whether the shard gets its name and record; else it is left as a
            file in progress for somebody who publishes it.

    Yields:
        Samples and bytes so far; in the end the record, or why there is none.
    """
    rejections: Counter[str] = Counter()
    with ShardWriter(folder, span, recipe.digest) as writer:
        for first in range(0, span.samples, _BLOCKS_AT_ONCE * block_samples):
            count = min(_BLOCKS_AT_ONCE * block_samples, span.samples - first)
            drawn, rejected = draw_block(recipe, span.first + first, count)
            rejections += rejected
            for start in range(0, count, block_samples):
                writer.add(drawn.rows(start, min(start + block_samples, count)))
            too_large = max_bytes is not None and writer.bytes > max_bytes
            if too_large or should_stop():
                reason = "size" if too_large else "asked"
                yield ShardProgress(writer.samples, writer.bytes, stopped=reason)
                return
            yield ShardProgress(writer.samples, writer.bytes)
        finish = writer.commit if publish else writer.finish
        record = finish(dict(sorted(rejections.items())))
        part = "" if publish else str(writer.part)
        yield ShardProgress(writer.samples, writer.bytes, record, part=part)
