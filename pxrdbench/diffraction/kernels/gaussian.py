"""Kernels that add profiles up on a grid, in single precision.

Positions are counted in grid points: an integer index and a small remainder, since
an angle in degrees has too few digits in single precision. A pattern is added up in
a buffer that stays in cache, then scaled into the result. What each peak needs is
worked out for all peaks of a pattern first, so that the loop over its points holds
nothing but the profile.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numba import njit

from pxrdbench.diffraction.kernels.peak_lists import largest_of
from pxrdbench.diffraction.kernels.structure_factors import sine_of_half_turns_32

Singles = Float32[np.ndarray, " points"]
PerPeak = Float32[np.ndarray, " peaks"]
Doubles = Float64[np.ndarray, " peaks"]
# The buffer of a pattern, a chunk a row, and the rows that a profile begins and ends.
Chunks = Float32[np.ndarray, "chunks 16"]
Bounds = Int32[np.ndarray, " peaks"]

NO_PEAK, BAD_WIDTH = 1, 2

# A Gaussian is cut where it has fallen below this part of the strongest profile.
CUT = 1e-6
# Windows begin and end at multiples of this many points, 64 bytes, the widest vector
# and a line of the cache: neighbouring peaks then load just what the last one stored.
CHUNK = 16
# 2^f on [−½, ½]; least squares weighted towards the largest relative error, 7.5e-8.
_A0, _A1, _A2, _A3, _A4, _A5 = (
    np.float32(1.0000000716555337),
    np.float32(0.693146967061059),
    np.float32(0.24022119719532495),
    np.float32(0.055507132774066596),
    np.float32(0.009675541570520854),
    np.float32(0.0013276471405469323),
)
# Added to a number below 2²² in size, it leaves the nearest integer in the last bits.
_ROUND = np.float32(1.5 * 2.0**23)
_EXPONENT = np.int32(23)  # bits below the exponent of a float32
# Below 2^−120 nothing is seen, and the exponent of a float32 ends at −126.
_LEAST_POWER = np.float32(-120.0)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_JUST_ABOVE_ONE = np.float32(1.0 + 2.0**-23)
_POINTS = np.float32(CHUNK)
_LOG2_OF_E = 1.0 / math.log(2.0)
_TWO_LN2 = np.float32(2.0 * math.log(2.0))
_PER_BIT, _BIAS = np.float32(2.0**-23), np.float32(127.0 - 0.0861)


@njit(cache=True, nogil=True, fastmath={"contract"})
def add_gaussians(
    chunks: Chunks,
    first: Bounds,
    last: Bounds,
    offset: PerPeak,
    narrowness: PerPeak,
    height: PerPeak,
) -> None:
    """Add height · 2^(narrowness · d²), narrowness < 0, to the chunks of each peak.

    d = offset + points from the start of the first chunk. 2^y is a polynomial of y less
    its nearest integer, which then goes into the exponent of the result.
    """
    for p in range(first.shape[0]):
        start, narrow, factor = offset[p], narrowness[p], height[p]
        for c in range(first[p], last[p]):
            row = chunks[np.uint32(c)]
            for j in range(CHUNK):
                d = np.float32(j) + start
                y = d * d * narrow
                y = y if y > _LEAST_POWER else _LEAST_POWER
                rounded = y + _ROUND
                f = y - (rounded - _ROUND)
                power = _A0 + f * (_A1 + f * (_A2 + f * (_A3 + f * (_A4 + f * _A5))))
                bits = np.float32(power).view(np.int32) + np.int32(
                    np.float32(rounded).view(np.int32) << _EXPONENT
                )
                row[j] += factor * np.int32(bits).view(np.float32)
            start += _POINTS


@njit(cache=True, nogil=True)
def _maximum(values: Singles) -> np.float32:
    """Largest of numbers >= 0, whose bits read as integers have the same order.

    LLVM turns the maximum of integers into vector instructions, that of floats not.
    """
    bits = values.view(np.int32)
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
def aligned(
    length: int,
) -> Singles:
    """An empty array that starts where a chunk may start in memory."""
    array = np.empty(length + CHUNK, np.float32)
    shift = -(array.ctypes.data // array.itemsize) % CHUNK
    return array[shift : shift + length]


@njit(cache=True, nogil=True)
def largest_on_grid(height: PerPeak, position: Doubles, points: int) -> np.float32:
    """Height of the strongest profile whose centre is on the grid; 0 if none is."""
    bits = height.view(np.int32)
    # Half a step beyond the ends still has its nearest point on the grid.
    end = points - 0.5
    largest = np.int32(0)
    for p in range(height.shape[0]):
        inside = (position[p] >= -0.5) & (position[p] <= end)
        value = bits[p] if inside else np.int32(0)
        largest = value if value > largest else largest
    return np.int32(largest).view(np.float32)


@njit(cache=True, nogil=True)
def fill_position(
    two_theta: Doubles, start: float, step: float, position: Doubles
) -> None:
    """Angles in units of the grid, from its first point."""
    per_step = 1.0 / step
    for p in range(position.shape[0]):
        position[p] = (two_theta[p] - start) * per_step


@njit(cache=True, nogil=True, fastmath={"contract"})
def _fill_scherrer(
    two_theta: Doubles,
    intensity: Doubles,
    strongest: float,
    inverse0: np.float32,
    inverse: PerPeak,
    height: PerPeak,
) -> None:
    """1/sigma = inverse0 · cos θ, and the height of a Gaussian of that width."""
    turns, scale = 1.0 / 360.0, 1.0 / strongest
    for p in range(inverse.shape[0]):
        cos = sine_of_half_turns_32(np.float32(0.5 - two_theta[p] * turns))
        inverse[p] = cos * inverse0
        height[p] = np.float32(intensity[p] * scale) * inverse[p]


@njit(cache=True, nogil=True, fastmath={"contract"})
def log2_from_above(ratio: np.float32) -> np.float32:
    """Logarithm to base 2, at most 0.0861 too large.

    The bits of a float, read as an integer, are its logarithm up to the curve between
    powers of two, which lies at most 0.0861 above the chord.
    """
    return np.float32(np.float32(ratio).view(np.int32)) * _PER_BIT - _BIAS


# With numpy's model of errors a divisor is not checked for zero; such a check would
# keep the loops below scalar. None is zero: widths and steps are positive.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def fill_gauss_reach(
    height: PerPeak, inverse: PerPeak, floor: np.float32, reach: PerPeak
) -> None:
    """How far a Gaussian stays above ``floor``, rounded up; 0 if nowhere."""
    per_floor = _ONE / floor
    for p in range(reach.shape[0]):
        ratio = np.float32(height[p] * per_floor)
        log2 = log2_from_above(ratio) if ratio > _ONE else _ZERO
        reach[p] = np.sqrt(_TWO_LN2 * log2) / inverse[p]


@njit(cache=True, nogil=True, fastmath={"contract"})
def fill_windows(
    position: Doubles,
    reach: PerPeak,
    points: int,
    first: Bounds,
    last: Bounds,
    offset: PerPeak,
) -> None:
    """Chunks that each profile reaches, none where its reach is 0.

    ``offset`` receives the distance from the peak to its first chunk.
    """
    end, per_chunk = np.float32(points - 1), np.float32(1.0 / CHUNK)
    for p in range(position.shape[0]):
        centre = np.float32(position[p])
        low, high = centre - reach[p], centre + reach[p]
        seen = (high >= _ZERO) & (low <= end) & (reach[p] > _ZERO)
        low = low if low > _ZERO else _ZERO
        high = high if high < end else end
        start = np.int32((low if seen else _ZERO) * per_chunk)
        stop = np.int32((high if seen else _ZERO) * per_chunk + _ONE)
        first[p] = start
        last[p] = stop if seen else start
        offset[p] = np.float32(float(start) * CHUNK - position[p])


@njit(cache=True, nogil=True, fastmath={"contract"})
def fill_narrowness(inverse: PerPeak, narrowness: PerPeak) -> None:
    """−1/(2 sigma² ln 2): a Gaussian is 2^(narrowness · d²)."""
    factor = np.float32(-0.5 * _LOG2_OF_E)
    for p in range(inverse.shape[0]):
        narrowness[p] = factor * inverse[p] * inverse[p]


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
    n_chunks = (points + CHUNK - 1) // CHUNK
    buffer = aligned(n_chunks * CHUNK)
    chunks = buffer.reshape((n_chunks, CHUNK))
    most = most_peaks(peak_offset)
    doubles, singles = np.empty(most), np.empty((5, most), np.float32)
    bounds = np.empty((2, most), np.int32)
    for i in range(out.shape[0]):
        rows = slice(peak_offset[i], peak_offset[i + 1])
        n = peak_offset[i + 1] - peak_offset[i]
        position, inverse, height = doubles[:n], singles[0, :n], singles[1, :n]
        reach, offset, narrowness = singles[2, :n], singles[3, :n], singles[4, :n]
        first, last = bounds[0, :n], bounds[1, :n]
        fill_position(two_theta[rows], start, step, position)
        strongest = largest_of(intensity[rows])
        if not strongest > 0.0:
            return NO_PEAK, i
        _fill_scherrer(
            two_theta[rows], intensity[rows], strongest,
            np.float32(step / sigma0[i]), inverse, height,
        )  # fmt: skip
        largest = largest_on_grid(height, position, points)
        if not largest > _ZERO:
            return NO_PEAK, i
        fill_gauss_reach(height, inverse, np.float32(CUT) * largest, reach)
        fill_windows(position, reach, points, first, last, offset)
        fill_narrowness(inverse, narrowness)
        for c in range(buffer.shape[0]):
            buffer[c] = _ZERO
        add_gaussians(chunks, first, last, offset, narrowness, height)
        scale_to_one(buffer[:points], out[i])
    return 0, -1
