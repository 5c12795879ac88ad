"""What a measurement costs beside a plain pattern, stage by stage."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.line_lists import gather_lists
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.line_effects import (
    InstrumentProfile,
    SpuriousPeaks,
)
from pxrdbench.diffraction.measurement.measurement import (
    OWN_ROUGHNESS,
    TRACE_ROUGHNESS,
    LineEffect,
    Measurement,
    load_measurement,
)
from pxrdbench.diffraction.measurement.sample_effects import PhasePool
from pxrdbench.diffraction.measurement.scan_effects import (
    ImpurityPattern,
    PatternEffect,
)
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render, render_roughly
from pxrdbench.speed.other_simulators import WAVELENGTH

# Tails of lines two degrees beyond the grid reach in, as recipes have it.
_GRID, _WIDE = TwoThetaGrid(), (3.0, 92.0)
# Impurities are crystals of the same prior that no sample reaches.
_POOL_START, _POOL_SIZE = 1 << 50, 512

# Runs once and returns the CPU seconds of what is to be timed.
_Timed = Callable[[], float]


def benchmark_measurement(
    name: str, *, n: int = 256, rounds: int = 9
) -> dict[str, Any]:
    """Time a preset by stage beside plain patterns, all stages interleaved.

    Args:
        name: Of the measurement.
        n: Samples of ``open-v0`` that each stage works on.
        rounds: Times that every stage runs; medians are taken.

    Returns:
        ``microseconds_per_pattern`` by stage (CPU time), with ``plain`` (draw, simulate
        and render without a measurement) and ``complete`` (with it), and
        ``rate_over_plain``, the part of the plain rate that is left.

    Raises:
        PatternError: If no measurement has this name.
    """
    stages = _stages(load_measurement(name), n)
    for stage in stages.values():
        stage()  # compiled before the clock starts
    times: dict[str, list[float]] = {stage: [] for stage in stages}
    for _ in range(rounds):
        for stage_name, stage in stages.items():
            times[stage_name].append(stage())
    cost = {stage: 1e6 * float(np.median(t)) / n for stage, t in times.items()}
    plain = cost["draw crystals"] + cost["peaks"] + cost["render"]
    complete = cost["draw crystals"] + cost[f"peaks, {name}"] + cost[f"render, {name}"]
    return {
        "name": name,
        "samples": n,
        "microseconds_per_pattern": {**cost, "plain": plain, "complete": complete},
        "rate_over_plain": plain / complete,
    }


def _stages(measurement: Measurement, n: int) -> dict[str, _Timed]:
    """What is timed, by name; parts of the rendering are marked with a dash."""
    prior, samples = load_prior("open-v0"), Samples(0, 0, n)
    crystals = draw_crystals(prior, 0, 0, n)
    sizes = np.linspace(20.0, 100.0, n)
    pool = None
    if measurement.needs_pool:
        phases = draw_crystals(prior, 0, _POOL_START, _POOL_SIZE)
        pool = PhasePool.from_crystals(phases, WAVELENGTH, _WIDE)
    plain = simulate_peaks(crystals, WAVELENGTH, _WIDE)

    def simulate() -> PeakBatch:
        return measurement.simulate(crystals, samples, WAVELENGTH, _WIDE, pool=pool)

    peaks = simulate()
    name = measurement.name
    return {
        "draw crystals": _timed(lambda: draw_crystals(prior, 0, 0, n)),
        "peaks": _timed(lambda: simulate_peaks(crystals, WAVELENGTH, _WIDE)),
        "render": _timed(lambda: render(plain, _GRID, sizes)),
        f"peaks, {name}": _timed(simulate),
        f"render, {name}": _timed(
            lambda: measurement.render(peaks, _GRID, samples, sizes, pool=pool)
        ),
        **_parts(measurement, peaks, samples, sizes, pool),
    }


def _parts(
    measurement: Measurement,
    peaks: PeakBatch,
    samples: Samples,
    sizes: Any,
    pool: PhasePool | None,
) -> dict[str, _Timed]:
    """What rendering consists of."""
    parts: dict[str, _Timed] = {}
    impurity = measurement.get(ImpurityPattern)
    foreign = None
    if impurity is not None and pool is not None:
        rows = impurity.pick(samples, pool)
        foreign = gather_lists(pool.strong_peaks, rows, np.ones(len(rows)))
    for effect in measurement.effects:
        if isinstance(effect, LineEffect):
            parts[f"- {type(effect).__name__}"] = _timed(
                partial(effect.apply, peaks, samples, _GRID)
            )
            peaks = effect.apply(peaks, samples, _GRID)
            if foreign is not None and not isinstance(effect, SpuriousPeaks):
                parts[f"- {type(effect).__name__} of the impurity"] = _timed(
                    partial(effect.apply, foreign, samples, _GRID)
                )
                foreign = effect.apply(foreign, samples, _GRID)
    profile = measurement.get(InstrumentProfile)
    widths = None if profile is None else profile.draw(samples)
    parts["- profiles"] = _timed(
        lambda: render_roughly(peaks, _GRID, sizes, widths, OWN_ROUGHNESS)
    )
    if impurity is not None and foreign is not None:
        trace = foreign
        parts["- profiles of the impurity"] = _timed(
            lambda: render_roughly(trace, _GRID, sizes, widths, TRACE_ROUGHNESS)
        )
        other = render_roughly(trace, _GRID, sizes, widths, TRACE_ROUGHNESS)
        parts["- ImpurityPattern"] = _timed_in_place(
            lambda work: impurity.mix(work, other, samples), samples
        )
    for effect in measurement.effects:
        if isinstance(effect, PatternEffect):
            parts[f"- {type(effect).__name__}"] = _timed_in_place(
                partial(effect.change, samples=samples, grid=_GRID), samples
            )
    return parts


def _timed(function: Callable[[], object]) -> _Timed:
    def run() -> float:
        start = time.process_time()
        function()
        return time.process_time() - start

    return run


def _timed_in_place(function: Callable[[Any], object], samples: Samples) -> _Timed:
    """As _timed, for what changes patterns; putting them back is not timed."""
    work = np.empty((samples.count, _GRID.points), np.float32)

    def run() -> float:
        # A line every 100 points: what the cost of an effect may depend on is there.
        work.fill(0.01)
        work[:, ::100] = 1.0
        start = time.process_time()
        function(work)
        return time.process_time() - start

    return run
