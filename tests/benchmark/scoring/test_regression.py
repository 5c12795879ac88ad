import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.benchmark.scoring.regression import (
    angle_error,
    cell_strain,
    determination,
    edge_error,
    edge_error_angstrom,
    is_cell_found,
    relative_error,
    score_regression,
    size_factor,
    volume_error,
)
from pxrdbench.errors import EvaluationError

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def random_cells(seed, n=40):
    generator = np.random.Generator(np.random.PCG64(seed))
    return np.hstack(
        [generator.uniform(3, 20, (n, 3)), generator.uniform(75, 105, (n, 3))]
    )


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(-0.2, 0.2))
def test_a_cell_blown_up_by_delta(seed, delta):
    true = random_cells(seed)
    grown = true.copy()
    grown[:, :3] *= 1.0 + delta
    assert edge_error(grown, true) == pytest.approx(abs(delta))
    assert angle_error(grown, true) == pytest.approx(0.0)
    assert volume_error(grown, true) == pytest.approx(abs((1 + delta) ** 3 - 1))
    assert cell_strain(grown, true) == pytest.approx(
        abs(np.log1p(delta)) * np.ones(40), abs=1e-7
    )
    wanted = abs(delta) <= 0.05
    assert (is_cell_found(grown, true) == wanted).all() or abs(abs(delta) - 0.05) < 1e-9


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_strain_knows_no_true_cell_and_no_choice_of_axes(seed):
    one, other = random_cells(seed), random_cells(seed + 1)
    strain = cell_strain(one, other)
    assert cell_strain(other, one) == pytest.approx(strain)
    order = [1, 2, 0, 4, 5, 3]  # the same axes by other names
    assert cell_strain(one[:, order], other[:, order]) == pytest.approx(strain)
    assert cell_strain(one, one) == pytest.approx(np.zeros(40), abs=1e-7)


def test_a_shear_is_seen_though_edges_are_right():
    true = np.array([[5.0, 5.0, 5.0, 90.0, 90.0, 90.0]])
    sheared = true.copy()
    sheared[0, 5] = 80.0
    assert edge_error(sheared, true) == 0
    assert angle_error(sheared, true) == pytest.approx(10 / 3)
    assert volume_error(sheared, true) == pytest.approx(1 - np.sin(np.radians(80)))
    # F stretches one diagonal by √(1 + cos γ), the other by √(1 − cos γ).
    cosine = np.cos(np.radians(80))
    strains = 0.5 * np.log([1 + cosine, 1 - cosine])
    wanted = np.sqrt((strains**2).sum() / 3)
    assert cell_strain(sheared, true) == pytest.approx(wanted)
    assert is_cell_found(sheared, true) == 0


def test_volumes_are_those_of_pymatgen():
    from pymatgen.core import Lattice

    one, other = random_cells(3, 10), random_cells(4, 10)
    volume = [
        [Lattice.from_parameters(*c).volume for c in cells] for cells in (one, other)
    ]
    wanted = np.abs(np.array(volume[0]) - volume[1]) / volume[1]
    assert volume_error(one, other) == pytest.approx(wanted)


def test_means_are_those_of_scikit_learn():
    one, other = random_cells(5), random_cells(6)
    found = score_regression(
        {"edge": edge_error_angstrom(one, other), "angle": angle_error(one, other)},
        [str(i // 3) for i in range(40)],
    )
    for name, columns in (("edge", slice(0, 3)), ("angle", slice(3, 6))):
        wanted = sklearn_metrics.mean_absolute_error(other[:, columns], one[:, columns])
        assert found[name].value == pytest.approx(wanted, abs=2e-6)
        assert found[name].low < found[name].value < found[name].high
    size, guess = one[:, 0], other[:, 0]
    assert relative_error(guess, size).mean() == pytest.approx(
        sklearn_metrics.mean_absolute_percentage_error(size, guess)
    )
    assert determination(guess, size) == pytest.approx(
        sklearn_metrics.r2_score(size, guess)
    )
    assert np.isnan(determination(guess, np.ones(40)))
    assert (size_factor(2 * size, size) == pytest.approx(np.log(2))) and (
        size_factor(size / 2, size) == pytest.approx(np.log(2))
    )


def test_what_cannot_be_is_said():
    true = random_cells(7, 3)
    open_cell = true.copy()
    open_cell[1, 3:] = (130.0, 130.0, 130.0)
    assert np.isnan(volume_error(open_cell, true)).tolist() == [False, True, False]
    assert np.isnan(cell_strain(open_cell, true)).tolist() == [False, True, False]
    found = score_regression({"strain": cell_strain(open_cell, true)}, ["a", "b", "c"])
    assert np.isfinite(found["strain"].value)
    assert score_regression({"x": np.full(3, np.nan)}, ["a", "b", "c"]) == {}
    with pytest.raises(EvaluationError, match="shapes"):
        edge_error(true[:2], true)
    with pytest.raises(EvaluationError, match="above 0"):
        edge_error(-true, true)
    with pytest.raises(EvaluationError, match="not above 0 nm"):
        size_factor(np.array([0.0]), np.array([1.0]))
