"""Networks that were tried and learn less in the same time, kept to be compared.

``peak-attention`` lets the first peaks attend to each other; ``pattern-convnext`` reads
the binned pattern with depthwise convolutions. docs/models.md has the numbers.

References:
    Vaswani et al. (2017), NeurIPS 30 (attention); Liu et al. (2022), CVPR, 11966
    (ConvNeXt).
"""

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.learning.networks.peak_network import (
    DenseBlock,
    TwoStageNetwork,
    find_peaks,
)

_BIN_DEGREES = 0.04
_SMALLEST_Q = 7.6e-5
_BIN_WIDTH = 0.01  # of ln Q
_SPANS = ((-7.0, 7.0), (-1.0, 7.6), (-4.0, 7.6))  # lowest number, length of a table
_N_NUMBERS = 5


class PeakAttention(TwoStageNetwork):
    """A token for each of the first peaks, two layers of attention, pools."""

    def __init__(
        self,
        n_classes: int,
        grid: TwoThetaGrid,
        *,
        n_peaks: int = 24,
        width: int = 64,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.n_peaks = n_peaks
        self.tables = nn.ModuleList(
            nn.Embedding(int(length / _BIN_WIDTH) + 2, width) for _, length in _SPANS
        )
        self.dense = nn.Linear(_N_NUMBERS, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, 256),
            nn.GELU(),
            DenseBlock(256),
            nn.LayerNorm(256),
            nn.Linear(256, n_classes),
        )

    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch 2 peaks"]:
        """Find peaks: the stage without weights."""
        return find_peaks(intensity[:, 0], self.grid, self.n_peaks)

    def classify(
        self, peaks: Float[torch.Tensor, "batch 2 peaks"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from peaks: the stage with weights."""
        angle, height = peaks[:, 0], peaks[:, 1]
        is_peak = angle > 0
        q = torch.sin(torch.deg2rad(angle) / 2) ** 2
        log_q = torch.where(is_peak, q.clamp_min(_SMALLEST_Q).log(), 0.0)
        to_first = log_q - log_q[:, :1]
        to_strongest = log_q - log_q.gather(1, height.argmax(1, keepdim=True))
        log_height = height.clamp_min(1e-3).log()
        numbers = (log_q, to_first, to_strongest, height.clamp_min(0).sqrt())
        x = self.dense(torch.stack([*numbers, log_height], -1))
        places = zip(self.tables, _SPANS, numbers[:3], strict=True)
        for table, (low, _), value in places:
            x = x + _look_up(table, (value - low) / _BIN_WIDTH)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~is_peak)
        there = is_peak[..., None].float()
        mean = (x * there).sum(1) / there.sum(1).clamp_min(1)
        highest = torch.where(is_peak[..., None], x, -1e4).amax(1)
        logits: torch.Tensor = self.head(torch.cat([mean, highest], 1))
        return logits


def _look_up(table: nn.Module, position: torch.Tensor) -> torch.Tensor:
    """Vectors between two bins of a table."""
    weight = table.get_parameter("weight")
    position = position.clamp(0, len(weight) - 2)
    lower = position.floor()
    share = (position - lower)[..., None]
    index = lower.long()
    one, other = (functional.embedding(index + k, weight) for k in (0, 1))
    return one * (1 - share) + other * share


class _ConvNextBlock(nn.Module):
    """Depthwise convolution, normalisation, two pointwise layers, add."""

    def __init__(self, channels: int, kernel: int = 9) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            nn.GroupNorm(1, channels),
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv1d(2 * channels, channels, 1),
        )

    def forward(self, x: Float[torch.Tensor, "batch channels points"]) -> torch.Tensor:
        """Add what the layers make of the input."""
        return x + self.layers(x)  # type: ignore[no-any-return]  # modules return Any


class PatternConvNext(TwoStageNetwork):
    """Square root, bins of 0.04 degrees, patches, three stages of ConvNeXt blocks."""

    def __init__(
        self,
        n_classes: int,
        grid: TwoThetaGrid,
        *,
        channels: tuple[int, ...] = (32, 64, 128),
        width: int = 256,
    ) -> None:
        super().__init__()
        self._factor = max(1, round(_BIN_DEGREES / grid.step))
        layers: list[nn.Module] = [nn.Conv1d(1, channels[0], 10, 5, padding=5)]
        before = channels[0]
        for number, after in enumerate(channels):
            if number:
                layers += [nn.GroupNorm(1, before), nn.Conv1d(before, after, 4, 4)]
            layers.append(_ConvNextBlock(after))
            before = after
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            n_bins = grid.points // self._factor
            points = self.features(torch.zeros(1, 1, n_bins)).shape[-1]
        self.head = nn.Sequential(
            nn.GELU(),
            nn.Linear(points * before, width),
            nn.GELU(),
            DenseBlock(width),
            nn.LayerNorm(width),
            nn.Linear(width, n_classes),
        )

    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch 1 bins"]:
        """Bin and take the root: the stage without weights."""
        x = intensity.clamp_min(0)
        k = self._factor
        stop = x.shape[2] // k * k
        binned = x[..., 0:stop:k]
        for shift in range(1, k):
            binned = binned + x[..., shift:stop:k]
        return (binned / k).sqrt()

    def classify(
        self, binned: Float[torch.Tensor, "batch 1 bins"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from bins: the stage with weights."""
        logits: torch.Tensor = self.head(self.features(binned).flatten(1))
        return logits
