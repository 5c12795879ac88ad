"""The lines of a pattern: where they are, how strong, how sure."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pxrdbench.errors import PatternError
from pxrdbench.frozen import freeze_arrays


@dataclass(frozen=True, eq=False)
class LineList:
    """Diffraction lines of one pattern, ascending in 2θ.

    Attributes:
        two_theta: Positions of the spectral line ``wavelength`` [degrees].
        two_theta_error: Their standard errors [degrees].
        intensity: Integrated intensities, relative to the strongest.
        fwhm: Full widths at half maximum [degrees].
        significance: Heights over the standard error of heights; infinite where the
            pattern has no noise.
        wavelength: Wavelength that positions refer to [Å].
        two_theta_range: Angles between which lines were looked for [degrees].
    """

    two_theta: Float64[np.ndarray, " lines"]
    two_theta_error: Float64[np.ndarray, " lines"]
    intensity: Float64[np.ndarray, " lines"]
    fwhm: Float64[np.ndarray, " lines"]
    significance: Float64[np.ndarray, " lines"]
    wavelength: float
    two_theta_range: tuple[float, float]

    def __post_init__(self) -> None:
        if np.any(np.diff(self.two_theta) < 0.0):
            raise PatternError("the lines of a list must ascend in 2θ")
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.two_theta)

    @property
    def inverse_d2(self) -> Float64[np.ndarray, " lines"]:
        """1/d² = (2 sin θ / λ)² [Å⁻²] (Bragg's law)."""
        sine = np.sin(np.radians(self.two_theta / 2))
        value: np.ndarray = (2.0 * sine / self.wavelength) ** 2
        return value

    @property
    def inverse_d2_error(self) -> Float64[np.ndarray, " lines"]:
        """Standard error of 1/d²: (2 sin 2θ / λ²) · σ(2θ in radians) [Å⁻²]."""
        slope = 2.0 * np.sin(np.radians(self.two_theta)) / self.wavelength**2
        error: np.ndarray = slope * np.radians(self.two_theta_error)
        return error
