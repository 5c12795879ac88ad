"""Effects on lines that act when patterns are rendered: doublet, shifts, widths.

Stored lists of peaks can take them anew, other ones in every epoch.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pxrdbench.diffraction.line_lists import (
    drop_beyond,
    merge_lists,
    move_by_cosine,
    move_to_wavelength,
)
from pxrdbench.diffraction.measurement.effect import (
    Effect,
    Range,
    Samples,
    spread,
    spread_log,
)
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import Broadening
from pxrdbench.errors import PatternError


@dataclass(frozen=True)
class SpectralLines(Effect):
    """Split lines of one wavelength into those of a radiation, as Kα1 and Kα2.

    Acts on peaks when patterns are rendered. A line at θ moves to

        sin θ_i = sin θ · λ_i / λ

    with the wavelength λ that the peaks were simulated at. Form factors and the
    Lorentz-polarisation factor stay those of λ: to 0.5 % of a line for a Kα doublet.

    Attributes:
        lines: Wavelength [Å] and weight of each line.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 10

    lines: tuple[tuple[float, float], ...] = Radiation.parse("CuKa").lines

    def __post_init__(self) -> None:
        Radiation(self.lines)

    def apply(
        self, peaks: PeakBatch, samples: Samples, grid: TwoThetaGrid
    ) -> PeakBatch:
        """Replace each peak by one for each spectral line.

        Raises:
            PatternError: If the peaks were made with another anode.
        """
        result: PeakBatch | None = None
        for wavelength, weight in self.lines:
            ratio = wavelength / peaks.wavelength
            if not 0.95 < ratio < 1.05:
                raise PatternError(
                    f"peaks simulated at {peaks.wavelength} angstrom cannot become "
                    f"lines at {wavelength}; they must be within 5 %"
                )
            moved = move_to_wavelength(peaks.two_theta, ratio)
            line = drop_beyond(
                replace(peaks, two_theta=moved, intensity=weight * peaks.intensity),
                0.0,
                180.0,
            )
            result = line if result is None else merge_lists(result, line)
        if result is None:
            raise PatternError("a radiation needs lines")
        return result


@dataclass(frozen=True)
class ZeroShift(Effect):
    """A detector whose zero is off: 2θ ← 2θ + shift.

    Acts on peaks when patterns are rendered.

    Attributes:
        degrees: Shift on the scale of 2θ.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 11

    degrees: Range = (-0.03, 0.03)

    def __post_init__(self) -> None:
        self._check("degrees", -5.0, 5.0)

    def apply(
        self, peaks: PeakBatch, samples: Samples, grid: TwoThetaGrid
    ) -> PeakBatch:
        """Move all peaks of a sample by one angle."""
        shift = spread(self.degrees, self.uniforms(samples, 1)[:, 0])
        each = np.repeat(shift, np.diff(peaks.peak_offset))
        moved = replace(peaks, two_theta=peaks.two_theta + each)
        return drop_beyond(moved, 0.0, 180.0)


@dataclass(frozen=True)
class SampleDisplacement(Effect):
    """A flat sample that lies above or below the axis of the goniometer.

        Δ2θ = −2 s cos θ / R   [radians]

    Acts on peaks when patterns are rendered.

    Attributes:
        millimetre: s, positive away from tube and detector.
        radius_mm: R of the goniometer.

    References:
        Wilson (1963), Mathematical Theory of X-ray Powder Diffractometry, ch. 2.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 12

    millimetre: Range = (-0.1, 0.1)
    radius_mm: float = 217.5

    def __post_init__(self) -> None:
        self._check("millimetre", -5.0, 5.0)
        if not 50.0 <= self.radius_mm <= 2000.0:
            raise PatternError(
                f"radius_mm is {self.radius_mm}; it lies between 50 and 2000"
            )

    def apply(
        self, peaks: PeakBatch, samples: Samples, grid: TwoThetaGrid
    ) -> PeakBatch:
        """Move peaks, those at low angles most."""
        height = spread(self.millimetre, self.uniforms(samples, 1)[:, 0])
        most = np.degrees(-2.0 * height / self.radius_mm)
        moved = move_by_cosine(peaks.two_theta, peaks.peak_offset, most)
        return drop_beyond(replace(peaks, two_theta=moved), 0.0, 180.0)


@dataclass(frozen=True)
class SpuriousPeaks(Effect):
    """Lines of no crystal in the model: holder, tungsten from the tube, a stray grain.

    Acts on peaks when patterns are rendered. Places are uniform over the grid; areas,
    relative to the sample's strongest peak, uniform in their logarithm.

    Attributes:
        count: Fewest and most lines.
        area: Area relative to the strongest peak.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 13

    count: tuple[int, int] = (0, 2)
    area: Range = (0.003, 0.05)

    def __post_init__(self) -> None:
        self._check("count", 0.0, 100.0)
        self._check("area", 1e-6, 10.0)

    def apply(
        self, peaks: PeakBatch, samples: Samples, grid: TwoThetaGrid
    ) -> PeakBatch:
        """Add lines to each list."""
        most = self.count[1]
        uniforms = self.uniforms(samples, 1 + 2 * most)
        n = self.count[0] + np.floor(uniforms[:, 0] * (most - self.count[0] + 1))
        wanted = np.arange(most) < n[:, None]
        place = spread((grid.start, grid.stop), uniforms[:, 1 : 1 + most])
        area = spread_log(self.area, uniforms[:, 1 + most :])
        order = np.argsort(np.where(wanted, place, math.inf), axis=1)
        strongest = np.array(
            [
                peaks.intensity[first:last].max(initial=0.0)
                for first, last in zip(
                    peaks.peak_offset[:-1], peaks.peak_offset[1:], strict=True
                )
            ]
        )
        area = np.take_along_axis(area * strongest[:, None], order, 1)
        kept = np.take_along_axis(wanted, order, 1)
        extra = PeakBatch(
            two_theta=np.take_along_axis(place, order, 1)[kept],
            intensity=area[kept],
            peak_offset=np.concatenate([[0], np.cumsum(kept.sum(axis=1))]),
        )
        return merge_lists(peaks, extra)


@dataclass(frozen=True)
class InstrumentProfile(Effect):
    """Widths of instrument and strain, beside those of the crystallite size.

    Acts when patterns are rendered, as a `Broadening`; formulae stand there.

    Attributes:
        u: Caglioti coefficient on the scale of 2θ [degrees²], with v and w.
        x: Lorentzian coefficient of strain [degrees].
        y: Lorentzian coefficient of size [degrees].
        strain: Mean relative deviation of d; Lorentzian.
        lorentz_share: Fixed part of the area in the Lorentzian; without it Thompson,
            Cox and Hastings decide.
    """

    acts_on: ClassVar[Literal["patterns"]] = "patterns"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 20

    u: Range = (0.0, 0.01)
    v: Range = (0.0, 0.0)
    w: Range = (0.001, 0.01)
    x: Range = (0.0, 0.0)
    y: Range = (0.0, 0.0)
    strain: Range = (0.0, 0.0)
    lorentz_share: Range | None = None

    def __post_init__(self) -> None:
        for name in ("u", "w", "x", "y"):
            self._check(name, 0.0, 10.0)
        self._check("v", -10.0, 10.0)
        self._check("strain", 0.0, 0.1)
        if self.lorentz_share is not None:
            self._check("lorentz_share", 0.0, 1.0)
        if (u := self.u[0]) * 4.0 * self.w[0] < min(self.v[0], 0.0) ** 2:
            raise PatternError(
                f"InstrumentProfile: with u {u}, v {self.v[0]} and w {self.w[0]} the "
                "squared width u tan² θ + v tan θ + w falls below zero; v² must not "
                "exceed 4 u w"
            )

    def draw(self, samples: Samples) -> Broadening:
        """Widths of each sample."""
        uniforms = self.uniforms(samples, 7)
        share = self.lorentz_share
        return Broadening(
            u=spread(self.u, uniforms[:, 0]),
            v=spread(self.v, uniforms[:, 1]),
            w=spread(self.w, uniforms[:, 2]),
            x=spread(self.x, uniforms[:, 3]),
            y=spread(self.y, uniforms[:, 4]),
            strain=spread(self.strain, uniforms[:, 5]),
            lorentz_share=None if share is None else spread(share, uniforms[:, 6]),
        )
