"""Where atoms lie on their positions: models of the free coordinates.

A model is asked last, when group, elements, positions and cell of a crystal are
drawn: whatever it answers, those keep their distributions, and sample i stays a
function of (seed, i). It serves crystals of any origin, so that the coordinates of
real ones can be drawn anew as well.

``UniformCoordinates`` is what Schopmans, Reiser & Friederich (2023), Digital Discovery
2, 1414, do. ``DistantCoordinates`` keeps atoms apart. Another one needs no more than
the method of ``CoordinateModel``.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numba import njit

from pxrdbench.crystal.generator.kernel import place_site
from pxrdbench.crystal.lattice import lattice_matrix
from pxrdbench.crystal.rng import (
    STATE_SIZE,
    STREAM_CRYSTAL,
    Integer,
    check_seed,
    seed_state,
)
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.higher import KernelSymmetry, kernel_symmetry
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    load_symmetry_tables,
)
from pxrdbench.errors import PriorError

# Far beyond the blocks that drawing the crystal itself can use.
_FIRST_BLOCK = 2**31


@runtime_checkable
class CoordinateModel(Protocol):
    """Draws the free coordinates of crystals that are otherwise complete."""

    @property
    def name(self) -> str:
        """What to write into a record."""
        ...

    def place(
        self, crystals: CrystalBatch, seed: int, start: int
    ) -> Float64[np.ndarray, "sites 3"]:
        """Draw representatives of all sites.

        Args:
            crystals: Their own coordinates count for nothing, save that species on
                one point stay together.
            seed: Key, 0 to 2^64 - 1.
            start: Index of the first crystal: what is drawn for a crystal depends on
                the seed, its index and the crystal only.

        Returns:
            Fractional coordinates, each on the first triplet of its position.
        """
        ...


@dataclass(frozen=True)
class UniformCoordinates:
    """Free coordinates uniform in the cell, whatever the distances."""

    name: str = "uniform"

    def place(
        self, crystals: CrystalBatch, seed: int, start: int
    ) -> Float64[np.ndarray, "sites 3"]:
        """Draw representatives of all sites (see ``CoordinateModel``)."""
        check_seed(seed, start, len(crystals))
        fract = np.empty((len(crystals.fract), 3))
        _place_uniform(
            (np.uint64(seed), np.uint64(start)),
            kernel_symmetry(),
            crystals.space_group,
            crystals.site_offset,
            crystals.wyckoff_index,
            _partners(crystals),
            fract,
        )
        return fract


@dataclass(frozen=True)
class DistantCoordinates:
    """Uniform coordinates drawn again until atoms are apart, as far as they can.

    Sites are placed one after the other. Each is drawn up to ``tries`` times, until
    no atom, its own images included, is nearer than ``fraction`` times the sum of the
    two radii (mean of covalent and van der Waals radius); else the draw with the
    largest ratio of distance to radii stays. Positions without freedom lie where they
    lie: this model throws no crystal away.

    Attributes:
        fraction: Of the sum of radii; 0.5 lets the shortest bonds of real crystals
            pass.
        tries: Draws of a site.
    """

    fraction: float = 0.5
    tries: int = 30
    name: str = "distant"

    def __post_init__(self) -> None:
        if not (0.0 < self.fraction <= 1.0 and self.tries >= 1):
            raise PriorError(
                f"fraction {self.fraction}, tries {self.tries}; it must hold that "
                "0 < fraction <= 1 and tries >= 1"
            )

    def place(
        self, crystals: CrystalBatch, seed: int, start: int
    ) -> Float64[np.ndarray, "sites 3"]:
        """Draw representatives of all sites (see ``CoordinateModel``)."""
        check_seed(seed, start, len(crystals))
        tables = load_symmetry_tables()
        matrices = np.array([lattice_matrix(row) for row in crystals.lattice])
        fract = np.empty((len(crystals.fract), 3))
        _place_distant(
            (np.uint64(seed), np.uint64(start)),
            kernel_symmetry(),
            (
                tables.orbit_offset.astype(np.int64),
                tables.orbit_rotation.astype(np.float64),
                tables.orbit_translation / TRANSLATION_DENOMINATOR,
            ),
            (self.fraction, self.tries),
            matrices.reshape(-1, 3, 3),
            crystals.space_group,
            crystals.site_offset,
            crystals.wyckoff_index,
            _partners(crystals),
            np.nan_to_num(tables.atomic_radius[crystals.atomic_number], nan=1.5),
            fract,
        )
        return fract


COORDINATE_MODELS: dict[str, CoordinateModel] = {
    model.name: model for model in (UniformCoordinates(), DistantCoordinates())
}


def find_coordinate_model(name: str) -> CoordinateModel:
    """Look a model up by its name.

    Raises:
        PriorError: If there is none; it names those that there are.
    """
    if name not in COORDINATE_MODELS:
        raise PriorError(
            f"unknown coordinate model {name!r}; known are "
            f"{', '.join(COORDINATE_MODELS)}"
        )
    return COORDINATE_MODELS[name]


def _partners(crystals: CrystalBatch) -> np.ndarray:
    """First site of its crystal on the same point, for each site: itself mostly."""
    owner = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offset))
    point = np.column_stack([owner, crystals.wyckoff_index, crystals.fract])
    _, first, inverse = np.unique(point, axis=0, return_index=True, return_inverse=True)
    partner: np.ndarray = first[inverse.reshape(-1)].astype(np.int64)
    # Points where drawn crystals have none yet, or repeat one, are no shared sites.
    full = crystals.occupancy == 1.0
    partner[full] = np.flatnonzero(full)
    return partner


@njit(cache=True, nogil=True)
def _place_uniform(
    key: tuple[Integer, Integer],
    symmetry: KernelSymmetry,
    space_group: np.ndarray,
    site_offset: np.ndarray,
    wyckoff: np.ndarray,
    partner: np.ndarray,
    fract: np.ndarray,
) -> None:
    seed, start = key
    state = np.zeros(STATE_SIZE, np.uint64)
    for index in range(len(space_group)):
        crystal = start + np.uint64(index)
        seed_state(state, seed, STREAM_CRYSTAL, crystal, _FIRST_BLOCK)
        first = symmetry.position_offset[space_group[index]]
        for site in range(site_offset[index], site_offset[index + 1]):
            if partner[site] < site:
                fract[site] = fract[partner[site]]
            else:
                place_site(state, symmetry, first + wyckoff[site], fract[site])


@njit(cache=True, nogil=True)
def _shift_to_origin(fract: np.ndarray) -> None:
    """Bring a difference of fractional coordinates into [-1/2, 1/2]."""
    for axis in range(3):
        fract[axis] -= np.rint(fract[axis])


@njit(cache=True, nogil=True)
def _squared_distance(
    difference: np.ndarray, matrix: np.ndarray, is_itself: bool
) -> float:
    """Shortest squared distance [Å²] over lattice translations.

    That of an atom to itself is the shortest translation. Cells are not reduced, so
    the neighbours on both sides along each axis are looked at.
    """
    best = np.inf
    _shift_to_origin(difference)
    for i in range(-1, 2):
        for j in range(-1, 2):
            for k in range(-1, 2):
                if is_itself and i == 0 and j == 0 and k == 0:
                    continue
                u, v, w = difference[0] + i, difference[1] + j, difference[2] + k
                squared = 0.0
                for axis in range(3):
                    step = (
                        u * matrix[0, axis] + v * matrix[1, axis] + w * matrix[2, axis]
                    )
                    squared += step * step
                best = min(best, squared)
    return float(best)


@njit(cache=True, nogil=True)
def _closest_ratio(
    site: Integer,
    first_site: Integer,
    symmetry_row: np.ndarray,
    orbits: tuple[np.ndarray, np.ndarray, np.ndarray],
    matrix: np.ndarray,
    radius: np.ndarray,
    partner: np.ndarray,
    fract: np.ndarray,
    least: float,
) -> float:
    """Smallest distance of a site over the sum of radii, to all placed so far.

    It stops early once below ``least``.
    """
    offset, rotation, translation = orbits
    closest = np.inf
    difference = np.empty(3)
    for other in range(first_site, site + 1):
        if partner[other] < other:
            continue
        row = symmetry_row[other]
        both = radius[site] + radius[other]
        for image in range(offset[row], offset[row + 1]):
            for axis in range(3):
                moved = translation[image, axis]
                for column in range(3):
                    moved += rotation[image, axis, column] * fract[other, column]
                difference[axis] = moved - fract[site, axis]
            # The first operator of an orbit is the identity.
            is_itself = bool(other == site and image == offset[row])
            squared = _squared_distance(difference, matrix, is_itself)
            closest = min(closest, np.sqrt(squared) / both)
            if closest < least:
                return float(closest)
    return float(closest)


@njit(cache=True, nogil=True)
def _place_distant(
    key: tuple[Integer, Integer],
    symmetry: KernelSymmetry,
    orbits: tuple[np.ndarray, np.ndarray, np.ndarray],
    limits: tuple[float, Integer],
    matrices: np.ndarray,
    space_group: np.ndarray,
    site_offset: np.ndarray,
    wyckoff: np.ndarray,
    partner: np.ndarray,
    radius: np.ndarray,
    fract: np.ndarray,
) -> None:
    seed, start = key
    fraction, tries = limits
    state = np.zeros(STATE_SIZE, np.uint64)
    rows = np.empty(len(wyckoff), np.int64)
    kept = np.empty(3)
    for index in range(len(space_group)):
        crystal = start + np.uint64(index)
        seed_state(state, seed, STREAM_CRYSTAL, crystal, _FIRST_BLOCK)
        first = symmetry.position_offset[space_group[index]]
        first_site = site_offset[index]
        for site in range(first_site, site_offset[index + 1]):
            rows[site] = first + wyckoff[site]
            if partner[site] < site:
                fract[site] = fract[partner[site]]
                continue
            best = -1.0
            is_free = symmetry.degrees_of_freedom[rows[site]] > 0
            for _ in range(tries if is_free else 1):
                place_site(state, symmetry, rows[site], fract[site])
                ratio = _closest_ratio(
                    site,
                    first_site,
                    rows,
                    orbits,
                    matrices[index],
                    radius,
                    partner,
                    fract,
                    best,
                )
                if ratio > best:
                    best = ratio
                    kept[:] = fract[site]
                if best >= fraction:
                    break
            fract[site] = kept
