"""Exports of the Inorganic Crystal Structure Database (ICSD).

An export is a folder of CIFs, in the layout of 2019 or of 2021 and later, and perhaps
a table (CSV) with one row an entry. Of the table only the columns CollectionCode and
StructureType are needed; they are found by their names, wherever they stand and
whatever line comes before them. Everything made from an export is restricted: it must
not be passed on.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.fields import find_symbol_group
from pxrdbench.sources.labels.type_names import canonical_structure_type

CODE_COLUMN = "CollectionCode"
TYPE_COLUMN = "StructureType"
_SYMBOL_COLUMN = "HMS"
# Lines before the header: the export has one, people add some.
_MAX_PREAMBLE = 20


@dataclass(frozen=True)
class TableRow:
    """What the table says of an entry: canonical type ("" if none), group (0 if)."""

    structure_type: str
    space_group: int


def find_icsd_tables(folder: Path) -> list[Path]:
    """Find the tables of an export: CSV files with the two columns."""
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() == ".csv" and file.is_file()
    ]
    return [file for file in found if _find_header(file) is not None]


def read_icsd_tables(paths: Sequence[str | Path]) -> dict[str, TableRow]:
    """Read what tables of an export say of each entry, by its collection code.

    Raises:
        SourceError: If a file cannot be read, lacks one of the two columns, or two
            rows give one entry two types.
    """
    rows: dict[str, TableRow] = {}
    for path in map(Path, paths):
        for code, row in _read_table(path).items():
            before = rows.get(code)
            types = {row.structure_type, before.structure_type if before else ""}
            if len(types - {""}) > 1:
                raise SourceError(
                    f"{path}: entry {code} has the structure types "
                    f"{' and '.join(sorted(types - {''}))} in the tables of the "
                    "export; remove the older table"
                )
            if before is None or row.structure_type:
                rows[code] = row
    return rows


def _read_table(path: Path) -> dict[str, TableRow]:
    found = _find_header(path)
    if found is None:
        raise SourceError(
            f"{path} has no line with the columns {CODE_COLUMN} and {TYPE_COLUMN} "
            f"among its first {_MAX_PREAMBLE}; these two are needed"
        )
    skipped, delimiter, encoding = found
    rows: dict[str, TableRow] = {}
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            for _ in range(skipped):
                file.readline()
            table = csv.reader(file, delimiter=delimiter)
            header = [_plain(name) for name in next(table)]
            code_at = header.index(_plain(CODE_COLUMN))
            type_at = header.index(_plain(TYPE_COLUMN))
            symbol = _plain(_SYMBOL_COLUMN)
            symbol_at = header.index(symbol) if symbol in header else -1
            for cells in table:
                if len(cells) <= max(code_at, type_at):
                    continue  # a blank line, or one cut off
                code = normal_code(cells[code_at])
                if not code:
                    continue
                has_symbol = 0 <= symbol_at < len(cells)
                rows[code] = TableRow(
                    canonical_structure_type(cells[type_at]),
                    find_symbol_group(cells[symbol_at]) if has_symbol else 0,
                )
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    return rows


def normal_code(text: str) -> str:
    """Write a collection code without blanks and leading zeros; "" if it is none.

    Example:
        >>> normal_code(" 0012345 "), normal_code("12345.0"), normal_code("x")
        ('12345', '12345', '')
    """
    found = re.fullmatch(r"\s*0*(\d+)(?:\.0+)?\s*", text)
    return found[1] if found else ""


def _find_header(path: Path) -> tuple[int, str, str] | None:
    """Lines before the header, delimiter and encoding; None if there is no header."""
    wanted = {_plain(CODE_COLUMN), _plain(TYPE_COLUMN)}
    try:
        with path.open("rb") as stream:
            head = stream.read(200_000)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        try:
            head[: head.rfind(b"\n") + 1].decode("utf-8")
            encoding = "utf-8-sig"
        except UnicodeDecodeError:
            encoding = "latin-1"
    lines = head.decode(encoding, errors="replace").splitlines()
    for skipped, line in enumerate(lines[:_MAX_PREAMBLE]):
        for delimiter in ",;\t":
            cells = next(csv.reader([line], delimiter=delimiter), [])
            if wanted <= {_plain(cell) for cell in cells}:
                return skipped, delimiter, encoding
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
