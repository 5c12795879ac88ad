"""A light network over the peaks that it finds in the pattern.

The pattern is read, and nothing else: local maxima above a thousandth of the strongest
one, with a parabola through the logarithm of three points for the position (exact for a
Gaussian). What follows looks at the first peaks only, in the way that powder patterns
were indexed by hand. With Q = sin²θ = λ²/4d²,

    ln Q_i                   where the lines are
    ln Q_i - ln Q_1          their ratios to the first line, fixed for cubic cells
    ln Q_i - ln Q_strongest
    ln (Q_j - Q_i) / Q_1     differences, which repeat because Q is a quadratic form
                             in h, k, l (Runge 1917, Physikalische Zeitschrift 18, 509)

each number falls into one of many narrow bins of a table of vectors, is interpolated
between two of them, and adds its vector, weighted by the height of its peaks. That is
a linear layer over fine histograms, at the price of the few bins that are not empty.
Dense layers follow. A step costs some hundredth of that of a convolutional network.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional

from pxrdbench.diffraction.pattern import TwoThetaGrid

# A maximum below this part of the strongest is no peak.
_FLOOR = 1e-3
_N_PEAKS = 40
_N_PEAKS_OF_DIFFERENCES = 16
_BIN_WIDTH = 0.004  # of ln Q: 0.03 degrees of 2θ at 30 degrees
_WIDTH = 256
# Weights are heights to this power: near to a count, since an absent line tells most.
_POWER = 0.25
# Q lies between that of 2θ = 1 degree and one.
_SMALLEST_Q = 7.6e-5
_SMALLEST_HEIGHT = 1e-6


def find_peaks(
    intensity: Float[torch.Tensor, "batch points"],
    grid: TwoThetaGrid,
    n_peaks: int,
    floor: float = _FLOOR,
    *,
    double: bool = False,
) -> Float[torch.Tensor, "batch 2 peaks"]:
    """Find the first peaks of each pattern.

    Args:
        intensity: Patterns with a maximum of one.
        grid: Their angles.
        n_peaks: Peaks to return, those at the lowest angles.
        floor: Lowest height of a peak.
        double: Whether to refine positions in double precision, so that narrow bins
            get the same shares wherever a network runs.

    Returns:
        Angle 2θ [degrees], ascending, and height; both 0 where there are no more.
    """
    inner = intensity[:, 1:-1]
    is_peak = (inner > intensity[:, :-2]) & (inner >= intensity[:, 2:])
    is_peak &= inner > floor
    if torch.compiler.is_exporting():
        points = intensity.double() if double else intensity
        left, top, right = points[:, :-2], points[:, 1:-1], points[:, 2:]
        shift, height = parabola(left, top, right, _SMALLEST_HEIGHT)
        column = torch.arange(1, inner.shape[1] + 1, device=inner.device)
        # As tensors, since exports write plain numbers in single precision.
        start, step = (shift.new_tensor(v) for v in (grid.start, grid.step))
        angle = start + step * (column + shift)
        return list_first(is_peak, angle, height, n_peaks)
    row, column = is_peak.nonzero(as_tuple=True)
    count = torch.bincount(row, minlength=len(intensity))
    first = torch.cumsum(count, 0) - count
    rank = torch.arange(len(row), device=row.device) - first[row]
    kept = rank < n_peaks
    row, column, rank = row[kept], column[kept], rank[kept]
    left, top, right = (intensity[row, column + shift] for shift in (0, 1, 2))
    if double:
        left, top, right = left.double(), top.double(), right.double()
    shift, height = parabola(left, top, right, _SMALLEST_HEIGHT)
    peaks = left.new_zeros(intensity.shape[0], 2, n_peaks)
    peaks[row, 0, rank] = grid.start + grid.step * (column + 1 + shift)
    peaks[row, 1, rank] = height
    return peaks


def parabola(
    left: Float[torch.Tensor, "..."],
    top: Float[torch.Tensor, "..."],
    right: Float[torch.Tensor, "..."],
    smallest: float,
) -> tuple[Float[torch.Tensor, "..."], Float[torch.Tensor, "..."]]:
    """Where the parabola through three logarithms is highest, exact for a Gaussian.

    Args:
        left: Point before the maximum.
        top: The maximum.
        right: Point behind it.
        smallest: Points are no lower than this.

    Returns:
        Shift from the middle point, -0.5 to 0.5 steps, and the height of that point.
    """
    left, top, right = (v.clamp_min(smallest).log() for v in (left, top, right))
    # Where the logarithm is flat the clamped points are no parabola: no shift then.
    curvature = (left - 2 * top + right).clamp_max(-smallest)
    return (0.5 * (left - right) / curvature).clamp(-0.5, 0.5), top.exp()


def list_first(
    is_peak: Bool[torch.Tensor, "batch points"],
    angle: Float[torch.Tensor, "batch points"],
    height: Float[torch.Tensor, "batch points"],
    n_peaks: int,
) -> Float[torch.Tensor, "batch 2 peaks"]:
    """List the first peaks in shapes that do not depend on the patterns.

    Slower than a search; for exported programs, whose shapes are fixed.
    """
    rank = is_peak.long().cumsum(1) - 1
    place = torch.where(is_peak & (rank < n_peaks), rank, n_peaks)
    empty = angle.new_zeros(angle.shape[0], n_peaks + 1)
    listed = [empty.scatter(1, place, v)[:, :n_peaks] for v in (angle, height)]
    return torch.stack(listed, 1)


def _bin_position(
    value: Float[torch.Tensor, "..."], low: float, bin_width: float
) -> Float[torch.Tensor, "..."]:
    """Where a value lies among bins, in bins."""
    if value.dtype == torch.float64:
        # As tensors, since exports write plain numbers in single precision.
        return (value - value.new_tensor(low)) / value.new_tensor(bin_width)
    return (value - low) / bin_width


class BinnedSum(nn.Module):
    """Add up a vector for each number, looked up by its value.

    Numbers belong to kinds; each kind has a table of its own over its own range.
    A number between the centres of two bins takes a part of each.
    """

    def __init__(
        self, ranges: list[tuple[float, float]], bin_widths: list[float], width: int
    ) -> None:
        """Make the tables.

        Args:
            ranges: Lowest and highest number of each kind; others are moved there.
            bin_widths: Of each kind.
            width: Length of the vectors.
        """
        super().__init__()
        counts = [
            int((high - low) / bin_width) + 2
            for (low, high), bin_width in zip(ranges, bin_widths, strict=True)
        ]
        self._kinds = [
            (low, bin_width, sum(counts[:kind]), counts[kind])
            for kind, ((low, _), bin_width) in enumerate(
                zip(ranges, bin_widths, strict=True)
            )
        ]
        self.table = nn.EmbeddingBag(sum(counts), width, mode="sum")
        nn.init.normal_(self.table.weight, 0.0, 0.05)  # some 10² vectors are added

    def forward(
        self, values: list[torch.Tensor], weights: list[torch.Tensor]
    ) -> Float[torch.Tensor, "batch width"]:
        """Look up and add; one tensor (batch, numbers) a kind."""
        indices, shares = [], []
        for value, weight, (low, bin_width, first, count) in zip(
            values, weights, self._kinds, strict=True
        ):
            position = _bin_position(value, low, bin_width).clamp(0, count - 2)
            lower = position.floor()
            # Of numbers in double precision only the shares need none of it.
            upper_share = (position - lower).to(weight.dtype)
            index = lower.long() + first
            indices += [index, index + 1]
            shares += [weight * (1 - upper_share), weight * upper_share]
        index, share = torch.cat(indices, 1), torch.cat(shares, 1)
        if torch.compiler.is_exporting():  # an export of bags fixes the batch size
            vectors = functional.embedding(index, self.table.weight)
            return (vectors * share[..., None]).sum(1)
        total: torch.Tensor = self.table(index, per_sample_weights=share)
        return total


class DenseBlock(nn.Module):
    """Normalise, two dense layers, add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, x: Float[torch.Tensor, "batch width"]) -> torch.Tensor:
        """Add what the layers make of the input."""
        return x + self.layers(x)  # type: ignore[no-any-return]  # modules return Any


class TwoStageNetwork(nn.Module, ABC):
    """A network whose first stage has no weights, so that loaders may run it."""

    @abstractmethod
    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch ..."]:
        """Find features of patterns: the stage without weights."""

    @abstractmethod
    def classify(
        self, features: Float[torch.Tensor, "batch ..."]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from features: the stage with weights."""

    def forward(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits of patterns with a maximum of one."""
        with torch.no_grad():
            features = self.encode(intensity)
        return self.classify(features)


class PeakNetwork(TwoStageNetwork):
    """Peaks, tables of their positions, ratios and differences, dense layers."""

    def __init__(
        self, n_classes: int, grid: TwoThetaGrid, *, width: int = _WIDTH
    ) -> None:
        super().__init__()
        self.grid = grid
        ratio, difference = (-1.0, 6.6), (-5.0, 5.0)
        self.tables = BinnedSum(
            [(-7.0, 0.0), ratio, (-6.6, 4.0), difference],
            [_BIN_WIDTH, _BIN_WIDTH, _BIN_WIDTH, 2 * _BIN_WIDTH],
            width,
        )
        self.dense = nn.Linear(4 * _N_PEAKS, width)
        self.head = nn.Sequential(
            nn.GELU(),
            nn.Linear(width, width),
            DenseBlock(width),
            nn.LayerNorm(width),
            nn.Linear(width, n_classes),
        )
        pairs = torch.triu_indices(_N_PEAKS_OF_DIFFERENCES, _N_PEAKS_OF_DIFFERENCES, 1)
        self.register_buffer("pairs", pairs, persistent=False)

    def encode(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch 2 peaks"]:
        """Find peaks: the stage without weights."""
        return find_peaks(intensity[:, 0], self.grid, _N_PEAKS)

    def classify(
        self, peaks: Float[torch.Tensor, "batch 2 peaks"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Logits from peaks: the stage with weights."""
        two_theta, height = peaks[:, 0], peaks[:, 1]
        is_peak = two_theta > 0
        q = torch.sin(torch.deg2rad(two_theta) / 2) ** 2
        log_q = torch.where(is_peak, q.clamp_min(_SMALLEST_Q).log(), 0.0)
        values, weights = self._describe(q, log_q, height, is_peak)
        height = height.clamp_min(0)
        dense = torch.cat(
            [
                log_q,
                (log_q - log_q[:, :1]) * is_peak,
                height.sqrt(),
                0.2 * height.clamp_min(_FLOOR).log() * is_peak,
            ],
            dim=1,
        )
        logits: torch.Tensor = self.head(
            self.tables(values, weights) + self.dense(dense)
        )
        return logits

    def _describe(
        self,
        q: Float[torch.Tensor, "batch peaks"],
        log_q: Float[torch.Tensor, "batch peaks"],
        height: Float[torch.Tensor, "batch peaks"],
        is_peak: Bool[torch.Tensor, "batch peaks"],
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The four kinds of numbers, and the weight of each."""
        weight = height.clamp_min(_SMALLEST_HEIGHT) ** _POWER * is_peak
        strongest = log_q.gather(1, height.argmax(1, keepdim=True))
        i, j = self.pairs  # type: ignore[misc]  # a buffer, unpacked
        difference = (q[:, j] - q[:, i]).clamp_min(_SMALLEST_Q)
        values = [
            log_q,
            log_q - log_q[:, :1],
            log_q - strongest,
            (difference / q[:, :1].clamp_min(_SMALLEST_Q)).log(),
        ]
        return values, [weight, weight, weight, weight[:, i] * weight[:, j]]
