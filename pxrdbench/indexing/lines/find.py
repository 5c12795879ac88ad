"""Lines of a pattern, simulated or measured, with their standard errors."""

from typing import Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.indexing.lines.gaussians import SHARPENING, read_gaussians
from pxrdbench.indexing.lines.line_list import LineList
from pxrdbench.indexing.lines.scan_lines import find_measured_lines, no_lines

# Fewer points hold no line of which a place and a width could be told.
LEAST_POINTS = 20
# A clean pattern's fit leaves less than this part of it; measured ones leave more.
CLEAN_RESIDUAL = 0.01
# Room for lines: more than one in ten points cannot be told apart.
_ROOM = 2000
_SIGMA_TO_FWHM = float(np.sqrt(8.0 * np.log(2.0)))

Angles = Float64[np.ndarray, " points"]


def find_lines(
    two_theta: Angles,
    intensity: Angles,
    radiation: "str | float | Radiation" = "CuKa1",
    *,
    kind: Literal["auto", "clean", "measured"] = "auto",
    max_lines: int = 80,
    least_height: float | None = None,
) -> LineList:
    """Find the lines of one pattern, told apart where they overlap.

    A *clean* pattern is an exact sum of Gaussians of one crystallite size, as
    ``diffraction.profile.render`` makes them: its size is found, and blends are
    resolved by least squares. A *measured* one has background, noise, a doublet and
    widths of its own.

    Args:
        two_theta: Ascending angles [degrees].
        intensity: Counts, or in any other unit.
        radiation: What the pattern was made with; of a doublet, positions are those of
            the first line.
        kind: ``auto`` looks whether the pattern is clean.
        max_lines: Of more lines those at the lowest angles are given, and
            ``two_theta_range`` of the result ends where they end.
        least_height: Lines lower than this part of the highest are left out; 1e-4 of
            clean patterns.

    Returns:
        Lines, ascending in 2θ; none if there are none.

    Raises:
        PatternError: If angles do not ascend, numbers are not finite or too few, or a
            pattern that shall be clean is not.
    """
    source = Radiation.parse(radiation)
    x, y = check_pattern(two_theta, intensity)
    if kind not in {"auto", "clean", "measured"}:
        raise PatternError(f"unknown kind {kind!r}; known are auto, clean, measured")
    if max_lines < 1:
        raise PatternError(f"max_lines is {max_lines}; at least 1 is needed")
    size = float(np.abs(y).max())
    if float(y.max()) - float(y.min()) <= 1e-12 * size:
        return no_lines(source.lines[0][0], x)
    # Squares of what follows must neither vanish nor overflow.
    y = y / size
    if kind != "measured":
        floor = 1e-4 if least_height is None else least_height
        lines = _find_clean(x, y, source, max_lines, floor)
        if lines is not None:
            return lines
        if kind == "clean":
            raise PatternError(
                "this pattern is no sum of Gaussians of one crystallite size on "
                'equidistant angles; use kind="measured"'
            )
    return find_measured_lines(x, y, source, max_lines, least_height)


def check_pattern(two_theta: Angles, intensity: Angles) -> tuple[Angles, Angles]:
    """Check angles and intensities.

    Raises:
        PatternError: If they are no two rows of finite numbers, angles ascending
            between 0 and 180 degrees.
    """
    x, y = np.asarray(two_theta, np.float64), np.asarray(intensity, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise PatternError(
            f"angles have shape {x.shape} and intensities {y.shape}; one row each of "
            "equal length is needed"
        )
    if len(x) < LEAST_POINTS:
        raise PatternError(
            f"the pattern has {len(x)} points; at least {LEAST_POINTS} are needed"
        )
    for name, values in (("angle", x), ("intensity", y)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise PatternError(f"{name} {bad[0]} is {values[bad[0]]}, no finite number")
    if not (x[0] > 0.0 and x[-1] < 180.0):
        raise PatternError(
            f"angles run from {x[0]:g} to {x[-1]:g} degrees; they must lie between 0 "
            "and 180"
        )
    falls = np.flatnonzero(np.diff(x) <= 0.0)
    if len(falls):
        i = int(falls[0])
        raise PatternError(
            f"angle {i + 1} is {x[i + 1]:g} after {x[i]:g} degrees; angles must ascend"
        )
    return x, y


def _find_clean(
    x: Angles, y: Angles, source: Radiation, max_lines: int, floor: float
) -> LineList | None:
    """Lines of a clean pattern; None if it is not clean."""
    step = (x[-1] - x[0]) / (len(x) - 1)
    largest = float(y.max())
    is_even = np.abs(x - (x[0] + step * np.arange(len(x)))).max() < 0.02 * step
    if not is_even or not largest > 0.0 or float(y.min()) < -1e-6 * largest:
        return None
    y = y / largest
    if not is_smooth(y):
        return None
    position, height = np.empty(_ROOM), np.empty(_ROOM)
    variance = np.empty((_ROOM, 2))
    # Weaker lines will be found between the maxima of the first look, and some of its
    # maxima are none; where they were too few, more are looked at.
    maxima = max_lines + max_lines // 4 + 10
    while True:
        count, sigma0, left, seen = read_gaussians(
            y, x[0], step, floor, SHARPENING, position, height, variance, max_lines,
            maxima,
        )  # fmt: skip
        if count >= max_lines or seen >= len(y) - 64 or count == 0:
            break
        maxima *= 2
    if count == 0 or left > CLEAN_RESIDUAL:
        return None
    end = x[0] + step * (seen - 1)
    two_theta = x[0] + step * position[:count]
    kept = (height[:count] >= floor * height[:count].max(initial=0.0)) & (
        two_theta >= x[0]
    )
    kept &= two_theta <= end
    place, high = two_theta[kept], height[:count][kept]
    # Blends that are all but singular may have a negative variance: nothing is known.
    spread = variance[:count][kept]
    errors = np.sqrt(np.where(spread >= 0.0, spread, np.inf))
    sigma = sigma0 * step / np.cos(np.radians(place / 2))
    area = high * sigma
    return LineList(
        two_theta=place,
        two_theta_error=np.minimum(errors[:, 1] * step, sigma),
        intensity=area / area.max(initial=1e-300),
        fwhm=_SIGMA_TO_FWHM * sigma,
        significance=np.full(len(place), np.inf),
        wavelength=source.lines[0][0],
        two_theta_range=(float(x[0]), float(end)),
    )


def is_smooth(y: Angles) -> bool:
    """Whether a pattern with a maximum of one lacks noise.

    Noise has a maximum every three points; lines that a grid shows have not. Of the
    maxima above a thousandth, less than a fiftieth may follow within three points.
    """
    inner = y[1:-1]
    is_top = (inner > y[:-2]) & (inner >= y[2:]) & (inner > 1e-3)
    places = np.flatnonzero(is_top)
    if len(places) == 0:
        return False
    return int((np.diff(places) <= 3).sum()) <= 0.02 * len(places)
