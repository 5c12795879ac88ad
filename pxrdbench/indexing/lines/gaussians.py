"""Kernels that read lines off patterns that are exact sums of Gaussians.

A simulated pattern of one crystallite size is y(x) = Σ a_j exp(−(x − c_j)²/2σ_j²) with
σ_j = σ0 / cos θ_j (Scherrer) and noise of a few millionths. So σ0 can be read off, and
lines closer than their width be told apart: the pattern is first sharpened, then fitted
by least squares, and what remains is searched again.

Positions and widths are counted in points of the grid here.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.indexing.lines.banded import factor_band, invert_within_band, solve_band

Points = Float64[np.ndarray, " points"]
Lines = Float64[np.ndarray, " lines"]

# A profile is followed down to this part of the highest point of the pattern, where
# `diffraction.profile_kernels` cuts it.
CUT = 1e-6
# Noise of a simulated pattern: cut tails (1e-6), single precision (6e-8 y), and what
# blends that nobody can resolve leave behind.
FLOOR_NOISE, RELATIVE_NOISE = 1e-6, 3e-6
# Sharpening takes σ to σ/2, cut off where the noise would be raised more than it helps:
# exp((1 − ¼) t²/2 − (t/4)⁶), t in units of 1/σ. The kernel is cut at six σ, and for
# that damped by a Gaussian of 2.5 σ; what overshoots beside a line is 0.013 of it.
SHARPER, CUTOFF = 0.5, 4.0
_REACH, _PER_SIGMA, _DAMPING = 6.0, 64, 2.5
_OVERSHOOT = 0.02
# Points per σ that a fit needs; more are left out.
_POINTS_PER_SIGMA = 3.5


def _sharpening_table() -> Float64[np.ndarray, " distances"]:
    """Kernel of the sharpening at distances z/64 σ, by its Fourier integral."""
    t = np.linspace(0.0, 2.0 * CUTOFF, 2001)
    gain = np.exp((1.0 - SHARPER**2) * t**2 / 2 - (t / CUTOFF) ** 6)
    z = np.arange(int(_REACH * _PER_SIGMA) + 2) / _PER_SIGMA
    waves = np.cos(z[:, None] * t) * gain
    table: Float64[np.ndarray, " distances"] = (
        (waves[:, :-1] + waves[:, 1:]).sum(axis=1)
        * (t[1] / 2)
        / math.pi
        * np.exp(-0.5 * (z / _DAMPING) ** 2)
    )
    return table


SHARPENING = _sharpening_table()


@njit(cache=True, nogil=True)
def cosine_of(position: float, start: float, step: float) -> float:
    """Cos θ at a point of the grid."""
    return math.cos(math.radians(0.5 * (start + step * position)))


@njit(cache=True, nogil=True)
def find_sigma0(y: Points, start: float, step: float, least_height: float) -> float:
    """σ at θ = 0 from the sharpest curvature of ln y at a maximum [points]; 0 if none.

    The logarithm of a sum of Gaussians of one σ is −x²/2σ² and a convex function, so
    no second difference of it, over whatever distance, lies below −1/σ².
    """
    best = 0.0
    for i in range(1, y.shape[0] - 1):
        if y[i] < least_height or y[i] < y[i - 1] or y[i] <= y[i + 1]:
            continue
        h = 1
        while h < 64:
            if i < h or i + h >= y.shape[0]:
                break
            low = min(y[i - h], y[i + h])
            if low <= 0.0:
                break
            # One σ away, a Gaussian has fallen to 0.61.
            if low < 0.61 * y[i]:
                second = math.log(y[i - h] / y[i]) + math.log(y[i + h] / y[i])
                cos = cosine_of(float(i), start, step)
                # Noise of a few millionths in y is that of ln y divided by y.
                surely = -second - 1e-5 / low
                best = max(best, surely / (h * h) / (cos * cos))
                break
            h += 1
    return 1.0 / math.sqrt(best) if best > 0.0 else 0.0


@njit(cache=True, nogil=True)
def sharpen(
    y: Points,
    stride: int,
    sigma0: float,
    start: float,
    step: float,
    table: Float64[np.ndarray, " distances"],
    out: Points,
) -> None:
    """Convolve every ``stride``-th point so that σ becomes half as wide.

    ``out`` has one value a point that is kept; heights of single lines double.
    """
    n = out.shape[0]
    taps = np.empty(512)
    block = 64
    for begin in range(0, n, block):
        end = min(begin + block, n)
        middle = 0.5 * (begin + end) * stride
        sigma = sigma0 / cosine_of(middle, start, step) / stride
        reach = min(int(_REACH * sigma), 511)
        for k in range(reach + 1):
            z = k / sigma * _PER_SIGMA
            at = int(z)
            f = z - at
            taps[k] = (table[at] * (1.0 - f) + table[at + 1] * f) / sigma
        for i in range(begin, end):
            total = taps[0] * y[i * stride]
            for k in range(1, reach + 1):
                left, right = i - k, i + k
                if left >= 0:
                    total += taps[k] * y[left * stride]
                if right < n:
                    total += taps[k] * y[right * stride]
            out[i] = total


@njit(cache=True, nogil=True)
def add_maxima(
    sharp: Points,
    stride: int,
    sigma0: float,
    start: float,
    step: float,
    floor: float,
    relative: float,
    least_distance: float,
    position: Lines,
    height: Lines,
    count: int,
) -> int:
    """Add maxima of a sharpened pattern to the lines found so far; their new number.

    Maxima must be higher than ``floor``, in units of the pattern, than a part
    ``relative`` of the highest within five σ, and ``least_distance`` σ away from lines
    that are there already. Lines are sorted afterwards.
    """
    n = sharp.shape[0]
    before = count
    for i in range(1, n - 1):
        value = sharp[i]
        if value <= 0.0 or value < sharp[i - 1] or value <= sharp[i + 1]:
            continue
        sigma = sigma0 / cosine_of(float(i * stride), start, step)
        if value * SHARPER < floor:
            continue
        reach = int(5.0 * sigma / stride)
        largest = 0.0
        for k in range(max(0, i - reach), min(n, i + reach + 1)):
            largest = max(largest, sharp[k])
        if value < relative * largest:
            continue
        curve = sharp[i - 1] - 2.0 * value + sharp[i + 1]
        place = float(i)
        if curve < 0.0:
            place += 0.5 * (sharp[i - 1] - sharp[i + 1]) / curve
        place *= stride
        near = False
        for k in range(before):
            if abs(position[k] - place) < least_distance * sigma:
                near = True
                break
        if near or count >= position.shape[0]:
            continue
        position[count] = place
        height[count] = value * SHARPER
        count += 1
    if count > before:
        order = np.argsort(position[:count])
        position[:count] = position[:count][order]
        height[:count] = height[:count][order]
    return count


@njit(cache=True, nogil=True)
def _fill_profiles(
    position: Lines,
    height: Lines,
    sigma0: float,
    start: float,
    step: float,
    stride: int,
    n_kept: int,
    first: Int64[np.ndarray, " lines"],
    last: Int64[np.ndarray, " lines"],
    offset: Int64[np.ndarray, " lines_and_one"],
    profile: Points,
    slope: Points,
    model: Points,
) -> bool:
    """Profiles of height one, a·∂p/∂c, and the sum of a·p.

    False if there is no room for them.
    """
    model[:] = 0.0
    at = 0
    for j in range(position.shape[0]):
        sigma = sigma0 / cosine_of(position[j], start, step)
        reach = sigma * math.sqrt(2.0 * math.log(max(height[j], 1e-5) / CUT))
        low = math.ceil((position[j] - reach) / stride)
        high = math.floor((position[j] + reach) / stride) + 1
        first[j] = min(max(low, 0), n_kept)
        last[j] = min(max(high, first[j]), n_kept)
        offset[j] = at
        if at + last[j] - first[j] > profile.shape[0]:
            return False
        per_sigma = 1.0 / sigma
        a = height[j]
        for i in range(first[j], last[j]):
            z = (i * stride - position[j]) * per_sigma
            p = math.exp(-0.5 * z * z)
            profile[at] = p
            slope[at] = a * p * z * per_sigma
            model[i] += a * p
            at += 1
    offset[position.shape[0]] = at
    return True


@njit(cache=True, nogil=True)
def _band_of(
    first: Int64[np.ndarray, " lines"], last: Int64[np.ndarray, " lines"]
) -> int:
    """Most lines to the left that one line overlaps."""
    most, k = 0, 0
    for j in range(first.shape[0]):
        k = 0
        while j - k - 1 >= 0 and last[j - k - 1] > first[j]:
            k += 1
        most = max(most, k)
    return most


@njit(cache=True, nogil=True)
def _fill_equations(
    residual: Points,
    weight: Points,
    first: Int64[np.ndarray, " lines"],
    last: Int64[np.ndarray, " lines"],
    offset: Int64[np.ndarray, " lines_and_one"],
    profile: Points,
    slope: Points,
    band: Float64[np.ndarray, "unknowns bandwidth_and_one"],
    right: Float64[np.ndarray, " unknowns"],
) -> None:
    """Normal equations; unknowns 2j and 2j + 1 are height and place of line j."""
    band[:] = 0.0
    most = (band.shape[1] - 2) // 2
    for j in range(first.shape[0]):
        r0 = r1 = s00 = s01 = s11 = 0.0
        base = offset[j] - first[j]
        for i in range(first[j], last[j]):
            p, s, w = profile[base + i], slope[base + i], weight[i]
            wp, ws = w * p, w * s
            r0 += wp * residual[i]
            r1 += ws * residual[i]
            s00 += wp * p
            s01 += wp * s
            s11 += ws * s
        right[2 * j], right[2 * j + 1] = r0, r1
        band[2 * j, 0], band[2 * j + 1, 0], band[2 * j + 1, 1] = s00, s11, s01
        for k in range(1, most + 1):
            m = j - k
            if m < 0:
                break
            base_m = offset[m] - first[m]
            c00 = c01 = c10 = c11 = 0.0
            for i in range(max(first[j], first[m]), min(last[j], last[m])):
                w = weight[i]
                p, s = w * profile[base + i], w * slope[base + i]
                c00 += p * profile[base_m + i]
                c01 += p * slope[base_m + i]
                c10 += s * profile[base_m + i]
                c11 += s * slope[base_m + i]
            band[2 * j, 2 * k] = c00
            band[2 * j, 2 * k - 1] = c01
            band[2 * j + 1, 2 * k + 1] = c10
            band[2 * j + 1, 2 * k] = c11


@njit(cache=True, nogil=True)
def fit_gaussians(
    y: Points,
    stride: int,
    start: float,
    step: float,
    position: Lines,
    height: Lines,
    sigma0: float,
    rounds: int,
    damping: float,
    residual: Points,
    variance: Float64[np.ndarray, "lines 2"],
) -> bool:
    """Least squares of all heights and places, in place; false if there was no fit.

    Gauss-Newton with Marquardt's damping; the equations are banded. ``residual``
    receives the pattern less the fit, every ``stride``-th point, ``variance`` the
    variances of heights and places for the noise assumed, unless it is empty.
    """
    n, n_kept = position.shape[0], residual.shape[0]
    most = 0
    for j in range(n):
        most += 2 * int(5.3 * sigma0 / cosine_of(position[j], start, step) / stride) + 4
    profile, slope = np.empty(most + 64), np.empty(most + 64)
    model, weight = np.empty(n_kept), np.empty(n_kept)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    offset = np.empty(n + 1, np.int64)
    right = np.empty(2 * n)
    for i in range(n_kept):
        noise = FLOOR_NOISE**2 + (RELATIVE_NOISE * y[i * stride]) ** 2
        weight[i] = 1.0 / noise
    for turn in range(rounds + 1):
        if not _fill_profiles(
            position, height, sigma0, start, step, stride, n_kept,
            first, last, offset, profile, slope, model,
        ):  # fmt: skip
            return False
        for i in range(n_kept):
            residual[i] = y[i * stride] - model[i]
        is_last = turn == rounds
        if is_last and variance.shape[0] == 0:
            break
        bandwidth = 2 * min(_band_of(first, last), 24) + 2
        band = np.empty((2 * n, bandwidth))
        _fill_equations(
            residual, weight, first, last, offset, profile, slope, band, right
        )  # fmt: skip
        add = 1e-12 if is_last else damping
        for k in range(2 * n):
            band[k, 0] = band[k, 0] * (1.0 + add) + 1e-30
        if not factor_band(band):
            return False
        if is_last:
            inverse = np.zeros_like(band)
            invert_within_band(band, inverse)
            for j in range(n):
                variance[j, 0] = inverse[2 * j, 0]
                variance[j, 1] = inverse[2 * j + 1, 0]
            break
        solve_band(band, right)
        for j in range(n):
            sigma = sigma0 / cosine_of(position[j], start, step)
            height[j] += right[2 * j]
            moved = right[2 * j + 1]
            position[j] += min(max(moved, -0.4 * sigma), 0.4 * sigma)
            height[j] = max(height[j], CUT)
        damping *= 0.1
        order = np.argsort(position)
        position[:] = position[order]
        height[:] = height[order]
    return True


@njit(cache=True, nogil=True)
def keep_lines(
    position: Lines,
    height: Lines,
    sigma0: float,
    start: float,
    step: float,
    floor: float,
    least_distance: float,
    count: int,
) -> int:
    """Drop lines below ``floor``; join those closer than ``least_distance`` σ."""
    kept = 0
    for j in range(count):
        if height[j] < floor:
            continue
        sigma = sigma0 / cosine_of(position[j], start, step)
        if kept and position[j] - position[kept - 1] < least_distance * sigma:
            total = height[kept - 1] + height[j]
            place = position[kept - 1] * height[kept - 1] + position[j] * height[j]
            position[kept - 1] = place / total
            height[kept - 1] = total
            continue
        position[kept], height[kept] = position[j], height[j]
        kept += 1
    return kept


@njit(cache=True, nogil=True)
def _solve_dense(
    matrix: Float64[np.ndarray, "unknowns unknowns"],
    right: Float64[np.ndarray, " unknowns"],
    n: int,
) -> bool:
    """Cholesky in place of the first n unknowns; false if not positive definite."""
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                matrix[i, i] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(n):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    return True


@njit(cache=True, nogil=True)
def _difference(
    y: Points,
    x: Points,
    position: Lines,
    height: Lines,
    sigma: float,
    n: int,
    profile: Float64[np.ndarray, "room points"],
    out: Points,
) -> None:
    """Profiles of n lines at points x, and y less their sum."""
    out[:] = y
    for j in range(n):
        for i in range(x.shape[0]):
            z = (x[i] - position[j]) / sigma
            p = math.exp(-0.5 * z * z) if abs(z) < 6.0 else 0.0
            profile[j, i] = p
            out[i] -= height[j] * p


@njit(cache=True, nogil=True)
def fit_blend(
    y: Points,
    x: Points,
    weight: Points,
    sigma: float,
    position: Lines,
    height: Lines,
    n: int,
    rounds: int,
    good_enough: float,
    rest: Points,
) -> float:
    """Levenberg-Marquardt of a few lines of one known σ; the sum of squares left.

    ``rest`` receives y less the fit; the search ends below ``good_enough``.
    """
    m = x.shape[0]
    profile, slope = np.empty((n, m)), np.empty((n, m))
    matrix, right = np.empty((2 * n, 2 * n)), np.empty(2 * n)
    trial_matrix = np.empty((2 * n, 2 * n))
    step = np.empty(2 * n)
    new_position, new_height = position.copy(), height.copy()
    new_rest = np.empty(m)
    _difference(y, x, position, height, sigma, n, profile, rest)
    chi2 = 0.0
    for i in range(m):
        chi2 += weight[i] * rest[i] * rest[i]
    damping = 1e-3
    stale = True
    for _ in range(rounds):
        if chi2 < good_enough:
            break
        if stale:
            for j in range(n):
                scale = height[j] / sigma
                for i in range(m):
                    slope[j, i] = scale * profile[j, i] * (x[i] - position[j]) / sigma
            for j in range(n):
                for which in range(2):
                    row = profile[j] if which == 0 else slope[j]
                    u = 2 * j + which
                    total = 0.0
                    for i in range(m):
                        total += weight[i] * row[i] * rest[i]
                    right[u] = total
                    for k in range(j + 1):
                        t0 = t1 = 0.0
                        for i in range(m):
                            v = weight[i] * row[i]
                            t0 += v * profile[k, i]
                            t1 += v * slope[k, i]
                        matrix[u, 2 * k] = t0
                        if 2 * k + 1 <= u:
                            matrix[u, 2 * k + 1] = t1
            stale = False
        for u in range(2 * n):
            for k in range(u + 1):
                trial_matrix[u, k] = matrix[u, k]
            trial_matrix[u, u] = matrix[u, u] * (1.0 + damping) + 1e-30
            step[u] = right[u]
        if not _solve_dense(trial_matrix, step, 2 * n):
            damping *= 10.0
            continue
        for j in range(n):
            moved = min(max(step[2 * j + 1], -0.5 * sigma), 0.5 * sigma)
            new_position[j] = position[j] + moved
            new_height[j] = max(height[j] + step[2 * j], 0.02 * height[j])
        _difference(y, x, new_position, new_height, sigma, n, profile, new_rest)
        new_chi2 = 0.0
        for i in range(m):
            new_chi2 += weight[i] * new_rest[i] * new_rest[i]
        if new_chi2 < chi2:
            gained = new_chi2 < chi2 * (1.0 - 1e-3)
            position[:n], height[:n] = new_position[:n], new_height[:n]
            rest[:] = new_rest
            chi2 = new_chi2
            damping = max(damping * 0.1, 1e-9)
            stale = True
            if not gained and damping < 1e-6:
                break
        else:
            damping *= 10.0
            stale = False
            # Profiles belong to the trial; the next trial fills them anew, and they
            # are needed only after one that was taken.
            if damping > 1e6:
                break
    return chi2


# Lines in a blend that is built anew, and how many more than maxima it may get.
_MOST_IN_BLEND, _MOST_ADDED = 14, 6
# Products that all blends of a pattern may take, some milliseconds; the blends at low
# angles come first.
_MOST_WORK = 2_000_000.0


@njit(cache=True, nogil=True)
def rebuild_blends(
    y: Points,
    stride: int,
    start: float,
    step: float,
    sigma0: float,
    least_height: float,
    first_look: Lines,
    residual: Points,
    position: Lines,
    height: Lines,
    count: int,
) -> int:
    """Build those blends anew that the fit of all lines has not explained.

    A blend starts with the maxima of the sharpened pattern. The line with the largest
    misfit is split in two until the noise is reached or nothing more is gained.
    """
    room = position.shape[0]
    new_position, new_height = np.empty(room), np.empty(room)
    made = 0
    blend_position = np.empty(_MOST_IN_BLEND + 2)
    blend_height = np.empty(_MOST_IN_BLEND + 2)
    trial_position = np.empty(_MOST_IN_BLEND + 2)
    trial_height = np.empty(_MOST_IN_BLEND + 2)
    begin = 0
    work = 0.0
    while begin < count:
        end = begin + 1
        sigma = sigma0 / cosine_of(position[begin], start, step)
        while end < count and position[end] - position[end - 1] < 3.5 * sigma:
            end += 1
        middle = 0.5 * (position[begin] + position[end - 1])
        sigma = sigma0 / cosine_of(middle, start, step)
        low = max(0, int((position[begin] - 3.5 * sigma) / stride))
        high = min(
            residual.shape[0], int((position[end - 1] + 3.5 * sigma) / stride) + 2
        )
        low = min(low, high)
        m = high - low
        weight = np.empty(m)
        chi2, largest = 0.0, 0.0
        for i in range(m):
            value = y[(low + i) * stride]
            weight[i] = 1.0 / (FLOOR_NOISE**2 + (RELATIVE_NOISE * value) ** 2)
            chi2 += weight[i] * residual[low + i] ** 2
            largest = max(largest, abs(residual[low + i]))
        n = 0
        for k in range(first_look.shape[0]):
            inside = first_look[k] > position[begin] - 1.75 * sigma
            if inside and first_look[k] < position[end - 1] + 1.75 * sigma:
                n += 1
        is_bad = chi2 > 25.0 * m and largest > 0.1 * least_height
        is_bad &= work < _MOST_WORK
        if not is_bad or n == 0 or n > _MOST_IN_BLEND - 2 or m < 6:
            for j in range(begin, end):
                if made < room:
                    new_position[made], new_height[made] = position[j], height[j]
                    made += 1
            begin = end
            continue
        x, local, rest = np.empty(m), np.empty(m), np.empty(m)
        for i in range(m):
            x[i] = (low + i) * stride
            total = residual[low + i]
            for j in range(begin, end):
                s = sigma0 / cosine_of(position[j], start, step)
                z = (x[i] - position[j]) / s
                total += height[j] * math.exp(-0.5 * z * z) if abs(z) < 6.0 else 0.0
            local[i] = total
        n = 0
        for k in range(first_look.shape[0]):
            inside = first_look[k] > position[begin] - 1.75 * sigma
            if inside and first_look[k] < position[end - 1] + 1.75 * sigma:
                blend_position[n] = first_look[k]
                at = min(max(int(first_look[k] / stride) - low, 0), m - 1)
                blend_height[n] = max(local[at], least_height)
                n += 1
        best = fit_blend(
            local, x, weight, sigma, blend_position, blend_height, n, 30, 4.0 * m, rest
        )
        work += 15.0 * 3.0 * m * n * n
        added = 0
        while best > 9.0 * m and n < _MOST_IN_BLEND and added < _MOST_ADDED:
            worst, which = -1.0, 0
            for j in range(n):
                total = 0.0
                for i in range(m):
                    if abs(x[i] - blend_position[j]) < 1.2 * sigma:
                        total += weight[i] * rest[i] * rest[i]
                if total > worst:
                    worst, which = total, j
            trial_position[:n] = blend_position[:n]
            trial_height[:n] = blend_height[:n]
            trial_position[n] = blend_position[which] + 0.35 * sigma
            trial_position[which] -= 0.35 * sigma
            trial_height[n] = 0.5 * blend_height[which]
            trial_height[which] *= 0.5
            trial = fit_blend(
                local, x, weight, sigma, trial_position, trial_height, n + 1, 40,
                4.0 * m, rest,
            )  # fmt: skip
            work += 20.0 * 3.0 * m * (n + 1) ** 2
            if trial > 0.5 * best:
                break
            best = trial
            n += 1
            added += 1
            blend_position[:n], blend_height[:n] = trial_position[:n], trial_height[:n]
        if best > chi2:
            for j in range(begin, end):
                if made < room:
                    new_position[made], new_height[made] = position[j], height[j]
                    made += 1
        else:
            for j in range(n):
                if made < room:
                    new_position[made] = blend_position[j]
                    new_height[made] = blend_height[j]
                    made += 1
        begin = end
    order = np.argsort(new_position[:made])
    position[:made] = new_position[:made][order]
    height[:made] = new_height[:made][order]
    kept: int = keep_lines(
        position, height, sigma0, start, step, 0.3 * least_height, 0.1, made
    )
    return kept


@njit(cache=True, nogil=True)
def _squares(y: Points, stride: int, residual: Points, low: int, high: int) -> float:
    """Weighted squares of a residual between two kept points."""
    total = 0.0
    for i in range(max(low, 0), min(high, residual.shape[0])):
        noise = FLOOR_NOISE**2 + (RELATIVE_NOISE * y[i * stride]) ** 2
        total += residual[i] ** 2 / noise
    return total


@njit(cache=True, nogil=True)
def _polish(
    y: Points,
    stride: int,
    start: float,
    step: float,
    position: Lines,
    height: Lines,
    sigma0: float,
    residual: Points,
    turns: int,
) -> None:
    """Fit all lines once more, but take back what made a blend worse."""
    n = position.shape[0]
    nothing = np.empty((0, 2))
    fit_gaussians(
        y, stride, start, step, position, height, sigma0, 0, 0.0, residual, nothing
    )
    for _ in range(turns):
        before = residual.copy()
        old_position, old_height = position.copy(), height.copy()
        fit_gaussians(
            y, stride, start, step, position, height, sigma0, 1, 1e-5, residual,
            nothing,
        )  # fmt: skip
        begin, taken_back = 0, False
        while begin < n:
            end = begin + 1
            sigma = sigma0 / cosine_of(old_position[begin], start, step)
            while end < n and old_position[end] - old_position[end - 1] < 3.5 * sigma:
                end += 1
            low = int((old_position[begin] - 1.75 * sigma) / stride)
            high = int((old_position[end - 1] + 1.75 * sigma) / stride) + 1
            is_worse = _squares(y, stride, residual, low, high) > _squares(
                y, stride, before, low, high
            )
            if is_worse:
                position[begin:end] = old_position[begin:end]
                height[begin:end] = old_height[begin:end]
                taken_back = True
            begin = end
        if taken_back:
            order = np.argsort(position)
            position[:] = position[order]
            height[:] = height[order]
            fit_gaussians(
                y, stride, start, step, position, height, sigma0, 0, 0.0, residual,
                nothing,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def read_gaussians(
    y: Points,
    start: float,
    step: float,
    least_height: float,
    table: Float64[np.ndarray, " distances"],
    position: Lines,
    height: Lines,
    variance: Float64[np.ndarray, "lines 2"],
    most_lines: int,
    most_maxima: int,
) -> tuple[int, float, float, int]:
    """Lines of one clean pattern with a maximum of one.

    ``position`` [points], ``height`` and ``variance`` (of heights and places) receive
    them. Of more than ``most_lines`` those at the lowest angles are resolved; only
    ``most_maxima`` maxima of the sharpened pattern are looked at.

    Returns:
        Number of lines, σ0 [points], the mean residual as a part of the mean pattern,
        and the number of points that were read; no lines if no width fits.
    """
    sigma0 = find_sigma0(y, start, step, 0.01)
    if sigma0 <= 0.0:
        return 0, 0.0, 1.0, y.shape[0]
    stride = max(1, int(sigma0 / _POINTS_PER_SIGMA))
    n_kept = (y.shape[0] - 1) // stride + 1
    sharp = np.empty(n_kept)
    sharpen(y, stride, sigma0, start, step, table, sharp)
    count = add_maxima(
        sharp, stride, sigma0, start, step, 3.0 * least_height, _OVERSHOOT, 0.0,
        position, height, 0,
    )  # fmt: skip
    if count > most_maxima:
        count = most_maxima
        n_kept = min(
            n_kept, int(0.5 * (position[count - 1] + position[count])) // stride
        )
        sharp = sharp[:n_kept].copy()
    residual = np.zeros(n_kept)
    nothing = np.empty((0, 2))
    first_look, first_count = position[:count].copy(), count
    for turn in range(3):
        if count == 0:
            break
        fitted = fit_gaussians(
            y, stride, start, step, position[:count], height[:count], sigma0,
            3, 1e-3, residual, nothing,
        )  # fmt: skip
        if not fitted:
            break
        count = keep_lines(
            position, height, sigma0, start, step, 0.3 * least_height, 0.1, count
        )
        if turn == 2:
            break
        sharpen(residual, 1, sigma0 / stride, start, step * stride, table, sharp)
        more = add_maxima(
            sharp, stride, sigma0, start, step, least_height * 0.5, 0.1, 0.4,
            position, height, count,
        )  # fmt: skip
        if more == count:
            break
        count = more
    for _ in range(2):
        if count == 0:
            break
        count = rebuild_blends(
            y, stride, start, step, sigma0, least_height, first_look[:first_count],
            residual, position, height, count,
        )  # fmt: skip
        _polish(
            y, stride, start, step, position[:count], height[:count], sigma0,
            residual, 3,
        )  # fmt: skip
    if count:
        fit_gaussians(
            y, stride, start, step, position[:count], height[:count], sigma0, 0, 0.0,
            residual, variance[:count],
        )  # fmt: skip
    left, whole = 0.0, 0.0
    for i in range(n_kept):
        left += abs(residual[i])
        whole += abs(y[i * stride])
    _inflate(
        y, stride, start, step, sigma0, residual, position[:count], variance[:count]
    )
    if count > most_lines:
        count = most_lines
        n_kept = int(0.5 * (position[count - 1] + position[count])) // stride
    seen = min(n_kept * stride, y.shape[0])
    return count, sigma0, left / max(whole, 1e-300), seen


@njit(cache=True, nogil=True)
def _inflate(
    y: Points,
    stride: int,
    start: float,
    step: float,
    sigma0: float,
    residual: Points,
    position: Lines,
    variance: Float64[np.ndarray, "lines 2"],
) -> None:
    """Raise variances where the residual is larger than the noise that was assumed."""
    for j in range(position.shape[0]):
        sigma = sigma0 / cosine_of(position[j], start, step)
        low = max(0, int((position[j] - 2.0 * sigma) / stride))
        high = min(residual.shape[0], int((position[j] + 2.0 * sigma) / stride) + 1)
        total = 0.0
        for i in range(low, high):
            noise = FLOOR_NOISE**2 + (RELATIVE_NOISE * y[i * stride]) ** 2
            total += residual[i] ** 2 / noise
        # What a fit leaves is coherent over a width, unlike noise; so the sum stands
        # here, not the mean.
        variance[j] *= max(1.0, total)
