"""Draw one crystal under each effect: ``python docs/make_gallery.py``."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction import measurement as effects
from pxrdbench.diffraction.measurement.effect import Effect, Samples
from pxrdbench.diffraction.measurement.measurement import (
    Measurement,
    PhasePool,
    load_measurement,
)
from pxrdbench.diffraction.pattern import TwoThetaGrid

OUT = Path(__file__).parent / "img" / "measurement_gallery.png"
GRID = TwoThetaGrid()
DRAWS = 3
# Rutile: few lines, free axes along a and c, so that each effect can be seen.
RUTILE = Crystal(
    136,
    (4.5937, 4.5937, 2.9587, 90.0, 90.0, 90.0),
    (Site("Ti", "a", (0.0, 0.0, 0.0)), Site("O", "f", (0.3053, 0.3053, 0.0))),
)
LIGHT, INK, COLOURS = "#c9c9c9", "#333333", ("#1b6ca8", "#c8553d", "#3a7d44")

# Effects a little stronger than in the presets, the whole pattern or a part of it.
PANELS: tuple[tuple[str, Effect | str, tuple[float, float]], ...] = (
    (
        "LatticeStrain (drawn)",
        effects.LatticeStrain((-0.02, 0.02), (-0.01, 0.01)),
        (50, 72),
    ),
    ("ThermalMotion (drawn)", effects.ThermalMotion((0.2, 4.0)), (5, 90)),
    ("Texture, March-Dollase (drawn)", effects.Texture((0.4, 2.0)), (5, 90)),
    (
        "ImpurityPhases by weight (drawn)",
        effects.ImpurityPhases((1, 2), (0.02, 0.2)),
        (5, 90),
    ),
    ("SpectralLines Kα1 + Kα2", effects.SpectralLines(), (68, 72)),
    ("ZeroShift", effects.ZeroShift((-0.1, 0.1)), (26.5, 28.5)),
    ("SampleDisplacement", effects.SampleDisplacement((-0.3, 0.3)), (26.5, 28.5)),
    ("SpuriousPeaks", effects.SpuriousPeaks((2, 4), (0.02, 0.2)), (5, 90)),
    (
        "InstrumentProfile (Thompson-Cox-Hastings)",
        effects.InstrumentProfile(
            u=(0, 0.05), w=(0.001, 0.04), strain=(0, 0.004), y=(0, 0.1)
        ),
        (52, 58),
    ),
    ("ImpurityPattern by height", effects.ImpurityPattern((0.1, 0.3)), (5, 90)),
    ("ProcessBackground", effects.ProcessBackground(mean_height=(0.05, 0.1)), (5, 90)),
    ("PolynomialBackground", effects.PolynomialBackground((0.05, 0.3)), (5, 90)),
    ("AmorphousHumps", effects.AmorphousHumps((1, 2), height=(0.1, 0.3)), (5, 90)),
    ("GaussianNoise", effects.GaussianNoise(), (25, 45)),
    ("CountingNoise, 30-3000 photons", effects.CountingNoise((30, 3000)), (25, 45)),
    ("CoarserSteps", effects.CoarserSteps((4, 10)), (27, 28)),
    ("PartialRange", effects.PartialRange((10, 25), (50, 80)), (5, 90)),
    ("preset rruff-paper", "rruff-paper", (5, 90)),
    ("preset laboratory", "laboratory", (5, 90)),
)


def draw_panel(
    axes: plt.Axes,
    entry: tuple[str, Effect | str, tuple[float, float]],
    crystals: CrystalBatch,
    pool: PhasePool,
) -> None:
    """One effect, three draws, the plain pattern behind them."""
    title, effect, (low, high) = entry
    measurement = (
        load_measurement(effect)
        if isinstance(effect, str)
        else Measurement((effect,), name=title)
    )
    samples = Samples(7, 0, DRAWS)
    size = None if isinstance(effect, str) and effect == "rruff-paper" else 40.0
    peaks = measurement.simulate(crystals, samples, two_theta=(3, 92), pool=pool)
    scans = measurement.render(peaks, GRID, samples, size, pool=pool)
    nothing = Measurement()
    plain = nothing.render(
        nothing.simulate(crystals, samples, two_theta=(3, 92)), GRID, samples, 40.0
    ).intensity[0]
    angles = GRID.angles()
    part = (angles >= low) & (angles <= high)
    axes.fill_between(angles[part], plain[part], color=LIGHT, lw=0)
    for row in range(DRAWS):
        shown = scans.intensity[row].astype(np.float64)
        if scans.is_measured is not None:
            shown[~scans.is_measured[row]] = np.nan
        axes.plot(
            angles[part],
            shown[part] + 0.25 * row,
            color=COLOURS[row],
            lw=0.7,
            zorder=3 - row,
        )
    axes.set_title(title, fontsize=8, color=INK, loc="left")
    axes.set_xlim(low, high)
    axes.set_ylim(-0.03, 1.6)
    axes.set_yticks([])
    axes.tick_params(labelsize=7, colors=INK)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Draw the picture."""
    crystals = CrystalBatch.from_crystals([RUTILE] * DRAWS)
    pool = PhasePool.from_crystals(
        draw_crystals(load_prior("open-v0"), 0, 0, 40), two_theta=(3, 92)
    )
    figure, grid = plt.subplots(5, 4, figsize=(13, 12), layout="constrained")
    panels = grid.ravel()
    for axes, entry in zip(panels, PANELS, strict=False):
        draw_panel(axes, entry, crystals, pool)
    for axes in panels[len(PANELS) :]:
        axes.axis("off")
    panels[len(PANELS)].text(
        0.02,
        0.95,
        "Rutile, Cu Kα1, 40 nm. Grey: the plain pattern.\n"
        "Coloured: three samples, moved up by a quarter each.\n"
        "Abscissa: 2θ in degrees. Ranges are wider here than\n"
        "in the presets. Effects marked (drawn) act when peaks\n"
        "are drawn, the others when patterns are rendered.",
        va="top",
        fontsize=8.5,
        color=INK,
    )
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=80, metadata={"Software": ""})
    print(f"wrote {OUT}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
