import pytest
import torch
from torch import nn

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.networks import registry
from pxrdbench.learning.networks.registry import (
    Classifier,
    ModelSpec,
    available_models,
    build_model,
    find_model,
)


class OfferedModel:
    """What importlib.metadata finds in a plug-in's metadata."""

    def __init__(self, name, offer):
        self.name = name
        self.load = lambda: offer


@pytest.fixture
def plug_in(monkeypatch):
    def install(*offers):
        points = [OfferedModel(name, offer) for name, offer in offers]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)

    return install


def test_the_models_of_the_reference_work_are_there():
    expected = {f"park-cnn-{size}" for size in ("small", "medium", "big")}
    expected |= {f"resnet-{depth}" for depth in (10, 50, 101)}
    assert expected <= set(available_models())


@pytest.mark.parametrize("name", ["peak-network", "park-cnn-small", "resnet-10"])
def test_a_model_reads_patterns_of_its_grid(name):
    grid = TwoThetaGrid(10.0, 60.0, 1201)
    model = build_model(name, 7, grid=grid)
    logits = model(torch.rand(2, 1, 1201))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert build_model(name, 7, 1201)(torch.rand(2, 1, 1201)).shape == (2, 7)


def test_an_unknown_name_is_answered_with_those_known():
    with pytest.raises(ModelError, match="park-cnn-small"):
        build_model("park-cnn-tiny", 7)
    with pytest.raises(ModelError, match="at least 1"):
        build_model("resnet-10", 0)


def test_a_plug_in_adds_a_model_and_cannot_replace_one(plug_in):
    def build(n_classes, grid):
        return nn.Sequential(nn.Flatten(), nn.Linear(grid.points, n_classes))

    spec = ModelSpec(build, batch_size=3)
    plug_in(("straight", spec), ("resnet-10", spec))
    assert available_models()[-1] == "straight"
    assert available_models().count("resnet-10") == 1
    assert build_model("straight", 4, 11)(torch.rand(2, 1, 11)).shape == (2, 4)
    assert find_model("resnet-10") is not spec


def test_a_plug_in_that_offers_something_else_is_refused(plug_in):
    plug_in(("straight", nn.Linear))
    with pytest.raises(ModelError, match="ModelSpec"):
        build_model("straight", 4)


def test_any_object_with_the_three_names_is_a_classifier():
    class Guess:
        space_groups = (2, 14)
        grid = TwoThetaGrid()

        def predict(self, intensity):
            return intensity[:, :2]

    assert isinstance(Guess(), Classifier)
    assert not isinstance(object(), Classifier)
