"""Kernels that place the atoms of a crystal: images of its sites, by species."""

import math

import numpy as np
from jaxtyping import Float, Float64, Int, Int8, Int16, Int64
from numba import njit

# Columns of the symmetry tables, see peaks.
KernelTables = tuple[np.ndarray, ...]


@njit(cache=True, nogil=True)
def are_sites_sound(
    space_group: Int64[np.ndarray, " batch"],
    site_offset: Int64[np.ndarray, " batch_and_one"],
    atomic_number: Int64[np.ndarray, " sites"],
    wyckoff_index: Int16[np.ndarray, " sites"],
    fract: Float64[np.ndarray, "sites 3"],
    occupancy: Float64[np.ndarray, " sites"],
    b_iso: Float64[np.ndarray, " sites"],
    position_offset: np.ndarray,
    n_elements: int,
) -> bool:
    """Whether every value may be handed to the kernels; peaks says which may not."""
    for i in range(space_group.shape[0]):
        group = space_group[i]
        if not (1 <= group <= 230 and site_offset[i + 1] > site_offset[i]):
            return False
        positions = position_offset[group + 1] - position_offset[group]
        for s in range(site_offset[i], site_offset[i + 1]):
            # Comparisons are written so that NaN fails them.
            if not (
                1 <= atomic_number[s] < n_elements
                and 0 <= wyckoff_index[s] < positions
                and 0.0 < occupancy[s] <= 1.0
                and 0.0 <= b_iso[s] < np.inf
                and abs(fract[s, 0]) < np.inf
                and abs(fract[s, 1]) < np.inf
                and abs(fract[s, 2]) < np.inf
            ):
                return False
    return True


@njit(cache=True, nogil=True)
def group_sites(
    species: Int64[np.ndarray, " sites"],
    b_iso: Float64[np.ndarray, " sites"],
    first: int,
    last: int,
    group_of_site: Int64[np.ndarray, " most_sites"],
    leader: Int64[np.ndarray, " most_sites"],
) -> int:
    """Number the sites of a crystal by equal species and b_iso; return how many."""
    n_groups = 0
    for site in range(first, last):
        found = n_groups
        for g in range(n_groups):
            other = leader[g]
            if species[other] == species[site] and b_iso[other] == b_iso[site]:
                found = g
                break
        if found == n_groups:
            leader[n_groups] = site
            n_groups += 1
        group_of_site[site - first] = found
    return n_groups


@njit(cache=True, nogil=True)
def _fixed_point(
    value: float,
    dtype_holder: Int[np.ndarray, "3 room"],
) -> np.int64:
    """A coordinate as an integer: 2³² or 2⁶⁴ steps to the cell edge."""
    rest = value - math.floor(value + 0.5)  # in [-1/2, 1/2]
    # Half of the steps first, so that +1/2 does not overflow but wraps to -1/2.
    if dtype_holder.itemsize == 4:
        return np.int64(rest * 4294967296.0)
    return np.int64(rest * 9223372036854775808.0) << 1


@njit(cache=True, nogil=True)
def count_atoms(
    group: int,
    first: int,
    last: int,
    wyckoff_index: Int16[np.ndarray, " sites"],
    tables: KernelTables,
) -> int:
    """Reduced images of all sites of a crystal."""
    position_offset, reduced_offset = tables[0], tables[5]
    count = 0
    for site in range(first, last):
        position = position_offset[group] + wyckoff_index[site]
        count += reduced_offset[position + 1] - reduced_offset[position]
    return count


@njit(cache=True, nogil=True)
def _apply(
    rotation: Int8[np.ndarray, "rows 3 3"],
    translation: Int8[np.ndarray, "rows 3"],
    row: int,
    point: Float64[np.ndarray, " 3"] | tuple[float, float, float],
) -> tuple[float, float, float]:
    """One operator of a table on a point; translations are in 1/24."""
    x, y, z = point[0], point[1], point[2]
    return (
        rotation[row, 0, 0] * x
        + rotation[row, 0, 1] * y
        + rotation[row, 0, 2] * z
        + translation[row, 0] / 24.0,
        rotation[row, 1, 0] * x
        + rotation[row, 1, 1] * y
        + rotation[row, 1, 2] * z
        + translation[row, 1] / 24.0,
        rotation[row, 2, 0] * x
        + rotation[row, 2, 1] * y
        + rotation[row, 2, 2] * z
        + translation[row, 2] / 24.0,
    )


@njit(cache=True, nogil=True)
def place_atoms(
    group: int,
    first: int,
    last: int,
    fract: Float64[np.ndarray, "sites 3"],
    wyckoff_index: Int16[np.ndarray, " sites"],
    occupancy: Float64[np.ndarray, " sites"],
    tables: KernelTables,
    n_groups: int,
    group_of_site: Int64[np.ndarray, " most_sites"],
    atoms: Int[np.ndarray, "3 room"],
    weight: Float[np.ndarray, " room"],
    group_offset: Int64[np.ndarray, " groups_and_one"],
) -> None:
    """Write the reduced images of all sites, group by group."""
    position_offset, reduced_offset = tables[0], tables[5]
    rotation, translation, reduced_weight = tables[6], tables[7], tables[8]
    first_rotation, first_translation = tables[9], tables[10]
    integer, real = atoms.dtype.type, weight.dtype.type
    count = 0
    for g in range(n_groups):
        group_offset[g] = count
        for site in range(first, last):
            if group_of_site[site - first] != g:
                continue
            position = position_offset[group] + wyckoff_index[site]
            x, y, z = _apply(first_rotation, first_translation, position, fract[site])
            for op in range(reduced_offset[position], reduced_offset[position + 1]):
                image = _apply(rotation, translation, op, (x, y, z))
                for i in range(3):
                    atoms[i, count] = integer(_fixed_point(image[i], atoms))
                weight[count] = real(occupancy[site] * reduced_weight[op])
                count += 1
    group_offset[n_groups] = count
