"""Kernels that make a list of peaks of each crystal of a batch."""

# ruff: noqa: E741 - h, k, l are the names of the indices

import math

import numpy as np
from jaxtyping import Float, Float64, Int, Int8, Int16, Int32, Int64
from numba import njit

from pxrdbench.diffraction.peak_lists import (
    clear_outside,
    lengthen,
    merge_neighbours,
    sort_by_angle,
)
from pxrdbench.diffraction.reflections import (
    Metric,
    list_reflections,
    reciprocal_metric,
)
from pxrdbench.diffraction.structure_factors import square_structure_factors
from pxrdbench.diffraction.texture import apply_march_dollase

# Rounding leaves absent reflections at 1e-14 of the strongest in single precision.
_ABSENT = 1e-13
# Reflections worked on at once: what a first-level cache holds of all rows.
_BLOCK = 512
# Peaks a crystal for which the result has room from the start.
_PEAKS_EXPECTED = 256
# A crystal with more unique reflections than this is a mistake, not a pattern.
MAX_REFLECTIONS = 20_000_000

# θ(sin²θ)/sin θ on sin²θ in [0, ½] at 17 Chebyshev nodes; largest error 9e-16.
_ARCSINE = (
    1.0000000000000004,
    0.1666666666661266,
    0.07500000010326971,
    0.044642849352792925,
    0.03038225261078325,
    0.02236479278135831,
    0.017468338476864537,
    0.01271115458012856,
    0.021272381973439548,
    -0.045216406151762055,
    0.23748842691861086,
    -0.6963313293396542,
    1.582877152468858,
    -2.5068911979542188,
    2.7170663464162557,
    -1.7870148645071302,
    0.5621827313559765,
)

GOOD, BAD_CELL, TOO_MANY, NOTHING = 0, 1, 2, 3


Doubles = Float64[np.ndarray, " reflections"]
# Columns of the symmetry tables, see peaks.
KernelTables = tuple[np.ndarray, ...]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _fill_q(
    metric: Metric,
    h: Int[np.ndarray, " reflections"],
    k: Int[np.ndarray, " reflections"],
    l: Int[np.ndarray, " reflections"],
    q: Doubles,
) -> None:
    """1/d² [Å⁻²] of each reflection."""
    g11, g22, g33, g12, g13, g23 = metric
    g12, g13, g23 = 2.0 * g12, 2.0 * g13, 2.0 * g23
    for r in range(q.shape[0]):
        x, y, z = float(h[r]), float(k[r]), float(l[r])
        q[r] = x * (g11 * x + g12 * y + g13 * z) + y * (g22 * y + g23 * z) + g33 * z * z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _fill_two_theta(
    q: Doubles,
    wavelength: float,
    two_theta: Doubles,
) -> None:
    """2θ [degrees] = 2 asin √u, u = sin² θ; from 90 degrees on by the complement."""
    quarter = 0.25 * wavelength * wavelength
    degrees = 360.0 / math.pi
    for r in range(q.shape[0]):
        u = q[r] * quarter
        small = u if u <= 0.5 else 1.0 - u
        value = _ARCSINE[16]
        for i in range(15, -1, -1):
            value = value * small + _ARCSINE[i]
        angle = degrees * (math.sqrt(small) * value)
        two_theta[r] = angle if u <= 0.5 else 180.0 - angle


# Without Python's check of each divisor, which would keep the loop scalar.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _fill_lorentz_polarization(
    q: Doubles,
    wavelength: float,
    sigma: float,
    pi: float,
    lorentz: Float[np.ndarray, " reflections"],
) -> None:
    """(sigma + pi cos² 2θ) / (sin² θ cos θ), see polarization.

    In the precision of the structure factors.
    """
    real = lorentz.dtype.type
    quarter = 0.25 * wavelength * wavelength
    one, two = real(1.0), real(2.0)
    perpendicular, parallel = real(sigma), real(pi)
    for r in range(q.shape[0]):
        sin2 = q[r] * quarter
        u, cos2 = real(sin2), real(1.0 - sin2)
        cos_2theta = one - two * u
        part = parallel * cos_2theta
        lorentz[r] = (perpendicular + part * cos_2theta) / (u * np.sqrt(cos2))


@njit(cache=True, nogil=True)
def _fill_stol2(
    q: Doubles,
    stol2: Float[np.ndarray, " reflections"],
) -> None:
    """(sin θ/λ)² in the precision of the structure factors."""
    real = stol2.dtype.type
    for r in range(q.shape[0]):
        stol2[r] = real(0.25 * q[r])


@njit(cache=True, nogil=True)
def _weigh(
    multiplicity: Int32[np.ndarray, " reflections"],
    lorentz: Float[np.ndarray, " reflections"],
    squares: Float[np.ndarray, " reflections"],
    scale: float,
    intensity: Doubles,
) -> None:
    """M Lp |F|²."""
    for r in range(intensity.shape[0]):
        intensity[r] = lorentz[r] * squares[r] * (scale * multiplicity[r])


@njit(cache=True, nogil=True)
def _group_sites(
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
def _count_atoms(
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
def _place_atoms(
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
    doubles = np.empty((4, room), np.float64)
    order = np.empty((2, room), np.int64)
    buckets = np.empty(2 * room + 1, np.int64)
    scratch = np.empty((7, _BLOCK), coefficients.dtype)
    atom_room = 1024
    atoms = np.empty((3, atom_room), integer_holder.dtype)
    weight = np.empty(atom_room, coefficients.dtype)

    peak_offset = np.zeros(batch + 1, np.int64)
    # Memory that is never written costs nothing; most crystals have fewer peaks.
    angle_out = np.empty(_PEAKS_EXPECTED * batch + room, np.float64)
    intensity_out = np.empty(angle_out.shape[0], np.float64)
    source_out = np.empty(angle_out.shape[0], np.int64)
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
            doubles = np.empty((4, room), np.float64)
            order = np.empty((2, room), np.int64)
            buckets = np.empty(2 * room + 1, np.int64)
        if count > MAX_REFLECTIONS:
            status, culprit = TOO_MANY, i
            break
        h, k, l = integers[0, :count], integers[1, :count], integers[2, :count]
        stol2, squares, lorentz = reals[0, :count], reals[1, :count], reals[2, :count]
        q, two_theta = doubles[0, :count], doubles[1, :count]
        intensity, keys = doubles[2, :count], doubles[3, :count]
        _fill_q(metric, h, k, l, q)
        _fill_two_theta(q, wavelength, two_theta)
        _fill_lorentz_polarization(
            q, wavelength, polarization[0], polarization[1], lorentz
        )
        _fill_stol2(q, stol2)

        first, last = site_offset[i], site_offset[i + 1]
        n_groups = _group_sites(species, b_iso, first, last, group_of_site, leader)
        n_atoms = _count_atoms(group, first, last, wyckoff_index, tables)
        if n_atoms > atom_room:
            atom_room = 2 * n_atoms
            atoms = np.empty((3, atom_room), integer_holder.dtype)
            weight = np.empty(atom_room, coefficients.dtype)
        _place_atoms(
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
        _weigh(
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
            keys, order[0], order[1], buckets,
        )  # fmt: skip
        if end + found > angle_out.shape[0]:
            # As many for each of the other crystals, and a tenth more.
            length = (end + found) * (batch + 10) // (i + 1) * 11 // 10
            angle_out = lengthen(angle_out, length)
            intensity_out = lengthen(intensity_out, length)
            source_out = lengthen(source_out, length)
            if with_hkl:
                h_out, k_out = lengthen(h_out, length), lengthen(k_out, length)
                l_out = lengthen(l_out, length)
        kept = merge_neighbours(
            keys, order[1], intensity, found, cut, use_mean, end,
            angle_out, intensity_out, source_out,
        )  # fmt: skip
        if with_hkl:
            for j in range(end, kept):
                r = source_out[j]
                h_out[j], k_out[j], l_out[j] = h[r], k[r], l[r]
        end = kept
        peak_offset[i + 1] = end
    return (
        status, culprit, end, angle_out, intensity_out, peak_offset,
        h_out, k_out, l_out,
    )  # fmt: skip
