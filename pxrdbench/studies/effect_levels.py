"""The effects of robustness curves, each at rising strength.

Levels span what powder diffractometers do and go beyond it, so that every curve shows
where a model breaks: a well-aligned instrument is within 0.02 degrees, a quick scan
counts a thousand photons at its strongest peak.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pxrdbench.diffraction.measurement.effect import Effect
from pxrdbench.diffraction.measurement.line_effects import (
    InstrumentProfile,
    SampleDisplacement,
    SpectralLines,
    SpuriousPeaks,
    ZeroShift,
)
from pxrdbench.diffraction.measurement.sample_effects import (
    LatticeStrain,
    Texture,
    ThermalMotion,
)
from pxrdbench.diffraction.measurement.scan_effects import (
    AmorphousHumps,
    CoarserSteps,
    CountingNoise,
    GaussianNoise,
    ImpurityPattern,
    PartialRange,
    PolynomialBackground,
)
from pxrdbench.diffraction.radiation import Radiation


@dataclass(frozen=True)
class CurveDefinition:
    """One effect at rising strength.

    Attributes:
        name: Of the curve.
        title: For people.
        unit: What a level is.
        levels: From weak to strong.
        make: The effect at a level.
    """

    name: str
    title: str
    unit: str
    levels: tuple[float, ...]
    make: Callable[[float], Effect]


def _second_line(share: float) -> Effect:
    """Kα2 of copper beside Kα1, at the ratio of their wavelengths to the peaks' own."""
    first, second = (length for length, _ in Radiation.parse("CuKa").lines)
    return SpectralLines(((first, 1.0 - share), (second, share)))


def _width(fwhm: float) -> Effect:
    return InstrumentProfile(u=(0.0, 0.0), w=(fwhm**2, fwhm**2))


def _strain(strain: float) -> Effect:
    return InstrumentProfile(u=(0.0, 0.0), w=(0.0, 0.0), strain=(strain, strain))


PEAK_CURVES: tuple[CurveDefinition, ...] = (
    CurveDefinition(
        "counting-noise", "Counting noise", "photons at the strongest peak",
        (100_000, 10_000, 3000, 1000, 300, 100),
        lambda v: CountingNoise((v, v)),
    ),
    CurveDefinition(
        "gaussian-noise", "Gaussian noise", "σ, % of the strongest peak",
        (0.1, 0.3, 1, 2, 5),
        lambda v: GaussianNoise((v / 100, v / 100), (0.0, 0.0)),
    ),
    CurveDefinition(
        "background", "Polynomial background", "height, % of the strongest peak",
        (1, 3, 10, 30, 100),
        lambda v: PolynomialBackground((v / 100, v / 100)),
    ),
    CurveDefinition(
        "amorphous-hump", "Amorphous hump", "height, % of the strongest peak",
        (1, 3, 10, 30, 100),
        lambda v: AmorphousHumps((1, 1), height=(v / 100, v / 100)),
    ),
    CurveDefinition(
        "impurity", "Impurity", "height, % of both",
        (1, 2, 5, 10, 20, 50),
        lambda v: ImpurityPattern((v / 100, v / 100)),
    ),
    CurveDefinition(
        "spurious-peaks", "Spurious peaks of 5 %", "number",
        (1, 2, 3, 5, 10),
        lambda v: SpuriousPeaks((int(v), int(v)), (0.05, 0.05)),
    ),
    CurveDefinition(
        "zero-shift", "Zero shift", "degrees of 2θ",
        (0.01, 0.02, 0.05, 0.1, 0.2),
        lambda v: ZeroShift((v, v)),
    ),
    CurveDefinition(
        "displacement", "Sample displacement", "mm, R = 217.5 mm",
        (0.02, 0.05, 0.1, 0.2, 0.5),
        lambda v: SampleDisplacement((v, v)),
    ),
    CurveDefinition(
        "second-line", "Kα2 beside Kα1", "% of the intensity",
        (5, 10, 20, 33),
        lambda v: _second_line(v / 100),
    ),
    CurveDefinition(
        "instrument-width", "Instrument width", "fwhm, degrees of 2θ",
        (0.05, 0.1, 0.2, 0.3, 0.5),
        _width,
    ),
    CurveDefinition(
        "microstrain", "Microstrain", "‰",
        (0.5, 1, 2, 5, 10),
        lambda v: _strain(v / 1000),
    ),
    CurveDefinition(
        "coarser-steps", "Coarser steps", "grid steps between points",
        (2, 5, 10, 20),
        lambda v: CoarserSteps((int(v), int(v))),
    ),
    CurveDefinition(
        "late-start", "Scan starts late", "degrees of 2θ",
        (10, 15, 20, 25, 30),
        lambda v: PartialRange((v, v), (179.0, 179.0)),
    ),
    CurveDefinition(
        "early-stop", "Scan stops early", "degrees of 2θ",
        (80, 70, 60, 50, 40),
        lambda v: PartialRange((0.1, 0.1), (v, v)),
    ),
)  # fmt: skip

CRYSTAL_CURVES: tuple[CurveDefinition, ...] = (
    CurveDefinition(
        "texture", "Texture, plates", "1 − r of March and Dollase",
        (0.1, 0.2, 0.3, 0.4, 0.6),
        lambda v: Texture((1.0 - v, 1.0 - v)),
    ),
    CurveDefinition(
        "thermal-motion", "Thermal motion", "B, Å²",
        (0.5, 1, 2, 4),
        lambda v: ThermalMotion((v, v), (1.0, 1.0)),
    ),
    CurveDefinition(
        "lattice-strain", "Strained cells", "% of a cell edge, either way",
        (0.5, 1, 2, 3),
        lambda v: LatticeStrain((-v / 100, v / 100)),
    ),
)  # fmt: skip
