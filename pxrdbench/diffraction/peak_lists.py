"""Kernels that sort, merge and thin out lists of peaks."""

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

# Reflections closer than this are one peak [degrees]; pymatgen's TWO_THETA_TOL.
_MERGE_WITHIN = 1e-5

Doubles = Float64[np.ndarray, " reflections"]


@njit(cache=True, nogil=True)
def clear_outside(
    two_theta: Doubles,
    low: float,
    high: float,
    intensity: Doubles,
) -> float:
    """Clear what lies outside the range; return the largest intensity left."""
    largest = 0.0
    for r in range(two_theta.shape[0]):
        inside = (two_theta[r] >= low) & (two_theta[r] <= high)
        value = intensity[r] if inside else 0.0
        intensity[r] = value
        largest = value if value > largest else largest
    return largest


@njit(cache=True, nogil=True)
def sort_by_angle(
    two_theta: Doubles,
    intensity: Doubles,
    smallest: float,
    low: float,
    high: float,
    keys: Doubles,
    order: Int64[np.ndarray, " reflections"],
    ranked: Int64[np.ndarray, " reflections"],
    buckets: Int64[np.ndarray, " twice_the_reflections_and_one"],
) -> int:
    """List reflections above ``smallest`` ascending in 2θ; return how many.

    A counting sort into about twice as many buckets as reflections, and an insertion
    sort for the few that share a bucket. No branch depends on an intensity: a
    processor could not guess it.
    """
    n = two_theta.shape[0]
    n_buckets = 2 * n
    scale = n_buckets / (high - low) * (1.0 - 1e-12)
    for b in range(n_buckets + 1):
        buckets[b] = 0
    count = 0
    for r in range(n):
        order[count] = r
        count += intensity[r] > smallest
    for i in range(count):
        buckets[int((two_theta[order[i]] - low) * scale)] += 1
    end = 0
    for b in range(n_buckets):
        end += buckets[b]
        buckets[b] = end
    # From the last to the first, so that equal angles keep their order.
    for i in range(count - 1, -1, -1):
        r = order[i]
        b = int((two_theta[r] - low) * scale)
        buckets[b] -= 1
        keys[buckets[b]] = two_theta[r]
        ranked[buckets[b]] = r
    for i in range(1, count):
        key = keys[i]
        if keys[i - 1] <= key:
            continue
        index = ranked[i]
        j = i - 1
        while j >= 0 and keys[j] > key:
            keys[j + 1], ranked[j + 1] = keys[j], ranked[j]
            j -= 1
        keys[j + 1], ranked[j + 1] = key, index
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def merge_neighbours(
    keys: Doubles,
    order: Int64[np.ndarray, " reflections"],
    intensity: Doubles,
    count: int,
    cut: float,
    use_mean: bool,
    first_out: int,
    angle_out: Float64[np.ndarray, " room"],
    intensity_out: Float64[np.ndarray, " room"],
    source_out: Int64[np.ndarray, " room"],
) -> int:
    """Merge neighbours, drop the weak; return the end of what was written.

    No branch depends on an angle or an intensity, as in ``sort_by_angle``. ``keys``
    is overwritten.
    """
    last = first_out - 1
    start, total, moment = -1.0, 0.0, 0.0
    for i in range(count):
        index, key = order[i], keys[i]
        is_new = not key - start < _MERGE_WITHIN
        last += is_new
        start = key if is_new else start
        value = intensity[index]
        total = value + (0.0 if is_new else total)
        moment = value * (key - start) + (0.0 if is_new else moment)
        # A peak is written anew with each reflection that joins it.
        angle_out[last] = start
        intensity_out[last] = total
        source_out[last] = index
        keys[last - first_out] = moment
    end = last + 1
    # The bits of numbers >= 0, read as integers, have the same order, and their maximum
    # becomes vector instructions.
    bits = intensity_out[first_out:end].view(np.int64)
    largest_bits = np.int64(0)
    for j in range(end - first_out):
        largest_bits = bits[j] if bits[j] > largest_bits else largest_bits
    largest = np.int64(largest_bits).view(np.float64)
    if use_mean:
        for j in range(first_out, end):
            angle_out[j] += keys[j - first_out] / intensity_out[j]
    kept = first_out
    smallest = cut * largest
    for j in range(first_out, end):
        value = intensity_out[j]
        # What is not kept is overwritten by the next.
        angle_out[kept] = angle_out[j]
        intensity_out[kept] = value
        source_out[kept] = source_out[j]
        kept += value > smallest
    return kept


@njit(cache=True, nogil=True)
def lengthen(
    array: np.ndarray,
    length: int,
) -> np.ndarray:
    """A copy with room for more."""
    result = np.empty(length, array.dtype)
    # Loops and not slices here and below: numba compiles them in half the time.
    for i in range(array.shape[0]):
        result[i] = array[i]
    return result
