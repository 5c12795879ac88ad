"""Kernels that add profiles up on a grid, in single precision.

Positions are counted in grid points: an integer index and a small remainder, since
an angle in degrees has too few digits in single precision. A pattern is added up in
a buffer that stays in cache, then scaled into the result.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numba import njit

from pxrdbench.diffraction.structure_factors import sine_of_half_turns

Singles = Float32[np.ndarray, " points"]
Doubles = Float64[np.ndarray, " peaks"]

NO_PEAK, BAD_WIDTH = 1, 2

# A Gaussian is cut where it has fallen below this part of the strongest profile, and
# the near part of a Lorentzian below the second value.
_CUT, _CUT_NEAR = 1e-6, 1e-5
# exp(−16 x) = p(x)^16; p minimises the largest error over x in [0, 0.9], 2e-7.
_P1, _P2, _P3, _P4 = (
    np.float32(-0.99999787),
    np.float32(0.49989813),
    np.float32(-0.1653681),
    np.float32(0.03588971),
)
# Beyond this x the power stays below 1e-10; further out p would grow again.
_X_MAX = np.float32(1.8)
_ONE, _JUST_ABOVE_ONE = np.float32(1.0), np.float32(1.0 + 2.0**-23)
# Windows begin and end at multiples of this many points, 64 bytes, the widest vector
# and a line of the cache: neighbouring peaks then load just what the last one stored.
_CHUNK = 16
# Far tails of Lorentzians live on a grid this much coarser.
_COARSE = 16
_LN_2 = math.log(2.0)
_SIGMA_OF_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_gaussian(
    pattern: Singles,
    ramp: Singles,
    offset: np.float32,
    narrowness: np.float32,
    height: np.float32,
) -> None:
    """Pattern += height · exp(−16 · narrowness · (ramp + offset)²)."""
    for i in range(pattern.shape[0]):
        d = ramp[i] + offset
        x = d * d * narrowness
        x = x if x < _X_MAX else _X_MAX
        p = _ONE + x * (_P1 + x * (_P2 + x * (_P3 + x * _P4)))
        p = p * p
        p = p * p
        p = p * p
        pattern[i] += height * (p * p)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_near_lorentzian(
    pattern: Singles,
    ramp: Singles,
    offset: np.float32,
    area: np.float32,
    core: np.float32,
    smooth: np.float32,
) -> None:
    """Pattern += area / (d² + core) − area / (d² + smooth), d = ramp + offset."""
    factor = area * (smooth - core)
    for i in range(pattern.shape[0]):
        d = ramp[i] + offset
        square = d * d
        pattern[i] += factor / ((square + core) * (square + smooth))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_far_lorentzian(
    coarse: Float32[np.ndarray, " coarse"],
    ramp: Singles,
    offset: np.float32,
    area: np.float32,
    smooth: np.float32,
) -> None:
    """The part that _add_near_lorentzian left out, on the coarse grid."""
    for i in range(coarse.shape[0]):
        d = ramp[i] + offset
        coarse[i] += area / (d * d + smooth)


@njit(cache=True, nogil=True)
def _interpolation_weights() -> Float32[np.ndarray, "fine 4"]:
    """Cubic Lagrange weights of four coarse points for each fine point between."""
    weights = np.empty((_COARSE, 4), np.float32)
    for j in range(_COARSE):
        t = j / _COARSE
        weights[j, 0] = -t * (t - 1.0) * (t - 2.0) / 6.0
        weights[j, 1] = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
        weights[j, 2] = -(t + 1.0) * t * (t - 2.0) / 2.0
        weights[j, 3] = (t + 1.0) * t * (t - 1.0) / 6.0
    return weights


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_interpolated(
    coarse: Float32[np.ndarray, " coarse"],
    weights: Float32[np.ndarray, "fine 4"],
    pattern: Singles,
) -> None:
    """Add the coarse grid, whose second point is the pattern's first."""
    for c in range(pattern.shape[0] // _COARSE):
        c0, c1, c2, c3 = coarse[c], coarse[c + 1], coarse[c + 2], coarse[c + 3]
        part = pattern[c * _COARSE : (c + 1) * _COARSE]
        for j in range(_COARSE):
            part[j] += (
                weights[j, 0] * c0
                + weights[j, 1] * c1
                + weights[j, 2] * c2
                + weights[j, 3] * c3
            )


@njit(cache=True, nogil=True)
def _maximum(
    pattern: Singles,
) -> np.float32:
    """Largest of numbers >= 0, whose bits read as integers have the same order.

    LLVM turns the maximum of integers into vector instructions, that of floats not.
    """
    bits = pattern.view(np.int32)
    largest = np.int32(0)
    for i in range(bits.shape[0]):
        largest = bits[i] if bits[i] > largest else largest
    return np.int32(largest).view(np.float32)


@njit(cache=True, nogil=True)
def _scale(
    pattern: Singles,
    out: Singles,
) -> None:
    """Write the pattern with a maximum of exactly one."""
    largest = _maximum(pattern)
    factor = _ONE / largest
    # The rounded reciprocal may miss one from below; then the next number does not.
    if factor * largest < _ONE:
        factor *= _JUST_ABOVE_ONE
    for i in range(out.shape[0]):
        value = pattern[i] * factor
        out[i] = value if value < _ONE else _ONE


@njit(cache=True, nogil=True)
def _most_peaks(
    peak_offset: Int64[np.ndarray, " batch_and_one"],
) -> int:
    most = 0
    for i in range(peak_offset.shape[0] - 1):
        most = max(most, peak_offset[i + 1] - peak_offset[i])
    return most


@njit(cache=True, nogil=True)
def _window(
    position: float,
    reach: float,
    points: int,
) -> tuple[int, int]:
    """First point of the chunks that a profile reaches, and how many they hold."""
    low = max(math.ceil(position - min(reach, 1e9)), 0)
    high = min(math.floor(position + min(reach, 1e9)), points - 1)
    if high < low:
        return 0, 0
    low -= low % _CHUNK
    return low, (high - low + _CHUNK) // _CHUNK * _CHUNK


@njit(cache=True, nogil=True)
def _aligned(
    length: int,
) -> Singles:
    """An empty array that starts where a chunk may start in memory."""
    array = np.empty(length + _CHUNK, np.float32)
    shift = -(array.ctypes.data // array.itemsize) % _CHUNK
    return array[shift : shift + length]


@njit(cache=True, nogil=True)
def _largest_on_grid(
    height: Doubles,
    position: Doubles,
    n: int,
    points: int,
) -> float:
    """Height of the strongest profile whose centre is on the grid; 0 if none is."""
    largest = 0.0
    for p in range(n):
        # Half a step beyond the ends still has its nearest point on the grid.
        if -0.5 <= position[p] <= points - 0.5 and height[p] > largest:
            largest = height[p]
    return largest


# With numpy's model of errors a divisor is not checked for zero; such a check would
# keep the loops below scalar. None is zero: widths and steps are positive.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _fill_sigma(two_theta: Doubles, sigma0: float, sigma: Doubles) -> None:
    """sigma0 / cos θ."""
    for p in range(sigma.shape[0]):
        sigma[p] = sigma0 / sine_of_half_turns(0.5 - two_theta[p] / 360.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_height(intensity: Doubles, sigma: Doubles, height: Doubles) -> None:
    for p in range(height.shape[0]):
        height[p] = intensity[p] / sigma[p]


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_position(
    two_theta: Doubles, start: float, step: float, position: Doubles
) -> None:
    """Angles in units of the grid, from its first point."""
    for p in range(position.shape[0]):
        position[p] = (two_theta[p] - start) / step


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_reach(height: Doubles, sigma: Doubles, floor: float, reach: Doubles) -> None:
    """How far a Gaussian stays above ``floor``, rounded up; 0 if nowhere."""
    for p in range(reach.shape[0]):
        ratio = np.float32(height[p] / floor)
        # The bits of a float, read as an integer, are its logarithm to base 2 up to
        # the curve between powers of two, which lies at most 0.0861 above the chord.
        bits = np.float64(ratio.view(np.int32))
        log2 = bits * 2.0**-23 - 127.0 + 0.0861
        value = sigma[p] * math.sqrt((2.0 * _LN_2) * (log2 if log2 > 0.0 else 0.0))
        reach[p] = value if ratio > _ONE else 0.0


@njit(cache=True, nogil=True)
def render_gaussians(
    two_theta: Doubles,
    intensity: Doubles,
    peak_offset: Int64[np.ndarray, " batch_and_one"],
    sigma0: Float64[np.ndarray, " batch"],
    start: float,
    step: float,
    out: Float32[np.ndarray, "batch points"],
) -> tuple[int, int]:
    """Add Gaussians of width sigma0 / cos θ [degrees], one sigma0 a pattern.

    Returns:
        Status and index of the pattern at fault; status 0 is success.
    """
    points = out.shape[1]
    ramp = np.arange(points + _CHUNK).astype(np.float32)
    pattern = _aligned(points + _CHUNK)
    work = np.empty((4, _most_peaks(peak_offset)), np.float64)
    for i in range(out.shape[0]):
        first, last = peak_offset[i], peak_offset[i + 1]
        n = last - first
        sigma, height = work[0, :n], work[1, :n]
        position, reach = work[2, :n], work[3, :n]
        _fill_sigma(two_theta[first:last], sigma0[i] / step, sigma)
        _fill_height(intensity[first:last], sigma, height)
        _fill_position(two_theta[first:last], start, step, position)
        largest = _largest_on_grid(height, position, n, points)
        if not largest > 0.0:
            return NO_PEAK, i
        _fill_reach(height, sigma, _CUT * largest, reach)
        pattern[:] = 0
        for p in range(n):
            if reach[p] <= 0.0:
                continue
            low, length = _window(position[p], reach[p], points)
            _add_gaussian(
                pattern[low : low + length],
                ramp[:length],
                np.float32(low - position[p]),
                np.float32(1.0 / (32.0 * sigma[p] * sigma[p])),
                np.float32(height[p] / largest),
            )
        _scale(pattern[:points], out[i])
    return 0, -1


@njit(cache=True, nogil=True)
def _pseudo_voigt(
    widths: Float64[np.ndarray, " 6"],
    theta: float,
) -> tuple[float, float]:
    """Fwhm [degrees] and Lorentzian share at one angle; fwhm -1 if impossible."""
    tan, cos = math.tan(theta), math.cos(theta)
    gauss2 = widths[0] * tan * tan + widths[1] * tan + widths[2]
    gauss2 += (widths[3] / cos) ** 2
    lorentz = widths[4] * tan + widths[5] / cos
    if not (gauss2 >= 0.0 and lorentz >= 0.0 and gauss2 + lorentz > 0.0):
        return -1.0, 0.0
    g = math.sqrt(gauss2)
    # Thompson, Cox & Hastings (1987): the fwhm and mixing of the Voigt function.
    fwhm = (
        g**5
        + 2.69269 * g**4 * lorentz
        + 2.42843 * g**3 * lorentz**2
        + 4.47163 * g**2 * lorentz**3
        + 0.07842 * g * lorentz**4
        + lorentz**5
    ) ** 0.2
    share = lorentz / fwhm
    return fwhm, 1.36603 * share - 0.47719 * share**2 + 0.11116 * share**3


@njit(cache=True, nogil=True)
def render_pseudo_voigts(
    two_theta: Doubles,
    intensity: Doubles,
    peak_offset: Int64[np.ndarray, " batch_and_one"],
    widths: Float64[np.ndarray, "batch 6"],
    start: float,
    step: float,
    out: Float32[np.ndarray, "batch points"],
) -> tuple[int, int]:
    """Add pseudo-Voigts; ``widths`` as in ``_pseudo_voigt``, one row a pattern.

    A Lorentzian A/(d² + g²) is split into the smooth A/(d² + s²), s >= 4 g, which the
    coarse grid holds over the whole pattern, and a remainder that falls as d⁻⁴.

    Returns:
        Status and index of the pattern at fault; status 0 is success.
    """
    points = out.shape[1]
    room = (points // _COARSE + 3) * _COARSE + _CHUNK
    ramp = np.arange(room).astype(np.float32)
    pattern = _aligned(room)
    coarse = np.empty(room // _COARSE + 3, np.float32)
    # The coarse grid starts one of its steps before the pattern.
    coarse_ramp = ((np.arange(coarse.shape[0]) - 1) * _COARSE).astype(np.float32)
    weights = _interpolation_weights()
    most = _most_peaks(peak_offset)
    fwhm, share, height, position = (
        np.empty(most), np.empty(most), np.empty(most), np.empty(most),
    )  # fmt: skip
    for i in range(out.shape[0]):
        first, n = peak_offset[i], peak_offset[i + 1] - peak_offset[i]
        for p in range(n):
            theta = math.radians(0.5 * two_theta[first + p])
            fwhm[p], share[p] = _pseudo_voigt(widths[i], theta)
            if not 0.0 < fwhm[p] < math.inf:
                return BAD_WIDTH, i
            fwhm[p] /= step
            height[p] = intensity[first + p] / fwhm[p]
            position[p] = (two_theta[first + p] - start) / step
        largest = _largest_on_grid(height, position, n, points)
        if not largest > 0.0:
            return NO_PEAK, i
        pattern[:] = 0
        coarse[:] = 0
        for p in range(n):
            relative = height[p] / largest
            # Heights of area-normalised profiles of unit fwhm.
            gauss = (
                relative * (1.0 - share[p]) * math.sqrt(4.0 * math.log(2.0) / math.pi)
            )
            lorentz = relative * share[p] * 2.0 / math.pi
            if gauss > _CUT:
                sigma = fwhm[p] * _SIGMA_OF_FWHM
                reach = sigma * math.sqrt(2.0 * math.log(gauss / _CUT))
                low, length = _window(position[p], reach, points)
                _add_gaussian(
                    pattern[low : low + length],
                    ramp[:length],
                    np.float32(low - position[p]),
                    np.float32(1.0 / (32.0 * sigma * sigma)),
                    np.float32(gauss),
                )
            if lorentz <= 0.0:
                continue
            half = 0.5 * fwhm[p]
            smooth = max(4.0 * _COARSE, 4.0 * half)
            area = lorentz * half * half
            # Where half² smooth² / d⁴ has fallen below the cut.
            reach = math.sqrt(half * smooth) * (lorentz / _CUT_NEAR) ** 0.25
            low, length = _window(position[p], reach, points)
            _add_near_lorentzian(
                pattern[low : low + length],
                ramp[:length],
                np.float32(low - position[p]),
                np.float32(area),
                np.float32(half * half),
                np.float32(smooth * smooth),
            )
            _add_far_lorentzian(
                coarse,
                coarse_ramp,
                np.float32(-position[p]),
                np.float32(area),
                np.float32(smooth * smooth),
            )
        _add_interpolated(coarse, weights, pattern[: room - _CHUNK])
        _scale(pattern[:points], out[i])
    return 0, -1
