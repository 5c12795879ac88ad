"""Lines of a measured scan: background, widths, doublet, fit, and what is no line."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.indexing.lines.line_list import LineList
from pxrdbench.indexing.lines.profile_fit import (
    fit_lines,
    local_contrast,
    match_profile,
    pick_lines,
)
from pxrdbench.indexing.lines.scan_background import (
    BACKGROUND_SCALE,
    background_at,
    drop_spikes,
    estimate_noise,
)

Points = Float64[np.ndarray, " points"]
Lines = Float64[np.ndarray, " lines"]
# Places, heights and widths of lines.
Triple = tuple[Lines, Lines, Lines]

# Points on the narrowest width; finer scans are added up to this.
POINTS_PER_WIDTH = 8.0
# What no fit of profiles knows: places of lines are never better than this [degrees],
# and never better than this part of their width.
LEAST_ERROR, LEAST_ERROR_OF_WIDTH = 0.004, 0.03
# A width that is not the usual one tells of a blend, or of another phase: of what it
# differs by more than a tenth of the usual one, this part may be the line's error.
ERROR_OF_MISFIT = 0.25
# Axial divergence draws lines of low angles out to lower ones, by a part of cot² θ
# [degrees]; 0.01 at 11 degrees 2θ.
AXIAL_ERROR = 1e-4
LEAST_SIGNIFICANCE = 5.0
# Height on a parabola of its own, in standard errors.
LEAST_CONTRAST = 3.0
LEAST_HEIGHT = 0.01
# Kβ1,3 of the anode and Lα1 of tungsten [Å]: International Tables C (2004), table
# 4.2.2.4; Bearden (1967), Rev. Mod. Phys. 39, 78.
_STRAY = {
    "Cu": (1.392234, 1.476311),
    "Co": (1.620826, 1.476311),
    "Fe": (1.756604, 1.476311),
    "Cr": (2.084910, 1.476311),
    "Mo": (0.632303, 1.476311),
    "Ag": (0.497082, 1.476311),
}
# Height that a stray line may have, over that of the line it belongs to.
STRAY_HEIGHT = 0.05
# Two lines stand in place of a wide one where they leave less than this part of its
# χ², and this much less.
SPLIT_SHARE, SPLIT_GAIN = 0.7, 30.0
_ROOM = 600


@dataclass(frozen=True)
class WidthFunction:
    """Full width at half maximum along a scan.

        W(θ) = √(width2 + slope2 tan² θ + axial2 cot² θ)

    Attributes:
        width2: Constant part of W² [degrees²].
        slope2: Rise of W² with tan² θ, by strain and wavelengths [degrees²].
        axial2: Rise of W² with cot² θ, by axial divergence [degrees²].
        lorentz: Share of the height that is Lorentzian.
        second: Height of the second spectral line over that of the first; 0 if the
            scan shows none.
    """

    width2: float
    slope2: float
    axial2: float
    lorentz: float
    second: float

    def __call__(self, two_theta: Lines) -> Lines:
        """W [degrees] at angles 2θ [degrees]."""
        tan2 = np.tan(np.radians(np.asarray(two_theta) / 2)) ** 2
        width: Lines = np.sqrt(
            self.width2 + self.slope2 * tan2 + self.axial2 / np.maximum(tan2, 1e-9)
        )
        return width

    @property
    def shape(self) -> Float64[np.ndarray, " 3"]:
        """The three parts of W² for kernels."""
        return np.array([self.width2, self.slope2, self.axial2])


@dataclass(frozen=True, eq=False)
class ScanPoints:
    """A scan on even steps, its background taken off.

    Attributes:
        start: First angle [degrees].
        step: Distance of angles [degrees].
        signal: Scan less background.
        background: What was taken off.
        noise: Standard deviation of each point.
        wavelength: Of the first spectral line [Å].
        ratio: Second wavelength over the first; 1 if there is none.
        second: Height of the second line that the radiation has.
    """

    start: float
    step: float
    signal: Points
    background: Points
    noise: Points
    wavelength: float
    ratio: float
    second: float

    @property
    def angles(self) -> Points:
        """Angles 2θ [degrees]."""
        return self.start + self.step * np.arange(len(self.signal))


def find_measured_lines(
    two_theta: Points,
    intensity: Points,
    radiation: Radiation,
    max_lines: int,
    least_height: float | None,
) -> LineList:
    """Lines of a measured scan; arguments as of ``find_lines``."""
    scan = prepare_scan(two_theta, intensity, radiation)
    floor = LEAST_HEIGHT if least_height is None else least_height
    widths = width_function(scan)
    if widths is None:
        return no_lines(scan.wavelength, two_theta)
    place, height, width, variance, model = _search(scan, widths, floor)
    kept = _significant(place, height, width, variance, widths, floor)
    kept &= _stands_out(scan, widths, place, height, width, model)
    kept &= ~_is_stray(scan, widths, place, height)
    if not kept.any():
        return no_lines(scan.wavelength, two_theta)
    place, height, width = place[kept], height[kept], width[kept]
    variance = variance[kept]
    if len(place) > max_lines:
        end = 0.5 * (place[max_lines - 1] + place[max_lines])
        rows = slice(0, max_lines)
    else:
        end, rows = float(two_theta[-1]), slice(None)
    area = height * width
    usual = widths(place)
    misfit = np.maximum(np.abs(width - usual) - 0.1 * usual, 0.0)
    error = np.sqrt(
        variance[:, 1]
        + LEAST_ERROR**2
        + (LEAST_ERROR_OF_WIDTH * width) ** 2
        + (ERROR_OF_MISFIT * misfit) ** 2
        + (AXIAL_ERROR / np.tan(np.radians(place / 2)) ** 2) ** 2
    )
    return LineList(
        two_theta=place[rows].copy(),
        two_theta_error=error[rows],
        intensity=(area / area.max())[rows],
        fwhm=width[rows].copy(),
        significance=(height / np.sqrt(variance[:, 0]))[rows],
        wavelength=scan.wavelength,
        two_theta_range=(float(two_theta[0]), float(end)),
    )


def prepare_scan(
    two_theta: Points, intensity: Points, radiation: Radiation
) -> ScanPoints:
    """Even steps, no spikes, no background; noise of each point."""
    x, y, step = _even(two_theta, intensity)
    floor, gain = estimate_noise(y)
    y = drop_spikes(y, floor, gain)
    rough = _rough_width(y, floor, gain, step)
    group = max(1, int(rough / POINTS_PER_WIDTH / step))
    # Means of groups of points: nothing is lost while lines are many points wide.
    n = len(y) // group
    level = y[: n * group].reshape(n, group).mean(axis=1)
    start = float(x[0] + 0.5 * (group - 1) * step)
    angles = start + step * group * np.arange(n)
    # The broader lines are, the more of them seem to be a hump.
    scale = BACKGROUND_SCALE * min(max(rough / 0.15, 0.8), 2.0)
    background = background_at(angles, level, floor / group, gain / group, scale)
    smooth = np.convolve(np.pad(level, 1, "edge"), np.full(3, 1.0 / 3.0), "valid")
    smooth = np.maximum(smooth, background)
    noise = np.sqrt((floor + gain * np.maximum(smooth, 0.0)) / group)
    noise = np.maximum(noise, 1e-6 * max(float(np.abs(level).max()), 1e-300))
    lines = radiation.lines
    ratio = lines[1][0] / lines[0][0] if len(lines) > 1 else 1.0
    second = lines[1][1] / lines[0][1] if len(lines) > 1 else 0.0
    if len(lines) == 1:
        ratio = _ratio_of_anode(lines[0][0])
    return ScanPoints(
        start, step * group, level - background, background, noise, lines[0][0],
        ratio, second,
    )  # fmt: skip


def width_function(scan: ScanPoints) -> WidthFunction | None:
    """Widths along a scan from its strong lines; None if it has none."""
    rough = _rough_width(
        scan.signal + scan.background, float(np.median(scan.noise)) ** 2, 0.0, scan.step
    )
    widths = WidthFunction(rough**2, 0.0, 0.0, 0.5, scan.second)
    for _ in range(2):
        strong = _strong_lines(scan, widths)
        if strong is None:
            return None
        widths = _fit_widths(scan, widths, *strong)
    return widths


def has_second_line(scan: ScanPoints) -> bool:
    """Whether the scan's lines show the second spectral line of the anode."""
    widths = width_function(scan)
    return widths is not None and widths.second > 0.0


def _even(x: Points, y: Points) -> tuple[Points, Points, float]:
    """Even steps; an uneven scan is interpolated at its median step."""
    step = (x[-1] - x[0]) / (len(x) - 1)
    if np.abs(x - (x[0] + step * np.arange(len(x)))).max() < 0.1 * step:
        return x, y, float(step)
    step = max(float(np.median(np.diff(x))), (x[-1] - x[0]) / 50_000)
    even = x[0] + step * np.arange(int((x[-1] - x[0]) / step) + 1)
    return even, np.interp(even, x, y), step


def _rough_width(y: Points, floor: float, gain: float, step: float) -> float:
    """Median of the widths of the highest maxima at half their height [degrees]."""
    size = max(1, min(round(0.05 / step), len(y) // 10))
    smooth = np.convolve(y, np.full(size, 1.0 / size), "same")
    base = float(np.quantile(smooth, 0.2))
    order = np.argsort(smooth)[::-1]
    taken = np.zeros(len(y), bool)
    widths = []
    for i in order[: len(y) // 4]:
        if taken[i]:
            continue
        half = 0.5 * (smooth[i] + base)
        left = right = int(i)
        while left > 0 and smooth[left] > half:
            left -= 1
        while right < len(y) - 1 and smooth[right] > half:
            right += 1
        taken[max(0, left - size) : right + size + 1] = True
        widths.append((right - left) * step)
        if len(widths) == 12:
            break
    if not widths:
        return 10.0 * step
    width = float(np.quantile(widths, 0.3))
    # What the running mean has added.
    width = math.sqrt(max(width**2 - (size * step) ** 2, (3.0 * step) ** 2))
    return float(np.clip(width, 3.0 * step, 1.5))


def _ratio_of_anode(wavelength: float) -> float:
    """Kα2 over Kα1 of the anode whose Kα1 this is; 1 if it is none."""
    anode = _anode(wavelength)
    if not anode:
        return 1.0
    first, second = NAMED_LINES[f"{anode}Ka"]
    return second[0] / first[0]


def _match(
    scan: ScanPoints, widths: WidthFunction, signal: Points
) -> tuple[Points, Points]:
    height, error = np.empty(len(signal)), np.empty(len(signal))
    match_profile(
        scan.start, scan.step, signal, scan.noise, widths.shape,
        widths.lorentz, widths.second, scan.ratio, height, error,
    )  # fmt: skip
    return height, error


def _fit(
    scan: ScanPoints,
    widths: WidthFunction,
    lines: Triple,
    width_prior: float,
    rounds: int,
    damping: float = 0.03,
) -> tuple[float, Points, Float64[np.ndarray, "lines 3"]]:
    """Fit places, heights and widths in place; chi², the sum of lines, variances."""
    place, height, width = lines
    model, variance = np.zeros(len(scan.signal)), np.ones((len(place), 3))
    chi2 = fit_lines(
        scan.start, scan.step, scan.signal, scan.noise, place, height, width,
        widths.shape, widths.lorentz, widths.second, scan.ratio,
        width_prior, rounds, damping, model, variance,
    )  # fmt: skip
    return chi2, model, variance


def _strong_lines(scan: ScanPoints, widths: WidthFunction) -> Triple | None:
    """Places, heights and widths of lines to learn widths from."""
    found, error = _match(scan, widths, scan.signal)
    room = np.empty((3, _ROOM))
    count = pick_lines(
        scan.start, scan.step, found, error, np.zeros(len(found)), widths.shape,
        8.0, 0.0, 0.0, room[0], room[1], room[2], 0,
    )  # fmt: skip
    if count == 0:
        return None
    high = np.sort(room[1, :count])[::-1]
    kept = room[1, :count] >= max(0.03 * high[0], high[min(count, 20) - 1])
    return tuple(row[:count][kept].copy() for row in room)  # type: ignore[return-value]  # three rows


def _fit_widths(
    scan: ScanPoints, widths: WidthFunction, place: Lines, height: Lines, width: Lines
) -> WidthFunction:
    """Widths, shares of the Lorentzian and of the second line that fit best."""
    best, best_chi2 = widths, math.inf
    best_lines = (place, height, width)
    seconds = {0.0, scan.second if scan.second > 0.0 else 0.5}
    if scan.ratio == 1.0:
        seconds = {0.0}
    for second in sorted(seconds):
        for lorentz in (0.2, 0.6, 1.0):
            trial = replace(widths, lorentz=lorentz, second=second)
            lines = place.copy(), height.copy(), width.copy()
            chi2, _, _ = _fit(scan, trial, lines, 0.5, 4)
            if 0.0 <= chi2 < best_chi2:
                best, best_chi2, best_lines = trial, chi2, lines
    place, height, width = best_lines
    # Weighted least squares of w², all parts positive; outliers left out twice.
    tan2 = np.tan(np.radians(place / 2)) ** 2
    columns = np.column_stack([np.ones(len(place)), tan2, 1.0 / tan2])
    weight = np.sqrt(np.minimum(height / height.max(), 0.3)) / width**2
    kept = np.ones(len(place), bool)
    shape = np.array([float(np.median(width)) ** 2, 0.0, 0.0])
    for _ in range(3):
        n = int(kept.sum())
        used = 3 if n >= 8 else 2 if n >= 4 else 1
        if np.ptp(place[kept]) < 10.0:
            used = 1
        w = weight[kept]
        shape = _positive_part(columns[kept] * w[:, None], width[kept] ** 2 * w, used)
        # No width falls below half of what is usual.
        shape[0] = max(shape[0], 0.1 * float(np.median(width)) ** 2)
        log = np.log(width / np.sqrt(columns @ shape))
        kept = np.abs(log) < max(0.15, 1.5 * 1.4826 * float(np.median(np.abs(log))))
        if not kept.any():
            break
    return replace(
        best, width2=float(shape[0]), slope2=float(shape[1]), axial2=float(shape[2])
    )


def _positive_part(
    columns: Float64[np.ndarray, "lines 3"], wanted: Lines, used: int
) -> Float64[np.ndarray, " 3"]:
    """Least squares of the first ``used`` columns, all coefficients >= 0.

    Of three unknowns every set that may be above zero is tried.
    """
    best, least = np.zeros(3), math.inf
    for members in range(1, 2**used):
        chosen = [k for k in range(used) if members >> k & 1]
        part, *_ = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)
        if (part < 0.0).any():
            continue
        squares = float(((columns[:, chosen] @ part - wanted) ** 2).sum())
        if squares < least * (1.0 - 1e-9):
            best, least = np.zeros(3), squares
            best[chosen] = part
    return best


def _search(
    scan: ScanPoints, widths: WidthFunction, floor: float
) -> tuple[Lines, Lines, Lines, Float64[np.ndarray, "lines 3"], Points]:
    """Match, fit, look at what remains, three times."""
    place, height, width = np.empty((3, _ROOM))
    count, model = 0, np.zeros(len(scan.signal))
    variance = np.ones((0, 3))
    for turn, (least, misfit, distance) in enumerate(
        ((4.5, 0.0, 0.0), (4.5, 0.12, 0.5), (4.5, 0.12, 0.5))
    ):
        found, error = _match(scan, widths, scan.signal - model)
        more = pick_lines(
            scan.start, scan.step, found, error, model, widths.shape,
            least, misfit, distance, place, height, width, count,
        )  # fmt: skip
        if more == count:
            break
        count = more
        lines = (place[:count], height[:count], width[:count])
        _, model, variance = _fit(scan, widths, lines, 0.2, 4 if turn < 2 else 5)
        kept = _joined(place[:count], height[:count], width[:count])
        kept &= height[:count] > 0.3 * floor * height[:count].max()
        if not kept.all():
            n = int(kept.sum())
            for row in (place, height, width):
                row[:n] = row[:count][kept]
            count = n
            lines = (place[:count], height[:count], width[:count])
            _, model, variance = _fit(scan, widths, lines, 0.2, 2)
    return _split_wide(
        scan, widths, place[:count].copy(), height[:count].copy(), width[:count].copy(),
        variance, model,
    )  # fmt: skip


def _split_wide(
    scan: ScanPoints,
    widths: WidthFunction,
    place: Lines,
    height: Lines,
    width: Lines,
    variance: Float64[np.ndarray, "lines 3"],
    model: Points,
) -> tuple[Lines, Lines, Lines, Float64[np.ndarray, "lines 3"], Points]:
    """Try two lines in place of each that is wide; keep them where they fit better."""
    usual = widths(place)
    wide = (width > 1.2 * usual) & (height > 15.0 * np.sqrt(variance[:, 0]))
    if not wide.any():
        return place, height, width, variance, model
    apart = 0.45 * np.sqrt(np.maximum(width**2 - usual**2, 0.0)) + 0.1 * usual
    apart = np.where(wide, apart, 0.0)
    source = np.concatenate([np.arange(len(place)), np.flatnonzero(wide)])
    new_place = np.concatenate([place - apart, (place + apart)[wide]])
    new_height = np.concatenate([np.where(wide, 0.6, 1.0) * height, 0.6 * height[wide]])
    new_width = np.concatenate([np.where(wide, usual, width), usual[wide]])
    order = np.argsort(new_place)
    source = source[order]
    trial = (new_place[order], new_height[order], new_width[order])
    _, trial_model, _ = _fit(scan, widths, trial, 0.15, 5)
    # The fit sorts lines, but none moves past another by more than their distance.
    angles = scan.angles
    accepted = np.zeros(len(place), bool)
    squares = ((scan.signal - model) / scan.noise) ** 2
    trial_squares = ((scan.signal - trial_model) / scan.noise) ** 2
    for j in np.flatnonzero(wide):
        low, high = np.searchsorted(
            angles, [place[j] - 1.5 * width[j], place[j] + 2.0 * width[j]]
        )
        before, after = squares[low:high].sum(), trial_squares[low:high].sum()
        accepted[j] = after < SPLIT_SHARE * before and after < before - SPLIT_GAIN
    if not accepted.any():
        return place, height, width, variance, model
    taken = accepted[source]
    kept = ~accepted
    both = [
        np.concatenate([old[kept], new[taken]])
        for old, new in zip((place, height, width), trial, strict=True)
    ]
    order = np.argsort(both[0])
    final = (both[0][order], both[1][order], both[2][order])
    _, model, variance = _fit(scan, widths, final, 0.2, 3, 0.01)
    kept = _joined(*final)
    if not kept.all():
        final = (final[0][kept], final[1][kept], final[2][kept])
        _, model, variance = _fit(scan, widths, final, 0.2, 2, 0.01)
    return final[0], final[1], final[2], variance, model


def _joined(place: Lines, height: Lines, width: Lines) -> np.ndarray:
    """False for the lower of two lines closer than a third of their width."""
    kept = np.ones(len(place), bool)
    last = 0
    for j in range(1, len(place)):
        if place[j] - place[last] < 0.33 * max(width[j], width[last]):
            if height[j] > height[last]:
                kept[last] = False
                last = j
            else:
                kept[j] = False
        else:
            last = j
    return kept


def _significant(
    place: Lines,
    height: Lines,
    width: Lines,
    variance: Float64[np.ndarray, "lines 3"],
    widths: WidthFunction,
    floor: float,
) -> np.ndarray:
    """Lines that are high enough, sure enough, and no humps."""
    if len(place) == 0:
        return np.zeros(0, bool)
    kept: np.ndarray = height > LEAST_SIGNIFICANCE * np.sqrt(variance[:, 0])
    kept &= height > floor * height.max()
    kept &= (width < 2.2 * widths(place)) & (width > 0.62 * widths(place))
    kept &= variance[:, 1] < (0.5 * width) ** 2
    return kept


def _stands_out(
    scan: ScanPoints,
    widths: WidthFunction,
    place: Lines,
    height: Lines,
    width: Lines,
    model: Points,
) -> np.ndarray:
    """Lines that a parabola under them does not explain."""
    found, error = np.empty(len(place)), np.empty(len(place))
    local_contrast(
        scan.start, scan.step, scan.signal, scan.noise, model, place, height, width,
        widths.lorentz, widths.second, scan.ratio, found, error,
    )  # fmt: skip
    stands: np.ndarray = (found > LEAST_CONTRAST * error) & (found > 0.4 * height)
    return stands


def _is_stray(
    scan: ScanPoints, widths: WidthFunction, place: Lines, height: Lines
) -> np.ndarray:
    """Weak lines that stand where another wavelength puts a strong one.

    A filter leaves some Kβ, and an old tube gives tungsten's Lα.
    """
    stray = np.zeros(len(place), bool)
    strong = height > 0.15 * height.max(initial=0.0)
    for wavelength in _STRAY.get(_anode(scan.wavelength), ()):
        sine = np.sin(np.radians(place[strong] / 2)) * wavelength / scan.wavelength
        ghost = 2.0 * np.degrees(np.arcsin(np.minimum(sine, 1.0)))
        off = np.abs(place[:, None] - ghost[None])
        near = off < np.maximum(0.03, 0.4 * widths(ghost))[None]
        weak = height[:, None] < STRAY_HEIGHT * height[strong][None]
        stray |= (near & weak).any(axis=1)
    return stray


def _anode(wavelength: float) -> str:
    """Anode whose Kα1 this is; empty if it is none."""
    for name, lines in NAMED_LINES.items():
        if abs(lines[0][0] / wavelength - 1.0) < 1e-3:
            return name.removesuffix("1").removesuffix("Ka")
    return ""


def no_lines(wavelength: float, two_theta: Points) -> LineList:
    """The list of a pattern without lines."""
    none = np.empty(0)
    return LineList(
        none, none, none, none, none, wavelength,
        (float(two_theta[0]), float(two_theta[-1])),
    )  # fmt: skip


__all__ = [
    "BACKGROUND_SCALE",
    "ScanPoints",
    "WidthFunction",
    "find_measured_lines",
    "has_second_line",
    "no_lines",
    "prepare_scan",
    "width_function",
]
