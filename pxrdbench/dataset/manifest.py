"""What a folder of shards holds: its description, its records and their sum.

    NAME/
      dataset.json         the recipe and the layout, written first
      shard-000000.tar     samples 0 to shard_samples - 1
      shard-000000.json    its record, written when the tar has its final name

A file has its final name only when it is whole: it is written beside it with the
ending ``.part``, synchronised with the disk and renamed. A shard counts when its
record and its tar are there, so a crash at any moment loses the shards in progress
and nothing else. The manifest is the fold of the records; it is no file of its own.
"""

import json
import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from pxrdbench.dataset.recipe_card import RecipeCard
from pxrdbench.errors import ShardError

LAYOUT_VERSION = 1
DATASET_FILE = "dataset.json"
PART_SUFFIX = ".part"
# Blocks cost a reader 7-36 microseconds a sample, single samples 170-350; above
# 256 nothing is gained (measured for these peak lists).
BLOCK_SAMPLES = 256


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
    """

    name: str
    index: int
    first: int
    samples: int
    bytes: int
    sha256: str
    recipe: str
    space_group_counts: Mapping[int, int]
    rejections: Mapping[str, int]
    block_offset: tuple[int, ...]
    made_with: Mapping[str, str]

    def to_json(self) -> str:
        """Write the record down; the same record gives the same text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "record") -> "ShardRecord":
        """Read what `to_json` wrote.

        Raises:
            ShardError: If it is no record.
        """
        try:
            values = json.loads(text)
            return cls(
                **{
                    **values,
                    "space_group_counts": {
                        int(g): int(n) for g, n in values["space_group_counts"].items()
                    },
                    "block_offset": tuple(values["block_offset"]),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShardError(f"{source} is no record of a shard: {error}") from error


@dataclass(frozen=True)
class Manifest:
    """A folder of shards: the fold of its records.

    Attributes:
        card: The recipe of the samples, without the prior's arrays.
        shard_samples: Samples of a full shard.
        block_samples: Samples of a full block within a shard.
        records: Finished shards in the order of their index.
        missing: Names of shards whose record stands there without a whole tar.
    """

    card: RecipeCard
    shard_samples: int
    block_samples: int = BLOCK_SAMPLES
    records: tuple[ShardRecord, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Number of all samples."""
        return sum(record.samples for record in self.records)

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

    def write(self, folder: Path) -> None:
        """Write the description of the data set; records have files of their own."""
        contents = {
            "layout_version": LAYOUT_VERSION,
            "shard_samples": self.shard_samples,
            "block_samples": self.block_samples,
            "recipe_digest": self.card.digest,
            "recipe": self.card.to_dict(),
        }
        text = json.dumps(contents, indent=1) + "\n"
        write_atomically(folder / DATASET_FILE, text.encode())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the description of a data set and add up its records.

        Raises:
            ShardError: If the folder holds no data set, or one of another layout.
        """
        manifest = cls._read_description(folder)
        records, missing = [], []
        for path in sorted(folder.glob("shard-*.json")):
            record = ShardRecord.from_json(path.read_text(), str(path))
            if record.recipe != manifest.card.digest:
                raise ShardError(
                    f"{path} belongs to the recipe {record.recipe[:12]}, the folder to "
                    f"{manifest.card.digest[:12]}: move it to a folder of its own"
                )
            tar = path.with_suffix(".tar")
            if tar.is_file() and tar.stat().st_size == record.bytes:
                records.append(record)
            else:
                missing.append(record.name)
        records.sort(key=lambda record: record.index)
        return replace(manifest, records=tuple(records), missing=tuple(missing))

    @classmethod
    def _read_description(cls, folder: Path) -> "Manifest":
        path = folder / DATASET_FILE
        if not path.is_file():
            raise ShardError(
                f"{folder} holds no data set ({DATASET_FILE} is not there); "
                "`pxrdbench generate --out` makes one"
            )
        try:
            contents = json.loads(path.read_text())
            layout = contents["layout_version"]
            if layout != LAYOUT_VERSION:
                raise ShardError(
                    f"{path} has the layout {layout}, this version reads "
                    f"{LAYOUT_VERSION}: use the pxrdbench that wrote it"
                )
            return cls(
                card=RecipeCard.from_dict(contents["recipe"]),
                shard_samples=int(contents["shard_samples"]),
                block_samples=int(contents["block_samples"]),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ShardError(f"{path} is damaged: {error!r}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, even if the power fails."""
    part = part_path(path)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def part_path(path: Path) -> Path:
    """Name a file in progress; no two writers ever share one."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
