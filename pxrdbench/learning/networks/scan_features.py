"""What a network for measured patterns looks at, found without weights.

A pattern is binned to 0.04 degrees, freed of its background (what is lowest in windows
of some degrees) and scaled to a maximum of one again. Then follow

    peaks       maxima above the noise that the pattern itself shows
    profile     square root of the pattern in bins of 0.08 degrees
    ratios      autocorrelation over ln Q: how often which ratio of d spacings occurs,
                whatever the size of the cell
    sums        autocorrelation over Q = sin²θ: differences between lines, which repeat
                because Q is a quadratic form in h, k, l

An autocorrelation averages noise away and needs no line to be named the first one.
All steps are batched torch; nothing is learnt.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.learning.networks.peak_network import list_first, parabola

_BIN_DEGREES = 0.04
_WINDOW_DEGREES = 1.0  # the background is lowest somewhere in a degree or in five
_FLOOR = 1e-3  # a maximum below this part of the strongest is no peak
_NOISE_FACTOR = 4.0  # nor is one below so many standard deviations
_TINY = 1e-6
_PARTS = 64  # of a degree: exact in single precision
_AXES = ("ratio", "sum")
# Median of |a - b| over the standard deviation of a, both normal.
_MEDIAN_TO_DEVIATION = 0.954
# Every eighth pair of neighbours is enough for a median.
_EVERY = 8


class ScanFeatures(nn.Module):
    """Patterns of a grid to peaks, profile and autocorrelations, side by side.

    Attributes:
        n_peaks: Peaks that are kept, those at the lowest angles.
        sizes: Numbers of positions in whole 1/64 degrees, of what is left of them, of
            heights, scalars, profile bins, ratio bins and sum bins in the result, in
            this order.
    """

    def __init__(
        self,
        grid: TwoThetaGrid,
        *,
        n_peaks: int = 48,
        n_ratios: int = 768,
        n_sums: int = 768,
    ) -> None:
        super().__init__()
        self.n_peaks = n_peaks
        self._factor = max(1, round(_BIN_DEGREES / grid.step))
        self._bins = grid.points // self._factor
        width = self._factor * grid.step
        self._start = grid.start + 0.5 * (width - grid.step)
        self._width = width
        self._window = max(2, round(_WINDOW_DEGREES / width))
        self._n_ratios, self._n_sums = n_ratios, n_sums
        self.sizes = (
            *(n_peaks, n_peaks, n_peaks, 3),
            *(self._bins // 2, n_ratios, n_sums),
        )
        centre = self._start + width * np.arange(self._bins)
        edges = np.concatenate([centre - width / 2, [centre[-1] + width / 2]])
        q = np.sin(np.deg2rad(np.maximum(edges, 0.1)) / 2) ** 2
        for name, values, n in (
            ("ratio_edges", np.log(q), n_ratios),
            ("sum_edges", q, 2 * n_sums),
        ):
            wanted = np.linspace(values[0], values[-1], n + 1)
            place = np.interp(wanted, values, np.arange(len(values)))
            self.register_buffer(
                name, torch.tensor(place, dtype=torch.float32), persistent=False
            )

    def forward(
        self, intensity: Float[torch.Tensor, "batch 1 points"]
    ) -> Float[torch.Tensor, "batch features"]:
        """Features of patterns with a maximum of one."""
        x = self._bin(intensity[:, 0].clamp_min(0))
        first, last, inside = _measured_range(x)
        x = x - self._background(x, first, last)
        x = x.clamp_min(0) * inside
        highest = x.amax(1, keepdim=True).clamp_min(_TINY)
        x = x / highest
        noise = _noise(x)
        peaks = self._peaks(x, noise)
        n = x.shape[1]
        scalars = torch.cat([noise, first / n, last / n], 1)
        root = x.sqrt()
        even = root[:, : n // 2 * 2]
        profile = 0.5 * (even[:, ::2] + even[:, 1::2])
        total = functional.pad(root.cumsum(1), (1, 0))
        ratio_edges, sum_edges = (self.get_buffer(f"{n}_edges") for n in _AXES)
        ratios = _autocorrelation(_rebin(total, ratio_edges), self._n_ratios)
        sums = _autocorrelation(_rebin(total, sum_edges), self._n_sums)
        angle, height = peaks[:, 0], peaks[:, 1].to(x.dtype)
        # A position in two parts: together they are of double precision.
        coarse = (angle * _PARTS).floor() / _PARTS
        fine = (angle - coarse).to(x.dtype)
        found = [coarse.to(x.dtype), fine, height]
        return torch.cat([*found, scalars, profile, ratios, sums], 1)

    def _bin(self, x: Float[torch.Tensor, "batch points"]) -> torch.Tensor:
        """Mean of neighbouring points."""
        k = self._factor
        stop = self._bins * k
        binned = x[:, 0:stop:k]
        for shift in range(1, k):  # a sum of views is faster than a pool
            binned = binned + x[:, shift:stop:k]
        return binned / k

    def _background(
        self, x: torch.Tensor, first: torch.Tensor, last: torch.Tensor
    ) -> torch.Tensor:
        """What is lowest around each point, smoothly."""
        n, w = x.shape[1], self._window
        place = torch.arange(n, device=x.device)[None]
        # Beyond the measured range the level at its end goes on.
        place = torch.minimum(torch.maximum(place, first), last)
        level = x.gather(1, place)
        level = (level[:, :-1] + level[:, 1:]) / 2
        windows = max(1, (n - 1) // w)
        lowest = level[:, : windows * w].view(x.shape[0], windows, -1).amin(2)[:, None]
        lowest = -functional.max_pool1d(_extend(-lowest), 5, 1)
        smooth = functional.avg_pool1d(_extend(lowest), 5, 1)
        return functional.interpolate(smooth, size=n, mode="linear")[:, 0]

    def _peaks(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Angles [degrees] and heights of the first peaks, 0 where there are none."""
        smooth = functional.pad(
            0.25 * (x[:, :-2] + x[:, 2:]) + 0.5 * x[:, 1:-1], (1, 1)
        )
        # The three points make the noise sqrt(6)/4 as large.
        floor = (_NOISE_FACTOR * 0.61 * noise).clamp_min(_FLOOR)
        inner = smooth[:, 1:-1]
        is_peak = (inner > smooth[:, :-2]) & (inner >= smooth[:, 2:]) & (inner > floor)
        if torch.compiler.is_exporting():
            points = smooth.double()
            left, top, right = points[:, :-2], points[:, 1:-1], points[:, 2:]
            shift, height = parabola(left, top, right, _TINY)
            column = torch.arange(1, inner.shape[1] + 1, device=x.device)
            start, width = (shift.new_tensor(v) for v in (self._start, self._width))
            angle = start + width * (column + shift)
            return list_first(is_peak, angle, height, self.n_peaks)
        row, column = is_peak.nonzero(as_tuple=True)
        count = torch.bincount(row, minlength=len(x))
        rank = torch.arange(len(row), device=x.device)
        rank = rank - (torch.cumsum(count, 0) - count)[row]
        kept = rank < self.n_peaks
        row, column, rank = row[kept], column[kept], rank[kept]
        left, top, right = (smooth[row, column + k].double() for k in (0, 1, 2))
        shift, height = parabola(left, top, right, _TINY)
        peaks = left.new_zeros(x.shape[0], 2, self.n_peaks)
        peaks[row, 0, rank] = self._start + self._width * (column + 1 + shift)
        peaks[row, 1, rank] = height
        return peaks


def _measured_range(
    x: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First and last bin that is not zero, and what lies between, as columns."""
    is_there = (x > 0).to(x.dtype)
    first = is_there.argmax(1, keepdim=True)
    last = x.shape[1] - 1 - is_there.flip(1).argmax(1, keepdim=True)
    place = torch.arange(x.shape[1], device=x.device)[None]
    inside = ((place >= first) & (place <= last)).to(x.dtype)
    return first, last, inside


def _noise(x: torch.Tensor) -> torch.Tensor:
    """Standard deviation of a bin, from differences between neighbours."""
    steps = (x[:, 1:] - x[:, :-1]).abs()[:, ::_EVERY]
    middle = steps.shape[1] // 2
    return steps.sort(1).values[:, middle : middle + 1] / _MEDIAN_TO_DEVIATION


def _extend(x: torch.Tensor) -> torch.Tensor:
    """Two more windows at each end, like the last ones."""
    return functional.pad(x, (2, 2), mode="replicate")


def _rebin(total: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Differences of a running sum between new edges, which keep what is in a bin."""
    lower = edges.long().clamp_max(total.shape[1] - 2)
    share = edges - lower
    at = total.index_select(1, lower)
    at = at + (total.index_select(1, lower + 1) - at) * share
    return at[:, 1:] - at[:, :-1]


def _autocorrelation(x: torch.Tensor, n: int) -> torch.Tensor:
    """The first n lags, as parts of the first."""
    kind = x.dtype
    # In double precision, so that a network says the same wherever it runs.
    x = x.double()
    x = x - x.mean(1, keepdim=True)
    # So long that nothing comes around; powers of two lose least elsewhere too.
    length = 1 << (2 * x.shape[1] - 1).bit_length()
    spectrum = torch.fft.rfft(x, length)
    power = spectrum.real**2 + spectrum.imag**2
    lags: torch.Tensor = torch.fft.irfft(power, length)[:, :n]
    return (lags / lags[:, :1].clamp_min(_TINY)).to(kind)
