"""From a scan of any instrument to what a model reads, and what to warn of.

Angles move to the model's wavelength through the spacing d, λ/2 sin θ being the same;
the scan is brought to the model's grid, its second spectral line to the model's; what
was not measured is masked. A background is estimated, for models that learnt without
one and for the picture.

Where in its steps a scan happens to lie decides which bumps of the noise a model takes
for lines. So it gets the scan several times, moved by parts of a step, and its answers
are averaged (docs/predict.md says what that changes).

Intensities are left as they are: between copper and molybdenum the Lorentz-polarisation
factor at equal d changes their ratios by a fifth at most.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.errors import SourceError
from pxrdbench.prediction.lines import match_lines, second_line
from pxrdbench.prediction.warnings import find_peaks, find_warnings
from pxrdbench.sources.scans.grid import rebin
from pxrdbench.sources.scans.pattern import MeasuredPattern

# Effects that give a model's training patterns a background, or a second line.
_BACKGROUNDS = {"ProcessBackground", "PolynomialBackground", "AmorphousHumps"}
_SECOND_LINE = "SpectralLines"
# The background is looked for in steps of this width [degrees], which are less noisy.
_COARSE = 0.05
# Stiffness of the background at that step; humps of some ten degrees follow it, lines
# of a degree do not (measured on the patterns of `laboratory`, tests/learning).
_STIFFNESS = 5e5
# Nothing wider than this [degrees] is a line; and a hump is at least this part of them.
_HUMP = 5.0
_HUMP_SHARE = 0.3
_NOISE_FLOOR = 3.0
# A model sees a scan moved by up to so many quarters of a step to either side: two
# steps, which is one bin of networks that add neighbouring points up. Less leaves the
# answer to chance, more changes nothing (measured on scans of RRUFF).
_SHIFTS = 8
_PARTS = 4
_TINY = 1e-300


@dataclass(frozen=True)
class ScanContract:
    """What the patterns look like that a model learnt from.

    Attributes:
        grid: Their angles.
        radiation: Their lines; the first is that which angles are given for.
        has_background: Whether there was one.
    """

    grid: TwoThetaGrid
    radiation: Radiation
    has_background: bool

    @classmethod
    def of(
        cls, grid: TwoThetaGrid, radiation: Radiation, effects: Collection[str]
    ) -> "ScanContract":
        """Take it from what a checkpoint says of its training.

        Args:
            grid: Of the checkpoint.
            radiation: Of the checkpoint's peaks.
            effects: Names of the effects in training.
        """
        if _SECOND_LINE in effects and len(radiation.lines) == 1:
            radiation = next(
                (
                    Radiation(lines, name)
                    for name, lines in NAMED_LINES.items()
                    if len(lines) == 2
                    and abs(lines[0][0] / radiation.wavelength - 1.0) < 1e-3
                ),
                radiation,
            )
        return cls(grid, radiation, bool(_BACKGROUNDS & set(effects)))


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan on a model's grid.

    Attributes:
        intensity: What the model reads, once for each small shift of the scan: maximum
            one, zero where nothing was measured.
        is_measured: Points that were measured, for each of them.
        scan: The same scan with its background, maximum one.
        baseline: Estimated background on the scale of ``scan``.
        warnings: One sentence each.
    """

    intensity: Float32[np.ndarray, "shifts points"]
    is_measured: Bool[np.ndarray, "shifts points"]
    scan: Float64[np.ndarray, " points"]
    baseline: Float64[np.ndarray, " points"]
    warnings: tuple[str, ...]

    @property
    def unmoved(self) -> int:
        """Row of the scan where it was measured."""
        return len(self.intensity) // 2


def prepare_scan(
    pattern: MeasuredPattern, radiation: Radiation, contract: ScanContract
) -> PreparedScan:
    """Bring a scan to what a model reads.

    Args:
        pattern: What was measured.
        radiation: What it was measured with.
        contract: What the model reads.

    Raises:
        SourceError: If no part of it lies on the model's angles, or it has no lines.
    """
    if pattern.metadata.get("probe") == "neutron":
        raise SourceError(
            f"{pattern.name}: measured with neutrons; the model knows X-rays only"
        )
    grid = contract.grid
    angles, intensity = _convert(pattern, radiation, contract)
    shifts = np.arange(-_SHIFTS, _SHIFTS + 1) * grid.step / _PARTS
    scans, are_measured = rebin(angles, intensity, grid, shifts)
    scan, is_measured = scans[_SHIFTS], are_measured[_SHIFTS]
    if is_measured.sum() < 0.05 * grid.points:
        raise SourceError(
            f"{pattern.name}: {angles[0]:.2f} to {angles[-1]:.2f} degrees at the "
            f"model's wavelength of {contract.radiation.lines[0][0]:.4f} Å is hardly "
            f"any of its range, {grid.start:g} to {grid.stop:g}; measure more"
        )
    baseline = find_baseline(scan, is_measured, grid)
    net = np.where(is_measured, scan - baseline, 0.0)
    peaks = find_peaks(net, is_measured, grid)
    if not len(peaks.places):
        raise SourceError(
            f"{pattern.name}: no line rises above background and noise between "
            f"{grid.start:g} and {grid.stop:g} degrees; there is nothing to go by"
        )
    change = match_lines(grid.angles(), net, radiation, contract.radiation)
    ground = _move(baseline, is_measured, grid, shifts)
    nets = change.apply(grid.angles(), np.where(are_measured, scans - ground, 0.0))
    # Patterns that a model learnt without noise have none between their lines.
    cleaned = np.where(nets > _NOISE_FLOOR * peaks.noise, nets, 0.0)
    model_input = nets + ground if contract.has_background else cleaned
    scale = float(scan.max())
    second = second_line(radiation)
    doubts = find_warnings(
        pattern,
        nets[_SHIFTS],
        baseline,
        is_measured,
        peaks,
        grid,
        second[0] if second else 1.0,
    )
    return PreparedScan(
        _normalise(np.where(are_measured, model_input, 0.0)),
        are_measured,
        scan / scale,
        baseline / scale,
        (*pattern.warnings, *change.note, *doubts),
    )


def _normalise(
    patterns: Float64[np.ndarray, "rows points"],
) -> Float32[np.ndarray, "rows points"]:
    """Nothing below zero, maximum one."""
    patterns = patterns.clip(0.0)
    highest = patterns.max(axis=1, keepdims=True).clip(_TINY)
    scaled: np.ndarray = (patterns / highest).astype(np.float32)
    return scaled


def _convert(
    pattern: MeasuredPattern, radiation: Radiation, contract: ScanContract
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """Angles at the model's wavelength of what lies above zero, and intensities."""
    ratio = contract.radiation.lines[0][0] / radiation.lines[0][0]
    sine = np.sin(np.radians(0.5 * pattern.two_theta)) * ratio
    kept = (pattern.two_theta > 0.0) & (sine < 1.0)
    if kept.sum() < 3:
        raise SourceError(
            f"{pattern.name}: no angles above zero that the model's wavelength reaches"
        )
    angles = np.degrees(2.0 * np.arcsin(sine[kept]))
    return angles, pattern.intensity[kept]


def _move(
    baseline: Float64[np.ndarray, " points"],
    is_measured: Bool[np.ndarray, " points"],
    grid: TwoThetaGrid,
    shifts: Float64[np.ndarray, " shifts"],
) -> Float64[np.ndarray, "shifts points"]:
    """The background moved by small angles: it is smooth."""
    places = grid.angles() - shifts[:, None]
    moved: np.ndarray = np.interp(
        places, grid.angles()[is_measured], baseline[is_measured]
    )
    return moved


def find_baseline(
    scan: Float64[np.ndarray, " points"],
    is_measured: Bool[np.ndarray, " points"],
    grid: TwoThetaGrid,
) -> Float64[np.ndarray, " points"]:
    """Estimate the background of a scan, of each part between gaps by itself.

    Asymmetrically reweighted penalised least squares: a smooth curve that lines pull
    up hardly at all and noise not either.

    Args:
        scan: On the grid; zero where nothing was measured.
        is_measured: Points that were measured.
        grid: Its angles.

    Returns:
        The background, zero where nothing was measured.

    References:
        Baek et al. (2015), Analyst 140, 250 (arPLS); as in pybaselines.
    """
    from pybaselines import Baseline

    baseline = np.zeros(len(scan))
    factor = max(1, round(_COARSE / grid.step))
    edges = np.flatnonzero(np.diff(np.r_[False, is_measured, False].astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        part = scan[start:stop]
        count = len(part) // factor
        if count < 20:
            baseline[start:stop] = part.min()
            continue
        coarse = part[: count * factor].reshape(count, factor).mean(axis=1)
        place = (np.arange(count) + 0.5) * factor - 0.5
        with warnings.catch_warnings():
            # It says so where hardly a point is free of lines; there is no better.
            warnings.simplefilter("ignore")
            smooth, _ = Baseline(place).arpls(coarse, lam=_STIFFNESS, max_iter=50)
        smooth = smooth + _find_hump(coarse - smooth, round(_HUMP / _COARSE))
        baseline[start:stop] = np.interp(np.arange(len(part)), place, smooth)
    # Nobody counted fewer than none.
    result: np.ndarray = np.where(
        is_measured, baseline.clip(min(0.0, float(scan.min()))), 0.0
    )
    return result


def _find_hump(
    rest: Float64[np.ndarray, " points"], window: int
) -> Float64[np.ndarray, " points"]:
    """What is broader than any line, where it is as high as lines; else zero.

    A hump that rises above everything looks like a line to the method above.
    """
    from scipy.ndimage import grey_opening, uniform_filter1d

    steady = uniform_filter1d(rest, 9, mode="nearest")
    broad = grey_opening(steady, window, mode="nearest")
    broad = uniform_filter1d(broad, window // 2, mode="nearest")
    if broad.max() < _HUMP_SHARE * (rest - broad).max():
        return np.zeros(len(rest))
    result: np.ndarray = broad.clip(0.0)
    return result
