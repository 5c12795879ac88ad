"""Kernels that fit lines of a measured scan: pseudo-Voigt doublets of smooth widths.

    y(x) = Σ a_j [p((x − c_j)/w_j) + ρ p((x − c'_j)/w_j)],
    p(t) = η/(1 + 4t²) + (1 − η) exp(−4 ln 2 t²)

with c' where Bragg's law puts the second spectral line: sin θ' = q sin θ. The width w_j
may leave the smooth function W(θ) by a factor that a normal prior of its logarithm
holds near one. Angles are in degrees here.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.indexing.lines.banded import factor_band, invert_within_band, solve_band

Points = Float64[np.ndarray, " points"]
Lines = Float64[np.ndarray, " lines"]

_FOUR_LN2 = 4.0 * math.log(2.0)


@njit(cache=True, nogil=True)
def second_place(place: float, ratio: float) -> float:
    """Angle 2θ of a second spectral line ``ratio`` times as long [degrees]."""
    sine = ratio * math.sin(math.radians(0.5 * place))
    return 2.0 * math.degrees(math.asin(min(sine, 1.0)))


@njit(cache=True, nogil=True)
def smooth_width(place: float, shape: Float64[np.ndarray, " 3"]) -> float:
    """W(θ) = √(s0 + s1 tan² θ + s2 cot² θ) [degrees].

    The last term stands for axial divergence, which broadens lines at low angles.
    """
    tan2 = math.tan(math.radians(0.5 * place)) ** 2
    return math.sqrt(shape[0] + shape[1] * tan2 + shape[2] / tan2)


@njit(cache=True, nogil=True)
def evaluate_lines(
    start: float,
    step: float,
    noise: Points,
    place: Lines,
    height: Lines,
    width: Lines,
    lorentz: float,
    second: float,
    ratio: float,
    first: Int64[np.ndarray, " lines"],
    last: Int64[np.ndarray, " lines"],
    offset: Int64[np.ndarray, " lines_and_one"],
    parts: Float64[np.ndarray, "room 3"],
    model: Points,
) -> bool:
    """Profile of height one, a·∂p/∂c, a·∂p/∂ln w of each line, and the sum of lines."""
    model[:] = 0.0
    at = 0
    n = noise.shape[0]
    for j in range(place.shape[0]):
        c, w, a = place[j], width[j], height[j]
        c2 = second_place(c, ratio)
        # Noise of the background beside the line, not that of its top.
        left = min(max(int((c - 10.0 * w - start) / step), 0), n - 1)
        right = min(max(int((c + 10.0 * w - start) / step), 0), n - 1)
        contrast = max(a / min(noise[left], noise[right]), 1.0)
        # Where a Lorentzian tail is a third of the noise of a point.
        reach = w * min(12.0, max(2.5, 0.5 * math.sqrt(3.0 * lorentz * contrast)))
        low = math.ceil((c - reach - start) / step)
        top = c2 if second > 0.0 else c
        high = math.floor((top + reach - start) / step) + 1
        first[j] = min(max(low, 0), n)
        last[j] = min(max(high, first[j]), n)
        offset[j] = at
        if at + last[j] - first[j] > parts.shape[0]:
            return False
        for i in range(first[j], last[j]):
            x = start + step * i
            p, dc, dw = 0.0, 0.0, 0.0
            for which in range(2):
                factor = 1.0 if which == 0 else second
                if factor == 0.0:
                    continue
                t = (x - (c if which == 0 else c2)) / w
                t2 = t * t
                cauchy = 1.0 / (1.0 + 4.0 * t2)
                gauss = math.exp(-_FOUR_LN2 * t2) if t2 < 9.0 else 0.0
                p += factor * (lorentz * cauchy + (1.0 - lorentz) * gauss)
                # −dp/dt / t
                fall = factor * (
                    lorentz * 8.0 * cauchy * cauchy
                    + (1.0 - lorentz) * 2.0 * _FOUR_LN2 * gauss
                )
                dc += fall * t
                dw += fall * t2
            parts[at, 0] = p
            parts[at, 1] = a * dc / w
            parts[at, 2] = a * dw
            model[i] += a * p
            at += 1
    offset[place.shape[0]] = at
    return True


@njit(cache=True, nogil=True)
def fit_lines(
    start: float,
    step: float,
    z: Points,
    noise: Points,
    place: Lines,
    height: Lines,
    width: Lines,
    shape: Float64[np.ndarray, " 3"],
    lorentz: float,
    second: float,
    ratio: float,
    width_prior: float,
    rounds: int,
    damping: float,
    model: Points,
    variance: Float64[np.ndarray, "lines 3"],
) -> float:
    """Least squares of heights, places and widths in place; chi² of the whole scan.

    ``z`` is the scan less background, ``noise`` the standard deviation of its points,
    ``width_prior`` that of ln(w / W). ``model`` receives the sum of lines, ``variance``
    the variances of height, place and ln w of each.
    """
    n, m = place.shape[0], z.shape[0]
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    offset = np.empty(n + 1, np.int64)
    room = 64
    for j in range(n):
        room += int((26.0 * width[j] * 1.6 + 1.0) / step) + 4
    room = min(room, n * m + 64)
    parts = np.empty((room, 3))
    right = np.empty(3 * n)
    chi2 = 0.0
    for turn in range(rounds + 1):
        if not evaluate_lines(
            start, step, noise, place, height, width, lorentz, second, ratio,
            first, last, offset, parts, model,
        ):  # fmt: skip
            return -1.0
        most = 0
        for j in range(n):
            k = 0
            while j - k - 1 >= 0 and last[j - k - 1] > first[j]:
                k += 1
            most = max(most, k)
        most = min(most, 16)
        band = np.zeros((3 * n, 3 * most + 3))
        for j in range(n):
            base = offset[j] - first[j]
            right[3 * j : 3 * j + 3] = 0.0
            for k in range(most + 1):
                other = j - k
                if other < 0:
                    break
                base_o = offset[other] - first[other]
                sums = np.zeros((3, 3))
                for i in range(max(first[j], first[other]), min(last[j], last[other])):
                    w = 1.0 / (noise[i] * noise[i])
                    for u in range(3):
                        v = w * parts[base + i, u]
                        sums[u, 0] += v * parts[base_o + i, 0]
                        sums[u, 1] += v * parts[base_o + i, 1]
                        sums[u, 2] += v * parts[base_o + i, 2]
                for u in range(3):
                    for v_ in range(3):
                        back = 3 * k + u - v_
                        if back >= 0:
                            band[3 * j + u, back] = sums[u, v_]
            for i in range(first[j], last[j]):
                w = (z[i] - model[i]) / (noise[i] * noise[i])
                for u in range(3):
                    right[3 * j + u] += w * parts[base + i, u]
            wanted = smooth_width(place[j], shape)
            stiff = 1.0 / (width_prior * width_prior)
            band[3 * j + 2, 0] += stiff
            right[3 * j + 2] -= stiff * math.log(width[j] / wanted)
        is_last = turn == rounds
        add = 1e-9 if is_last else damping
        for k in range(3 * n):
            band[k, 0] = band[k, 0] * (1.0 + add) + 1e-30
        if not factor_band(band):
            return -1.0
        if is_last:
            inverse = np.zeros_like(band)
            invert_within_band(band, inverse)
            for j in range(n):
                for u in range(3):
                    variance[j, u] = inverse[3 * j + u, 0]
            break
        solve_band(band, right)
        for j in range(n):
            height[j] = max(height[j] + right[3 * j], 0.05 * height[j])
            moved = min(max(right[3 * j + 1], -0.25 * width[j]), 0.25 * width[j])
            place[j] += moved
            place[j] = min(max(place[j], start), start + step * (m - 1))
            change = min(max(right[3 * j + 2], -0.3), 0.3)
            width[j] *= math.exp(change)
            wanted = smooth_width(place[j], shape)
            width[j] = min(max(width[j], 0.4 * wanted), 2.5 * wanted)
        damping *= 0.3
        order = np.argsort(place)
        place[:] = place[order]
        height[:] = height[order]
        width[:] = width[order]
    for i in range(m):
        chi2 += ((z[i] - model[i]) / noise[i]) ** 2
    return chi2


@njit(cache=True, nogil=True)
def match_profile(
    start: float,
    step: float,
    z: Points,
    noise: Points,
    shape: Float64[np.ndarray, " 3"],
    lorentz: float,
    second: float,
    ratio: float,
    height: Points,
    error: Points,
) -> None:
    """Height of a line at every point, on a constant of its own, and its error."""
    n = z.shape[0]
    for i in range(n):
        c = start + step * i
        w = smooth_width(c, shape)
        c2 = second_place(c, ratio)
        reach = 1.8 * w
        low = max(0, i - int(reach / step) - 1)
        high = min(n, i + int((reach + (c2 - c if second > 0.0 else 0.0)) / step) + 2)
        spp = sp = s1 = spz = sz = 0.0
        for k in range(low, high):
            x = start + step * k
            t = (x - c) / w
            t2 = t * t
            p = lorentz / (1.0 + 4.0 * t2) + (1.0 - lorentz) * math.exp(-_FOUR_LN2 * t2)
            if second > 0.0:
                t = (x - c2) / w
                t2 = t * t
                p += second * (
                    lorentz / (1.0 + 4.0 * t2)
                    + (1.0 - lorentz) * math.exp(-_FOUR_LN2 * t2)
                )
            v = 1.0 / (noise[k] * noise[k])
            spp += v * p * p
            sp += v * p
            s1 += v
            spz += v * p * z[k]
            sz += v * z[k]
        determinant = spp * s1 - sp * sp
        if determinant <= 1e-9 * spp * s1:
            height[i], error[i] = 0.0, 1e300
            continue
        height[i] = (s1 * spz - sp * sz) / determinant
        error[i] = math.sqrt(s1 / determinant)


@njit(cache=True, nogil=True)
def pick_lines(
    start: float,
    step: float,
    found: Points,
    error: Points,
    model: Points,
    shape: Float64[np.ndarray, " 3"],
    least_significance: float,
    misfit: float,
    least_distance: float,
    place: Lines,
    height: Lines,
    width: Lines,
    count: int,
) -> int:
    """Add maxima of the matched height to the lines; their new number.

    A new line must be higher than ``misfit``, the part of the lines already there that
    may be wrong, and ``least_distance`` widths away from them.
    """
    n = found.shape[0]
    before = count
    for i in range(1, n - 1):
        value = found[i]
        if value < found[i - 1] or value <= found[i + 1]:
            continue
        if value < least_significance * error[i] or value < misfit * model[i]:
            continue
        c = start + step * i
        w = smooth_width(c, shape)
        # The highest within half a width.
        reach = int(0.5 * w / step)
        is_top = True
        for k in range(max(0, i - reach), min(n, i + reach + 1)):
            if found[k] > value:
                is_top = False
                break
        if not is_top:
            continue
        for k in range(before):
            if abs(place[k] - c) < least_distance * w:
                is_top = False
                break
        if not is_top or count >= place.shape[0]:
            continue
        place[count], height[count], width[count] = c, value, w
        count += 1
    if count > before:
        order = np.argsort(place[:count])
        place[:count] = place[:count][order]
        height[:count] = height[:count][order]
        width[:count] = width[:count][order]
    return count


@njit(cache=True, nogil=True)
def local_contrast(
    start: float,
    step: float,
    z: Points,
    noise: Points,
    model: Points,
    place: Lines,
    height: Lines,
    width: Lines,
    lorentz: float,
    second: float,
    ratio: float,
    found: Lines,
    error: Lines,
) -> None:
    """Height of each line on a parabola of its own, the other lines subtracted.

    A bump in the tail of a strong line, or of the background, is explained by the
    parabola; a line is not.
    """
    n = z.shape[0]
    row = np.empty(4)
    matrix, right = np.empty((4, 4)), np.empty(4)
    for j in range(place.shape[0]):
        c, w = place[j], width[j]
        c2 = second_place(c, ratio) if second > 0.0 else c
        low = max(0, int((c - 2.2 * w - start) / step))
        high = min(n, int((c2 + 2.2 * w - start) / step) + 2)
        middle, half = 0.5 * (c + c2), 0.5 * (c2 - c) + 2.2 * w
        matrix[:], right[:] = 0.0, 0.0
        for i in range(low, high):
            x = start + step * i
            t = (x - c) / w
            t2 = t * t
            p = lorentz / (1.0 + 4.0 * t2) + (1.0 - lorentz) * math.exp(-_FOUR_LN2 * t2)
            if second > 0.0:
                t = (x - c2) / w
                t2 = t * t
                p += second * (
                    lorentz / (1.0 + 4.0 * t2)
                    + (1.0 - lorentz) * math.exp(-_FOUR_LN2 * t2)
                )
            u = (x - middle) / half
            row[0], row[1], row[2], row[3] = 1.0, u, u * u, p
            v = 1.0 / (noise[i] * noise[i])
            value = z[i] - model[i] + height[j] * p
            for k in range(4):
                right[k] += v * row[k] * value
                for m in range(k + 1):
                    matrix[k, m] += v * row[k] * row[m]
        found[j], error[j] = 0.0, 1e300
        is_solved = high - low > 5
        # Cholesky; the profile comes last, so its error is that of the last pivot.
        for k in range(4):
            for m in range(k + 1):
                total = matrix[k, m]
                for i in range(m):
                    total -= matrix[k, i] * matrix[m, i]
                if k == m:
                    if total <= 1e-10 * matrix[k, k] or not is_solved:
                        is_solved = False
                        break
                    matrix[k, k] = math.sqrt(total)
                else:
                    matrix[k, m] = total / matrix[m, m]
            if not is_solved:
                break
            for i in range(k):
                right[k] -= matrix[k, i] * right[i]
            right[k] /= matrix[k, k]
        if is_solved:
            found[j] = right[3] / matrix[3, 3]
            error[j] = 1.0 / matrix[3, 3]
