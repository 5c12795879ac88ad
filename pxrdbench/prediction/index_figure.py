"""The picture of an indexing: lines seen, missing and foreign, and what follows."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.indexing.index import Indexing

# Dark enough in print; blue and orange are told apart by all kinds of eyes, and each
# row of marks has a place of its own besides.
_INK, _MUTED, _SCAN, _FOREIGN = "#1b1f24", "#6a737d", "#1f5fa8", "#d9720b"
_WIDTH, _HEIGHT = 11.0, 4.8
# Lattice lines weaker than this many standard errors were not seen.
_SEEN = 3.0
_GROUPS = 10


def save_index_figure(
    indexing: Indexing,
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    path: Path,
    title: str,
) -> None:
    """Draw a pattern with its lines and those of the first cell; suffix gives format.

    Args:
        indexing: What `index_pattern` made of the pattern.
        two_theta: Angles [degrees].
        intensity: The pattern.
        path: Of the picture; folders above are made.
        title: Name of the scan.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
    axes = figure.add_axes((0.06, 0.30, 0.60, 0.58))
    marks = figure.add_axes((0.06, 0.11, 0.60, 0.18), sharex=axes)
    bars = figure.add_axes((0.78, 0.11, 0.20, 0.77))
    _draw_pattern(axes, two_theta, intensity)
    _draw_marks(marks, indexing)
    _draw_groups(bars, indexing)
    axes.set_xlim(two_theta[0], two_theta[-1])
    figure.text(
        0.06, 0.93, _plain(f"{title}   {_about(indexing)}"), color=_INK, fontsize=10.5
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _about(indexing: Indexing) -> str:
    if not indexing.cells:
        return f"{len(indexing.lines)} lines, no cell"
    cell = indexing.cells[0]
    a, b, c, alpha, beta, gamma = cell.conventional
    return (
        f"{cell.bravais_lattice}  {a:.4f} {b:.4f} {c:.4f} Å  "
        f"{alpha:.2f} {beta:.2f} {gamma:.2f}°  M20 {cell.m20:.0f}"
    )


def _draw_pattern(axes: Any, two_theta: np.ndarray, intensity: np.ndarray) -> None:
    """Square roots, so that weak lines show."""
    shown = np.sqrt(np.clip(intensity - intensity.min(), 0.0, None))
    axes.plot(two_theta, shown, color=_SCAN, linewidth=0.7)
    axes.set_ylim(0.0, 1.06 * max(float(shown.max()), 1e-12))
    axes.set_ylabel("square root of intensity", color=_INK, fontsize=9)
    axes.tick_params(colors=_MUTED, labelsize=8, labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_marks(axes: Any, indexing: Indexing) -> None:
    """Rows of marks: lines of the cell, those not seen, lines of no cell."""
    lines = indexing.lines
    foreign = np.ones(len(lines), np.bool_)
    if indexing.cells:
        foreign = (indexing.cells[0].hkl == 0).all(axis=1)
        if not indexing.cells[0].hkl.any():  # a stated cell: lines were not asked
            foreign[:] = False
    rows = [("lines", lines.two_theta[~foreign], _SCAN)]
    fit = indexing.intensities
    if fit is not None:
        seen = fit.intensity > _SEEN * fit.error
        rows += [
            ("of the cell", fit.two_theta[seen], _INK),
            ("of the cell, not seen", fit.two_theta[~seen], _MUTED),
        ]
    rows.append(("of no cell", lines.two_theta[foreign], _FOREIGN))
    for row, (_, places, colour) in enumerate(rows):
        axes.vlines(places, -row - 0.38, -row + 0.38, color=colour, linewidth=0.8)
    names = [f"{name}: {len(places)}" for name, places, _ in rows]
    axes.set_yticks(-np.arange(len(rows)), names, fontsize=7.5)
    axes.yaxis.tick_right()
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlabel("2θ [degrees]", color=_INK, fontsize=9)
    axes.tick_params(colors=_MUTED, labelsize=8, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_groups(axes: Any, indexing: Indexing) -> None:
    shown = indexing.space_groups[:_GROUPS]
    places = np.arange(len(shown))[::-1]
    values = [100 * one.probability for one in shown]
    axes.barh(places, values, color=_SCAN, alpha=0.8, height=0.62)
    axes.set_yticks(
        places,
        [_plain(f"{one.symbol}  ({one.space_group})") for one in shown],
        fontsize=9,
        color=_INK,
    )
    for place, value in zip(places, values, strict=True):
        axes.text(
            value + 0.02 * max(values), place, f"{value:.1f} %", va="center",
            fontsize=8.5, color=_INK,
        )  # fmt: skip
    axes.set_xlim(0.0, 1.35 * max(values, default=1.0))
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    if indexing.extinction_symbols:
        first = indexing.extinction_symbols[0]
        axes.set_title(
            f"{first.symbol}  {100 * first.probability:.0f} %",
            fontsize=9,
            color=_MUTED,
            loc="right",
        )


def _plain(text: str) -> str:
    """A dollar sign is no formula here."""
    return text.replace("$", r"\$")
