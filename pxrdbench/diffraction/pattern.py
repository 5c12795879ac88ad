"""What a pattern is measured with and on: radiation, angles, peak lists."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.frozen import freeze_arrays

__all__ = ["PeakBatch", "Radiation", "TwoThetaGrid"]

# Six times the finest scans of synchrotrons (0.001 degrees). A file that says more
# would have memory taken for patterns that nobody has.
MOST_POINTS = 1_000_000


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
        if self.points > MOST_POINTS or self.points != int(self.points):
            raise PatternError(
                f"a grid has {self.points} points; whole numbers up to "
                f"{MOST_POINTS:,} can be"
            )

    @property
    def step(self) -> float:
        """Distance of neighbouring angles [degrees]."""
        return (self.stop - self.start) / (self.points - 1)

    def angles(self) -> Float64[np.ndarray, " points"]:
        """All angles 2θ [degrees]."""
        return np.linspace(self.start, self.stop, self.points)


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
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.peak_offset) - 1
