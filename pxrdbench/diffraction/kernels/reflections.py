"""Which reflections a crystal has: one of each set that its Laue class makes equal.

A kernel walks over rows of constant (h, k) and lists the l of a row as one run. The
unique region of each of the 12 Laue classes is written out below with its
multiplicity in closed form; centring leaves every first, second or third l of a row.
"""

import math

import numpy as np
from jaxtyping import Float64, Int, Int32
from numba import njit

# g11, g22, g33, g12, g13, g23 of the reciprocal cell [Å⁻²].
Metric = tuple[float, float, float, float, float, float]

# Rows reach a little beyond the sphere, so that rounding loses no reflection on its
# surface; what lies outside is sorted out by its angle.
_MARGIN = 1e-9

# Indices are written in runs of this many.
_RUN = 8

# Codes of crystal.symmetry: Laue classes and centrings.
_LAUE_1, _LAUE_2M, _LAUE_MMM, _LAUE_4M, _LAUE_4MMM = 0, 1, 2, 3, 4
_LAUE_3, _LAUE_31M, _LAUE_3M1, _LAUE_6M, _LAUE_6MMM = 5, 6, 7, 8, 9
_LAUE_M3, _LAUE_M3M = 10, 11
_CENTRING_A, _CENTRING_C, _CENTRING_I, _CENTRING_F, _CENTRING_R = 1, 2, 3, 4, 5


@njit(cache=True, nogil=True)
def reciprocal_metric(
    lattice: Float64[np.ndarray, " 6"],
) -> Metric:
    """G* of a cell as (g11, g22, g33, g12, g13, g23) [Å⁻²]; g11 is 0 if impossible."""
    a, b, c = lattice[0], lattice[1], lattice[2]
    cos_a = math.cos(math.radians(lattice[3]))
    cos_b = math.cos(math.radians(lattice[4]))
    cos_c = math.cos(math.radians(lattice[5]))
    # cos 90° is 6e-17 in floating point; a right angle is meant to be exact.
    cos_a = 0.0 if lattice[3] == 90.0 else cos_a
    cos_b = 0.0 if lattice[4] == 90.0 else cos_b
    cos_c = 0.0 if lattice[5] == 90.0 else cos_c
    cos_c = -0.5 if lattice[5] == 120.0 else cos_c
    # (V / abc)²; comparisons are written so that NaN fails them.
    det = 1 - cos_a**2 - cos_b**2 - cos_c**2 + 2 * cos_a * cos_b * cos_c
    if not (a > 0.0 and b > 0.0 and c > 0.0 and det > 1e-12 and a * b * c < math.inf):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    return (
        (1 - cos_a**2) / (det * a * a),
        (1 - cos_b**2) / (det * b * b),
        (1 - cos_c**2) / (det * c * c),
        (cos_a * cos_b - cos_c) / (det * a * b),
        (cos_a * cos_c - cos_b) / (det * a * c),
        (cos_b * cos_c - cos_a) / (det * b * c),
    )


@njit(cache=True, nogil=True)
def _first_l_and_stride(
    centring: int,
    h: int,
    k: int,
) -> tuple[int, int]:
    """Residue and stride of the l that the centring allows; stride 0 for none."""
    # The last bit of an integer is its rest modulo 2, negative or not.
    if centring == _CENTRING_A:
        return k & 1, 2
    if centring == _CENTRING_C:
        return 0, 1 - ((h + k) & 1)
    if centring == _CENTRING_I:
        return (h + k) & 1, 2
    if centring == _CENTRING_F:
        return h & 1, 2 * (1 - ((h + k) & 1))
    if centring == _CENTRING_R:
        return (h - k) % 3, 3
    return 0, 1


@njit(cache=True, nogil=True)
def _limit_k(
    laue: int,
    h: int,
    low: int,
    high: int,
) -> tuple[int, int]:
    """Range of k in the unique region, given h."""
    if laue == _LAUE_1:
        return (max(low, 0) if h == 0 else low), high
    low = max(low, 0)
    if laue in (_LAUE_4MMM, _LAUE_31M, _LAUE_3M1, _LAUE_6MMM, _LAUE_M3, _LAUE_M3M):
        high = min(high, h)
    elif laue in (_LAUE_4M, _LAUE_3, _LAUE_6M) and h == 0:
        high = min(high, 0)
    return low, high


@njit(cache=True, nogil=True)
def _limit_l(
    laue: int,
    h: int,
    k: int,
    low: int,
    high: int,
) -> tuple[int, int]:
    """Range of l in the unique region, given h and k."""
    if h == 0 and k == 0:
        low = max(low, 1)
    elif laue in (_LAUE_1, _LAUE_3):
        pass
    elif laue == _LAUE_2M:
        low = max(low, 0) if h == 0 else low
    elif laue == _LAUE_31M:
        low = max(low, 0) if k == 0 else low
    elif laue == _LAUE_3M1:
        low = max(low, 0) if k == h else low
    else:
        low = max(low, 0)
    if laue == _LAUE_M3:
        # The largest index leads; of two equal largest ones the second follows it.
        high = min(high, h if k == h else h - 1)
    elif laue == _LAUE_M3M:
        high = min(high, k)
    return low, high


@njit(cache=True, nogil=True)
def _multiplicity(
    laue: int,
    h: int,
    k: int,
    zero_l: bool,
) -> int:
    """Reflections equal to (h, k, l) for l = 0 or for a general l of its row."""
    on_axis = h == 0 and k == 0
    on_mirror = k in (0, h)
    if laue == _LAUE_1:
        return 2
    if laue == _LAUE_2M:
        return 2 if k == 0 or (h == 0 and zero_l) else 4
    if laue == _LAUE_3:
        return 2 if on_axis else 6
    if laue == _LAUE_31M:
        return 2 if on_axis else (6 if k == h or (k == 0 and zero_l) else 12)
    if laue == _LAUE_3M1:
        return 2 if on_axis else (6 if k == 0 or (k == h and zero_l) else 12)
    if laue == _LAUE_MMM:
        plane = (1 if h == 0 else 2) * (1 if k == 0 else 2)
    elif laue == _LAUE_4M:
        plane = 1 if on_axis else 4
    elif laue == _LAUE_4MMM:
        plane = 1 if on_axis else (4 if on_mirror else 8)
    elif laue == _LAUE_6M:
        plane = 1 if on_axis else 6
    elif laue == _LAUE_6MMM:
        plane = 1 if on_axis else (6 if on_mirror else 12)
    elif laue == _LAUE_M3:
        plane = 6 if k == 0 else 12
    else:
        plane = (12 if k == h else 24) // (2 if k == 0 else 1)
    return plane if zero_l else 2 * plane


@njit(cache=True, nogil=True)
def _fill(
    array: Int[np.ndarray, " room"],
    start: int,
    n: int,
    value: int,
    step: int,
) -> None:
    """Array[start + i] = value + i step for i < n, and where there is room beyond."""
    stop = (n + _RUN - 1) // _RUN * _RUN
    if start + stop <= array.shape[0]:
        # Rows are short: whole runs, which are single instructions, and no rest.
        for first in range(start, start + stop, _RUN):
            part = array[first : first + _RUN]
            for i in range(_RUN):
                part[i] = value + i * step
            value += _RUN * step
    else:
        for i in range(n):
            array[start + i] = value + i * step


@njit(cache=True, nogil=True, error_model="numpy")
def list_reflections(
    metric: Metric,
    laue: int,
    centring: int,
    q_max: float,
    h_out: Int[np.ndarray, " room"],
    k_out: Int[np.ndarray, " room"],
    l_out: Int[np.ndarray, " room"],
    m_out: Int32[np.ndarray, " room"],
) -> int:
    """List unique reflections with 1/d² up to q_max, and their multiplicities.

    Returns:
        The number found. If it exceeds the length of the arrays they are not filled;
        they have to be made longer then. (0, 0, 0) is never listed.
    """
    g11, g22, g33, g12, g13, g23 = metric
    # q = g33 (l + (g13 h + g23 k)/g33)² + s22 (k + s12 h/s22)² + t11 h²
    s11 = g11 - g13 * g13 / g33
    s22 = g22 - g23 * g23 / g33
    s12 = g12 - g13 * g23 / g33
    t11 = s11 - s12 * s12 / s22
    q_max = q_max * (1.0 + _MARGIN)
    d33 = 1.0 / g33  # a division is slow, and rows are many
    capacity = h_out.shape[0]
    count = 0
    for h in range(int(math.sqrt(q_max / t11)) + 1):
        rest_h = q_max - t11 * h * h
        if rest_h < 0.0:
            break
        centre = -s12 * h / s22
        radius = math.sqrt(rest_h / s22)
        k_low, k_high = _limit_k(
            laue, h, math.ceil(centre - radius), math.floor(centre + radius)
        )
        for k in range(k_low, k_high + 1):
            residue, stride = _first_l_and_stride(centring, h, k)
            rest_k = rest_h - s22 * (k - centre) ** 2
            if stride == 0 or rest_k < 0.0:
                continue
            middle = -(g13 * h + g23 * k) * d33
            reach = math.sqrt(rest_k * d33)
            l_low, l_high = _limit_l(
                laue, h, k, math.ceil(middle - reach), math.floor(middle + reach)
            )
            # Integer division is slow; only a stride of three needs it.
            if stride == 2:
                l_low += (residue - l_low) & 1
                n = ((l_high - l_low) >> 1) + 1
            elif stride == 1:
                n = l_high - l_low + 1
            else:
                l_low += (residue - l_low) % stride
                n = (l_high - l_low) // stride + 1
            if l_low > l_high:
                continue
            if count + n <= capacity:
                general = _multiplicity(laue, h, k, False)
                _fill(h_out, count, n, h, 0)
                _fill(k_out, count, n, k, 0)
                _fill(l_out, count, n, l_low, stride)
                _fill(m_out, count, n, general, 0)
                if l_low <= 0 <= l_high and l_low % stride == 0:
                    m_out[count - l_low // stride] = _multiplicity(laue, h, k, True)
                if laue == _LAUE_M3M and l_high >= k and (k - l_low) % stride == 0:
                    # (h, k, k): half of the permutations; (h, h, h): a third.
                    m_out[count + (k - l_low) // stride] //= 3 if k == h else 2
                if laue == _LAUE_M3 and k == h == l_high and (h - l_low) % stride == 0:
                    m_out[count + (h - l_low) // stride] //= 3
            count += n
    return count
