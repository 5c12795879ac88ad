"""What a pattern is measured with and on: radiation, angles, peak lists."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64, Int16, Int64

from pxrdbench.errors import PatternError


@dataclass(frozen=True)
class TwoThetaGrid:
    """Equidistant diffraction angles.

    Attributes:
        start: First angle 2θ [degrees].
        stop: Last angle 2θ [degrees], included.
        points: Number of angles.
    """

    start: float = 5.0
    stop: float = 90.0
    points: int = 8501

    def __post_init__(self) -> None:
        if not 0.0 < self.start < self.stop < 180.0:
            raise PatternError(
                f"a grid runs from {self.start} to {self.stop} degrees; "
                "it must hold that 0 < start < stop < 180"
            )
        if self.points < 2:
            raise PatternError(
                f"a grid has {self.points} points; at least 2 are needed"
            )

    @property
    def step(self) -> float:
        """Distance of neighbouring angles [degrees]."""
        return (self.stop - self.start) / (self.points - 1)

    def angles(self) -> Float64[np.ndarray, " points"]:
        """All angles 2θ [degrees]."""
        return np.linspace(self.start, self.stop, self.points)


# Kα1 and Kα2 of copper [Å] as the powder community uses them: 1.5406 is the
# reference work's single line (Schopmans et al. 2023); the doublet and its weights
# 2:1 are those of Hölzer et al. (1997), Phys. Rev. A 56, 4554.
_NAMED_LINES: dict[str, tuple[tuple[float, float], ...]] = {
    "CuKa1": ((1.5406, 1.0),),
    "CuKa": ((1.540593, 2 / 3), (1.544427, 1 / 3)),
}


@dataclass(frozen=True)
class Radiation:
    """The spectral lines that a pattern is made with.

    Attributes:
        lines: Wavelength [Å] and weight of each line; the weights add up to 1.
        name: What to print.

    Example:
        >>> Radiation.parse("CuKa1").lines
        ((1.5406, 1.0),)
    """

    lines: tuple[tuple[float, float], ...]
    name: str = ""

    def __post_init__(self) -> None:
        for wavelength, weight in self.lines:
            # From hard synchrotron radiation (120 keV) to vanadium L edges.
            if not 0.1 <= wavelength <= 25.0 or not weight > 0.0:
                raise PatternError(
                    f"wavelength {wavelength} angstrom with weight {weight}; "
                    "wavelengths lie between 0.1 and 25, weights above 0"
                )
        if not self.lines or abs(sum(w for _, w in self.lines) - 1.0) > 1e-9:
            raise PatternError("a radiation needs lines whose weights add up to 1")

    @property
    def wavelength(self) -> float:
        """Mean of the lines by weight [Å]."""
        return sum(wavelength * weight for wavelength, weight in self.lines)

    @classmethod
    def parse(cls, radiation: "str | float | Radiation") -> "Radiation":
        """Make a radiation from a name, a wavelength [Å] or a radiation.

        Raises:
            PatternError: If the name is unknown; it lists those known.
        """
        if isinstance(radiation, Radiation):
            return radiation
        if isinstance(radiation, str):
            if radiation not in _NAMED_LINES:
                raise PatternError(
                    f"unknown radiation {radiation!r}; known are "
                    f"{', '.join(_NAMED_LINES)}, or give a wavelength in angstrom"
                )
            return cls(_NAMED_LINES[radiation], radiation)
        return cls(((float(radiation), 1.0),), f"{float(radiation):g} Å")


@dataclass(frozen=True, eq=False)
class PeakBatch:
    """Reflections of many crystals; those of crystal i are offset[i]:offset[i+1].

    Attributes:
        two_theta: Angle 2θ [degrees], ascending within a crystal.
        intensity: Integrated intensity; arbitrary units, one scale for a crystal.
        peak_offset: First peak of each crystal, and the number of all peaks.
        hkl: Miller indices of one reflection of each peak, if asked for.
        wavelength: Mean of the radiation's lines by weight [Å]; turns a crystallite
            size into a width.
    """

    two_theta: Float64[np.ndarray, " peaks"]
    intensity: Float64[np.ndarray, " peaks"]
    peak_offset: Int64[np.ndarray, " batch_and_one"]
    hkl: Int16[np.ndarray, "peaks 3"] | None = None
    wavelength: float = 1.5406

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.peak_offset) - 1
