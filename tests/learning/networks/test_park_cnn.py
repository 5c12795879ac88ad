import numpy as np
import pytest
import torch

from pxrdbench.errors import ModelError
from pxrdbench.learning.networks.park_cnn import ParkCNN


@pytest.mark.parametrize(
    ("size", "count"), [("small", 1_052_305), ("medium", 4_246_797), ("big", 4_959_585)]
)
def test_parameters_are_those_of_the_reference_work(size, count):
    # Table 1 of Schopmans et al. (2023) for medium and big, their code for small.
    model = ParkCNN(145, size=size)
    assert sum(p.numel() for p in model.parameters()) == count


def test_lengths_are_those_of_the_reference_work():
    model = ParkCNN(145, size="small")
    lengths = []
    for layer in model.features:
        layer.register_forward_hook(lambda _, __, out: lengths.append(out.shape[-1]))
    model(torch.rand(2, 1, 8501))
    convolved_pooled = [lengths[i] for i in (0, 2, 3, 5, 6, 8)]
    assert convolved_pooled == [1701, 850, 170, 56, 28, 9]


def test_first_weights_are_glorot_uniform_and_biases_zero():
    model = ParkCNN(145)
    layer = model.features[3]
    bound = np.sqrt(6 / (80 * 50 + 80 * 50))
    weight = layer.weight.detach().numpy()
    assert np.abs(weight).max() <= bound
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
    assert not layer.bias.any()


def test_dropout_is_there_only_when_asked_for():
    x = torch.rand(2, 1, 1001)
    plain, dropping = (
        ParkCNN(5, 1001, size="small"),
        ParkCNN(5, 1001, size="small", dropout=True),
    )
    assert torch.equal(plain(x), plain(x))
    assert not torch.equal(dropping(x), dropping(x))
    dropping.load_state_dict(
        dict(zip(dropping.state_dict(), plain.state_dict().values(), strict=True))
    )
    torch.testing.assert_close(dropping.eval()(x), plain(x))


def test_a_pattern_that_is_too_short_is_refused():
    with pytest.raises(ModelError, match="300 points are too short"):
        ParkCNN(5, 300)
