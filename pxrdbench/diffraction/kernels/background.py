"""Kernels that add smooth backgrounds to patterns, in place."""

import math

import numpy as np
from jaxtyping import Float32, Float64
from numba import njit

from pxrdbench.crystal.rng import STATE_SIZE, next_normal, next_uniform, seed_state

# The process is drawn on a circle this many times as long as the pattern, so long that
# the kernel's images from around the circle are below 1e-9 of it.
_CIRCLE = 3.0
# Waves whose variance is below this part of the first one's are left out.
_FAINT = 1e-14
# Points of a polynomial at once: its arrays stay in the nearest cache.
_PIECE = 256
# Taylor coefficients of 2^f, (ln 2)^n/n!; on [−½, ½] the next one is below 2e-17.
_POWERS = tuple(math.log(2.0) ** n / math.factorial(n) for n in range(14))
# Added to a number below 2⁵¹ in size, it leaves the nearest integer in the last bits.
_ROUND = 1.5 * 2.0**52
_EXPONENT = np.int64(52)  # bits below the exponent of a float64
# Below 2^−1000 nothing is seen, and the exponent of a float64 ends at −1022.
_LEAST_POWER = -1000.0

Patterns = Float32[np.ndarray, "batch points"]
Doubles = Float64[np.ndarray, " knots"]


@njit(cache=True, nogil=True)
def wave_variances(relative_length: float, variances: Doubles) -> int:
    """Variance of each wave of a process with kernel exp(−d²/2l²); return how many.

        S_k = c_k √(2π) l/P exp(−(2πk l/P)²/2),    c_0 = 1, c_k = 2

    are the Fourier coefficients of the kernel on a circle of circumference P.

    Args:
        relative_length: l as a part of the pattern's length.
        variances: Receives S_k.
    """
    ratio = relative_length / _CIRCLE
    scale = math.sqrt(2.0 * math.pi) * ratio
    for k in range(variances.shape[0]):
        exponent = 0.5 * (2.0 * math.pi * k * ratio) ** 2
        if exponent > -math.log(_FAINT):
            return int(k)
        variances[k] = (1.0 if k == 0 else 2.0) * scale * math.exp(-exponent)
    return len(variances)


@njit(cache=True, nogil=True)
def _draw_process(
    state: np.ndarray,
    relative_length: float,
    waves: Float64[np.ndarray, "2 waves knots"],
    variances: Doubles,
    knots: Doubles,
) -> None:
    """One draw of the Gaussian process at equidistant knots."""
    n_waves = wave_variances(relative_length, variances)
    knots[:] = 0.0
    for k in range(n_waves):
        size = math.sqrt(variances[k])
        a, b = size * next_normal(state), size * next_normal(state)
        for j in range(knots.shape[0]):
            knots[j] += a * waves[0, k, j] + b * waves[1, k, j]


@njit(cache=True, nogil=True)
def _solve_spline(values: Doubles, curvature: Doubles, work: Doubles) -> None:
    """Second derivatives of the natural cubic spline through equidistant values."""
    n = values.shape[0]
    curvature[0] = curvature[n - 1] = work[0] = 0.0
    for i in range(1, n - 1):
        pivot = 4.0 - work[i - 1]
        work[i] = 1.0 / pivot
        rise = 6.0 * (values[i - 1] - 2.0 * values[i] + values[i + 1])
        curvature[i] = (rise - curvature[i - 1]) / pivot
    for i in range(n - 2, 0, -1):
        curvature[i] -= work[i] * curvature[i + 1]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _evaluate_piece(
    ramp: Float32[np.ndarray, " points"],
    c0: np.float32,
    c1: np.float32,
    c2: np.float32,
    c3: np.float32,
    out: Float32[np.ndarray, " points"],
) -> None:
    for j in range(out.shape[0]):
        t = ramp[j]
        out[j] = c0 + t * (c1 + t * (c2 + t * c3))


@njit(cache=True, nogil=True)
def _evaluate_spline(
    values: Doubles,
    curvature: Doubles,
    steps: Float32[np.ndarray, " points"],
    out: Float32[np.ndarray, " points"],
) -> None:
    """The spline on all points; the knots divide them evenly, ends included."""
    pieces, points = values.shape[0] - 1, out.shape[0]
    width = (points - 1) / pieces
    for piece in range(pieces):
        first = math.ceil(piece * width - 1e-9)
        stop = points if piece == pieces - 1 else math.ceil((piece + 1) * width - 1e-9)
        y0, y1 = values[piece], values[piece + 1]
        m0, m1 = curvature[piece], curvature[piece + 1]
        # In t = points from the piece's first one, in units of the piece.
        start = (first - piece * width) / width
        c1 = y1 - y0 - (2.0 * m0 + m1) / 6.0
        c2, c3 = 0.5 * m0, (m1 - m0) / 6.0
        # Expanded about the first point of the grid in this piece.
        d0 = y0 + start * (c1 + start * (c2 + start * c3))
        d1 = c1 + start * (2.0 * c2 + 3.0 * start * c3)
        d2, scale = c2 + 3.0 * start * c3, 1.0 / width
        _evaluate_piece(
            steps[: stop - first], np.float32(d0), np.float32(d1 * scale),
            np.float32(d2 * scale**2), np.float32(c3 * scale**3), out[first:stop],
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _draw_half_normal(state: np.ndarray, most: float) -> float:
    """|n| of a standard normal n, given that it is at most ``most``."""
    while True:
        size: float = abs(next_normal(state))
        if size <= most:
            return size


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "contract", "reassoc"})
def _mean_above_minimum(row: Float32[np.ndarray, " points"]) -> tuple[float, float]:
    low, total = row[0], np.float32(0.0)
    for j in range(row.shape[0]):
        low = row[j] if row[j] < low else low
        total += row[j]
    return low, total / row.shape[0] - low


@njit(cache=True, nogil=True)
def _add_scaled(
    row: Float32[np.ndarray, " points"],
    background: Float32[np.ndarray, " points"],
    low: np.float32,
    factor: np.float32,
) -> None:
    for j in range(row.shape[0]):
        row[j] += (background[j] - low) * factor


@njit(cache=True, nogil=True)
def add_process_backgrounds(
    intensity: Patterns,
    length: float,
    length_scale: tuple[float, float],
    mean_height: tuple[float, float],
    n_knots: int,
    seed: np.uint64,
    start: np.uint64,
    stream: np.uint64,
    first_block: np.uint64,
) -> None:
    """Add the draw of a Gaussian process to each pattern, its minimum at zero.

    Args:
        intensity: Changed in place.
        length: Of the grid [degrees].
        length_scale: Smallest and largest l of the kernel [degrees].
        mean_height: Standard deviation and largest value of the half-normal mean.
        n_knots: Knots of the spline.
        seed: Key of the random numbers.
        start: Index of the first sample.
        stream: Of the random numbers.
        first_block: Of the random numbers.
    """
    points = intensity.shape[1]
    shortest = length_scale[0] / length / _CIRCLE
    n_waves = int(math.sqrt(-2.0 * math.log(_FAINT)) / (2.0 * math.pi * shortest)) + 2
    waves = np.empty((2, n_waves, n_knots))
    for k in range(n_waves):
        for j in range(n_knots):
            angle = 2.0 * math.pi * k * j / ((n_knots - 1) * _CIRCLE)
            waves[0, k, j], waves[1, k, j] = math.cos(angle), math.sin(angle)
    variances = np.empty(n_waves)
    knots, curvature, work = np.empty(n_knots), np.empty(n_knots), np.empty(n_knots)
    steps = np.arange(points).astype(np.float32)
    background = np.empty(points, np.float32)
    state = np.empty(STATE_SIZE, np.uint64)
    for i in range(intensity.shape[0]):
        seed_state(state, seed, stream, start + np.uint64(i), first_block)
        scale = length_scale[0] + next_uniform(state) * (
            length_scale[1] - length_scale[0]
        )
        most = mean_height[1] / mean_height[0]
        spread = mean_height[0] * _draw_half_normal(state, most)
        _draw_process(state, scale / length, waves, variances, knots)
        _solve_spline(knots, curvature, work)
        _evaluate_spline(knots, curvature, steps, background)
        low, mean = _mean_above_minimum(background)
        factor = spread / mean if mean > 0.0 else 0.0
        _add_scaled(intensity[i], background, np.float32(low), np.float32(factor))


@njit(cache=True, nogil=True)
def _take_step(x: Doubles, coefficient: float, b1: Doubles, b2: Doubles) -> None:
    """b_k = c_k + 2 x b_{k+1} − b_{k+2}, in the place of the last of these."""
    for j in range(x.shape[0]):
        b2[j] = coefficient + 2.0 * x[j] * b1[j] - b2[j]


@njit(cache=True, nogil=True)
def _sum_chebyshev(
    x: Doubles, coefficients: Doubles, b1: Doubles, b2: Doubles, values: Doubles
) -> None:
    """Σ_k c_k T_k(x), all points at once in each step of the recurrence.

    T_k = 2 x T_{k−1} − T_{k−2} of Chebyshev's polynomials (Clenshaw 1955).
    """
    b1[:] = 0.0
    b2[:] = 0.0
    for k in range(coefficients.shape[0] - 1, 0, -1):
        _take_step(x, coefficients[k], b1, b2)
        b1, b2 = b2, b1
    first = coefficients[0]
    for j in range(x.shape[0]):
        values[j] = first + x[j] * b1[j] - b2[j]


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _extremes(values: Doubles) -> tuple[float, float]:
    low = high = values[0]
    for j in range(values.shape[0]):
        low = values[j] if values[j] < low else low
        high = values[j] if values[j] > high else high
    return low, high


@njit(cache=True, nogil=True)
def add_polynomials(
    intensity: Patterns,
    coefficients: Float64[np.ndarray, "batch orders"],
    height: Float64[np.ndarray, " batch"],
) -> None:
    """Add Σ_k c_k T_k(x), x from −1 to 1, moved and scaled to 0 … height."""
    points = intensity.shape[1]
    values, x = np.empty(points), np.empty(points)
    b1, b2 = np.empty(_PIECE), np.empty(_PIECE)
    for j in range(points):
        x[j] = 2.0 * j / (points - 1) - 1.0
    for i in range(intensity.shape[0]):
        for first in range(0, points, _PIECE):
            last = min(first + _PIECE, points)
            _sum_chebyshev(
                x[first:last], coefficients[i], b1[: last - first],
                b2[: last - first], values[first:last],
            )  # fmt: skip
        low, high = _extremes(values)
        factor = height[i] / (high - low) if high > low else 0.0
        row = intensity[i]
        for j in range(points):
            row[j] += np.float32((values[j] - low) * factor)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_hump(
    row: Float32[np.ndarray, " points"],
    start: float,
    step: float,
    narrowness: float,
    height: float,
) -> None:
    """Add height · 2^(narrowness · d²), narrowness < 0, d = start + step · j.

    2^y is Taylor's polynomial of y less its nearest integer, to the last bits of a
    double; the integer then goes into the exponent of the result.
    """
    for j in range(row.shape[0]):
        d = start + step * float(np.int32(j))
        y = d * d * narrowness
        y = y if y > _LEAST_POWER else _LEAST_POWER
        rounded = y + _ROUND
        f = y - (rounded - _ROUND)
        power = _POWERS[13]
        for n in range(12, -1, -1):
            power = _POWERS[n] + f * power
        bits = np.float64(power).view(np.int64) + (
            np.float64(rounded).view(np.int64) << _EXPONENT
        )
        row[j] += np.float32(height * np.int64(bits).view(np.float64))


@njit(cache=True, nogil=True)
def add_humps(
    intensity: Patterns,
    grid_start: float,
    grid_step: float,
    centre: Float64[np.ndarray, "batch humps"],
    fwhm: Float64[np.ndarray, "batch humps"],
    height: Float64[np.ndarray, "batch humps"],
) -> None:
    """Add Gaussians height · exp(−4 ln 2 (2θ − centre)² / fwhm²); angles in degrees."""
    for i in range(intensity.shape[0]):
        for hump in range(centre.shape[1]):
            if height[i, hump] <= 0.0:
                continue
            # exp(−4 ln 2 x) is 2^(−4 x).
            narrowness = -4.0 / fwhm[i, hump] ** 2
            _add_hump(
                intensity[i], grid_start - centre[i, hump], grid_step, narrowness,
                height[i, hump],
            )  # fmt: skip
