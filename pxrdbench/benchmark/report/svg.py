"""Drawings as inline SVG whose colours and fonts are those of the page.

Matplotlib draws; the colours it is given are placeholders that become CSS variables
afterwards, so that one drawing serves light and dark pages.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

# Placeholder colours, and the CSS variables of report.css that replace them.
INK, MUTED, LINE = "#010203", "#010204", "#010205"
MODEL, BASELINE, ON_MODEL = "#010206", "#010207", "#010208"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    MODEL: "var(--model)",
    BASELINE: "var(--baseline)",
    ON_MODEL: "var(--on-model)",
}
# Inches at 72 units: 420 units wide, near the width of a phone, so that type stays
# legible there; wider pages set two figures side by side.
_WIDTH = 420 / 72
_TEXT_SIZE = 13.0


class Svg:
    """Holds the finished drawing."""

    text = ""


@contextmanager
def drawing(
    name: str, height: float, *, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Any, Any, Svg]]:
    """Make a bare figure; write it as SVG when the block is done.

    Args:
        name: Unique among the figures of a page.
        height: Of the figure [inches].
        rows: Of axes, one below the other with a common abscissa.
        columns: Of axes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "font.size": _TEXT_SIZE,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.labelsize": _TEXT_SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "grid.color": LINE,
        "grid.linewidth": 0.8,
        "axes.axisbelow": True,
        "svg.fonttype": "none",
        # Element names are hashes with this salt instead of random ones.
        "svg.hashsalt": "pxrdbench",
        "path.simplify": True,
    }
    svg = Svg()
    # Figure, not pyplot: no global state, no display.
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height))
        yield figure, figure.subplots(rows, columns, sharex="col"), svg
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg.text = _inline(file.getvalue(), name)


def _inline(text: str, name: str) -> str:
    """Make a drawing part of a page: no header, page colours, page fonts."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    # Names are unique on a page of several figures; those nobody refers to go.
    used = set(re.findall(r"#([mp][0-9a-f]{10})", text))
    text = re.sub(
        r' id="([^"]*)"',
        lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "",
        text,
    )
    text = re.sub(r"#([mp][0-9a-f]{10})", rf"#{name}-\1", text)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    text = re.sub(r"\s*\n\s*", " ", text)
    return text.replace("> <", "><").strip()


def labelled(svg: str, label: str) -> str:
    """Give a drawing the name that a screen reader says."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
