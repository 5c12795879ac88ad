"""The kernel that makes a list of peaks of each crystal of a batch."""

# ruff: noqa: E741 - h, k, l are the names of the indices

import math

import numpy as np
from jaxtyping import Float, Float64, Int, Int16, Int64
from numba import njit

from pxrdbench.diffraction.kernels.atoms import (
    KernelTables,
    count_atoms,
    group_sites,
    place_atoms,
)
from pxrdbench.diffraction.kernels.lines import (
    fill_lorentz_polarization,
    fill_q,
    fill_stol2,
    fill_two_theta,
    weigh,
)
from pxrdbench.diffraction.kernels.peak_lists import (
    clear_outside,
    lengthen,
    merge_neighbours,
    sort_by_angle,
)
from pxrdbench.diffraction.kernels.reflections import (
    list_reflections,
    reciprocal_metric,
)
from pxrdbench.diffraction.kernels.structure_factors import square_structure_factors
from pxrdbench.diffraction.kernels.texture import apply_march_dollase

# Rounding leaves absent reflections at 1e-14 of the strongest in single precision.
_ABSENT = 1e-13
# Reflections worked on at once: what a first-level cache holds of all rows.
_BLOCK = 512
# Peaks a crystal for which the result has room from the start.
_PEAKS_EXPECTED = 256
# A crystal with more unique reflections than this is a mistake, not a pattern.
MAX_REFLECTIONS = 20_000_000

GOOD, BAD_CELL, TOO_MANY, NOTHING = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def simulate_batch(
    lattice: Float64[np.ndarray, "batch 6"],
    space_group: Int16[np.ndarray, " batch"],
    site_offset: Int64[np.ndarray, " batch_and_one"],
    fract: Float64[np.ndarray, "sites 3"],
    species: Int64[np.ndarray, " sites"],
    wyckoff_index: Int16[np.ndarray, " sites"],
    occupancy: Float64[np.ndarray, " sites"],
    b_iso: Float64[np.ndarray, " sites"],
    tables: KernelTables,
    coefficients: Float[np.ndarray, "species 12"],
    integer_holder: Int[np.ndarray, " 0"],
    wavelength: float,
    low: float,
    high: float,
    cut: float,
    use_mean: bool,
    with_hkl: bool,
    polarization: tuple[float, float],
    texture_axis: Int16[np.ndarray, "batch_or_none 3"],
    texture_r: Float64[np.ndarray, " batch_or_none"],
) -> tuple[
    int,
    int,
    int,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
]:
    """Peaks of a batch; see simulate_peaks. All arrays are the kernel's own."""
    batch = space_group.shape[0]
    laue_class, centring, n_centring = tables[1], tables[2], tables[3]
    centrosymmetric = tables[4]
    position_offset, orbit_offset, orbit_rotation = tables[0], tables[11], tables[12]
    q_max = (2.0 * math.sin(math.radians(0.5 * high)) / wavelength) ** 2
    status, culprit = GOOD, -1

    most_sites = 0
    for i in range(batch):
        most_sites = max(most_sites, site_offset[i + 1] - site_offset[i])
    group_of_site = np.empty(most_sites, np.int64)
    leader = np.empty(most_sites, np.int64)
    group_offset = np.empty(most_sites + 1, np.int64)
    group_rows = np.empty((most_sites, 12), coefficients.dtype)
    group_b_iso = np.empty(most_sites, coefficients.dtype)

    room = 2048
    integers = np.empty((3, room), integer_holder.dtype)
    multiplicity = np.empty(room, np.int32)
    reals = np.empty((3, room), coefficients.dtype)
    doubles = np.empty((5, room), np.float64)
    rows = np.empty((3, room), np.uint32)
    buckets = np.empty(2 * room + 1, np.uint32)
    scratch = np.empty((7, _BLOCK), coefficients.dtype)
    atom_room = 1024
    atoms = np.empty((3, atom_room), integer_holder.dtype)
    weight = np.empty(atom_room, coefficients.dtype)

    peak_offset = np.zeros(batch + 1, np.int64)
    # Memory that is never written costs nothing; most crystals have fewer peaks.
    angle_out = np.empty(_PEAKS_EXPECTED * batch + room, np.float64)
    intensity_out = np.empty(angle_out.shape[0], np.float64)
    h_out = np.empty(angle_out.shape[0] if with_hkl else 0, np.int16)
    k_out, l_out = (
        np.empty(h_out.shape[0], np.int16),
        np.empty(h_out.shape[0], np.int16),
    )
    end = 0
    for i in range(batch):
        group = space_group[i]
        metric = reciprocal_metric(lattice[i])
        if metric[0] == 0.0:
            status, culprit = BAD_CELL, i
            break
        while True:
            count = list_reflections(
                metric, laue_class[group], centring[group], q_max,
                integers[0], integers[1], integers[2], multiplicity,
            )  # fmt: skip
            if count <= room or count > MAX_REFLECTIONS:
                break
            room = count + count // 4
            integers = np.empty((3, room), integer_holder.dtype)
            multiplicity = np.empty(room, np.int32)
            reals = np.empty((3, room), coefficients.dtype)
            doubles = np.empty((5, room), np.float64)
            rows = np.empty((3, room), np.uint32)
            buckets = np.empty(2 * room + 1, np.uint32)
        if count > MAX_REFLECTIONS:
            status, culprit = TOO_MANY, i
            break
        h, k, l = integers[0, :count], integers[1, :count], integers[2, :count]
        stol2, squares, lorentz = reals[0, :count], reals[1, :count], reals[2, :count]
        q, two_theta = doubles[0, :count], doubles[1, :count]
        intensity, keys, gathered = doubles[2, :count], doubles[3], doubles[4]
        fill_q(metric, h, k, l, q)
        fill_two_theta(q, wavelength, two_theta)
        fill_lorentz_polarization(
            q, wavelength, polarization[0], polarization[1], lorentz
        )
        fill_stol2(q, stol2)

        first, last = site_offset[i], site_offset[i + 1]
        n_groups = group_sites(species, b_iso, first, last, group_of_site, leader)
        n_atoms = count_atoms(group, first, last, wyckoff_index, tables)
        if n_atoms > atom_room:
            atom_room = 2 * n_atoms
            atoms = np.empty((3, atom_room), integer_holder.dtype)
            weight = np.empty(atom_room, coefficients.dtype)
        place_atoms(
            group, first, last, fract, wyckoff_index, occupancy, tables, n_groups,
            group_of_site, atoms, weight, group_offset,
        )  # fmt: skip
        for g in range(n_groups):
            for column in range(12):
                group_rows[g, column] = coefficients[species[leader[g]], column]
            group_b_iso[g] = b_iso[leader[g]]
        square_structure_factors(
            h, k, l, stol2, centrosymmetric[group], atoms, weight,
            group_offset[: n_groups + 1], group_rows, group_b_iso, scratch, squares,
        )  # fmt: skip
        weigh(
            multiplicity[:count], lorentz, squares, float(n_centring[group]) ** 2,
            intensity,
        )  # fmt: skip
        if texture_r.shape[0] > 0 and texture_r[i] != 1.0:
            row = position_offset[group + 1] - 1  # the general position
            apply_march_dollase(
                metric, h, k, l, q, texture_axis[i], texture_r[i],
                orbit_rotation[orbit_offset[row] : orbit_offset[row + 1]], intensity,
            )  # fmt: skip
        largest = clear_outside(two_theta, low, high, intensity)
        if not largest > 0.0:
            status, culprit = NOTHING, i
            break
        found = sort_by_angle(
            two_theta, intensity, _ABSENT * largest, low, high,
            keys, rows[0], rows[1], rows[2], buckets,
        )  # fmt: skip
        if end + found > angle_out.shape[0]:
            # As many for each of the other crystals, and a tenth more.
            length = (end + found) * (batch + 10) // (i + 1) * 11 // 10
            angle_out = lengthen(angle_out, length)
            intensity_out = lengthen(intensity_out, length)
            if with_hkl:
                h_out, k_out = lengthen(h_out, length), lengthen(k_out, length)
                l_out = lengthen(l_out, length)
        kept = merge_neighbours(
            keys, rows[1], intensity, gathered, found, cut, use_mean,
            angle_out[end:], intensity_out[end:],
        )  # fmt: skip
        if with_hkl:
            for j in range(kept):
                r = rows[1, j]
                h_out[end + j], k_out[end + j], l_out[end + j] = h[r], k[r], l[r]
        end += kept
        peak_offset[i + 1] = end
    return (
        status, culprit, end, angle_out, intensity_out, peak_offset,
        h_out, k_out, l_out,
    )  # fmt: skip
