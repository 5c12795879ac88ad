"""Effects on patterns that act when they are rendered: background, noise, range.

Patterns come with a maximum of one; all heights are parts of it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64

from pxrdbench.crystal.rng import STREAM_MEASUREMENT
from pxrdbench.diffraction.kernels.background import (
    add_humps,
    add_polynomials,
    add_process_backgrounds,
)
from pxrdbench.diffraction.kernels.noise import (
    add_gaussian_noise,
    count_photons,
    half_normal_quantiles,
    mix_patterns,
)
from pxrdbench.diffraction.measurement.effect import (
    Effect,
    Range,
    Samples,
    spread,
    spread_log,
)
from pxrdbench.diffraction.measurement.sample_effects import PhasePool
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import PatternError

Patterns = Float32[np.ndarray, "batch points"]


@dataclass(frozen=True)
class PatternEffect(Effect):
    """An effect that turns patterns into patterns."""

    acts_on: ClassVar[Literal["patterns"]] = "patterns"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"

    def apply(
        self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid
    ) -> Patterns:
        """Return changed patterns; the given ones stay as they are."""
        result = intensity.copy()
        self.change(result, samples, grid)
        return result

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Change patterns in place."""
        raise NotImplementedError

    def _key(self, samples: Samples) -> tuple[np.uint64, ...]:
        """Seed, first index, stream and first block for a kernel."""
        return (
            np.uint64(samples.seed),
            np.uint64(samples.start),
            np.uint64(STREAM_MEASUREMENT),
            np.uint64(self.first_block()),
        )


@dataclass(frozen=True)
class ImpurityPattern(Effect):
    """One impurity by the height of its pattern, as the reference work mixes them.

        p ← ((1 − w) p + w p_impurity) / maximum

    both with a maximum of one: w is a ratio of heights, no weight fraction. Acts on
    patterns when they are rendered.

    Attributes:
        height: w.

    References:
        Schopmans et al. (2023), Digital Discovery 2, 1414, ESI S4.
    """

    acts_on: ClassVar[Literal["patterns"]] = "patterns"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 21

    height: Range = (0.0, 0.05)

    def __post_init__(self) -> None:
        self._check("height", 0.0, 1.0)

    def pick(self, samples: Samples, pool: PhasePool) -> Int64[np.ndarray, " batch"]:
        """The phase of the pool that each sample holds."""
        return (self.uniforms(samples, 2)[:, 1] * len(pool)).astype(np.int64)

    def mix(self, intensity: Patterns, impurity: Patterns, samples: Samples) -> None:
        """Add the impurities' patterns to ``intensity``, again with a maximum of one.

        Peaks of an impurity below 1e-3 of its strongest may be left out: at w = 0.05
        they are 5e-5 of the pattern.
        """
        mix_patterns(
            intensity, impurity, spread(self.height, self.uniforms(samples, 2)[:, 0])
        )


@dataclass(frozen=True)
class ProcessBackground(PatternEffect):
    """A smooth background drawn from a Gaussian process.

    Kernel exp(−d²/2l²), drawn at equidistant knots and joined by a natural cubic
    spline, its minimum moved to zero. Its mean height is half-normal, cut at the
    largest value.

    Attributes:
        length_scale: l [degrees].
        mean_height: Standard deviation and largest value of the mean height, as parts
            of the highest peak.
        knots: Points at which the process is drawn.

    References:
        Schopmans et al. (2023), ESI S4: 60 knots on 5-90 degrees; sums of 10 s over
        8501 points with s from N(0, 7.5) cut to [0, 15] are these mean heights.
    """

    rank: ClassVar[int] = 30

    length_scale: Range = (3.0, 20.0)
    mean_height: tuple[float, float] = (75.0 / 8501, 150.0 / 8501)
    knots: int = 60

    def __post_init__(self) -> None:
        self._check("length_scale", 0.5, 1000.0)
        self._check("mean_height", 1e-9, 1e3)
        if not 4 <= self.knots <= 10_000:
            raise PatternError(f"knots is {self.knots}; it lies between 4 and 10000")

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Add one background to each pattern."""
        add_process_backgrounds(
            intensity,
            grid.stop - grid.start,
            self.length_scale,
            self.mean_height,
            self.knots,
            *self._key(samples),
        )


@dataclass(frozen=True)
class PolynomialBackground(PatternEffect):
    """A Chebyshev polynomial, from zero to a drawn height.

    Attributes:
        height: Of its highest point; even in the logarithm.
        order: Highest power; the coefficient of T_k is uniform in ±1/k.
    """

    rank: ClassVar[int] = 31

    height: Range = (0.002, 0.2)
    order: int = 6

    def __post_init__(self) -> None:
        self._check("height", 1e-9, 1e3)
        if not 1 <= self.order <= 30:
            raise PatternError(f"order is {self.order}; it lies between 1 and 30")

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Add one polynomial to each pattern."""
        uniforms = self.uniforms(samples, 1 + self.order)
        coefficients = np.zeros((samples.count, self.order + 1))
        coefficients[:, 1:] = (2.0 * uniforms[:, 1:] - 1.0) / np.arange(
            1, self.order + 1
        )
        add_polynomials(
            intensity, coefficients, spread_log(self.height, uniforms[:, 0])
        )


@dataclass(frozen=True)
class AmorphousHumps(PatternEffect):
    """Broad halos of glass, polymer or a capillary.

    Attributes:
        count: Fewest and most humps.
        centre: 2θ [degrees]; 20 to 30 for silicate glass with copper (a first sharp
            diffraction peak at Q = 1.5 Å⁻¹ is at 21 degrees).
        fwhm: Width [degrees].
        height: Of each hump; even in the logarithm.

    References:
        Elliott (1991), Nature 354, 445 (first sharp diffraction peaks of glasses).
    """

    rank: ClassVar[int] = 32

    count: tuple[int, int] = (0, 2)
    centre: Range = (15.0, 35.0)
    fwhm: Range = (4.0, 12.0)
    height: Range = (0.005, 0.2)

    def __post_init__(self) -> None:
        self._check("count", 0.0, 20.0)
        self._check("centre", 0.0, 180.0)
        self._check("fwhm", 0.1, 180.0)
        self._check("height", 1e-9, 1e3)

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Add humps to each pattern."""
        most = self.count[1]
        uniforms = self.uniforms(samples, 1 + 3 * most)
        n = self.count[0] + np.floor(uniforms[:, 0] * (most - self.count[0] + 1))
        parts = uniforms[:, 1:].reshape(samples.count, 3, most)
        height = spread_log(self.height, parts[:, 2])
        add_humps(
            intensity,
            grid.start,
            grid.step,
            spread(self.centre, parts[:, 0]),
            spread(self.fwhm, parts[:, 1]),
            np.where(np.arange(most) < n[:, None], height, 0.0),
        )


@dataclass(frozen=True)
class GaussianNoise(PatternEffect):
    """Noise that is added and noise that multiplies, as the reference work has it.

        y ← (y + N(0, additive)) · N(1, multiplicative)

    Attributes:
        additive: Standard deviation, as a part of the highest peak.
        multiplicative: Standard deviation.

    References:
        Schopmans et al. (2023), ESI S4.
    """

    rank: ClassVar[int] = 40

    additive: Range = (0.0, 0.02)
    multiplicative: Range = (0.0, 0.16)

    def __post_init__(self) -> None:
        self._check("additive", 0.0, 10.0)
        self._check("multiplicative", 0.0, 10.0)

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Add noise to every point."""
        seed, start, stream, block = self._key(samples)
        uniforms = self.uniforms(samples, 2)
        add_gaussian_noise(
            intensity,
            spread(self.additive, uniforms[:, 0]),
            spread(self.multiplicative, uniforms[:, 1]),
            half_normal_quantiles(),
            seed,
            start,
            stream,
            block + np.uint64(1),  # the first block gave the two uniforms
        )


@dataclass(frozen=True)
class CountingNoise(PatternEffect):
    """Photons are counted one by one: Poisson noise at a count level.

        y ← Poisson(y · counts) / counts

    Attributes:
        counts: Expected photons at the highest peak before the background was added;
            even in the logarithm. 1000 is a quick scan, 100,000 a careful one.
    """

    rank: ClassVar[int] = 41

    counts: Range = (300.0, 100_000.0)

    def __post_init__(self) -> None:
        self._check("counts", 1.0, 1e9)

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Replace each point by a number of photons, as a part of ``counts``."""
        seed, start, stream, block = self._key(samples)
        count_photons(
            intensity,
            spread_log(self.counts, self.uniforms(samples, 1)[:, 0]),
            half_normal_quantiles(),
            seed,
            start,
            stream,
            block + np.uint64(1),
        )


@dataclass(frozen=True)
class CoarserSteps(PatternEffect):
    """A scan in larger steps, brought back onto the grid by straight lines.

    Attributes:
        every: Fewest and most grid steps between two measured points.
    """

    rank: ClassVar[int] = 50

    every: tuple[int, int] = (1, 5)

    def __post_init__(self) -> None:
        self._check("every", 1.0, 1000.0)

    def change(self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid) -> None:
        """Forget what lies between measured points."""
        low, high = self.every
        uniforms = self.uniforms(samples, 1)[:, 0]
        strides = low + (uniforms * (high - low + 1)).astype(np.int64)
        points = np.arange(grid.points)
        for row, stride in enumerate(strides):
            if stride > 1:
                measured = points[::stride]
                intensity[row] = np.interp(points, measured, intensity[row, measured])


@dataclass(frozen=True)
class PartialRange(Effect):
    """A scan that starts late or stops early; zero beyond, and a mask.

    Acts on patterns when they are rendered. A range that would hold no line above 1 %
    of the strongest stays whole.

    Attributes:
        start: First angle measured [degrees].
        stop: Last angle measured [degrees].
    """

    acts_on: ClassVar[Literal["patterns"]] = "patterns"
    acts_when: ClassVar[Literal["rendered"]] = "rendered"
    rank: ClassVar[int] = 60

    start: Range = (5.0, 20.0)
    stop: Range = (60.0, 90.0)

    def __post_init__(self) -> None:
        self._check("start", 0.0, 180.0)
        self._check("stop", 0.0, 180.0)
        if not self.start[1] < self.stop[0]:
            raise PatternError(
                f"PartialRange starts up to {self.start[1]} degrees and stops from "
                f"{self.stop[0]} on; starts must lie below stops"
            )

    def mask(
        self, intensity: Patterns, samples: Samples, grid: TwoThetaGrid
    ) -> Bool[np.ndarray, "batch points"]:
        """Which points are measured; ``intensity`` without noise and background."""
        uniforms = self.uniforms(samples, 2)
        angles = grid.angles()
        # Half a step of room, so that a bound on a grid point holds it.
        first = spread(self.start, uniforms[:, :1]) - 0.5 * grid.step
        last = spread(self.stop, uniforms[:, 1:]) + 0.5 * grid.step
        mask: Bool[np.ndarray, "batch points"] = (angles >= first) & (angles <= last)
        strongest = np.where(mask, intensity, 0.0).max(axis=1)
        mask[strongest <= 0.01 * intensity.max(axis=1)] = True
        return mask
