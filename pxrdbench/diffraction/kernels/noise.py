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

from pxrdbench.crystal.rng import STATE_SIZE, next_uniform, philox, seed_state

_LOW = np.uint64(0xFFFFFFFF)
_BITS_32 = np.uint64(32)
_RANKS = 1 << 15
# Below this mean a Poisson number is found by adding up probabilities.
_FEW_COUNTS = 16.0

Patterns = Float32[np.ndarray, "batch points"]
Normals = Float32[np.ndarray, " normals"]


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
    bits: UInt64[np.ndarray, "2 blocks"],
    seed: np.uint64,
    index: np.uint64,
    stream: np.uint64,
    first_block: np.uint64,
) -> None:
    """Two words of 64 random bits for each block."""
    index_low, index_high = index & _LOW, index >> _BITS_32
    seed_low, seed_high = seed & _LOW, seed >> _BITS_32
    for i in range(bits.shape[1]):
        w0, w1, w2, w3 = philox(
            (first_block + np.uint64(i)) & _LOW,
            stream, index_low, index_high, seed_low, seed_high,
        )  # fmt: skip
        bits[0, i] = w0 << _BITS_32 | w1
        bits[1, i] = w2 << _BITS_32 | w3


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
        _fill_bits(bits, seed, start + np.uint64(i), stream, first_block)
        _fill_normals(bits, quantiles, normals)
        first, second = normals[:points], normals[8 * blocks : 8 * blocks + points]
        a, m = np.float32(additive[i]), np.float32(multiplicative[i])
        row = intensity[i]
        for j in range(points):
            row[j] = (row[j] + a * first[j]) * (one + m * second[j])


@njit(cache=True, nogil=True)
def _few_counts(mean: float, uniform: float) -> float:
    """Poisson number by inversion: adding up probabilities from zero."""
    probability = math.exp(-mean)
    total, count = probability, 0.0
    while uniform > total and count < 200.0:
        count += 1.0
        probability *= mean / count
        total += probability
    return count


@njit(cache=True, nogil=True)
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
    normals = np.empty(8 * blocks, np.float32)
    state = np.empty(STATE_SIZE, np.uint64)
    for i in range(intensity.shape[0]):
        index = start + np.uint64(i)
        _fill_bits(bits, seed, index, stream, first_block)
        _fill_normals(bits, quantiles, normals)
        seed_state(state, seed, stream, index, first_block + np.uint64(blocks))
        row, level = intensity[i], counts[i]
        for j in range(points):
            mean = max(row[j] * level, 0.0)
            if mean <= 0.0:
                count = 0.0
            elif mean < _FEW_COUNTS:
                count = _few_counts(mean, next_uniform(state))
            else:
                n = float(normals[j])
                count = np.rint(mean + math.sqrt(mean) * n + (n * n - 1.0) / 6.0)
            row[j] = np.float32(count / level)


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
