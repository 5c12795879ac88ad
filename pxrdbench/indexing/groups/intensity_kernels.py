"""Kernels that fit the lines of a known lattice to a pattern.

The model is y(x) = Σ_i I_i p_i(x) with one profile a distinct line of the lattice. The
profiles are local, so that the normal matrix is a band; intensities are found by
non-negative least squares, and the few numbers that move all lines at once (the
reciprocal metric, a shift, a width) by Gauss-Newton steps with the intensities
projected out.

References:
    Portugal, Júdice & Vicente (1994), Math. Comput. 63, 625 (block principal pivoting).
    Kaufman (1975), BIT 15, 49 (variable projection).
    Pawley (1981), J. Appl. Cryst. 14, 357 (fits without a structure).
"""

import math

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.indexing.lines.banded import factor_band, invert_within_band, solve_band

Points = Float64[np.ndarray, " points"]
Lines = Float64[np.ndarray, " lines"]
Indices = Int64[np.ndarray, " lines"]
Metric = Float64[np.ndarray, " 6"]

# 4 ln 2: a Gaussian of fwhm w is exp(−4 ln 2 (x/w)²).
FOUR_LN2 = 4.0 * math.log(2.0)
# Added to the unit diagonal of the normal matrix, for lines that nothing separates.
RIDGE = 1e-11
_P, _A, _C, _I, _F, _R = 0, 1, 2, 3, 4, 5


@njit(cache=True, nogil=True)
def is_allowed(h: int, k: int, l: int, centring: int) -> bool:
    """Whether a centring (0 P, 1 A, 2 C, 3 I, 4 F, 5 R obverse) allows hkl."""
    if centring == _A:
        return (k + l) % 2 == 0
    if centring == _C:
        return (h + k) % 2 == 0
    if centring == _I:
        return (h + k + l) % 2 == 0
    if centring == _F:
        return (h + k) % 2 == 0 and (h + l) % 2 == 0
    if centring == _R:
        return (-h + k + l) % 3 == 0
    return True


@njit(cache=True, nogil=True)
def inverse_d2_of(metric, h, k, l):
    """1/d² = h²g₀ + k²g₁ + l²g₂ + kl g₃ + hl g₄ + hk g₅."""
    return (
        h * (h * metric[0] + k * metric[5] + l * metric[4])
        + k * (k * metric[1] + l * metric[3])
        + l * l * metric[2]
    )


@njit(cache=True, nogil=True)
def list_reflections(metric, centring, low, high, most):
    """All hkl of one half of the sphere with low <= 1/d² <= high, ascending.

    Where there would be more than ``most``, the sphere is made smaller.
    """
    a, b, c = metric[0], metric[1], metric[2]
    f, e, d = metric[3] / 2.0, metric[4] / 2.0, metric[5] / 2.0
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    empty = np.zeros((0, 3), np.int64)
    if not (determinant > 0.0 and a > 0.0 and b > 0.0 and c > 0.0):
        return empty, np.zeros(0)
    share = 1.0
    if centring in (_A, _C, _I):
        share = 0.5
    elif centring == _F:
        share = 0.25
    elif centring == _R:
        share = 1.0 / 3.0
    volume = share / math.sqrt(determinant)
    # 2π/3 V* q^(3/2) reflections lie in half a sphere.
    count = 2.0943951 * volume * high**1.5
    if count > most:
        high = (most / (2.0943951 * volume)) ** (2.0 / 3.0)
        count = most
    i11 = (b * c - f * f) / determinant
    i22 = (a * c - e * e) / determinant
    i33 = (a * b - d * d) / determinant
    h_max = int(math.sqrt(high * i11) + 1e-9)
    k_max = int(math.sqrt(high * i22) + 1e-9)
    l_max = int(math.sqrt(high * i33) + 1e-9)
    room = int(count * 1.3) + 4 * (h_max + k_max + l_max) ** 2 + 100
    room = min(room, (h_max + 1) * (2 * k_max + 1) * (2 * l_max + 1))
    hkl = np.empty((room, 3), np.int64)
    q = np.empty(room)
    n = 0
    for h in range(h_max + 1):
        for k in range(0 if h == 0 else -k_max, k_max + 1):
            first = 1 if h == 0 and k == 0 else -l_max
            for l in range(first, l_max + 1):
                if not is_allowed(h, k, l, centring):
                    continue
                value = inverse_d2_of(metric, float(h), float(k), float(l))
                if value < low or value > high or n >= room:
                    continue
                hkl[n, 0], hkl[n, 1], hkl[n, 2] = h, k, l
                q[n] = value
                n += 1
    order = np.argsort(q[:n])
    return hkl[:n][order], q[:n][order]


@njit(cache=True, nogil=True)
def merge_lines(q, wavelength, width0, separation, most):
    """Number the distinct lines of ascending 1/d².

    Reflections within ``separation`` widths are one line. Returns the line of each
    reflection (-1 past the last of ``most``) and each line's mean 1/d².
    """
    n = q.shape[0]
    line_of = np.full(n, -1, np.int64)
    mean = np.empty(min(n, most))
    count = 0
    i = 0
    while i < n and count < most:
        sine = min(wavelength * math.sqrt(q[i]) / 2.0, 0.9999)
        cosine = math.sqrt(1.0 - sine * sine)
        # d(2θ) = λ² / (4 sin θ cos θ) dq; the width is width0 / cos θ.
        slope = math.degrees(wavelength * wavelength / (4.0 * sine * cosine))
        reach = q[i] + separation * width0 / cosine / slope
        total, members = 0.0, 0
        while i < n and q[i] <= reach:
            line_of[i] = count
            total += q[i]
            members += 1
            i += 1
        mean[count] = total / members
        count += 1
    return line_of, mean[:count]


@njit(cache=True, nogil=True)
def fill_profiles(
    x, center, fwhm, eta, second, ratio, reach, lo, hi, offset, values, slopes, spreads
):
    """Profiles of unit height, their derivatives by position and by ln(fwhm).

    Pseudo-Voigt; ``second`` is the distance of a weaker companion of the given ratio.
    Returns how many values were written, or -1 where there is no room.
    """
    n = 0
    for i in range(center.shape[0]):
        w = fwhm[i]
        far = second[i] if ratio > 0.0 else 0.0
        start = np.searchsorted(x, center[i] - reach * w)
        end = np.searchsorted(x, center[i] + far + reach * w)
        lo[i], hi[i], offset[i] = start, end, n
        if n + end - start > values.shape[0]:
            return -1
        for j in range(start, end):
            value, slope, spread = 0.0, 0.0, 0.0
            for part in range(2 if ratio > 0.0 else 1):
                z = (x[j] - center[i] - (far if part else 0.0)) / w
                weight = ratio if part else 1.0
                z2 = z * z
                gauss = math.exp(-FOUR_LN2 * z2) if z2 < 25.0 else 0.0
                lorentz = 1.0 / (1.0 + 4.0 * z2)
                value += weight * (eta * lorentz + (1.0 - eta) * gauss)
                # −d/dz of the profile
                fall = (
                    eta * 8.0 * z * lorentz * lorentz
                    + (1.0 - eta) * 2.0 * FOUR_LN2 * z * gauss
                )
                slope += weight * fall / w
                spread += weight * fall * z
            values[n], slopes[n], spreads[n] = value, slope, spread
            n += 1
    return n


@njit(cache=True, nogil=True)
def normal_band(weight, lo, hi, offset, values):
    """Band of Σ_x w p_i p_j, stored as `banded` has it."""
    n = lo.shape[0]
    width = 1
    first = 0
    for i in range(n):
        while hi[first] <= lo[i] and first < i:
            first += 1
        width = max(width, i - first + 1)
    band = np.zeros((n, width))
    for i in range(n):
        for k in range(min(i, width - 1) + 1):
            j = i - k
            start, end = max(lo[i], lo[j]), min(hi[i], hi[j])
            total = 0.0
            at_i, at_j = offset[i] - lo[i], offset[j] - lo[j]
            for m in range(start, end):
                total += weight[m] * values[at_i + m] * values[at_j + m]
            band[i, k] = total
    return band


@njit(cache=True, nogil=True)
def project(y, weight, lo, hi, offset, values):
    """Σ_x w p_i y for each line."""
    n = lo.shape[0]
    out = np.empty(n)
    for i in range(n):
        total, at = 0.0, offset[i] - lo[i]
        for m in range(lo[i], hi[i]):
            total += weight[m] * values[at + m] * y[m]
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def add_profiles(height, lo, hi, offset, values, model):
    """Add Σ_i height_i p_i to the model."""
    for i in range(lo.shape[0]):
        value, at = height[i], offset[i] - lo[i]
        if value != 0.0:
            for m in range(lo[i], hi[i]):
                model[m] += value * values[at + m]


@njit(cache=True, nogil=True)
def gather_band(band, chosen, count):
    """The band of some rows and columns, ascending; its width may be smaller."""
    width = band.shape[1]
    widest = 1
    for i in range(count):
        for k in range(min(i, width - 1), 0, -1):
            if chosen[i] - chosen[i - k] < width:
                widest = max(widest, k + 1)
                break
    part = np.zeros((count, widest))
    for i in range(count):
        for k in range(min(i, widest - 1) + 1):
            gap = chosen[i] - chosen[i - k]
            if gap < width:
                part[i, k] = band[chosen[i], gap]
    return part


@njit(cache=True, nogil=True)
def descend(band, right, x, small, sweeps):
    """Coordinate descent to the same minimum, for bands that pivoting cycles on."""
    n, width = band.shape
    for sweep in range(sweeps):
        worst = 0.0
        for place in range(n):
            # Forth and back: near neighbours settle sooner.
            i = place if sweep % 2 == 0 else n - 1 - place
            slope = -right[i]
            for k in range(min(i, width - 1) + 1):
                slope += band[i, k] * x[i - k]
            for j in range(i + 1, min(n, i + width)):
                slope += band[j, j - i] * x[j]
            value = max(0.0, x[i] - slope / (1.0 + RIDGE))
            worst = max(worst, abs(value - x[i]))
            x[i] = value
        if worst < small:
            break


@njit(cache=True, nogil=True)
def exchange_one(band, right, x, free, small):
    """Active-set method from a feasible x; the objective falls with every exchange.

    Lawson & Hanson (1974), Solving Least Squares Problems, chapter 23.
    """
    n, width = band.shape
    for i in range(n):
        free[i] = x[i] > 0.0
    chosen = np.empty(n, np.int64)
    for _ in range(3 * n + 10):
        count = 0
        for i in range(n):
            if free[i]:
                chosen[count] = i
                count += 1
        share = 1.0
        if count:
            part = gather_band(band, chosen, count)
            for i in range(count):
                part[i, 0] += RIDGE
            values = right[chosen[:count]].copy()
            if not factor_band(part):
                return False
            solve_band(part, values)
            # As far towards the solution as no unknown becomes negative.
            first = -1
            for i in range(count):
                now = x[chosen[i]]
                if values[i] < 0.0 and now / (now - values[i]) <= share:
                    share = now / (now - values[i])
                    first = i
            for i in range(count):
                x[chosen[i]] += share * (values[i] - x[chosen[i]])
            if first >= 0:
                x[chosen[first]] = 0.0
                for i in range(count):
                    if x[chosen[i]] <= 0.0:
                        x[chosen[i]] = 0.0
                        free[chosen[i]] = False
                continue
        steepest, best = -1, -small
        for i in range(n):
            if not free[i]:
                slope = -right[i]
                for k in range(1, min(i, width - 1) + 1):
                    slope += band[i, k] * x[i - k]
                for j in range(i + 1, min(n, i + width)):
                    slope += band[j, j - i] * x[j]
                if slope < best:
                    steepest, best = i, slope
        if steepest < 0:
            return True
        free[steepest] = True
    return False


@njit(cache=True, nogil=True)
def solve_nonnegative(band, right, start, tolerance):
    """Minimise ½ xᵀAx − bᵀx with x >= 0, A a band of unit diagonal, by block pivoting.

    Args:
        band: A.
        right: b.
        start: Which unknowns are free to begin with.
        tolerance: Below which a gradient counts as zero, relative to the largest b.

    Returns:
        x; which unknowns are free at the end; whether it ended.
    """
    n, width = band.shape
    free = start.copy()
    x = np.zeros(n)
    chosen = np.empty(n, np.int64)
    small = tolerance * np.max(np.abs(right)) if n else 0.0
    best, patience = n + 1, 10
    for _ in range(60):
        count = 0
        for i in range(n):
            if free[i]:
                chosen[count] = i
                count += 1
        x[:] = 0.0
        if count:
            part = gather_band(band, chosen, count)
            for i in range(count):
                part[i, 0] += RIDGE
            values = right[chosen[:count]].copy()
            if not factor_band(part):
                return x, free, False
            solve_band(part, values)
            for i in range(count):
                x[chosen[i]] = values[i]
        bad = 0
        wrong = np.zeros(n, np.bool_)
        for i in range(n):
            if free[i]:
                wrong[i] = x[i] < 0.0
            else:
                slope = -right[i]
                for k in range(1, min(i, width - 1) + 1):
                    slope += band[i, k] * x[i - k]
                for j in range(i + 1, min(n, i + width)):
                    slope += band[j, j - i] * x[j]
                wrong[i] = slope < -small
            if wrong[i]:
                bad += 1
        if bad == 0:
            return x, free, True
        if bad < best:
            best, patience = bad, 10
        elif patience > 0:
            patience -= 1
        else:
            break
        for i in range(n):
            if wrong[i]:
                free[i] = not free[i]
    for i in range(n):
        x[i] = max(x[i], 0.0)
    descend(band, right, x, small, 30)
    return x, free, exchange_one(band, right, x, free, small)


@njit(cache=True, nogil=True)
def metric_basis(kind, metric, h, k, l, out):
    """Derivatives of 1/d² by the free numbers of a lattice's metric; how many.

    Kinds: 0 triclinic, 1 monoclinic (b), 2 orthorhombic, 3 tetragonal, 4 hexagonal
    axes, 5 cubic; 6 is one factor for the whole metric, relative to ``metric``.
    """
    if kind == 6:
        out[0] = inverse_d2_of(metric, h, k, l)
        return 1
    if kind == 5:
        out[0] = h * h + k * k + l * l
        return 1
    if kind == 4:
        out[0], out[1] = h * h + h * k + k * k, l * l
        return 2
    if kind == 3:
        out[0], out[1] = h * h + k * k, l * l
        return 2
    out[0], out[1], out[2] = h * h, k * k, l * l
    if kind == 2:
        return 3
    if kind == 1:
        out[3] = h * l
        return 4
    out[3], out[4], out[5] = k * l, h * l, h * k
    return 6


@njit(cache=True, nogil=True)
def change_metric(kind: int, metric: Metric, change: Metric, factor: float) -> None:
    """Add the free numbers of a lattice's metric to all six."""
    if kind == 6:
        for i in range(6):
            metric[i] *= 1.0 + factor * change[0]
    elif kind == 5:
        for i in range(3):
            metric[i] += factor * change[0]
    elif kind == 4:
        metric[0] += factor * change[0]
        metric[1] += factor * change[0]
        metric[5] += factor * change[0]
        metric[2] += factor * change[1]
    elif kind == 3:
        metric[0] += factor * change[0]
        metric[1] += factor * change[0]
        metric[2] += factor * change[1]
    else:
        for i in range(3):
            metric[i] += factor * change[i]
        if kind == 1:
            metric[4] += factor * change[3]
        elif kind == 0:
            for i in range(3, 6):
                metric[i] += factor * change[i]


@njit(cache=True, nogil=True)
def place_lines(
    hkl, line_of, n_lines, metric, kind, wavelength, shift, q, center, gradient
):
    """Mean 1/d², angle 2θ [degrees] and its derivatives by the metric, a line a row.

    The shift is that of a sample off the axis: shift · cos θ [degrees].
    """
    basis = np.zeros(6)
    members = np.zeros(n_lines)
    q[:] = 0.0
    gradient[:] = 0.0
    free = 0
    for i in range(hkl.shape[0]):
        line = line_of[i]
        if line < 0:
            continue
        h, k, l = float(hkl[i, 0]), float(hkl[i, 1]), float(hkl[i, 2])
        q[line] += inverse_d2_of(metric, h, k, l)
        free = metric_basis(kind, metric, h, k, l, basis)
        for j in range(free):
            gradient[line, j] += basis[j]
        members[line] += 1.0
    for line in range(n_lines):
        q[line] /= members[line]
        sine = min(wavelength * math.sqrt(max(q[line], 1e-12)) / 2.0, 0.9999)
        cosine = math.sqrt(1.0 - sine * sine)
        slope = math.degrees(wavelength * wavelength / (4.0 * sine * cosine))
        for j in range(free):
            gradient[line, j] *= slope / members[line]
        center[line] = 2.0 * math.degrees(math.asin(sine)) + shift * cosine
    return free


@njit(cache=True, nogil=True)
def fwhm_of(center: Lines, width: Float64[np.ndarray, " 3"], fwhm: Lines) -> None:
    """Fwhm at angles [degrees]: √(w₀² + w₁² tan²θ) / cos-like size term.

    width = (size, strain, instrument): √((size/cos θ)² + (strain tan θ)² + inst²).
    """
    for i in range(center.shape[0]):
        theta = math.radians(center[i] / 2.0)
        size = width[0] / math.cos(theta)
        strain = width[1] * math.tan(theta)
        fwhm[i] = math.sqrt(size * size + strain * strain + width[2] * width[2])


@njit(cache=True, nogil=True)
def fit_lattice(
    x,
    y,
    weight,
    hkl,
    line_of,
    n_lines,
    metric,
    kind,
    wavelength,
    second_wavelength,
    ratio,
    width,
    eta,
    reach,
    refine_shift,
    refine_width,
    steps,
    shift0,
    tolerance,
):
    """Fit all lines of a lattice, and move them a little.

    Returns:
        Heights, errors of heights for unit noise (lines at zero: as if free), angles,
        widths, local mean square of the residual, sum of squares (weighted) of the
        residual, √(Σ residual² / Σ y²), metric, shift, width, whether it worked.
    """
    n_points = x.shape[0]
    metric = metric.copy()
    width = width.copy()
    shift = shift0
    q, center, fwhm = np.empty(n_lines), np.empty(n_lines), np.empty(n_lines)
    second = np.zeros(n_lines)
    gradient = np.zeros((n_lines, 6))
    lo = np.empty(n_lines, np.int64)
    hi = np.empty(n_lines, np.int64)
    offset = np.empty(n_lines, np.int64)
    heights, errors = np.zeros(n_lines), np.full(n_lines, np.inf)
    local = np.zeros(n_lines)
    free_lines = np.ones(n_lines, np.bool_)
    model = np.zeros(n_points)
    total = 0.0
    for m in range(n_points):
        total += weight[m] * y[m] * y[m]
    last_metric, last_width, last_shift = metric.copy(), width.copy(), shift
    last_sum = np.inf
    change = np.zeros(9)
    damping = 1e-9
    is_last, shorter = False, 0
    sum_squares = total
    worked = False
    plain = 1.0
    room = 0
    values = np.empty(0)
    slopes = np.empty(0)
    spreads = np.empty(0)
    # One more, to come back to what was best.
    for step in range(steps + 2):
        free_metric = place_lines(
            hkl, line_of, n_lines, metric, kind, wavelength, shift, q, center, gradient
        )
        fwhm_of(center, width, fwhm)
        for i in range(n_lines):
            if ratio > 0.0:
                sine = min(second_wavelength * math.sqrt(q[i]) / 2.0, 0.9999)
                first = min(wavelength * math.sqrt(q[i]) / 2.0, 0.9999)
                second[i] = 2.0 * math.degrees(math.asin(sine) - math.asin(first))
        if room == 0:
            for i in range(n_lines):
                room += (
                    np.searchsorted(x, center[i] + second[i] + 1.6 * reach * fwhm[i])
                    - np.searchsorted(x, center[i] - 1.6 * reach * fwhm[i])
                    + 2
                )
            values, slopes, spreads = np.empty(room), np.empty(room), np.empty(room)
        used = fill_profiles(
            x, center, fwhm, eta, second, ratio, reach, lo, hi, offset, values, slopes,
            spreads,
        )  # fmt: skip
        if used < 0:
            break
        band = normal_band(weight, lo, hi, offset, values)
        right = project(y, weight, lo, hi, offset, values)
        # Unit diagonal; lines that no point sees keep a one.
        scale = np.empty(n_lines)
        for i in range(n_lines):
            scale[i] = math.sqrt(band[i, 0]) if band[i, 0] > 0.0 else 1.0
        for i in range(n_lines):
            for k in range(min(i, band.shape[1] - 1) + 1):
                band[i, k] /= scale[i] * scale[i - k]
            band[i, 0] = 1.0
            right[i] /= scale[i]
        solution, free_lines, _ = solve_nonnegative(band, right, free_lines, tolerance)
        for i in range(n_lines):
            heights[i] = solution[i] / scale[i]
        model[:] = 0.0
        add_profiles(heights, lo, hi, offset, values, model)
        sum_squares = 0.0
        for m in range(n_points):
            sum_squares += weight[m] * (y[m] - model[m]) ** 2
        worked = True
        if is_last:
            break
        if sum_squares > last_sum * (1.0 + 1e-9):
            # A step too far: a third of it, then back to where it was better.
            metric[:] = last_metric
            width[:] = last_width
            shift = last_shift
            shorter += 1
            if shorter > 2 or step >= steps:
                is_last = True
                continue
            change *= 0.3
            change_metric(kind, metric, change, 1.0)
            shift += change[6]
            width *= math.exp(change[7])
            continue
        small = last_sum - sum_squares < 1e-2 * sum_squares
        last_sum = sum_squares
        last_metric[:] = metric
        last_width[:] = width
        last_shift = shift
        if step >= steps or small or sum_squares < 1e-11 * total:
            break
        # One step of Gauss and Newton with intensities projected out.
        n_free = free_metric + (1 if refine_shift else 0) + (1 if refine_width else 0)
        jacobian = np.zeros((n_free, n_points))
        rates = np.empty(n_lines)
        for p in range(n_free):
            if p < free_metric:
                for i in range(n_lines):
                    rates[i] = heights[i] * gradient[i, p]
                add_profiles(rates, lo, hi, offset, slopes, jacobian[p])
            elif p == free_metric and refine_shift:
                for i in range(n_lines):
                    rates[i] = heights[i] * math.cos(math.radians(center[i] / 2.0))
                add_profiles(rates, lo, hi, offset, slopes, jacobian[p])
            else:
                add_profiles(heights, lo, hi, offset, spreads, jacobian[p])
        count = 0
        chosen = np.empty(n_lines, np.int64)
        for i in range(n_lines):
            if heights[i] > 0.0:
                chosen[count] = i
                count += 1
        if count <= n_free:
            break
        part = gather_band(band, chosen, count)
        for i in range(count):
            part[i, 0] += RIDGE
        if not factor_band(part):
            break
        for p in range(n_free):
            along = project(jacobian[p], weight, lo, hi, offset, values)
            some = np.empty(count)
            for i in range(count):
                some[i] = along[chosen[i]] / scale[chosen[i]]
            solve_band(part, some)
            rates[:] = 0.0
            for i in range(count):
                rates[chosen[i]] = -some[i] / scale[chosen[i]]
            add_profiles(rates, lo, hi, offset, values, jacobian[p])
        square = np.zeros((n_free, n_free))
        side = np.zeros(n_free)
        for p in range(n_free):
            for r in range(p + 1):
                value = 0.0
                for m in range(n_points):
                    value += weight[m] * jacobian[p, m] * jacobian[r, m]
                square[p, r] = value
                square[r, p] = value
            value = 0.0
            for m in range(n_points):
                value += weight[m] * jacobian[p, m] * (y[m] - model[m])
            side[p] = value
        bad = False
        diagonal = np.empty(n_free)
        for p in range(n_free):
            diagonal[p] = math.sqrt(square[p, p])
            if not diagonal[p] > 0.0:
                bad = True
        if bad:
            break
        for p in range(n_free):
            side[p] /= diagonal[p]
            for r in range(n_free):
                square[p, r] /= diagonal[p] * diagonal[r]
            square[p, p] += damping
        found = np.linalg.solve(square, side) / diagonal
        change[:] = 0.0
        change[:free_metric] = found[:free_metric]
        p = free_metric
        if refine_shift:
            change[6] = found[p]
            p += 1
        if refine_width:
            change[7] = min(max(found[p], -0.3), 0.3)
        # No line may move by more than half its width.
        furthest = 0.0
        for i in range(n_lines):
            if heights[i] > 0.0:
                move = change[6]
                for j in range(free_metric):
                    move += gradient[i, j] * change[j]
                furthest = max(furthest, abs(move) / fwhm[i])
        if furthest > 0.5:
            change[:7] *= 0.5 / furthest
        change_metric(kind, metric, change, 1.0)
        shift += change[6]
        width *= math.exp(change[7])
    if worked:
        # The mean square of the residual, and the errors of unit noise.
        whole = band.copy()
        for i in range(n_lines):
            whole[i, 0] += 1e-9
        inverse = np.zeros_like(whole)
        if factor_band(whole):
            invert_within_band(whole, inverse)
            for i in range(n_lines):
                errors[i] = math.sqrt(max(inverse[i, 0], 1.0)) / scale[i]
        left, whole_square = 0.0, 1e-300
        for m in range(n_points):
            left += (y[m] - model[m]) ** 2
            whole_square += y[m] * y[m]
        plain = math.sqrt(left / whole_square)
        for i in range(n_lines):
            top, bottom = 0.0, 1e-300
            at = offset[i] - lo[i]
            for m in range(lo[i], hi[i]):
                share = values[at + m] * values[at + m]
                top += share * weight[m] * (y[m] - model[m]) ** 2
                bottom += share
            local[i] = top / bottom
    return (
        heights, errors, center, fwhm, local, sum_squares, plain, metric, shift, width,
        worked,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def sharpest_width(y: Points, start: float, step: float, least: float) -> float:
    """Fwhm · cos θ of the sharpest maximum [degrees], from the curvature of ln y.

    For a Gaussian (ln y)'' = −1/σ²; blends are broader. Zero where there is none.
    """
    best = 0.0
    top = 0.0
    for i in range(y.shape[0]):
        top = max(top, y[i])
    found = np.empty(200)
    n = 0
    for i in range(3, y.shape[0] - 3):
        if y[i] < least * top or y[i] < y[i - 1] or y[i] <= y[i + 1]:
            continue
        if y[i - 2] <= 0.0 or y[i + 2] <= 0.0:
            continue
        curve = (math.log(y[i + 2]) + math.log(y[i - 2]) - 2.0 * math.log(y[i])) / 4.0
        if curve >= 0.0 or n >= 200:
            continue
        sigma = step / math.sqrt(-curve)
        found[n] = sigma * math.cos(math.radians((start + i * step) / 2.0))
        n += 1
    if n:
        best = np.min(found[:n]) * math.sqrt(8.0 * math.log(2.0))
    return best
