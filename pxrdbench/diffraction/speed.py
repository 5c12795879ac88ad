"""How fast and how exact the simulation is, measured against pymatgen.

Rates are quoted on the frozen corpus of generated crystals; its volumes and numbers
of sites belong beside every rate.
"""

import itertools
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.generator import draw_crystals
from pxrdbench.crystal.prior import load_prior
from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.crystal.structure import (
    WYCKOFF_LETTERS,
    Crystal,
    CrystalBatch,
    Site,
)
from pxrdbench.crystal.symmetry import load_symmetry_tables
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import CrystalError

# The reference work's wavelength; pymatgen's own "CuKa" is another.
_WAVELENGTH = 1.5406
_ON_POSITION = 1e-9


@dataclass(frozen=True, eq=False)
class Corpus:
    """Crystals on which rates and accuracies are quoted.

    Attributes:
        name: What to print beside every rate.
        crystals: Asymmetric units.
        crystallite_size_nm: One for each crystal.
        cells: Lattice, elements and fractional coordinates of whole cells.
    """

    name: str
    crystals: CrystalBatch
    crystallite_size_nm: Float64[np.ndarray, " batch"]
    cells: tuple[tuple[list[float], list[str], Float64[np.ndarray, "atoms 3"]], ...]

    def volumes(self) -> Float64[np.ndarray, " batch"]:
        """Volumes of the conventional cells [Å³]."""
        edges = self.crystals.lattice[:, :3].prod(axis=1)
        cos = np.cos(np.radians(self.crystals.lattice[:, 3:]))
        square = 1.0 - (cos**2).sum(axis=1) + 2.0 * cos.prod(axis=1)
        volume: Float64[np.ndarray, " batch"] = edges * np.sqrt(square)
        return volume


def read_frozen_corpus(path: Path, n: int | None = None) -> Corpus:
    """Read the first n crystals of the corpus and find their Wyckoff positions.

    Args:
        path: Parquet file with asymmetric units in the standard setting.
        n: How many, from the start; all by default.
    """
    from pyarrow import parquet

    rows = parquet.read_table(path).slice(0, n).to_pylist()
    crystals = [_read_crystal(row) for row in rows]
    return Corpus(
        name=path.stem,
        crystals=CrystalBatch.from_crystals(crystals),
        crystallite_size_nm=np.array([row["crystallite_size_nm"] for row in rows]),
        cells=tuple(
            (row["cell"], row["elements"].split(), np.reshape(row["frac"], (-1, 3)))
            for row in rows
        ),
    )


def draw_corpus(n: int, seed: int = 0) -> Corpus:
    """Draw crystals from the embedded prior, where the frozen corpus is not at hand."""
    crystals = draw_crystals(load_prior("open-v0"), seed, 0, n)
    structures = [crystal.to_pymatgen() for crystal in crystals]
    uniforms = draw_uniforms(seed, 0, n, STREAM_CRYSTALLITE_SIZE, 1)[:, 0]
    return Corpus(
        name=f"open-v0, seed {seed}",
        crystals=crystals,
        crystallite_size_nm=20.0 + 80.0 * uniforms,
        cells=tuple(
            (
                list(structure.lattice.parameters),
                [site.specie.symbol for site in structure],
                structure.frac_coords,
            )
            for structure in structures
        ),
    )


def _read_crystal(row: dict[str, Any]) -> Crystal:
    group = row["space_group"]
    fract = np.reshape(row["asym_frac"], (-1, 3))
    sites = []
    for element, point, multiplicity in zip(
        row["asym_elements"].split(), fract, row["asym_multiplicity"], strict=True
    ):
        letter, image = find_wyckoff_position(group, point, multiplicity)
        sites.append(Site(element, letter, (image[0], image[1], image[2])))
    return Crystal(group, tuple(row["cell"]), tuple(sites))


def find_wyckoff_position(
    space_group: int, point: Float64[np.ndarray, " 3"], multiplicity: int
) -> tuple[str, Float64[np.ndarray, " 3"]]:
    """Find the position that a point lies on, and its image on the first triplet.

    Raises:
        CrystalError: If no position of this multiplicity holds the point.
    """
    tables = load_symmetry_tables()
    rotation, translation = tables.operators(space_group)
    images = rotation @ point + translation / 24.0
    images -= np.floor(images)
    shifts = np.array(list(itertools.product((0, -1, 1), repeat=3)))
    candidates = (images[:, None, :] + shifts).reshape(-1, 3)
    rows = tables.position_rows(space_group)
    for row in rows:
        if tables.multiplicity[row] != multiplicity:
            continue
        on_position = (
            candidates @ tables.first_rotation[row].T
            + tables.first_translation[row] / 24.0
        )
        distance = np.abs(on_position - candidates).max(axis=1)
        best = int(distance.argmin())
        if distance[best] < _ON_POSITION:
            return WYCKOFF_LETTERS[row - rows[0]], candidates[best]
    raise CrystalError(
        f"no position of multiplicity {multiplicity} in group {space_group} "
        f"holds the point {point.tolist()}"
    )


def benchmark_simulation(
    corpus: Corpus,
    *,
    group_size: int = 20,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time the simulation against pymatgen in one interleaved run.

    Between two groups of crystals that pymatgen computes, each of our stages runs once
    over all n, so that a slow moment of the machine hits all alike. Times are CPU
    times of the process: set OMP_NUM_THREADS=1 so that pymatgen has one thread too.

    Args:
        corpus: Crystals to time on.
        group_size: Crystals that pymatgen computes between two of our runs.
        on_progress: Called with the crystals that pymatgen did, and all.

    Returns:
        ``microseconds_per_pattern`` (mean for pymatgen, median for us),
        ``patterns_per_second``, ``speed_over_pymatgen`` (its peaks against each of our
        stages), ``accuracy`` and what was measured on.
    """
    n = len(corpus.crystals)
    grid = TwoThetaGrid()
    exact = simulate_peaks(
        corpus.crystals, _WAVELENGTH, scattering="paper", precision="double"
    )
    stages = _stages(corpus, grid)
    for stage in stages.values():
        stage()  # compiled before the clock starts
    times: dict[str, list[float]] = {name: [] for name in stages}
    pymatgen_time = 0.0
    comparisons = []
    for start in range(0, n, group_size):
        for index in range(start, min(start + group_size, n)):
            elapsed, angles, intensities = _timed_pymatgen(corpus, index)
            pymatgen_time += elapsed
            comparisons.append(compare_peaks(exact, index, angles, intensities))
        for name, stage in stages.items():
            times[name].append(_cpu_time(stage))
        if on_progress is not None:
            on_progress(min(start + group_size, n), n)
    medians = {name: 1e6 * float(np.median(t)) / n for name, t in times.items()}
    pymatgen = 1e6 * pymatgen_time / n
    return {
        "microseconds_per_pattern": {"pymatgen peaks": pymatgen, **medians},
        "patterns_per_second": {name: 1e6 / t for name, t in medians.items()},
        "speed_over_pymatgen": {name: pymatgen / t for name, t in medians.items()},
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
        "versions": {name: version(name) for name in ("numba", "numpy", "pymatgen")},
    }


def _stages(corpus: Corpus, grid: TwoThetaGrid) -> dict[str, Any]:
    """What is timed, by name."""
    crystals, size = corpus.crystals, corpus.crystallite_size_nm
    peaks = simulate_peaks(crystals, _WAVELENGTH, scattering="paper")

    def simulate(scattering: Any, precision: Any) -> PeakBatch:
        return simulate_peaks(
            crystals, _WAVELENGTH, scattering=scattering, precision=precision
        )

    prior = load_prior("open-v0")
    start = itertools.count(0, len(crystals))

    def make_fresh() -> None:
        fresh = draw_crystals(prior, 0, next(start), len(crystals))
        render(simulate_peaks(fresh, _WAVELENGTH), grid, size)

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


def _cpu_time(function: Any) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def pymatgen_peaks(
    corpus: Corpus, index: int
) -> tuple[Float64[np.ndarray, " peaks"], Float64[np.ndarray, " peaks"]]:
    """Angles [degrees] and unscaled intensities of one crystal by pymatgen."""
    _, angles, intensities = _timed_pymatgen(corpus, index)
    return angles, intensities


def _timed_pymatgen(
    corpus: Corpus, index: int
) -> tuple[float, Float64[np.ndarray, " peaks"], Float64[np.ndarray, " peaks"]]:
    """CPU seconds of pymatgen's calculation, and its result."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    lattice, elements, fract = corpus.cells[index]
    structure = Structure(Lattice.from_parameters(*lattice), elements, fract)
    calculator = XRDCalculator(wavelength=_WAVELENGTH)
    start = time.process_time()
    pattern = calculator.get_pattern(structure, scaled=False, two_theta_range=(5, 90))
    elapsed = time.process_time() - start
    return elapsed, np.asarray(pattern.x), np.asarray(pattern.y)


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
