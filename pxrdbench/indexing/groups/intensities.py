"""Integrated intensities of all lines of a lattice, with errors, from a whole pattern.

Clean patterns are exact sums of Gaussians of one crystallite size, so that lines a
hundredth of their width apart still are two. Measured ones come with a background, a
second spectral line and noise.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.indexing.groups.intensity_kernels import (
    fit_lattice,
    list_reflections,
    merge_lines,
    sharpest_width,
)
from pxrdbench.indexing.lines.scan_lines import prepare_scan, width_function

# Profiles are followed to this many widths: e^(−4 ln 2 · 2.3²) = 4e-7 of the maximum,
# where rendered Gaussians end (`diffraction.profile_kernels.CUT`).
_GAUSSIAN_REACH = 2.3
# A pseudo-Voigt has tails; 1 % of its Lorentzian is left here.
_VOIGT_REACH = 5.0
# Points kept per standard deviation of the narrowest line; noise-free patterns carry
# no more.
_POINTS_PER_SIGMA = 0.8
# Reflections closer than this part of a width are one line.
_CLEAN_SEPARATION, _MEASURED_SEPARATION = 0.003, 0.15
# More lines than these say little more and cost much.
_MOST_CLEAN, _MOST_MEASURED = 250, 160
_MOST_REFLECTIONS = 12000
# Displacements that are tried [degrees], and how many lines judge them.
_SHIFTS = (-0.15, -0.05, 0.05, 0.15)
_FEW_LINES = 60
_BROADER = 2.0
# What a clean pattern is not exact by, relative to its maximum: 1e-6 of cut tails and
# single precision, see `line_kernels.FLOOR_NOISE`.
CLEAN_NOISE = 1.5e-6

# Profiles of measured lines differ from pseudo-Voigts by about so much of their height.
_PROFILE_MISFIT = 0.05
# Beam spill and air scatter below, and lines that all overlap above [degrees].
_LOWEST_ANGLE, _HIGHEST_ANGLE = 8.0, 80.0

_KIND = {"a": 0, "m": 1, "o": 2, "t": 3, "h": 4, "c": 5}
CENTRING_CODE = {"P": 0, "A": 1, "C": 2, "I": 3, "F": 4, "R": 5}


@dataclass(frozen=True, eq=False)
class ScanModel:
    """A pattern prepared for fits of lattices.

    Attributes:
        two_theta: Angles of the points that are fitted [degrees].
        intensity: Pattern without background.
        weight: Inverse variance of each point.
        wavelength: Of the first spectral line [Å].
        second_wavelength: Of its companion [Å].
        ratio: Intensity of the companion, relative to the first line; 0 for none.
        width: Size term (over cos θ), strain term (times tan θ) and constant term of
            the fwhm [degrees].
        eta: Lorentzian share of a profile.
        reach: Where a profile ends [widths].
        separation: Reflections closer than this are one line [widths].
        most_lines: Lines that are looked at.
        two_theta_range: Angles within which lines are fitted [degrees].
        measured: Whether the pattern has noise, and lines may be displaced.
    """

    two_theta: Float64[np.ndarray, " points"]
    intensity: Float64[np.ndarray, " points"]
    weight: Float64[np.ndarray, " points"]
    wavelength: float
    second_wavelength: float
    ratio: float
    width: Float64[np.ndarray, " 3"]
    eta: float
    reach: float
    separation: float
    most_lines: int
    two_theta_range: tuple[float, float]
    measured: bool


@dataclass(frozen=True, eq=False)
class LatticeIntensities:
    """Intensities at all lines of a lattice.

    Attributes:
        hkl: Reflections of half the sphere on the conventional cell, ascending in 1/d².
        line_of: Line that each reflection belongs to.
        two_theta: Angle of each line without displacement [degrees].
        inverse_d2: 1/d² of each line [Å⁻²].
        intensity: Integrated intensity of each line (height times fwhm), relative to
            the strongest.
        error: Its standard error; what neighbours share is in it.
        fwhm: Width of each line [degrees].
        multiplicity: Reflections of the whole sphere in each line.
        residual: √(Σ (y − model)² / Σ y²) over the points that were fitted.
        chi2: Weighted mean square of what the fit leaves.
        volume: Of the primitive cell [Å³].
        metric: Refined 1/d² = h²g₀ + k²g₁ + l²g₂ + kl g₃ + hl g₄ + hk g₅ [Å⁻²].
        shift: Displacement s in 2θ + s cos θ [degrees].
        width: Refined widths, as in `ScanModel`.
    """

    hkl: Int64[np.ndarray, "reflections 3"]
    line_of: Int64[np.ndarray, " reflections"]
    two_theta: Float64[np.ndarray, " lines"]
    inverse_d2: Float64[np.ndarray, " lines"]
    intensity: Float64[np.ndarray, " lines"]
    error: Float64[np.ndarray, " lines"]
    fwhm: Float64[np.ndarray, " lines"]
    multiplicity: Int64[np.ndarray, " lines"]
    residual: float
    chi2: float
    volume: float
    metric: Float64[np.ndarray, " 6"]
    shift: float
    width: Float64[np.ndarray, " 3"]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.intensity)


def reciprocal_metric(
    cell: tuple[float, ...] | Float64[np.ndarray, " 6"],
) -> Float64[np.ndarray, " 6"]:
    """Numbers g of 1/d² = h²g₀ + k²g₁ + l²g₂ + kl g₃ + hl g₄ + hk g₅ [Å⁻²].

    Args:
        cell: a, b, c [Å], α, β, γ [degrees].

    Raises:
        PatternError: If no cell has these parameters.
    """
    lengths = np.asarray(cell[:3], np.float64)
    cosines = np.cos(np.radians(np.asarray(cell[3:], np.float64)))
    direct = np.outer(lengths, lengths)
    for (i, j), cosine in zip(((1, 2), (0, 2), (0, 1)), cosines, strict=True):
        direct[i, j] *= cosine
        direct[j, i] *= cosine
    if not (np.all(np.isfinite(direct)) and np.linalg.det(direct) > 0.0):
        raise PatternError(f"no cell has a, b, c, alpha, beta, gamma = {tuple(cell)}")
    g = np.linalg.inv(direct)
    return np.array([g[0, 0], g[1, 1], g[2, 2], 2 * g[1, 2], 2 * g[0, 2], 2 * g[0, 1]])


def _primitive_volume(metric: Float64[np.ndarray, " 6"], bravais_lattice: str) -> float:
    """Volume of the primitive cell [Å³] of a reciprocal metric."""
    a, b, c = metric[:3]
    f, e, d = metric[3:] / 2.0
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    points = {"P": 1, "C": 2, "A": 2, "I": 2, "F": 4, "R": 3}[bravais_lattice[1]]
    return float(1.0 / math.sqrt(max(determinant, 1e-30)) / points)


def model_clean(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    radiation: str | float | Radiation = "CuKa1",
) -> ScanModel:
    """Prepare a pattern that is a noise-free sum of Gaussians of one size.

    Args:
        two_theta: Evenly spaced angles [degrees].
        intensity: The pattern.
        radiation: One spectral line, or two.

    Raises:
        PatternError: If the pattern has no maximum.
    """
    angles, heights = _check_pattern(two_theta, intensity)
    step = (angles[-1] - angles[0]) / (len(angles) - 1)
    size = sharpest_width(heights, angles[0], step, 1e-2)
    if not size > 0.0:
        raise PatternError("the pattern has no maximum, so that no line can be fitted")
    sigma = size / math.sqrt(8.0 * math.log(2.0))
    stride = max(1, int(sigma / step * _POINTS_PER_SIGMA))
    first, second, ratio = spectral_lines(radiation)
    kept = heights[::stride] / heights.max()
    return ScanModel(
        two_theta=angles[::stride].copy(),
        intensity=kept,
        weight=np.full(len(kept), CLEAN_NOISE**-2),
        wavelength=first,
        second_wavelength=second,
        ratio=ratio,
        width=np.array([size, 0.0, 0.0]),
        eta=0.0,
        reach=_GAUSSIAN_REACH,
        separation=_CLEAN_SEPARATION,
        most_lines=_MOST_CLEAN,
        two_theta_range=(float(angles[0]), float(angles[-1])),
        measured=False,
    )


def model_measured(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    radiation: str | float | Radiation = "CuKa",
) -> ScanModel:
    """Prepare a measured scan: background off, widths from its strong lines.

    Args:
        two_theta: Evenly spaced angles [degrees].
        intensity: The scan, in any unit.
        radiation: One spectral line, or two.

    Raises:
        PatternError: If the scan has no line to take widths from.
    """
    angles, heights = _check_pattern(two_theta, intensity)
    scan = prepare_scan(angles, heights, Radiation.parse(radiation))
    widths = width_function(scan)
    if widths is None:
        raise PatternError("the scan has no line from which widths could be read")
    top = float(scan.signal.max())
    signal = scan.signal / top
    variance = (scan.noise / top) ** 2
    smooth = np.maximum(np.convolve(signal, np.full(3, 1 / 3), "same"), 0.0)
    variance = variance + (_PROFILE_MISFIT * smooth) ** 2
    x = scan.angles
    start = max(_LOWEST_ANGLE, float(x[0]))
    kept = x >= start
    return ScanModel(
        two_theta=x[kept].copy(),
        intensity=signal[kept].copy(),
        weight=1.0 / variance[kept],
        wavelength=scan.wavelength,
        second_wavelength=scan.wavelength * scan.ratio,
        ratio=widths.second,
        width=np.sqrt(np.maximum([0.0, widths.slope2, widths.width2], 0.0)),
        eta=float(widths.lorentz),
        reach=_VOIGT_REACH,
        separation=_MEASURED_SEPARATION,
        most_lines=_MOST_MEASURED,
        two_theta_range=(start, min(float(x[-1]), _HIGHEST_ANGLE)),
        measured=True,
    )


def spectral_lines(radiation: str | float | Radiation) -> tuple[float, float, float]:
    """First wavelength [Å], that of its companion, and the companion's ratio."""
    lines = Radiation.parse(radiation).lines
    if len(lines) == 1:
        return lines[0][0], lines[0][0], 0.0
    if len(lines) > 2:
        raise PatternError(
            f"a radiation of {len(lines)} lines; fits know one line, or two"
        )
    (first, strong), (second, weak) = lines
    return first, second, weak / strong


def _check_pattern(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    angles = np.asarray(two_theta, np.float64)
    heights = np.asarray(intensity, np.float64)
    if angles.ndim != 1 or angles.shape != heights.shape or len(angles) < 20:
        raise PatternError(
            f"angles of shape {angles.shape} and intensities of {heights.shape}; "
            "both must be one row of at least 20 points"
        )
    if not (np.all(np.isfinite(angles)) and np.all(np.isfinite(heights))):
        raise PatternError("the pattern holds values that are no numbers")
    if np.any(np.diff(angles) <= 0.0):
        raise PatternError("the angles of a pattern must ascend")
    if not heights.max() > 0.0:
        raise PatternError("the pattern is nowhere above zero")
    return angles, heights


def fit_intensities(
    model: ScanModel,
    cell: tuple[float, ...],
    bravais_lattice: str,
    *,
    steps: int = 4,
    shift: float | None = None,
    most_lines: int | None = None,
) -> LatticeIntensities | None:
    """Fit the intensities of all lines of a lattice, and move the cell a little.

    Args:
        model: The pattern.
        cell: Conventional cell: a, b, c [Å], α, β, γ [degrees]; unique axis b,
            hexagonal axes for hR.
        bravais_lattice: Which of the 14, such as ``"mP"``.
        steps: Gauss-Newton steps for metric, width and (measured) displacement at
            most; 0 fits intensities alone.
        shift: Displacement to begin with [degrees]; if not given, 0 in a clean
            pattern, and the best of a grid in a measured one.
        most_lines: Lines to fit, from low angles on; the model's number if not given.

    Returns:
        The intensities; None where the lattice has no line in range or nothing fits.
    """
    metric = reciprocal_metric(cell)
    lines = most_lines or model.most_lines
    if shift is None:
        shift = 0.0
        if model.measured:
            metric, shift = _place_lattice(model, metric, bravais_lattice)
    return _fit_metric(model, metric, bravais_lattice, steps, shift, lines)


def _place_lattice(
    model: ScanModel, metric: Float64[np.ndarray, " 6"], bravais_lattice: str
) -> tuple[Float64[np.ndarray, " 6"], float]:
    """Find scale and displacement with profiles too broad to miss their lines."""
    best = (math.inf, metric, 0.0)
    broad = replace(model, width=model.width * _BROADER)
    for place in _SHIFTS:
        trial = _fit_metric(
            broad, metric, bravais_lattice, 3, place, _FEW_LINES, only_scale=True
        )
        if trial is not None and trial.residual < best[0]:
            best = (trial.residual, trial.metric, trial.shift)
    return best[1], best[2]


def _fit_metric(
    model: ScanModel,
    metric: Float64[np.ndarray, " 6"],
    bravais_lattice: str,
    steps: int,
    shift: float,
    most_lines: int,
    *,
    only_scale: bool = False,
) -> LatticeIntensities | None:
    limits = model.two_theta_range
    wavelength, width0 = model.wavelength, float(np.sqrt(np.sum(model.width**2)))
    margin = 1.5 * width0 / math.cos(math.radians(limits[1] / 2))
    q_low, q_high = (
        (2.0 * math.sin(math.radians(angle / 2)) / wavelength) ** 2
        for angle in (limits[0], min(limits[1] + margin, 179.0))
    )
    kind = 6 if only_scale else _KIND[bravais_lattice[0]]
    hkl, q = list_reflections(
        metric, CENTRING_CODE[bravais_lattice[1]], q_low, q_high, _MOST_REFLECTIONS
    )
    if len(q) == 0:
        return None
    line_of, mean = merge_lines(q, wavelength, width0, model.separation, most_lines)
    keep = line_of >= 0
    is_cut = len(q) >= _MOST_REFLECTIONS * 0.95 or not keep.all()
    hkl, line_of = hkl[keep], line_of[keep]
    n_lines = len(mean)
    x, y, weight = model.two_theta, model.intensity, model.weight
    if is_cut:
        # Beyond the last line there are others: their tails must not disturb.
        last = 2.0 * math.degrees(math.asin(wavelength * math.sqrt(mean[-1]) / 2))
        width = width0 / math.cos(math.radians(last / 2))
        end = int(np.searchsorted(x, last - min(model.reach, 2.5) * width))
        if end < 20:
            return None
        x, y, weight = x[:end], y[:end], weight[:end]
    (
        height, error, center, fwhm, local, squares, plain, metric, shift, width3, ok,
    ) = fit_lattice(
        x, y, weight, hkl, line_of, n_lines, metric, kind, wavelength,
        model.second_wavelength, model.ratio, model.width, model.eta, model.reach,
        model.measured, not only_scale, steps, shift, 1e-10,
    )  # fmt: skip
    if not ok or not height.max() > 0.0:
        return None
    # Errors of unit weight grow by the misfit around a line.
    error = error * np.sqrt(1.0 + local)
    area = height * fwhm
    largest = area.max()
    cosine = np.cos(np.radians(center / 2))
    return LatticeIntensities(
        hkl=hkl,
        line_of=line_of,
        two_theta=center - shift * cosine,
        inverse_d2=(
            2.0 * np.sin(np.radians((center - shift * cosine) / 2)) / wavelength
        )
        ** 2,
        intensity=area / largest,
        error=error * fwhm / largest,
        fwhm=fwhm,
        multiplicity=2 * np.bincount(line_of, minlength=n_lines),
        residual=float(plain),
        chi2=float(squares) / len(x),
        volume=_primitive_volume(metric, bravais_lattice),
        metric=metric,
        shift=float(shift),
        width=width3,
    )


def fit_residual(
    model: ScanModel,
    cell: tuple[float, ...],
    bravais_lattice: str,
    *,
    steps: int = 2,
    shift: float | None = None,
    most_lines: int = 100,
) -> tuple[float, int]:
    """Judge a candidate cell: what its lines leave of the pattern.

    Args:
        model: The pattern.
        cell: Conventional cell.
        bravais_lattice: Which of the 14.
        steps: Gauss-Newton steps.
        shift: Displacement to begin with [degrees]; searched for if not given.
        most_lines: Lines to fit, from low angles on.

    Returns:
        Residual as R_wp, 1 where nothing fits, and the number of lines fitted.
    """
    fit = fit_intensities(
        model, cell, bravais_lattice, steps=steps, shift=shift, most_lines=most_lines
    )
    return (1.0, 0) if fit is None else (fit.residual, len(fit))
