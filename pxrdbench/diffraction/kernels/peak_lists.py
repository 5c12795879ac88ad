"""Kernels that sort, merge and thin out lists of peaks."""

import numpy as np
from jaxtyping import Float64, UInt32
from numba import njit

# Reflections closer than this are one peak [degrees]; pymatgen's TWO_THETA_TOL.
_MERGE_WITHIN = 1e-5

_ONE = np.uint32(1)

Doubles = Float64[np.ndarray, " reflections"]
# Unsigned: a signed index is first looked at for being negative.
Rows = UInt32[np.ndarray, " reflections_or_buckets"]


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
    order: Rows,
    ranked: Rows,
    place: Rows,
    buckets: Rows,
) -> int:
    """List reflections above ``smallest`` ascending in 2θ; return how many.

    A counting sort into about twice as many buckets as reflections, and an insertion
    sort for the few that share a bucket. No branch depends on an intensity: a
    processor could not guess it.
    """
    n = two_theta.shape[0]
    n_buckets = 2 * n
    scale = n_buckets / (high - low) * (1.0 - 1e-12)
    for r in range(n):
        # Below the range nothing has an intensity; the bucket must only exist.
        bucket = np.int32((two_theta[r] - low) * scale)
        place[r] = bucket if bucket > 0 else 0
    for b in range(n_buckets + 1):
        buckets[b] = 0
    count = 0
    for r in range(n):
        order[count] = r
        count += intensity[r] > smallest
    for i in range(count):
        buckets[place[order[i]]] += _ONE
    end = np.uint32(0)
    for b in range(n_buckets):
        end += buckets[b]
        buckets[b] = end
    # From the last to the first, so that equal angles keep their order.
    for i in range(count - 1, -1, -1):
        r = order[i]
        b = place[r]
        to = buckets[b] - _ONE
        buckets[b] = to
        keys[to] = two_theta[r]
        ranked[to] = r
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


@njit(cache=True, nogil=True)
def _has_neighbours(keys: Doubles, count: int) -> bool:
    """Whether any two of the ascending angles are one peak."""
    # An integer: LLVM makes vector instructions of it, of a flag not.
    found = 0
    for i in range(1, count):
        found |= keys[i] - keys[i - 1] < _MERGE_WITHIN
    return found != 0


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(
    keys: Doubles, ranked: Rows, intensity: Doubles, count: int, use_mean: bool
) -> int:
    """Replace neighbours by one, in place; return how many are left.

    No branch depends on an angle or an intensity, as in ``sort_by_angle``.
    """
    last = -1
    start, total, moment = -1.0, 0.0, 0.0
    for i in range(count):
        key, value, row = keys[i], intensity[i], ranked[i]
        is_new = not key - start < _MERGE_WITHIN
        last += is_new
        start = key if is_new else start
        total = value + (0.0 if is_new else total)
        moment = value * (key - start) + (0.0 if is_new else moment)
        # A peak is written anew with each reflection that joins it.
        keys[last] = start + moment / total if use_mean else start
        intensity[last] = total
        ranked[last] = row
    return last + 1


@njit(cache=True, nogil=True)
def largest_of(values: Doubles) -> float:
    """Largest of numbers >= 0, whose bits read as integers have the same order.

    LLVM turns the maximum of integers into vector instructions, that of floats not.
    """
    bits = values.view(np.int64)
    largest = np.int64(0)
    for j in range(bits.shape[0]):
        largest = bits[j] if bits[j] > largest else largest
    return np.int64(largest).view(np.float64)


@njit(cache=True, nogil=True)
def merge_neighbours(
    keys: Doubles,
    ranked: Rows,
    intensity: Doubles,
    gathered: Doubles,
    count: int,
    cut: float,
    use_mean: bool,
    angle_out: Float64[np.ndarray, " room"],
    intensity_out: Float64[np.ndarray, " room"],
) -> int:
    """Merge neighbours, drop the weak; return how many peaks were written.

    ``keys`` and ``ranked`` are overwritten: the latter begins with the last reflection
    of each peak.
    """
    for i in range(count):
        gathered[i] = intensity[ranked[i]]
    if _has_neighbours(keys, count):
        count = _merge(keys, ranked, gathered, count, use_mean)
    smallest = cut * largest_of(gathered[:count])
    kept = 0
    for j in range(count):
        value, row = gathered[j], ranked[j]
        # What is not kept is overwritten by the next.
        angle_out[kept] = keys[j]
        intensity_out[kept] = value
        ranked[kept] = row
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
