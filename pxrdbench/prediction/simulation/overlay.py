"""Crystals laid over a scan: scale of each, background, zero, widths, and R_wp.

    y(2θ) = Σ_phases s_k p_k(2θ; zero, widths) + Σ_n b_n T_n(2θ),    s_k ≥ 0
    R_wp = √(Σ w (y_obs - y)² / Σ w y_obs²),    w = 1 / max(y_obs, 1) or 1/σ²

Cells stay as they are: what a wrong one leaves is seen. It is no refinement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.frozen import freeze_arrays
from pxrdbench.indexing.lines.scan_lines import prepare_scan, width_function
from pxrdbench.prediction.simulation.instrument import Instrument

Points = Float64[np.ndarray, " points"]

# Terms of the background; one for five degrees above the first six, thirty at most.
_TERMS, _DEGREES, _MOST_TERMS = 6, 5.0, 24
# Zeros and factors of the widths that are tried; finer ones follow.
_ZEROS = np.linspace(-0.3, 0.3, 31)
_WIDTHS = (0.6, 0.8, 1.0, 1.3, 1.7)
_LORENTZ = (0.1, 0.4, 0.7, 1.0)
_REACH = 25.0
_FAINT = 1e-4
# Points beyond this are thinned while zero and widths are looked for.
_COARSE = 6000


@dataclass(frozen=True, eq=False)
class Overlay:
    """Crystals over a scan.

    Attributes:
        two_theta: Of the scan [degrees].
        observed: The scan.
        calculated: Background and all phases.
        background: Alone.
        phases: Each phase alone, without background.
        names: Of the phases.
        scale: Of each phase, such that its strongest line's height is that of the scan.
        r_wp: Weighted residual, 0 to 1.
        zero: Added to calculated angles [degrees].
        fwhm: Width of a line at 2θ = 40 degrees [degrees].
    """

    two_theta: Points
    observed: Points
    calculated: Points
    background: Points
    phases: Float64[np.ndarray, "phases points"]
    names: tuple[str, ...]
    scale: Float64[np.ndarray, " phases"]
    r_wp: float
    zero: float
    fwhm: float

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True)
class _Peaks:
    """Angles and heights of one phase, for every spectral line."""

    two_theta: Points
    intensity: Points


def overlay(
    two_theta: Points,
    intensity: Points,
    crystals: Sequence[tuple[str, Crystal]],
    radiation: str | float | Radiation,
    *,
    sigma: Points | None = None,
    instrument: Instrument | None = None,
) -> Overlay:
    """Lay crystals over a scan.

    Args:
        two_theta: Angles [degrees].
        intensity: Counts.
        crystals: Names and crystals.
        radiation: Of the scan.
        sigma: Standard error of each point; the root of the counts if left away.
        instrument: Widths and zero that are known; else both are found.

    Raises:
        PatternError: If no line of any crystal lies in the scan.
    """
    x = np.asarray(two_theta, np.float64)
    y = np.asarray(intensity, np.float64)
    source = Radiation.parse(radiation)
    low, high = max(0.5, float(x[0]) - 1.0), min(179.0, float(x[-1]) + 1.0)
    lists = [_peaks(crystal, source, (low, high)) for _, crystal in crystals]
    if not any(
        ((one.two_theta > x[0]) & (one.two_theta < x[-1])).any() for one in lists
    ):
        raise PatternError("no line of these crystals lies within the scan")
    if sigma is None:
        weight = 1.0 / np.maximum(y, max(1.0, 1e-4 * float(y.max())))
    else:
        weight = 1.0 / np.maximum(sigma, 1e-3 * float(np.median(sigma))) ** 2
    count = min(_TERMS + int(np.ptp(x) / _DEGREES), _MOST_TERMS)
    base = np.polynomial.chebyshev.chebvander(
        2.0 * (x - x[0]) / (x[-1] - x[0]) - 1.0, count - 1
    )
    if instrument is not None:
        shape = (0.0, 1.0, instrument.lorentz_share)
        widths = instrument.fwhm
        best = (instrument.zero, *shape[1:])
    else:
        widths = _usual_widths(x, y, source)
        best = _search(x, y, weight, base, lists, widths)
    columns = np.stack([_profile(x, one, widths, *best) for one in lists])
    scale, background, r_wp = _solve(y, weight, base, columns)
    phases = columns * scale[:, None]
    return Overlay(
        two_theta=x,
        observed=y,
        calculated=background + phases.sum(axis=0),
        background=background,
        phases=phases,
        names=tuple(name for name, _ in crystals),
        scale=scale,
        r_wp=r_wp,
        zero=float(best[0]),
        fwhm=float(best[1] * widths(np.array([40.0]))[0]),
    )


def _peaks(
    crystal: Crystal, radiation: Radiation, two_theta: tuple[float, float]
) -> _Peaks:
    batch = CrystalBatch.from_crystals([crystal])
    try:
        peaks = simulate_peaks(batch, radiation, two_theta, precision="double")
    except PatternError:  # no line of this one
        return _Peaks(np.zeros(0), np.zeros(0))
    kept = peaks.intensity > _FAINT * peaks.intensity.max()
    return _Peaks(
        peaks.two_theta[kept].copy(), peaks.intensity[kept] / peaks.intensity.max()
    )


class _Widths:
    """Widths of the scan's own strong lines."""

    def __init__(self, parts: tuple[float, float]) -> None:
        self.parts = parts

    def __call__(self, two_theta: Points) -> Points:
        t = np.tan(np.radians(two_theta / 2))
        widths: Points = np.sqrt(self.parts[0] + self.parts[1] * t * t)
        return widths


def _usual_widths(x: Points, y: Points, radiation: Radiation) -> _Widths:
    found = width_function(prepare_scan(x, y, radiation))
    if found is None:
        return _Widths((0.15**2, 0.0))
    return _Widths((max(found.width2, 1e-5), max(found.slope2, 0.0)))


def _search(
    x: Points,
    y: Points,
    weight: Points,
    base: Float64[np.ndarray, "points terms"],
    lists: Sequence[_Peaks],
    widths: _Widths,
) -> tuple[float, float, float]:
    """Zero, factor of the widths and Lorentzian share with the least R_wp."""
    stride = max(1, len(x) // _COARSE)
    rows = slice(None, None, stride)
    xs, ys, ws, bs = x[rows], y[rows], weight[rows], base[rows]

    def residual(zero: float, factor: float, lorentz: float) -> float:
        columns = np.stack(
            [_profile(xs, one, widths, zero, factor, lorentz) for one in lists]
        )
        return _solve(ys, ws, bs, columns)[2]

    zero, factor, lorentz = 0.0, 1.0, 0.5
    # Broad profiles first: narrow ones that miss their lines say nothing.
    zero = min(_ZEROS, key=lambda z: residual(float(z), 1.5, 0.5))
    step = 0.02
    for _ in range(3):
        factor = min(
            {factor, *(factor * f for f in _WIDTHS)},
            key=lambda f: residual(zero, f, lorentz),
        )
        lorentz = min(_LORENTZ, key=lambda s: residual(zero, factor, s))
        near = zero + step * np.linspace(-1.0, 1.0, 9)
        zero = min(near, key=lambda z: residual(float(z), factor, lorentz))
        step /= 3.0
    return float(zero), float(factor), float(lorentz)


def _profile(
    x: Points,
    peaks: _Peaks,
    widths: "_Widths | object",
    zero: float,
    factor: float,
    lorentz: float,
) -> Points:
    """One phase: pseudo-Voigts of area as the peaks say."""
    total = np.zeros(len(x))
    if not len(peaks.two_theta):
        return total
    places = peaks.two_theta + zero
    fwhm = factor * widths(peaks.two_theta)  # type: ignore[operator]  # of two kinds
    # Areas to heights of both parts.
    cauchy = lorentz * 2.0 / (np.pi * fwhm)
    gauss = (1.0 - lorentz) * 2.0 * np.sqrt(np.log(2.0) / np.pi) / fwhm
    starts = np.searchsorted(x, places - _REACH * fwhm)
    stops = np.searchsorted(x, places + _REACH * fwhm)
    for at, width, area, c, g, low, high in zip(
        places, fwhm, peaks.intensity, cauchy, gauss, starts, stops, strict=True
    ):
        t2 = ((x[low:high] - at) / width) ** 2
        total[low:high] += area * (
            c / (1.0 + 4.0 * t2) + g * np.exp(-4.0 * np.log(2.0) * t2)
        )
    return total


def _solve(
    y: Points,
    weight: Points,
    base: Float64[np.ndarray, "points terms"],
    columns: Float64[np.ndarray, "phases points"],
) -> tuple[Float64[np.ndarray, " phases"], Points, float]:
    """Scales that are not negative, a free background, and R_wp."""
    root = np.sqrt(weight)
    weighted = base * root[:, None]
    q, r = np.linalg.qr(weighted)
    target = y * root

    def without(values: np.ndarray) -> np.ndarray:
        left: np.ndarray = values - q @ (q.T @ values)
        return left

    from scipy.optimize import nnls

    phases = without(columns.T * root[:, None])
    norms = np.linalg.norm(phases, axis=0) + 1e-300
    scale = nnls(phases / norms, without(target))[0] / norms
    rest = target - (columns.T * root[:, None]) @ scale
    background = base @ np.linalg.solve(r, q.T @ rest)
    calculated = background + columns.T @ scale
    misfit = float((weight * (y - calculated) ** 2).sum())
    return scale, background, float(np.sqrt(misfit / (weight * y * y).sum()))
