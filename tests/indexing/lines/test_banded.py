import numpy as np
import pytest

from pxrdbench.indexing.lines.banded import factor_band, invert_within_band, solve_band


def system(n, width, seed=0):
    """A positive definite band matrix, dense and by its lower band."""
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.normal(size=(n, n)))
    lower[np.subtract.outer(np.arange(n), np.arange(n)) >= width] = 0.0
    dense = lower @ lower.T + 0.1 * np.eye(n)
    band = np.zeros((n, width))
    for i in range(n):
        for k in range(min(i, width - 1) + 1):
            band[i, k] = dense[i, i - k]
    return dense, band


@pytest.mark.parametrize(("n", "width"), [(1, 1), (2, 4), (7, 3), (40, 6), (40, 1)])
def test_band_against_dense(n, width):
    dense, band = system(n, width)
    right = np.random.default_rng(1).normal(size=n)
    assert factor_band(band)
    solution = right.copy()
    solve_band(band, solution)
    np.testing.assert_allclose(solution, np.linalg.solve(dense, right), rtol=1e-8)
    inverse = np.zeros_like(band)
    invert_within_band(band, inverse)
    wanted = np.linalg.inv(dense)
    for i in range(n):
        for k in range(min(i, width - 1) + 1):
            np.testing.assert_allclose(inverse[i, k], wanted[i, i - k], rtol=1e-7)


def test_what_is_not_positive_definite_is_said():
    assert not factor_band(np.array([[1.0, 0.0], [1.0, 2.0]]))
