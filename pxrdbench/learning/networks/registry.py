"""Models by name: those of this package and those of plug-ins."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.networks.compared import PatternConvNext, PeakAttention
from pxrdbench.learning.networks.park_cnn import PARK_CNN_WIDTHS, ParkCNN
from pxrdbench.learning.networks.peak_network import PeakNetwork
from pxrdbench.learning.networks.resnet import RESNET_BLOCKS, ResNet
from pxrdbench.learning.networks.scan_network import ScanNetwork, WidePeakNetwork

ENTRY_POINT_GROUP = "pxrdbench.models"


@runtime_checkable
class Classifier(Protocol):
    """Whatever names space groups for patterns; all that a benchmark asks of a model.

    Attributes:
        space_groups: The class list: space group of each logit.
        grid: Angles of the patterns that it reads.
    """

    @property
    def space_groups(self) -> tuple[int, ...]:
        """The class list: space group of each logit."""

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns that it reads."""

    def predict(
        self, intensity: Float32[np.ndarray, "batch points"]
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logits of patterns with a maximum of one."""


@runtime_checkable
class TwoStageModel(Protocol):
    """A module with a first stage without weights, which loader threads can run.

    The module itself does one after the other.
    """

    def encode(self, intensity: torch.Tensor) -> torch.Tensor:
        """Patterns (batch, 1, points) to something smaller, without gradients."""

    def classify(self, encoded: torch.Tensor) -> torch.Tensor:
        """What ``encode`` gave to logits (batch, classes)."""


@dataclass(frozen=True)
class ModelSpec:
    """How to build a model, and how it likes to be trained.

    Attributes:
        build: From the number of classes and the grid to a module that turns
            (batch, 1, points) into logits (batch, classes); it may be a
            ``TwoStageModel``.
        batch_size: Patterns a step.
        learning_rate: Highest rate of Adam.
        weight_decay: Share of a weight, times the rate, that a step takes away.
        summary: One line for a list of models.
        reads_mask: Whether ``build`` takes ``mask=True`` for a second channel.
    """

    build: Callable[..., nn.Module]
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    summary: str = ""
    reads_mask: bool = False


def _park_cnn(
    n_classes: int,
    grid: TwoThetaGrid,
    *,
    size: str,
    dropout: bool = False,
    mask: bool = False,
) -> nn.Module:
    return ParkCNN(
        n_classes, grid.points, size=size, dropout=dropout, channels=1 + mask
    )


def _resnet(
    n_classes: int,
    grid: TwoThetaGrid,
    *,
    depth: int,
    square_root: bool = True,
    mask: bool = False,
) -> nn.Module:
    return ResNet(
        n_classes,
        grid.points,
        depth=depth,
        square_root=square_root,
        channels=1 + mask,
    )


# The reference work trains parkCNN with rate 1e-3 and 870 patterns a step, the
# ResNets with 1e-4 and 145 (its section 5); smaller steps suit runs of minutes.
_MODELS: dict[str, ModelSpec] = {
    "peak-network": ModelSpec(
        PeakNetwork, 256, 4e-3, 0.01, "finds peaks first; learns in minutes"
    ),
    "peak-network-light": ModelSpec(
        partial(PeakNetwork, width=112), 256, 4e-3, 0.01, "the same in two megabytes"
    ),
    "peak-network-wide": ModelSpec(
        WidePeakNetwork, 256, 3e-3, 0.01, "more peaks and layers, for runs of hours"
    ),
    "scan-network": ModelSpec(
        ScanNetwork, 256, 3e-3, 0.01, "for measured patterns: peaks, profile, lags"
    ),
    "profile-network": ModelSpec(
        partial(ScanNetwork, with_peaks=False), 256, 3e-3, 0.01, "the same, no peaks"
    ),
    "peak-attention": ModelSpec(
        PeakAttention, 256, 2e-3, 0.01, "attention over peaks; to compare"
    ),
    "pattern-convnext": ModelSpec(
        PatternConvNext, 256, 2e-3, 0.01, "1-D ConvNeXt over bins; to compare"
    ),
    **{
        f"park-cnn-{size}": ModelSpec(
            partial(_park_cnn, size=size),
            128,
            1e-3,
            summary="Park et al. (2017)",
            reads_mask=True,
        )
        for size in PARK_CNN_WIDTHS
    },
    **{
        f"resnet-{depth}": ModelSpec(
            partial(_resnet, depth=depth),
            145,
            1e-4,
            summary="Schopmans et al. (2023)",
            reads_mask=True,
        )
        for depth in RESNET_BLOCKS
    },
    **{
        f"park-cnn-{size}-dropout": ModelSpec(
            partial(_park_cnn, size=size, dropout=True),
            128,
            1e-3,
            summary="the same with dropout, for few real crystals",
            reads_mask=True,
        )
        for size in PARK_CNN_WIDTHS
    },
    **{
        f"resnet-{depth}-plain": ModelSpec(
            partial(_resnet, depth=depth, square_root=False),
            145,
            1e-4,
            summary="the same without a square root, for noisy patterns",
            reads_mask=True,
        )
        for depth in RESNET_BLOCKS
    },
}


def _plug_ins() -> dict[str, Callable[[], ModelSpec]]:
    """Models that other installed packages offer, not yet imported."""
    return {
        point.name: point.load
        for point in entry_points(group=ENTRY_POINT_GROUP)
        if point.name not in _MODELS
    }


def available_models() -> tuple[str, ...]:
    """Names that ``build_model`` knows: our own first, then those of plug-ins."""
    return (*_MODELS, *sorted(_plug_ins()))


def find_model(name: str) -> ModelSpec:
    """Find a model by name.

    Raises:
        ModelError: If no model has this name, or a plug-in offers no ``ModelSpec``.
    """
    if name in _MODELS:
        return _MODELS[name]
    plug_ins = _plug_ins()
    if name not in plug_ins:
        raise ModelError(
            f"unknown model {name!r}; known are {', '.join(available_models())}"
        )
    spec = plug_ins[name]()
    if not isinstance(spec, ModelSpec):
        raise ModelError(
            f"the plug-in for model {name!r} offers a {type(spec).__name__}; "
            "its entry point must name a pxrdbench.learning.networks.registry.ModelSpec"
        )
    return spec


def build_model(
    name: str,
    n_classes: int,
    points: int = 8501,
    *,
    grid: TwoThetaGrid | None = None,
    mask: bool = False,
) -> nn.Module:
    """Build a model with fresh weights, drawn from torch's global generator.

    Args:
        name: One of ``available_models()``.
        n_classes: Number of logits.
        points: Angles of a pattern, from 5 to 90 degrees.
        grid: The angles, where they are others; ``points`` is then not read.
        mask: Whether a second channel says what was measured.

    Returns:
        A module that turns (batch, 1, points) into logits (batch, n_classes);
        (batch, 2, points) with a mask.

    Raises:
        ModelError: If no model has this name, there is nothing to tell apart, or the
            model has no channel for a mask.
    """
    if n_classes < 1:
        raise ModelError(f"a model of {n_classes} outputs; at least 1 is needed")
    spec = find_model(name)
    if mask and not spec.reads_mask:
        raise ModelError(
            f"{name} has no channel for a mask: where nothing was measured the pattern "
            "is zero, and that is all it sees; leave the mask away"
        )
    options = {"mask": True} if mask else {}
    return spec.build(n_classes, grid or TwoThetaGrid(points=points), **options)
