import numpy as np
import pytest
from random_crystals import TABLES, draw_site

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import CrystalError, PatternError
from pxrdbench.speed.corpus import (
    draw_corpus,
    find_wyckoff_position,
    read_frozen_corpus,
)
from pxrdbench.speed.measurement import benchmark_measurement
from pxrdbench.speed.other_simulators import find_simulators
from pxrdbench.speed.picture import draw_benchmark
from pxrdbench.speed.simulation import (
    benchmark_simulation,
    benchmark_workers,
    compare_peaks,
    compare_totals,
)

PYMATGEN = find_simulators()[0]


def pymatgen_peaks(corpus, index):
    return PYMATGEN.timed(corpus, index)[1]


@pytest.fixture(scope="module")
def frozen(test_data):
    return test_data / "corpus" / "frozen_400.parquet"


@pytest.mark.parametrize("group", [2, 14, 62, 141, 166, 194, 225])
def test_positions_are_found_from_any_image(group):
    rng = np.random.default_rng(group)
    rotation, translation = TABLES.operators(group)
    for index, row in enumerate(TABLES.position_rows(group)):
        site = draw_site(group, index, rng, "Fe")
        operator = rng.integers(len(rotation))
        image = rotation[operator] @ site.fract + translation[operator] / 24
        letter, point = find_wyckoff_position(
            group, image - np.floor(image), int(TABLES.multiplicity[row])
        )
        found = TABLES.position_rows(group)[WYCKOFF_LETTERS.index(letter)]
        # Positions such as 2a (0, 0, 0) and 2b (0, 0, 1/2) are told apart.
        assert found == row
        first = TABLES.first_rotation[row] @ point + TABLES.first_translation[row] / 24
        np.testing.assert_allclose(first, point, atol=1e-9)


def test_point_on_no_position_is_refused():
    with pytest.raises(CrystalError, match="no position of multiplicity 4"):
        find_wyckoff_position(225, np.array([0.1, 0.2, 0.3]), 4)


def test_comparison_sees_what_is_wrong():
    peaks = PeakBatch(np.array([10.0, 20.0]), np.array([1.0, 2.0]), np.array([0, 2]))
    angles, intensities = peaks.two_theta, peaks.intensity
    assert compare_peaks(peaks, 0, angles, intensities) == (0.0, 0.0, 2)
    off = compare_peaks(peaks, 0, angles, intensities * [1.0, 1.001])
    assert off[0] == pytest.approx(1e-3, rel=1e-2)
    shifted = compare_peaks(peaks, 0, angles + np.array([0, 1e-6]), intensities)
    assert shifted[1] == pytest.approx(1e-6, rel=1e-6)
    assert compare_peaks(peaks, 0, angles[:1], intensities[:1])[0] == np.inf
    extra = np.append(angles, 30.0), np.append(intensities, 1.0)
    assert compare_peaks(peaks, 0, *extra)[0] == np.inf
    # Two of theirs for one of ours, as pymatgen's rounding makes them.
    split = np.array([10.0, 20.0, 20.000008]), np.array([1.0, 1.5, 0.5])
    assert compare_peaks(peaks, 0, *split)[0] == 0.0


@pytest.mark.data
def test_paper_mode_agrees_with_pymatgen(frozen):
    """On the 40 cheapest crystals; the whole corpus takes half a minute."""
    corpus = read_frozen_corpus(frozen)
    effort = [len(fract) for _, _, fract in corpus.cells] * corpus.volumes()
    chosen = np.argsort(effort)[:40]
    assert len(set(corpus.crystals.space_group[chosen])) > 15
    batch = CrystalBatch.from_crystals([corpus.crystals[i] for i in chosen])
    peaks = simulate_peaks(batch, 1.5406, scattering="paper", precision="double")
    for row, index in enumerate(chosen):
        intensity, angle, n = compare_peaks(peaks, row, *pymatgen_peaks(corpus, index))
        assert intensity < 1e-8
        assert angle < 1e-9
        assert n > 0


@pytest.mark.data
def test_benchmark_reports_times_and_accuracy(frozen):
    report = benchmark_simulation(read_frozen_corpus(frozen, 4), group_size=2)
    assert report["accuracy"]["relative_intensity"] < 1e-8
    assert report["accuracy"]["peaks_compared"] > 50
    assert report["corpus"]["crystals"] == 4
    assert all(t > 0 for t in report["microseconds_per_pattern"].values())
    assert report["speed_over_pymatgen"]["peaks, paper, single"] > 50
    rows = report["simulators"]
    # pymatgen and gemmi use the tables that we do; others have their own.
    assert rows["pymatgen"]["difference_percent_largest"] < 1e-2
    assert rows["gemmi"]["difference_percent_largest"] < 1e-4
    assert rows["gemmi"]["times_our_peaks"] > 10


def test_every_program_computes_the_same_crystals():
    """On drawn crystals of many groups; tables of its own leave some tenths of a %."""
    corpus = draw_corpus(24, seed=5)
    peaks = {
        name: simulate_peaks(
            corpus.crystals, 1.5406, scattering=name, precision="double"
        )
        for name in ("paper", "default")
    }
    for simulator in find_simulators():
        for index in range(0, 24, 12 if simulator.every > 1 else 1):
            _, lines = simulator.timed(corpus, index)
            off = compare_totals(peaks[simulator.scattering], index, *lines)
            assert off < (5.0 if simulator.every > 1 else 1e-2), simulator.name


def test_totals_see_a_difference():
    peaks = PeakBatch(np.array([10.0, 20.0]), np.array([1.0, 1.0]), np.array([0, 2]))
    assert compare_totals(peaks, 0, peaks.two_theta, np.ones(2)) == 0.0
    off = compare_totals(peaks, 0, peaks.two_theta, np.array([1.0, 3.0]))
    assert off == pytest.approx(50.0)


def test_workers_and_stages_are_timed(tmp_path):
    workers = benchmark_workers(2, rounds=2)
    assert set(workers["microseconds_per_pattern"]) == {"1", "2"}
    low, high = workers["rise_interval"]
    assert low <= workers["rise"] <= high
    measured = benchmark_measurement("rruff-paper", n=64, rounds=2)
    parts = measured["microseconds_per_pattern"]
    assert parts["complete"] > parts["plain"] > 0
    assert measured["rate_over_plain"] == parts["plain"] / parts["complete"]
    with pytest.raises(PatternError, match="unknown measurement"):
        benchmark_measurement("rruf", n=8, rounds=1)
    report = {
        "microseconds_per_pattern": {"pymatgen peaks": 5e4, "render": 6.0},
        "simulators": {"gemmi": {"microseconds_per_pattern": 2e3, "crystals": 4}},
        "corpus": {"name": "none", "crystals": 4},
        "measurement": measured,
    }
    for name in ("bench.svg", "bench.png"):
        draw_benchmark(report, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_drawn_corpus_is_the_same_in_pymatgen():
    corpus = draw_corpus(6)
    peaks = simulate_peaks(
        corpus.crystals, 1.5406, scattering="paper", precision="double"
    )
    for index in range(6):
        intensity, angle, n = compare_peaks(
            peaks, index, *pymatgen_peaks(corpus, index)
        )
        assert intensity < 1e-8
        assert angle < 1e-9
        assert n > 0
