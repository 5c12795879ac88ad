"""Networks over found peaks, and over peaks, profile and correlations together.

``peak-network-wide`` is ``peak-network`` with more peaks, differences and layers, for
runs of hours. ``scan-network`` reads measured patterns: it has a background taken off,
looks for peaks above the noise, and sees the profile and its autocorrelations beside
them, so that a line that is missing, or one too many, does not mislead it.

Measured on two cores (docs/models.md): per pattern seen, tables of peaks and dense
layers learn more than attention over peaks or convolutions, and cost a fraction.
"""

import math

import torch
from jaxtyping import Float
from torch import nn

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.learning.networks.peak_network import (
    BinnedSum,
    DenseBlock,
    TwoStageNetwork,
    find_peaks,
)
from pxrdbench.learning.networks.scan_features import ScanFeatures

_SMALLEST_Q = 7.6e-5  # of 2θ = 1 degree
_SMALLEST_HEIGHT = 1e-6
_FLOOR = 1e-3
_POWER = 0.25  # of heights, as weights: an absent line tells most
# Features that are no peaks are multiplied by this: a standard deviation of about one.
_PROFILE_SCALE = 4.0
_LAG_SCALE = 6.0


class PeakTables(nn.Module):
    """A vector of a list of peaks: binned positions, ratios, differences, heights."""

    def __init__(
        self, n_peaks: int, n_of_differences: int, width: int, bin_width: float
    ) -> None:
        """Make the tables.

        Args:
            n_peaks: Peaks of a list.
            n_of_differences: First peaks whose differences are looked up.
            width: Length of the vector.
            bin_width: Of ln Q.
        """
        super().__init__()
        self.tables = BinnedSum(
            [(-7.0, 0.0), (-1.0, 6.6), (-6.6, 4.0), (-5.0, 5.0)],
            [bin_width, bin_width, bin_width, 2 * bin_width],
            width,
        )
        self.dense = nn.Linear(4 * n_peaks, width)
        pairs = torch.triu_indices(n_of_differences, n_of_differences, 1)
        self.register_buffer("pairs", pairs, persistent=False)

    def forward(
        self,
        two_theta: Float[torch.Tensor, "batch peaks"],
        height: Float[torch.Tensor, "batch peaks"],
    ) -> Float[torch.Tensor, "batch width"]:
        """Describe peaks with ascending angles [degrees], 0 where there are none."""
        is_peak = two_theta > 0
        height = height.float()
        two_theta = two_theta.double()
        q = torch.sin(two_theta * two_theta.new_tensor(math.pi / 360)) ** 2
        log_q = torch.where(is_peak, q.clamp_min(_SMALLEST_Q).log(), 0.0)
        to_first = log_q - log_q[:, :1]
        strongest = log_q.gather(1, height.argmax(1, keepdim=True))
        weight = height.clamp_min(_SMALLEST_HEIGHT) ** _POWER * is_peak
        i, j = self.pairs  # type: ignore[misc]  # a buffer, unpacked
        difference = (q[:, j] - q[:, i]).clamp_min(_SMALLEST_Q)
        difference = (difference / q[:, :1].clamp_min(_SMALLEST_Q)).log()
        looked_up = self.tables(
            [log_q, to_first, log_q - strongest, difference],
            [weight, weight, weight, weight[:, i] * weight[:, j]],
        )
        dense = torch.cat(
            [
                log_q.float(),
                (to_first * is_peak).float(),
                height.clamp_min(0).sqrt(),
                0.2 * height.clamp_min(_FLOOR).log() * is_peak,
            ],
            dim=1,
        )
        return looked_up + self.dense(dense)  # type: ignore[no-any-return]  # modules return Any


def _head(inputs: int, width: int, blocks: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GELU(),
        nn.Linear(inputs, width),
        *(DenseBlock(width) for _ in range(blocks)),
        nn.LayerNorm(width),
        nn.Linear(width, n_classes),
    )


class WidePeakNetwork(TwoStageNetwork):
    """Found peaks, tables, a deeper stack of dense layers."""

    def __init__(
        self,
        n_classes: int,
        grid: TwoThetaGrid,
        *,
        n_peaks: int = 48,
        n_of_differences: int = 20,
        table_width: int = 320,
        width: int = 512,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.n_peaks = n_peaks
        self.peaks = PeakTables(n_peaks, n_of_differences, table_width, 0.004)
        self.head = _head(table_width, width, blocks, n_classes)

    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch 2 peaks"]:
        """Find peaks: the stage without weights."""
        return find_peaks(intensity[:, 0], self.grid, self.n_peaks, double=True)

    def classify(
        self, peaks: Float[torch.Tensor, "batch 2 peaks"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from peaks: the stage with weights."""
        logits: torch.Tensor = self.head(self.peaks(peaks[:, 0], peaks[:, 1]))
        return logits


class ScanNetwork(TwoStageNetwork):
    """Peaks, profile and autocorrelations of a pattern freed of its background."""

    def __init__(
        self,
        n_classes: int,
        grid: TwoThetaGrid,
        *,
        n_peaks: int = 48,
        n_of_differences: int = 20,
        table_width: int = 256,
        bin_width: float = 0.006,
        width: int = 512,
        blocks: int = 1,
        with_peaks: bool = True,
    ) -> None:
        super().__init__()
        self.features = ScanFeatures(grid, n_peaks=n_peaks)
        sizes = self.features.sizes
        self._sizes = list(sizes)
        self.peaks = (
            PeakTables(n_peaks, n_of_differences, table_width, bin_width)
            if with_peaks
            else None
        )
        self.dense = nn.Linear(sum(sizes[3:]), width)
        inputs = width + (table_width if with_peaks else 0)
        self.head = _head(inputs, width, blocks, n_classes)

    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch features"]:
        """Peaks, profile and correlations: the stage without weights."""
        features: torch.Tensor = self.features(intensity)
        return features

    def classify(
        self, features: Float[torch.Tensor, "batch features"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from features: the stage with weights."""
        coarse, fine, height, scalars, profile, ratios, sums = torch.split(
            features, self._sizes, 1
        )
        x = torch.cat(
            [
                scalars,
                _PROFILE_SCALE * profile,
                _LAG_SCALE * ratios,
                _LAG_SCALE * sums,
            ],
            1,
        )
        x = self.dense(x)
        if self.peaks is not None:
            x = torch.cat([x, self.peaks(coarse.double() + fine.double(), height)], 1)
        logits: torch.Tensor = self.head(x)
        return logits
