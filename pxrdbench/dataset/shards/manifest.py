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
samples are still those of the recipe and can be drawn from it.
"""

import builtins
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError

LAYOUT_VERSION = 1
DATASET_FILE = "dataset.json"
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
        retired: Whether the tar has been deleted after its consumer had read it.
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
    retired: bool = False

    def to_json(self) -> str:
        """Write the record down; the same record gives the same text."""
        values = asdict(self)
        if not self.retired:
            del values["retired"]
        return json.dumps(values, indent=1) + "\n"

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
        retired: Records of shards that were read and deleted.
    """

    card: RecipeCard
    shard_samples: int
    block_samples: int = BLOCK_SAMPLES
    records: tuple[ShardRecord, ...] = ()
    missing: tuple[str, ...] = ()
    retired: tuple[ShardRecord, ...] = ()

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
    def read(cls, location: str | Path | Store) -> "Manifest":
        """Read the description of a data set and add up its records.

        Args:
            location: A folder, or a URL such as ``s3://bucket/prefix``.

        Raises:
            ShardError: If there is no data set, or one of another layout.
        """
        store = open_store(location)
        manifest = cls.read_description(store)
        sizes = store.sizes()
        names = [name for name in sizes if fnmatch(name, "shard-*.json")]
        records, missing, retired = [], [], []
        for name, text in sorted(store.read_many(names).items()):
            record = manifest.read_record(store, name, text)
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
        )

    def read_record(
        self, store: Store, name: str, text: "builtins.bytes"
    ) -> ShardRecord:
        """Read a record, and see that it belongs to this data set.

        Raises:
            ShardError: If it does not, or is no record.
        """
        path = store.address(name)
        record = ShardRecord.from_json(text.decode(errors="replace"), path)
        if record.recipe != self.card.digest:
            raise ShardError(
                f"{path} belongs to the recipe {record.recipe[:12]}, the folder to "
                f"{self.card.digest[:12]}: move it to a folder of its own"
            )
        return record

    @classmethod
    def read_description(cls, location: str | Path | Store) -> "Manifest":
        """Read the description of a data set alone, without its records.

        Raises:
            ShardError: If there is no data set, or one of another layout.
        """
        store = open_store(location)
        path = store.address(DATASET_FILE)
        try:
            contents = json.loads(store.read(DATASET_FILE))
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
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ShardError(
                f"{store.location} holds no data set ({DATASET_FILE} is not there); "
                "`pxrdbench generate --out` makes one"
            ) from error
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ShardError(f"{path} is damaged: {error!r}") from error


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
