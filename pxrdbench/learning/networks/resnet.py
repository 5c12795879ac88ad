"""One-dimensional residual networks as the reference work builds them.

They follow the two-dimensional networks with areas kept: a 3 × 3 kernel becomes one of
9 points, a stride of 2 × 2 one of 4. Group normalisation stands for batch
normalisation, so nothing differs between training and evaluation.

References:
    He et al. (2016), CVPR, 770.
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414.
"""

import math

import torch
from jaxtyping import Float
from torch import nn

from pxrdbench.learning.networks.padding import SameConv1d, SameMaxPool1d

# Blocks of each stage, and whether they are bottlenecks.
RESNET_BLOCKS: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    10: ((1, 1, 1, 1), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}

_KERNEL = 9
_STAGE_FILTERS = (64, 128, 256, 512)
_STAGE_STRIDES = (1, 4, 4, 4)
_HEAD_WIDTH = 256
# Standard deviation of a unit normal cut at two: what TensorFlow's VarianceScaling
# divides by.
_TRUNCATED_DEVIATION = 0.87962566103423978


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Convolution without bias, group normalisation behind it."""
    return nn.Sequential(
        SameConv1d(inputs, outputs, kernel, stride, bias=False),
        # 32 groups, eps 1e-3: defaults of tensorflow_addons, which the reference used.
        nn.GroupNorm(32, outputs, eps=1e-3),
    )


class ResidualBlock(nn.Module):
    """A basic block (two convolutions) or a bottleneck (three)."""

    def __init__(
        self, inputs: int, filters: int, stride: int, *, bottleneck: bool, project: bool
    ) -> None:
        super().__init__()
        outputs = 4 * filters if bottleneck else filters
        if bottleneck:
            self.residual = nn.Sequential(
                _convolution(inputs, filters, 1),
                nn.ReLU(),
                _convolution(filters, filters, _KERNEL, stride),
                nn.ReLU(),
                _convolution(filters, outputs, 1),
            )
        else:
            self.residual = nn.Sequential(
                _convolution(inputs, filters, _KERNEL, stride),
                nn.ReLU(),
                _convolution(filters, outputs, _KERNEL),
            )
        self.shortcut = (
            _convolution(inputs, outputs, 1, stride) if project else nn.Identity()
        )

    def forward(
        self, x: Float[torch.Tensor, "batch inputs points"]
    ) -> Float[torch.Tensor, "batch outputs points_after"]:
        """Add the residual to the shortcut."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, four stages, and two dense layers over the flattened pattern."""

    def __init__(
        self,
        n_classes: int,
        points: int = 8501,
        *,
        depth: int = 10,
        square_root: bool = True,
        channels: int = 1,
    ) -> None:
        """Build the network.

        Args:
            n_classes: Number of logits.
            points: Angles of a pattern.
            depth: One of ``RESNET_BLOCKS``.
            square_root: Take the square root of the pattern first, as the reference
                work does for patterns without noise.
            channels: 2 with a mask of what was measured.
        """
        super().__init__()
        self.square_root = square_root
        blocks, bottleneck = RESNET_BLOCKS[depth]
        layers: list[nn.Module] = [
            _convolution(channels, 64, 7, 2),
            nn.ReLU(),
            SameMaxPool1d(3, 2),
        ]
        inputs = 64
        length = math.ceil(math.ceil(points / 2) / 2)
        for filters, stride, n_blocks in zip(
            _STAGE_FILTERS, _STAGE_STRIDES, blocks, strict=True
        ):
            for index in range(n_blocks):
                layers.append(
                    ResidualBlock(
                        inputs,
                        filters,
                        stride if index == 0 else 1,
                        bottleneck=bottleneck,
                        project=index == 0,  # of every stage, also where shapes agree
                    )
                )
                inputs = 4 * filters if bottleneck else filters
            length = math.ceil(length / stride)
        self.features = nn.Sequential(*layers)
        # No activation between the two: so it is in the reference work.
        self.head = nn.Sequential(
            nn.Linear(inputs * length, _HEAD_WIDTH), nn.Linear(_HEAD_WIDTH, n_classes)
        )
        self._start()

    def _start(self) -> None:
        """Draw the first weights as the TensorFlow model garden does."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                fan_in = module.in_channels * module.kernel_size[0]
                deviation = math.sqrt(1 / fan_in) / _TRUNCATED_DEVIATION
                nn.init.trunc_normal_(
                    module.weight, 0.0, deviation, -2 * deviation, 2 * deviation
                )
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, intensity: Float[torch.Tensor, "batch channels points"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits of patterns with a maximum of one."""
        x = intensity.clamp_min(0).sqrt() if self.square_root else intensity
        x = self.features(x)  # (B, 512 or 2048, 34)
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits
