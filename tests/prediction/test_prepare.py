"""Scans of any tube, step and range become the same input; doubts are told."""

import numpy as np
import pytest
from measured_scans import draw_crystals, measure

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import SourceError
from pxrdbench.prediction.lines import add_second_line, strip_second_line
from pxrdbench.prediction.prepare import (
    ScanContract,
    find_baseline,
    prepare_scan,
)
from pxrdbench.prediction.warnings import find_flat_top
from pxrdbench.sources.scans.read import make_pattern

GRID = TwoThetaGrid()
CU, CU1, MO = (Radiation.parse(name) for name in ("CuKa", "CuKa1", "MoKa"))
WITH = ScanContract(GRID, CU, has_background=True)
WITHOUT = ScanContract(GRID, CU, has_background=False)


@pytest.fixture(scope="module")
def crystals():
    return draw_crystals(12)


def test_contract_comes_from_the_training():
    names = ("SpectralLines", "AmorphousHumps", "CountingNoise")
    assert ScanContract.of(GRID, CU1, names) == WITH
    assert ScanContract.of(GRID, CU1, ()) == ScanContract(GRID, CU1, False)
    mo = ScanContract.of(GRID, Radiation.parse("MoKa1"), ("SpectralLines",))
    assert mo.radiation.name == "MoKa"


def test_a_scan_on_the_models_own_grid_is_left_as_it_is(crystals):
    angles, scans = measure(crystals, "CuKa", GRID, noise=1)
    for scan in scans:
        prepared = prepare_scan(make_pattern(angles, scan, CU), CU, WITH)
        middle = prepared.unmoved
        assert prepared.is_measured[middle].all()
        np.testing.assert_allclose(
            prepared.intensity[middle], scan / scan.max(), atol=1e-6
        )


def test_a_model_sees_the_scan_moved_by_parts_of_a_step(crystals):
    """The rows are what a scan gives whose angles are off by so much."""
    angles, scans = measure(crystals, "CuKa", GRID, noise=6)
    prepared = prepare_scan(make_pattern(angles, scans[0], CU), CU, WITH)
    assert len(prepared.intensity) == 17
    off = prepare_scan(make_pattern(angles + 2 * GRID.step, scans[0], CU), CU, WITH)
    last = prepared.intensity[-1]
    np.testing.assert_allclose(last, off.intensity[off.unmoved], atol=1e-6)
    # Two whole steps: the same numbers, two places further on.
    np.testing.assert_allclose(last[2:], (scans[0] / scans[0].max())[:-2], atol=1e-6)


def test_molybdenum_gives_the_same_lines_as_copper(crystals):
    """The same crystals, simulated with both tubes: other angles, doublets, steps."""
    reach = np.degrees(2 * np.arcsin(np.sin(np.radians(46.0)) * 0.7093 / 1.5406))
    fine = TwoThetaGrid(2.0, float(reach), 8001)
    agree = []
    for scan, other in zip(
        measure(crystals, "CuKa", GRID)[1],
        measure(crystals, "MoKa", fine)[1],
        strict=True,
    ):
        first = prepare_scan(make_pattern(GRID.angles(), scan, CU), CU, WITHOUT)
        second = prepare_scan(make_pattern(fine.angles(), other, MO), MO, WITHOUT)
        a, b = (np.sqrt(p.intensity[p.unmoved].astype(float)) for p in (first, second))
        agree.append(np.corrcoef(a, b)[0, 1])
    assert np.median(agree) > 0.98
    assert min(agree) > 0.88  # dispersion differs between the tubes


@pytest.mark.parametrize("every", [2, 3, 4])
def test_coarser_steps_give_nearly_the_same_input(crystals, every):
    angles, scans = measure(crystals, "CuKa", GRID, noise=5)
    for scan in scans:
        whole = prepare_scan(make_pattern(angles, scan, CU), CU, WITHOUT)
        part = make_pattern(angles[::every], scan[::every], CU)
        coarse = prepare_scan(part, CU, WITHOUT)
        a, b = (p.intensity[p.unmoved].astype(float) for p in (whole, coarse))
        assert np.corrcoef(a, b)[0, 1] > 0.99


def test_what_was_not_measured_is_masked(crystals):
    angles, scans = measure(crystals, "CuKa", GRID, noise=2)
    kept = ((angles > 20) & (angles < 45)) | ((angles > 50) & (angles < 60))
    scan = make_pattern(angles[kept], scans[0][kept], CU)
    prepared = prepare_scan(scan, CU, WITH)
    assert abs(prepared.is_measured[prepared.unmoved].sum() - kept.sum()) <= 4
    assert not prepared.intensity[~prepared.is_measured].any()
    assert any("Short range: 20.0 to 60.0" in text for text in prepared.warnings)


def test_the_background_is_found_where_there_is_one(crystals):
    """Against the truth: the smooth curve under the lines."""
    x = GRID.angles()
    truth = 300 + 500 * np.exp(-x / 20) + 400 * np.exp(-(((x - 28) / 7) ** 2))
    lines = measure(crystals, "CuKa", GRID, ground=0.0)[1]
    rng = np.random.default_rng(0)
    errors = []
    for scan in lines:
        counts = rng.poisson(scan + truth).astype(float)
        found = find_baseline(counts, np.ones(len(x), bool), GRID)
        errors.append(np.abs(found - truth)[50:-50].mean() / truth.mean())
    assert np.median(errors) < 0.05
    assert max(errors) < 0.12  # hundreds of lines leave no free ground


def test_second_lines_come_off_and_on(crystals):
    ratio, weight = CU.lines[1][0] / CU.lines[0][0], 0.5
    one = measure(crystals, CU.lines[0][0], GRID, ground=0.0)[1]
    two = measure(crystals, CU, GRID, ground=0.0)[1]
    for first, both in zip(one, two, strict=True):
        stripped = strip_second_line(GRID.angles(), both, ratio, weight)
        assert stripped is not None
        assert np.corrcoef(stripped, first)[0, 1] > 0.999
        made = add_second_line(GRID.angles(), first, ratio, weight)
        assert np.corrcoef(made, both)[0, 1] > 0.999


def test_second_lines_that_are_not_there_stay_on(crystals):
    """Stripping what is not there would leave holes in most patterns."""
    ratio = CU.lines[1][0] / CU.lines[0][0]
    one = measure(crystals, CU.lines[0][0], GRID, ground=0.0)[1]
    refused = [
        strip_second_line(GRID.angles(), scan, ratio, 0.5) is None for scan in one
    ]
    assert np.mean(refused) > 0.6  # broad lines hide it, and then it does no harm


def test_doubts_are_told(crystals):
    angles, scans = measure(crystals, "CuKa", GRID, noise=3)
    cut = scans[0].clip(None, 0.4 * scans[0].max())
    told = prepare_scan(make_pattern(angles, cut, CU), CU, WITH).warnings
    assert any(text.startswith("Saturation") for text in told)
    hump = scans[0] + 40_000 * np.exp(-(((angles - 25) / 6) ** 2))
    told = prepare_scan(make_pattern(angles, hump, CU), CU, WITH).warnings
    assert any(text.startswith("Mostly amorphous") for text in told)
    told = prepare_scan(make_pattern(angles[::8], scans[0][::8], CU), CU, WITH).warnings
    assert any(text.startswith("Coarse steps: 0.08") for text in told)
    line = 100 + 5000 * np.exp(-(((angles - 40) / 0.1) ** 2))
    told = prepare_scan(make_pattern(angles, line, CU), CU, WITH).warnings
    assert any(text.startswith("Few lines: 1 ") for text in told)


def test_sound_scans_are_not_doubted(crystals):
    angles, scans = measure(crystals, "CuKa", GRID, noise=4)
    told = [prepare_scan(make_pattern(angles, s, CU), CU, WITH).warnings for s in scans]
    assert sum(map(len, told)) <= 2, told


def test_flat_tops():
    assert find_flat_top(np.array([1.0, 500, 500, 500, 3])) == 3
    assert find_flat_top(np.array([1.0, 500, 3, 500, 3])) == 1
    assert find_flat_top(np.array([1.0, 7, 7, 7, 3])) == 0  # few counts: chance


def test_what_cannot_be_predicted_is_refused():
    angles = GRID.angles()
    noise = np.random.default_rng(0).poisson(100.0, len(angles)).astype(float)
    with pytest.raises(SourceError, match="no line rises above"):
        prepare_scan(make_pattern(angles, noise, CU), CU, WITH)
    far = make_pattern(np.arange(100, 150, 0.02), noise[:2500], CU)
    with pytest.raises(SourceError, match="hardly any of its range"):
        prepare_scan(far, CU, WITH)
    negative = make_pattern(np.arange(-50, -10, 0.02), noise[:2000], CU)
    with pytest.raises(SourceError, match="no angles above zero"):
        prepare_scan(negative, CU, WITH)
    neutron = make_pattern(angles, noise, CU, metadata={"probe": "neutron"})
    with pytest.raises(SourceError, match="neutrons"):
        prepare_scan(neutron, CU, WITH)
