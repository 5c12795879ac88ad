"""The convolutional network of Park et al., in the three sizes of the reference work.

References:
    Park et al. (2017), IUCrJ 4, 486.
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: Table 1.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import nn

from pxrdbench.errors import ModelError
from pxrdbench.learning.networks.padding import SameConv1d

# Widths of the two hidden dense layers; medium and big are in Table 1 of the reference
# work, small is in its code only.
PARK_CNN_WIDTHS: dict[str, tuple[int, int]] = {
    "small": (700, 70),
    "medium": (4040, 202),
    "big": (2300, 1150),
}

_CHANNELS = 80
# Kernel and stride of each convolution, then of the average pool behind it.
_STAGES = ((100, 5, 3, 2), (50, 5, 3, 3), (25, 2, 3, 3))


def _points_after(points: int) -> int:
    """Length of a channel behind the last pool."""
    for _, stride, pool, pool_stride in _STAGES:
        points = (-(-points // stride) - pool) // pool_stride + 1
    return points


class ParkCNN(nn.Module):
    """Three wide convolutions and three dense layers, without normalisation.

    The flattened order is (channel, length); Keras has (length, channel), which
    matters only to whoever carries weights over.
    """

    def __init__(
        self,
        n_classes: int,
        points: int = 8501,
        *,
        size: str = "medium",
        dropout: bool = False,
        channels: int = 1,
    ) -> None:
        """Build the network with Keras' default start.

        Args:
            n_classes: Number of logits.
            points: Angles of a pattern.
            size: One of ``PARK_CNN_WIDTHS``.
            dropout: Drop 30 % behind convolutions and 50 % behind dense layers, as
                the reference work does on few real crystals and not on endless
                synthetic ones.
            channels: 2 with a mask of what was measured.

        Raises:
            ModelError: If nothing is left of so short a pattern behind the pools.
        """
        super().__init__()
        if _points_after(points) < 1:
            raise ModelError(
                f"patterns of {points} points are too short for a park-cnn: nothing "
                "is left of them behind its last pool; about 800 are needed"
            )
        layers: list[nn.Module] = []
        inputs = channels
        for kernel, stride, pool, pool_stride in _STAGES:
            layers += [SameConv1d(inputs, _CHANNELS, kernel, stride), nn.ReLU()]
            layers += [nn.Dropout(0.3)] if dropout else []
            layers += [nn.AvgPool1d(pool, pool_stride)]
            inputs = _CHANNELS
        self.features = nn.Sequential(*layers)
        widths = (_CHANNELS * _points_after(points), *PARK_CNN_WIDTHS[size])
        head: list[nn.Module] = []
        for before, after in pairwise(widths):
            head += [nn.Linear(before, after), nn.ReLU()]
            head += [nn.Dropout(0.5)] if dropout else []
        self.head = nn.Sequential(*head, nn.Linear(widths[-1], n_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # always there

    def forward(
        self, intensity: Float[torch.Tensor, "batch channels points"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits of patterns with a maximum of one."""
        x: torch.Tensor = self.features(intensity)  # (B, 80, 9)
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits
