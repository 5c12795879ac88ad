"""One self-contained page of robustness curves."""

from html import escape
from pathlib import Path

import numpy as np

from pxrdbench.benchmark.report.parts import range_html, signed_html
from pxrdbench.benchmark.report.svg import INK, MODEL, MUTED, drawing, labelled
from pxrdbench.benchmark.scoring.evaluation_record import percent
from pxrdbench.files import write_atomically
from pxrdbench.studies.robustness import Curve, Robustness

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_robustness_page(result: Robustness, path: Path | str) -> None:
    """Write robustness curves as one HTML page, whole or not at all."""
    write_atomically(path, render_robustness_page(result))


def render_robustness_page(result: Robustness) -> str:
    """Give the page as text; equal results give equal text."""
    style = (
        Path(__file__).parents[1] / "benchmark" / "report" / "report.css"
    ).read_text(encoding="utf-8")
    name, track = escape(result.model["name"]), result.track
    cards = "".join(
        f'<figure class="card"><h2>{escape(curve.title)}</h2>'
        f"<figcaption>{_caption(curve)}</figcaption>"
        f"{labelled(draw_curve(curve, result), curve.title)}</figure>"
        for curve in result.curves
    )
    body = (
        '<header><p class="kicker">pxrdbench robustness · '
        f"{escape(track['name'])}, {escape(track['part'])} part, version "
        f"{escape(track['version'])}</p><h1>{name}</h1>"
        f'<p class="lead">{result.crystals:,} crystals, rendered anew with one effect '
        "of the measurement at rising strength; the same crystals and random numbers "
        f"at every level. Without any effect {range_html(result.top_1)} are right at "
        "the first guess. Dots: top-1, with 95 % intervals over structure types; "
        "dashed: without the effect; thin line: top-5.</p></header>"
        f'<section><div class="grid">{cards}</div></section>'
        f"<section>{_table(result)}</section>"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}: robustness · pxrdbench</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "<footer>Made by <code>pxrdbench robustness</code>.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def draw_curve(curve: Curve, result: Robustness) -> str:
    """Draw top-1 and top-5 accuracy by the strength of one effect."""
    with drawing(curve.effect, 3.6) as (figure, axes, svg):
        x = np.arange(len(curve.levels) + 1, dtype=float)
        first = [result.top_1, *(item.top_1 for item in curve.levels)]
        fifth = [result.top_5, *(item.top_5 for item in curve.levels)]
        value = np.array([100 * e.value for e in first])
        low = value - [100 * e.low for e in first]
        high = np.array([100 * e.high for e in first]) - value
        axes.axhline(value[0], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(x, [100 * e.value for e in fifth], color=MUTED, linewidth=1.2)
        axes.plot(x, value, color=MODEL, linewidth=2.0)
        axes.errorbar(
            x, value, yerr=[low, high], fmt="o", color=MODEL, markersize=6,
            ecolor=INK, elinewidth=1.3, zorder=3,
        )  # fmt: skip
        axes.set_xticks(x, ["none", *(_short(item.level) for item in curve.levels)])
        axes.set_xlim(-0.3, len(curve.levels) + 0.3)
        axes.set_ylim(0, 104)
        axes.set_xlabel(curve.unit)
        axes.set_ylabel("right [%]")
        axes.grid(axis="y")
        figure.subplots_adjust(left=0.13, right=0.98, bottom=0.18, top=0.97)
    return svg.text


def _short(level: float) -> str:
    """Write a strength so that neighbours on an axis stay apart."""
    return f"{level / 1000:g} k" if level >= 1000 else f"{level:g}"


def _caption(curve: Curve) -> str:
    """Say where the loss is first beyond doubt."""
    found = [item for item in curve.levels if item.loss.low > 0.0]
    if not found:
        return "No loss beyond doubt at any level."
    lost = percent(found[0].loss.value)
    return (
        f"First loss beyond doubt: {lost} points at {found[0].level:,g} "
        f"({escape(curve.unit)})."
    )


def _table(result: Robustness) -> str:
    rows = "".join(
        f"<tr><th>{escape(curve.title)}</th><td>{item.level:,g} "
        f'<span class="note">{escape(curve.unit)}</span></td>'
        f'<td class="number">{percent(item.top_1.value)}</td>'
        f'<td class="number">{percent(item.top_5.value)}</td>'
        f'<td class="number">{signed_html(item.loss)}</td></tr>'
        for curve in result.curves
        for item in curve.levels
    )
    return (
        '<div class="card"><h2>All numbers</h2><p class="note">In percent; the loss of '
        "top-1 in points, paired by crystal, with its 95 % interval.</p><table><thead>"
        '<tr><th>effect</th><th>strength</th><th class="number">top-1</th>'
        '<th class="number">top-5</th><th class="number">loss (95 %)</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
