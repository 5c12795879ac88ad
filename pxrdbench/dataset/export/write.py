"""Export: shards as files that open without this package.

    OUT/
      README.md              card with ``configs:``, as Hugging Face reads it
      croissant.json         the same for search engines and other loaders
      export.json            what was exported, written first
      samples-000000.parquet one file for each shard (or .tar, or .h5)

A file has its final name only when it is whole, so an export that was interrupted goes
on where it stopped, and the same shards give the same bytes.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.export.card import (
    DataFile,
    describe_file,
    write_card,
)
from pxrdbench.dataset.export.croissant import write_croissant
from pxrdbench.dataset.export.describe import describe_export
from pxrdbench.dataset.export.formats import (
    export_columns,
    piece_name,
    write_hdf5,
    write_hdf5_index,
    write_parquet,
    write_webdataset,
)
from pxrdbench.dataset.shards.manifest import ShardSpan
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import explain_os_error
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.errors import OptionError, ShardError
from pxrdbench.files import atomic_path, write_atomically

ENDINGS: Mapping[str, str] = {
    "parquet": ".parquet",
    "webdataset": ".tar",
    "hdf5": ".h5",
}
PLAN_FILE = "export.json"
_EXPORT_VERSION = 1
# Samples rendered in one go: 35 MB of patterns.
_ROWS = 1024


@dataclass(frozen=True)
class ExportConfig:
    """What `export_shards` does; the options of the command.

    Attributes:
        shards: Folder or URL of the shards.
        out: Folder to write to; it is made if it is not there.
        format: ``parquet``, ``webdataset`` or ``hdf5``.
        samples: The first so many only; all if None.
        measurement: Effects to render with, instead of those of the recipe.
        prior: Where the recipe's prior is, for impurities; looked for among those that
            ship and beside the shards if left away.
        allow_restricted: Whether data of licensed crystals may be exported: for one's
            own use, never to be published.
    """

    shards: str | Path
    out: Path
    format: str = "parquet"
    samples: int | None = None
    measurement: Measurement | str | None = None
    prior: str | Path | Prior | None = None
    allow_restricted: bool = False

    def __post_init__(self) -> None:
        if self.format not in ENDINGS:
            raise ShardError(
                f"unknown format {self.format!r}; known are {', '.join(ENDINGS)}"
            )
        if self.samples is not None and self.samples < 1:
            raise ShardError(f"samples is {self.samples}; it must be above 0")


@dataclass(frozen=True)
class ExportReport:
    """What an export came to.

    Attributes:
        out: The folder.
        samples: Samples in it.
        files: Files of samples, and
        files_new: those that this run wrote.
        bytes: Size of all files of samples.
        seconds: Time of this run [s].
    """

    out: Path
    samples: int
    files: int
    files_new: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Piece:
    """One file to write.

    Attributes:
        name: Of the file.
        start: First sample in the numbering of the set.
        samples: How many.
        source: Checksum of the shard.
    """

    name: str
    start: int
    samples: int
    source: str


def export_shards(
    config: ExportConfig, on_progress: Callable[[int, int], None] | None = None
) -> ExportReport:
    """Write shards as Parquet, webdataset tars of single samples, or HDF5.

    The same call goes on where an interrupted one stopped; a set that has grown
    meanwhile adds files.

    Args:
        config: What to do.
        on_progress: Called with the samples done and all, some times a second.

    Raises:
        ShardError: If the shards are damaged or restricted, or the folder holds
            another export or cannot be written.
        OptionError: If a prior is given and nothing needs it.
    """
    started = time.perf_counter()
    source = ShardSet(config.shards, measurement=config.measurement, prior=config.prior)
    if source.card.restricted and not config.allow_restricted:
        raise ShardError(
            f"{config.shards} holds samples of a prior fitted on licensed crystals; "
            "an export must stay with those who hold the licence: add "
            "--allow-restricted if it does"
        )
    needs_pool = source.measurement is not None and source.measurement.needs_pool
    if config.prior is not None and not needs_pool:
        raise OptionError(
            "prior cannot act on this export: only impurities need other crystals of it"
        )
    pieces = _plan(source, config)
    store = LocalStore(config.out)
    try:
        store.prepare()
        with store.lock():
            store.sweep()
            _open_plan(config, source, pieces)
            new = _write_pieces(config, source, pieces, on_progress or _say_nothing)
            files = _finish(config, source, pieces)
    except OSError as error:
        raise explain_os_error(str(config.out), error) from error
    return ExportReport(
        out=config.out,
        samples=sum(piece.samples for piece in pieces),
        files=len(pieces),
        files_new=new,
        bytes=sum(file.n_bytes for file in files),
        seconds=time.perf_counter() - started,
    )


def _say_nothing(done: int, total: int) -> None:
    """For whoever does not want to know."""


def _plan(source: ShardSet, config: ExportConfig) -> list[_Piece]:
    """One file for each shard, as far as samples are wanted."""
    wanted = source.length if config.samples is None else config.samples
    if wanted > source.length or wanted == 0:
        raise ShardError(
            f"{config.shards} holds {source.length:,} samples, {wanted:,} are wanted: "
            "generate more, or ask for fewer"
        )
    pieces, start = [], 0
    for record in source.manifest.records:
        samples = min(record.samples, wanted - start)
        if samples < 1:
            break
        span = ShardSpan(record.index, record.first, record.samples)
        name = piece_name(span, ENDINGS[config.format])
        pieces.append(_Piece(name, start, samples, record.sha256))
        start += samples
    return pieces


def _open_plan(config: ExportConfig, source: ShardSet, pieces: list[_Piece]) -> None:
    """Write down what is exported, or check that it is the same as before.

    Raises:
        ShardError: If the folder holds another export.
    """
    path = config.out / PLAN_FILE
    plan = {
        "export_version": _EXPORT_VERSION,
        "format": config.format,
        "recipe_digest": source.card.digest,
        "measurement": source.measurement and source.measurement.to_dict(),
        "files": {p.name: {"samples": p.samples, "shard": p.source} for p in pieces},
    }
    plan = json.loads(json.dumps(plan))
    if path.exists():
        _compare_plans(config.out, json.loads(path.read_text("utf-8")), plan)
    elif any(config.out.glob(f"*{ENDINGS[config.format]}")):
        raise ShardError(
            f"{config.out} holds files of another program; choose another --out"
        )
    text = json.dumps(plan, indent=1) + "\n"
    write_atomically(path, text.encode())


def _compare_plans(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to mix two exports in one folder; more files are no other export."""
    for name in ("export_version", "format", "recipe_digest", "measurement"):
        if old.get(name) != new[name]:
            raise ShardError(
                f"{out} holds an export with another {name.replace('_', ' ')}: choose "
                "another --out, or repeat the options of the first run"
            )
    for name, file in old["files"].items():
        if new["files"].get(name) != file and (out / name).exists():
            raise ShardError(
                f"{out / name} was made of other samples (the shard has changed, or "
                "--samples has): delete it, or choose another --out"
            )


def _write_pieces(
    config: ExportConfig,
    source: ShardSet,
    pieces: list[_Piece],
    tell: Callable[[int, int], None],
) -> int:
    """Write the files that are not there; their number."""
    total, done, new = sum(piece.samples for piece in pieces), 0, 0
    for piece in pieces:
        path = config.out / piece.name
        if not path.exists():

            def batches(piece: _Piece = piece, done: int = done) -> Iterator[Batch]:
                for start in range(0, piece.samples, _ROWS):
                    count = min(_ROWS, piece.samples - start)
                    yield source.batch(piece.start + start, count)
                    tell(done + start + count, total)

            _write_piece(config.format, path, batches(), piece.samples)
            new += 1
        done += piece.samples
        tell(done, total)
    return new


def _write_piece(
    format_: str, path: Path, batches: Iterator[Batch], samples: int
) -> None:
    """Write a file that is there whole or not at all."""
    with atomic_path(path) as part:
        if format_ == "parquet":
            write_parquet(part, batches)
        elif format_ == "webdataset":
            write_webdataset(part, batches)
        else:
            write_hdf5(part, batches, samples)


def _finish(
    config: ExportConfig, source: ShardSet, pieces: list[_Piece]
) -> tuple[DataFile, ...]:
    """Write card, Croissant and the index of HDF5 files; describe all files."""
    if config.format == "hdf5":
        index = config.out / "samples.h5"
        with atomic_path(index) as part:
            write_hdf5_index(part, [(piece.name, piece.samples) for piece in pieces])
    files = tuple(
        describe_file(config.out, piece.name, "train", piece.samples)
        for piece in pieces
    )
    first = source.batch(0, 1)
    columns = export_columns(
        first.mask is not None, bool(first.crystallite_size_nm[0] < float("inf"))
    )
    card = describe_export(
        source.card, source.measurement, config.format, files, columns
    )
    write_card(config.out, card)
    write_croissant(config.out, card)
    return files
