"""What an import reads: tasks in parts, each part known by a digest of its input.

A part is read whole or not at all. Its digest tells, when the same command is given
again, whether what was read before still stands.
"""

import csv
import gzip
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.files import find_cifs, read_text
from pxrdbench.sources.databases.materials_project import TABLE_PATH
from pxrdbench.sources.structures.entry import CifTask, RowTask

KINDS = ("icsd", "cod", "mp", "amcsd", "cif")
# Files of one part: some 15 s of work that a kill can cost.
PART_ENTRIES = 500
# Raised when parts get other columns: those of before are read anew.
PART_SCHEMA = 2
# A file larger than this may hold many crystals: it is cut into tasks of some blocks,
# so that the time limit holds for these and not for the file.
_LARGE_BYTES = 500_000
_BLOCKS_A_TASK = 20
_CIF_COLUMNS = ("cif", "structure", "cif.conv")
_ID_COLUMNS = ("material_id", "id", "mp_id", "mp-id", "task_id", "name")
_GROUP_COLUMNS = ("spacegroup.number", "space_group_number", "sg_mp", "spacegroup")

Task = CifTask | RowTask


@dataclass(frozen=True)
class PlannedPart:
    """A part of an import.

    Attributes:
        names: Of each task: path within the folder or archive without suffix, or the
            id of the row.
        tasks: What to read.
        digest: Of all input; another digest is another part.
    """

    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    digest: str


def plan_import(
    kind: str, path: str | Path, symprec: float, part_entries: int = PART_ENTRIES
) -> list[PlannedPart]:
    """Cut what is at a path into parts, in the order of the names.

    Args:
        kind: One of `KINDS`.
        path: Folder, archive or file.
        symprec: Tolerance of the search for symmetry [Å].
        part_entries: Tasks of a part.

    Raises:
        SourceError: If there is nothing to read at the path.
    """
    if kind not in KINDS:
        raise SourceError(f"{kind!r} is no kind of source; they are {', '.join(KINDS)}")
    if not 0.0 < symprec <= 1.0:
        raise SourceError(f"symprec {symprec} is not in (0, 1] angstrom")
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    if kind == "amcsd" and path.is_file():
        planned = _amcsd_tasks(path, symprec)
    elif kind == "mp" and not _holds_cifs(path):
        planned = _table_tasks(path, symprec)
    else:
        planned = _cif_tasks(path, symprec)
    reader = json.dumps([PART_SCHEMA, symprec, *reader_versions().items()])
    parts = []
    while some := list(islice(planned, part_entries)):
        digest = hashlib.sha256(reader.encode())
        for name, _, stamp in some:
            digest.update(f"\n{name}\t{stamp}".encode(errors="surrogateescape"))
        parts.append(
            PlannedPart(
                tuple(name for name, _, _ in some),
                tuple(task for _, task, _ in some),
                digest.hexdigest(),
            )
        )
    if not parts:
        raise SourceError(f"{path} holds no .cif file, nor an archive with one")
    return parts


def reader_versions() -> dict[str, str]:
    """Versions of what decides how a file is read."""
    from importlib.metadata import version

    names = ("pxrdbench", "pymatgen", "gemmi", "spglib")
    return {name: version(name) for name in names}


def _amcsd_tasks(path: Path, symprec: float) -> Iterator[tuple[str, Task, str]]:
    """Rows of larixite's database, whose digest is pinned."""
    from pxrdbench.sources.databases.amcsd import DATABASE_SHA256, read_amcsd

    for entry in read_amcsd(path):
        task = RowTask(symprec, cif=entry.cif, year=entry.year)
        yield entry.code, task, f"{DATABASE_SHA256} {entry.code}"


def _holds_cifs(path: Path) -> bool:
    if path.is_dir():
        return not (path / TABLE_PATH).is_file() and not any(
            _is_table(file) for file in path.iterdir()
        )
    return path.suffix.lower() in (".cif", ".zip")


def _cif_tasks(path: Path, symprec: float) -> Iterator[tuple[str, Task, str]]:
    """Name, task and stamp (what changes when the file does) of each, by name."""
    places = sorted(
        find_cifs(path, archives=True), key=lambda place: (place[2], place[:2])
    )
    directory: dict[str, dict[str, zipfile.ZipInfo]] = {}
    for file, member, name in places:
        if member:
            if file not in directory:
                with zipfile.ZipFile(file) as archive:
                    directory = {file: {i.filename: i for i in archive.infolist()}}
            info = directory[file][member]
            size, stamp = info.file_size, f"{info.file_size} {info.CRC:08x}"
        else:
            status = Path(file).stat()
            size, stamp = status.st_size, f"{status.st_size} {status.st_mtime_ns}"
        for first, last in _cut_blocks(file, member, size):
            task = CifTask(file, member, symprec, first, last)
            yield name, task, f"{stamp} {first}-{last}"


def _cut_blocks(file: str, member: str, size: int) -> list[tuple[int, int]]:
    """Ranges of data blocks, the whole file where it is small."""
    if size <= _LARGE_BYTES:
        return [(0, -1)]
    try:
        text = read_text(file, member)
    except (
        OSError,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
        SourceError,
    ):
        return [(0, -1)]  # the worker will say why
    n_blocks = len(re.findall(r"(?im)^data_", text))
    if n_blocks <= _BLOCKS_A_TASK:
        return [(0, -1)]
    starts = range(0, n_blocks, _BLOCKS_A_TASK)
    return [(start, start + _BLOCKS_A_TASK) for start in starts]


def _is_table(file: Path) -> bool:
    return file.name.lower().endswith((".csv", ".csv.gz", ".parquet"))


def _table_tasks(path: Path, symprec: float) -> Iterator[tuple[str, Task, str]]:
    """Rows of all tables at a path."""
    if path.is_dir():
        held = path / TABLE_PATH
        files = (
            [held]
            if held.is_file()
            else sorted(file for file in path.iterdir() if _is_table(file))
        )
    else:
        files = [path]
    for file in files:
        if not _is_table(file):
            raise SourceError(
                f"{file} is no table of crystals: .parquet, .csv or .csv.gz"
            )
        is_parquet = file.suffix.lower() == ".parquet"
        rows = _parquet_rows(file, symprec) if is_parquet else _csv_rows(file, symprec)
        status = file.stat()
        for number, (name, task) in enumerate(rows):
            yield name, task, f"{status.st_size} {status.st_mtime_ns} {number}"


def _parquet_rows(file: Path, symprec: float) -> Iterator[tuple[str, Task]]:
    from pxrdbench.sources.databases.materials_project import read_table

    table = read_table(file)
    columns = ("id", "cell", "elements", "frac", "sg_mp", "year")
    table = table.select([name for name in columns if name in table.column_names])
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield (
                row["id"],
                RowTask(
                    symprec,
                    tuple(row["cell"]),
                    tuple(row["elements"].split()),
                    tuple(row["frac"]),
                    space_group=int(row.get("sg_mp") or 0),
                    year=int(row.get("year") or 0),
                ),
            )


def _csv_rows(file: Path, symprec: float) -> Iterator[tuple[str, Task]]:
    """Rows of a table in which each crystal is the text of a CIF (MP-20, MPTS-52)."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    opened: Any = gzip.open if file.suffix.lower() == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8", errors="replace", newline="") as text:
            table = csv.DictReader(text)
            names = list(table.fieldnames or ())
            cif = _pick(names, _CIF_COLUMNS)
            key = _pick(names, _ID_COLUMNS)
            group = _pick(names, _GROUP_COLUMNS)
            if not cif or not key:
                raise SourceError(
                    f"{file} has no column of CIFs ({', '.join(_CIF_COLUMNS)}) or none "
                    f"of ids ({', '.join(_ID_COLUMNS)}); it has {', '.join(names)}"
                )
            for row in table:
                number = str(row.get(group) or "0") if group else "0"
                yield (
                    str(row[key]),
                    RowTask(
                        symprec,
                        cif=row[cif] or "",
                        space_group=int(number) if number.isdigit() else 0,
                        year=_year(row),
                    ),
                )
    except (OSError, EOFError, csv.Error) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def _year(row: dict[str, Any]) -> int:
    text = str(row.get("year") or "")
    return int(text) if re.fullmatch(r"[12]\d{3}", text) else 0


def _pick(names: Sequence[str], wanted: tuple[str, ...]) -> str:
    by_plain = {name.strip().lower(): name for name in names}
    return next((by_plain[name] for name in wanted if name in by_plain), "")
