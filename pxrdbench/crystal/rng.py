"""Philox4x32-10: random numbers as a pure function of seed, stream and index.

A block of four 32-bit words is ``philox(counter, key)``. The key is the seed, the
counter is (block, stream, index): sample i of any stream can be drawn alone, in
any order, by any number of workers.

Source: Salmon, Moraes, Dror & Shaw (2011), *Parallel random numbers: as easy as
1, 2, 3*, SC11, doi 10.1145/2063384.2063405; constants from its Random123 library.
"""

import numpy as np
from jaxtyping import Float64
from numba import njit

# Kernels hand numpy's integers to one another, and to Python when it runs them plain.
Integer = int | np.integer

# One stream for each purpose, so that a change of one draw shifts no other.
STREAM_CRYSTAL = 0
STREAM_CRYSTALLITE_SIZE = 1
STREAM_MEASUREMENT = 2
STREAM_SHUFFLE = 3

# All words live in 64 bits and are masked, so that nothing ever overflows.
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ONE = np.uint64(1)

# The state of a stream within a kernel is an array of uint64: 0-3 counter (block,
# stream, index low, index high), 4-5 key, 6 bits of the second number of the
# current block, 7 whether that number is still to come.
STATE_SIZE = 8


@njit(cache=True, nogil=True, inline="always")
def _rounds(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Ten rounds on words that are uint64 already."""
    for _ in range(10):
        product0 = c0 * _MULTIPLIER_0
        product1 = c2 * _MULTIPLIER_1
        c0 = (product1 >> _SHIFT) ^ c1 ^ k0
        c1 = product1 & _LOW
        c2 = (product0 >> _SHIFT) ^ c3 ^ k1
        c3 = product0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


# Inlined: a loop over blocks then becomes vector instructions, five times as fast.
@njit(cache=True, nogil=True, inline="always")
def philox(
    c0: Integer, c1: Integer, c2: Integer, c3: Integer, k0: Integer, k1: Integer
) -> tuple[Integer, Integer, Integer, Integer]:
    """Encrypt a counter of four words with a key of two: ten rounds.

    Args:
        c0: First word of the counter, 32 bits, as all others.
        c1: Second word.
        c2: Third word.
        c3: Fourth word.
        k0: First word of the key.
        k1: Second word.

    Returns:
        Four words of 32 random bits.
    """
    words: tuple[Integer, Integer, Integer, Integer] = _rounds(
        np.uint64(c0),
        np.uint64(c1),
        np.uint64(c2),
        np.uint64(c3),
        np.uint64(k0),
        np.uint64(k1),
    )
    return words


@njit(cache=True, nogil=True)
def seed_state(
    state: np.ndarray, seed: Integer, stream: Integer, index: Integer, block: Integer
) -> None:
    """Set a state to the first number of a block of (seed, stream, index)."""
    state[0] = np.uint64(block)
    state[1] = np.uint64(stream)
    state[2] = np.uint64(index) & _LOW
    state[3] = np.uint64(index) >> _SHIFT
    state[4] = np.uint64(seed) & _LOW
    state[5] = np.uint64(seed) >> _SHIFT
    state[6] = np.uint64(0)
    state[7] = np.uint64(0)


@njit(cache=True, nogil=True)
def next_uniform(state: np.ndarray) -> float:
    """Next number of [0, 1): 53 bits of two words, the first word on top."""
    if state[7] != np.uint64(0):
        state[7] = np.uint64(0)
        return float(state[6]) * 2.0**-53
    words = _rounds(state[0], state[1], state[2], state[3], state[4], state[5])
    state[0] += _ONE
    state[6] = (words[2] << _SHIFT | words[3]) >> np.uint64(11)
    state[7] = _ONE
    return float((words[0] << _SHIFT | words[1]) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def next_normal(state: np.ndarray) -> float:
    """Next standard normal deviate (Box & Muller 1958), the cosine of the pair."""
    # 1 - u lies in (0, 1], where the logarithm is finite.
    radius = np.sqrt(-2.0 * np.log(1.0 - next_uniform(state)))
    normal: float = radius * np.cos(2.0 * np.pi * next_uniform(state))
    return normal


@njit(cache=True, nogil=True)
def next_choice(
    state: np.ndarray, cumulative: np.ndarray, start: Integer, stop: Integer
) -> Integer:
    """Row of ``cumulative[start:stop]`` chosen with its weight, relative to start.

    Args:
        state: Of the generator.
        cumulative: Running sums of weights; they need not end at one.
        start: First row.
        stop: Row after the last.
    """
    aim = next_uniform(state) * cumulative[stop - 1]
    low, high = start, stop - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > aim:
            high = middle
        else:
            low = middle + 1
    return low - start


@njit(cache=True, nogil=True)
def _fill_uniforms(
    out: np.ndarray, seed: Integer, start: Integer, stream: Integer, block: Integer
) -> None:
    state = np.zeros(STATE_SIZE, np.uint64)
    for row in range(out.shape[0]):
        seed_state(state, seed, stream, start + np.uint64(row), block)
        for column in range(out.shape[1]):
            out[row, column] = next_uniform(state)


def draw_uniforms(
    seed: int, start: int, count: int, stream: int, n: int, block: int = 0
) -> Float64[np.ndarray, "count n"]:
    """Draw n numbers of [0, 1) for each of the samples from start on.

    Args:
        seed: Key, 0 to 2^64 - 1.
        start: Index of the first sample.
        count: Number of samples.
        stream: What the numbers are for: one of the ``STREAM_`` constants.
        n: Numbers a sample.
        block: First block of four words; two numbers use one block.

    Returns:
        One sample a row; row r depends on (seed, start + r, stream, block) only.

    Example:
        >>> both = draw_uniforms(7, 0, 2, STREAM_SHUFFLE, 3)
        >>> alone = draw_uniforms(7, 1, 1, STREAM_SHUFFLE, 3)
        >>> bool((both[1] == alone[0]).all())
        True
    """
    check_seed(seed, start, count)
    out = np.empty((count, n))
    _fill_uniforms(out, np.uint64(seed), np.uint64(start), stream, block)
    return out


def check_seed(seed: int, start: int, count: int) -> None:
    """Refuse seeds and ranges that do not fit the counter.

    Raises:
        ValueError: If the seed or an index is not of 64 bits, or count is negative.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed {seed}; it must hold that 0 <= seed < 2**64")
    # Indices are signed in numba's loops and in the arrays of a batch.
    if not (start >= 0 and count >= 0 and start + count < 2**63):
        raise ValueError(
            f"samples {start} to {start + count}; indices run from 0 to 2**63 - 1"
        )
