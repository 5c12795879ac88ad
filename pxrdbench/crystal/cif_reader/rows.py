"""The atom table of a data block: each row as itself.

Nothing is matched by label: two atoms may carry the same. What has no place, or is no
atom, is left out and named if it is a hydrogen, a dummy or a vacancy; any other costs
the entry.
"""

import re
from collections.abc import Set
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.cif_reader.elements import find_charge, find_element
from pxrdbench.crystal.cif_reader.text import UNKNOWN, CifTags, read_number
from pxrdbench.errors import CrystalError

_B_OF_U = 8.0 * np.pi**2
# Atoms in solids at room temperature have B below 10 Å² or, loosely bound, 30; beyond
# this it stands for "not known" (American Mineralogist writes U = 2, B = 158).
_MOST_B = 100.0
# If the median is above this, U and B were taken for each other, or in another unit.
_MOST_MEDIAN_B = 15.0
_FRACT = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_MULTIPLICITY = (
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
)
_CARTESIAN = ("_atom_site_cartn_x", "_atom_site_cartn_y", "_atom_site_cartn_z")


@dataclass(frozen=True)
class AtomRow:
    """One row of the atom table.

    Attributes:
        label: As the file has it.
        element: Chemical symbol.
        charge: Formal charge.
        fract: Fractional coordinates.
        occupancy: Share of the position.
        b_iso: Isotropic displacement B [Å²], 0 if unknown.
        decimals: Of the coordinate with the most.
        multiplicity: Images in the cell that the file states, 0 if it does not.
    """

    label: str
    element: str
    charge: int
    fract: tuple[float, float, float]
    occupancy: float
    b_iso: float
    decimals: int
    multiplicity: int = 0


@dataclass(frozen=True)
class AtomTable:
    """Rows that have a place, and labels of those that were left out."""

    rows: tuple[AtomRow, ...]
    left_out: tuple[str, ...]


def read_rows(
    tags: CifTags, cell: tuple[float, ...], formula: Set[str] = frozenset()
) -> AtomTable:
    """Read the atom table.

    Args:
        tags: Of the data block.
        cell: a, b, c [Å], alpha, beta, gamma [degrees]; tensors need it.
        formula: Elements of the entry's formula; empty if unknown.

    Raises:
        CrystalError: If there is none, or a row is no atom; the message begins with
            one of the reasons of `read`.
    """
    found = tags.rows(*_FRACT)
    if not found or not all(tag in found[0] for tag in _FRACT):
        if any(tag in tags.values for tag in _CARTESIAN):
            raise CrystalError(
                "no atoms with fractional coordinates: they are cartesian"
            )
        raise CrystalError("no atoms with fractional coordinates: none listed")
    charges = _oxidation_numbers(tags)
    displacements = _aniso(tags, cell)
    rows: list[AtomRow] = []
    left_out: list[str] = []
    seen: dict[str, int] = {}
    for row in found:
        label = row.get("_atom_site_label", "").strip()
        number = seen.get(label, 0)
        seen[label] = number + 1
        own = displacements.get(label, [])
        tensor = own[min(number, len(own) - 1)] if own else None
        atom = _read_row(row, label, formula, charges, tensor)
        if atom is None:
            left_out.append(label or row.get("_atom_site_type_symbol", "?"))
        else:
            rows.append(atom)
    left_out += _attached(found, rows)
    heavy = [atom.b_iso for atom in rows if atom.element != "H" and atom.b_iso > 0.0]
    if heavy and float(np.median(heavy)) > _MOST_MEDIAN_B:
        rows = [replace(atom, b_iso=0.0) for atom in rows]
    return AtomTable(tuple(rows), tuple(left_out))


def _read_row(
    row: dict[str, str],
    label: str,
    formula: Set[str],
    charges: dict[str, int],
    tensor: float | None,
) -> AtomRow | None:
    """One row; None if it is left out."""
    kind = row.get("_atom_site_type_symbol", "").strip()
    if row.get("_atom_site_calc_flag", "").lower() == "dum":
        return None
    texts = [row[tag].strip() for tag in _FRACT]
    if all(text in UNKNOWN for text in (*texts, label, kind)):
        return None  # a row of question marks
    if any(text in UNKNOWN for text in texts) and _is_hydrogen(kind, label):
        return None
    share = read_number(row.get("_atom_site_occupancy", ""))
    element = find_element(
        label, kind, formula, is_partial=share is not None and share < 0.999
    )
    if element == "Va":
        return None
    fract = tuple(_fraction(text, label) for text in texts)
    if not element:
        name = kind if kind not in UNKNOWN else label
        raise CrystalError(f"an unknown element: {name!r} is no element from H to Cf")
    text = row.get("_atom_site_occupancy", "1").strip()
    occupancy = 1.0 if text in UNKNOWN else read_number(text)
    if occupancy is None or occupancy < 0.0:
        raise CrystalError(f"no valid CIF: {label} has the occupancy {text!r}")
    if occupancy == 0.0:
        return None
    charge = charges.get(kind) if kind in charges else find_charge(kind)
    return AtomRow(
        label=label,
        element=element,
        charge=charge or 0,
        fract=(fract[0], fract[1], fract[2]),
        occupancy=occupancy,
        b_iso=_displacement(row, tensor),
        decimals=max(len(re.sub(r"[(].*|^.*[.]", "", t)) if "." in t else 0
                     for t in texts),
        multiplicity=int(next((row[t] for t in _MULTIPLICITY
                               if row.get(t, "").isdigit()), "0")),
    )  # fmt: skip


def _fraction(text: str, label: str) -> float:
    ratio = re.fullmatch(r"([-+]?\d+)/(\d+)", text)
    if ratio and int(ratio[2]):
        return int(ratio[1]) / int(ratio[2])
    value = read_number(text)
    if value is None:
        raise CrystalError(f"a coordinate that is no number: {label} at {text!r}")
    if abs(value) > 1e3:
        raise CrystalError(f"no valid CIF: {label} has the fraction {text}")
    return value


def _displacement(row: dict[str, str], tensor: float | None) -> float:
    """B [Å²] of a row; an absurd one is none, the atom stays."""
    value = None
    kind = row.get("_atom_site_adp_type") or row.get(
        "_atom_site_thermal_displace_type", ""
    )
    # Some write B under the tag of U, and say so in the next column.
    is_b = kind.strip().lower() == "biso" and not row.get("_atom_site_b_iso_or_equiv")
    for tag, factor in (
        ("_atom_site_u_iso_or_equiv", 1.0 if is_b else _B_OF_U),
        ("_atom_site_b_iso_or_equiv", 1.0),
    ):
        number = read_number(row.get(tag, ""))
        if number is not None:
            value = factor * number
    if value is None:
        value = tensor
    return value if value is not None and 0.0 < value <= _MOST_B else 0.0


def _is_hydrogen(kind: str, label: str) -> bool:
    symbol = kind if kind not in UNKNOWN else label
    return re.match(r"[HD](?![a-z])", symbol) is not None


def _attached(found: list[dict[str, str]], rows: list[AtomRow]) -> list[str]:
    """Atoms that hydrogens are attached to, where none of these is listed."""
    tag = "_atom_site_attached_hydrogens"
    if any(atom.element == "H" for atom in rows):
        return []
    return [
        f"{row.get('_atom_site_label', '?').strip()}+{row[tag]}H"
        for row in found
        if row.get(tag, "").isdigit() and int(row[tag]) > 0
    ]


def _oxidation_numbers(tags: CifTags) -> dict[str, int]:
    """Charge of each type; a mean oxidation state is no charge of an ion."""
    found = {}
    for row in tags.rows("_atom_type_oxidation_number"):
        number = read_number(row["_atom_type_oxidation_number"])
        symbol = row.get("_atom_type_symbol", "").strip()
        if number is not None and symbol:
            is_whole = abs(number - round(number)) < 1e-3 and abs(number) < 9
            found[symbol] = round(number) if is_whole else 0
    return found


def _aniso(tags: CifTags, cell: tuple[float, ...]) -> dict[str, list[float]]:
    """Equivalent B [Å²] of the tensors of each label, in their order."""
    found: dict[str, list[float]] = {}
    rows = tags.rows("_atom_site_aniso_label")
    for row in rows:
        label = row["_atom_site_aniso_label"].strip()
        for prefix, factor in (("u", _B_OF_U), ("b", 1.0)):
            texts = [
                row.get(f"_atom_site_aniso_{prefix}_{part}", "")
                for part in ("11", "22", "33", "23", "13", "12")
            ]
            numbers = [read_number(text) for text in texts]
            if None not in numbers:
                tensor = np.array(numbers, np.float64)
                found.setdefault(label, []).append(factor * equivalent(tensor, cell))
                break
    return found


def equivalent(tensor: Float64[np.ndarray, "6"], cell: tuple[float, ...]) -> float:
    """Isotropic equivalent of U11, U22, U33, U23, U13, U12 [Å²].

    It is 1/3 Σ_ij U_ij a*_i a*_j a_i·a_j (Fischer & Tillmanns 1988, Acta Cryst. C44,
    775).
    """
    lengths = np.array(cell[:3])
    cosines = np.cos(np.radians(cell[3:]))
    metric = np.diag(lengths**2)
    for (i, j), cosine in zip(((1, 2), (0, 2), (0, 1)), cosines, strict=True):
        metric[i, j] = metric[j, i] = lengths[i] * lengths[j] * cosine
    star = np.sqrt(np.diag(np.linalg.inv(metric)))
    xx, yy, zz, yz, xz, xy = tensor
    full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return float((full * np.outer(star, star) * metric).sum() / 3.0)
