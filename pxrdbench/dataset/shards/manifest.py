"""What a folder of shards holds: its description, its records and their sum.

    NAME/
      dataset.json         the recipe and the layout, written first
      shard-000000.tar     samples 0 to shard_samples - 1
      shard-000000.json    its record, written when the tar has its final name

A file has its final name only when it is whole: it is written beside it with the
ending ``.part``, synchronised with the disk and renamed. A shard counts when its
record and its tar are there, so a crash at any moment loses the shards in progress
and nothing else. The manifest is the fold of the records; it is no file of its own.
In an object store the same names are objects, each put whole.

A record may say ``retired``: its consumer has read the shard, and the tar is gone. The
samples are still those of the recipe and can be drawn from it. Records of many such
shards, from the first one on, become one line in ``retired.json``.
"""

import builtins
import itertools
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le

from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import PxrdbenchWarning, ShardError
from pxrdbench.outside import guard, one_line, parse_strict_json, read_model, take

# 2: records hold a checksum of each block. Sets of layout 1 are read without.
LAYOUT_VERSION = 2
READABLE_LAYOUTS = (1, 2)
DATASET_FILE = "dataset.json"
# Whole shards from the first one on that were read and deleted, instead of records.
RETIRED_FILE = "retired.json"
# Blocks cost a reader 7-36 microseconds a sample, single samples 170-350; above
# 256 nothing is gained (measured for these peak lists).
BLOCK_SAMPLES = 256
# Largest block and largest shard: what a file says is believed only within bounds.
MOST_BLOCK_SAMPLES = 65_536
MOST_SHARD_SAMPLES = 2**31

# Whole numbers of files: sizes and samples that a float still tells apart.
MOST_COUNT = 2**53
Count = Annotated[int, Ge(0), Le(MOST_COUNT)]

_RECORD_NAME = re.compile(r"shard-\d{6,12}\.json", re.ASCII)


class ShardWarning(PxrdbenchWarning):
    """Samples that a set should hold are not there."""


@dataclass(frozen=True)
class ShardSpan:
    """The range of samples that a shard holds.

    Attributes:
        index: Number of the shard; its first sample is ``index * shard_samples``.
        first: First sample of the recipe.
        samples: Number of samples.
    """

    index: int
    first: int
    samples: int

    @classmethod
    def of(
        cls, index: int, shard_samples: int, total_samples: int | None = None
    ) -> "ShardSpan":
        """Find the range of a shard: a function of its index.

        Args:
            index: Number of the shard.
            shard_samples: Samples of every shard but the last.
            total_samples: Where the whole set ends; there the last shard is shorter.

        Example:
            >>> ShardSpan.of(3, 50_000)
            ShardSpan(index=3, first=150000, samples=50000)
            >>> ShardSpan.of(3, 50_000, total_samples=160_000).samples
            10000
        """
        first = index * shard_samples
        samples = shard_samples
        if total_samples is not None:
            samples = max(0, min(samples, total_samples - first))
        return cls(index, first, samples)

    @property
    def name(self) -> str:
        """File name of the shard, without ending."""
        return f"shard-{self.index:06d}"


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a finished shard; the file beside it.

    Attributes:
        name: File name of the shard, without ending.
        index: Number of the shard.
        first: First sample of the recipe.
        samples: Number of samples.
        bytes: Size of the tar.
        sha256: Checksum of the tar.
        recipe: Digest of the recipe.
        space_group_counts: Samples of each space group that occurs.
        rejections: Draws that were thrown away, by reason.
        block_offset: Position of each block in the tar, and of its end [bytes].
        made_with: Versions and processor that decide the last bits of a float.
        retired: Whether the tar has been deleted after its consumer had read it.
        block_crc32: Checksum of each block as it stands in the tar; none in sets of
            layout 1.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    index: Count
    first: Count
    samples: Annotated[int, Ge(1), Le(MOST_COUNT)]
    bytes: Count
    sha256: str
    recipe: str
    space_group_counts: Mapping[int, Count]
    rejections: Mapping[str, Count]
    block_offset: tuple[Count, ...]
    made_with: Mapping[str, str]
    retired: bool = False
    block_crc32: tuple[Count, ...] = ()

    def to_json(self) -> str:
        """Write the record down; the same record gives the same text."""
        values = asdict(self)
        if not self.retired:
            del values["retired"]
        if not self.block_crc32:
            del values["block_crc32"]
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(
        cls, text: "str | builtins.bytes", source: str = "record"
    ) -> "ShardRecord":
        """Read what `to_json` wrote.

        Raises:
            ShardError: If it is no record.
        """
        return read_model(cls, text, f"{source} is no record of a shard", ShardError)

    def find_fault(
        self, file_name: str, shard_samples: int, block_samples: int
    ) -> str | None:
        """Say what a record contradicts: its file, its number, itself.

        Args:
            file_name: Of the record.
            shard_samples: Samples of a full shard of the set.
            block_samples: Samples of a full block.
        """
        span = ShardSpan.of(self.index, shard_samples)
        if file_name != f"{self.name}.json":
            return f"it is the record of {one_line(self.name, 40)}: a copy? Delete it"
        if (self.name, self.first) != (span.name, span.first):
            return f"its name, number and first sample do not belong to {span.name}"
        if self.samples > shard_samples:
            return f"{self.samples} samples do not fit a shard of {shard_samples}"
        counts = self.space_group_counts
        if not all(1 <= g <= 230 and n > 0 for g, n in counts.items()):
            return "it counts samples of no space group"
        if sum(counts.values()) != self.samples:
            return "counts of space groups do not add up"
        if self.retired:
            return None
        blocks = -(-self.samples // block_samples)
        offset = np.array(self.block_offset, np.int64)
        if len(offset) != blocks + 1 or offset[0] != 0 or offset[-1] > self.bytes:
            return f"offsets of its blocks are not those of {blocks} blocks in its tar"
        if (np.diff(offset) <= 0).any():
            return "offsets of its blocks do not ascend"
        if self.block_crc32 and len(self.block_crc32) != blocks:
            return f"{len(self.block_crc32)} checksums for {blocks} blocks"
        return None


@dataclass(frozen=True)
class Manifest:
    """A folder of shards: the fold of its records.

    Attributes:
        card: The recipe of the samples, without the prior's arrays.
        shard_samples: Samples of a full shard.
        block_samples: Samples of a full block within a shard.
        records: Finished shards in the order of their index.
        missing: Names of shards whose record stands there without a whole tar.
        retired: Records of shards that were read and deleted.
        retired_below: All shards below this number were, and have no records any more.
    """

    card: RecipeCard
    shard_samples: int
    block_samples: int = BLOCK_SAMPLES
    records: tuple[ShardRecord, ...] = ()
    missing: tuple[str, ...] = ()
    retired: tuple[ShardRecord, ...] = ()
    retired_below: int = 0

    @property
    def samples(self) -> int:
        """Number of all samples."""
        return sum(record.samples for record in self.records)

    @property
    def held_samples(self) -> int:
        """Number of all samples that are here or were, and have been read."""
        early = self.retired_below * self.shard_samples
        return early + self.samples + sum(record.samples for record in self.retired)

    @property
    def bytes(self) -> int:
        """Size of all shards [bytes]."""
        return sum(record.bytes for record in self.records)

    @property
    def space_group_counts(self) -> dict[int, int]:
        """Samples of each space group that occurs, ascending."""
        counts = np.zeros(231, np.int64)
        for record in self.records:
            for space_group, count in record.space_group_counts.items():
                counts[space_group] += count
        return {int(g): int(counts[g]) for g in np.flatnonzero(counts)}

    def write(self, location: str | Path | Store) -> None:
        """Write the description of the data set; records have files of their own."""
        contents = {
            "layout_version": LAYOUT_VERSION,
            "shard_samples": self.shard_samples,
            "block_samples": self.block_samples,
            "recipe_digest": self.card.digest,
            "recipe": self.card.to_dict(),
        }
        text = json.dumps(contents, indent=1) + "\n"
        open_store(location).write(DATASET_FILE, text.encode())

    @classmethod
    def read(
        cls, location: str | Path | Store, faults: list[str] | None = None
    ) -> "Manifest":
        """Read the description of a data set and add up its records.

        Args:
            location: A folder, or a URL such as ``s3://bucket/prefix``.
            faults: Where records that do not belong are told, for who looks for all
                of them; the first is an error if None.

        Raises:
            ShardError: If there is no data set, one of another layout, or a record
                does not belong.
        """
        store = open_store(location)
        manifest = cls.read_description(store)
        sizes = store.sizes()
        names = [name for name in sizes if fnmatch(name, "shard-*.json")]
        records, missing, retired = [], [], []
        below = 0
        if RETIRED_FILE in sizes:
            below = find_retired(store, manifest.card.digest)
        for name, text in sorted(store.read_many(names).items()):
            try:
                record = manifest.read_record(store, name, text)
            except ShardError as error:
                if faults is None:
                    raise
                faults.append(str(error))
                continue
            if record.index < below:  # its file was about to be deleted
                continue
            if record.retired:
                retired.append(record)
            elif sizes.get(f"{record.name}.tar") == record.bytes:
                records.append(record)
            else:
                missing.append(record.name)
        for some in (records, retired):
            some.sort(key=lambda record: record.index)
        return replace(
            manifest,
            records=tuple(records),
            missing=tuple(missing),
            retired=tuple(retired),
            retired_below=below,
        )

    def read_record(
        self, store: Store, name: str, text: "builtins.bytes"
    ) -> ShardRecord:
        """Read a record, and see that it belongs to this data set.

        Raises:
            ShardError: If it does not, or is no record.
        """
        path = store.address(one_line(name, 80))
        if not _RECORD_NAME.fullmatch(name):
            raise ShardError(
                f"{path} is named like a record, but no shard has this name: a copy? "
                "Delete it, or move it away"
            )
        record = ShardRecord.from_json(text, path)
        if record.recipe != self.card.digest:
            raise ShardError(
                f"{path} belongs to the recipe {record.recipe[:12]}, the folder to "
                f"{self.card.digest[:12]}: move it to a folder of its own"
            )
        fault = record.find_fault(name, self.shard_samples, self.block_samples)
        if fault is not None:
            raise ShardError(f"{path} does not belong: {fault}")
        return record

    def find_gaps(self) -> tuple[str, ...]:
        """Names of shards below the last one that are neither here nor retired."""
        held = {record.index for record in (*self.records, *self.retired)}
        first = self.retired_below
        if len(held) == 0 or len(held) == max(held) + 1 - first:
            return ()
        named = {*self.missing}
        # A hostile record may have any number: not all below it are written out.
        numbers = itertools.filterfalse(held.__contains__, range(first, max(held)))
        names = (ShardSpan.of(n, self.shard_samples).name for n in numbers)
        return tuple(itertools.islice((n for n in names if n not in named), 1000))

    @classmethod
    def read_description(cls, location: str | Path | Store) -> "Manifest":
        """Read the description of a data set alone, without its records.

        Raises:
            ShardError: If there is no data set, or one of another layout.
        """
        store = open_store(location)
        path = store.address(DATASET_FILE)
        try:
            text = store.read(DATASET_FILE)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ShardError(
                f"{store.location} holds no data set ({DATASET_FILE} is not there); "
                "`pxrdbench generate --out` makes one"
            ) from error
        contents = parse_strict_json(text, f"{path} is damaged: it", ShardError)
        with guard(ShardError, f"{path} is damaged"):
            layout = contents["layout_version"]
            if layout not in READABLE_LAYOUTS or isinstance(layout, bool):
                raise ShardError(
                    f"{path} has the layout {one_line(str(layout), 20)}, this version "
                    f"reads {READABLE_LAYOUTS}: use the pxrdbench that wrote it"
                )
            card = RecipeCard.from_dict(contents["recipe"])
            if contents.get("recipe_digest", card.digest) != card.digest:
                raise ValueError("its recipe is not the one of its digest")
            return cls(
                card=card,
                shard_samples=_layout_number(
                    contents, "shard_samples", MOST_SHARD_SAMPLES
                ),
                block_samples=_layout_number(
                    contents, "block_samples", MOST_BLOCK_SAMPLES
                ),
            )


def find_retired(store: Store, recipe_digest: str) -> int:
    """Number below which all shards were read and deleted; 0 if nothing says so.

    Raises:
        ShardError: If what says so is damaged, or of another recipe.
    """
    text = store.read_many([RETIRED_FILE]).get(RETIRED_FILE)
    if text is None:
        return 0
    place = f"{store.address(RETIRED_FILE)} is damaged"
    with guard(ShardError, place):
        values = parse_strict_json(text, f"{place}: it", ShardError)
        below, recipe = take(values, "below", int), take(values, "recipe", str)
        if recipe != recipe_digest:
            raise ValueError(f"it is of the recipe {one_line(str(recipe), 12)}")
        if not 0 <= below <= MOST_COUNT:
            raise ValueError(f"{below} shards")
        return int(below)


def write_retired(store: Store, recipe_digest: str, below: int) -> None:
    """Say that all shards below a number are whole, were read, and are deleted."""
    text = json.dumps({"below": below, "recipe": recipe_digest}) + "\n"
    store.write(RETIRED_FILE, text.encode())


def _layout_number(contents: Mapping[str, Any], name: str, most: int) -> int:
    number = take(contents, name, int)
    if not 1 <= number <= most:
        raise ValueError(f"{name} is {number}; allowed are 1 to {most:,}")
    return int(number)


def describe_versions() -> dict[str, str]:
    """Name what decides the last bits of a float: versions and processor."""
    versions = {}
    for package in ("pxrdbench", "numpy", "numba"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path, not installed
            versions[package] = "unknown"
    # The name that decides what numba makes of a kernel.
    import llvmlite.binding as llvm

    processor = llvm.get_host_cpu_name()
    return {**versions, "python": platform.python_version(), "processor": processor}
