"""Importing crystals: from thousands of files to one table, with an account of each.

    report = import_structures("icsd", "export/", "imports/icsd")
    crystals, table = load_import("imports/icsd")

The result depends on the files and the options alone: not on the number of processes,
and not on the order in which a disk lists its files. A run that was killed goes on
where it stopped; other filters cost nothing, for what was read is kept in parts.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.blocks import load_readers
from pxrdbench.sources.databases.amcsd import find_amcsd
from pxrdbench.sources.databases.icsd import find_icsd_tables, read_icsd_tables
from pxrdbench.sources.guarded import run_guarded
from pxrdbench.sources.labels.structure_type import SYMPREC
from pxrdbench.sources.structures.entry import run_task
from pxrdbench.sources.structures.filters import ImportFilters
from pxrdbench.sources.structures.join import CRYSTALS, join_parts
from pxrdbench.sources.structures.parts import (
    PARTS,
    Naming,
    is_finished,
    read_record,
    write_json,
    write_part,
)
from pxrdbench.sources.structures.plan import (
    PART_ENTRIES,
    PlannedPart,
    plan_import,
    reader_versions,
)
from pxrdbench.sources.structures.table import CRYSTAL_COLUMNS, crystals_from_arrow

RECORD = "import.json"
_FORMAT = 1
_RESTRICTED_NOTE = """\
The crystals in this folder come from a licensed database (ICSD, FIZ Karlsruhe). The
licence does not allow passing them on. Priors, shards, checkpoints and predictions made
from them carry the mark `restricted`; the commands that publish refuse these.
"""

# Files done, files in all, and seconds of processor time spent on those read now.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class ImportReport:
    """What became of the entries of an import.

    Attributes:
        kind: Of the source.
        out: Folder that holds the result.
        restricted: Whether the crystals are licensed.
        n_files: Files, or rows of tables.
        n_entries: Data blocks with atoms, rows, and files without either.
        n_read: Entries that gave a crystal.
        n_kept: Crystals that meet the filters: so many are in the table.
        not_read: Entries that gave none, by reason.
        dropped: Crystals that do not meet a filter, by filter.
        notes: Things to know of the crystals that are kept, and how many have them.
        readers: Crystals read, by library.
        n_groups: Space groups among the crystals kept.
        n_types: Structure types among them, the ICSD's or else prototypes.
        digest: Of the table (sha256).
        cpu_seconds: Processor time of all reading, in this run or before.
    """

    kind: str
    out: Path
    restricted: bool
    n_files: int
    n_entries: int
    n_read: int
    n_kept: int
    not_read: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    n_groups: int = 0
    n_types: int = 0
    digest: str = ""
    cpu_seconds: float = 0.0


def import_structures(
    kind: str,
    path: str | Path | None,
    out: str | Path,
    *,
    workers: int | None = None,
    symprec: float = SYMPREC,
    filters: ImportFilters | None = None,
    restricted: bool = False,
    csv_path: str | Path | None = None,
    time_limit: float = 20.0,
    part_entries: int = PART_ENTRIES,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Import crystals: ``crystals.parquet``, ``import.json``, ``rejected.csv``.

    Args:
        kind: "icsd", "cod", "mp", "amcsd" or "cif".
        path: Folder (searched to any depth, zip archives too), archive or file; for
            "mp" a table, a folder of tables, or CIFs; for "amcsd" the database of
            larixite, that of the installed wheel if None, or a folder of CIFs.
        out: Folder for the result. What an earlier run read is taken up.
        workers: Processes; as many as there are cores if None.
        symprec: Tolerance of the search for symmetry [Å].
        filters: Which crystals are kept; all if None.
        restricted: Mark the result as licensed even if nothing in it says so.
        csv_path: Table of an ICSD export; if None, those in the folder are found.
        time_limit: Longest time for one file [s]; see `run_guarded`.
        part_entries: Files that are read before the next part is written.
        on_progress: Is called with files done, files in all, processor seconds.

    Raises:
        SourceError: If there is nothing to read, or the folder holds another import.
    """
    filters = filters or ImportFilters()
    if path is None:
        if kind != "amcsd":
            raise SourceError(f"name the folder or file of the {kind} import")
        path = find_amcsd()
    out = Path(out)
    _check_place(out, kind, Path(path))
    parts = plan_import(kind, path, symprec, part_entries)
    naming = Naming(kind, _read_tables(kind, Path(path), csv_path))
    out.mkdir(parents=True, exist_ok=True)
    if kind == "icsd" or restricted:
        _mark_restricted(out)
    write_json(
        out / PARTS / "source.json" if (out / PARTS).is_dir() else _make_parts(out),
        {"kind": kind, "path": str(Path(path).resolve())},
    )
    _read_parts(parts, out, naming, workers, time_limit, on_progress)
    joined = join_parts(out, len(parts), naming, filters)
    is_restricted = restricted or kind == "icsd" or joined.n_licensed > 0
    if is_restricted:
        _mark_restricted(out)
    report = ImportReport(
        kind=kind,
        out=out,
        restricted=is_restricted,
        n_files=sum(len(part.tasks) for part in parts),
        digest=_sha256(out / CRYSTALS),
        **joined.counts,
    )
    _write_record(report, path, symprec, filters)
    return report


def _write_record(
    report: ImportReport, path: str | Path, symprec: float, filters: ImportFilters
) -> None:
    record = asdict(report)
    del record["out"]
    write_json(
        report.out / RECORD,
        {
            "format": _FORMAT,
            "kind": report.kind,
            "source": Path(path).name,
            "restricted": report.restricted,
            "symprec": symprec,
            "filters": asdict(filters),
            "versions": reader_versions(),
            **record,
        },
    )


def load_import(folder: str | Path) -> tuple[CrystalBatch, Any]:
    """Load the crystals of an import, and what is known of them.

    Args:
        folder: What `import_structures` wrote.

    Returns:
        Crystals, and a ``pyarrow.Table`` with one row each: ``id``,
        ``space_group_given`` (0 if none), ``space_group_found``, ``structure_type`` (""
        if none was given), ``prototype``, ``formula``, ``anonymous_formula``,
        ``disordered``, ``volume`` [Å³], ``n_sites``, ``year`` (0 if unknown),
        ``mineral`` ("" if unnamed) and more.

    Raises:
        SourceError: If the folder holds no finished import, or its table is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    record = load_import_record(folder)
    path = Path(folder) / CRYSTALS
    try:
        if _sha256(path) != record["digest"]:
            raise SourceError(
                f"{path} is not what {RECORD} describes; run the import again"
            )
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    crystals = crystals_from_arrow(table)
    held = set(CRYSTAL_COLUMNS)
    return crystals, table.select([n for n in table.column_names if n not in held])


def load_import_record(folder: str | Path) -> dict[str, Any]:
    """Load the account of an import: counts, reasons, options, ``restricted``.

    Raises:
        SourceError: If the folder holds no finished import.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise SourceError(
            f"{folder} holds no finished import; `pxrdbench import` writes {RECORD}"
        )
    record = read_record(path)
    if record.get("format") != _FORMAT or "digest" not in record:
        raise SourceError(f"{path} is of another version of pxrdbench; import again")
    return record


def is_import(folder: str | Path) -> bool:
    """Whether a folder holds a finished import."""
    return (Path(folder) / RECORD).is_file()


def _make_parts(out: Path) -> Path:
    (out / PARTS).mkdir()
    return out / PARTS / "source.json"


def _check_place(out: Path, kind: str, path: Path) -> None:
    """Refuse a folder that holds another import, or things of other origin."""
    source = out / PARTS / "source.json"
    if source.is_file():
        before = read_record(source)
        if before != {"kind": kind, "path": str(path.resolve())}:
            raise SourceError(
                f"{out} holds an import ({before.get('kind')}) of "
                f"{before.get('path')}; give another folder, or delete it"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SourceError(f"{out} is no empty folder; give another one")


def _read_tables(kind: str, path: Path, csv_path: str | Path | None) -> dict[str, Any]:
    if kind != "icsd":
        if csv_path is not None:
            raise SourceError("a table with structure types belongs to an ICSD export")
        return {}
    if csv_path is not None:
        return read_icsd_tables([csv_path])
    return read_icsd_tables(find_icsd_tables(path)) if path.is_dir() else {}


def _read_parts(
    parts: list[PlannedPart],
    out: Path,
    naming: Naming,
    workers: int | None,
    time_limit: float,
    on_progress: Progress | None,
) -> None:
    """Read the parts that are not finished, and write each when it is."""
    table = hashlib.sha256(repr(sorted(naming.table.items())).encode()).hexdigest()
    parts = [
        PlannedPart(part.names, part.tasks, f"{part.digest} {table}") for part in parts
    ]
    total = sum(len(part.tasks) for part in parts)
    left = [n for n, part in enumerate(parts) if not is_finished(out, n, part.digest)]
    done = total - sum(len(parts[number].tasks) for number in left)
    cpu = 0.0
    if on_progress:
        on_progress(done, total, cpu)
    tasks = (task for number in left for task in parts[number].tasks)
    # A list of one task must not start a process for each core.
    n_left = total - done
    results = run_guarded(
        run_task,
        tasks if n_left > 1 else list(tasks),
        workers,
        time_limit,
        prepare=load_readers,
    )

    def tell() -> Iterator[Any]:
        nonlocal done, cpu
        for result in results:
            done += 1
            cpu += getattr(result, "cpu_seconds", 0.0)
            if on_progress:
                on_progress(done, total, cpu)
            yield result

    told = tell()
    for number in left:
        part = parts[number]
        write_part(out, number, part, list(islice(told, len(part.tasks))), naming)
    _remove_stale_parts(out, len(parts))


def _remove_stale_parts(out: Path, n_parts: int) -> None:
    """Remove parts that a larger source had before."""
    for file in sorted((out / PARTS).glob("part-*")):
        number = file.name.removeprefix("part-").split(".")[0]
        if number.isdigit() and int(number) >= n_parts:
            file.unlink()


def _mark_restricted(out: Path) -> None:
    """Say that a folder must not be passed on, to people and to git."""
    (out / "RESTRICTED.txt").write_text(_RESTRICTED_NOTE, encoding="utf-8")
    (out / ".gitignore").write_text("*\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
