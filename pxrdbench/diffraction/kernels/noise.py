"""Kernels that add noise to patterns: many normal deviates a sample, quickly.

Sixteen random bits make one normal deviate: a sign and the rank of its size among
2¹⁵ quantiles. Mean 0, variance 1 to 1e-4, sizes up to 4.3: all that noise needs, at a
tenth of the cost of Box and Muller. Bits are blocks of Philox, counted from the
sample's own index, so noise does not depend on batches.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt64
from numba import njit

from pxrdbench.crystal.rng import philox

_LOW = np.uint64(0xFFFFFFFF)
_BITS_32 = np.uint64(32)
_RANKS = 1 << 15
# Below this mean a Poisson number is found by adding up probabilities, so many at most.
_FEW_COUNTS = 16.0
_MOST_FEW = 200
# Numbers that are sought at once: their arrays stay in the nearest cache.
_LANES = 64
# Added to a number below 2⁵¹ in size, it leaves the nearest integer, halves to even.
_ROUND = 1.5 * 2.0**52

Patterns = Float32[np.ndarray, "batch points"]
Normals = Float32[np.ndarray, " normals"]
Singles = Float32[np.ndarray, " points"]
Doubles = Float64[np.ndarray, " points"]
Words = UInt64[np.ndarray, " blocks"]


@cache
def half_normal_quantiles() -> Float32[np.ndarray, " ranks"]:
    """Sizes of standard normal deviates at 2¹⁵ equally likely ranks."""
    inverse = NormalDist().inv_cdf
    table = np.array(
        [inverse(0.5 + (rank + 0.5) / (2 * _RANKS)) for rank in range(_RANKS)]
    )
    # The last rank stands for an endless tail; scaled to the variance of the whole.
    table /= math.sqrt((table**2).mean())
    return table.astype(np.float32)


@njit(cache=True, nogil=True)
def _fill_bits(
    first: Words,
    second: Words,
    seed: np.uint64,
    index: np.uint64,
    stream: np.uint64,
    first_block: np.uint64,
) -> None:
    """Two words of 64 random bits for each block."""
    index_low, index_high = index & _LOW, index >> _BITS_32
    seed_low, seed_high = seed & _LOW, seed >> _BITS_32
    for i in range(first.shape[0]):
        w0, w1, w2, w3 = philox(
            (first_block + np.uint64(i)) & _LOW,
            stream, index_low, index_high, seed_low, seed_high,
        )  # fmt: skip
        first[i] = w0 << _BITS_32 | w1
        second[i] = w2 << _BITS_32 | w3


@njit(cache=True, nogil=True)
def _fill_normals(
    bits: UInt64[np.ndarray, "2 blocks"],
    quantiles: Float32[np.ndarray, " ranks"],
    normals: Normals,
) -> None:
    """Eight deviates of each block; as many as fit into whole blocks."""
    rank_mask, sign_bit = np.uint64(0x7FFF), np.uint64(0x8000)
    blocks = normals.shape[0] // 8
    for i in range(blocks):
        for half in range(2):
            word = bits[half, i]
            for part in range(4):
                piece = word >> np.uint64(16 * part)
                size = quantiles[piece & rank_mask]
                normals[8 * i + 4 * half + part] = -size if piece & sign_bit else size


@njit(cache=True, nogil=True)
def _blocks_for(points: int) -> int:
    return (points + 7) // 8


@njit(cache=True, nogil=True)
def add_gaussian_noise(
    intensity: Patterns,
    additive: Float64[np.ndarray, " batch"],
    multiplicative: Float64[np.ndarray, " batch"],
    quantiles: Float32[np.ndarray, " ranks"],
    seed: np.uint64,
    start: np.uint64,
    stream: np.uint64,
    first_block: np.uint64,
) -> None:
    """Y ← (y + additive · n₁) (1 + multiplicative · n₂), in place."""
    points = intensity.shape[1]
    blocks = _blocks_for(points)
    bits = np.empty((2, 2 * blocks), np.uint64)
    normals = np.empty(16 * blocks, np.float32)
    one = np.float32(1.0)
    for i in range(intensity.shape[0]):
        _fill_bits(bits[0], bits[1], seed, start + np.uint64(i), stream, first_block)
        _fill_normals(bits, quantiles, normals)
        first, second = normals[:points], normals[8 * blocks : 8 * blocks + points]
        a, m = np.float32(additive[i]), np.float32(multiplicative[i])
        row = intensity[i]
        for j in range(points):
            row[j] = (row[j] + a * first[j]) * (one + m * second[j])


# With numpy's model of errors a divisor is not checked for zero; such a check would
# keep the loop scalar. A level is positive.
@njit(cache=True, nogil=True, error_model="numpy")
def _count_many(row: Singles, level: float, normals: Normals, means: Doubles) -> int:
    """Counts of all points as if all were many, as parts of the level.

    Args:
        row: A pattern; receives counts over level.
        level: Counts of an intensity of one.
        normals: A deviate for each point.
        means: Receives the expected counts.

    Returns:
        How many points are not to be counted so.
    """
    few = 0
    for j in range(row.shape[0]):
        mean = row[j] * level
        mean = mean if mean > 0.0 else 0.0
        means[j] = mean
        n = float(normals[j])
        count = mean + math.sqrt(mean) * n + (n * n - 1.0) / 6.0
        row[j] = np.float32(((count + _ROUND) - _ROUND) / level)
        few += mean < _FEW_COUNTS
    return few


@njit(cache=True, nogil=True)
def _list_few(
    means: Doubles, row: Singles, place: Int64[np.ndarray, " places"], few: Doubles
) -> int:
    """List points of few expected counts, clear those of none; return how many.

    No branch depends on an intensity: a processor could not guess it.
    """
    n = 0
    for j in range(means.shape[0]):
        mean = means[j]
        row[j] = row[j] if mean > 0.0 else np.float32(0.0)
        place[n], few[n] = j, mean
        n += (mean > 0.0) & (mean < _FEW_COUNTS)
    return n


@njit(cache=True, nogil=True)
def _fill_uniforms(first: Words, second: Words, uniforms: Doubles) -> None:
    """Two numbers of [0, 1) of each block, as ``next_uniform`` gives them."""
    shift = np.uint64(11)
    for i in range(first.shape[0]):
        # Signed: that conversion is a vector instruction; 53 bits fit either way.
        uniforms[2 * i] = float(np.int64(first[i] >> shift)) * 2.0**-53
        uniforms[2 * i + 1] = float(np.int64(second[i] >> shift)) * 2.0**-53


@njit(cache=True, nogil=True, error_model="numpy")
def _count_few(
    means: Doubles,
    uniforms: Doubles,
    probability: Doubles,
    total: Doubles,
    counts: Doubles,
) -> None:
    """Poisson numbers by inversion: adding up probabilities from zero.

    Many at once, until the last of them is found.

    Args:
        means: Expected counts, above zero.
        uniforms: A number of [0, 1) for each.
        probability: Room for the probability of each count, and
        total: for their sums.
        counts: Receives the numbers.
    """
    for j in range(means.shape[0]):
        total[j] = probability[j] = math.exp(-means[j])
        counts[j] = 0.0
    for k in range(1, _MOST_FEW + 1):
        number, missing = float(k), 0
        for j in range(means.shape[0]):
            is_above = uniforms[j] > total[j]
            counts[j] = number if is_above else counts[j]
            missing |= is_above
            probability[j] *= means[j] / number
            total[j] += probability[j]
        if missing == 0:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def count_photons(
    intensity: Patterns,
    counts: Float64[np.ndarray, " batch"],
    quantiles: Float32[np.ndarray, " ranks"],
    seed: np.uint64,
    start: np.uint64,
    stream: np.uint64,
    first_block: np.uint64,
) -> None:
    """Y ← Poisson(y · counts) / counts, in place.

    Means above 16 by the Cornish-Fisher expansion of the Poisson quantile,
    mean + √mean n + (n² − 1)/6, rounded.
    """
    points = intensity.shape[1]
    blocks = _blocks_for(points)
    bits = np.empty((2, blocks), np.uint64)
    # Points of few counts take two numbers a block, behind the blocks of all points.
    more = np.empty((2, (points + 1) // 2), np.uint64)
    normals = np.empty(8 * blocks, np.float32)
    means, few, uniforms = np.empty(points), np.empty(points + 1), np.empty(points + 1)
    place = np.empty(points + 1, np.int64)
    # Rows of their own: of a slice of two axes numba does not know that it is dense.
    probability, total, found = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    for i in range(intensity.shape[0]):
        index, row, level = start + np.uint64(i), intensity[i], counts[i]
        _fill_bits(bits[0], bits[1], seed, index, stream, first_block)
        _fill_normals(bits, quantiles, normals)
        if _count_many(row, level, normals, means) == 0:
            continue
        n = _list_few(means, row, place, few)
        first, second = more[0, : (n + 1) // 2], more[1, : (n + 1) // 2]
        _fill_bits(first, second, seed, index, stream, first_block + np.uint64(blocks))
        _fill_uniforms(first, second, uniforms)
        for begin in range(0, n, _LANES):
            end = min(begin + _LANES, n)
            _count_few(few[begin:end], uniforms[begin:end], probability, total, found)
            for j in range(end - begin):
                row[place[begin + j]] = np.float32(found[j] / level)


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _extremes(row: Float32[np.ndarray, " points"]) -> tuple[np.float32, np.float32]:
    low = high = row[0]
    for j in range(row.shape[0]):
        low = row[j] if row[j] < low else low
        high = row[j] if row[j] > high else high
    return low, high


@njit(cache=True, nogil=True)
def mix_patterns(
    intensity: Patterns, other: Patterns, weight: Float64[np.ndarray, " batch"]
) -> None:
    """Y ← ((1 − w) y + w other) / maximum, in place."""
    one = np.float32(1.0)
    for i in range(intensity.shape[0]):
        w = np.float32(weight[i])
        row, foreign = intensity[i], other[i]
        for j in range(row.shape[0]):
            row[j] = (one - w) * row[j] + w * foreign[j]
        factor = one / _extremes(row)[1]
        for j in range(row.shape[0]):
            row[j] *= factor


@njit(cache=True, nogil=True)
def _lift_maximum(row: Float32[np.ndarray, " points"]) -> None:
    """Make the largest value exactly one, which a rounded factor may just miss."""
    row[row.argmax()] = np.float32(1.0)


@njit(cache=True, nogil=True)
def rescale(
    intensity: Patterns,
    first: Int64[np.ndarray, " batch"],
    last: Int64[np.ndarray, " batch"],
    subtract_minimum: bool,
) -> int:
    """Give each pattern a maximum of one, in place; return a row without, or -1.

    The minimum is first taken off, or values below zero stay as they are. Points
    before first and from last on become zero.
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    for i in range(intensity.shape[0]):
        row = intensity[i, first[i] : last[i]]
        low, high = _extremes(row)
        low = low if subtract_minimum else zero
        if not (high - low > zero and high < np.inf):
            return i
        factor = one / (high - low)
        for j in range(row.shape[0]):
            value = (row[j] - low) * factor
            row[j] = value if value < one else one
        if factor * (high - low) < one:
            _lift_maximum(row)
        intensity[i, : first[i]] = zero
        intensity[i, last[i] :] = zero
    return -1
