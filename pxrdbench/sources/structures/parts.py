"""Parts of an import on disk: written whole, found again, joined in the end.

A part is a table of crystals (Parquet) and a record (JSON) of what was not read. The
record is written last: a part without one was never finished.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import SourceError
from pxrdbench.files import atomic_path, write_atomically
from pxrdbench.outside import read_strict_json
from pxrdbench.sources.databases.icsd import TableRow, normal_code
from pxrdbench.sources.guarded import Lost
from pxrdbench.sources.structures.entry import ImportEntry, ImportFailure, TaskResult
from pxrdbench.sources.structures.plan import PlannedPart
from pxrdbench.sources.structures.table import crystals_to_arrow

PARTS = "parts"
# A line for each entry that was not read.
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Naming:
    """How entries get their ids, and what tables know of them.

    Attributes:
        kind: Of the source.
        table: Rows of the ICSD's tables, by collection code.
    """

    kind: str
    table: Mapping[str, TableRow]

    def make_id(
        self, name: str, block: str, n_blocks: int, codes: dict[str, str]
    ) -> str:
        """The entry's code in its database; else file, and block where it has many."""
        if self.kind == "icsd" and normal_code(codes.get("ICSD", "")):
            return normal_code(codes["ICSD"])
        stem = name.rsplit("/", 1)[-1]
        # The COD sorts 1000041.cif into 1/00/00.
        short = stem if self.kind == "cod" and stem.isdigit() else name
        return f"{short}:{block}" if n_blocks > 1 else short

    def guess_id(self, name: str) -> str:
        """The id of an entry of which nothing but its file's name is known."""
        number = re.search(r"(\d+)\D*$", name)
        code = normal_code(number[1]) if number else ""
        return code if self.kind == "icsd" and code in self.table else name


def part_files(out: Path, number: int) -> tuple[Path, Path]:
    """Crystals and record of a part."""
    stem = out / PARTS / f"part-{number:06d}"
    return stem.with_suffix(".parquet"), stem.with_suffix(".json")


def is_finished(out: Path, number: int, digest: str) -> bool:
    """Whether a part stands as it would be written now."""
    crystals, record = part_files(out, number)
    if not crystals.is_file():
        return False
    try:
        return bool(read_record(record)["digest"] == digest)
    except (SourceError, KeyError):
        return False


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises:
        SourceError: If there is none, or it is damaged.
    """
    return read_strict_json(path, SourceError, _MOST_BYTES)


def write_part(
    out: Path,
    number: int,
    planned: PlannedPart,
    results: Sequence[TaskResult | Lost],
    naming: Naming,
) -> None:
    """Write what became of the tasks of a part."""
    import pyarrow as pa
    import pyarrow.parquet

    rows: list[dict[str, Any]] = []
    crystals = []
    failures: list[list[str]] = []
    cpu = 0.0
    for name, result in zip(planned.names, results, strict=True):
        if isinstance(result, Lost):
            failures.append([naming.guess_id(name), name, result.reason])
            continue
        cpu += result.cpu_seconds
        for outcome in result.outcomes:
            entry = naming.make_id(
                name, outcome.block, len(result.outcomes), dict(outcome.fields.codes)
            )
            if isinstance(outcome, ImportFailure):
                failures.append([entry, name, outcome.message])
            else:
                rows.append(_describe(entry, name, outcome, naming))
                crystals.append(outcome.crystal)
    batch = CrystalBatch.from_crystals(crystals)
    table = pa.Table.from_pylist(rows, schema=_schema())
    table = table.set_column(
        table.column_names.index("volume"), "volume", pa.array(batch.volume)
    )
    held = crystals_to_arrow(batch)
    for column in held.column_names:
        table = table.append_column(held.schema.field(column), held[column])
    table_path, record_path = part_files(out, number)
    table_path.parent.mkdir(parents=True, exist_ok=True)
    record_path.unlink(missing_ok=True)
    with atomic_path(table_path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished, compression="zstd")
    write_json(
        record_path,
        {"digest": planned.digest, "failures": failures, "cpu_seconds": cpu},
    )


def _describe(
    entry: str, name: str, outcome: ImportEntry, naming: Naming
) -> dict[str, Any]:
    """One row of the table, but for the crystal."""
    crystal, fields = outcome.crystal, outcome.fields
    known = naming.table.get(entry, TableRow("", 0))
    return {
        "id": entry,
        "file": name,
        "database_code": " ".join(f"{d}:{code}" for d, code in fields.codes),
        "space_group_given": fields.space_group or known.space_group,
        "space_group_found": crystal.space_group,
        "symprec": outcome.symprec,
        "structure_type": known.structure_type or fields.structure_type,
        "prototype": outcome.prototype,
        "formula": outcome.formula,
        "anonymous_formula": outcome.anonymous_formula,
        "disordered": outcome.is_disordered,
        "volume": 0.0,
        "n_sites": outcome.n_sites,
        "year": fields.year,
        "mineral": fields.mineral,
        "left_out": " ".join(outcome.left_out),
        "notes": "; ".join(outcome.notes),
        "reader": outcome.reader,
        "licensed": fields.is_licensed or naming.kind == "icsd",
    }


def _schema() -> Any:
    """Columns that stand before those of the crystal."""
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("file", pa.string()),
            ("database_code", pa.string()),
            ("space_group_given", pa.int16()),
            ("space_group_found", pa.int16()),
            ("symprec", pa.float64()),
            ("structure_type", pa.string()),
            ("prototype", pa.string()),
            ("formula", pa.string()),
            ("anonymous_formula", pa.string()),
            ("disordered", pa.bool_()),
            ("volume", pa.float64()),
            ("n_sites", pa.int32()),
            ("year", pa.int16()),
            ("mineral", pa.string()),
            ("left_out", pa.string()),
            ("notes", pa.string()),
            ("reader", pa.string()),
            ("licensed", pa.bool_()),
        ]
    )


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record so that it is there whole, or not at all."""
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
