"""What was built against what the block says: formula and Z, volume, distances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pxrdbench.crystal.cif_reader.build import BuiltCell
from pxrdbench.crystal.cif_reader.elements import read_formula
from pxrdbench.crystal.cif_reader.text import CifTags, read_number

# Volume for an atom that is no hydrogen [Å³]: diamond has 5.7, at 100 GPa 4.0; caesium
# 118, the widest frameworks some 100. Beyond, lengths are in nm or pm.
_LEAST_VOLUME, _MOST_VOLUME = 3.0, 1500.0
# Two full atoms are never nearer than this [Å]: N≡N is 1.10; with hydrogen 0.74 is H2,
# and X-rays shorten O-H to 0.7 or less.
_LEAST_DISTANCE, _LEAST_TO_HYDROGEN = 0.75, 0.35
# An element may be this far from the formula, as a share of its amount and of all.
_ELEMENT_SHARE, _ALL_SHARE = 0.25, 0.04
# Grams for each cm³ of one atomic mass unit in one Å³ (CODATA 2018).
_GRAM = 1.66053906660
# Volume of the cell against the one stated.
_VOLUME_SHARE = 0.1


@dataclass(frozen=True)
class Stated:
    """What a block says of the contents of its cell.

    Attributes:
        formula: Amounts of the elements; empty if unknown or unclear.
        z: Formula units in the cell; 0 if unknown.
        volume: Of the cell [Å³]; 0 if unknown.
        density: Calculated by the authors [g/cm³]; 0 if unknown.
    """

    formula: Mapping[str, float]
    z: float = 0.0
    volume: float = 0.0
    density: float = 0.0

    def find_z(self, volume: float) -> float:
        """Z as stated, or as the density says for a volume [Å³]; 0 if unknown."""
        if self.z or not self.density or not self.formula:
            return self.z
        return self.density * volume / _mass(self.formula)


def read_stated(tags: CifTags) -> Stated:
    """Read formula, Z and volume of a block."""
    formula: dict[str, float] = {}
    for tag in ("_chemical_formula_sum", "_chemical_formula_moiety",
                "_chemical_formula_structural"):  # fmt: skip
        text = tags.first(tag)
        formula = read_formula(text) if text else {}
        if formula:
            break
    z = read_number(tags.first("_cell_formula_units_z")) or 0.0
    density = read_number(tags.first("_exptl_crystal_density_diffrn")) or 0.0
    volume = read_number(tags.first("_cell_volume")) or 0.0
    return Stated(
        formula,
        z if 0.0 < z < 1000.0 else 0.0,
        max(volume, 0.0),
        density if 0.05 < density < 30.0 else 0.0,
    )


@dataclass(frozen=True)
class Findings:
    """What is wrong with a cell.

    Attributes:
        problem: Why it cannot be what the file means; "" if it can.
        formula_fits: None if the block states no formula.
        z_fits: None if it states neither Z with a formula nor a density.
    """

    problem: str = ""
    formula_fits: bool | None = None
    z_fits: bool | None = None


def check_cell(built: BuiltCell, stated: Stated) -> Findings:
    """Compare what was built with what the block says, and with what can be."""
    heavy = sum(n for element, n in built.amounts.items() if element != "H")
    counted = heavy or sum(built.amounts.values())
    if counted <= 0.0:
        return Findings("no atoms with fractional coordinates: none is filled")
    volume = built.volume / counted
    if volume < _LEAST_VOLUME * (1.0 if heavy else 0.3):
        return Findings(f"atoms too near to each other: {volume:.3g} Å³ for each")
    if volume > _MOST_VOLUME:
        return Findings(f"a cell that cannot be: {volume:.3g} Å³ for each atom")
    if stated.volume and abs(built.volume / stated.volume - 1.0) > _VOLUME_SHARE:
        return Findings(
            f"a cell that cannot be: {built.volume:.1f} Å³, but the file states "
            f"{stated.volume:.1f} Å³"
        )
    near = find_contact(built)
    if near:
        return Findings(near)
    formula_fits, z_fits, problem = compare_formula(
        built.amounts, stated, stated.find_z(built.volume)
    )
    if stated.density and not stated.formula:
        z_fits = abs(_mass(built.amounts) / built.volume / stated.density - 1.0) < 0.2
    return Findings(problem, formula_fits, z_fits)


def _mass(amounts: Mapping[str, float]) -> float:
    """Mass of atoms [g cm⁻³ Å³]."""
    import gemmi

    return _GRAM * sum(n * gemmi.Element(e).weight for e, n in amounts.items())


def find_contact(built: BuiltCell) -> str:
    """Describe two atoms that are both there and too near; "" if there are none."""
    total = np.array([sum(s[2] for s in filling) for filling in built.fillings])
    is_hydrogen = np.array(
        [all(s[0] == "H" for s in filling) for filling in built.fillings]
    )
    # Each pair once; rows of the distance matrix, so that memory stays small. An atom
    # has the same neighbours as its images: one of each row is enough.
    _, firsts = np.unique(built.row, return_index=True)
    lengths = np.linalg.norm(built.matrix, axis=1)
    is_thin = bool((lengths < 2.5).any())
    for one in firsts:
        apart = built.fract - built.fract[one]
        apart -= np.rint(apart)
        vectors = apart @ built.matrix
        distance = np.sqrt((vectors**2).sum(axis=1))
        if is_thin or not _is_compact(built.matrix):
            distance = np.minimum(distance, _shortest(apart, built.matrix))
        distance[one] = np.inf
        both = total + total[one] > 1.05
        least = np.where(
            is_hydrogen | is_hydrogen[one], _LEAST_TO_HYDROGEN, _LEAST_DISTANCE
        )
        bad = both & (distance < least)
        if bad.any():
            other = int(np.argmin(np.where(bad, distance, np.inf)))
            names = [
                "/".join(sorted({s[0] for s in built.fillings[i]}))
                for i in (one, other)
            ]
            return (
                f"atoms too near to each other: {names[0]} and {names[1]}, "
                f"{distance[other]:.2f} Å apart"
            )
    return ""


def _is_compact(matrix: np.ndarray) -> bool:
    """Whether the nearest image is the one with fractions below a half."""
    unit = matrix / np.linalg.norm(matrix, axis=1)[:, None]
    cosines = np.abs(unit @ unit.T - np.eye(3))
    return bool((cosines < 0.6).all())


def _shortest(apart: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Distance to the nearest of the images in the 27 cells around."""
    cells = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    vectors = (apart[:, None] + cells) @ matrix
    distance: np.ndarray = np.sqrt((vectors**2).sum(axis=2).min(axis=1))
    return distance


def compare_formula(
    amounts: Mapping[str, float], stated: Stated, z: float
) -> tuple[bool | None, bool | None, str]:
    """Compare the atoms of a cell with Z formula units, hydrogen left aside.

    Args:
        amounts: Atoms of each element in the cell.
        stated: What the block says.
        z: Formula units in the cell, 0 if unknown.

    Returns:
        Whether the ratios fit, whether Z does, and what is wrong.
    """
    wanted = {e: n for e, n in stated.formula.items() if e != "H"}
    found = {e: n for e, n in amounts.items() if e != "H" and n > 0.0}
    if not wanted or not found:
        return None, None, ""
    if wanted.keys() - found.keys():
        # Not all atoms are listed: what is missing cannot be told from what is wrong.
        strange = sorted(found.keys() - wanted.keys())
        if strange:
            return (
                False,
                None,
                (f"it contradicts its formula: {', '.join(strange)} is not in it"),
            )
        return None, None, ""
    sum_wanted, sum_found = sum(wanted.values()), sum(found.values())
    scale = sum_found / sum_wanted
    z_fits = None
    if z:
        z_fits = abs(scale / z - 1.0) < 0.2
        if stated.z > 1.5 and all(
            abs(n / stated.z - round(n / stated.z)) < 1e-6
            for n in stated.formula.values()
        ):
            # Some write the formula of the whole cell, Na4 Cl4, and Z = 4 beside it.
            z_fits |= abs(scale - 1.0) < 0.2
    # Missing atoms must not move the scale: with Z, it is Z where that nearly fits.
    scales = [scale]
    if z and 0.5 < scale / z < 1.6:
        scales.append(z)
    for factor in scales:
        off = {
            element: found.get(element, 0.0) - factor * wanted.get(element, 0.0)
            for element in wanted.keys() | found.keys()
        }
        if all(
            abs(value)
            <= max(
                _ELEMENT_SHARE * factor * wanted.get(element, 0.0),
                _ALL_SHARE * factor * sum_wanted,
            )
            for element, value in off.items()
        ):
            return True, z_fits, ""
    worst = max(off, key=lambda element: abs(off[element]))
    return (
        False,
        z_fits,
        (
            "it contradicts its formula: "
            f"{found.get(worst, 0.0) / scale:.3g} {worst} in a formula unit, "
            f"{wanted.get(worst, 0.0):.3g} stated"
        ),
    )
