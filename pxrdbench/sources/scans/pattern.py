"""A measured pattern: what every reader of scans makes, and what it checks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.errors import PatternError, SourceError
from pxrdbench.frozen import freeze_arrays

# More are no scan of a powder diffractometer: 1e-4 degrees over 100 degrees.
MAX_POINTS = 1_000_000
MIN_POINTS = 3
# Below this part of the strongest point a negative value is no noise around zero.
_NEGATIVE_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class MeasuredPattern:
    """One scan as it was measured.

    Attributes:
        two_theta: Angles 2θ [degrees], ascending.
        intensity: Counts, counts per second or arbitrary units; finite.
        radiation: What it was measured with, or None if the file does not tell.
        sigma: Standard uncertainty of each intensity, if the file has it.
        name: Of the file, and of the scan within it if it holds several.
        metadata: What else the file says, as text.
        warnings: One sentence each on what a user should know.
        quantity: What the file gives along its first axis: ``2theta``, ``Q``, ``d`` …;
            `two_theta` is converted from it.
        unit: Of that quantity in the file.
        stated: Where quantity and radiation come from, by the words "quantity" and
            "radiation": a line of the file, the format, or "assumed".
        counting_time: Seconds for each point that the intensities stand for, 1 if they
            are counts per second; None if the file does not tell.
    """

    two_theta: Float64[np.ndarray, " points"]
    intensity: Float64[np.ndarray, " points"]
    radiation: Radiation | None = None
    sigma: Float64[np.ndarray, " points"] | None = None
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    quantity: str = "2theta"
    unit: str = "degrees"
    stated: Mapping[str, str] = field(default_factory=dict)
    counting_time: float | None = None

    def __post_init__(self) -> None:
        freeze_arrays(self)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        object.__setattr__(self, "stated", MappingProxyType(dict(self.stated)))

    def __len__(self) -> int:
        return len(self.two_theta)

    @property
    def step(self) -> float:
        """Usual distance of neighbouring angles [degrees]."""
        return float(np.median(np.diff(self.two_theta)))


def make_pattern(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    radiation: Radiation | None = None,
    sigma: Float64[np.ndarray, " points"] | None = None,
    name: str = "",
    metadata: Mapping[str, str] | None = None,
    warnings: tuple[str, ...] = (),
    *,
    quantity: str = "2theta",
    unit: str = "degrees",
    stated: Mapping[str, str] | None = None,
    counting_time: float | None = None,
) -> MeasuredPattern:
    """Check numbers that somebody else wrote, and make a pattern of them.

    Raises:
        SourceError: If they cannot be a scan; one sentence that names the place.
    """
    angles, counts = (
        _as_numbers(two_theta, "angle"),
        _as_numbers(intensity, "intensity"),
    )
    if len(angles) != len(counts):
        raise SourceError(
            f"{name}: {len(angles)} angles, but {len(counts)} intensities; a scan "
            "needs one intensity for each angle"
        )
    _check_size(len(angles), name)
    _check_angles(angles, name)
    warnings += _check_intensities(angles, counts, name)
    if sigma is not None:
        sigma = np.array(sigma, np.float64)
        if sigma.shape != counts.shape or not np.isfinite(sigma).all():
            sigma = None
            warnings += ("The uncertainties are not one number a point: left out.",)
    if stated is None:
        told = "not stated" if radiation is None else "the format"
        stated = {"quantity": "the format", "radiation": told}
    return MeasuredPattern(
        angles, counts, radiation, sigma, name, metadata or {}, warnings, quantity,
        unit, stated,
        counting_time if counting_time is not None and counting_time > 0.0 else None,
    )  # fmt: skip


def _as_numbers(values: object, what: str) -> Float64[np.ndarray, " points"]:
    """Numbers in a row, our own copy."""
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise SourceError(f"an {what} is not a number") from None
    if numbers.ndim != 1:
        raise SourceError(
            f"the {what} has {numbers.ndim} axes; a scan is one row of numbers"
        )
    return numbers


def _check_size(count: int, name: str) -> None:
    if count < MIN_POINTS:
        raise SourceError(f"{name}: {count} points; a scan has at least {MIN_POINTS}")
    if count > MAX_POINTS:
        raise SourceError(
            f"{name}: {count:,} points, more than the {MAX_POINTS:,} that are read; "
            "add up neighbouring points first"
        )


def _check_angles(angles: Float64[np.ndarray, " points"], name: str) -> None:
    if not np.isfinite(angles).all():
        place = int(np.flatnonzero(~np.isfinite(angles))[0])
        raise SourceError(
            f"{name}: the angle of point {place + 1} is {angles[place]}; leave out "
            "what was not measured"
        )
    step = np.diff(angles)
    if not (step > 0.0).all():
        place = int(np.flatnonzero(step <= 0.0)[0])
        raise SourceError(
            f"{name}: the angles do not ascend, {angles[place + 1]:g} degrees (point "
            f"{place + 2}) follows {angles[place]:g}; sort the scan by angle, and "
            "give scans of their own files of their own"
        )
    if not -180.0 < angles[0] < angles[-1] < 180.0:
        raise SourceError(
            f"{name}: the first column runs from {angles[0]:g} to {angles[-1]:g}, "
            "which are no angles 2θ in degrees (above -180, below 180)"
        )


def _check_intensities(
    angles: Float64[np.ndarray, " points"],
    counts: Float64[np.ndarray, " points"],
    name: str,
) -> tuple[str, ...]:
    if not np.isfinite(counts).all():
        place = int(np.flatnonzero(~np.isfinite(counts))[0])
        raise SourceError(
            f"{name}: the intensity at {angles[place]:g} degrees is {counts[place]}; "
            "leave out what was not measured"
        )
    highest, lowest = float(counts.max()), float(counts.min())
    if highest <= 0.0:
        raise SourceError(f"{name}: no intensity is above zero; there is no pattern")
    # Squares of intensities must fit into a float.
    if highest > 1e150:
        raise SourceError(f"{name}: an intensity of {highest:g} is no count")
    if lowest < -_NEGATIVE_SHARE * highest:
        place = int(counts.argmin())
        raise SourceError(
            f"{name}: negative counts, {lowest:g} at {angles[place]:g} degrees where "
            f"the strongest point has {highest:g}; give the scan as it was measured, "
            "without subtracting a background"
        )
    if lowest < 0.0:
        return (
            f"{int((counts < 0).sum())} of {len(counts)} intensities are below zero "
            f"(lowest {lowest:g}): a background seems to be subtracted already.",
        )
    return ()


def find_radiation(wavelength: float) -> Radiation | None:
    """Make a radiation of the wavelength that a file states [Å].

    The mean of an unresolved Kα doublet, such as 1.5418 Å, becomes its two lines;
    anything else is the single line that the file says, to its last digit: 0.7093 Å is
    called MoKa1 and stays 0.7093 Å, of whichever table it was taken.
    """
    try:
        single = Radiation.parse(float(wavelength))
    except PatternError:
        return None
    for name, lines in NAMED_LINES.items():
        mean = Radiation(lines, name)
        # Means are quoted from 1.54178 to 1.5419 for copper.
        if len(lines) == 2 and abs(wavelength / mean.wavelength - 1.0) < 1e-4:
            return mean
        if len(lines) == 1 and abs(wavelength / mean.wavelength - 1.0) < 3e-5:
            return Radiation(single.lines, name)
    return single


def make_doublet(
    first: float | None, second: float | None, ratio: float | None, anode: str = ""
) -> Radiation | None:
    """Make a radiation of what an instrument wrote down: Kα1, Kα2 [Å], Kα2/Kα1.

    Returns:
        Both lines if all three are there, else Kα1 alone, else None.
    """
    if first is None or not 0.1 <= first <= 25.0:
        return None
    name = f"{anode}Ka" if anode.isalpha() else ""
    if (
        second is None
        or ratio is None
        or not 0.0 < ratio <= 2.0
        or not 1.0 < second / first < 1.05
    ):
        return Radiation(((first, 1.0),), f"{name}1" if name else f"{first:g} Å")
    weight = 1.0 / (1.0 + ratio)
    lines = ((first, weight), (second, 1.0 - weight))
    return Radiation(lines, name or f"{first:g} and {second:g} Å")


def read_number(text: object) -> float | None:
    """Read a finite number with or without an uncertainty in brackets."""
    try:
        value = float(str(text).strip().strip("'\"").split("(")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None
