"""Time rruff-paper by stage beside plain patterns: ``python docs/measure_rates.py``.

CPU time a pattern on crystals drawn from open-v0, all stages interleaved, medians.
"""

import json
import os
import time
from collections.abc import Callable

import numpy as np

from pxrdbench.crystal.generator import draw_crystals
from pxrdbench.crystal.prior import load_prior
from pxrdbench.diffraction.effect import Samples
from pxrdbench.diffraction.line_lists import gather_lists
from pxrdbench.diffraction.measurement import (
    ImpurityPattern,
    InstrumentProfile,
    PhasePool,
    load_measurement,
)
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.diffraction.scan_effects import PatternEffect

N, ROUNDS = 512, 15


def main() -> None:
    """Print microseconds a pattern."""
    prior, grid, samples = load_prior("open-v0"), TwoThetaGrid(), Samples(0, 0, N)
    wide = (3.0, 92.0)
    crystals = draw_crystals(prior, 0, 0, N)
    pool = PhasePool.from_crystals(
        draw_crystals(prior, 0, 1 << 50, 1024), two_theta=wide
    )
    peaks = simulate_peaks(crystals, two_theta=wide)
    sizes = np.linspace(20.0, 100.0, N)
    paper = load_measurement("rruff-paper")
    profile, impurity = paper.get(InstrumentProfile), paper.get(ImpurityPattern)
    if profile is None or impurity is None:
        raise RuntimeError("rruff-paper has a profile and an impurity")
    widths = profile.draw(samples)
    lines = peaks
    for effect in paper.effects:
        if effect.acts_on == "peaks":
            lines = effect.apply(lines, samples, grid)  # type: ignore[attr-defined]
    plain = render(lines, grid, broadening=widths)
    rows = impurity.pick(samples, pool)
    stages: dict[str, Callable[[], object]] = {
        "draw crystals": lambda: draw_crystals(prior, 0, 0, N),
        "simulate peaks": lambda: simulate_peaks(crystals, two_theta=wide),
        "render plain": lambda: render(peaks, grid, sizes),
        "rruff-paper, all of rendering": lambda: paper.render(
            peaks, grid, samples, pool=pool
        ),
        "- profiles of the crystal": lambda: render(lines, grid, broadening=widths),
        "- lists of the impurity": lambda: gather_lists(
            pool.strong_peaks, rows, np.ones(N)
        ),
        "laboratory, peaks": lambda: load_measurement("laboratory").simulate(
            crystals, samples, two_theta=wide, pool=pool
        ),
        "laboratory, rendering": lambda: load_measurement("laboratory").render(
            peaks, grid, samples, sizes
        ),
    }
    for effect in paper.effects:
        if isinstance(effect, PatternEffect):
            stages[f"- {type(effect).__name__}"] = lambda effect=effect: effect.change(
                plain.copy(), samples, grid
            )
    for stage in stages.values():
        stage()
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(ROUNDS):
        for name, stage in stages.items():
            start = time.process_time()
            stage()
            times[name].append(time.process_time() - start)
    cost = {name: 1e6 * float(np.median(t)) / N for name, t in times.items()}
    shared = cost["draw crystals"] + cost["simulate peaks"]
    whole = shared + cost["render plain"]
    complete = shared + cost["rruff-paper, all of rendering"]
    print(  # noqa: T201 - a script
        json.dumps(
            {
                "microseconds_per_pattern": {k: round(v, 1) for k, v in cost.items()},
                "plain": round(whole, 1),
                "rruff-paper complete": round(complete, 1),
                "rruff-paper rate over plain rate": round(whole / complete, 3),
                "load_average": os.getloadavg()[0],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
