"""What is said of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.crystal.symmetry.tables import crystal_system
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.frozen import freeze_arrays

# Rows of a notebook's table.
_SHOWN = 10


@dataclass(frozen=True)
class Candidate:
    """A space group and how likely the model holds it.

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
        space_groups: Those that the model knows, the likeliest first.
    """

    name: str
    probability: float
    space_groups: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of a scan.

    Attributes:
        name: Of the scan.
        candidates: All groups that the model knows, the likeliest first.
        by_extinction_symbol: Totals of groups that absences cannot tell apart.
        by_crystal_system: Totals by crystal system.
        warnings: What makes the result doubtful; one sentence each.
        radiation: What the scan was measured with.
        model: Which model it was.
        two_theta: Angles of the model's grid [degrees], at its wavelength.
        scan: The scan on that grid, maximum one.
        baseline: Its estimated background.
        is_measured: Points of the grid that were measured.
    """

    name: str
    candidates: tuple[Candidate, ...]
    by_extinction_symbol: tuple[Total, ...]
    by_crystal_system: tuple[Total, ...]
    warnings: tuple[str, ...]
    radiation: Radiation
    model: str
    two_theta: Float64[np.ndarray, " points"]
    scan: Float64[np.ndarray, " points"]
    baseline: Float64[np.ndarray, " points"]
    is_measured: Bool[np.ndarray, " points"]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """Give the list and the warnings as plain data, for JSON."""
        return {
            "file": self.name,
            "candidates": [
                {
                    "space_group": candidate.space_group,
                    "probability": round(candidate.probability, 6),
                }
                for candidate in self.candidates[:top]
            ],
            "warnings": list(self.warnings),
        }

    def save_picture(self, path: Path | str, top: int = 10) -> None:
        """Draw pattern, background and list into a file (png, svg or pdf)."""
        from pxrdbench.prediction.figure import save_figure

        save_figure(self, Path(path), top)

    def __repr__(self) -> str:
        first = ", ".join(
            f"{c.symbol} ({c.space_group}) {100 * c.probability:.0f} %"
            for c in self.candidates[:5]
        )
        return f"<Prediction of {self.name!r}: {first}, …>"

    def _repr_html_(self) -> str:
        """Picture and tables, for a notebook."""
        from pxrdbench.prediction.figure import draw_svg

        rows = "".join(
            f"<tr><td>{rank}</td><td>{c.space_group}</td><td>{escape(c.symbol)}</td>"
            f"<td>{crystal_system(c.space_group)}</td>"
            f"<td style='text-align:right'>{100 * c.probability:.1f} %</td></tr>"
            for rank, c in enumerate(self.candidates[:_SHOWN], 1)
        )
        notes = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        return (
            f"<div><b>{escape(self.name)}</b>, {escape(self.radiation.name)}, model "
            f"{escape(self.model)}<div style='max-width:900px'>{draw_svg(self)}</div>"
            "<table><thead><tr><th></th><th>No.</th><th>space group</th>"
            f"<th>system</th><th>probability</th></tr></thead><tbody>{rows}</tbody>"
            f"</table>{_totals_html('Extinction symbols', self.by_extinction_symbol)}"
            f"{_totals_html('Crystal systems', self.by_crystal_system)}"
            f"{'<ul>' + notes + '</ul>' if notes else ''}</div>"
        )


def _totals_html(title: str, totals: Sequence[Total]) -> str:
    items = ", ".join(
        f"{escape(total.name)} {100 * total.probability:.0f} %"
        for total in totals[:6]
        if total.probability > 0.005
    )
    return f"<p>{title}: {items}</p>"
