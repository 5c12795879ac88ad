"""What is said of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.tables import crystal_system, space_group_symbol
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.frozen import freeze_arrays
from pxrdbench.indexing.index import Indexing
from pxrdbench.prediction.cell_report import FoundCell
from pxrdbench.prediction.together import GroupSet, indistinguishable

# Rows of a notebook's table.
_SHOWN = 10
# Cells in plain data, and groups of a set in one line.
_CELLS, _TOGETHER = 5, 5


@dataclass(frozen=True)
class Candidate:
    """A space group and how likely it is.

    Attributes:
        space_group: Its number, 1 to 230.
        symbol: Short Hermann-Mauguin symbol.
        probability: Calibrated; those of all candidates add up to one.
    """

    space_group: int
    symbol: str
    probability: float


@dataclass(frozen=True)
class Total:
    """Candidates that have something in common, together.

    Attributes:
        name: Extinction symbol or crystal system.
        probability: Sum over the groups.
        space_groups: The likeliest first.
    """

    name: str
    probability: float
    space_groups: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is made of a scan.

    Attributes:
        name: Of the scan.
        candidates: All groups, the likeliest first, also where there is no confident
            answer; those that are excluded come last with probability zero.
        by_extinction_symbol: Totals of groups that absences cannot tell apart.
        by_crystal_system: Totals by crystal system.
        warnings: What makes the result doubtful; one sentence each.
        radiation: What the scan was measured with.
        model: Which network stood in where no cell was found.
        two_theta: Angles of the scan [degrees].
        intensity: What was measured there.
        reasons: Why there is no confident answer; none where there is one.
        cells: Candidates for the cell with errors, the likeliest first.
        no_cell_probability: That no cell was found; the network answers for this part.
        sets: Groups that cannot be told apart, and what would decide.
        indexing: Lines, cells and intensities behind it; None if nothing was read.
        prior: Which frequencies of groups it rests on.
    """

    name: str
    candidates: tuple[Candidate, ...]
    by_extinction_symbol: tuple[Total, ...]
    by_crystal_system: tuple[Total, ...]
    warnings: tuple[str, ...]
    radiation: Radiation
    model: str
    two_theta: Float64[np.ndarray, " points"]
    intensity: Float64[np.ndarray, " points"]
    reasons: tuple[str, ...] = ()
    cells: tuple[FoundCell, ...] = ()
    no_cell_probability: float = 1.0
    sets: tuple[GroupSet, ...] = ()
    indexing: Indexing | None = None
    prior: str = ""

    def __post_init__(self) -> None:
        freeze_arrays(self)

    @property
    def is_confident(self) -> bool:
        """Whether this is an answer; else ``reasons`` say why not."""
        return not self.reasons

    @property
    def indistinguishable(self) -> tuple[int, ...]:
        """Groups that no absence tells from the first candidate, itself included."""
        return indistinguishable(self.candidates[0].space_group)

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "file": self.name,
            "confident": self.is_confident,
            "reasons": list(self.reasons),
            "candidates": [
                {
                    "space_group": candidate.space_group,
                    "symbol": candidate.symbol,
                    "probability": round(candidate.probability, 6),
                }
                for candidate in self.candidates[:top]
            ],
            "extinction_symbols": [
                {
                    "symbol": one.extinction_symbol,
                    "probability": round(one.probability, 6),
                    "space_groups": list(one.space_groups),
                    "others": list(one.others),
                    "deciding": list(one.deciding),
                }
                for one in self.sets
            ],
            "cells": [_cell_dict(one) for one in self.cells[:_CELLS]],
            "no_cell_probability": round(self.no_cell_probability, 6),
            "prior": self.prior,
            "model": self.model,
            "radiation": self.radiation.name,
            "warnings": list(self.warnings),
        }

    def headline(self) -> str:
        """The answer in one line."""
        if self.reasons:
            return f"No confident answer. {self.reasons[0]}"
        first = self.candidates[0]
        text = f"{first.symbol} ({first.space_group}) {100 * first.probability:.0f} %"
        if self.sets and first.space_group in self.sets[0].space_groups:
            one = self.sets[0]
            if len(one.space_groups) > 1:
                others = ", ".join(
                    space_group_symbol(g)
                    for g in one.space_groups[:_TOGETHER]
                    if g != first.space_group
                )
                text += (
                    f"; with the same absences {others}: together "
                    f"{100 * one.probability:.0f} %"
                )
        return text

    def save_picture(self, path: Path | str, top: int = 10) -> None:
        """Draw pattern, background and list into a file (png, svg or pdf)."""
        from pxrdbench.prediction.figure import save_figure

        save_figure(self, Path(path), top)

    def save_page(self, path: Path | str) -> None:
        """Write a page (.html) whose picture is zoomed with wheel and mouse."""
        from pxrdbench.prediction.zoom_page import save_page

        save_page(self, Path(path))

    def __repr__(self) -> str:
        first = ", ".join(
            f"{c.symbol} ({c.space_group}) {100 * c.probability:.0f} %"
            for c in self.candidates[:5]
        )
        sure = "" if self.is_confident else "no confident answer; "
        return f"<Prediction of {self.name!r}: {sure}{first}, …>"

    def _repr_html_(self) -> str:
        """Picture and tables, for a notebook."""
        from pxrdbench.prediction.figure import draw_svg

        rows = "".join(
            f"<tr><td>{rank}</td><td>{c.space_group}</td><td>{escape(c.symbol)}</td>"
            f"<td>{crystal_system(c.space_group)}</td>"
            f"<td style='text-align:right'>{100 * c.probability:.1f} %</td></tr>"
            for rank, c in enumerate(self.candidates[:_SHOWN], 1)
        )
        notes = "".join(
            f"<li>{escape(text)}</li>" for text in (*self.reasons, *self.warnings)
        )
        cells = "".join(f"<li>{escape(str(one))}</li>" for one in self.cells[:1])
        deciding = "".join(
            f"<li>{escape(str(one))}. {escape(' '.join(one.deciding))}</li>"
            for one in self.sets[:2]
        )
        return (
            f"<div><b>{escape(self.name)}</b>, {escape(self.radiation.name)}"
            f"<p><b>{escape(self.headline())}</b></p>"
            f"<div style='max-width:900px'>{draw_svg(self)}</div>"
            f"<ul>{cells}{deciding}</ul>"
            "<table><thead><tr><th></th><th>No.</th><th>space group</th>"
            f"<th>system</th><th>probability</th></tr></thead><tbody>{rows}</tbody>"
            f"</table>{_totals_html('Extinction symbols', self.by_extinction_symbol)}"
            f"{_totals_html('Crystal systems', self.by_crystal_system)}"
            f"{'<ul>' + notes + '</ul>' if notes else ''}</div>"
        )


def _cell_dict(cell: FoundCell) -> dict[str, Any]:
    """A cell as plain data; what is not known is null."""

    def number(value: float, digits: int) -> float | None:
        return round(value, digits) if np.isfinite(value) else None

    return {
        "bravais_lattice": cell.bravais_lattice,
        "lattice": [number(v, 5) for v in cell.lattice],
        "errors": [number(v, 6) for v in cell.errors],
        "volume": number(cell.volume, 3),
        "volume_error": number(cell.volume_error, 4),
        "m20": number(cell.m20, 1),
        "zero_shift": number(cell.zero_shift, 5),
        "probability": number(cell.probability, 6),
        "lines_indexed": cell.lines_indexed,
    }


def _totals_html(title: str, totals: Sequence[Total]) -> str:
    items = ", ".join(
        f"{escape(total.name)} {100 * total.probability:.0f} %"
        for total in totals[:6]
        if total.probability > 0.005
    )
    return f"<p>{title}: {items}</p>"
