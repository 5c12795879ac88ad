"""Pictures of simulated patterns, and of crystals over a scan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.prediction.figure import FIT, INK, MUTED, SCAN
from pxrdbench.prediction.simulation.overlay import Overlay

Points = Float64[np.ndarray, " points"]

# Okabe and Ito (2008): told apart by all kinds of eyes; black and line styles help.
_COLOURS = (SCAN, "#d55e00", "#009e73", "#cc79a7", "#56b4e9", INK)
_STYLES = ("-", "--", "-.", ":")
# Lines that are named, the strongest of the first pattern.
_NAMED = 12


class DrawnPattern(Protocol):
    """A pattern of `simulate`, as far as it is drawn."""

    @property
    def name(self) -> str:
        """Of the crystal."""

    @property
    def radiation(self) -> Radiation:
        """Of the pattern."""

    @property
    def two_theta(self) -> Points:
        """Angles [degrees]."""

    @property
    def intensity(self) -> Points:
        """Profile, the strongest point 100."""

    @property
    def reflections(self) -> Any:
        """Angles, intensities and indices."""


def save_patterns(patterns: Sequence[DrawnPattern], path: Path) -> None:
    """Draw patterns above each other, with marks at their reflections."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.0 + 1.2 * len(patterns)), facecolor="white")
    axes = figure.add_axes((0.06, 0.14, 0.92, 0.80))
    for row, one in enumerate(patterns):
        colour = _COLOURS[row % len(_COLOURS)]
        base = -110.0 * row
        axes.plot(one.two_theta, base + one.intensity, color=colour, linewidth=0.8)
        axes.vlines(
            one.reflections.two_theta, base - 7.0, base - 2.0, color=colour,
            linewidth=0.8,
        )  # fmt: skip
        axes.text(
            0.995, base + 92.0, _plain(f"{one.name}   {one.radiation.name}"),
            color=colour, fontsize=9.5, ha="right",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    if len(patterns) == 1:
        _name_lines(axes, patterns[0])
    axes.set_xlim(patterns[0].two_theta[0], patterns[0].two_theta[-1])
    _finish(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def save_overlay(found: Overlay, path: Path, title: str) -> None:
    """Draw scan, phases, background and difference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.2), facecolor="white")
    axes = figure.add_axes((0.06, 0.34, 0.92, 0.56))
    rest = figure.add_axes((0.06, 0.11, 0.92, 0.19), sharex=axes)
    x = found.two_theta

    def root(values: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.sqrt(np.maximum(values, 0.0))
        return result

    axes.plot(x, root(found.observed), color=INK, linewidth=0.6, label="scan")
    axes.plot(
        x, root(found.calculated), color=FIT, linewidth=0.9,
        label=f"calculated, R_wp {100 * found.r_wp:.1f} %",
    )  # fmt: skip
    axes.plot(
        x, root(found.background), color=MUTED, linewidth=0.9, linestyle="--",
        label="background",
    )  # fmt: skip
    if len(found.names) > 1:
        for row, name in enumerate(found.names):
            axes.plot(
                x, root(found.background + found.phases[row]),
                color=_COLOURS[row % len(_COLOURS)],
                linestyle=_STYLES[row % len(_STYLES)], linewidth=0.7,
                label=_plain(name),
            )  # fmt: skip
    axes.set_ylabel("√ intensity", color=INK, fontsize=9)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    axes.set_xlim(x[0], x[-1])
    axes.set_title(_plain(title), fontsize=10.5, color=INK, loc="left")
    rest.plot(x, found.observed - found.calculated, color=INK, linewidth=0.5)
    rest.axhline(0.0, color=MUTED, linewidth=0.5)
    rest.set_ylabel("difference", color=INK, fontsize=8)
    _finish(rest)
    axes.tick_params(colors=MUTED, labelsize=8, labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _name_lines(axes: Any, one: DrawnPattern) -> None:
    """Indices at the strongest lines."""
    strongest = np.argsort(-one.reflections.intensity)[:_NAMED]
    for place in strongest:
        angle = float(one.reflections.two_theta[place])
        height = float(np.interp(angle, one.two_theta, one.intensity))
        text = " ".join(str(v) for v in one.reflections.hkl[place])
        axes.text(
            angle, height + 1.5, text, fontsize=7.5, rotation=90, ha="center",
            va="bottom", color=INK,
        )  # fmt: skip
    axes.set_ylim(-10.0, 122.0)


def _finish(axes: Any) -> None:
    axes.set_xlabel("2θ [degrees]", color=INK, fontsize=9)
    axes.set_yticks([])
    axes.tick_params(colors=MUTED, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain(text: str) -> str:
    """A dollar sign is no formula here."""
    return text.replace("$", r"\$")
