"""The American Mineralogist crystal structure database out of the wheel `larixite`.

The wheel (PyPI, MIT) carries 9,275 experimental mineral structures in an SQLite file,
``amcsd_cif1.db``. The file is opened by its path, read-only; larixite's own code is
not run (it would look for another database in the home folder and on the net). What
one row holds is written as the CIF that it was made from, and read as any other.

Layout of the file, found by looking: ``cif`` has a row a structure; names of columns
speak. Lists of numbers are base64 of int32 in units of 1 / 4,000,000, where 2 stands
for "?" and 3 for "."; a list that was not there is "0". Operations stand in
``spacegroups``, one list for each spelling of a symbol.

References:
    Downs & Hall-Wallace (2003), Am. Mineral. 88, 247.
"""

import base64
import hashlib
import importlib.util
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pxrdbench.errors import SourceError

# amcsd_cif1.db as larixite 2026.1.0 carries it.
DATABASE_SHA256 = "991b2c197bb13537bda2383eb9621cac2b80ebfb2fe8960900db15083a8a0e33"
DATABASE_NAME = "amcsd_cif1.db"
_SCALE = 4.0e6
_MISSING = ("", "0", "None", "<missing>", '"<missing>"')
_COLUMNS = (
    "id", "formula", "a", "b", "c", "alpha", "beta", "gamma", "cell_volume",
    "atoms_sites", "atoms_x", "atoms_y", "atoms_z", "atoms_occupancy", "atoms_u_iso",
    "atoms_aniso_label", "atoms_aniso_u11", "atoms_aniso_u22", "atoms_aniso_u33",
    "atoms_aniso_u12", "atoms_aniso_u13", "atoms_aniso_u23",
)  # fmt: skip


@dataclass(frozen=True)
class AmcsdEntry:
    """One structure.

    Attributes:
        code: Of the database, seven digits.
        mineral: Name; "" if it has none.
        year: Of the publication; 0 if unknown.
        cif: Text of the CIF.
    """

    code: str
    mineral: str
    year: int
    cif: str


def find_amcsd() -> Path:
    """Find the database of the installed larixite, without running its code.

    Raises:
        SourceError: If it is not installed, or carries no such file.
    """
    spec = importlib.util.find_spec("larixite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / DATABASE_NAME
        if path.is_file():
            return path
    raise SourceError(
        "the American Mineralogist database is not installed; "
        '`pip install "pxrdbench[amcsd]"` brings it (the wheel larixite, 8 MB)'
    )


def read_amcsd(path: str | Path | None = None) -> Iterator[AmcsdEntry]:
    """Read all structures, in the order of their codes.

    Args:
        path: Of ``amcsd_cif1.db``; that of the installed larixite if None.

    Raises:
        SourceError: If the file is not the one that is known, or is damaged.
    """
    path = find_amcsd() if path is None else Path(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != DATABASE_SHA256:
        raise SourceError(
            f"{path.name} is not the database of larixite 2026.1.0 (sha256 "
            f"{digest[:12]}…, {DATABASE_SHA256[:12]}… is known); install that version"
        )
    query = (
        f"select {', '.join('cif.' + name for name in _COLUMNS)}, "  # noqa: S608
        "spacegroups.hm_notation, spacegroups.symmetry_xyz, minerals.name, "
        "publications.year from cif "
        "left join spacegroups on spacegroups.id = cif.spacegroup_id "
        "left join minerals on minerals.id = cif.mineral_id "
        "left join publications on publications.id = cif.publication_id "
        "order by cif.id"
    )
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            for row in connection.execute(query):
                yield _make_entry(dict(zip((*_COLUMNS, *_JOINED), row, strict=True)))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SourceError(f"{path.name} cannot be read: {error}") from None


_JOINED = ("hm", "operations", "mineral", "year")


def _make_entry(row: dict[str, object]) -> AmcsdEntry:
    code = f"{int(str(row['id'])):07d}"
    mineral = str(row["mineral"] or "")
    year = int(str(row["year"])) if str(row["year"] or "").isdigit() else 0
    lines = [
        "data_global",
        f"_database_code_amcsd {code}",
        f"_chemical_formula_sum '{str(row['formula'] or '?').replace(chr(39), '')}'",
    ]
    if year:
        lines.append(f"_journal_year {year}")
    if mineral not in _MISSING:
        lines.append(f'_chemical_name_mineral "{mineral}"')
    for name in ("a", "b", "c"):
        lines.append(f"_cell_length_{name} {row[name]}")
    for name in ("alpha", "beta", "gamma"):
        lines.append(f"_cell_angle_{name} {row[name]}")
    if str(row["cell_volume"]) not in _MISSING:
        lines.append(f"_cell_volume {row['cell_volume']}")
    lines.append(f"_symmetry_space_group_name_H-M '{row['hm']}'")
    lines += ["loop_", "_space_group_symop_operation_xyz"]
    lines += [f"'{text}'" for text in _words(row["operations"])]
    lines += _atoms(row)
    return AmcsdEntry(
        code, "" if mineral in _MISSING else mineral, year, "\n".join([*lines, ""])
    )


def _atoms(row: dict[str, object]) -> list[str]:
    """Loops of atoms and of their tensors."""
    labels = _words(row["atoms_sites"])
    if not labels:
        return []
    tags = ["label", "fract_x", "fract_y", "fract_z"]
    columns = [labels, *(_numbers(row[f"atoms_{x}"]) for x in "xyz")]
    for tag, name in (("occupancy", "occupancy"), ("U_iso_or_equiv", "u_iso")):
        values = _numbers(row[f"atoms_{name}"])
        if values:
            tags.append(tag)
            columns.append(values)
    lines = _loop("_atom_site_", tags, columns)
    labels = _words(row["atoms_aniso_label"])
    if labels:
        parts = ("11", "22", "33", "12", "13", "23")
        columns = [labels, *(_numbers(row[f"atoms_aniso_u{p}"]) for p in parts)]
        if all(columns):
            tags = ["label", *(f"U_{part}" for part in parts)]
            lines += _loop("_atom_site_aniso_", tags, columns)
    return lines


def _loop(head: str, tags: list[str], columns: list[list[str]]) -> list[str]:
    rows = zip(*columns, strict=False)  # a list that is cut costs the rows it lacks
    return ["loop_", *(head + tag for tag in tags), *(" ".join(row) for row in rows)]


def _words(value: object) -> list[str]:
    """A list of texts, quoted for a CIF where needed."""
    if str(value or "") in _MISSING:
        return []
    found = json.loads(str(value))
    words = [str(word) for word in found] if isinstance(found, list) else []
    return [f'"{w}"' if " " in w or w[:1] in "#_$'[];" else w for w in words]


def _numbers(value: object) -> list[str]:
    """A list of numbers as text, with "?" and "." where they were."""
    if str(value or "") in _MISSING:
        return []
    raw = base64.b64decode(str(value))
    whole = np.frombuffer(raw, "<i4")
    texts = []
    for number in whole.tolist():
        if number == 2 * _SCALE:
            texts.append("?")
        elif number == 3 * _SCALE:
            texts.append(".")
        else:
            # Six decimals hold what the file holds; published ones have three to five.
            text = f"{number / _SCALE:.6f}".rstrip("0")
            texts.append(text if text[-1] != "." else text + "0")
    return texts
