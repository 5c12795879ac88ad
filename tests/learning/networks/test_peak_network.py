import numpy as np
import pytest
import torch

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.learning.networks.peak_network import BinnedSum, PeakNetwork, find_peaks

GRID = TwoThetaGrid(10.0, 60.0, 5001)


def render(centres, heights, fwhm=0.2):
    sigma = fwhm / 2.3548
    lines = np.exp(-0.5 * ((GRID.angles()[:, None] - centres) / sigma) ** 2)
    return (lines * heights).sum(1).astype(np.float32)


def find(*patterns, n_peaks=8):
    found = find_peaks(torch.tensor(np.array(patterns)), GRID, n_peaks).numpy()
    return found[:, 0], found[:, 1]


def test_peaks_of_gaussians_are_found_to_a_hundredth_of_a_step():
    centres = np.array([12.3456, 20.0031, 20.9, 47.7777])
    heights = np.array([0.3, 1.0, 0.002, 0.05])
    two_theta, height = find(render(centres, heights))
    np.testing.assert_allclose(two_theta[0, :4], centres, atol=1e-4)
    # The height is that of the highest point, at most half a step aside.
    np.testing.assert_allclose(height[0, :4], heights, rtol=0.01)
    assert not two_theta[0, 4:].any()
    assert not height[0, 4:].any()


def test_the_first_peaks_are_kept_and_the_weakest_left_out():
    centres = np.arange(12.0, 32.0, 2.0)
    two_theta, _ = find(render(centres, np.full(10, 1.0)), n_peaks=3)
    np.testing.assert_allclose(two_theta[0], [12, 14, 16], atol=1e-4)
    two_theta, _ = find(render(np.array([20.0, 30.0]), np.array([1.0, 0.0005])))
    assert np.count_nonzero(two_theta) == 1


def test_a_flat_top_is_one_peak():
    pattern = np.zeros(5001, np.float32)
    pattern[100:104] = 1.0
    two_theta, _ = find(pattern)
    assert np.count_nonzero(two_theta) == 1
    assert 11.0 <= two_theta[0, 0] <= 11.03


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_a_pattern_without_peaks_gives_finite_logits(value):
    flat = torch.full((2, 1, 5001), value)
    assert not find_peaks(flat[:, 0], GRID, 4).any()
    assert torch.isfinite(PeakNetwork(5, GRID)(flat)).all()


def test_a_pattern_does_not_depend_on_its_neighbours():
    one, other = render(np.array([15.0]), 1.0), render(np.array([25.0, 40.0]), 1.0)
    together, _ = find(one, other)
    np.testing.assert_array_equal(together[0], find(one)[0][0])
    np.testing.assert_array_equal(together[1], find(other)[0][0])


def test_a_table_is_a_linear_layer_over_histograms():
    rng = np.random.default_rng(0)
    sums = BinnedSum([(0.0, 1.0), (-2.0, 2.0)], [0.25, 1.0], 3)
    table = sums.table.weight.detach().numpy()
    assert table.shape == (6 + 6, 3)
    values = [rng.uniform(-0.2, 1.2, (4, 7)), rng.uniform(-3, 3, (4, 2))]
    weights = [rng.random((4, 7)), rng.random((4, 2))]
    histogram = np.zeros((4, 12))
    for value, weight, low, bin_width, first, n in zip(
        values, weights, (0.0, -2.0), (0.25, 1.0), (0, 6), (6, 6), strict=True
    ):
        for row, (v, w) in enumerate(zip(value, weight, strict=True)):
            for x, share in zip(
                np.clip((v - low) / bin_width, 0, n - 2), w, strict=True
            ):
                near = int(x)
                histogram[row, first + near] += share * (1 - (x - near))
                histogram[row, first + near + 1] += share * (x - near)
    found = sums(
        [torch.tensor(v, dtype=torch.float32) for v in values],
        [torch.tensor(w, dtype=torch.float32) for w in weights],
    )
    np.testing.assert_allclose(found.detach().numpy(), histogram @ table, atol=1e-5)


def test_the_stages_together_are_the_network():
    torch.manual_seed(0)
    network = PeakNetwork(5, GRID)
    x = torch.tensor(render(np.array([15.0, 22.0, 31.0]), 1.0))[None, None]
    assert torch.equal(network(x), network.classify(network.encode(x)))
    assert "pairs" not in network.state_dict()
    assert network.encode(x).numel() < x.numel()


def test_lines_beyond_those_looked_at_change_nothing():
    network = PeakNetwork(5, GRID)
    centres = np.arange(11.0, 58.0, 0.9)
    x = render(centres, 1.0)
    y = x.copy()
    y[-150:] = render(centres + 0.3, 1.0)[-150:]
    a, b = (network(torch.tensor(p)[None, None]) for p in (x, y))
    assert torch.equal(a, b)
    y[:300] = render(centres + 0.3, 1.0)[:300]
    assert not torch.equal(a, network(torch.tensor(y)[None, None]))
