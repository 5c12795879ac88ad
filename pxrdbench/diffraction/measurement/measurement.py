"""What an instrument and a sample add to a pattern: chosen effects, drawn by index.

Two moments decide what can be drawn anew. Effects that act when peaks are *drawn*
(cell, thermal motion, texture, phases by weight; the radiation itself) are part of a
stored list of peaks. Effects that act when patterns are *rendered* (spectral lines,
shifts, widths, background, noise, range, steps) can be other ones in every epoch.

    crystals --simulate--> peaks --render--> scans

Every random number of sample i comes from its own stream, keyed by (seed, i).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float32

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.kernels.noise import rescale
from pxrdbench.diffraction.line_lists import gather_lists
from pxrdbench.diffraction.measurement.effect import Effect, Samples
from pxrdbench.diffraction.measurement.line_effects import (
    InstrumentProfile,
    SampleDisplacement,
    SpectralLines,
    SpuriousPeaks,
    ZeroShift,
)
from pxrdbench.diffraction.measurement.sample_effects import (
    ImpurityPhases,
    LatticeStrain,
    PhasePool,
    Texture,
    ThermalMotion,
    mass_times_volume,
)
from pxrdbench.diffraction.measurement.scan_effects import (
    AmorphousHumps,
    CoarserSteps,
    CountingNoise,
    GaussianNoise,
    ImpurityPattern,
    PartialRange,
    PatternEffect,
    PolynomialBackground,
    ProcessBackground,
)
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.peaks import Precision, simulate_peaks
from pxrdbench.diffraction.polarization import Polarization
from pxrdbench.diffraction.profile import PerPattern, render_roughly
from pxrdbench.diffraction.scattering import Scattering
from pxrdbench.errors import PatternError
from pxrdbench.frozen import freeze_arrays

EFFECTS: dict[str, type[Effect]] = {
    effect.__name__: effect
    for effect in (
        LatticeStrain,
        ThermalMotion,
        Texture,
        ImpurityPhases,
        SpectralLines,
        ZeroShift,
        SampleDisplacement,
        SpuriousPeaks,
        InstrumentProfile,
        ImpurityPattern,
        ProcessBackground,
        PolynomialBackground,
        AmorphousHumps,
        GaussianNoise,
        CountingNoise,
        CoarserSteps,
        PartialRange,
    )
}

# An impurity of a twentieth of a pattern may have twenty times the error.
TRACE_ROUGHNESS = 20.0
# The tolerance of measured-looking patterns is 1e-3 of the maximum.
OWN_ROUGHNESS = 2.0

LineEffect = SpectralLines | ZeroShift | SampleDisplacement | SpuriousPeaks
_E = TypeVar("_E", bound=Effect)


@dataclass(frozen=True, eq=False)
class Scans:
    """Patterns as an instrument would have written them.

    Attributes:
        intensity: One pattern a row, maximum one; zero where nothing was measured.
        is_measured: Points inside each scan's range; None if all are.
    """

    intensity: Float32[np.ndarray, "batch points"]
    is_measured: Bool[np.ndarray, "batch points"] | None = None

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True)
class Measurement:
    """The effects of one kind of measurement, in the order in which they act.

    Attributes:
        effects: One of a kind; sorted by their rank.
        subtract_minimum: Whether the lowest point of a scan becomes zero.
        name: What to print.

    Example:
        >>> noisy = Measurement((CountingNoise((1000.0, 1000.0)), ZeroShift()))
        >>> [type(effect).__name__ for effect in noisy.effects]
        ['ZeroShift', 'CountingNoise']
    """

    effects: tuple[Effect, ...] = ()
    subtract_minimum: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        kinds = [type(effect) for effect in self.effects]
        for kind in kinds:
            if kind.__name__ not in EFFECTS:
                raise PatternError(
                    f"{kind.__name__} is no effect of a measurement; known are "
                    f"{', '.join(EFFECTS)}"
                )
            if kinds.count(kind) > 1:
                raise PatternError(
                    f"{kind.__name__} occurs {kinds.count(kind)} times; one of a kind "
                    "is possible, since they would draw the same random numbers"
                )
        ordered = tuple(sorted(self.effects, key=lambda effect: effect.rank))
        object.__setattr__(self, "effects", ordered)

    @property
    def needs_pool(self) -> bool:
        """Whether impurities must be given, as a `PhasePool`."""
        return any(
            isinstance(effect, ImpurityPhases | ImpurityPattern)
            for effect in self.effects
        )

    @property
    def drawn_effects(self) -> tuple[Effect, ...]:
        """Those that a stored list of peaks keeps."""
        return tuple(e for e in self.effects if e.acts_when == "drawn")

    def simulate(
        self,
        crystals: CrystalBatch,
        samples: Samples,
        radiation: str | float | Radiation = "CuKa1",
        two_theta: tuple[float, float] = (5.0, 90.0),
        scattering: Scattering = "default",
        precision: Precision = "single",
        *,
        polarization: Polarization | None = None,
        pool: PhasePool | None = None,
    ) -> PeakBatch:
        """Simulate peaks with the effects that act when peaks are drawn.

        Args:
            crystals: One for each sample.
            samples: Which samples these are.
            radiation: As for ``simulate_peaks``, and so on.
            two_theta: Lowest and highest angle 2θ [degrees].
            scattering: Tables of ``pxrdbench.diffraction.scattering``.
            precision: Of the structure factors.
            polarization: Of the beam.
            pool: Where impurities by weight come from.

        Raises:
            PatternError: If numbers of samples differ, or a pool is missing.
        """
        self._check_count(samples, len(crystals))
        for effect in self.effects:
            if isinstance(effect, LatticeStrain | ThermalMotion):
                crystals = effect.apply(crystals, samples)
        texture = self.get(Texture)
        peaks = simulate_peaks(
            crystals,
            radiation,
            two_theta,
            scattering,
            precision,
            polarization=polarization,
            texture=None if texture is None else texture.draw(samples),
        )
        if (impurities := self.get(ImpurityPhases)) is None:
            return peaks
        return impurities.apply(
            peaks, samples, self._need(pool), mass_times_volume(crystals)
        )

    def render(
        self,
        peaks: PeakBatch,
        grid: TwoThetaGrid,
        samples: Samples,
        crystallite_size_nm: PerPattern | None = None,
        *,
        pool: PhasePool | None = None,
    ) -> Scans:
        """Make scans of peaks with the effects that act when patterns are rendered.

        Args:
            peaks: One list for each sample, of one wavelength.
            grid: Angles of the result.
            samples: Which samples these are; another seed gives other noise.
            crystallite_size_nm: As for ``render``.
            pool: Where an impurity by height comes from.

        Raises:
            PatternError: If numbers of samples differ, a pool is missing, or a
                pattern has no peak on the grid.
        """
        self._check_count(samples, len(peaks))
        profile = self.get(InstrumentProfile)
        broadening = None if profile is None else profile.draw(samples)
        lines = self._change_lines(peaks, samples, grid)
        intensity = render_roughly(
            lines, grid, crystallite_size_nm, broadening, OWN_ROUGHNESS
        )
        if (impurity := self.get(ImpurityPattern)) is not None:
            pool = self._need(pool)
            rows = impurity.pick(samples, pool)
            other = gather_lists(pool.strong_peaks, rows, np.ones(len(rows)))
            other = self._change_lines(other, samples, grid, spurious=False)
            foreign = render_roughly(
                other, grid, crystallite_size_nm, broadening, TRACE_ROUGHNESS
            )
            impurity.mix(intensity, foreign, samples)
        partial = self.get(PartialRange)
        mask = None if partial is None else partial.mask(intensity, samples, grid)
        for effect in self.effects:
            if isinstance(effect, PatternEffect):
                effect.change(intensity, samples, grid)
        self._rescale(intensity, mask)
        return Scans(intensity, mask)

    def get(self, kind: type[_E]) -> _E | None:
        """The effect of one kind, if it is one of these."""
        return next((e for e in self.effects if isinstance(e, kind)), None)

    def to_dict(self) -> dict[str, Any]:
        """All choices as plain data, for a recipe."""
        return {
            "name": self.name,
            "subtract_minimum": self.subtract_minimum,
            "effects": [effect.to_dict() for effect in self.effects],
        }

    @classmethod
    def from_dict(cls, contents: Mapping[str, Any]) -> "Measurement":
        """Make the measurement that `to_dict` wrote down, JSON's lists included.

        Raises:
            PatternError: If an effect or one of its ranges is unknown.
        """
        effects = []
        for entry in contents["effects"]:
            kind = EFFECTS.get(entry["effect"])
            values = {k: _to_tuple(v) for k, v in entry.items() if k != "effect"}
            if kind is None or not set(values) <= {
                field.name for field in fields(kind)
            }:
                raise PatternError(
                    f"unknown effect {entry}; known are {', '.join(EFFECTS)}"
                )
            effects.append(kind(**values))
        return cls(
            tuple(effects), bool(contents["subtract_minimum"]), str(contents["name"])
        )

    def _change_lines(
        self,
        peaks: PeakBatch,
        samples: Samples,
        grid: TwoThetaGrid,
        *,
        spurious: bool = True,
    ) -> PeakBatch:
        for effect in self.effects:
            if isinstance(effect, SpuriousPeaks) and not spurious:
                continue
            if isinstance(effect, LineEffect):
                peaks = effect.apply(peaks, samples, grid)
        return peaks

    def _rescale(
        self,
        intensity: Float32[np.ndarray, "batch points"],
        mask: Bool[np.ndarray, "batch points"] | None,
    ) -> None:
        """Give each scan a maximum of one within its range, in place."""
        n = intensity.shape[1]
        first = np.zeros(len(intensity), np.int64)
        last = np.full(len(intensity), n)
        if mask is not None:
            first, last = mask.argmax(axis=1), n - mask[:, ::-1].argmax(axis=1)
        empty = rescale(intensity, first, last, self.subtract_minimum)
        if empty >= 0:
            raise PatternError(f"scan {empty} is empty or not finite", index=int(empty))

    def _need(self, pool: PhasePool | None) -> PhasePool:
        if pool is None:
            raise PatternError(
                f"measurement {self.name!r} adds impurities: pass pool=PhasePool…"
            )
        return pool

    def _check_count(self, samples: Samples, count: int) -> None:
        if samples.count != count:
            raise PatternError(
                f"{samples.count} samples, but {count} crystals or lists of peaks"
            )


def _to_tuple(value: Any) -> Any:
    """Lists as JSON has them, as the tuples that they were."""
    return tuple(_to_tuple(v) for v in value) if isinstance(value, list) else value


# FWHM² = U tan² θ + W on the scale of θ with U and W in (0, 0.01) degrees² is four
# times that on the scale of 2θ. The narrowest line is one step of 0.01 degrees wide:
# narrower ones would fall between the points of the grid.
_RRUFF_PAPER_PROFILE = InstrumentProfile(
    u=(0.0, 0.04), w=(1e-4, 0.04), lorentz_share=(0.0, 1.0)
)
# Kα1 and Kα2 as in the reference work, placed from the peaks' own wavelength; there a
# mean of 1.541838 Å was taken for it, which shifts all lines by 0.08 %.
_RRUFF_PAPER_LINES = SpectralLines(((1.54056, 2 / 3), (1.54439, 1 / 3)))
_RRUFF_PAPER = (
    _RRUFF_PAPER_LINES,
    _RRUFF_PAPER_PROFILE,
    ProcessBackground(),
    GaussianNoise(),
)

MEASUREMENTS: dict[str, Measurement] = {
    measurement.name: measurement
    for measurement in (
        Measurement((*_RRUFF_PAPER, ImpurityPattern()), True, "rruff-paper"),
        Measurement(_RRUFF_PAPER, True, "rruff-paper-pure"),
        Measurement(
            (
                LatticeStrain(),
                ThermalMotion(),
                Texture(),
                ImpurityPhases(),
                SpectralLines(),
                ZeroShift(),
                SampleDisplacement(),
                SpuriousPeaks(),
                InstrumentProfile(strain=(0.0, 0.001), y=(0.0, 0.03)),
                PolynomialBackground(),
                AmorphousHumps(),
                CountingNoise(),
            ),
            False,
            "laboratory",
        ),
    )
}


def load_measurement(name: str) -> Measurement:
    """Find a preset: ``rruff-paper``, ``rruff-paper-pure`` or ``laboratory``.

    ``rruff-paper`` imitates measured minerals as Schopmans et al. (2023, ESI S4) did,
    with its wavelength mistake mended; ``laboratory`` is a powder diffractometer with
    copper, everything in physical units.

    Raises:
        PatternError: If the name is unknown.
    """
    if name not in MEASUREMENTS:
        raise PatternError(
            f"unknown measurement {name!r}; known are {', '.join(MEASUREMENTS)}"
        )
    return MEASUREMENTS[name]
