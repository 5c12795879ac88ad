"""Real crystals with coordinates, cells or both drawn anew.

What makes synthetic crystals differ from real ones: the composition and positions,
the coordinates, the cell? Schopmans, Reiser & Friederich (2023), Digital Discovery 2,
1414, section 3.3, answer by randomising one after the other. All variants here hold
the same crystals: the volume is drawn for each of them, needed or not, and decides
alike; and they share their random numbers, so that the cells of "lattice" and "both"
are equal, and the coordinates of "coordinates" and "both".
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.crystal.batches import take_crystals
from pxrdbench.crystal.generator_cell import draw_lattice, draw_volume_factor
from pxrdbench.crystal.higher_symmetry import KernelSymmetry, kernel_symmetry
from pxrdbench.crystal.prior import Prior
from pxrdbench.crystal.rng import (
    STATE_SIZE,
    STREAM_CRYSTAL,
    Integer,
    check_seed,
    next_uniform,
    seed_state,
)
from pxrdbench.crystal.structure import CrystalBatch

# Why a crystal is left out; the numbers that the kernel writes.
REASONS: tuple[str, ...] = (
    "kept",
    "its group is not in the prior",
    "an element without radius",
    "atoms larger than in any crystal of the group",
    "the volume drawn is above the prior's limit",
    "an edge drawn is below 2 Å",
)
# Blocks of the generator's stream that drawing a crystal never reaches.
_LATTICE_BLOCK = 2**30
_COORDINATE_BLOCK = 3 * 2**30
# As in the generator, where the sources of both numbers stand.
_SMALLEST_ATOM = 0.75
_SHORTEST_EDGE = 2.0


def randomise_crystals(
    crystals: CrystalBatch,
    prior: Prior,
    seed: int,
    *,
    coordinates: bool,
    lattice: bool,
    start: int = 0,
) -> tuple[CrystalBatch, Int64[np.ndarray, " kept"], dict[str, int]]:
    """Draw coordinates, cells or both of crystals anew.

    Space group, species, occupancies, displacements and Wyckoff positions stay.
    Coordinates are uniform on each position; species that share a point still do.
    The volume is drawn given that of the atoms, the shape given the lattice type, as
    for synthetic crystals.

    Args:
        crystals: In the standard setting.
        prior: Distributions of volumes and shapes.
        seed: Key, 0 to 2^64 - 1.
        coordinates: Whether to draw coordinates.
        lattice: Whether to draw cells. With neither, the crystals that all variants
            have in common come back as they are.
        start: Index of the first crystal: what is drawn for a crystal depends on
            the seed, its index and the crystal only.

    Returns:
        Crystals, their positions in ``crystals``, and how many were left out by
        reason. The positions are the same for all variants of one seed.
    """
    check_seed(seed, start, len(crystals))
    row_of_group = np.full(231, -1, np.int64)
    row_of_group[prior.space_group] = np.arange(len(prior.space_group))
    fract = crystals.fract.copy()
    cells = crystals.lattice.copy()
    status = np.zeros(len(crystals), np.int64)
    _randomise(
        (np.uint64(seed), np.uint64(start)),
        prior.tables,
        kernel_symmetry(),
        row_of_group[crystals.space_group],
        prior.max_volume,
        (crystals.space_group, crystals.site_offset, crystals.wyckoff_index),
        (crystals.atomic_number, crystals.occupancy),
        (cells, fract),
        (bool(coordinates), bool(lattice)),
        status,
    )
    kept = np.flatnonzero(status == 0)
    counts = np.bincount(status, minlength=len(REASONS))
    reasons = {
        REASONS[code]: int(counts[code])
        for code in range(1, len(REASONS))
        if counts[code]
    }
    drawn = CrystalBatch(
        lattice=cells,
        space_group=crystals.space_group,
        site_offset=crystals.site_offset,
        fract=fract,
        atomic_number=crystals.atomic_number,
        wyckoff_index=crystals.wyckoff_index,
        occupancy=crystals.occupancy,
        b_iso=crystals.b_iso,
        charge=crystals.charge,
    )
    return take_crystals(drawn, kept), kept, reasons


@njit(cache=True, nogil=True)
def _randomise(
    key: tuple[Integer, Integer],
    tables: Any,
    symmetry: KernelSymmetry,
    rows: np.ndarray,
    max_volume: float,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    species: tuple[np.ndarray, np.ndarray],
    drawn: tuple[np.ndarray, np.ndarray],
    options: tuple[bool, bool],
    status: np.ndarray,
) -> None:
    """Draw all crystals; coordinates and cells are overwritten where asked for."""
    space_group, site_offset, wyckoff = places
    cells, fract = drawn
    coordinates, lattice = options
    state = np.zeros(STATE_SIZE, np.uint64)
    cell = np.zeros(6)
    for crystal in range(len(rows)):
        group = int(space_group[crystal])
        begin, end = site_offset[crystal], site_offset[crystal + 1]
        position = symmetry.position_offset[group] + wyckoff[begin:end]
        index = key[1] + np.uint64(crystal)
        seed_state(state, key[0], STREAM_CRYSTAL, index, _LATTICE_BLOCK)
        status[crystal] = _draw_cell(
            state,
            tables,
            symmetry,
            (rows[crystal], group),
            max_volume,
            position,
            (species[0][begin:end], species[1][begin:end]),
            cell,
        )
        if status[crystal] != 0:
            continue
        if lattice:
            cells[crystal] = cell
        if coordinates:
            seed_state(state, key[0], STREAM_CRYSTAL, index, _COORDINATE_BLOCK)
            _draw_coordinates(state, symmetry, position, fract[begin:end])


@njit(cache=True, nogil=True)
def _draw_cell(
    state: np.ndarray,
    tables: Any,
    symmetry: KernelSymmetry,
    where: tuple[Integer, Integer],
    max_volume: float,
    position: np.ndarray,
    species: tuple[np.ndarray, np.ndarray],
    cell: np.ndarray,
) -> int:
    """Draw volume and shape; zero, or the number of the reason there is none."""
    row, group = where
    number, occupancy = species
    if row < 0:
        return 1
    n_atoms = 0.0
    atoms = 0.0
    for site in range(len(position)):
        share = symmetry.multiplicity[position[site]] * occupancy[site]
        n_atoms += share
        atoms += share * symmetry.atomic_volume[number[site]]
    if np.isnan(atoms):
        return 2
    # The points are stored in single precision: the largest must not exclude itself.
    if atoms > tables.volume_atomic[tables.volume_offset[row + 1] - 1] * (1.0 + 1e-6):
        return 3
    volume = atoms * draw_volume_factor(state, tables, row, atoms)
    volume = max(volume, _SMALLEST_ATOM * n_atoms)
    if volume > max_volume:
        return 4
    draw_lattice(state, tables, symmetry.lattice_type[group], volume, False, cell)
    if cell[:3].min() < _SHORTEST_EDGE:
        return 5
    return 0


@njit(cache=True, nogil=True)
def _draw_coordinates(
    state: np.ndarray,
    symmetry: KernelSymmetry,
    position: np.ndarray,
    fract: Float64[np.ndarray, "sites 3"],
) -> None:
    """Draw each point uniformly; species that share one move together."""
    old = fract.copy()
    point = np.zeros(3)
    for site in range(len(position)):
        row = position[site]
        partner = -1
        for other in range(site):
            if position[other] == row and (old[other] == old[site]).all():
                partner = other
                break
        if partner >= 0:
            fract[site] = fract[partner]
            continue
        for axis in range(3):
            point[axis] = 0.0
            if symmetry.uses_coordinate[row, axis]:
                point[axis] = next_uniform(state)
        for axis in range(3):
            fract[site, axis] = symmetry.first_translation[row, axis]
            for other in range(3):
                fract[site, axis] += (
                    symmetry.first_rotation[row, axis, other] * point[other]
                )
