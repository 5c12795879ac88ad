import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import add_gaussians, add_pseudo_voigts

from pxrdbench.diffraction.measurement.measurement import OWN_ROUGHNESS, TRACE_ROUGHNESS
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.profile import (
    DEFAULT_CRYSTALLITE_SIZE_NM,
    Broadening,
    render,
    render_roughly,
)
from pxrdbench.errors import PatternError

GRID = TwoThetaGrid()


def make_peaks(*lists):
    """A batch of (angles, intensities) pairs."""
    return PeakBatch(
        two_theta=np.concatenate([np.asarray(x, np.float64) for x, _ in lists]),
        intensity=np.concatenate([np.asarray(y, np.float64) for _, y in lists]),
        peak_offset=np.cumsum([0] + [len(x) for x, _ in lists]),
    )


def draw_list(rng, n, low=5.0, high=90.0):
    return np.sort(rng.uniform(low, high, n)), rng.exponential(1.0, n) ** 2


@pytest.mark.parametrize("grid", [GRID, TwoThetaGrid(10, 80, 1401)])
def test_gaussians_equal_the_full_sum(grid):
    rng = np.random.default_rng(1)
    lists = [draw_list(rng, n) for n in (1, 2, 17, 200, 1500)]
    # Tails of peaks beyond the ends reach in; the far one adds nothing.
    lists.append(([2.0, 4.95, 30.0, 90.05, 91.0], [9.0, 1.0, 1.0, 2.0, 9.0]))
    sizes = rng.uniform(5, 150, len(lists))
    patterns = render(make_peaks(*lists), grid, sizes)
    assert patterns.dtype == np.float32
    for pattern, (x, area), size in zip(patterns, lists, sizes, strict=True):
        exact = add_gaussians(np.array(x), np.array(area), grid.angles(), size)
        assert np.abs(pattern - exact).max() < 2e-5
        assert pattern.max() == 1.0


def test_area_of_a_peak_is_its_intensity():
    peaks = make_peaks(([20.0, 50.0, 80.0], [1.0, 2.0, 3.0]))
    pattern = render(peaks, GRID, 30.0)[0].astype(np.float64)
    areas = np.array([part.sum() for part in np.split(pattern, [3000, 6000])])
    np.testing.assert_allclose(areas / areas[0], [1, 2, 3], rtol=1e-5)


def test_width_is_scherrers():
    # 10 nm at 2θ = 60: 0.9 · 0.15406 / (10 cos 30°) rad = 0.91734 degrees.
    pattern = render(make_peaks(([60.0], [1.0])), GRID, 10.0)[0]
    half = GRID.angles()[pattern >= 0.5]
    assert half[-1] - half[0] == pytest.approx(0.91734, abs=0.02)


def test_longer_waves_give_wider_peaks():
    near = make_peaks(([60.0], [1.0]))
    far = PeakBatch(near.two_theta, near.intensity, near.peak_offset, None, 3.0812)
    np.testing.assert_allclose(
        render(near, GRID, 20.0), render(far, GRID, 40.0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("broadening", "size"),
    [
        (Broadening(w=0.01), 60.0),
        (Broadening(u=0.01, v=-0.005, w=0.01, x=0.05, y=0.02), 50.0),
        (Broadening(strain=0.001, size_profile="lorentzian"), 40.0),
        (Broadening(y=0.08), None),
        (Broadening(y=2.0), None),
    ],
)
def test_pseudo_voigts_equal_the_full_sum(broadening, size):
    rng = np.random.default_rng(2)
    lists = [draw_list(rng, n, 4.0, 91.0) for n in (2, 40, 300)]
    patterns = render(make_peaks(*lists), GRID, size, broadening=broadening)
    b = broadening
    for pattern, (x, area) in zip(patterns, lists, strict=True):
        theta = np.radians(x / 2)
        of_size = (
            0 if size is None else np.degrees(0.9 * 0.15406 / size) / np.cos(theta)
        )
        gauss = np.sqrt(
            b.u * np.tan(theta) ** 2
            + b.v * np.tan(theta)
            + b.w
            + of_size**2 * (b.size_profile == "gaussian")
        )
        lorentz = (
            (b.x + np.degrees(4 * b.strain)) * np.tan(theta)
            + b.y / np.cos(theta)
            + of_size * (b.size_profile == "lorentzian")
        )
        exact = add_pseudo_voigts(x, area, GRID.angles(), gauss, lorentz)
        assert np.abs(pattern - exact).max() < 1e-3
        assert pattern.max() == 1.0


def test_broadening_without_lorentzian_is_the_gaussian():
    peaks = make_peaks(draw_list(np.random.default_rng(3), 50))
    np.testing.assert_allclose(
        render(peaks, GRID, 40.0, broadening=Broadening()),
        render(peaks, GRID, 40.0),
        atol=5e-6,
    )


def test_one_width_for_each_pattern():
    lists = [draw_list(np.random.default_rng(4), 50)] * 2
    both = render(
        make_peaks(*lists),
        GRID,
        np.array([30.0, 60.0]),
        broadening=Broadening(w=np.array([0.01, 0.04]), y=0.01),
    )
    for row, (size, w) in enumerate(((30.0, 0.01), (60.0, 0.04))):
        alone = render(
            make_peaks(lists[0]), GRID, size, broadening=Broadening(w=w, y=0.01)
        )
        assert both[row].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize("broadening", [None, Broadening(w=0.01, x=0.02)])
def test_batch_boundaries_leave_every_byte(broadening):
    rng = np.random.default_rng(5)
    lists = [draw_list(rng, n) for n in rng.integers(1, 400, 20)]
    sizes = rng.uniform(20, 100, 20)
    whole = render(make_peaks(*lists), GRID, sizes, broadening=broadening)
    parts = [
        render(make_peaks(*lists[i:j]), GRID, sizes[i:j], broadening=broadening)
        for i, j in ((0, 1), (1, 8), (8, 20))
    ]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


@given(factor=st.floats(1e-12, 1e12))
def test_scale_of_the_intensities_does_not_matter(factor):
    x, area = draw_list(np.random.default_rng(6), 30)
    patterns = render(make_peaks((x, area), (x, area * factor)), GRID, 50.0)
    np.testing.assert_allclose(patterns[0], patterns[1], atol=2e-6)


def test_nothing_said_about_widths_means_sixty_nanometres():
    peaks = make_peaks(([40.0], [1.0]))
    assert DEFAULT_CRYSTALLITE_SIZE_NM == 60.0
    assert render(peaks, GRID).tobytes() == render(peaks, GRID, 60.0).tobytes()


def test_empty_batch_has_no_patterns():
    peaks = PeakBatch(np.zeros(0), np.zeros(0), np.zeros(1, np.int64))
    assert render(peaks, GRID).shape == (0, 8501)


@pytest.mark.parametrize(
    ("size", "broadening", "message"),
    [
        (0.0, None, "pattern 0: crystallite_size_nm is 0.0"),
        (np.array([50.0, np.nan]), None, "pattern 1: crystallite_size_nm is nan"),
        (np.array([50.0]), None, "shape"),
        (None, Broadening(v=-1.0), "pattern 0: the squared width"),
        (None, Broadening(), "pattern 0: the squared width"),
        (None, Broadening(w=np.array([0.1, 0.0])), "pattern 1: the squared width"),
    ],
)
def test_impossible_width_is_refused(size, broadening, message):
    peaks = make_peaks(([40.0], [1.0]), ([50.0], [1.0]))
    with pytest.raises(PatternError, match=message):
        render(peaks, GRID, size, broadening=broadening)


@pytest.mark.parametrize("broadening", [None, Broadening(w=0.01, y=0.1)])
def test_pattern_without_a_peak_on_the_grid_is_named(broadening):
    peaks = make_peaks(([40.0], [1.0]), ([95.0], [1.0]))
    with pytest.raises(PatternError, match="pattern 1 has no peak between") as caught:
        render(peaks, GRID, 50.0, broadening=broadening)
    assert caught.value.index == 1


def test_fixed_lorentz_share_is_kept():
    rng = np.random.default_rng(8)
    lists = [draw_list(rng, n, 4.0, 91.0) for n in (1, 30, 300)]
    shares = np.array([0.0, 0.35, 1.0])
    patterns = render(
        make_peaks(*lists),
        GRID,
        broadening=Broadening(u=0.02, w=0.01, lorentz_share=shares),
    )
    for pattern, (x, area), share in zip(patterns, lists, shares, strict=True):
        fwhm = np.sqrt(0.02 * np.tan(np.radians(x / 2)) ** 2 + 0.01)
        d = GRID.angles() - x[:, None]
        lorentz = fwhm[:, None] / (2 * np.pi) / (d**2 + fwhm[:, None] ** 2 / 4)
        gauss = np.exp(-4 * np.log(2) * (d / fwhm[:, None]) ** 2) / fwhm[:, None]
        gauss *= np.sqrt(4 * np.log(2) / np.pi)
        exact = area @ (share * lorentz + (1 - share) * gauss)
        assert np.abs(pattern - exact / exact.max()).max() < 2e-4


@pytest.mark.parametrize(
    ("roughness", "bound"),
    # An impurity is at most a twentieth of a pattern: together within 1e-3.
    [(1.0, 5e-4), (OWN_ROUGHNESS, 8e-4), (TRACE_ROUGHNESS, 4e-3)],
)
def test_rough_profiles_keep_their_bounds(roughness, bound):
    rng = np.random.default_rng(11)
    x, area = draw_list(rng, 600, 4.0, 91.0)
    for u, w in ((0.0, 1e-4), (0.02, 0.02), (0.04, 0.04)):
        widths = Broadening(u=u, w=w, lorentz_share=0.7)
        pattern = render_roughly(make_peaks((x, area)), GRID, None, widths, roughness)
        fwhm = np.sqrt(u * np.tan(np.radians(x / 2)) ** 2 + w)[:, None]
        d = (GRID.angles() - x[:, None]) / fwhm
        lorentz = 2 / np.pi / (1 + 4 * d**2)
        gauss = np.sqrt(4 * np.log(2) / np.pi) * np.exp(-4 * np.log(2) * d**2)
        exact = area @ ((0.7 * lorentz + 0.3 * gauss) / fwhm)
        assert np.abs(pattern[0] - exact / exact.max()).max() < bound


def test_strong_peak_beyond_the_grid_does_not_hide_the_others():
    peaks = make_peaks(([20.0, 120.0], [1.0, 1e9]))
    for broadening in (None, Broadening(w=0.01)):
        pattern = render(peaks, GRID, 50.0, broadening=broadening)[0]
        assert pattern[1500] == 1.0
        assert pattern[4000] < 1e-6


@pytest.mark.parametrize(
    "values",
    [
        {"u": np.nan},
        {"w": np.inf},
        {"size_profile": "boxcar"},
        {"w": 0.1, "lorentz_share": 1.1},
        {"w": 0.1, "lorentz_share": np.array([0.5, np.nan])},
        {"w": 0.1, "x": 0.1, "lorentz_share": 0.5},
    ],
)
def test_impossible_broadening_is_refused(values):
    with pytest.raises(PatternError):
        Broadening(**values)
