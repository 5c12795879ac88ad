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

# A Gaussian is cut where it has fallen below this part of the strongest profile.
CUT = 1e-6
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
CHUNK = 16
_LN_2 = math.log(2.0)


@njit(cache=True, nogil=True, fastmath={"contract"})
def add_gaussian(
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
def scale_to_one(
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
def most_peaks(
    peak_offset: Int64[np.ndarray, " batch_and_one"],
) -> int:
    """Length of the longest list."""
    most = 0
    for i in range(peak_offset.shape[0] - 1):
        most = max(most, peak_offset[i + 1] - peak_offset[i])
    return most


@njit(cache=True, nogil=True)
def window_of(
    position: float,
    reach: float,
    points: int,
) -> tuple[int, int]:
    """First point of the chunks that a profile reaches, and how many they hold."""
    low = max(math.ceil(position - min(reach, 1e9)), 0)
    high = min(math.floor(position + min(reach, 1e9)), points - 1)
    if high < low:
        return 0, 0
    low -= low % CHUNK
    return low, (high - low + CHUNK) // CHUNK * CHUNK


@njit(cache=True, nogil=True)
def aligned(
    length: int,
) -> Singles:
    """An empty array that starts where a chunk may start in memory."""
    array = np.empty(length + CHUNK, np.float32)
    shift = -(array.ctypes.data // array.itemsize) % CHUNK
    return array[shift : shift + length]


@njit(cache=True, nogil=True)
def largest_on_grid(
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
def fill_position(
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
    ramp = np.arange(points + CHUNK).astype(np.float32)
    pattern = aligned(points + CHUNK)
    work = np.empty((4, most_peaks(peak_offset)), np.float64)
    for i in range(out.shape[0]):
        first, last = peak_offset[i], peak_offset[i + 1]
        n = last - first
        sigma, height = work[0, :n], work[1, :n]
        position, reach = work[2, :n], work[3, :n]
        _fill_sigma(two_theta[first:last], sigma0[i] / step, sigma)
        _fill_height(intensity[first:last], sigma, height)
        fill_position(two_theta[first:last], start, step, position)
        largest = largest_on_grid(height, position, n, points)
        if not largest > 0.0:
            return NO_PEAK, i
        _fill_reach(height, sigma, CUT * largest, reach)
        pattern[:] = 0
        for p in range(n):
            if reach[p] <= 0.0:
                continue
            low, length = window_of(position[p], reach[p], points)
            add_gaussian(
                pattern[low : low + length],
                ramp[:length],
                np.float32(low - position[p]),
                np.float32(1.0 / (32.0 * sigma[p] * sigma[p])),
                np.float32(height[p] / largest),
            )
        scale_to_one(pattern[:points], out[i])
    return 0, -1
