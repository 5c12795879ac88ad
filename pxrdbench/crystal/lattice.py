"""Cells: volume, vectors, and what a lattice type allows."""

import numpy as np
from jaxtyping import Float64


def cell_volumes(
    lattice: Float64[np.ndarray, "batch 6"],
) -> Float64[np.ndarray, " batch"]:
    """Volume [Å³] of cells a, b, c [Å], alpha, beta, gamma [degrees].

        V = a b c √(1 - cos²α - cos²β - cos²γ + 2 cos α cos β cos γ)

    The volume of angles that close no cell is NaN.
    """
    # Exact zeros for right angles, so that equal cells have equal volumes.
    cosines = np.where(lattice[:, 3:] == 90.0, 0.0, np.cos(np.radians(lattice[:, 3:])))
    squared = 1.0 - (cosines**2).sum(axis=1) + 2.0 * cosines.prod(axis=1)
    volume: np.ndarray = lattice[:, :3].prod(axis=1) * np.sqrt(
        np.where(squared > 0.0, squared, np.nan)
    )
    return volume


def lattice_matrix(lattice: Float64[np.ndarray, " 6"]) -> Float64[np.ndarray, "3 3"]:
    """Cell vectors as rows [Å]: a along x, b in the plane of x and y.

    ``fract @ lattice_matrix(lattice)`` are Cartesian coordinates.
    """
    a, b, c = lattice[:3]
    cosines = np.where(lattice[3:] == 90.0, 0.0, np.cos(np.radians(lattice[3:])))
    cos_alpha, cos_beta, cos_gamma = cosines
    sin_gamma = np.sqrt(1.0 - cos_gamma**2)
    c_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    c_z = np.sqrt(1.0 - cos_beta**2 - c_y**2)
    return np.array(
        [
            [a, 0.0, 0.0],
            [b * cos_gamma, b * sin_gamma, 0.0],
            [c * cos_beta, c * c_y, c * c_z],
        ]
    )


_Lattice = tuple[float, float, float, float, float, float]


def symmetric_lattice(space_group: int, lattice: _Lattice) -> _Lattice:
    """Nearest cell that the group's lattice type allows, in the standard setting.

    Equal lengths become their mean, fixed angles 90 or 120 degrees.
    """
    a, b, c, _, beta, _ = lattice
    if space_group <= 2:
        return lattice
    if space_group <= 15:
        return a, b, c, 90.0, beta, 90.0
    if space_group <= 74:
        return a, b, c, 90.0, 90.0, 90.0
    if space_group <= 142:
        return (a + b) / 2, (a + b) / 2, c, 90.0, 90.0, 90.0
    if space_group <= 194:
        return (a + b) / 2, (a + b) / 2, c, 90.0, 90.0, 120.0
    mean = (a + b + c) / 3
    return mean, mean, mean, 90.0, 90.0, 90.0
