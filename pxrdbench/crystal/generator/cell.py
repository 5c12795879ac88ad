"""Kernels that draw the volume and the shape of a cell from a prior."""

import numpy as np
from numba import njit

from pxrdbench.crystal.prior.sampling_tables import SamplingTables
from pxrdbench.crystal.rng import Integer, next_normal, next_uniform

# Where a kernel has fallen below 1e-9 of the nearest point's it counts as nothing.
_CUT = 2.0 * 9.0 * np.log(10.0)
# Flatter cells (volume below a tenth of a b c) or sharper angles [degrees] are no
# conventional cells; the kernel density reaches there now and then.
_FLATTEST = 0.01
_SHARPEST = 20.0


@njit(cache=True, nogil=True)
def draw_volume_factor(
    state: np.ndarray, tables: SamplingTables, row: Integer, volume: float
) -> float:
    """Draw from the density of the factor, given the volume of the atoms.

        p(f | V) = Σ_i K((V - V_i)/h_V) K((f - f_i)/h_f) / h_f / Σ_i K((V - V_i)/h_V)

    A point i is found by rejection among those near V, then a normal deviate is
    added. Factors that are not positive are drawn again.
    """
    first, last = tables.volume_offset[row], tables.volume_offset[row + 1]
    points = tables.volume_atomic[first:last]
    variance = tables.bandwidth[1] ** 2
    right = np.searchsorted(points, volume)
    nearest = np.inf
    if right < len(points):
        nearest = points[right] - volume
    if right > 0:
        nearest = min(nearest, volume - points[right - 1])
    reach = np.sqrt(nearest**2 + _CUT * variance)
    low = np.searchsorted(points, volume - reach)
    high = np.searchsorted(points, volume + reach, side="right")
    while True:
        point = low + int(next_uniform(state) * (high - low))
        excess = nearest**2 - (points[point] - volume) ** 2
        if next_uniform(state) < np.exp(excess / (2.0 * variance)):
            factor = tables.volume_factor[first + point]
            factor += tables.bandwidth[0] * next_normal(state)
            if factor > 0.0:
                return float(factor)


@njit(cache=True, nogil=True)
def _add_normal(state: np.ndarray, kernel: np.ndarray, values: np.ndarray) -> None:
    """Add a normal deviate whose covariance is kernel times its transpose."""
    deviate = np.zeros(len(values))
    for column in range(len(values)):
        # Columns that a lattice type fixes have no width, and use up no number.
        if kernel[column, column] > 0.0:
            deviate[column] = next_normal(state)
            for other in range(column + 1):
                values[column] += kernel[column, other] * deviate[other]


@njit(cache=True, nogil=True)
def _squared_volume(angles: np.ndarray) -> float:
    """Square of V / (a b c); negative where three angles [degrees] close no cell."""
    cosines = np.cos(np.radians(angles))
    for axis in range(3):
        if angles[axis] == 90.0:
            cosines[axis] = 0.0
    squared = 1.0 + 2.0 * cosines[0] * cosines[1] * cosines[2]
    return float(squared - cosines[0] ** 2 - cosines[1] ** 2 - cosines[2] ** 2)


@njit(cache=True, nogil=True)
def draw_lattice(
    state: np.ndarray,
    tables: SamplingTables,
    lattice_type: Integer,
    volume: float,
    is_paper: bool,
    lattice: np.ndarray,
) -> None:
    """Draw the shape of a cell, and scale it to the volume.

    The paper preset smooths a, b, c over the cube root of the volume, as the
    reference implementation does: its cells miss the volume by some percent.
    """
    first = tables.shape_offset[lattice_type]
    n_shapes = tables.shape_offset[lattice_type + 1] - first
    shape = np.empty(5)
    if n_shapes == 0:
        # A cubic cell has no shape to draw, and no points.
        lattice[:3] = volume ** (1.0 / 3.0)
        lattice[3:] = 90.0
        return
    while True:
        shape[:] = tables.shape[first + int(next_uniform(state) * n_shapes)]
        if not is_paper:
            _add_normal(state, tables.shape_kernel[lattice_type], shape)
        lattice[0] = 1.0
        # The exponential of zero is one: equal lengths stay equal.
        lattice[1:3] = np.exp(shape[:2])
        lattice[3:] = shape[2:]
        squared = _squared_volume(lattice[3:])
        if is_paper:
            lattice[:3] /= (lattice[1] * lattice[2] * np.sqrt(squared)) ** (1.0 / 3.0)
            _add_normal(state, tables.scaled_kernel[lattice_type], lattice)
            if tables.scaled_kernel[lattice_type, 1, 1] == 0.0:
                lattice[1] = lattice[0]
            squared = _squared_volume(lattice[3:])
        if (
            squared > _FLATTEST
            and lattice[:3].min() > 0.0
            and lattice[3:].min() > _SHARPEST
            and lattice[3:].max() < 180.0 - _SHARPEST
        ):
            break
    if is_paper:
        lattice[:3] *= volume ** (1.0 / 3.0)
    else:
        unit = lattice[1] * lattice[2] * np.sqrt(squared)
        lattice[:3] *= (volume / unit) ** (1.0 / 3.0)
