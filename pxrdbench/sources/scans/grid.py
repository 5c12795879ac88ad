"""A scan of any steps on the even steps of a grid."""

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.diffraction.pattern import TwoThetaGrid

# Points further apart than this many usual steps have a gap between them.
_GAP_STEPS = 5.0
# Finer steps than this part of the grid's need no curve between them.
_FINE = 0.25


def resample(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    grid: TwoThetaGrid,
) -> tuple[Float64[np.ndarray, " grid"], Bool[np.ndarray, " grid"]]:
    """Bring a scan to the angles of a grid.

    Finer steps are averaged over each step of the grid, which keeps areas and lowers
    noise; coarser ones are interpolated with a cubic spline, which keeps the tops of
    peaks that fall between points, and held between the values around it so that it
    invents no peaks.

    Args:
        two_theta: Ascending angles 2θ [degrees].
        intensity: At these angles.
        grid: Angles of the result.

    Returns:
        Intensities, zero where nothing was measured; and where something was: within
        half a step of a point and not in a gap.
    """
    from scipy.interpolate import CubicSpline

    angles = grid.angles()
    steps = np.diff(two_theta)
    usual = float(np.median(steps))
    if usual < 0.75 * grid.step:
        result = _average(two_theta, intensity, angles, grid.step)
    else:
        result = CubicSpline(two_theta, intensity)(angles)
        right = np.searchsorted(two_theta, angles).clip(1, len(two_theta) - 1)
        around = np.lib.stride_tricks.sliding_window_view(
            np.pad(intensity, 1, mode="edge"), 4
        )[right - 1]
        low, high = around.min(axis=1), around.max(axis=1)
        # A top between two points rises above both by less than a tenth of the span.
        result = result.clip(low, high + 0.1 * (high - low))
    is_measured = _find_measured(two_theta, angles, max(usual, grid.step))
    return np.where(is_measured, result, 0.0), is_measured


def rebin(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    grid: TwoThetaGrid,
    shifts: Float64[np.ndarray, " shifts"],
) -> tuple[Float64[np.ndarray, "shifts grid"], Bool[np.ndarray, "shifts grid"]]:
    """Bring a scan, moved by some small angles, to the steps of a grid.

    A point is the mean over its own step, and a value of the result the mean over one
    step of the grid, whatever the steps of the scan: between the ends of steps the
    running area is a cubic spline. So a scan and the same scan with neighbouring points
    added up differ by what adding up has lost only. ``resample``, which tracks are made
    with and which therefore stays as it is, filters the two differently.

    Args:
        two_theta: Ascending angles 2θ [degrees].
        intensity: At these angles.
        grid: Angles of the result.
        shifts: What is added to the angles of the scan [degrees], one for each row.

    Returns:
        Intensities, zero where nothing was measured; and where something was.
    """
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    usual = float(np.median(np.diff(two_theta)))
    width = max(usual, grid.step)
    places = grid.angles() - shifts[:, None]
    edges, values = _cells(two_theta, intensity, usual, _GAP_STEPS * width)
    area = np.concatenate(([0.0], np.cumsum(values * np.diff(edges))))
    left = (places - 0.5 * grid.step).clip(edges[0], edges[-1])
    right = (places + 0.5 * grid.step).clip(edges[0], edges[-1])
    if usual > _FINE * grid.step:
        integral = CubicSpline(edges, area)
        total = integral(right) - integral(left)
    else:
        total = np.interp(right, edges, area) - np.interp(left, edges, area)
    covered = right - left
    nearest = np.interp(places, two_theta, intensity)
    mean = np.divide(total, covered, out=nearest, where=covered > 1e-3 * grid.step)
    # A top within a step rises above its neighbours by less than a tenth of the span.
    cell = (np.searchsorted(edges, places) - 1).clip(0, len(values) - 1)
    reach = 1 + int(0.5 * grid.step / usual)
    low, high = (
        pick(values, 2 * reach + 1, mode="nearest")[cell]
        for pick in (minimum_filter1d, maximum_filter1d)
    )
    mean = mean.clip(low, high + 0.1 * (high - low))
    is_measured = _find_measured(two_theta, places, width)
    return np.where(is_measured, mean, 0.0), is_measured


def _cells(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    usual: float,
    limit: float,
) -> tuple[Float64[np.ndarray, " edges"], Float64[np.ndarray, " cells"]]:
    """Ends of the steps around points, and their means; a gap is a step of its own."""
    middle = 0.5 * (two_theta[1:] + two_theta[:-1])
    gaps = np.flatnonzero(np.diff(two_theta) > limit)
    middle[gaps] = two_theta[gaps] + 0.5 * usual
    middle = np.insert(middle, gaps + 1, two_theta[gaps + 1] - 0.5 * usual)
    between = 0.5 * (intensity[gaps] + intensity[gaps + 1])
    edges = np.concatenate((
        [two_theta[0] - 0.5 * usual], middle, [two_theta[-1] + 0.5 * usual]
    ))  # fmt: skip
    return edges, np.insert(intensity, gaps + 1, between)


def _find_measured(
    two_theta: Float64[np.ndarray, " points"],
    angles: Float64[np.ndarray, "*grid"],
    width: float,
) -> Bool[np.ndarray, "*grid"]:
    """Which angles are within half a step of a point, and not in a gap."""
    half = 0.5 * width
    is_measured: np.ndarray = (angles >= two_theta[0] - half) & (
        angles <= two_theta[-1] + half
    )
    for start in np.flatnonzero(np.diff(two_theta) > _GAP_STEPS * width):
        is_measured &= ~(
            (angles > two_theta[start] + half) & (angles < two_theta[start + 1] - half)
        )
    return is_measured


def _average(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    angles: Float64[np.ndarray, " grid"],
    width: float,
) -> Float64[np.ndarray, " grid"]:
    """Mean of the straight lines between points, over one step around each angle."""
    pieces = np.diff(two_theta) * 0.5 * (intensity[1:] + intensity[:-1])
    area = np.concatenate(([0.0], np.cumsum(pieces)))
    left = np.clip(angles - 0.5 * width, two_theta[0], two_theta[-1])
    right = np.clip(angles + 0.5 * width, two_theta[0], two_theta[-1])
    covered = right - left
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (
            np.interp(right, two_theta, area) - np.interp(left, two_theta, area)
        ) / covered
    nearest = np.interp(angles, two_theta, intensity)
    return np.where(covered > 1e-3 * width, mean, nearest)
