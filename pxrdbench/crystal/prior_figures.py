"""Figures of a prior: what it generates beside the crystals it was fitted on.

After figures 1, 3 and 4 of Schopmans, Reiser & Friederich (2023), Digital Discovery 2,
1414. Everything is drawn by matplotlib without a display.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.generator import draw_crystals
from pxrdbench.crystal.prior import Prior
from pxrdbench.crystal.prior_report import (
    N_DRAWN,
    Descriptors,
    compare_crystals,
    describe_crystals,
    kolmogorov_smirnov,
    represented_crystals,
)
from pxrdbench.crystal.structure import (
    ATOMIC_NUMBERS,
    Crystal,
    CrystalBatch,
    lattice_matrix,
)
from pxrdbench.crystal.symmetry import load_symmetry_tables
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
# Pictures of cells beyond these sizes are a crowd of dots.
_MOST_ATOMS = 60
_MOST_ELONGATED = 2.2
_N_CELLS = 5
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
            "cells": _draw_cells(inside, drawn, seed),
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
    axes[0].set_xticks(range(len(named)))
    axes[0].set_xticklabels(
        [_symbol(int(number)) for number in named], rotation=90, fontsize=7.5
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
    rank = np.arange(len(fitted))
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
    axis.set_xlim(-1, len(fitted))
    axis.grid(axis="y", color=_GRID, lw=0.5)
    axis.set_axisbelow(True)


def _symbol(space_group: int) -> str:
    """Symbol with its subscripts and bars, as matplotlib's mathtext."""
    import spglib

    hall = int(load_symmetry_tables().hall_number[space_group])
    symbol = spglib.get_spacegroup_type(hall).international_short
    symbol = re.sub(r"-(\d)", r"\\bar{\1}", symbol)
    return f"${symbol}$"


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


def _draw_cells(inside: CrystalBatch | None, drawn: CrystalBatch, seed: int) -> Any:
    """Cells of real crystals above generated ones of the same groups."""
    from matplotlib.figure import Figure

    pairs = _choose_cells(inside, drawn, seed)
    n_rows = 1 if inside is None else 2
    figure = Figure(figsize=(7.2, 1.75 * n_rows + 0.3), layout="constrained")
    axes = figure.subplots(n_rows, len(pairs), squeeze=False)
    titles = ("generated",) if inside is None else ("real", "generated")
    for column, pair in enumerate(pairs):
        for row, crystal in enumerate(pair):
            axis = axes[row, column]
            _draw_cell(axis, crystal)
            axis.set_title(
                _symbol(crystal.space_group),
                fontsize=8,
                loc="center",
                weight="normal",
                pad=2,
            )
            axis.text(
                0.5,
                -0.02,
                _formula(crystal),
                transform=axis.transAxes,
                ha="center",
                va="top",
                fontsize=7.5,
            )
    for row, title in enumerate(titles):
        axes[row, 0].text(
            -0.06,
            0.5,
            title,
            transform=axes[row, 0].transAxes,
            rotation=90,
            va="center",
            ha="right",
            fontsize=9,
            weight="bold",
        )
    return figure


def _choose_cells(
    inside: CrystalBatch | None, drawn: CrystalBatch, seed: int
) -> list[tuple[Crystal, ...]]:
    """Random crystals that can be looked at, of groups that differ."""
    rng = np.random.default_rng(seed)
    first = drawn if inside is None else inside
    pairs: list[tuple[Crystal, ...]] = []
    groups: set[int] = set()
    for index in rng.permutation(len(first)).tolist():
        crystal = first[index]
        if crystal.space_group in groups or not _is_clear(crystal):
            continue
        if inside is None:
            pairs.append((crystal,))
        else:
            same = np.flatnonzero(drawn.space_group == crystal.space_group)
            clear = (drawn[int(i)] for i in rng.permutation(same)[:50])
            partner = next((other for other in clear if _is_clear(other)), None)
            if partner is None:
                continue
            pairs.append((crystal, partner))
        groups.add(crystal.space_group)
        if len(pairs) == _N_CELLS:
            break
    if not pairs:
        raise PriorError("no crystal is small enough for a picture")
    return pairs


def _is_clear(crystal: Crystal) -> bool:
    """Whether a picture of the cell shows anything."""
    edges = crystal.lattice[:3]
    if max(edges) > _MOST_ELONGATED * min(edges) or len(crystal.sites) > _MOST_ATOMS:
        return False
    return 6 <= len(crystal.to_pymatgen()) <= _MOST_ATOMS


def _formula(crystal: Crystal) -> str:
    """Reduced formula with subscripts."""
    from pymatgen.util.string import latexify

    formula = crystal.to_pymatgen().composition.element_composition.reduced_formula
    return str(latexify(formula, bold=False))


# Direction of view: a turn about c, then a tilt, so that all edges show [degrees].
_TURN, _TILT = 22.0, 14.0


def _project(points: np.ndarray) -> np.ndarray:
    """Turn Cartesian points [Å]: x to the right, y up, z towards the eye."""
    turn, tilt = np.radians(_TURN), np.radians(_TILT)
    # c points up, and a nearly towards the eye.
    x = points @ np.array([-np.sin(turn), np.cos(turn), 0.0])
    towards = points @ np.array([np.cos(turn), np.sin(turn), 0.0])
    up = points[:, 2]
    y = up * np.cos(tilt) - towards * np.sin(tilt)
    depth = up * np.sin(tilt) + towards * np.cos(tilt)
    return np.column_stack([x, y, depth])


# Circles that make a ball: share of the radius, shift to the light, lightness.
_SHADES = ((1.0, 0.0, 0.0), (0.62, 0.18, 0.28), (0.25, 0.3, 0.6))


def _draw_cell(axis: Any, crystal: Crystal) -> None:
    """Draw balls and the edges of the cell, the farthest first."""
    from matplotlib.patches import Circle
    from pymatgen.vis.structure_vtk import EL_COLORS

    structure = crystal.to_pymatgen()
    radii = load_symmetry_tables().atomic_radius
    matrix = lattice_matrix(np.array(crystal.lattice))
    points, species = _with_faces(structure)
    place = _project(points @ matrix)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    frame = _project(corners @ matrix)
    depth = np.concatenate([place[:, 2], frame[:, 2]])
    near, far = depth.max(), depth.min()
    for i, j in _EDGES:
        middle = (frame[i] + frame[j]) / 2.0
        axis.plot(
            frame[[i, j], 0],
            frame[[i, j], 1],
            color="#444444",
            lw=0.8,
            zorder=_order(middle[2], near, far),
            solid_capstyle="round",
        )
    for (x, y, z), symbol in zip(place, species, strict=True):
        radius = 0.24 * float(np.nan_to_num(radii[ATOMIC_NUMBERS[symbol]], nan=1.8))
        colour = np.array(EL_COLORS["Jmol"].get(symbol, (150, 150, 150))) / 255.0
        # Distance fades into the white of the page.
        fog = 0.45 * (near - z) / max(near - far, 1e-9)
        order = _order(z, near, far)
        for share, shift, light in (
            (1.0, 0.0, 0.0),
            (0.62, 0.18, 0.28),
            (0.25, 0.3, 0.6),
        ):
            tone = colour + (1.0 - colour) * light
            axis.add_patch(
                Circle(
                    (x - shift * radius, y + shift * radius),
                    share * radius,
                    facecolor=tone + (1.0 - tone) * fog,
                    edgecolor="#333333" if share == 1.0 else "none",
                    lw=0.4 * (1.0 - fog),
                    zorder=order,
                )
            )
    centre = frame[:, :2].mean(axis=0)
    # Half a width for all cells, so that sizes compare within a figure's row only.
    half = 1.12 * np.abs(frame[:, :2] - centre).max() + 0.5
    axis.set_xlim(centre[0] - half, centre[0] + half)
    axis.set_ylim(centre[1] - half, centre[1] + half)
    axis.set_aspect("equal")
    axis.set_axis_off()


# Corners of a cell that an edge joins: those that differ in one coordinate.
_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]


def _order(depth: float, near: float, far: float) -> float:
    return 1.0 + 10.0 * (depth - far) / max(near - far, 1e-9)


def _with_faces(structure: Any) -> tuple[np.ndarray, list[str]]:
    """Atoms of a cell, those on faces once more on the opposite ones."""
    points, species = [], []
    for site in structure:
        symbol = max(site.species.items(), key=lambda item: item[1])[0].symbol
        fract = np.mod(np.asarray(site.frac_coords) + 1e-6, 1.0) - 1e-6
        choices = [
            (value, value + 1.0) if value < 1e-3 else (value,) for value in fract
        ]
        for x in choices[0]:
            for y in choices[1]:
                for z in choices[2]:
                    points.append((x, y, z))
                    species.append(symbol)
    return np.array(points), species
