"""Figures of a prior: what it generates beside the crystals it was fitted on.

After figures 1, 3 and 4 of Schopmans, Reiser & Friederich (2023), Digital Discovery 2,
1414. Everything is drawn by matplotlib without a display.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.report.cell_pictures import draw_cells, symbol_text
from pxrdbench.crystal.report.report import (
    N_DRAWN,
    Descriptors,
    compare_crystals,
    describe_crystals,
    kolmogorov_smirnov,
    represented_crystals,
)
from pxrdbench.crystal.structure import (
    CrystalBatch,
)
from pxrdbench.errors import PriorError

FORMATS = ("png", "svg", "pdf")
# Blue and vermilion tell apart for all kinds of colour vision (Okabe & Ito 2008).
_REAL, _DRAWN, _TEXT, _GRID = "#9db4c8", "#c1440e", "#222222", "#dddddd"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": _TEXT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "legend.frameon": False,
    "svg.hashsalt": "pxrdbench",
}
# Space groups that the figure names.
_N_NAMED = 40


def draw_prior_figures(
    prior: Prior,
    real: CrystalBatch | None,
    path: str | Path,
    *,
    count: int = N_DRAWN,
    seed: int = 0,
    file_format: str = "png",
) -> tuple[Path, ...]:
    """Draw space groups, distributions and a few cells, real against generated.

    Args:
        prior: Distributions to draw from.
        real: Crystals that were fitted, or others to compare with; only what the
            prior itself holds of them is drawn if None.
        path: Folder, made where it is missing.
        count: Crystals to draw from the prior.
        seed: Of the draws.
        file_format: "png", "svg" or "pdf".

    Returns:
        The files: ``space-groups``, ``distributions`` and ``cells``.

    Raises:
        PriorError: If the format is unknown, or the prior represents none of the
            real crystals.
    """
    import matplotlib as mpl

    if file_format not in FORMATS:
        raise PriorError(
            f"unknown format {file_format!r}; known are {', '.join(FORMATS)}"
        )
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_crystals(prior, seed, 0, count)
    inside = None if real is None else represented_crystals(prior, real)
    if inside is not None and not len(inside):
        raise PriorError(f"prior {prior.name!r} represents none of the real crystals")
    with mpl.rc_context(_STYLE):
        figures = {
            "space-groups": _draw_space_groups(prior, real, drawn),
            "distributions": _draw_distributions(prior, inside, drawn),
            "cells": draw_cells(inside, drawn, seed),
        }
        files = []
        for name, figure in figures.items():
            files.append(folder / f"{name}.{file_format}")
            # Without dates, equal figures are equal files.
            metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
            figure.savefig(
                files[-1],
                dpi=200,
                metadata=metadata.get(file_format),
            )
    return tuple(files)


def _draw_space_groups(
    prior: Prior, real: CrystalBatch | None, drawn: CrystalBatch
) -> Any:
    """The most frequent space groups by name above, all by their rank below."""
    from matplotlib.figure import Figure

    fitted = np.zeros(231)
    if real is None:
        fitted[prior.space_group] = prior.n_crystals
    else:
        fitted += np.bincount(real.space_group, minlength=231)
    is_inside = np.zeros(231, bool)
    is_inside[prior.space_group] = True
    order = np.argsort(-fitted, kind="stable")
    order = order[(order > 0) & ((fitted[order] > 0) | is_inside[order])]
    # Generated crystals count as many as the real ones that could be drawn.
    generated = np.bincount(drawn.space_group, minlength=231)
    generated = generated * fitted[is_inside].sum() / len(drawn)
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.subplots(2, 1)
    named = order[:_N_NAMED]
    for axis, shown in zip(axes, (named, order), strict=True):
        _draw_counts(axis, fitted[shown], generated[shown], is_inside[shown])
    handles = dict(zip(*axes[1].get_legend_handles_labels()[::-1], strict=True))
    kind = "fitted" if real is None else "real"
    labels = {
        "in": f"{kind}, {int(fitted.sum()):,} crystals",
        "out": f"{kind}, but not in the prior",
        "drawn": f"generated, {len(drawn):,} crystals, to the same scale",
    }
    figure.legend(
        [handles[name] for name in labels if name in handles],
        [text for name, text in labels.items() if name in handles],
        loc="outside upper center",
        ncols=3,
        fontsize=8,
    )
    axes[0].set_xticks(range(1, len(named) + 1))
    axes[0].set_xticklabels(
        [symbol_text(int(number)) for number in named], rotation=90, fontsize=7.5
    )
    axes[0].tick_params(axis="x", length=0)
    axes[0].set_title(f"a   the {len(named)} most frequent space groups")
    axes[1].set_yscale("log")
    axes[1].set_ylim(0.7, None)
    axes[1].set_title(f"b   all {len(order)} that occur")
    axes[1].set_xlabel(
        f"rank of the space group ({int(is_inside[order].sum())} are in the prior "
        f"{prior.name})"
    )
    return figure


def _draw_counts(
    axis: Any, fitted: np.ndarray, generated: np.ndarray, is_inside: np.ndarray
) -> None:
    rank = 1 + np.arange(len(fitted))
    axis.bar(rank[is_inside], fitted[is_inside], 0.86, color=_REAL, lw=0, label="in")
    if not is_inside.all():
        axis.bar(
            rank[~is_inside],
            fitted[~is_inside],
            0.86,
            color="white",
            edgecolor="#888888",
            hatch="//////",
            lw=0.4,
            label="out",
        )
    is_drawn = generated > 0
    axis.plot(
        rank[is_drawn], generated[is_drawn], ".", ms=5, color=_DRAWN, label="drawn"
    )
    axis.set_ylabel("crystals")
    axis.set_xlim(0, len(fitted) + 1)
    axis.grid(axis="y", color=_GRID, lw=0.5)
    axis.set_axisbelow(True)


def _draw_distributions(
    prior: Prior, inside: CrystalBatch | None, drawn: CrystalBatch
) -> Any:
    """Density factor, volume, sites and elements as probability densities."""
    from matplotlib.figure import Figure

    two = describe_crystals(drawn)
    one = None if inside is None else describe_crystals(inside)
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.subplots(2, 2)
    panels = (
        ("density_factor", "density factor  $V_{cell}$ / $V_{atoms}$", "a"),
        ("volume", "volume of the conventional cell / Å³", "b"),
        ("n_sites", "sites in the asymmetric unit", "c"),
        ("n_elements", "elements", "d"),
    )
    for axis, (name, label, letter) in zip(axes.flat, panels, strict=True):
        real = _real_values(prior, one, name)
        generated = np.asarray(getattr(two, name), np.float64)
        _draw_density(axis, name, real, generated)
        axis.set_xlabel(label)
        is_count = name in ("n_sites", "n_elements")
        axis.set_ylabel("probability" if is_count else "probability density")
        title = letter
        if real is not None:
            title += f"   KS distance {kolmogorov_smirnov(real, generated):.3f}"
        axis.set_title(title)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    counts = {
        "real": len(inside) if inside is not None else len(prior.volume_factor),
        "generated": len(drawn),
    }
    figure.legend(
        handles,
        [f"{text}, {counts[text]:,} crystals" for text in labels],
        loc="outside upper center",
        ncols=2,
    )
    if inside is not None:
        comparison = compare_crystals(inside, drawn)
        figure.supxlabel(
            f"prior {prior.name} · space groups: total variation "
            f"{comparison.space_group_distance:.3f}, by chance "
            f"{comparison.space_group_noise:.3f}",
            fontsize=8,
            color="#666666",
        )
    return figure


def _real_values(prior: Prior, one: Descriptors | None, name: str) -> np.ndarray | None:
    """A descriptor of the real crystals; a prior alone knows two of them."""
    if one is not None:
        return np.asarray(getattr(one, name), np.float64)
    factor = prior.volume_factor.astype(np.float64)
    return {
        "density_factor": factor,
        "volume": factor * prior.volume_atomic,
    }.get(name)


def _draw_density(
    axis: Any, name: str, real: np.ndarray | None, generated: np.ndarray
) -> None:
    both = generated if real is None else np.concatenate([real, generated])
    high = float(np.percentile(both, 99.0))
    if name in ("n_sites", "n_elements"):
        edges = np.arange(0.5, np.ceil(high) + 1.0)
    else:
        edges = np.linspace(0.0, high, 61)
    if real is not None:
        density = np.histogram(real, edges)[0] / len(real) / np.diff(edges)
        axis.stairs(density, edges, fill=True, color=_REAL, label="real")
    density = np.histogram(generated, edges)[0] / len(generated) / np.diff(edges)
    axis.stairs(density, edges, color=_DRAWN, lw=1.4, label="generated")
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(0, None)
    axis.grid(axis="y", color=_GRID, lw=0.5)
    axis.set_axisbelow(True)
