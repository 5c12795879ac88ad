"""What lies under and on the lines of a measured scan: background, noise, spikes."""

import math

import numpy as np
from jaxtyping import Float64
from numba import njit

from pxrdbench.indexing.lines.banded import factor_band, solve_band

Points = Float64[np.ndarray, " points"]

# Lines are narrower than this and backgrounds smoother [degrees].
BACKGROUND_SCALE = 7.0
_BIN = 0.1  # degrees; the background is found on means over so much
# Quartile of |x| of a normal distribution, in standard deviations.
_QUARTILE = 0.31864


@njit(cache=True, nogil=True)
def smooth_bins(values: Points, weight: Points, stiffness: float, out: Points) -> None:
    """Whittaker's smoother: least Σ w (v − b)² + stiffness Σ (second difference b)².

    Whittaker (1923), Proc. Edinburgh Math. Soc. 41, 63.
    """
    n = values.shape[0]
    band = np.zeros((n, 3))
    for i in range(n):
        band[i, 0] = weight[i]
        out[i] = weight[i] * values[i]
    for i in range(n - 2):
        band[i, 0] += stiffness
        band[i + 1, 0] += 4.0 * stiffness
        band[i + 2, 0] += stiffness
        band[i + 1, 1] += -2.0 * stiffness
        band[i + 2, 1] += -2.0 * stiffness
        band[i + 2, 2] += stiffness
    if factor_band(band):
        solve_band(band, out)
    else:
        out[:] = values


@njit(cache=True, nogil=True)
def background_of_bins(
    values: Points, noise: Points, stiffness: float, rounds: int, out: Points
) -> None:
    """Asymmetrically reweighted smoothing of the means of bins.

    Baek, Park, Ahn & Choo (2015), Analyst 140, 250 (arPLS): weights
    1/(1 + exp(2 (d − (2s − m))/s)) of the deviation d, with mean m and deviation s of
    those below; d in units of the noise of each bin here.
    """
    n = values.shape[0]
    weight = np.ones(n)
    old = np.ones(n)
    for _ in range(rounds):
        for i in range(n):
            old[i] = weight[i] / (noise[i] * noise[i])
        scale = 0.0
        for i in range(n):
            scale += 1.0 / (noise[i] * noise[i])
        smooth_bins(values, old, stiffness * scale / n, out)
        below, total, squares = 0, 0.0, 0.0
        for i in range(n):
            d = (values[i] - out[i]) / noise[i]
            if d < 0.0:
                below += 1
                total += d
                squares += d * d
        if below < 3:
            break
        mean = total / below
        deviation = math.sqrt(max(squares / below - mean * mean, 1e-6))
        # Bins cannot scatter less than their noise.
        deviation = max(deviation, 0.5)
        change = 0.0
        for i in range(n):
            d = (values[i] - out[i]) / noise[i]
            power = 2.0 * (d - (2.0 * deviation - mean)) / deviation
            new = 1.0 / (1.0 + math.exp(min(power, 60.0)))
            change += abs(new - weight[i])
            weight[i] = new
        if change < 1e-3 * n:
            break


def fit_background(
    two_theta: Points, intensity: Points, *, scale: float = BACKGROUND_SCALE
) -> Points:
    """Smooth background under the lines of a scan.

    Args:
        two_theta: Ascending angles [degrees].
        intensity: Counts, or in any other unit.
        scale: Shortest wave that the background follows [degrees].

    Returns:
        Background at each angle, in units of ``intensity``.
    """
    floor, gain = estimate_noise(intensity)
    return background_at(two_theta, intensity, floor, gain, scale)


def background_at(
    x: Points,
    y: Points,
    floor: float,
    gain: float,
    scale: float = BACKGROUND_SCALE,
) -> Points:
    """As ``fit_background``, of points with variances floor + gain · level."""
    n_bins = max(8, min(len(y) // 3, round((x[-1] - x[0]) / _BIN)))
    edges = np.linspace(x[0], x[-1], n_bins + 1)
    which = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, n_bins - 1)
    count = np.bincount(which, minlength=n_bins)
    filled = count > 0
    means = np.bincount(which, y, n_bins)[filled] / count[filled]
    middle = np.bincount(which, x, n_bins)[filled] / count[filled]
    noise = np.sqrt((floor + gain * np.maximum(means, 0.0)) / count[filled])
    noise = np.maximum(noise, 1e-9 * max(float(np.abs(means).max()), 1e-300))
    width = (x[-1] - x[0]) / n_bins
    stiffness = (scale / (2.0 * math.pi * width)) ** 4
    bins = np.empty(len(means))
    background_of_bins(means, noise, stiffness, 30, bins)
    result: Points = np.interp(x, middle, bins)
    return result


def estimate_noise(intensity: Points) -> tuple[float, float]:
    """Floor and gain of the variance of a point, floor + gain · level.

    Third differences, whose variance is 20 times that of a point, at points of low and
    of high level. If noise is correlated, as in smoothed scans, the variance is that of
    a point which had the same effect on means over eight.
    """
    y = intensity
    third = np.diff(y, 3) ** 2 / 20.0
    level = np.convolve(y, np.full(9, 1.0 / 9.0), "same")[1:-2]
    order = np.argsort(level)
    n = len(order)
    points, values, weights = [], [], []
    for low, high in ((0.02, 0.3), (0.3, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 0.97)):
        part = order[int(low * n) : max(int(high * n), int(low * n) + 5)]
        # Median of a squared normal number.
        values.append(float(np.median(third[part])) / 0.4549)
        points.append(float(level[part].mean()))
        weights.append(len(part))
    base = max(values[0], 0.0)
    span = max(float(np.ptp(y)), 1e-300)
    base = max(base, float(np.mean(third)) * 1e-3, (1e-6 * span) ** 2)
    if points[0] > 0.0:
        poisson = base / points[0]
        rise = [
            (v - base) / (p - points[0])
            for v, p in zip(values[1:], points[1:], strict=True)
            if p - points[0] > 0.3 * points[0]
        ]
        gain = float(np.clip(np.median(rise), 0.0, poisson)) if rise else poisson
        floor = max(base - gain * points[0], 0.02 * base)
    else:
        rise = [
            (v - base) / (p - points[0])
            for v, p in zip(values[1:], points[1:], strict=True)
            if p - points[0] > 1e-3 * span
        ]
        gain = max(float(np.median(rise)), 0.0) if rise else 0.0
        floor = base
    factor = _correlation(y, floor, gain)
    return floor * factor, gain * factor


def _correlation(y: Points, floor: float, gain: float) -> float:
    """How much more means over eight points vary than independent points would."""
    n = len(y) // 8
    if n < 20:
        return 1.0
    means = y[: 8 * n].reshape(n, 8).mean(axis=1)
    second = np.abs(means[2:] - 2.0 * means[1:-1] + means[:-2])
    expected = np.sqrt(6.0 * (floor + gain * np.maximum(means[1:-1], 0.0)) / 8.0)
    quarter = float(np.quantile(second / np.maximum(expected, 1e-300), 0.25))
    return float(np.clip((quarter / _QUARTILE) ** 2, 1.0, 16.0))


def drop_spikes(y: Points, floor: float, gain: float) -> Points:
    """Replace single points that stand out of both neighbours by their mean.

    A line has points on its flanks: one that rises by more than eight deviations above
    the higher of the two points at each side, and to more than double their height
    above the lower of them, is none.
    """
    left = np.minimum(y[1:-3], y[:-4])
    right = np.minimum(y[3:-1], y[4:])
    higher = np.maximum(np.maximum(y[1:-3], y[3:-1]), np.maximum(y[:-4], y[4:]))
    lower = np.minimum(left, right)
    here = y[2:-2]
    noise = np.sqrt(floor + gain * np.maximum(higher, 0.0)) + 1e-300
    is_spike = (here - higher > 8.0 * noise) & (here - lower > 3.0 * (higher - lower))
    if not is_spike.any():
        return y
    result = y.copy()
    at = np.flatnonzero(is_spike) + 2
    result[at] = 0.5 * (y[at - 1] + y[at + 1])
    return result
