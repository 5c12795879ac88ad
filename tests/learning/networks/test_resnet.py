import numpy as np
import pytest
import torch
from torch import nn

from pxrdbench.learning.networks.resnet import ResidualBlock, ResNet


@pytest.mark.parametrize(
    ("depth", "count"), [(10, 9_395_025), (50, 41_362_385), (101, 60_354_513)]
)
def test_parameters_are_those_of_the_reference_work(depth, count):
    with torch.device("meta"):  # shapes without 240 MB of weights
        model = ResNet(145, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == count


def test_lengths_are_those_of_the_reference_work():
    model = ResNet(5, depth=10)
    lengths = []
    for layer in model.features:
        layer.register_forward_hook(lambda _, __, out: lengths.append(out.shape[-1]))
    with torch.no_grad():
        model(torch.rand(1, 1, 8501))
    assert lengths == [4251, 4251, 2126, 2126, 532, 133, 34]


def test_a_basic_block_is_what_its_definition_says():
    block = ResidualBlock(32, 64, 4, bottleneck=False, project=True)
    first, relu, second = block.residual
    assert isinstance(relu, nn.ReLU)
    assert (first[0].kernel_size, first[0].stride) == ((9,), (4,))
    assert (second[0].kernel_size, second[0].stride) == ((9,), (1,))
    assert (block.shortcut[0].kernel_size, block.shortcut[0].stride) == ((1,), (4,))
    norms = [m for m in block.modules() if isinstance(m, nn.GroupNorm)]
    assert {(m.num_groups, m.eps) for m in norms} == {(32, 1e-3)}
    x = torch.randn(2, 32, 41)
    expected = torch.relu(second(torch.relu(first(x))) + block.shortcut(x))
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, 64, 11)


def test_a_pattern_does_not_depend_on_its_neighbours_in_the_batch():
    model = ResNet(5, 601, depth=10)
    x = torch.rand(3, 1, 601)
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_square_root_is_taken_of_the_pattern():
    model = ResNet(5, 601, depth=10)
    x = torch.rand(2, 1, 601)
    with torch.no_grad():
        rooted = model(x)
        model.square_root = False
        torch.testing.assert_close(model(x.sqrt()), rooted)
        assert torch.isfinite(ResNet(5, 601, depth=10)(-0.01 * x)).all()


def test_first_weights_have_the_variance_of_their_fan_in():
    weight = ResNet(5, 601, depth=10).features[4].residual[0][0].weight
    fan_in = 64 * 9
    deviation = np.sqrt(1 / fan_in)
    values = weight.detach().numpy()
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(values).max() <= 2 * deviation / 0.8796
