"""Whether lines of a scan look like those of more than one phase.

Where a cubic, tetragonal or hexagonal cell explains far more of the strong lines than
chance would, and yet leaves strong lines unexplained, these may be another phase's. Low
symmetry of one phase can look alike, and most mixtures go unnoticed: 4 of 56 measured
mixtures are told, and 1 of 162 scans of single phases (the limits below were chosen on
these; docs/predict.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

# Lines that take part: the first of those above this height, up to this angle.
_MAX_LINES = 20
_HEIGHT = 0.05
_UP_TO = 75.0
# A line may be off by so much [degrees]: zero shift, displacement, overlap.
_TOLERANCE = 0.08
# Strongest lines that are tried as the ones with low indices.
_TRIED = 7
_CUBIC = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 16, 20])
_ONE_LAYER = {
    "tetragonal": [h * h + k * k for h in range(7) for k in range(7)],
    "hexagonal": [h * h + h * k + k * k for h in range(7) for k in range(7)],
}
# A cell that explains so much by chance alone in one of 10^5 scans; and at least three
# lines of a tenth of the strongest are left.
_CHANCE = -5.0
_STRONG = 0.1
_LEFT = 3
# More lines than this up to the last one explain anything.
_MAX_DENSITY = 70


@dataclass(frozen=True, eq=False)
class CellTest:
    """The simple cell that explains most.

    Attributes:
        system: Cubic, tetragonal or hexagonal.
        is_explained: For each line.
        log_chance: Logarithm to base 10 of the probability that a cell explains as
            many lines by chance, times the number of cells tried.
    """

    system: str
    is_explained: Bool[np.ndarray, " lines"]
    log_chance: float


def find_foreign_lines(
    two_theta: Float64[np.ndarray, " peaks"],
    height: Float64[np.ndarray, " peaks"],
    second_line: float = 1.0,
) -> tuple[str, Float64[np.ndarray, " foreign"]]:
    """Find strong lines beside those of a cell of high symmetry.

    Args:
        two_theta: Angles of all lines [degrees], ascending.
        height: Above the background.
        second_line: Ratio of the wavelengths of Kα2 and Kα1, 1 if there is one line.

    Returns:
        System of the cell and angles of the strong lines that it leaves; "" and none
        where there is no such cell, or it leaves fewer than three.
    """
    taken = (height > _HEIGHT * height.max(initial=0.0)) & (two_theta < _UP_TO)
    taken &= ~_are_second_lines(two_theta, height, second_line)
    angles, heights = two_theta[taken][:_MAX_LINES], height[taken][:_MAX_LINES]
    if len(angles) < 6:
        return "", np.zeros(0)
    test = try_cells(angles, heights)
    left = angles[~test.is_explained & (heights > _STRONG * heights.max())]
    if test.log_chance > _CHANCE or len(left) < _LEFT:
        return "", np.zeros(0)
    return test.system, left


def _are_second_lines(
    two_theta: Float64[np.ndarray, " peaks"],
    height: Float64[np.ndarray, " peaks"],
    ratio: float,
) -> Bool[np.ndarray, " peaks"]:
    """Lines that stand where Kα2 of a higher one is."""
    sine = np.sin(np.radians(two_theta / 2))
    moved = np.degrees(2.0 * np.arcsin((sine * ratio).clip(None, 1.0)))
    is_near = np.abs(two_theta[:, None] - moved[None, :]) < _TOLERANCE
    is_lower = height[:, None] < 0.8 * height[None, :]
    result: np.ndarray = (is_near & is_lower).any(axis=1) & (ratio > 1.0)
    return result


def try_cells(
    two_theta: Float64[np.ndarray, " lines"], height: Float64[np.ndarray, " lines"]
) -> CellTest:
    """Try cells that give the strongest lines low indices; Q = sin²θ."""
    q = np.sin(np.radians(two_theta / 2)) ** 2
    tolerance = np.sin(np.radians(two_theta)) * np.radians(_TOLERANCE) / 2
    strongest = q[np.argsort(-height, kind="stable")[:_TRIED]]
    best = _try_cubic(q, tolerance, strongest)
    for system, layer in _ONE_LAYER.items():
        found = _try_uniaxial(q, tolerance, strongest, system, np.unique(layer)[1:20])
        if found is not None and found.log_chance < best.log_chance:
            best = found
    return best


def _try_cubic(
    q: Float64[np.ndarray, " lines"],
    tolerance: Float64[np.ndarray, " lines"],
    strongest: Float64[np.ndarray, " tried"],
) -> CellTest:
    unit = (strongest[:, None] / _CUBIC).ravel()[:, None]
    unit = unit[(q[-1] / unit < 60.0)[:, 0]]
    if not len(unit):  # all strong lines at low angles, weak ones far off
        return CellTest("cubic", np.zeros(len(q), np.bool_), 0.0)
    off = np.abs(q / unit - np.rint(q / unit)) * unit
    is_explained = off < tolerance
    chance = (2.0 * tolerance / unit).clip(0.01, 0.9).mean(axis=1)
    return _pick("cubic", is_explained, chance)


def _try_uniaxial(
    q: Float64[np.ndarray, " lines"],
    tolerance: Float64[np.ndarray, " lines"],
    strongest: Float64[np.ndarray, " tried"],
    system: str,
    layer: np.ndarray,
) -> CellTest | None:
    """Cells Q = A·(h² + k² or h² + hk + k²) + C·l²."""
    low = layer[:5]
    a = (strongest[:, None] / low).ravel()
    a = a[a > 0.004]  # an edge of 12 Å; longer ones explain anything
    squares = np.array([1, 4, 9, 16, 36])
    c = (
        strongest[None, :, None, None]
        - a[:, None, None, None] * np.r_[0, low[:3]][None, None, :, None]
    )
    c = c / squares
    pairs = c > 0.0015
    a_of_pair = np.broadcast_to(a[:, None, None, None], c.shape)[pairs]
    layers = np.r_[0, layer][None, :, None]
    lines = a_of_pair[:, None, None] * layers + c[pairs][:, None, None] * (
        np.arange(9) ** 2
    )
    lines = lines.reshape(len(a_of_pair), 9 * (1 + len(layer)))[:, 1:]  # without 000
    count = (lines < q[-1]).sum(axis=1)
    kept = (count < _MAX_DENSITY) & (count > 1)
    lines, count = lines[kept], count[kept]
    if not len(lines):
        return None
    is_explained = np.stack(
        [np.abs(lines - x).min(axis=1) < t for x, t in zip(q, tolerance, strict=True)],
        axis=1,
    )
    chance = (2.0 * tolerance.mean() * count / q[-1]).clip(0.01, 0.9)
    return _pick(system, is_explained, chance)


def _pick(
    system: str,
    is_explained: Bool[np.ndarray, "cells lines"],
    chance: Float64[np.ndarray, " cells"],
) -> CellTest:
    """The cell whose success is least likely by chance."""
    from scipy.stats import binom

    successes = is_explained.sum(axis=1)
    log_tail = binom.logsf(successes - 1, is_explained.shape[1], chance) / np.log(10.0)
    best = int(np.argmin(log_tail))
    log_chance = float(log_tail[best]) + float(np.log10(len(chance)))
    return CellTest(system, is_explained[best], log_chance)
