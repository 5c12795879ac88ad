"""From lines, or a whole pattern, to cells, extinction symbols and space groups."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.lattice import cell_volumes
from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import crystal_system as system_of
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables, space_group_symbol
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.files import write_atomically
from pxrdbench.frozen import freeze_arrays
from pxrdbench.indexing.cells.find import Cell, find_cells
from pxrdbench.indexing.cells.lattices import (
    BRAVAIS_LATTICES,
    lattices_of,
    primitive_cell,
    reduce_cell,
)
from pxrdbench.indexing.groups.intensities import LatticeIntensities
from pxrdbench.indexing.groups.posterior import Groups, group_prior
from pxrdbench.indexing.groups.reading import read_groups
from pxrdbench.indexing.lines.find import check_pattern, find_lines
from pxrdbench.indexing.lines.line_list import LineList

# Candidates whose intensities are fitted: each costs as much as all that was before.
READ_CELLS = 10
# A stated cell may be of another temperature or composition; its metric is taken for
# the symmetry that it has within this strain.
_STATED_STRAIN = 0.003
# Below this probability a group or symbol is not listed.
_LEAST = 1e-6

# Steps that differ by less than this part are one step, written with few digits.
_EVEN = 0.05
_MOST_POINTS = 200_000

Points = Float64[np.ndarray, " points"]
Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class GroupChoice:
    """A space group that a pattern may be of.

    Attributes:
        space_group: Number in the International Tables, 1-230.
        symbol: Hermann-Mauguin symbol of the standard setting.
        crystal_system: "triclinic" … "cubic".
        probability: 0-1.
    """

    space_group: int
    symbol: str
    crystal_system: str
    probability: float


@dataclass(frozen=True)
class SymbolChoice:
    """An extinction symbol: what absences leave.

    Attributes:
        symbol: As in International Tables A (2016), table 1.6.4. Lattices of several
            crystal systems share some, as "P - - -".
        crystal_systems: Of the groups below.
        probability: 0-1.
        space_groups: Those of the symbol that are listed, the likeliest first; no
            absence tells them apart.
    """

    symbol: str
    crystal_systems: tuple[str, ...]
    probability: float
    space_groups: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Indexing:
    """What lines, and the pattern behind them, say about lattice and symmetry.

    Attributes:
        lines: The lines.
        cells: Candidates, best first; of a pattern by the fit of all its intensities,
            of a list of lines by the lines alone.
        cell_probability: Of each candidate. Of a list of lines it is that of their
            scores; that none is right is in no number then.
        space_groups: With probabilities, the likeliest first; empty for a list of
            lines, whose intensities are not enough.
        extinction_symbols: Likewise.
        no_cell_probability: That none of the candidates is right.
        prior: Name of the frequencies of groups that probabilities rest on; "" of a
            list of lines.
        intensities: At the lines of the first cell; None of a list of lines.
        residual: √(Σ (y - fit)² / Σ y²) of the first cell's fit; 1 where there is none.
    """

    lines: LineList
    cells: tuple[Cell, ...]
    cell_probability: Float64[np.ndarray, " cells"]
    space_groups: tuple[GroupChoice, ...] = ()
    extinction_symbols: tuple[SymbolChoice, ...] = ()
    no_cell_probability: float = 0.0
    prior: str = ""
    intensities: LatticeIntensities | None = None
    residual: float = 1.0

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def to_dict(self, top: int = 20) -> dict[str, Any]:
        """All of it as plain data, for JSON.

        Args:
            top: Cells, groups and symbols to list at most.
        """
        cells = [
            {
                "bravais_lattice": cell.bravais_lattice,
                "conventional": [round(float(v), 6) for v in cell.conventional],
                "primitive": [round(float(v), 6) for v in cell.primitive],
                "volume": round(float(cell.volume), 4),
                "m20": round(float(cell.m20), 2),
                "score": round(float(cell.score), 3),
                "zero_shift": round(float(cell.zero_shift), 5),
                "probability": round(float(share), 6),
                "hkl": cell.hkl.tolist(),
                "ambiguities": list(cell.ambiguities),
            }
            for cell, share in zip(self.cells, self.cell_probability, strict=True)
        ]
        lines = self.lines
        return {
            "wavelength": lines.wavelength,
            "lines": {
                "two_theta": lines.two_theta.round(5).tolist(),
                "two_theta_error": lines.two_theta_error.round(6).tolist(),
                "intensity": lines.intensity.round(6).tolist(),
            },
            "cells": cells[:top],
            "space_groups": [asdict(one) for one in self.space_groups[:top]],
            "extinction_symbols": [
                asdict(one) for one in self.extinction_symbols[:top]
            ],
            "no_cell_probability": round(self.no_cell_probability, 6),
            "prior": self.prior,
            "residual": round(self.residual, 5),
        }

    def to_json(self, top: int = 20) -> str:
        """The same as one line of JSON."""
        return json.dumps(self.to_dict(top), ensure_ascii=False)

    def write_hkl(self, path: str | Path) -> None:
        """Write the intensities of the first cell as columns of text.

        h k l of one reflection of each line, multiplicity of the line, d [Å], 2θ
        [degrees], integrated intensity and its standard error, the strongest 1.

        Raises:
            PatternError: If there are none: of a list of lines, or without a cell.
        """
        if self.intensities is None or not self.cells:
            raise PatternError(
                "there are no intensities to write: no cell was found in a pattern"
            )
        fit = self.intensities
        first = np.searchsorted(fit.line_of, np.arange(len(fit)))
        rows = [
            "#   h   k   l  multiplicity           d    two_theta   intensity"
            "       error"
        ]
        for line, hkl in enumerate(fit.hkl[first]):
            rows.append(
                f"{hkl[0]:5d} {hkl[1]:3d} {hkl[2]:3d}  {fit.multiplicity[line]:12d} "
                f"{fit.inverse_d2[line] ** -0.5:11.5f} {fit.two_theta[line]:12.4f} "
                f"{fit.intensity[line]:11.6f} {fit.error[line]:11.6f}"
            )
        write_atomically(path, "\n".join(rows) + "\n")

    def write_cif(self, path: str | Path, name: str = "indexed") -> None:
        """Write the first cell, and the likeliest group of its lattice, as a CIF.

        The block has no atoms: it is what a refinement begins with.

        Raises:
            PatternError: If there is no cell.
        """
        if not self.cells:
            raise PatternError("there is no cell to write")
        cell = self.cells[0]
        a, b, c, alpha, beta, gamma = cell.conventional
        rows = [
            f"data_{''.join(ch if ch.isalnum() else '_' for ch in name)}",
            f"_cell_length_a {a:.5f}",
            f"_cell_length_b {b:.5f}",
            f"_cell_length_c {c:.5f}",
            f"_cell_angle_alpha {alpha:.4f}",
            f"_cell_angle_beta {beta:.4f}",
            f"_cell_angle_gamma {gamma:.4f}",
            f"# Bravais lattice {cell.bravais_lattice}, M20 {cell.m20:.1f}; axes of "
            "the lattice, not always those of the group's standard setting",
        ]
        for one in self.space_groups[:5]:
            rows.append(
                f"# {one.symbol} ({one.space_group}): probability {one.probability:.3f}"
            )
        write_atomically(path, "\n".join(rows) + "\n")


def index_lines(
    lines: LineList,
    *,
    max_volume: float | None = None,
    crystal_system: str | None = None,
    n_cells: int = 20,
    zero_shift: bool | None = None,
) -> Indexing:
    """Find the cells that explain a list of lines.

    Args:
        lines: As `find_lines` gives them, or made by hand.
        max_volume: Largest volume of a primitive cell [Å³].
        crystal_system: Of the lattice, where it is known.
        n_cells: Candidates to give.
        zero_shift: Whether to fit one; None: where lines have noise.

    Returns:
        Cells, best first; no groups, which need the pattern (`index_pattern`).

    Raises:
        PatternError: If the crystal system is none, or a number is no possible one.
    """
    cells = find_cells(
        lines,
        max_volume=max_volume,
        crystal_system=crystal_system,
        n_cells=n_cells,
        zero_shift=zero_shift,
    )
    scores = np.array([cell.score for cell in cells])
    weight = np.exp(scores - scores.max()) if len(scores) else scores
    return Indexing(lines, tuple(cells), weight / max(weight.sum(), 1e-300))


def index_pattern(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    radiation: str | float | Radiation = "CuKa1",
    *,
    kind: Literal["auto", "clean", "measured"] = "auto",
    max_volume: float | None = None,
    crystal_system: str | None = None,
    n_cells: int = 20,
    prior: str | Groups = "icsd",
    cell: Sequence[float] | None = None,
    bravais_lattice: str | None = None,
) -> Indexing:
    """Read a pattern: lines, cells, extinction symbols, space groups.

    Args:
        two_theta: Ascending angles [degrees]; uneven ones, as of a scan over Q, are
            interpolated to even steps.
        intensity: Counts, or in any other unit.
        radiation: What the pattern was made with, as "CuKa", "CuKa1" or 1.5406 [Å].
        kind: Whether the pattern is a noise-free simulated one; ``auto`` looks.
        max_volume: Largest volume of a primitive cell [Å³].
        crystal_system: Of the lattice, where it is known.
        n_cells: Candidates to give.
        prior: Frequencies of space groups: "icsd", "open", "uniform", or 231 numbers.
        cell: a, b, c [Å], α, β, γ [degrees], where it is known or nearly: no cell is
            searched for then, the stated one is fitted.
        bravais_lattice: Of ``cell``: "cF", …; without it every centring that its
            metric allows is weighed.

    Returns:
        All that was found; ``cells`` is empty where none explains the lines.

    Raises:
        PatternError: If the pattern or an option is no possible one.
    """
    known = group_prior(prior) if isinstance(prior, str) else _checked_prior(prior)
    name = prior if isinstance(prior, str) else "given"
    if cell is None and bravais_lattice is not None:
        raise PatternError("bravais_lattice says what a stated cell is: give cell, too")
    if cell is not None and (max_volume is not None or crystal_system is not None):
        raise PatternError(
            "max_volume and crystal_system guide a search, and with a stated cell none "
            "takes place: leave them away"
        )
    two_theta, intensity = _even(*check_pattern(two_theta, intensity))
    lines = find_lines(two_theta, intensity, radiation, kind=kind)
    is_measured = bool(np.isfinite(lines.significance).any())
    if cell is not None:
        cells = stated_cells(cell, bravais_lattice, lines)
    else:
        cells = find_cells(
            lines,
            max_volume=max_volume,
            crystal_system=crystal_system,
            n_cells=n_cells,
        )
    if not cells:
        return Indexing(lines, (), np.zeros(0), no_cell_probability=1.0, prior=name)
    found = read_groups(
        two_theta,
        intensity,
        cells[:READ_CELLS],
        radiation=radiation,
        measured=is_measured,
        prior=known,
        given=cell is not None,
    )
    weight = np.zeros(len(cells))
    weight[: len(found.cell_weight)] = found.cell_weight
    order = np.argsort(-weight, kind="stable")
    probability = found.space_group_probability
    groups = tuple(
        GroupChoice(g, space_group_symbol(g), system_of(g), float(probability[g]))
        for g in found.space_groups
        if probability[g] > _LEAST
    )
    return Indexing(
        lines=lines,
        cells=tuple(cells[i] for i in order),
        cell_probability=weight[order],
        space_groups=groups,
        extinction_symbols=_list_symbols(groups),
        no_cell_probability=found.no_cell_probability,
        prior=name,
        intensities=found.intensities,
        residual=found.residual,
    )


def stated_cells(
    cell: Sequence[float], bravais_lattice: str | None, lines: LineList
) -> list[Cell]:
    """Every lattice that a stated cell can be, for weighing by the whole pattern.

    Raises:
        PatternError: If these are not six numbers of a cell, or there is no such
            Bravais lattice.
    """
    six = _six(cell)
    if bravais_lattice is None:
        centrings: Sequence[str] = ("P", "A", "B", "C", "I", "F", "R")
    elif bravais_lattice in BRAVAIS_LATTICES:
        centrings = (bravais_lattice[1],)
    else:
        raise PatternError(
            f"unknown Bravais lattice {bravais_lattice!r}; known are "
            f"{', '.join(BRAVAIS_LATTICES)}"
        )
    is_hexagonal = abs(six[5] - 120.0) < 1.0 and abs(six[0] / six[1] - 1.0) < 0.01
    found: dict[Six, Cell] = {}
    for centring in centrings:
        if centring == "R" and not is_hexagonal:
            continue  # rhombohedral axes are primitive: P
        primitive = primitive_cell(six, centring)
        choice = lattices_of(primitive, _STATED_STRAIN)[0]
        key = tuple(round(v, 3) for v in reduce_cell(primitive))
        found.setdefault(
            key,  # type: ignore[arg-type]  # six numbers
            Cell(
                primitive=reduce_cell(primitive),
                conventional=choice.conventional,
                bravais_lattice=choice.bravais_lattice,
                volume=_volume(primitive),
                m20=0.0,
                score=0.0,
                zero_shift=0.0,
                hkl=np.zeros((len(lines), 3), np.int16),
            ),
        )
    return list(found.values())


def _even(two_theta: Points, intensity: Points) -> tuple[Points, Points]:
    """Put a pattern on even steps, if it is not."""
    steps = np.diff(two_theta)
    if np.ptp(steps) <= _EVEN * steps.mean():
        return two_theta, intensity
    count = min(round(float(np.ptp(two_theta) / np.median(steps))) + 1, _MOST_POINTS)
    even = np.linspace(two_theta[0], two_theta[-1], max(count, 2))
    return even, np.interp(even, two_theta, intensity)


def _six(cell: Sequence[float]) -> Six:
    values = [float(v) for v in cell]
    if len(values) != 6 or not np.isfinite(values).all():
        raise PatternError(
            f"a cell is six numbers, a b c [Å] and alpha beta gamma [degrees], not "
            f"{list(cell)}"
        )
    a, b, c, alpha, beta, gamma = values
    is_closed = alpha + beta + gamma < 360.0 and 2 * max(alpha, beta, gamma) < (
        alpha + beta + gamma
    )
    if min(values) <= 0.0 or not is_closed:
        raise PatternError(f"no lattice has the cell {values}")
    return a, b, c, alpha, beta, gamma


def _volume(cell: Six) -> float:
    return float(cell_volumes(np.array([cell]))[0])


def _checked_prior(prior: Groups) -> Groups:
    shares = np.asarray(prior, np.float64)
    if shares.shape != (231,) or not (
        np.isfinite(shares).all() and (shares >= 0).all()
    ):
        raise PatternError("a prior is 231 numbers, 0 or more; entry 0 is not used")
    shares = shares.copy()
    shares[0] = 0.0
    if shares.sum() <= 0.0:
        raise PatternError("a prior of zeros leaves no space group")
    normalised: Groups = shares / shares.sum()
    return normalised


def _list_symbols(groups: Sequence[GroupChoice]) -> tuple[SymbolChoice, ...]:
    """Symbols with the groups that they leave, the likeliest first."""
    symbol_of = load_extinction_symbols()
    class_of = load_symmetry_tables().extinction_group
    members: dict[int, list[GroupChoice]] = {}
    for one in groups:
        members.setdefault(int(class_of[one.space_group]), []).append(one)
    listed = [
        SymbolChoice(
            symbol=symbol_of[choices[0].space_group],
            crystal_systems=tuple(dict.fromkeys(one.crystal_system for one in choices)),
            probability=sum(one.probability for one in choices),
            space_groups=tuple(one.space_group for one in choices),
        )
        for choices in members.values()
    ]
    return tuple(sorted(listed, key=lambda one: -one.probability))
