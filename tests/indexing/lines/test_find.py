import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.profile import Broadening, render
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError, PxrdbenchError
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.indexing.lines.scan_lines import (
    has_second_line,
    prepare_scan,
    width_function,
)

GRID = TwoThetaGrid()
CU = Radiation.parse("CuKa")


def clean(two_theta, intensity, size=50.0):
    two_theta = np.asarray(two_theta, float)
    peaks = PeakBatch(
        two_theta, np.asarray(intensity, float), np.array([0, len(two_theta)])
    )
    return render(peaks, GRID, size)[0]


def fwhm_of(two_theta, size=50.0):
    return np.degrees(0.9 * 0.15406 / size) / np.cos(np.radians(two_theta / 2))


def scan(two_theta, height, *, seed=0, background=20.0, second=0.5, fwhm=0.12):
    """Counts of a doublet of pseudo-Voigts on a falling background."""
    x = GRID.angles()
    y = background * (1.0 + np.exp(-(x - 5.0) / 15.0))
    ratio = CU.lines[1][0] / CU.lines[0][0]
    for place, high in zip(two_theta, height, strict=True):
        w = fwhm / np.cos(np.radians(place / 2))
        other = 2 * np.degrees(np.arcsin(ratio * np.sin(np.radians(place / 2))))
        for c, part in ((place, 1.0), (other, second)):
            t = (x - c) / w
            y = y + high * part * (
                0.5 / (1 + 4 * t * t) + 0.5 * np.exp(-4 * np.log(2) * t * t)
            )
    return x, np.random.default_rng(seed).poisson(y).astype(float)


def test_positions_of_single_clean_lines_are_right_to_a_thousandth_of_a_step():
    places = np.array([12.3456, 20.00049, 31.7, 45.6789, 66.6, 88.0])
    areas = np.array([1.0, 0.5, 0.01, 0.2, 0.003, 0.1])
    lines = find_lines(GRID.angles(), clean(places, areas))
    assert len(lines) == len(places)
    np.testing.assert_allclose(lines.two_theta, places, atol=1e-5)
    np.testing.assert_allclose(lines.fwhm, fwhm_of(places), rtol=1e-4)
    np.testing.assert_allclose(lines.intensity, areas / areas.max(), rtol=1e-4)
    assert lines.wavelength == 1.5406
    assert np.isinf(lines.significance).all()


@pytest.mark.parametrize("size", [20.0, 50.0, 100.0])
@pytest.mark.parametrize("ratio", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("separation", [0.4, 0.6, 1.0, 1.5])
def test_blends_are_resolved(size, ratio, separation):
    gap = separation * fwhm_of(30.0, size)
    places = np.array([15.0, 30.0, 30.0 + gap, 50.0])
    lines = find_lines(GRID.angles(), clean(places, [1.0, 1.0, ratio, 0.3], size))
    assert len(lines) == 4
    np.testing.assert_allclose(lines.two_theta, places, atol=0.02 * gap)
    off = np.abs(lines.two_theta - places)
    assert (off < 5.0 * lines.two_theta_error + 1e-5).all()


def test_three_lines_in_one_blend():
    step = 0.55 * fwhm_of(40.0)
    places = np.array([20.0, 40.0, 40.0 + step, 40.0 + 2 * step, 60.0])
    lines = find_lines(GRID.angles(), clean(places, [1.0, 0.5, 1.0, 0.7, 1.0]))
    assert len(lines) == 5
    np.testing.assert_allclose(lines.two_theta, places, atol=0.05 * step)


def test_a_line_of_a_ten_thousandth_is_found_alone():
    lines = find_lines(GRID.angles(), clean([20.0, 40.0], [1.0, 2e-4]))
    np.testing.assert_allclose(lines.two_theta, [20.0, 40.0], atol=1e-3)
    assert len(find_lines(GRID.angles(), clean([20.0, 40.0], [1.0, 2e-5]))) == 1


def test_the_list_ends_where_max_lines_says():
    places = np.arange(10.0, 80.0, 0.7)
    lines = find_lines(GRID.angles(), clean(places, np.ones(100)), max_lines=30)
    assert len(lines) == 30
    np.testing.assert_allclose(lines.two_theta, places[:30], atol=1e-3)
    assert places[29] < lines.two_theta_range[1] < places[30]


def test_one_line_is_a_pattern():
    lines = find_lines(GRID.angles(), clean([44.4], [7.0]))
    np.testing.assert_allclose(lines.two_theta, [44.4], atol=1e-4)


def test_clean_is_refused_where_it_is_not():
    x, y = scan([20.0, 30.0], [500.0, 900.0])
    with pytest.raises(PatternError, match="no sum of Gaussians"):
        find_lines(x, y, "CuKa", kind="clean")


PLACES = np.array([14.2, 21.05, 25.5, 29.3, 33.33, 38.0, 47.2, 56.1, 64.0, 77.5])
HEIGHTS = np.array([300.0, 60.0, 900.0, 120.0, 2000.0, 150.0, 400.0, 80.0, 600.0, 90.0])


@pytest.mark.parametrize("seed", range(4))
def test_lines_of_a_scan_within_their_errors(seed):
    lines = find_lines(*scan(PLACES, HEIGHTS, seed=seed), "CuKa")
    assert lines.wavelength == CU.lines[0][0]
    nearest = np.abs(lines.two_theta[:, None] - PLACES).argmin(axis=0)
    off = lines.two_theta[nearest] - PLACES
    assert (np.abs(off) < 4.0 * lines.two_theta_error[nearest]).all()
    assert (np.abs(off) < 0.03).all()
    assert len(lines) <= len(PLACES) + 1
    assert (lines.significance > 5.0).all()
    np.testing.assert_allclose(
        lines.intensity[nearest], HEIGHTS / 2000.0 * lines.fwhm[nearest]
        / lines.fwhm[nearest[4]], atol=0.02, rtol=0.2,
    )  # fmt: skip


@pytest.mark.parametrize("second", [0.5, 0.0])
def test_a_stripped_scan_is_known(second):
    x, y = scan(PLACES, HEIGHTS, second=second)
    prepared = prepare_scan(x, y, CU)
    assert has_second_line(prepared) is (second > 0.0)
    widths = width_function(prepared)
    wanted = 0.12 / np.cos(np.radians(PLACES / 2))
    np.testing.assert_allclose(widths(PLACES), wanted, rtol=0.15)
    lines = find_lines(x, y, "CuKa")
    nearest = np.abs(lines.two_theta[:, None] - PLACES).min(axis=0)
    assert (nearest < 0.03).all()


def test_a_doublet_is_seen_although_one_line_was_said():
    x, y = scan(PLACES, HEIGHTS)
    lines = find_lines(x, y, "CuKa1")
    assert lines.wavelength == 1.5406
    assert len(lines) <= len(PLACES) + 1
    assert (np.abs(lines.two_theta[:, None] - PLACES).min(axis=0) < 0.03).all()


def test_two_lines_of_a_scan_that_overlap():
    # Widths are learnt from the other lines.
    places = np.sort(np.append(PLACES, [41.0, 41.24]))
    heights = np.array([300, 60, 900, 120, 2000, 150, 2000, 900, 400, 80, 600, 90.0])
    lines = find_lines(*scan(places, heights), "CuKa")
    off = np.abs(lines.two_theta[:, None] - places).min(axis=0)
    assert (off < 0.04).all()


def test_noise_has_no_lines():
    x = GRID.angles()
    for seed in range(5):
        y = np.random.default_rng(seed).poisson(np.full(len(x), 50.0)).astype(float)
        assert len(find_lines(x, y, "CuKa")) <= 1


def test_spikes_and_humps_are_no_lines():
    x, y = scan(PLACES, HEIGHTS)
    spiked = y.copy()
    spiked[[1111, 4444, 7000]] += 3000.0
    spiked += np.random.default_rng(1).poisson(
        60.0 * np.exp(-(((x - 24.0) / 5.0) ** 2))
    )
    lines = find_lines(x, spiked, "CuKa")
    off = np.abs(lines.two_theta[:, None] - PLACES).min(axis=1)
    assert (off > 0.1).sum() <= 1
    for place in x[[1111, 4444, 7000]]:
        assert np.abs(lines.two_theta - place).min() > 0.05


def test_beta_lines_are_left_out():
    beta = 1.392234 / CU.lines[0][0]
    ghost = 2 * np.degrees(np.arcsin(beta * np.sin(np.radians(33.33 / 2))))
    places, heights = np.append(PLACES, ghost), np.append(HEIGHTS, 40.0)
    order = np.argsort(places)
    lines = find_lines(*scan(places[order], heights[order], second=0.5), "CuKa")
    assert np.abs(lines.two_theta - ghost).min() > 0.1


def test_uneven_and_coarse_angles():
    x, y = scan(PLACES, HEIGHTS * 10)
    keep = np.sort(np.random.default_rng(0).choice(len(x), 6000, replace=False))
    lines = find_lines(x[keep], y[keep], "CuKa")
    assert (np.abs(lines.two_theta[:, None] - PLACES).min(axis=0) < 0.05).mean() > 0.8
    lines = find_lines(x[::4], y[::4], "CuKa")
    assert (np.abs(lines.two_theta[:, None] - PLACES).min(axis=0) < 0.05).mean() > 0.8


def test_a_simulated_scan_with_a_caglioti_width():
    peaks = PeakBatch(PLACES, HEIGHTS, np.array([0, len(PLACES)]))
    y = render(peaks, GRID, broadening=Broadening(u=0.02, w=0.005))[0]
    noisy = np.random.default_rng(0).poisson(3000.0 * y + 10.0).astype(float)
    lines = find_lines(GRID.angles(), noisy, "CuKa1")
    assert (np.abs(lines.two_theta[:, None] - PLACES).min(axis=0) < 0.03).mean() >= 0.9


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e9, 1e200])
def test_no_unit_matters(scale):
    x, y = scan(PLACES, HEIGHTS)
    np.testing.assert_allclose(
        find_lines(x, y * scale, "CuKa").two_theta,
        find_lines(x, y, "CuKa").two_theta,
        atol=1e-6,
    )
    y = clean(PLACES, HEIGHTS).astype(float)
    np.testing.assert_allclose(
        find_lines(x, y * scale).two_theta, find_lines(x, y).two_theta, atol=1e-8
    )


def test_equal_input_gives_equal_bytes():
    x, y = scan(PLACES, HEIGHTS)
    for pattern, name in ((y, "CuKa"), (clean(PLACES, HEIGHTS), "CuKa1")):
        one, two = find_lines(x, pattern, name), find_lines(x, pattern.copy(), name)
        for field in ("two_theta", "two_theta_error", "intensity", "fwhm"):
            assert getattr(one, field).tobytes() == getattr(two, field).tobytes()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.arange(1.0, 31.0), np.full(30, np.nan), "no finite number"),
        (np.arange(1.0, 31.0), np.append(np.ones(29), np.inf), "no finite number"),
        (np.array([1.0]), np.array([1.0]), "at least"),
        (np.arange(31.0, 1.0, -1.0), np.ones(30), "ascend"),
        (np.arange(1.0, 31.0), np.ones(29), "equal length"),
        (np.arange(0.0, 30.0), np.ones(30), "between 0 and 180"),
        (np.repeat(np.arange(1.0, 16.0), 2), np.ones(30), "ascend"),
    ],
)
def test_what_is_no_pattern_is_refused(x, y, message):
    with pytest.raises(PatternError, match=message):
        find_lines(x, y)


def test_unknown_options_are_refused():
    x = np.arange(1.0, 31.0)
    with pytest.raises(PatternError, match="unknown kind"):
        find_lines(x, x, kind="sharp")
    with pytest.raises(PatternError, match="max_lines"):
        find_lines(x, x, max_lines=0)


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_a_constant_has_no_lines(value):
    assert len(find_lines(GRID.angles(), np.full(GRID.points, value), "CuKa")) == 0


def test_negative_intensities_are_read():
    x, y = scan(PLACES, HEIGHTS)
    lines = find_lines(x, y - 60.0, "CuKa")
    strong = PLACES[HEIGHTS > 100]
    assert (np.abs(lines.two_theta[:, None] - strong).min(axis=0) < 0.03).all()
    find_lines(x, -y, "CuKa")


@settings(max_examples=60)
@given(
    arrays(
        np.float64,
        st.integers(20, 400),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.floats(0.001, 0.4),
    st.sampled_from(["CuKa", "CuKa1", "MoKa", 0.7]),
)
def test_whatever_comes_gives_a_list_or_one_clear_error(y, step, radiation):
    x = 5.0 + step * np.arange(len(y))
    try:
        lines = find_lines(x, y, radiation)
    except PxrdbenchError:
        return
    for values in (lines.two_theta, lines.two_theta_error, lines.fwhm):
        assert np.isfinite(values).all()
        assert (values > 0.0).all()
    assert (np.diff(lines.two_theta) >= 0.0).all()
