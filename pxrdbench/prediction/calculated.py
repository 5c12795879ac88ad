"""The pattern that an indexing calculates, for the eye: scan, fit and difference."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.indexing.groups.intensities import spectral_lines
from pxrdbench.indexing.index import Indexing
from pxrdbench.indexing.lines.scan_lines import prepare_scan, width_function
from pxrdbench.prediction.cell_report import explained_lines, line_positions

# Profiles are drawn so many widths far.
_REACH = 12.0
# Lines of a cell weaker than this many standard errors were not seen.
SEEN = 3.0

Points = Float64[np.ndarray, " points"]


@dataclass(frozen=True, eq=False)
class CalculatedScan:
    """A scan and what the first cell makes of it.

    Attributes:
        two_theta: Even steps [degrees].
        intensity: The scan there.
        background: Below its lines.
        calculated: Background and lines of the cell; the background without one.
    """

    two_theta: Points
    intensity: Points
    background: Points
    calculated: Points

    @property
    def difference(self) -> Points:
        """What the cell leaves of the scan."""
        left: Points = self.intensity - self.calculated
        return left


@dataclass(frozen=True, eq=False)
class LineMarks:
    """Places of lines [degrees], for rows of marks.

    Attributes:
        indexed: Lines of the scan that are at a line of the cell.
        foreign: Those that are at none.
        allowed: Lines of the cell that are seen.
        absent: Lines of the cell that are not.
        hkl: Indices of each line of the cell, of ``allowed`` first.
    """

    indexed: Points
    foreign: Points
    allowed: Points
    absent: Points
    hkl: tuple[str, ...]


def find_marks(indexing: Indexing | None) -> LineMarks:
    """Sort the lines of scan and cell."""
    none = np.zeros(0)
    if indexing is None:
        return LineMarks(none, none, none, none, ())
    lines, fit = indexing.lines, indexing.intensities
    if fit is None:
        return LineMarks(none, lines.two_theta, none, none, ())
    near, _ = explained_lines(indexing)
    places = line_positions(fit)
    seen = fit.intensity > SEEN * fit.error
    starts = np.searchsorted(fit.line_of, np.arange(len(fit) + 1))
    names = [_plainest(fit.hkl[low:high]) for low, high in pairwise(starts)]
    order = [*np.flatnonzero(seen), *np.flatnonzero(~seen)]
    return LineMarks(
        indexed=lines.two_theta[near],
        foreign=lines.two_theta[~near],
        allowed=places[seen],
        absent=places[~seen],
        hkl=tuple(names[i] for i in order),
    )


def _plainest(hkl: Int64[np.ndarray, "reflections 3"]) -> str:
    """The reflection of a line that a person would write; signs may be turned."""
    best = max(
        ((int(sign * h), int(sign * k), int(sign * l)) for h, k, l in hkl  # noqa: E741 - Miller indices
         for sign in (1, -1)),
        key=lambda one: (sum(v >= 0 for v in one), one),
    )  # fmt: skip
    return " ".join(map(str, best))


def calculate_scan(
    two_theta: Points,
    intensity: Points,
    radiation: Radiation,
    indexing: Indexing | None,
) -> CalculatedScan:
    """Draw the profiles of the first cell's lines over the background of the scan."""
    is_clean = (
        indexing is not None and not np.isfinite(indexing.lines.significance).any()
    )
    first, second, ratio = spectral_lines(radiation)
    lorentz = 0.0
    if is_clean or len(two_theta) < 20:
        x, y = two_theta, intensity
        background = np.zeros(len(y))
    else:
        try:
            scan = prepare_scan(two_theta, intensity, radiation)
            widths = width_function(scan)
        except PatternError:
            return CalculatedScan(
                two_theta, intensity, intensity * 0.0, intensity * 0.0
            )
        x, y = scan.angles, scan.signal + scan.background
        background = scan.background
        if widths is not None:
            lorentz, ratio = float(widths.lorentz), float(widths.second)
    fit = None if indexing is None else indexing.intensities
    if fit is None:
        return CalculatedScan(x, y, background, background)
    shape = _profiles(
        x, line_positions(fit), fit.intensity / fit.fwhm, fit.fwhm, lorentz,
        (second / first, ratio),
    )  # fmt: skip
    signal = y - background
    scale = float(shape @ signal) / max(float(shape @ shape), 1e-300)
    return CalculatedScan(x, y, background, background + max(scale, 0.0) * shape)


def _profiles(
    x: Points,
    places: Points,
    heights: Points,
    widths: Points,
    lorentz: float,
    doublet: tuple[float, float],
) -> Points:
    """Sum of pseudo-Voigts of one and a second spectral line."""
    total = np.zeros(len(x))
    for factor, share in ((1.0, 1.0), doublet):
        if share <= 0.0:
            continue
        sine = np.sin(np.radians(places / 2)) * factor
        for at, height, width in zip(
            2.0 * np.degrees(np.arcsin(np.minimum(sine, 1.0))), heights, widths,
            strict=True,
        ):  # fmt: skip
            low, high = np.searchsorted(x, (at - _REACH * width, at + _REACH * width))
            t2 = ((x[low:high] - at) / width) ** 2
            total[low:high] += (share * height) * (
                lorentz / (1.0 + 4.0 * t2)
                + (1.0 - lorentz) * np.exp(-4.0 * np.log(2.0) * t2)
            )
    return total
