import numpy as np

from pxrdbench.studies.resampling import percent_interval, resample_means


def test_interval_of_clusters_of_one_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(0.5, 1.0, 400)
    found = percent_interval(values, [str(row) for row in range(400)])
    assert found["value"] == round(100 * values.mean(), 1)
    half = 100 * 1.96 * values.std() / 20
    assert abs(found["high"] - found["low"] - 2 * half) < 0.1 * half


def test_clusters_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10)
    alone = percent_interval(values, [str(row) for row in range(400)])
    together = percent_interval(values, np.repeat(np.arange(40), 10).astype(str))
    width = alone["high"] - alone["low"]
    assert together["high"] - together["low"] > 2.5 * width


def test_equal_names_give_equal_resamples():
    values = np.arange(6.0)
    names = ["b", "a", "b", "c", "a", "c"]
    assert np.array_equal(resample_means(values, names), resample_means(values, names))
    shifted = resample_means(values + 1.0, names)
    assert np.allclose(shifted - resample_means(values, names), 1.0)
