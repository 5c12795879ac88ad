"""The statistics that ``fit_prior`` gathers from crystals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry import LATTICE_TYPES, load_symmetry_tables

# Free shape coordinates of each lattice type, as columns of ``shape``.
SHAPE_COLUMNS: tuple[tuple[int, ...], ...] = (
    (0, 1, 2, 3, 4),  # triclinic: ln b/a, ln c/a, alpha, beta, gamma
    (0, 1, 3),  # monoclinic: ln b/a, ln c/a, beta
    (0, 1),  # orthorhombic: ln b/a, ln c/a
    (1,),  # tetragonal: ln c/a
    (1,),  # hexagonal: ln c/a
    (),  # cubic
)


# Free parameters a, b, c, alpha, beta, gamma of each type: what the paper preset, as
# the reference implementation, smooths instead, with a, b, c over the cube root of V.
SCALED_COLUMNS: tuple[tuple[int, ...], ...] = (
    (0, 1, 2, 3, 4, 5),
    (0, 1, 2, 4),
    (0, 1, 2),
    (0, 2),
    (0, 2),
    (),
)


@dataclass(frozen=True, eq=False)
class GatheredCrystals:
    """Crystals with what the fit needs of each."""

    is_kept: np.ndarray
    left_out: dict[str, int]
    volume: np.ndarray
    volume_atomic: np.ndarray
    # One row for each element of each crystal: crystal, number, positions it holds.
    pairs: np.ndarray
    repetitions: np.ndarray

    @classmethod
    def from_crystals(
        cls, crystals: CrystalBatch, max_volume: float, max_sites: int
    ) -> "GatheredCrystals":
        """Gather, and say which are left out and why."""
        tables = load_symmetry_tables()
        owner = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offset))
        row = (
            tables.position_offset[crystals.space_group[owner]] + crystals.wyckoff_index
        )
        radius = tables.atomic_radius[crystals.atomic_number]
        atoms = tables.multiplicity[row] * crystals.occupancy
        volume_atomic = np.bincount(
            owner, 4.0 / 3.0 * np.pi * radius**3 * atoms, minlength=len(crystals)
        )
        volume = crystals.volume
        is_left = {
            f"cell above {max_volume:g} Å³": volume > max_volume,
            f"more than {max_sites} sites": np.diff(crystals.site_offset) > max_sites,
            "an element without radius": np.isnan(volume_atomic),
        }
        is_kept = ~np.any(list(is_left.values()), axis=0)
        pairs, repetitions = np.unique(
            np.column_stack([owner, crystals.atomic_number]), axis=0, return_counts=True
        )
        return cls(
            is_kept,
            {why: int(is_out.sum()) for why, is_out in is_left.items()},
            volume,
            volume_atomic,
            pairs,
            repetitions,
        )


def count_composition(
    fit: GatheredCrystals, in_row: np.ndarray, n_rows: int
) -> dict[str, np.ndarray]:
    """Elements, their number, and how many positions each holds, by group."""
    row = in_row[fit.pairs[:, 0]]
    kept = row >= 0
    row, number = row[kept], fit.pairs[kept, 1]
    repetitions = fit.repetitions[kept]
    crystal, n_elements = np.unique(fit.pairs[kept, 0], return_counts=True)
    counts = {
        "element": np.zeros((n_rows, 99), np.int32),
        "n_elements": np.zeros((n_rows, n_elements.max()), np.int32),
        "repetitions": np.zeros((n_rows, repetitions.max()), np.int32),
    }
    np.add.at(counts["element"], (row, number), 1)
    np.add.at(counts["n_elements"], (in_row[crystal], n_elements - 1), 1)
    np.add.at(counts["repetitions"], (row, repetitions - 1), 1)
    return counts


def count_positions(
    crystals: CrystalBatch, in_row: np.ndarray
) -> Int32[np.ndarray, " 1731"]:
    """Occupied positions of represented groups; species that share one count once."""
    owner = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offset))
    owner = owner.astype(np.float64)
    place = np.column_stack([owner, crystals.wyckoff_index, crystals.fract])
    place = np.unique(place[in_row[owner.astype(np.int64)] >= 0], axis=0)
    group = crystals.space_group[place[:, 0].astype(np.int64)]
    offset = load_symmetry_tables().position_offset
    rows = offset[group] + place[:, 1].astype(np.int64)
    return np.bincount(rows, minlength=int(offset[-1])).astype(np.int32)


def gather_volumes(
    fit: GatheredCrystals, in_row: np.ndarray, n_rows: int
) -> dict[str, np.ndarray]:
    """Points (volume of the atoms, factor) of each group, and their kernel."""
    crystal = np.flatnonzero(in_row >= 0)
    crystal = crystal[np.lexsort([fit.volume_atomic[crystal], in_row[crystal]])]
    atomic = fit.volume_atomic[crystal]
    factor = fit.volume[crystal] / atomic
    # Normal reference rule for two variables over all groups (Silverman 1986, eqs.
    # 3.31 and 4.14), with the robust spread: a few gas-like cells have factors of 60.
    spread = np.array([_robust_spread(factor), _robust_spread(atomic)])
    bandwidth = 1.06 * spread * len(crystal) ** (-1.0 / 6.0)
    # One crystal alone, or many equal ones, must still have a width.
    bandwidth = np.maximum(bandwidth, [1e-3, 1e-1])
    return {
        "volume_offset": np.searchsorted(in_row[crystal], np.arange(n_rows + 1)).astype(
            np.int32
        ),
        "volume_atomic": atomic.astype(np.float32),
        "volume_factor": factor.astype(np.float32),
        "bandwidth": bandwidth,
    }


def _robust_spread(values: np.ndarray) -> float:
    """Standard deviation, or that of the normal with the same quartiles if less."""
    low, high = np.percentile(values, [25.0, 75.0])
    return float(min(values.std(), (high - low) / 1.349))


def gather_shapes(crystals: CrystalBatch, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Shapes of the cells of each lattice type, and their kernels."""
    type_of_group = load_symmetry_tables().lattice_type
    lattice = crystals.lattice[kept]
    kind = type_of_group[crystals.space_group[kept]]
    shape = np.column_stack([np.log(lattice[:, 1:3] / lattice[:, :1]), lattice[:, 3:]])
    length = crystals.volume[kept] ** (1.0 / 3.0)
    scaled = np.column_stack([lattice[:, :3] / length[:, None], lattice[:, 3:]])
    kernel = np.zeros((len(LATTICE_TYPES), 5, 5))
    scaled_kernel = np.zeros((len(LATTICE_TYPES), 6, 6))
    gathered = []
    for index in range(len(LATTICE_TYPES)):
        rows = kind == index
        # A cubic cell has one shape: nothing to keep.
        gathered.append(shape[rows] if SHAPE_COLUMNS[index] else shape[:0])
        kernel[index] = _scott_kernel(shape[rows], SHAPE_COLUMNS[index])
        scaled_kernel[index] = _scott_kernel(scaled[rows], SCALED_COLUMNS[index])
    offset = np.cumsum([0, *map(len, gathered)])
    return {
        "shape_offset": offset.astype(np.int32),
        "shape": np.concatenate(gathered).astype(np.float32),
        "shape_kernel": kernel,
        "scaled_kernel": scaled_kernel,
    }


def _scott_kernel(points: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """Cholesky factor of the kernel's covariance, zero outside the columns.

    Scott (1992), Multivariate density estimation: covariance of the points, times
    n^(-2/(d+4)).
    """
    factor = np.zeros((points.shape[1], points.shape[1]))
    n, d = len(points), len(columns)
    if d and n > d:
        covariance = np.atleast_2d(np.cov(points[:, columns], rowvar=False))
        # Cells that are all alike must still give a positive definite matrix.
        covariance = covariance * n ** (-2.0 / (d + 4)) + 1e-12 * np.eye(d)
        factor[np.ix_(columns, columns)] = np.linalg.cholesky(covariance)
    return factor
