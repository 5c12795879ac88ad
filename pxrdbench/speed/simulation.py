"""How fast and how exact the simulation is, measured against other programs.

Times are CPU times. Everything that is compared runs interleaved in one process, so
that a slow moment of the machine hits all alike.
"""

import itertools
import math
import platform
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import PatternError
from pxrdbench.speed.corpus import Corpus
from pxrdbench.speed.other_simulators import (
    WAVELENGTH,
    Simulator,
    find_simulators,
)

Stage = Callable[[], object]

# Patterns that a worker makes at a time, and how often in a round.
_WORKER_BATCH, _ROUND_BATCHES = 128, 4


def benchmark_simulation(
    corpus: Corpus,
    *,
    group_size: int = 20,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time the simulation against other programs in one interleaved run.

    Between two groups of crystals that the others compute, each of our stages runs once
    over all n, so that a slow moment of the machine hits all alike. Times are CPU
    times of the process: set OMP_NUM_THREADS=1 so that pymatgen has one thread too.

    Args:
        corpus: Crystals to time on.
        group_size: Crystals that the others compute between two of our runs.
        on_progress: Called with the crystals that pymatgen did, and all.

    Returns:
        ``microseconds_per_pattern`` (mean for pymatgen, median for us),
        ``patterns_per_second``, ``speed_over_pymatgen`` (its peaks against each of our
        stages), ``simulators`` (all other programs), ``accuracy`` and what was
        measured on.

    Raises:
        PatternError: If pymatgen, which all is compared with, is not installed.
    """
    n = len(corpus.crystals)
    others = find_simulators()
    if not others or others[0].name != "pymatgen":
        raise PatternError("bench compares with pymatgen: pip install pymatgen")
    exact = {
        scattering: simulate_peaks(
            corpus.crystals, WAVELENGTH, scattering=scattering, precision="double"
        )
        for scattering in ("paper", "default")
    }
    stages = _stages(corpus, TwoThetaGrid())
    for stage in stages.values():
        stage()  # compiled before the clock starts
    times: dict[str, list[float]] = {name: [] for name in stages}
    theirs: dict[str, dict[int, float]] = {other.name: {} for other in others}
    differences: dict[str, list[float]] = {other.name: [] for other in others}
    comparisons = []
    for start in range(0, n, group_size):
        for index in range(start, min(start + group_size, n)):
            for other in others:
                if index % other.every:
                    continue
                elapsed, lines = other.timed(corpus, index)
                theirs[other.name][index] = elapsed
                differences[other.name].append(
                    compare_totals(exact[other.scattering], index, *lines)
                )
                if other is others[0]:
                    comparisons.append(compare_peaks(exact["paper"], index, *lines))
        for name, stage in stages.items():
            times[name].append(cpu_time(stage))
        if on_progress is not None:
            on_progress(min(start + group_size, n), n)
    medians = {name: 1e6 * float(np.median(t)) / n for name, t in times.items()}
    pymatgen = 1e6 * sum(theirs["pymatgen"].values()) / n
    return {
        "microseconds_per_pattern": {"pymatgen peaks": pymatgen, **medians},
        "patterns_per_second": {name: 1e6 / t for name, t in medians.items()},
        "speed_over_pymatgen": {name: pymatgen / t for name, t in medians.items()},
        "simulators": {
            other.name: _describe(other, theirs, differences[other.name], medians)
            for other in others
        },
        "accuracy": {
            "relative_intensity": max(c[0] for c in comparisons),
            "two_theta_degrees": max(c[1] for c in comparisons),
            "peaks_compared": sum(c[2] for c in comparisons),
        },
        "corpus": {
            "name": corpus.name,
            "crystals": n,
            "volume_quantiles": np.quantile(
                corpus.volumes(), (0.01, 0.1, 0.5, 0.9, 0.99)
            ).tolist(),
            "mean_sites": float(np.diff(corpus.crystals.site_offset).mean()),
        },
        "machine": platform.processor() or platform.machine(),
        "versions": {
            name: version(name)
            for name in ("numba", "numpy", *(other.name for other in others))
        },
    }


def _describe(
    other: Simulator,
    times: dict[str, dict[int, float]],
    differences: list[float],
    ours: dict[str, float],
) -> dict[str, Any]:
    """One program's row: what it costs beside pymatgen and beside us."""
    own, pymatgen = times[other.name], times["pymatgen"]
    over_pymatgen = sum(own.values()) / sum(pymatgen[index] for index in own)
    mean = 1e6 * sum(pymatgen.values()) / len(pymatgen)
    return {
        "computes": other.computes,
        "crystals": len(own),
        "microseconds_per_pattern": 1e6 * sum(own.values()) / len(own),
        # On the crystals that both had; the slowest programs get a part of them.
        "times_pymatgen": over_pymatgen,
        "times_our_peaks": over_pymatgen
        * mean
        / ours[f"peaks, {other.scattering}, single"],
        "compared_with": f"{other.scattering}, double",
        "difference_percent_median": float(np.median(differences)),
        "difference_percent_largest": float(max(differences)),
    }


def _stages(corpus: Corpus, grid: TwoThetaGrid) -> dict[str, Stage]:
    """What is timed, by name."""
    crystals, size = corpus.crystals, corpus.crystallite_size_nm
    peaks = simulate_peaks(crystals, WAVELENGTH, scattering="paper")

    def simulate(scattering: Any, precision: Any) -> PeakBatch:
        return simulate_peaks(
            crystals, WAVELENGTH, scattering=scattering, precision=precision
        )

    prior = load_prior("open-v0")
    start = itertools.count(0, len(crystals))

    def make_fresh() -> None:
        fresh = draw_crystals(prior, 0, next(start), len(crystals))
        render(simulate_peaks(fresh, WAVELENGTH), grid, size)

    return {
        "peaks, paper, double": lambda: simulate("paper", "double"),
        "peaks, paper, single": lambda: simulate("paper", "single"),
        "peaks, default, single": lambda: simulate("default", "single"),
        "render": lambda: render(peaks, grid, size),
        "peaks and render, paper, single": lambda: render(
            simulate("paper", "single"), grid, size
        ),
        "peaks and render, default, single": lambda: render(
            simulate("default", "single"), grid, size
        ),
        "draw, peaks and render, default, single": make_fresh,
    }


def benchmark_workers(n_workers: int, *, rounds: int = 60) -> dict[str, Any]:
    """CPU time a pattern of one thread alone and of several at once, interleaved.

    Each thread draws crystals, simulates and renders; kernels release the interpreter.

    Args:
        n_workers: Threads at once.
        rounds: Times that one, then all, run.

    Returns:
        ``microseconds_per_pattern`` of CPU time for 1 and ``n_workers`` (median of the
        rounds, and the least), patterns a second of wall time, and the ``rise``: the
        median over rounds of several by one, less one, since what other tenants of a
        machine do to one round they do to both its halves; ``rise_interval`` is its
        95 % interval by order statistics.

    Raises:
        PatternError: If there is only one worker to compare with itself.
    """
    if n_workers < 2:
        raise PatternError(f"workers is {n_workers}; two or more are compared with one")
    prior, grid = load_prior("open-v0"), TwoThetaGrid()

    def work(worker: int, number: int, cpu: list[float]) -> None:
        start = time.thread_time()
        for batch in range(_ROUND_BATCHES):
            first = (
                (worker * rounds + number) * _ROUND_BATCHES + batch
            ) * _WORKER_BATCH
            crystals = draw_crystals(prior, 1, first, _WORKER_BATCH)
            render(simulate_peaks(crystals, WAVELENGTH), grid, 50.0)
        cpu.append(time.thread_time() - start)

    work(0, 0, [])
    patterns = _ROUND_BATCHES * _WORKER_BATCH
    counts = (1, n_workers)
    cpu_times: dict[int, list[float]] = {count: [] for count in counts}
    wall: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(rounds):
        for count in counts if number % 2 else counts[::-1]:
            spent: list[float] = []
            threads = [
                threading.Thread(target=work, args=(worker, number, spent))
                for worker in range(count)
            ]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wall[count].append((time.perf_counter() - begun) / count)
            cpu_times[count].append(sum(spent) / count)
    return _summarise_workers(n_workers, patterns, cpu_times, wall)


def _summarise_workers(
    n_workers: int,
    patterns: int,
    cpu_times: dict[int, list[float]],
    wall: dict[int, list[float]],
) -> dict[str, Any]:
    """What ``benchmark_workers`` returns, of seconds by threads and rounds."""
    rounds = len(wall[1])
    ratios = np.sort(np.array(cpu_times[n_workers]) / np.array(cpu_times[1])) - 1.0
    reach = 1.96 * math.sqrt(rounds) / 2.0  # ranks of a median, binomially distributed
    low, high = math.floor(rounds / 2.0 - reach), math.ceil(rounds / 2.0 + reach)
    return {
        "workers": n_workers,
        "rounds": rounds,
        "microseconds_per_pattern": {
            str(k): 1e6 * float(np.median(t)) / patterns for k, t in cpu_times.items()
        },
        "least_microseconds_per_pattern": {
            str(k): 1e6 * min(t) / patterns for k, t in cpu_times.items()
        },
        "rise": float(np.median(ratios)),
        "rise_interval": [
            float(ratios[max(low, 0)]),
            float(ratios[min(high, rounds - 1)]),
        ],
        "patterns_per_second_of_wall_time": {
            str(k): patterns / min(t) for k, t in wall.items()
        },
    }


def cpu_time(function: Stage) -> float:
    """CPU seconds of the process that a call takes."""
    start = time.process_time()
    function()
    return time.process_time() - start


def compare_totals(
    peaks: PeakBatch,
    index: int,
    angles: Float64[np.ndarray, " reference"],
    intensities: Float64[np.ndarray, " reference"],
) -> float:
    """Sum of differences [%] of one crystal's lines, both sides scaled to equal sums.

    Lines of the other program are given to ours that stands next; what is beyond the
    range of the peaks is left out.
    """
    rows = slice(peaks.peak_offset[index], peaks.peak_offset[index + 1])
    ours, own = peaks.two_theta[rows], peaks.intensity[rows]
    inside = (angles > ours[0] - 1e-3) & (angles < ours[-1] + 1e-3)
    nearest = np.searchsorted((ours[1:] + ours[:-1]) / 2.0, angles[inside])
    total = np.bincount(nearest, intensities[inside], minlength=len(ours))
    return float(100.0 * np.abs(total / total.sum() - own / own.sum()).sum())


def compare_peaks(
    peaks: PeakBatch,
    index: int,
    angles: Float64[np.ndarray, " reference"],
    intensities: Float64[np.ndarray, " reference"],
) -> tuple[float, float, int]:
    """Compare one crystal's peaks with another program's.

    pymatgen merges by rounding angles to 1e-5 degrees, so one of our peaks can be two
    of its own; each of its peaks is counted for ours next to it.

    Returns:
        Largest relative deviation of an intensity, largest distance of an angle
        [degrees] and the number of reference peaks; deviations are infinite if a peak
        has no partner, unless it is within 1 % of the threshold of 1e-5 of the
        strongest where both programs stop.
    """
    rows = slice(peaks.peak_offset[index], peaks.peak_offset[index + 1])
    ours, our_intensity = peaks.two_theta[rows], peaks.intensity[rows]
    partner = np.abs(ours[None, :] - angles[:, None]).argmin(axis=1)
    total = np.bincount(partner, intensities, minlength=len(ours))
    weak = our_intensity < 1.01e-5 * our_intensity.max()
    deviation = np.abs(our_intensity / np.where(total > 0, total, np.nan) - 1.0)
    deviation = np.where(np.isnan(deviation), np.where(weak, 0.0, np.inf), deviation)
    # The strongest of several merged peaks need not be the first: 1e-5 either way.
    distance = np.abs(ours[partner] - angles)
    count = np.bincount(partner, minlength=len(ours))[partner]
    single = distance[count == 1]
    if (distance > 2e-5).any():
        return np.inf, float(distance.max()), len(angles)
    return float(deviation.max()), float(single.max(initial=0.0)), len(angles)
