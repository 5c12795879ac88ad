"""The statistics that ``fit_prior`` gathers from crystals."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.lattice import cell_volumes
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.tables import LATTICE_TYPES, load_symmetry_tables

_N_ELEMENTS = len(ELEMENT_SYMBOLS)

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
    """What a pass over crystals has gathered.

    Attributes:
        n_crystals: Crystals given.
        left_out: Crystals left out, by reason.
        space_group: Of each crystal kept, in the order given.
        volume_atomic: Volume of its atoms [Å³].
        volume_factor: Volume of its cell over that of its atoms.
        shape: ln b/a, ln c/a, alpha, beta, gamma [degrees] of its cell.
        scaled: a, b, c over the cube root of the volume, and the angles [degrees].
        element: Crystals that contain an element, by group and atomic number.
        n_elements: Crystals with 1, 2, … elements, by group.
        repetitions: How often an element holds 1, 2, … positions, by group.
        wyckoff: Occupied positions, by row of the symmetry tables.
        wyckoff_element: Positions that an element occupies, by row of the symmetry
            tables and atomic number.
    """

    n_crystals: int
    left_out: dict[str, int]
    space_group: np.ndarray
    volume_atomic: np.ndarray
    volume_factor: np.ndarray
    shape: np.ndarray
    scaled: np.ndarray
    element: np.ndarray
    n_elements: np.ndarray
    repetitions: np.ndarray
    wyckoff: np.ndarray
    wyckoff_element: np.ndarray


class Gatherer:
    """Gathers statistics in one pass: crystals need not be in memory at once.

    Of each crystal only its volumes and the shape of its cell are kept, all else is
    counted.
    """

    def __init__(self, max_volume: float, max_sites: int) -> None:
        self._limits = max_volume, max_sites
        self._n_crystals = 0
        self._left_out: dict[str, int] = {}
        self._crystals: list[tuple[np.ndarray, ...]] = []
        n_rows = int(load_symmetry_tables().position_offset[-1])
        self._element = np.zeros((231, _N_ELEMENTS), np.int32)
        self._n_elements = np.zeros((231, 0), np.int32)
        self._repetitions = np.zeros((231, 0), np.int32)
        self._wyckoff = np.zeros(n_rows, np.int32)
        self._wyckoff_element = np.zeros((n_rows, _N_ELEMENTS), np.int32)

    def add(self, crystals: CrystalBatch) -> None:
        """Count and gather some crystals."""
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
        max_volume, max_sites = self._limits
        is_left = {
            f"cell above {max_volume:g} Å³": volume > max_volume,
            f"more than {max_sites} sites": np.diff(crystals.site_offset) > max_sites,
            "an element without radius": np.isnan(volume_atomic),
        }
        for why, is_out in is_left.items():
            self._left_out[why] = self._left_out.get(why, 0) + int(is_out.sum())
        self._n_crystals += len(crystals)
        kept = ~np.any(list(is_left.values()), axis=0)
        lattice = crystals.lattice[kept]
        length = volume[kept] ** (1.0 / 3.0)
        self._crystals.append(
            (
                crystals.space_group[kept],
                volume_atomic[kept],
                volume[kept] / volume_atomic[kept],
                np.column_stack(
                    [np.log(lattice[:, 1:3] / lattice[:, :1]), lattice[:, 3:]]
                ),
                np.column_stack([lattice[:, :3] / length[:, None], lattice[:, 3:]]),
            )
        )
        self._count_composition(crystals, owner, kept)
        self._count_positions(crystals, owner, row, kept)

    def _count_composition(
        self, crystals: CrystalBatch, owner: np.ndarray, kept: np.ndarray
    ) -> None:
        """Count elements, their number, and how many positions each holds."""
        sites = kept[owner]
        pairs, repetitions = np.unique(
            np.column_stack([owner[sites], crystals.atomic_number[sites]]),
            axis=0,
            return_counts=True,
        )
        if not len(pairs):
            return
        crystal, n_elements = np.unique(pairs[:, 0], return_counts=True)
        self._n_elements = _widen(self._n_elements, int(n_elements.max()))
        self._repetitions = _widen(self._repetitions, int(repetitions.max()))
        group = crystals.space_group
        np.add.at(self._element, (group[pairs[:, 0]], pairs[:, 1]), 1)
        np.add.at(self._n_elements, (group[crystal], n_elements - 1), 1)
        np.add.at(self._repetitions, (group[pairs[:, 0]], repetitions - 1), 1)

    def _count_positions(
        self,
        crystals: CrystalBatch,
        owner: np.ndarray,
        row: np.ndarray,
        kept: np.ndarray,
    ) -> None:
        """Count occupied positions; species that share one count once."""
        sites = kept[owner]
        place = np.column_stack([owner, row, crystals.fract])[sites]
        rows = np.unique(place, axis=0)[:, 1].astype(np.int64)
        self._wyckoff += np.bincount(rows, minlength=len(self._wyckoff)).astype(
            np.int32
        )
        np.add.at(self._wyckoff_element, (row[sites], crystals.atomic_number[sites]), 1)

    def finish(self) -> GatheredCrystals:
        """Hand over what was gathered."""
        if not self._crystals:
            self._crystals.append(
                (np.zeros(0, np.int16), *np.zeros((2, 0)), *_no_cells())
            )
        group, atomic, factor, shape, scaled = (
            np.concatenate(parts) for parts in zip(*self._crystals, strict=True)
        )
        return GatheredCrystals(
            n_crystals=self._n_crystals,
            left_out=self._left_out,
            space_group=group,
            volume_atomic=atomic,
            volume_factor=factor,
            shape=shape,
            scaled=scaled,
            element=self._element,
            n_elements=self._n_elements,
            repetitions=self._repetitions,
            wyckoff=self._wyckoff,
            wyckoff_element=self._wyckoff_element,
        )


def _no_cells() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 5)), np.zeros((0, 6))


def _widen(counts: np.ndarray, n_columns: int) -> np.ndarray:
    """Append columns of zeros up to a number of columns."""
    missing = max(n_columns - counts.shape[1], 0)
    return np.pad(counts, ((0, 0), (0, missing)))


def trim_columns(counts: np.ndarray) -> np.ndarray:
    """Leave out the last columns where no row counts anything; one stays."""
    used = np.flatnonzero(counts.any(axis=0))
    kept: np.ndarray = counts[:, : int(used[-1]) + 1 if len(used) else 1]
    return np.ascontiguousarray(kept)


def sort_volumes(
    in_row: np.ndarray, atomic: np.ndarray, factor: np.ndarray, n_rows: int
) -> dict[str, Any]:
    """Points (volume of the atoms, factor) of each row of a prior, ascending.

    Args:
        in_row: Row of the prior that each point belongs to; -1 for none.
        atomic: Volume of the atoms [Å³].
        factor: Volume of the cell over that of its atoms.
        n_rows: Rows of the prior.
    """
    kept = np.flatnonzero(in_row >= 0)
    kept = kept[np.lexsort([atomic[kept], in_row[kept]])]
    return {
        "volume_offset": np.searchsorted(in_row[kept], np.arange(n_rows + 1)).astype(
            np.int32
        ),
        "volume_atomic": atomic[kept].astype(np.float32),
        "volume_factor": factor[kept].astype(np.float32),
    }


def reference_bandwidth(factor: np.ndarray, atomic: np.ndarray) -> np.ndarray:
    """Widths of the kernels of factor and volume of the atoms, for all groups.

    Normal reference rule for two variables (Silverman 1986, eqs. 3.31 and 4.14), with
    the robust spread: a few gas-like cells have factors of 60.
    """
    spread = np.array([_robust_spread(factor), _robust_spread(atomic)])
    bandwidth = 1.06 * spread * len(factor) ** (-1.0 / 6.0)
    # One crystal alone, or many equal ones, must still have a width.
    widest: np.ndarray = np.maximum(bandwidth, [1e-3, 1e-1])
    return widest


def _robust_spread(values: np.ndarray) -> float:
    """Standard deviation, or that of the normal with the same quartiles if less."""
    low, high = np.percentile(values, [25.0, 75.0])
    return float(min(values.std(), (high - low) / 1.349))


def sort_shapes(kind: np.ndarray, shape: np.ndarray) -> dict[str, Any]:
    """Shapes of each lattice type, in the order given.

    Args:
        kind: Lattice type of each shape, as a position in ``LATTICE_TYPES``.
        shape: ln b/a, ln c/a, alpha, beta, gamma [degrees].
    """
    # A cubic cell has one shape: nothing to keep.
    gathered = [
        shape[kind == index] if columns else shape[:0]
        for index, columns in enumerate(SHAPE_COLUMNS)
    ]
    offset = np.cumsum([0, *map(len, gathered)])
    return {
        "shape_offset": offset.astype(np.int32),
        "shape": np.concatenate(gathered).astype(np.float32),
    }


def shape_kernels(
    kind: np.ndarray, shape: np.ndarray, scaled: np.ndarray
) -> dict[str, Any]:
    """Kernels of the shapes of each lattice type (see ``sort_shapes``).

    Args:
        kind: Lattice type of each shape.
        shape: ln b/a, ln c/a, alpha, beta, gamma [degrees].
        scaled: a, b, c over the cube root of the volume, and the angles [degrees].
    """
    return {
        name: np.array(
            [
                _scott_kernel(points[kind == index], columns[index])
                for index in range(len(LATTICE_TYPES))
            ]
        )
        for name, points, columns in (
            ("shape_kernel", shape, SHAPE_COLUMNS),
            ("scaled_kernel", scaled, SCALED_COLUMNS),
        )
    }


def scale_shapes(shape: np.ndarray) -> np.ndarray:
    """a, b, c over the cube root of the volume, and the angles, of shapes.

    Args:
        shape: ln b/a, ln c/a, alpha, beta, gamma [degrees], one row a cell.
    """
    shape = shape.astype(np.float64)
    lattice = np.column_stack([np.ones(len(shape)), np.exp(shape[:, :2]), shape[:, 2:]])
    lattice[:, :3] /= cell_volumes(lattice)[:, None] ** (1.0 / 3.0)
    return lattice


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


# Small enough for a smooth progress line, large enough to pay for the call.
_CHUNK_CRYSTALS = 2000


def cut_batches(
    crystals: CrystalBatch | Iterable[CrystalBatch],
) -> Iterator[CrystalBatch]:
    """Cut a batch into small ones; batches pass as they are."""
    if not isinstance(crystals, CrystalBatch):
        yield from crystals
        return
    for start in range(0, len(crystals), _CHUNK_CRYSTALS):
        yield _slice(crystals, start, min(start + _CHUNK_CRYSTALS, len(crystals)))


def _slice(crystals: CrystalBatch, start: int, stop: int) -> CrystalBatch:
    """Crystals start to stop - 1 of a batch, as views."""
    offset = crystals.site_offset
    sites = slice(offset[start], offset[stop])
    values = {
        field.name: getattr(crystals, field.name)[
            slice(start, stop) if field.name in ("lattice", "space_group") else sites
        ]
        for field in fields(crystals)
        if field.name != "site_offset"
    }
    return CrystalBatch(site_offset=offset[start : stop + 1] - offset[start], **values)


def select_groups(
    fit: GatheredCrystals, represented: np.ndarray, per_element: bool
) -> dict[str, Any]:
    """Statistics of represented groups, as fields of a prior.

    The shapes of all groups are kept: they teach their lattice type.
    """
    row_of_group = np.full(231, -1)
    row_of_group[represented] = np.arange(len(represented))
    in_row = row_of_group[fit.space_group]
    tables = load_symmetry_tables()
    position = np.isin(position_groups(), represented)
    kept = in_row >= 0
    kind = tables.lattice_type[fit.space_group]
    return {
        "space_group": represented.astype(np.int32),
        "element": fit.element[represented],
        "n_elements": trim_columns(fit.n_elements[represented]),
        "repetitions": trim_columns(fit.repetitions[represented]),
        "wyckoff": np.where(position, fit.wyckoff, 0).astype(np.int32),
        "wyckoff_element": (
            np.where(position[:, None], fit.wyckoff_element, 0).astype(np.int32)
            if per_element
            else None
        ),
        "bandwidth": reference_bandwidth(
            fit.volume_factor[kept], fit.volume_atomic[kept]
        ),
        **sort_volumes(in_row, fit.volume_atomic, fit.volume_factor, len(represented)),
        **sort_shapes(kind, fit.shape),
        **shape_kernels(kind, fit.shape, fit.scaled),
    }


def position_groups() -> Int64[np.ndarray, " 1731"]:
    """Space group of each row of the symmetry tables."""
    offset = load_symmetry_tables().position_offset
    return np.repeat(np.arange(231), np.diff(offset)).astype(np.int64)
