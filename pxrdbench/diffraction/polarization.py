"""How the beam is polarised: tube, monochromator, synchrotron."""

import math
from dataclasses import dataclass
from typing import Literal

from pxrdbench.errors import PatternError


@dataclass(frozen=True)
class Polarization:
    """What decides the polarisation factor of a line.

        Lp = (s + p cos² 2θ) / (sin² θ cos θ)
        s ∝ f,    p ∝ (1 − f) m,    s + p = 2
        m = cos² 2θ_M (mosaic crystal)  or  |cos 2θ_M| (perfect crystal)

    f is the part of the beam whose electric field stands upright on the plane of
    diffraction; m is what a monochromator in that plane, before or behind the sample,
    leaves of the other part. A tube without monochromator has f = 1/2 and m = 1, which
    is the usual (1 + cos² 2θ).

    Attributes:
        sigma_fraction: f, 0 to 1; 1/2 for a tube, about 0.95-0.99 at a synchrotron
            with a vertical plane of diffraction.
        monochromator_two_theta: 2θ_M [degrees]; 0 for none, 26.6 for graphite (002)
            and 27.3 for germanium (111) at Cu Kα.
        monochromator: ``mosaic`` as graphite, or ``perfect`` as germanium or silicon.

    References:
        Azároff (1955), Acta Cryst. 8, 701 (monochromator, both kinds of crystal).
        Kahn, Fourme, Gadet, Janin, Dumas & André (1982), J. Appl. Cryst. 15, 330
        (synchrotron).

    Example:
        >>> Polarization().weights
        (1.0, 1.0)
    """

    sigma_fraction: float = 0.5
    monochromator_two_theta: float = 0.0
    monochromator: Literal["mosaic", "perfect"] = "mosaic"

    def __post_init__(self) -> None:
        if not 0.0 <= self.sigma_fraction <= 1.0:
            raise PatternError(
                f"sigma_fraction is {self.sigma_fraction}; it lies between 0 and 1"
            )
        if not 0.0 <= self.monochromator_two_theta < 180.0:
            raise PatternError(
                f"monochromator_two_theta is {self.monochromator_two_theta} degrees; "
                "it must hold that 0 <= angle < 180"
            )
        if self.monochromator not in {"mosaic", "perfect"}:
            raise PatternError(
                f"unknown monochromator {self.monochromator!r}; "
                "known are mosaic, perfect"
            )

    @property
    def weights(self) -> tuple[float, float]:
        """S and p of the formula, which add up to 2."""
        passed = abs(math.cos(math.radians(self.monochromator_two_theta)))
        if self.monochromator == "mosaic":
            passed *= passed
        sigma = self.sigma_fraction
        pi = (1.0 - self.sigma_fraction) * passed
        if not sigma + pi > 0.0:
            raise PatternError(
                "the monochromator stops the whole beam: sigma_fraction 0 at 2θ_M = 90"
            )
        return 2.0 * sigma / (sigma + pi), 2.0 * pi / (sigma + pi)
