"""Real crystals with coordinates, cells or both drawn anew.

What makes synthetic crystals differ from real ones: the composition and positions,
the coordinates, the cell? Schopmans, Reiser & Friederich (2023), Digital Discovery 2,
1414, section 3.3, answer by randomising one after the other. All variants here hold
the same crystals: the volume is drawn for each of them, needed or not, and decides
alike; and they share their random numbers, so that the cells of "lattice" and "both"
are equal, and uniform coordinates of "coordinates" and "both".
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int64
from numba import njit

from pxrdbench.crystal.generator.cell import draw_lattice, draw_volume_factor
from pxrdbench.crystal.generator.coordinate_model import find_coordinate_model
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.prior.sampling_tables import sampling_tables
from pxrdbench.crystal.rng import (
    STATE_SIZE,
    STREAM_CRYSTAL,
    Integer,
    check_seed,
    seed_state,
)
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.crystal.symmetry.higher import KernelSymmetry, kernel_symmetry

# Why a crystal is left out; the numbers that the kernel writes.
REASONS: tuple[str, ...] = (
    "kept",
    "its group is not in the prior",
    "an element without radius",
    "atoms larger than in any crystal of the group",
    "the volume drawn is above the prior's limit",
    "an edge drawn is below 2 Å",
)
# Blocks of the generator's stream that drawing a crystal never reaches, nor does a
# coordinate model.
_LATTICE_BLOCK = 2**30
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
    coordinate_model: str = "uniform",
) -> tuple[CrystalBatch, Int64[np.ndarray, " kept"], dict[str, int]]:
    """Draw coordinates, cells or both of crystals anew.

    Space group, species, occupancies, displacements and Wyckoff positions stay.
    Species that share a point still do. The volume is drawn given that of the atoms,
    the shape given the lattice type, as for synthetic crystals.

    Args:
        crystals: In the standard setting.
        prior: Distributions of volumes and shapes.
        seed: Key, 0 to 2^64 - 1.
        coordinates: Whether to draw coordinates.
        lattice: Whether to draw cells. With neither, the crystals that all variants
            have in common come back as they are.
        start: Index of the first crystal: what is drawn for a crystal depends on
            the seed, its index and the crystal only.
        coordinate_model: Name of the model that places atoms; "uniform" is the
            study's. One that looks at distances draws other coordinates in another
            cell.

    Returns:
        Crystals, their positions in ``crystals``, and how many were left out by
        reason. The positions are the same for all variants of one seed.
    """
    check_seed(seed, start, len(crystals))
    row_of_group = np.full(231, -1, np.int64)
    row_of_group[prior.space_group] = np.arange(len(prior.space_group))
    cells = crystals.lattice.copy()
    status = np.zeros(len(crystals), np.int64)
    _draw_cells(
        (np.uint64(seed), np.uint64(start)),
        sampling_tables(prior),
        kernel_symmetry(),
        row_of_group[crystals.space_group],
        prior.max_volume,
        (crystals.space_group, crystals.site_offset, crystals.wyckoff_index),
        (crystals.atomic_number, crystals.occupancy),
        cells if lattice else np.empty((0, 6)),
        status,
    )
    kept = np.flatnonzero(status == 0)
    counts = np.bincount(status, minlength=len(REASONS))
    reasons = {
        REASONS[code]: int(counts[code])
        for code in range(1, len(REASONS))
        if counts[code]
    }
    drawn = replace(crystals, lattice=cells)
    if coordinates:
        model = find_coordinate_model(coordinate_model)
        drawn = replace(drawn, fract=model.place(drawn, seed, start))
    return take_crystals(drawn, kept), kept, reasons


@njit(cache=True, nogil=True)
def _draw_cells(
    key: tuple[Integer, Integer],
    tables: Any,
    symmetry: KernelSymmetry,
    rows: np.ndarray,
    max_volume: float,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    species: tuple[np.ndarray, np.ndarray],
    cells: np.ndarray,
    status: np.ndarray,
) -> None:
    """Draw the cells of all crystals; they are kept if there is room for them."""
    space_group, site_offset, wyckoff = places
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
        if status[crystal] == 0 and len(cells) > 0:
            cells[crystal] = cell


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
