"""The parts of an import become one table, and one list of what is not in it.

Parts are read twice, one at a time, so that memory does not grow with their number:
once to decide what is kept, once to copy it.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pxrdbench.files import atomic_path
from pxrdbench.sources.structures.filters import ImportFilters
from pxrdbench.sources.structures.parts import Naming, part_files, read_record

CRYSTALS = "crystals.parquet"
REJECTED = "rejected.csv"
_COLUMNS = ("id", "file", "stage", "reason", "details")
_DUPLICATE = "the entry is there already"
_NO_CIF = "in the table, but there is no CIF"


@dataclass
class Joined:
    """What was counted while the parts were joined.

    Attributes:
        counts: Of the report, by the names of its fields.
        n_licensed: Entries of the ICSD among the crystals that were read.
    """

    counts: dict[str, Any]
    n_licensed: int


@dataclass
class _Decisions:
    """Which crystals are kept under which id, and what has been counted."""

    # Of each part: row -> (new id, reason); the reason is "" for what is kept.
    rows: list[list[tuple[str, str]]] = field(default_factory=list)
    groups: Counter[int] = field(default_factory=Counter)
    not_read: Counter[str] = field(default_factory=Counter)
    readers: Counter[str] = field(default_factory=Counter)
    n_licensed: int = 0
    cpu_seconds: float = 0.0


def join_parts(
    out: Path, n_parts: int, naming: Naming, filters: ImportFilters
) -> Joined:
    """Write the table of crystals and the list of the others.

    Args:
        out: Folder of the import.
        n_parts: Parts in it, all of them finished.
        naming: Its kind, and the entries that its tables name.
        filters: Which crystals are kept.
    """
    decisions, seen = _decide(out, n_parts, naming, filters)
    thin = filters.find_thin_groups(decisions.groups)
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    groups: set[int] = set()
    types: set[str] = set()
    n_kept = n_read = 0
    with _open_outputs(out) as (tables, rejected):
        for number in range(n_parts):
            table = _read_table(out, number)
            kept, names = [], []
            meta = table.select(_DECIDED).to_pylist()
            for row, (name, decided) in zip(meta, decisions.rows[number], strict=True):
                reason = decided
                if not reason and row["space_group_found"] in thin:
                    reason = filters.thin_reason
                kept.append(not reason)
                names.append(name)
                if reason:
                    dropped[reason] += 1
                    rejected.writerow([name, row["file"], "filter", reason, ""])
                    continue
                notes.update(_notes(row))
                groups.add(row["space_group_found"])
                types.add(row["structure_type"] or row["prototype"] or name)
            n_read += len(kept)
            n_kept += sum(kept)
            tables.write(_take(table, names, kept))
            for entry, file, message in _failures(out, number):
                reason, _, details = message.partition(":")
                rejected.writerow([entry, file, "read", reason, details.strip()])
        missing = sorted(set(naming.table) - seen, key=lambda code: (len(code), code))
        for code in missing:
            rejected.writerow([code, "", "table", _NO_CIF, ""])
    if missing:
        notes[f"{_NO_CIF} (not counted as entries)"] = len(missing)
    return Joined(
        {
            "n_entries": n_read + decisions.not_read.total(),
            "n_read": n_read,
            "n_kept": n_kept,
            "not_read": _sorted(decisions.not_read),
            "dropped": _sorted(dropped),
            "notes": _sorted(notes),
            "readers": _sorted(decisions.readers),
            "n_groups": len(groups),
            "n_types": len(types),
            "cpu_seconds": round(decisions.cpu_seconds, 3),
        },
        decisions.n_licensed,
    )


def _decide(
    out: Path, n_parts: int, naming: Naming, filters: ImportFilters
) -> tuple[_Decisions, set[str]]:
    """First pass: ids that are new, filters of one crystal, counts."""
    decisions = _Decisions()
    seen: set[str] = set()
    for number in range(n_parts):
        rows = []
        for row in _read_table(out, number, _DECIDED).to_pylist():
            name, reason = row["id"], ""
            if naming.kind == "icsd" and name in seen:
                reason = _DUPLICATE
            else:
                name = _unused(name, seen)
                reason = filters.find_reason(row)
            seen.add(name)
            rows.append((name, reason))
            decisions.readers[row["reader"]] += 1
            decisions.n_licensed += row["licensed"]
            if not reason:
                decisions.groups[row["space_group_found"]] += 1
        decisions.rows.append(rows)
        _, record_path = part_files(out, number)
        decisions.cpu_seconds += float(read_record(record_path)["cpu_seconds"])
        for entry, _, message in _failures(out, number):
            decisions.not_read[message.partition(":")[0]] += 1
            seen.add(entry)
    return decisions, seen


def _notes(row: dict[str, Any]) -> Iterator[str]:
    """What is worth knowing of a crystal that is kept."""
    if not row["space_group_given"]:
        yield "no space group given"
    elif row["space_group_given"] != row["space_group_found"]:
        yield "another space group found than given"
    if row["disordered"]:
        yield "disordered"
    if row["left_out"]:
        yield "hydrogens or dummies without a place left out"
    if not row["structure_type"]:
        yield "no structure type given (the prototype label stands in)"
    if not row["prototype"]:
        yield "no prototype label"


# What is looked at to decide on a crystal; the rest is copied.
_DECIDED = ["id", "file", "space_group_given", "space_group_found", "structure_type"]
_DECIDED += ["prototype", "disordered", "volume", "n_sites", "left_out", "reader"]
_DECIDED += ["licensed"]


def _read_table(out: Path, number: int, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet

    path, _ = part_files(out, number)
    return pyarrow.parquet.read_table(path, columns=columns)


def _failures(out: Path, number: int) -> list[list[str]]:
    _, path = part_files(out, number)
    failures: list[list[str]] = read_record(path)["failures"]
    return failures


def _take(table: Any, names: list[str], kept: list[bool]) -> Any:
    """Rows that are kept, under their new ids."""
    import pyarrow as pa

    table = table.set_column(0, "id", pa.array(names, pa.string()))
    return table.filter(pa.array(kept, pa.bool_()))


def _unused(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}:{number}"
    return unique


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Tables:
    """The table of crystals, one row group a part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def write(self, table: Any) -> None:
        import pyarrow.parquet

        if self.writer is None:
            self.writer = pyarrow.parquet.ParquetWriter(
                self.path, table.schema, compression="zstd"
            )
        self.writer.write_table(table)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


@contextmanager
def _open_outputs(out: Path) -> Iterator[tuple[_Tables, Any]]:
    """Open both files; they get their names when all is in them."""
    with atomic_path(out / REJECTED) as rejected, atomic_path(out / CRYSTALS) as kept:
        tables = _Tables(kept)
        with rejected.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            yield tables, writer
        tables.close()
