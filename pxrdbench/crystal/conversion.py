"""Crystals from pymatgen structures in any setting, and back.

spglib finds the group and the conventional cell in our setting; which Wyckoff
position an orbit is on, and where its representative lies, follows from our own
tables, so that an asymmetric unit always expands to the crystal it came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.lattice import lattice_matrix, symmetric_lattice
from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    find_wyckoff_index,
    load_symmetry_tables,
)
from pxrdbench.errors import CrystalError

if TYPE_CHECKING:
    from pymatgen.core import Structure

# What fills one position: element, charge, occupancy and B [Å²] of each species.
Filling = tuple[tuple[str, int, float, float], ...]


@dataclass(frozen=True, eq=False)
class _StandardCell:
    """What spglib found, in our setting."""

    space_group: int
    lattice: tuple[float, float, float, float, float, float]
    fract: Float64[np.ndarray, "atoms 3"]
    # Which orbit each atom is in: the input atom that stands for it.
    orbit: Int64[np.ndarray, " atoms"]


def crystal_from_pymatgen(structure: "Structure", symprec: float = 0.01) -> Crystal:
    """Find the asymmetric unit of a structure in the standard setting.

    Sites that hold the same species with the same occupancies count as equal;
    disorder is kept as it is. A site property ``b_iso`` [Å²] is taken over.

    Args:
        structure: Any cell: primitive, conventional, P1, disordered.
        symprec: How far atoms may be from where symmetry wants them [Å].

    Raises:
        CrystalError: If a species is no element from H to Cf, an occupancy is not
            in (0, 1], a coordinate is not finite, or no symmetry is found.
    """
    return crystal_from_atoms(
        np.asarray(structure.lattice.matrix, np.float64),
        np.asarray(structure.frac_coords, np.float64),
        [_filling(site) for site in structure],
        symprec,
    )


def crystal_from_atoms(
    lattice: Float64[np.ndarray, "3 3"],
    fract: Float64[np.ndarray, "atoms 3"],
    fillings: Sequence[Filling],
    symprec: float = 0.01,
) -> Crystal:
    """Find the asymmetric unit of all atoms of a cell in the standard setting.

    Positions with equal fillings count as equal.

    Args:
        lattice: a, b, c as rows [Å].
        fract: Fractional coordinates of each position of the cell.
        fillings: What is on each: element, charge, occupancy, B [Å²] of each species.
        symprec: How far atoms may be from where symmetry wants them [Å].

    Raises:
        CrystalError: If a coordinate is not finite, or no symmetry is found.
    """
    numbers: dict[Filling, int] = {}
    kinds = [
        numbers.setdefault(tuple(sorted(filling)), len(numbers) + 1)
        for filling in fillings
    ]
    if not kinds:
        raise CrystalError("the structure has no sites")
    if not (np.isfinite(lattice).all() and np.isfinite(fract).all()):
        raise CrystalError("the structure has a coordinate that is not finite")
    cell = _standardise(lattice, fract, np.array(kinds), symprec)
    by_kind = list(numbers)
    sites: list[Site] = []
    for first_atom in dict.fromkeys(cell.orbit.tolist()):
        orbit = cell.fract[cell.orbit == first_atom]
        letter, point = _place(cell, orbit, symprec)
        sites += [
            Site(element, letter, point, occupancy, b_iso, charge)
            for element, charge, occupancy, b_iso in by_kind[kinds[first_atom] - 1]
        ]
    return Crystal(cell.space_group, cell.lattice, tuple(sites))


def _filling(site: Any) -> Filling:
    """Species of one site, in an order of their own."""
    species = []
    b_iso = float(site.properties.get("b_iso") or 0.0)
    for specie, occupancy in site.species.items():
        # Deuterium scatters X-rays as hydrogen does.
        symbol = "H" if specie.symbol in ("D", "T") else specie.symbol
        if symbol not in ATOMIC_NUMBERS:
            raise CrystalError(
                f"{site.species_string}: {symbol!r} is no element from H to Cf"
            )
        # Refined occupancies end a little above one now and then.
        if not 0.0 < occupancy <= 1.0 + 1e-3:
            raise CrystalError(
                f"{site.species_string}: occupancy {occupancy} is not in (0, 1]"
            )
        # A mean oxidation state is no charge of an ion: the atom counts as neutral.
        charge = float(getattr(specie, "oxi_state", None) or 0.0)
        is_integer = abs(charge - round(charge)) < 1e-3
        species.append(
            (
                symbol,
                round(charge) if is_integer else 0,
                min(float(occupancy), 1.0),
                b_iso,
            )
        )
    if not species:
        raise CrystalError("a site holds no species")
    return tuple(sorted(species))


def _standardise(
    lattice: np.ndarray, fract: np.ndarray, kinds: np.ndarray, symprec: float
) -> _StandardCell:
    """Let spglib find the group, then the conventional cell in our setting."""
    tables = load_symmetry_tables()
    dataset = _symmetry_dataset(lattice, fract, kinds, symprec, 0)
    number = int(dataset.number)
    hall = int(tables.hall_number[number])
    if dataset.hall_number != hall:
        dataset = _symmetry_dataset(lattice, fract, kinds, symprec, hall)
    if dataset.number != number or dataset.hall_number != hall:
        raise CrystalError(
            f"spglib found group {number}, but {dataset.number} in its setting {hall}"
        )
    # std_mapping_to_primitive numbers atoms of the primitive cell, as does
    # mapping_to_primitive for the input: they join the two.
    to_input = np.empty(dataset.mapping_to_primitive.max() + 1, np.int64)
    to_input[dataset.mapping_to_primitive] = dataset.crystallographic_orbits
    matrix = np.asarray(dataset.std_lattice, np.float64)
    lengths = np.linalg.norm(matrix, axis=1)
    unit = matrix / lengths[:, None]
    cosines = (unit[1] @ unit[2], unit[2] @ unit[0], unit[0] @ unit[1])
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    a, b, c = lengths.tolist()
    alpha, beta, gamma = angles.tolist()
    return _StandardCell(
        space_group=number,
        lattice=symmetric_lattice(number, (a, b, c, alpha, beta, gamma)),
        fract=np.asarray(dataset.std_positions, np.float64),
        orbit=to_input[dataset.std_mapping_to_primitive],
    )


def _symmetry_dataset(
    lattice: np.ndarray, fract: np.ndarray, kinds: np.ndarray, symprec: float, hall: int
) -> Any:
    import spglib

    try:
        dataset = spglib.get_symmetry_dataset(
            (lattice, fract, kinds), symprec=symprec, hall_number=hall
        )
    # spglib raises from 2.8 on where it returned None before.
    except Exception as error:
        raise CrystalError(f"spglib finds no symmetry: {error}") from error
    if dataset is None:
        raise CrystalError(
            f"spglib finds no symmetry at symprec {symprec}; atoms may coincide"
        )
    return dataset


def _place(
    cell: _StandardCell, orbit: Float64[np.ndarray, "images 3"], symprec: float
) -> tuple[str, tuple[float, float, float]]:
    """Find the Wyckoff letter of an orbit, and its image on the first triplet.

    An image x lies on a position (P, w), modulo lattice translations, where
    P x + w - x is integer: n, say. Then x + n is on it, for P is idempotent.
    """
    tables = load_symmetry_tables()
    rows = tables.position_rows(cell.space_group)
    multiplicity = tables.multiplicity[rows.start : rows.stop]
    candidates = np.flatnonzero(multiplicity == len(orbit)) + rows.start
    if not len(candidates):
        raise CrystalError(
            f"{len(orbit)} equivalent atoms fit no position of group "
            f"{cell.space_group}; multiplicities are "
            f"{', '.join(map(str, np.unique(multiplicity)))}"
        )
    first = tables.first_rotation[candidates].astype(np.float64)
    shift = tables.first_translation[candidates] / TRANSLATION_DENOMINATOR
    images = np.einsum("kij,nj->kni", first, orbit) + shift[:, None]
    integers = np.rint(images - orbit)
    residual = (images - orbit - integers) @ lattice_matrix(np.array(cell.lattice))
    distance = np.sqrt((residual**2).sum(axis=-1))
    best, image = np.unravel_index(distance.argmin(), distance.shape)
    # spglib has moved the atoms onto their positions already, but for rounding.
    if distance[best, image] > symprec + 1e-4:
        raise CrystalError(
            f"{len(orbit)} equivalent atoms lie {distance[best, image]:.3g} Å from "
            f"the nearest position of group {cell.space_group}; "
            "give another symprec"
        )
    on_cell = _into_cell(first[best], shift[best], orbit[image] + integers[best, image])
    return WYCKOFF_LETTERS[candidates[best] - rows.start], on_cell


def _into_cell(
    first: np.ndarray, shift: np.ndarray, point: np.ndarray
) -> tuple[float, float, float]:
    """Snap a point to its position; free coordinates go to [0, 1)."""
    snapped = first @ point + shift
    # P k moves along the position; only integer k leave the crystal as it is.
    snapped = snapped - first @ np.floor(snapped + 1e-9)
    x, y, z = (first @ snapped + shift).tolist()
    return x, y, z


def crystal_to_pymatgen(crystal: Crystal) -> "Structure":
    """Expand a crystal to all atoms of its conventional cell.

    Raises:
        CrystalError: If a Wyckoff letter is not one of the group.
    """
    from pymatgen.core import Composition, Element, Lattice, Species, Structure

    positions: dict[tuple[str, tuple[float, float, float]], list[Site]] = {}
    for site in crystal.sites:
        positions.setdefault((site.wyckoff_letter, site.fract), []).append(site)
    species: list[Composition] = []
    points: list[np.ndarray] = []
    b_iso: list[float] = []
    for (letter, fract), sites in positions.items():
        images = _expand(crystal.space_group, letter, fract)
        held: dict[Element | Species, float] = {}
        for site in sites:
            specie = (
                Species(site.element, site.charge)
                if site.charge
                else Element(site.element)
            )
            held[specie] = held.get(specie, 0.0) + site.occupancy
        species += [Composition(held)] * len(images)
        points.append(images)
        b_iso += [sites[0].b_iso] * len(images)
    return Structure(
        Lattice.from_parameters(*crystal.lattice),
        species,
        np.concatenate(points) if points else np.empty((0, 3)),
        site_properties={"b_iso": b_iso} if any(b_iso) else None,
    )


def _expand(
    space_group: int, letter: str, fract: tuple[float, float, float]
) -> Float64[np.ndarray, "images 3"]:
    """All images of a representative in the conventional cell, within [0, 1)."""
    tables = load_symmetry_tables()
    index = find_wyckoff_index(space_group, letter)
    row = tables.position_rows(space_group)[index]
    rows = slice(tables.orbit_offset[row], tables.orbit_offset[row + 1])
    shift = tables.orbit_translation[rows] / TRANSLATION_DENOMINATOR
    images: np.ndarray = tables.orbit_rotation[rows] @ np.array(fract) + shift
    return images % 1.0
