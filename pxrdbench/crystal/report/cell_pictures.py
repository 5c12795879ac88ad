"""Pictures of cells: balls and edges, seen from one side, drawn by matplotlib."""

import re
from itertools import pairwise
from typing import Any

import numpy as np

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.lattice import lattice_matrix
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

# Pictures of cells beyond these sizes are a crowd of dots.
_MOST_ATOMS = 60
_MOST_ELONGATED = 2.2
_N_CELLS = 5


def symbol_text(space_group: int) -> str:
    """Symbol with its subscripts and bars, as matplotlib's mathtext."""
    import spglib

    hall = int(load_symmetry_tables().hall_number[space_group])
    symbol = spglib.get_spacegroup_type(hall).international_short
    symbol = re.sub(r"-(\d)", r"\\bar{\1}", symbol)
    return f"${symbol}$"


def draw_cells(inside: CrystalBatch | None, drawn: CrystalBatch, seed: int) -> Any:
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
                symbol_text(crystal.space_group),
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


# Pieces of an edge.
_PIECES = 10
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
        # In pieces, each as near as it is, so that balls hide what is behind them.
        steps = np.linspace(frame[i], frame[j], _PIECES + 1)
        for begin, end in pairwise(steps):
            axis.plot(
                [begin[0], end[0]],
                [begin[1], end[1]],
                color="#444444",
                lw=0.8,
                zorder=_order((begin[2] + end[2]) / 2.0, near, far),
                solid_capstyle="round",
            )
    for (x, y, z), symbol in zip(place, species, strict=True):
        radius = 0.28 * float(np.nan_to_num(radii[ATOMIC_NUMBERS[symbol]], nan=1.8))
        colour = np.array(EL_COLORS["Jmol"].get(symbol, (150, 150, 150))) / 255.0
        # Distance fades into the white of the page.
        fog = 0.45 * (near - z) / max(near - far, 1e-9)
        # A ball hides all that is behind its front.
        order = _order(z + radius, near, far)
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
