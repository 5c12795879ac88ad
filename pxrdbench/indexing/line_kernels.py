"""Kernels that read lines off patterns that are exact sums of Gaussians.

A simulated pattern of one crystallite size is y(x) = Σ a_j exp(−(x − c_j)²/2σ_j²) with
σ_j = σ0 / cos θ_j (Scherrer) and noise of a few millionths. So σ0 can be read off, and
lines closer than their width be told apart: the pattern is first sharpened, then fitted
by least squares, and what remains is searched again.

Positions and widths are counted in points of the grid here.
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from pxrdbench.indexing.banded import factor_band, invert_within_band, solve_band

Points = Float64[np.ndarray, " points"]
Lines = Float64[np.ndarray, " lines"]

# A profile is followed down to this part of the highest point of the pattern, where
# `diffraction.profile_kernels` cuts it.
CUT = 1e-6
# Noise of a simulated pattern: cut tails (1e-6), single precision (6e-8 y), and what
# blends that nobody can resolve leave behind.
FLOOR_NOISE, RELATIVE_NOISE = 1e-6, 3e-6
# Sharpening takes σ to σ/2, cut off where the noise would be raised more than it helps:
# exp((1 − ¼) t²/2 − (t/4)⁸), t in units of 1/σ.
SHARPER, CUTOFF = 0.5, 4.0
_REACH, _PER_SIGMA = 6.0, 64
# Points per σ that a fit needs; more are left out.
_POINTS_PER_SIGMA = 3.5


def _sharpening_table() -> Float64[np.ndarray, " distances"]:
    """Kernel of the sharpening at distances z/64 σ, by its Fourier integral."""
    t = np.linspace(0.0, 2.0 * CUTOFF, 2001)
    gain = np.exp((1.0 - SHARPER**2) * t**2 / 2 - (t / CUTOFF) ** 8)
    z = np.arange(int(_REACH * _PER_SIGMA) + 2) / _PER_SIGMA
    waves = np.cos(z[:, None] * t) * gain
    table: Float64[np.ndarray, " distances"] = (
        (waves[:, :-1] + waves[:, 1:]).sum(axis=1) * (t[1] / 2) / math.pi
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
            # Half a σ away, a Gaussian has fallen to 0.88.
            if low < 0.88 * y[i] or h == 63:
                second = math.log(y[i - h] / y[i]) + math.log(y[i + h] / y[i])
                cos = cosine_of(float(i), start, step)
                best = max(best, -second / (h * h) / (cos * cos))
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
    """Add maxima of a sharpened pattern to the lines found so far.

    Args:
        floor: Least height, in units of the pattern.
        relative: Least height as a part of the highest maximum within five σ.
        least_distance: From a line that is there already, in σ.

    Returns:
        Number of lines; they are sorted.
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
    wider: Points,
) -> bool:
    """Profiles of height one, ∂/∂c and the sums of a·p and of a·∂p/∂ln σ0.

    False if there is no room for them.
    """
    model[:] = 0.0
    wider[:] = 0.0
    at = 0
    for j in range(position.shape[0]):
        sigma = sigma0 / cosine_of(position[j], start, step)
        reach = sigma * math.sqrt(2.0 * math.log(max(height[j], 1e-5) / CUT))
        low = int(math.ceil((position[j] - reach) / stride))
        high = int(math.floor((position[j] + reach) / stride)) + 1
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
            wider[i] += a * p * z * z
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
    wider: Points,
    first: Int64[np.ndarray, " lines"],
    last: Int64[np.ndarray, " lines"],
    offset: Int64[np.ndarray, " lines_and_one"],
    profile: Points,
    slope: Points,
    band: Float64[np.ndarray, "unknowns bandwidth_and_one"],
    right: Float64[np.ndarray, " unknowns"],
    border: Float64[np.ndarray, " unknowns"],
) -> None:
    """Normal equations; unknowns 2j and 2j + 1 are height and place of line j."""
    band[:] = 0.0
    most = (band.shape[1] - 2) // 2
    for j in range(first.shape[0]):
        r0 = r1 = b0 = b1 = s00 = s01 = s11 = 0.0
        base = offset[j] - first[j]
        for i in range(first[j], last[j]):
            p, s, w = profile[base + i], slope[base + i], weight[i]
            wp, ws = w * p, w * s
            r0 += wp * residual[i]
            r1 += ws * residual[i]
            b0 += wp * wider[i]
            b1 += ws * wider[i]
            s00 += wp * p
            s01 += wp * s
            s11 += ws * s
        right[2 * j], right[2 * j + 1] = r0, r1
        border[2 * j], border[2 * j + 1] = b0, b1
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
) -> tuple[bool, float]:
    """Least squares of all heights and places, and of σ0, in place.

    Gauss-Newton with Levenberg's damping; the equations are banded, bordered by σ0.

    Args:
        residual: Receives the pattern less the fit, every ``stride``-th point.
        variance: Receives the variances of heights and places for the noise assumed.

    Returns:
        Whether there was a fit, and the new σ0.
    """
    n, n_kept = position.shape[0], residual.shape[0]
    most = 0
    for j in range(n):
        most += 2 * int(5.3 * sigma0 / cosine_of(position[j], start, step) / stride) + 4
    profile, slope = np.empty(most + 64), np.empty(most + 64)
    model, wider, weight = np.empty(n_kept), np.empty(n_kept), np.empty(n_kept)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    offset = np.empty(n + 1, np.int64)
    right, border = np.empty(2 * n), np.empty(2 * n)
    for i in range(n_kept):
        noise = FLOOR_NOISE**2 + (RELATIVE_NOISE * y[i * stride]) ** 2
        weight[i] = 1.0 / noise
    for turn in range(rounds + 1):
        if not _fill_profiles(
            position, height, sigma0, start, step, stride, n_kept,
            first, last, offset, profile, slope, model, wider,
        ):  # fmt: skip
            return False, sigma0
        for i in range(n_kept):
            residual[i] = y[i * stride] - model[i]
        bandwidth = 2 * min(_band_of(first, last), 24) + 2
        band = np.empty((2 * n, bandwidth))
        _fill_equations(
            residual, weight, wider, first, last, offset, profile, slope,
            band, right, border,
        )  # fmt: skip
        corner, corner_right = 0.0, 0.0
        for i in range(n_kept):
            corner += weight[i] * wider[i] * wider[i]
            corner_right += weight[i] * wider[i] * residual[i]
        is_last = turn == rounds
        add = 1e-12 if is_last else damping
        for k in range(2 * n):
            band[k, 0] = band[k, 0] * (1.0 + add) + 1e-30
        if not factor_band(band):
            return False, sigma0
        if is_last:
            inverse = np.zeros_like(band)
            invert_within_band(band, inverse)
            for j in range(n):
                variance[j, 0] = inverse[2 * j, 0]
                variance[j, 1] = inverse[2 * j + 1, 0]
            break
        solve_band(band, right)
        across = border.copy()
        solve_band(band, across)
        for k in range(2 * n):
            corner -= border[k] * across[k]
            corner_right -= border[k] * right[k]
        change = corner_right / corner if corner > 0.0 else 0.0
        change = min(max(change, -0.05), 0.05)
        sigma0 *= math.exp(change)
        for j in range(n):
            sigma = sigma0 / cosine_of(position[j], start, step)
            height[j] += right[2 * j] - change * across[2 * j]
            moved = right[2 * j + 1] - change * across[2 * j + 1]
            position[j] += min(max(moved, -0.4 * sigma), 0.4 * sigma)
            height[j] = max(height[j], CUT)
        damping *= 0.1
        order = np.argsort(position)
        position[:] = position[order]
        height[:] = height[order]
    return True, sigma0


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
) -> tuple[int, float, float, int]:
    """Lines of one clean pattern with a maximum of one.

    Args:
        position: Receives places [points].
        height: Receives heights.
        variance: Receives variances of heights and places.
        most_lines: Of more lines those at the lowest angles are resolved.

    Returns:
        Number of lines, σ0 [points], the mean residual as a part of the mean pattern,
        and the number of points that were read; no lines if no width fits.
    """
    sigma0 = find_sigma0(y, start, step, 0.02)
    if sigma0 <= 0.0:
        return 0, 0.0, 1.0, y.shape[0]
    stride = max(1, int(sigma0 / _POINTS_PER_SIGMA))
    n_kept = (y.shape[0] - 1) // stride + 1
    sharp = np.empty(n_kept)
    sharpen(y, stride, sigma0, start, step, table, sharp)
    count = add_maxima(
        sharp, stride, sigma0, start, step, 3.0 * least_height, 0.01, 0.0,
        position, height, 0,
    )  # fmt: skip
    # Ten more, since weaker ones will be found between those of the first look.
    if count > most_lines + 10:
        count = most_lines + 10
        n_kept = min(n_kept, int(0.5 * (position[count - 1] + position[count])) // stride)
        sharp = sharp[:n_kept].copy()
    residual = np.zeros(n_kept)
    for turn in range(4):
        if count == 0:
            break
        fitted, sigma0 = fit_gaussians(
            y, stride, start, step, position[:count], height[:count], sigma0,
            3, 1e-3, residual, variance[:count],
        )  # fmt: skip
        if not fitted:
            break
        count = keep_lines(
            position, height, sigma0, start, step, 0.3 * least_height, 0.1, count
        )
        if turn == 3:
            break
        sharpen(residual, 1, sigma0 / stride, start, step * stride, table, sharp)
        more = add_maxima(
            sharp, stride, sigma0, start, step, least_height * 0.5, 0.1, 0.4,
            position, height, count,
        )  # fmt: skip
        if more == count:
            break
        count = more
    if count:
        fitted, sigma0 = fit_gaussians(
            y, stride, start, step, position[:count], height[:count], sigma0,
            4, 1e-4, residual, variance[:count],
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
