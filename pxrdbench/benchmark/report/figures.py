"""Figures of a report, one function each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from pxrdbench.benchmark.report.svg import (
    BASELINE,
    INK,
    LINE,
    MODEL,
    MUTED,
    ON_MODEL,
    drawing,
)
from pxrdbench.benchmark.scoring.evaluation_record import Baseline, Bin
from pxrdbench.benchmark.scoring.intervals import Estimate
from pxrdbench.diffraction.pattern import TwoThetaGrid


def draw_top_k(curve: Sequence[Estimate], baselines: Sequence[Baseline]) -> str:
    """Draw the accuracy of the first k guesses, with the guesses by frequency."""
    with drawing("top-k", 3.9) as (figure, axes, svg):
        k = np.arange(1, len(curve) + 1)
        low, high = ([100 * e.low for e in curve], [100 * e.high for e in curve])
        axes.fill_between(k, low, high, color=MODEL, alpha=0.18, linewidth=0)
        model = [100 * e.value for e in curve]
        axes.plot(k, model, color=MODEL, linewidth=2.2, marker="o", markersize=4)
        ends = [(model[-1], "model", MODEL)]
        for baseline, style in zip(baselines, ("-", (0, (4, 3))), strict=False):
            values = [100 * v for v in baseline.top_k[: len(curve)]]
            axes.plot(k, values, color=BASELINE, linewidth=1.6, linestyle=style)
            name = "hindsight" if baseline.name == "hindsight" else "class order"
            ends.append((values[-1], name, BASELINE))
        _label_ends(axes, len(curve) + 0.9, ends)
        axes.set_xlim(0.5, len(curve) + 0.5)
        axes.set_ylim(0, 100)
        axes.set_xticks([1, *range(5, len(curve) + 1, 5)])
        axes.set_xlabel("guesses allowed, k")
        axes.set_ylabel("right among the first k [%]")
        axes.grid(axis="y")
        figure.subplots_adjust(left=0.13, right=0.78, bottom=0.16, top=0.96)
    return svg.text


def draw_systems(estimates: Sequence[tuple[str, Estimate, int]]) -> str:
    """Draw top-1 accuracy by crystal system as bars with intervals."""
    with drawing("systems", 0.46 * len(estimates) + 0.7) as (figure, axes, svg):
        y = np.arange(len(estimates))[::-1]
        values = np.array([100 * e.value for _, e, _ in estimates])
        lows = values - [100 * e.low for _, e, _ in estimates]
        highs = np.array([100 * e.high for _, e, _ in estimates]) - values
        axes.barh(y, values, height=0.62, color=MODEL, alpha=0.85)
        axes.errorbar(
            values, y, xerr=[lows, highs], fmt="none", ecolor=INK, elinewidth=1.4
        )
        for row, (_, estimate, n) in zip(y, estimates, strict=True):
            axes.annotate(
                f"{100 * estimate.value:.1f} %, n = {n:,}",
                (1.02, row),
                xycoords=("axes fraction", "data"),
                va="center",
                color=MUTED,
            )
        axes.set_yticks(y, [name for name, _, _ in estimates])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, max(10.0, float(np.max(values + highs)) * 1.02))
        axes.set_xlabel("top-1 accuracy [%]")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        figure.subplots_adjust(
            left=0.25, right=0.67, top=0.99, bottom=0.52 / figure.get_figheight()
        )
    return svg.text


def draw_confusion(cells: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Draw how often crystals of one system are taken for another, in % of a row."""
    from matplotlib.patches import Rectangle

    with drawing("confusion", 5.6) as (figure, axes, svg):
        counts = np.array(cells, dtype=float)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        n = len(names)
        for i in range(n):
            for j in range(n):
                share = shares[i, j]
                # Opacity, not a colour map: the same cells suit light and dark.
                axes.add_patch(
                    Rectangle((j, i), 1, 1, facecolor=MODEL, alpha=float(share))
                )
                if counts[i, j]:
                    colour = ON_MODEL if share > 0.7 else INK
                    text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                    axes.text(
                        j + 0.5, i + 0.5, text, ha="center", va="center", color=colour
                    )
        axes.set_xlim(0, n)
        axes.set_ylim(n, 0)
        centres = np.arange(n) + 0.5
        short = [name[:4] + "." if len(name) > 5 else name for name in names]
        axes.set_xticks(centres, short)
        axes.set_yticks(centres, names)
        axes.tick_params(length=0, labelcolor=INK)
        for edge in range(n + 1):
            axes.axhline(edge, color=LINE, linewidth=0.8)
            axes.axvline(edge, color=LINE, linewidth=0.8)
        axes.set_xlabel("guessed crystal system")
        axes.set_ylabel("true crystal system")
        axes.spines[:].set_visible(False)
        figure.subplots_adjust(left=0.31, right=0.99, bottom=0.14, top=0.99)
    return svg.text


def draw_calibration(bins: Sequence[Bin], edges: Sequence[float]) -> str:
    """Draw accuracy against stated confidence, with the number of crystals."""
    with drawing("calibration", 5.6) as (figure, axes, svg):
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.stairs(
            _histogram(bins, edges),
            np.array(edges) * 100,
            fill=True,
            color=MODEL,
            alpha=0.14,
            linewidth=0,
        )
        _draw_bins(axes, [100 * item.mean for item in bins], bins)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("stated probability of the first guess [%]")
        axes.set_ylabel("first guess right [%]")
        axes.grid(axis="y")
        figure.subplots_adjust(left=0.13, right=0.96, bottom=0.12, top=0.97)
    return svg.text


def draw_by_peaks(bins: Sequence[Bin]) -> str:
    """Draw accuracy by the number of reflections in the pattern."""
    with drawing("peaks", 4.6) as (figure, axes, svg):
        places = np.arange(len(bins), dtype=float)
        _draw_bins(axes, places, bins)
        axes.set_xticks(
            places,
            [
                f"{item.low:,.0f}–{item.high:,.0f}\nn = {item.crystals:,}"
                for item in bins
            ],
        )
        axes.set_xlim(-0.5, len(bins) - 0.5)
        top = max((100 * item.top_1.high for item in bins), default=100.0)
        axes.set_ylim(0, max(10.0, 1.05 * top))
        axes.set_xlabel("reflections between the ends of the pattern")
        axes.set_ylabel("top-1 accuracy [%]")
        axes.grid(axis="y")
        figure.subplots_adjust(left=0.13, right=0.97, bottom=0.21, top=0.96)
    return svg.text


def draw_by_property(
    bins: Sequence[Bin], names: Sequence[str], label: str, name: str
) -> str:
    """Draw how many crystals each bin holds, right ones below, and its error rate.

    Args:
        bins: Ascending.
        names: What to write below each bin.
        label: Of the abscissa.
        name: Unique among the figures of a page.
    """
    with drawing(name, 5.6, rows=2) as (figure, (upper, lower), svg):
        x = np.arange(len(bins), dtype=float)
        totals = np.array([item.crystals for item in bins])
        right = np.array([item.crystals * item.top_1.value for item in bins])
        upper.bar(x, right, width=0.9, color=MODEL)
        upper.bar(x, totals - right, width=0.9, bottom=right, color=MUTED, alpha=0.3)
        upper.set_ylabel("crystals")
        error = np.array([100 * (1 - item.top_1.value) for item in bins])
        low = error - [100 * (1 - item.top_1.high) for item in bins]
        high = np.array([100 * (1 - item.top_1.low) for item in bins]) - error
        lower.errorbar(
            x, error, yerr=[low, high], fmt="o", color=MODEL, markersize=6,
            ecolor=INK, elinewidth=1.3, zorder=3,
        )  # fmt: skip
        lower.set_ylim(0, 104)  # whole dots at 100 %
        lower.set_ylabel("error [%]")
        lower.set_xlabel(label)
        lower.set_xticks(
            x, names, rotation=55, ha="right",
            rotation_mode="anchor", fontsize=11,
        )  # fmt: skip
        for axes in (upper, lower):
            axes.grid(axis="y")
            axes.set_xlim(-0.6, len(bins) - 0.4)
        figure.subplots_adjust(left=0.16, right=0.98, bottom=0.24, top=0.97)
    return svg.text


def draw_groups(rows: Sequence[tuple[str, int, int]]) -> str:
    """Draw how many crystals of each group there are and how many are right.

    Args:
        rows: Name, crystals and right first guesses of each group.
    """
    with drawing("groups", 4.6) as (figure, axes, svg):
        y = np.arange(len(rows))[::-1]
        totals = [total for _, total, _ in rows]
        axes.barh(y, totals, height=0.66, color=MUTED, alpha=0.28)
        axes.barh(y, [right for _, _, right in rows], height=0.66, color=MODEL)
        for place, (_, total, right) in zip(y, rows, strict=True):
            axes.annotate(
                f"{100 * right / total:.0f} %",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                color=MUTED,
            )
        axes.set_yticks(y, [name for name, _, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, 1.02 * max(totals))
        axes.set_xlabel("crystals")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        figure.subplots_adjust(left=0.29, right=0.87, bottom=0.13, top=0.99)
    return svg.text


def draw_pattern(
    intensity: Float32[np.ndarray, " points"], grid: TwoThetaGrid, name: str = "pattern"
) -> str:
    """Draw one pattern; of neighbouring angles the strongest is kept.

    Args:
        intensity: Pattern scaled to a maximum of one.
        grid: Its angles.
        name: Unique among the figures of a page.
    """
    stride = max(1, grid.points // 850)  # two points a unit of width
    n = grid.points // stride
    angles = grid.angles()[: n * stride].reshape(n, stride)
    rows = intensity[: n * stride].reshape(n, stride)
    place = rows.argmax(axis=1)
    with drawing(name, 1.7) as (figure, axes, svg):
        axes.plot(
            angles[np.arange(n), place],
            rows[np.arange(n), place],
            color=INK,
            linewidth=1.0,
        )
        axes.set_xlim(grid.start, grid.stop)
        axes.set_ylim(-0.02, 1.05)
        axes.set_yticks([])
        axes.set_xlabel("2θ [°]")
        axes.spines["left"].set_visible(False)
        figure.subplots_adjust(left=0.02, right=0.98, bottom=0.34, top=0.98)
    return svg.text


def _draw_bins(axes: Any, x: Any, bins: Sequence[Bin]) -> None:
    values = np.array([100 * item.top_1.value for item in bins])
    low = values - [100 * item.top_1.low for item in bins]
    high = np.array([100 * item.top_1.high for item in bins]) - values
    axes.errorbar(
        x, values, yerr=[low, high], fmt="o", color=MODEL, markersize=7,
        ecolor=INK, elinewidth=1.4, zorder=3,
    )  # fmt: skip


def _histogram(bins: Sequence[Bin], edges: Sequence[float]) -> list[float]:
    """Heights [% of the axis] that show how many crystals each bin holds."""
    numbers = {round(item.low, 6): item.crystals for item in bins}
    most = max(numbers.values(), default=1)
    return [35.0 * numbers.get(round(edge, 6), 0) / most for edge in edges[:-1]]


def _label_ends(axes: Any, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Name curves at their right ends, far enough apart to read."""
    least = 7.0  # % of the axis between two names
    height = 97.0 + least
    for value, name, colour in sorted(ends, reverse=True):
        height = min(value, height - least)
        axes.annotate(
            name,
            (x, height),
            annotation_clip=False,
            va="center",
            color=colour,
        )
