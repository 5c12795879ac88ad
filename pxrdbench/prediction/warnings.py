"""What a crystallographer would say on seeing a scan, before trusting a prediction."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.prediction.phase_check import find_foreign_lines
from pxrdbench.sources.scans.pattern import MeasuredPattern

# A line is at least so many standard deviations of the noise high, and this part of
# the strongest line.
_SIGNIFICANT = 5.0
_FAINT = 0.01
# Median of |a - b| over the standard deviation of a, both normal.
_MEDIAN_TO_DEVIATION = 0.954
_SMOOTH = 0.05  # [degrees]
# Less of a model's range than this is a short one.
_SHORT = 0.7
# Points in a row at exactly the highest count.
_FLAT_TOP = 3
_FEW_LINES = 4
_COARSE_STEP = 0.06


@dataclass(frozen=True, eq=False)
class Peaks:
    """Lines found in a scan.

    Attributes:
        places: Index of each top.
        heights: Above the background.
        widths: Full width at half height [points].
        noise: Standard deviation of a point.
    """

    places: Int64[np.ndarray, " peaks"]
    heights: Float64[np.ndarray, " peaks"]
    widths: Float64[np.ndarray, " peaks"]
    noise: float


def find_peaks(
    net: Float64[np.ndarray, " points"],
    is_measured: Bool[np.ndarray, " points"],
    grid: TwoThetaGrid,
) -> Peaks:
    """Find lines that stand out of the noise of a scan without background."""
    from scipy.signal import find_peaks as find_maxima
    from scipy.signal import peak_widths

    steps = np.abs(np.diff(net))[is_measured[1:] & is_measured[:-1]]
    steps = steps[steps > 0.0]
    noise = float(np.median(steps)) / _MEDIAN_TO_DEVIATION if len(steps) else 0.0
    points = max(3, round(_SMOOTH / grid.step))
    smooth = np.convolve(net, np.full(points, 1.0 / points), mode="same")
    floor = max(_SIGNIFICANT * noise / np.sqrt(points), _FAINT * float(smooth.max()))
    places, _ = find_maxima(smooth, height=floor, prominence=floor, distance=points)
    widths = peak_widths(smooth, places, rel_height=0.5)[0] if len(places) else []
    return Peaks(places, smooth[places], np.asarray(widths, np.float64), noise)


def find_warnings(
    pattern: MeasuredPattern,
    net: Float64[np.ndarray, " points"],
    baseline: Float64[np.ndarray, " points"],
    is_measured: Bool[np.ndarray, " points"],
    peaks: Peaks,
    grid: TwoThetaGrid,
    second_line: float = 1.0,
) -> tuple[str, ...]:
    """Say what makes a prediction doubtful; one sentence each."""
    found = []
    share = is_measured.mean()
    if share < _SHORT:
        measured = grid.angles()[is_measured]
        found.append(
            f"Short range: {measured[0]:.1f} to {measured[-1]:.1f} degrees (on the "
            f"model's scale) are {100 * share:.0f} % of what the model can read; lines "
            "outside are unknown, not absent."
        )
    if (flat := find_flat_top(pattern.intensity)) >= _FLAT_TOP:
        found.append(
            f"Saturation: {flat} points in a row have exactly the highest count "
            f"({pattern.intensity.max():g}); the detector may have been at its limit."
        )
    if is_mostly_amorphous(net, baseline, is_measured, peaks):
        found.append(
            "Mostly amorphous: broad humps or background hold most of the intensity, "
            "sharp lines little."
        )
    system, foreign = find_foreign_lines(
        grid.angles()[peaks.places], peaks.heights, second_line
    )
    if len(foreign):
        shown = ", ".join(f"{angle:.1f}" for angle in foreign[:5])
        found.append(
            f"Several phases likely: a {system} cell explains most strong lines, but "
            f"not those at {shown} degrees (on the model's scale)."
        )
    if len(peaks.places) < _FEW_LINES:
        found.append(
            f"Few lines: {len(peaks.places)} stand out of the noise; many space "
            "groups have such a pattern."
        )
    if pattern.step > _COARSE_STEP:
        found.append(
            f"Coarse steps: {pattern.step:.3g} degrees; close lines merge into one."
        )
    return tuple(found)


def find_flat_top(intensity: Float64[np.ndarray, " points"]) -> int:
    """Longest run of points at exactly the highest value, 0 for few counts."""
    highest = intensity.max()
    # Ten equal counts are chance; a hundred in a row at the top are not.
    if highest < 100.0 and float(highest).is_integer():
        return 0
    is_top = np.r_[False, intensity == highest, False].astype(np.int8)
    edges = np.flatnonzero(np.diff(is_top))
    return int((edges[1::2] - edges[::2]).max())


def is_mostly_amorphous(
    net: Float64[np.ndarray, " points"],
    baseline: Float64[np.ndarray, " points"],
    is_measured: Bool[np.ndarray, " points"],
    peaks: Peaks,
) -> bool:
    """Whether humps of the background rise above all lines, or hold the most area."""
    # Below some ten degrees every scan rises towards the direct beam.
    usable = np.flatnonzero(is_measured)
    usable = usable[len(usable) // 8 :]
    hump = baseline[usable] - baseline[usable].min()
    lines = net[usable].clip(0.0)
    lines[lines < 3.0 * peaks.noise] = 0.0
    return bool(
        hump.max() > float(peaks.heights.max(initial=0.0))
        and hump.sum() > 2.0 * lines.sum()
    )
