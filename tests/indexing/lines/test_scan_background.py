import numpy as np
import pytest

from pxrdbench.indexing.lines.scan_background import (
    drop_spikes,
    estimate_noise,
    fit_background,
    smooth_bins,
)

X = np.linspace(5.0, 90.0, 8501)


def test_smoothing_against_dense():
    rng = np.random.default_rng(0)
    values, weight, out = rng.normal(size=30), rng.uniform(0.1, 2.0, 30), np.empty(30)
    smooth_bins(values, weight, 7.0, out)
    second = np.diff(np.eye(30), 2, axis=0)
    matrix = np.diag(weight) + 7.0 * second.T @ second
    np.testing.assert_allclose(out, np.linalg.solve(matrix, weight * values))


@pytest.mark.parametrize("level", [5.0, 100.0, 3000.0])
def test_background_under_lines(level):
    truth = level * (1.0 + 2.0 * np.exp(-(X - 5.0) / 12.0))
    lines = sum(
        10.0 * level * np.exp(-(((X - c) / 0.1) ** 2)) for c in np.arange(12.0, 88.0, 3)
    )
    y = np.random.default_rng(0).poisson(truth + lines).astype(float)
    found = fit_background(X, y)
    inner = (X > 7.0) & (X < 88.0)
    assert np.abs(found / truth - 1.0)[inner].max() < 0.12 + 0.5 / np.sqrt(level)


@pytest.mark.parametrize("scale", [1.0, 0.01, 250.0])
def test_noise_of_counts(scale):
    level = 30.0 + 300.0 * np.exp(-(((X - 40.0) / 15.0) ** 2))
    y = scale * np.random.default_rng(0).poisson(level)
    floor, gain = estimate_noise(y)
    variance = floor + gain * scale * level
    np.testing.assert_allclose(variance, scale**2 * level, rtol=0.25)


def test_smoothed_scans_have_more_noise_than_neighbours_say():
    y = np.random.default_rng(0).poisson(np.full(len(X), 100.0)).astype(float)
    smooth = np.convolve(y, np.full(7, 1 / 7), "same")[10:-10]
    floor, gain = estimate_noise(smooth)
    # Their third differences alone say less than a point's true variance, 100 / 7.
    assert np.mean(np.diff(smooth, 3) ** 2) / 20.0 < 100.0 / 14.0
    assert floor + 100.0 * gain > 100.0 / 7.0


def test_spikes_go_and_lines_stay():
    y = np.random.default_rng(0).poisson(np.full(len(X), 20.0)).astype(float)
    y += 500.0 * np.exp(-(((X - 30.0) / 0.03) ** 2))
    spiked = y.copy()
    spiked[5000] += 400.0
    cleaned = drop_spikes(spiked, 1.0, 1.0)
    assert cleaned[5000] < 60.0
    cleaned[5000] = y[5000]
    np.testing.assert_array_equal(cleaned, y)
