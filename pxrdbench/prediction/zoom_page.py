"""A page of one scan: a picture to zoom with wheel and mouse, and what was read.

One file without addresses of others; it prints as it is seen.
"""

import json
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pxrdbench.crystal.symmetry.tables import crystal_system
from pxrdbench.files import write_atomically
from pxrdbench.prediction.calculated import calculate_scan, find_marks
from pxrdbench.prediction.cell_report import with_error
from pxrdbench.prediction.figure import FIT, INK, MUTED, SCAN, mark_rows

if TYPE_CHECKING:
    from pxrdbench.prediction.result import Prediction

# Digits of intensities; the strongest is 1.
_DIGITS = 5
_GROUPS, _CELLS = 15, 5


@cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def save_page(prediction: "Prediction", path: Path) -> None:
    """Write the page of a prediction.

    Args:
        prediction: Of one scan.
        path: Of the page (.html).
    """
    write_atomically(path, make_page(prediction))


def make_page(prediction: "Prediction") -> str:
    """The page as text."""
    title = escape(prediction.name)
    data = json.dumps(_picture_data(prediction)).replace("</", "<\\/")
    doubts = "".join(f"<li>{escape(text)}</li>" for text in prediction.reasons)
    warnings = "".join(f"<li>{escape(text)}</li>" for text in prediction.warnings)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_asset('zoom_page.css')}</style></head><body>"
        f"<h1>{title}</h1><p class='answer'>{escape(prediction.headline())}</p>"
        + (f"<ul class='doubt'>{doubts}</ul>" if doubts else "")
        + (f"<ul class='doubt'>{warnings}</ul>" if warnings else "")
        + "<canvas id='p' tabindex='0' role='img' aria-label='Scan, fitted cell, "
        "difference and lines'></canvas><p id='tip' class='small'></p>"
        "<p class='small screen'>Drag to zoom, wheel or + and - likewise, shift and "
        "drag or arrows to move, double click or 0 for all. "
        "<button id='all'>all</button> <button id='root'>√ or plain</button></p>"
        f"{_cells(prediction)}{_sets(prediction)}{_groups(prediction)}"
        f"<p class='small'>{escape(prediction.radiation.name)}; frequencies of groups "
        f"{escape(prediction.prior)}; no cell found "
        f"{100 * prediction.no_cell_probability:.0f} %, for which "
        f"{escape(prediction.model)} answers. Made with pxrdbench.</p>"
        f"<script type='application/json' id='data'>{data}</script>"
        f"<script>{_asset('zoom_page.js')}</script></body></html>\n"
    )


def _picture_data(prediction: "Prediction") -> dict[str, object]:
    scan = calculate_scan(
        prediction.two_theta,
        prediction.intensity,
        prediction.radiation,
        prediction.indexing,
    )
    marks = find_marks(prediction.indexing)
    x = scan.two_theta
    step = float(np.median(np.diff(x)))
    even = np.arange(x[0], x[-1] + 0.5 * step, step)
    top = max(float(scan.intensity.max()), 1e-300)

    def numbers(values: np.ndarray) -> list[float]:
        put: np.ndarray = np.interp(even, x, values) / top
        return [float(v) for v in put.round(_DIGITS)]

    seen = len(marks.allowed)
    names = {2: list(marks.hkl[seen:]), 1: list(marks.hkl[:seen])}
    return {
        "start": float(x[0]),
        "step": step,
        "scan": numbers(scan.intensity),
        "back": numbers(scan.background),
        "calc": numbers(scan.calculated),
        "low": min(0.0, float(scan.intensity.min()) / top),
        "cell": bool(seen),
        "wavelength": prediction.radiation.lines[0][0],
        "colours": {"scan": SCAN, "fit": FIT, "ink": INK, "muted": MUTED},
        "rows": [
            {
                "name": name,
                "at": [round(float(v), 4) for v in places],
                "colour": colour,
                **({"hkl": names[row]} if row in names else {}),
            }
            for row, (name, places, colour) in enumerate(mark_rows(marks))
        ],
    }


def _cells(prediction: "Prediction") -> str:
    if not prediction.cells:
        return ""
    rows = "".join(
        f"<tr><td>{one.bravais_lattice}</td>"
        + "".join(
            f"<td class='n'>{escape(with_error(v, e))}</td>"
            for v, e in zip(one.lattice, one.errors, strict=True)
        )
        + f"<td class='n'>{escape(with_error(one.volume, one.volume_error))}</td>"
        f"<td class='n'>{f'{one.m20:.0f}' if one.m20 else '–'}</td>"
        f"<td class='n'>{one.zero_shift:+.3f}</td>"
        f"<td class='n'>{one.lines_indexed}</td>"
        f"<td class='n'>{100 * one.probability:.0f} %</td></tr>"
        for one in prediction.cells[:_CELLS]
    )
    return (
        "<h2>Cells</h2><div class='wide'><table>"
        "<tr><th>lattice</th><th class='n'>a [Å]</th>"
        "<th class='n'>b</th><th class='n'>c</th><th class='n'>α [°]</th>"
        "<th class='n'>β</th><th class='n'>γ</th><th class='n'>V primitive [Å³]</th>"
        "<th class='n'>M20</th><th class='n'>zero [°]</th><th class='n'>lines</th>"
        f"<th class='n'>probability</th></tr>{rows}</table></div>"
    )


def _sets(prediction: "Prediction") -> str:
    items = "".join(
        f"<li>{escape(str(one))}"
        + "".join(f"<br><span class='small'>{escape(t)}</span>" for t in one.deciding)
        + "</li>"
        for one in prediction.sets
    )
    return f"<h2>Groups with the same absences</h2><ul>{items}</ul>" if items else ""


def _groups(prediction: "Prediction") -> str:
    rows = "".join(
        f"<tr><td class='n'>{rank}</td><td>{escape(c.symbol)}</td>"
        f"<td class='n'>{c.space_group}</td><td>{crystal_system(c.space_group)}</td>"
        f"<td class='n'>{100 * c.probability:.1f} %</td></tr>"
        for rank, c in enumerate(prediction.candidates[:_GROUPS], 1)
    )
    return (
        "<h2>Space groups</h2><table><tr><th></th><th>group</th><th class='n'>No.</th>"
        f"<th>system</th><th class='n'>probability</th></tr>{rows}</table>"
    )
