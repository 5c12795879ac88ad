"""Pictures of a scan that was read: lines, cell, difference, and the list beside it.

Dark blue, orange and grey are told apart by all kinds of eyes and in print, and each
row of marks has a place and a name of its own besides.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.indexing.index import Indexing
from pxrdbench.prediction.calculated import (
    CalculatedScan,
    LineMarks,
    calculate_scan,
    find_marks,
)

if TYPE_CHECKING:
    from pxrdbench.diffraction.radiation import Radiation
    from pxrdbench.prediction.result import Prediction

INK, MUTED, SCAN, FIT = "#1b1f24", "#6a737d", "#1f5fa8", "#d9720b"
_WARNING = "#9a3412"
_WIDTH = 11.0
# Characters of a warning in one line of the picture.
_LINE = 140
# Groups of less than this share are not drawn.
_LEAST = 5e-4


def save_figure(prediction: "Prediction", path: Path, top: int = 10) -> None:
    """Write the picture into a file; its suffix tells the format."""
    figure = _draw_prediction(prediction, top)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def draw_svg(prediction: "Prediction", top: int = 10) -> str:
    """The picture as SVG to put into a page."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "pxrdbench", "svg.fonttype": "none"}):
        stream = io.StringIO()
        figure = _draw_prediction(prediction, top)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def save_index_figure(
    indexing: Indexing,
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    path: Path,
    title: str,
    radiation: "Radiation",
) -> None:
    """Draw what `index_pattern` made of a pattern; the suffix gives the format.

    Args:
        indexing: Of the pattern.
        two_theta: Angles [degrees].
        intensity: The pattern.
        path: Of the picture; folders above are made.
        title: Name of the scan.
        radiation: Of the scan.
    """
    scan = calculate_scan(two_theta, intensity, radiation, indexing)
    symbols = indexing.extinction_symbols
    figure = _draw(
        scan,
        find_marks(indexing),
        [
            (f"{one.symbol}  ({one.space_group})", one.probability)
            for one in indexing.space_groups[:8]
        ],
        f"{title}   {_about(indexing)}",
        (),
        f"{symbols[0].symbol}  {100 * symbols[0].probability:.0f} %" if symbols else "",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_prediction(prediction: "Prediction", top: int) -> Any:
    systems = ", ".join(
        f"{total.name} {100 * total.probability:.0f} %"
        for total in prediction.by_crystal_system[:2]
    )
    cell = f"   {prediction.cells[0]}" if prediction.cells else ""
    return _draw(
        calculate_scan(
            prediction.two_theta,
            prediction.intensity,
            prediction.radiation,
            prediction.indexing,
        ),
        find_marks(prediction.indexing),
        [
            (f"{c.symbol}  ({c.space_group})", c.probability)
            for c in prediction.candidates[:top]
        ],
        f"{prediction.name}   {prediction.radiation.name}{cell}",
        (
            *(f"No confident answer. {text}" for text in prediction.reasons[:1]),
            *prediction.reasons[1:],
            *prediction.warnings,
        ),
        systems,
    )


def _about(indexing: Indexing) -> str:
    if not indexing.cells:
        return f"{len(indexing.lines)} lines, no cell"
    cell = indexing.cells[0]
    a, b, c, alpha, beta, gamma = cell.conventional
    return (
        f"{cell.bravais_lattice}  {a:.4f} {b:.4f} {c:.4f} Å  "
        f"{alpha:.2f} {beta:.2f} {gamma:.2f}°  M20 {cell.m20:.0f}"
    )


def _draw(
    scan: CalculatedScan,
    marks: LineMarks,
    groups: Sequence[tuple[str, float]],
    title: str,
    notes: Sequence[str],
    corner: str,
) -> Any:
    from matplotlib.figure import Figure

    written = [line for text in notes for line in textwrap.wrap(text, _LINE)]
    height = 5.6 + 0.17 * len(written)
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")

    def place(left: float, low: float, width: float, high: float) -> Any:
        """Axes between heights that are given in inches from the bottom."""
        base = 0.17 * len(written)
        return figure.add_axes(
            (left, (base + low) / height, width, (high - low) / height)
        )

    axes = place(0.055, 2.3, 0.60, 5.15)
    rest = place(0.055, 1.55, 0.60, 2.2)
    rows = place(0.055, 0.5, 0.60, 1.5)
    rest.sharex(axes)
    rows.sharex(axes)
    _draw_scan(axes, scan, has_cell=bool(len(marks.allowed)))
    _draw_difference(rest, scan)
    _draw_marks(rows, marks)
    axes.set_xlim(scan.two_theta[0], scan.two_theta[-1])
    _draw_list(place(0.80, 1.75, 0.18, 5.0), groups, corner)
    for line, text in enumerate(reversed(written)):
        figure.text(
            0.055, (0.06 + 0.17 * line) / height, _plain(text), color=_WARNING,
            fontsize=8.5,
        )  # fmt: skip
    figure.text(
        0.055, 1.0 - 0.28 / height, _plain(title), color=INK, fontsize=10.5,
        weight="bold",
    )  # fmt: skip
    return figure


def _draw_scan(axes: Any, scan: CalculatedScan, *, has_cell: bool) -> None:
    """Square roots, so that weak lines show."""
    x = scan.two_theta
    floor = min(0.0, float(scan.intensity.min()))

    def root(values: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.sqrt(np.maximum(values - floor, 0.0))
        return result

    axes.plot(x, root(scan.intensity), color=SCAN, linewidth=0.7, label="scan")
    axes.plot(
        x, root(scan.background), color=MUTED, linewidth=1.0, linestyle="--",
        label="background",
    )  # fmt: skip
    if has_cell:
        axes.plot(
            x, root(scan.calculated), color=FIT, linewidth=0.8, label="cell, fitted"
        )
    axes.set_ylim(0.0, 1.06 * max(float(root(scan.intensity).max()), 1e-12))
    axes.set_ylabel("√ intensity", color=INK, fontsize=9)
    axes.tick_params(colors=MUTED, labelsize=8, labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def _draw_difference(axes: Any, scan: CalculatedScan) -> None:
    axes.plot(scan.two_theta, scan.difference, color=INK, linewidth=0.5)
    axes.axhline(0.0, color=MUTED, linewidth=0.5)
    most = float(np.abs(scan.difference).max()) or 1.0
    axes.set_ylim(-1.05 * most, 1.05 * most)
    axes.set_yticks([])
    axes.set_ylabel("difference", color=INK, fontsize=8)
    axes.tick_params(colors=MUTED, labelbottom=False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def mark_rows(marks: LineMarks) -> list[tuple[str, np.ndarray, str]]:
    """Names, places and colours of the rows of marks."""
    return [
        ("lines of the scan", marks.indexed, SCAN),
        ("of the cell, seen", marks.allowed, INK),
        ("of the cell, not seen", marks.absent, MUTED),
        ("of no cell", marks.foreign, FIT),
    ]


def _draw_marks(axes: Any, marks: LineMarks) -> None:
    rows = mark_rows(marks)
    for row, (_, places, colour) in enumerate(rows):
        axes.vlines(places, -row - 0.38, -row + 0.38, color=colour, linewidth=0.8)
    names = [f"{name}: {len(places)}" for name, places, _ in rows]
    axes.set_yticks(-np.arange(len(rows)), names, fontsize=7.5)
    axes.yaxis.tick_right()
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlabel("2θ [degrees]", color=INK, fontsize=9)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_list(axes: Any, groups: Sequence[tuple[str, float]], corner: str) -> None:
    shown = [one for one in groups if one[1] > _LEAST]
    places = np.arange(len(shown))[::-1]
    values = [100 * share for _, share in shown]
    axes.barh(places, values, color=SCAN, alpha=0.8, height=0.66)
    axes.set_yticks(places, [_plain(name) for name, _ in shown], fontsize=9, color=INK)
    longest = max(values, default=1.0)
    for place, value in zip(places, values, strict=True):
        axes.text(
            value + 0.02 * longest, place, f"{value:.1f} %", va="center", fontsize=8.5,
            color=INK,
        )  # fmt: skip
    axes.set_xlim(0.0, 1.35 * longest)
    axes.set_ylim(-0.6, max(len(shown), 5) - 0.4)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(MUTED)
    axes.set_title(_plain(corner), fontsize=8.5, color=MUTED, loc="right")


def _plain(text: str) -> str:
    """A dollar sign is no formula here."""
    return text.replace("$", r"\$")
