"""Intensities at the lines of a known lattice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import pxrdbench as px
from pxrdbench.errors import PatternError
from pxrdbench.indexing.groups.intensities import (
    fit_intensities,
    fit_residual,
    model_clean,
    reciprocal_metric,
)
from pxrdbench.indexing.groups.intensity_kernels import (
    list_reflections,
    normal_band,
    solve_nonnegative,
)

ANGLES = np.linspace(5.0, 90.0, 8501)
RUTILE = (4.594, 4.594, 2.959, 90.0, 90.0, 90.0)


def rutile(size=40.0, cell=RUTILE):
    """Rutile, Baur & Khan (1971), Acta Cryst. B27, 2133."""
    crystal = px.Crystal(
        136, list(cell),
        [px.Site("Ti", "a", [0.0, 0.0, 0.0]), px.Site("O", "f", [0.3048, 0.3048, 0.0])],
    )  # fmt: skip
    peaks = px.simulate_peaks(px.CrystalBatch.from_crystals([crystal]), hkl=True)
    pattern = px.render(peaks, px.TwoThetaGrid(5.0, 90.0, 8501), [size])[0]
    return peaks, pattern.astype(np.float64)


@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0.05, 0.8))
@settings(max_examples=25, deadline=None)
def test_least_squares_are_those_of_scipy(seed, n, overlap):
    random = np.random.default_rng(seed)
    x = np.linspace(0.0, 10.0, 400)
    center = np.sort(random.uniform(0.5, 9.5, n))
    matrix = np.exp(-(((x[:, None] - center) / overlap) ** 2))
    heights = random.uniform(0.0, 1.0, n) * (random.random(n) < 0.6)
    y = matrix @ heights + 0.05 * random.normal(size=len(x))
    matrix /= np.linalg.norm(matrix, axis=0)
    gram = matrix.T @ matrix
    band = np.zeros((n, n))
    for k in range(n):
        band[k:, k] = np.diagonal(gram, -k)
    found, free, _ = solve_nonnegative(band, matrix.T @ y, np.ones(n, bool), 1e-10)
    _, norm = nnls(matrix, y)
    assert np.all(found >= 0.0)
    assert np.all(found[~free] == 0.0)
    assert np.linalg.norm(matrix @ found - y) <= norm * (1.0 + 1e-5)


def test_the_band_is_the_normal_matrix():
    random = np.random.default_rng(3)
    lo, hi = np.array([0, 2, 4, 9]), np.array([5, 7, 11, 12])
    offset = np.cumsum(np.r_[0, hi - lo])[:-1]
    values = random.random((hi - lo).sum())
    weight = random.random(12)
    matrix = np.zeros((12, 4))
    for i in range(4):
        matrix[lo[i] : hi[i], i] = values[offset[i] : offset[i] + hi[i] - lo[i]]
    whole = matrix.T @ (weight[:, None] * matrix)
    band = normal_band(weight, lo, hi, offset, values)
    for k in range(band.shape[1]):
        np.testing.assert_allclose(band[k:, k], np.diagonal(whole, -k))
    assert np.all(np.abs(np.tril(whole, -band.shape[1])) == 0.0)


def test_reflections_are_those_of_a_plain_loop():
    metric = reciprocal_metric((5.1, 6.2, 7.3, 81.0, 95.0, 104.0))
    hkl, q = list_reflections(metric, 0, 0.0, 0.4, 10_000)
    box = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1)
    h, k, l = box.reshape(-1, 3).T
    g = metric
    value = h * h * g[0] + k * k * g[1] + l * l * g[2]
    value = value + k * l * g[3] + h * l * g[4] + h * k * g[5]
    expected = np.sort(value[(value > 0) & (value <= 0.4)])
    np.testing.assert_allclose(np.repeat(q, 2), expected)
    assert len(np.unique(hkl, axis=0)) == len(hkl)


def test_intensities_of_rutile_are_those_that_were_simulated():
    peaks, pattern = rutile()
    fit = fit_intensities(model_clean(ANGLES, pattern), RUTILE, "tP")
    assert fit.residual < 1e-4
    order = np.searchsorted(fit.two_theta, peaks.two_theta - 1e-3)
    np.testing.assert_allclose(fit.two_theta[order], peaks.two_theta, atol=1e-4)
    strongest = peaks.intensity.max()
    np.testing.assert_allclose(
        fit.intensity[order], peaks.intensity / strongest, atol=2e-5
    )
    # What no peak was simulated at is zero.
    others = np.delete(fit.intensity, order)
    assert np.all(others < 1e-5)


def test_a_cell_that_is_a_little_off_is_refined():
    _, pattern = rutile()
    model = model_clean(ANGLES, pattern)
    off = (*(edge * 1.0005 for edge in RUTILE[:3]), 90.0, 90.0, 90.0)
    fit = fit_intensities(model, off, "tP", steps=8)
    assert fit.residual < 1e-3
    np.testing.assert_allclose(
        fit.metric, reciprocal_metric(RUTILE), rtol=1e-5, atol=1e-9
    )


def test_scale_says_nothing():
    _, pattern = rutile()
    one = fit_intensities(model_clean(ANGLES, pattern), RUTILE, "tP")
    other = fit_intensities(model_clean(ANGLES, 1234.0 * pattern), RUTILE, "tP")
    np.testing.assert_allclose(one.intensity, other.intensity, atol=1e-9)


def test_a_wrong_cell_leaves_more():
    _, pattern = rutile()
    model = model_clean(ANGLES, pattern)
    right, lines = fit_residual(model, RUTILE, "tP")
    wrong, _ = fit_residual(model, (4.9, 4.9, 3.3, 90.0, 90.0, 90.0), "tP")
    assert lines > 20
    assert right < 1e-3
    assert wrong > 0.1


def test_what_cannot_be_is_refused():
    with pytest.raises(PatternError, match="no cell has"):
        reciprocal_metric((1.0, 1.0, 1.0, 90.0, 30.0, 150.0))
    with pytest.raises(PatternError, match="nowhere above zero"):
        model_clean(ANGLES, np.zeros(8501))
    with pytest.raises(PatternError, match="no numbers"):
        model_clean(ANGLES, np.full(8501, np.nan))
    with pytest.raises(PatternError, match="must ascend"):
        model_clean(ANGLES[::-1], np.ones(8501))
