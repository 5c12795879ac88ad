"""Groups with the same absences, cells with errors, the sum of reader and network."""

import numpy as np
import pytest
from laboratory_minerals import GRID, laboratory_draw, lines_of

import pxrdbench as px
from pxrdbench.prediction.calculated import calculate_scan, find_marks
from pxrdbench.prediction.calibration import Calibration, load_calibration
from pxrdbench.prediction.cell_report import with_error
from pxrdbench.prediction.doubts import has_hump, is_peak_list
from pxrdbench.prediction.known import make_known
from pxrdbench.prediction.reading import Reading, add_up, read_pattern
from pxrdbench.prediction.together import find_sets, indistinguishable


def shares(**groups):
    values = np.zeros(231)
    for name, share in groups.items():
        values[int(name[1:])] = share
    return values


def test_mirror_images_and_centres_of_symmetry_are_told():
    first, second = find_sets(shares(g152=0.3, g154=0.3, g62=0.3, g33=0.1))[:2]
    assert {152, 154} <= set(first.space_groups)
    assert any("mirror images" in text for text in first.deciding)
    assert second.space_groups == (62, 33)
    assert any("centre of symmetry" in text for text in second.deciding)
    assert second.probability == pytest.approx(0.4)
    assert {33, 62} == set(indistinguishable(62))


def test_values_with_errors():
    assert with_error(4.9134, 0.00096) == "4.913(1)"
    assert with_error(5.0, float("nan")) == "5.000"
    assert with_error(120.0, 0.0) == "120"
    assert with_error(153.2, 12.0) == "153(12)"


def test_without_a_cell_the_network_answers_and_the_sum_is_one():
    known, calibration = make_known(), load_calibration()
    nothing = Reading(None, np.zeros(231), 1.0)
    groups, no_cell = add_up(nothing, shares(g225=1.0), known, calibration)
    assert no_cell == 1.0
    assert groups.argmax() == 225
    assert groups.sum() == pytest.approx(1.0)
    assert (groups[1:] > 0.0).all()
    alone, _ = add_up(nothing, None, known, calibration)
    np.testing.assert_allclose(alone, known.prior, atol=1e-9)
    found = Reading(None, shares(g62=0.6, g33=0.3), 0.1)
    groups, no_cell = add_up(found, shares(g225=1.0), known, Calibration())
    assert no_cell == pytest.approx(0.1)
    assert groups[62] == pytest.approx(0.6, abs=0.02)


def test_a_calculated_scan_is_that_which_was_measured():
    scan = laboratory_draw(*lines_of("rutile"), seed=2)
    radiation = px.Radiation.parse("CuKa")
    reading = read_pattern(GRID, scan, radiation, make_known())
    picture = calculate_scan(GRID, scan, radiation, reading.indexing)
    rest = np.sqrt((picture.difference**2).sum() / (picture.intensity**2).sum())
    assert rest < 0.25
    marks = find_marks(reading.indexing)
    assert len(marks.allowed) + len(marks.absent) == len(marks.hkl)
    assert len(marks.allowed) > 8
    assert "1 1 0" in marks.hkl[: len(marks.allowed)]
    assert not len(find_marks(None).hkl)


def test_humps_and_lists_are_told():
    x = np.arange(10.0, 80.0, 0.02)
    random = np.random.default_rng(0)
    hump = random.poisson(50 + 200 * np.exp(-(((x - 30) / 7) ** 2))).astype(float)
    assert has_hump(x, hump)
    assert not has_hump(x, random.poisson(50.0, len(x)).astype(float))
    assert is_peak_list(np.array([20.1, 25.3, 33.0, 47.2, 60.8]))
    assert not is_peak_list(x)
