import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.learning.networks.padding import SameConv1d, SameMaxPool1d, same_padding


def tensorflow_windows(row, kernel, stride, fill):
    """The windows that TensorFlow's "same" looks through, from its own definition."""
    n = len(row)
    n_out = math.ceil(n / stride)
    total = max((n_out - 1) * stride + kernel - n, 0)
    left = total // 2
    padded = [fill] * left + list(row) + [fill] * (total - left)
    return [padded[i * stride : i * stride + kernel] for i in range(n_out)]


SHAPES = {
    "points": st.integers(1, 60),
    "kernel": st.integers(1, 12),
    "stride": st.integers(1, 6),
    "seed": st.integers(0, 1000),
}


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_a_convolution_is_the_sum_over_tensorflow_windows(points, kernel, stride, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, points))
    layer = SameConv1d(2, 3, kernel, stride).double()
    weight, bias = rng.normal(size=(3, 2, kernel)), rng.normal(size=3)
    layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    windows = np.array([tensorflow_windows(row, kernel, stride, 0.0) for row in x])
    expected = np.einsum("ipk,oik->op", windows, weight) + bias[:, None]
    found = layer(torch.tensor(x)[None])[0].detach().numpy()
    assert found.shape == (3, math.ceil(points / stride))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_a_pool_never_sees_its_padding(points, kernel, stride, seed):
    # Below zero, where padding by zeros would show.
    x = np.random.default_rng(seed).normal(size=points) - 10
    expected = [max(w) for w in tensorflow_windows(x, kernel, stride, -math.inf)]
    found = SameMaxPool1d(kernel, stride)(torch.tensor(x)[None, None])[0, 0]
    np.testing.assert_array_equal(found.numpy(), expected)


def test_an_odd_point_of_padding_goes_to_the_right():
    assert same_padding(8501, 100, 5) == (49, 50)
    assert same_padding(10, 2, 1) == (0, 1)
    assert same_padding(10, 3, 1) == (1, 1)
    assert same_padding(10, 1, 4) == (0, 0)
