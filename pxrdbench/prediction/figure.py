"""The picture of a prediction: the scan, its background, and the list beside it."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pxrdbench.prediction.result import Prediction

_INK, _MUTED, _SCAN, _BASELINE = "#1b1f24", "#6a737d", "#1f5fa8", "#d9720b"
_WARNING = "#9a3412"
_WIDTH = 11.0
# Characters of a warning in one line of the picture.
_LINE = 118


def save_figure(prediction: "Prediction", path: Path, top: int = 10) -> None:
    """Write the picture into a file; its suffix tells the format."""
    figure = _draw(prediction, top)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def draw_svg(prediction: "Prediction", top: int = 10) -> str:
    """The picture as SVG to put into a page."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "pxrdbench", "svg.fonttype": "none"}):
        stream = io.StringIO()
        _draw(prediction, top).savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _draw(prediction: "Prediction", top: int) -> Any:
    from matplotlib.figure import Figure

    notes = _wrap(prediction.warnings)
    height = 4.2 + 0.17 * len(notes)
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    bottom = (0.62 + 0.17 * len(notes)) / height
    axes = figure.add_axes((0.055, bottom, 0.60, 1.0 - bottom - 0.45 / height))
    _draw_scan(axes, prediction)
    bars = figure.add_axes((0.79, bottom, 0.185, 1.0 - bottom - 0.45 / height))
    _draw_list(bars, prediction, top)
    for line, text in enumerate(reversed(notes)):
        figure.text(
            0.055, (0.08 + 0.17 * line) / height, text, color=_WARNING, fontsize=8.5
        )
    title = f"{prediction.name}   {prediction.radiation.name}"
    figure.text(
        0.055,
        1.0 - 0.28 / height,
        _plain(title),
        color=_INK,
        fontsize=11,
        weight="bold",
    )
    return figure


def _draw_scan(axes: Any, prediction: "Prediction") -> None:
    """Square roots, so that weak lines show; gaps stay gaps."""
    x = prediction.two_theta
    known = prediction.is_measured
    scan = np.where(known, np.sqrt(prediction.scan.clip(0.0)), np.nan)
    baseline = np.where(known, np.sqrt(prediction.baseline.clip(0.0)), np.nan)
    axes.plot(x, scan, color=_SCAN, linewidth=0.7, label="scan")
    axes.plot(x, baseline, color=_BASELINE, linewidth=1.3, label="background")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0.0, 1.06)
    axes.set_xlabel("2θ at the model's wavelength [degrees]", color=_INK, fontsize=9)
    axes.set_ylabel("square root of intensity", color=_INK, fontsize=9)
    axes.tick_params(colors=_MUTED, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def _draw_list(axes: Any, prediction: "Prediction", top: int) -> None:
    shown = prediction.candidates[:top]
    places = np.arange(len(shown))[::-1]
    values = [100 * candidate.probability for candidate in shown]
    axes.barh(places, values, color=_SCAN, alpha=0.8, height=0.66)
    names = [f"{c.symbol}  ({c.space_group})" for c in shown]
    axes.set_yticks(places, names, fontsize=9, color=_INK)
    longest = max(values)
    for place, value in zip(places, values, strict=True):
        axes.text(
            value + 0.02 * longest, place, f"{value:.1f} %", va="center", fontsize=8.5,
            color=_INK,
        )  # fmt: skip
    axes.set_xlim(0.0, 1.3 * longest)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(_MUTED)
    systems = ", ".join(
        f"{total.name} {100 * total.probability:.0f} %"
        for total in prediction.by_crystal_system[:3]
    )
    axes.set_title(systems, fontsize=8.5, color=_MUTED, loc="right")


def _wrap(warnings: tuple[str, ...]) -> list[str]:
    import textwrap

    return [_plain(line) for text in warnings for line in textwrap.wrap(text, _LINE)]


def _plain(text: str) -> str:
    """A dollar sign is no formula here."""
    return text.replace("$", r"\$")
