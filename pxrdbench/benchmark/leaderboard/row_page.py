"""The page of one row: who made it, from what, every number."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pxrdbench.benchmark.leaderboard.board import has_seen_part
from pxrdbench.benchmark.leaderboard.parts import (
    badges,
    class_order,
    link,
    page,
    range_text,
)
from pxrdbench.benchmark.leaderboard.submission import Submission
from pxrdbench.benchmark.scoring.evaluation_record import (
    UNBOUNDED,
    Baseline,
    Reference,
    percent,
)
from pxrdbench.benchmark.scoring.intervals import Estimate

if TYPE_CHECKING:  # it renders with this module
    from pxrdbench.benchmark.leaderboard.board import Leaderboard


_TIER_TEXTS = {
    "reproduced": "the maintainers ran its commands",
    "predictions only": "its stored predictions were scored again",
    "self-scored": "nobody but its authors scored it",
}
# Names of rows that a page lists as tied.
_MOST_TIES = 20


def render_row_page(row: Submission, board: "Leaderboard") -> str:
    """Give the page of one row: who, from what, every number, the top-k curve."""
    metadata, evaluation = row.metadata, row.evaluation
    standing = next((s for s in board.standings if s.name == row.name), None)
    place = "Not ranked: of another version."
    if has_seen_part(row):
        place = "Not ranked: it has learnt from crystals that are asked about here."
    if any(other.name == row.name for other in board.unscored):
        place = "Not ranked: only its authors have scored it."
    if standing is not None:
        ties = _list_ties(standing.ties)
        span = f"{standing.best}–{standing.worst}"
        if standing.best == standing.worst:
            span = str(standing.best)
        place = f"Rank {span} of {len(board.rows)} by top-1"
        place += f"; cannot be told apart from {escape(ties)}." if ties else "."
        seed = board.seed_half_widths.get(row.name, 0.0)
        if seed:
            place += (
                f" Another training seed moves top-1 by up to ±{percent(seed)} points "
                "(95 %, as measured on runs of this model, or the largest measured "
                "where it was not); the rank holds it."
            )
    body = (
        '<header><p class="kicker"><a href="../index.html">Leaderboards</a> · '
        f'<a href="index.html">{escape(board.track)}</a></p>'
        f"<h1>{escape(metadata['title'])}</h1><p>{badges(metadata)}</p>"
        f'<p class="lead">{escape(metadata["description"])}</p>'
        f"<p>{place}</p></header>"
        f'<div class="grid"><section class="card"><h2>Numbers</h2>'
        f"{_number_table(row, board.new_types.get(row.name))}</section>"
        f'<div><section class="card"><h2>First k guesses</h2>{_curve(row)}</section>'
        f'<section class="card"><h2>By crystal system</h2>{_system_table(row)}'
        f"</section>{_beside(row)}</div></div>"
        f'<section class="card"><h2>Where it comes from</h2>{_facts(row)}</section>'
    )
    return page(f"{metadata['title']} on {evaluation.track['name']}", body)


def _list_ties(names: Sequence[str]) -> str:
    """Name some: pages of a thousand rows that tie would hold a million names."""
    some = ", ".join(names[:_MOST_TIES])
    more = len(names) - _MOST_TIES
    return some if more <= 0 else f"{some} and {more} others"


def _number_table(row: Submission, new: Estimate | None) -> str:
    def text(name: str, item: Estimate) -> str:
        if name in UNBOUNDED:
            return f"{item.value:.3f} ({item.low:.3f}–{item.high:.3f})"
        return range_text(item)

    numbers = row.evaluation.metrics
    if new is not None:
        numbers = {"top_1": numbers["top_1"], "top_1, new types": new, **numbers}
    return _fact_table(
        {name.replace("_", " "): text(name, item) for name, item in numbers.items()}
    )


def _system_table(row: Submission) -> str:
    return _fact_table(
        {name: range_text(item) for name, item in row.evaluation.crystal_system.items()}
    )


def _beside(row: Submission) -> str:
    """What looks at no pattern, and what perfect knowledge would give; top-1."""
    names = {
        "most_frequent": "class order",
        "hindsight": "class order, hindsight",
        "extinction_group": "extinction group known",
        "extinction_and_laue": "and Laue class known",
        "enantiomorphs": "ceiling: mirror images",
    }
    items: list[Baseline | Reference] = [
        *row.evaluation.baselines,
        *row.evaluation.references,
    ]
    facts = {
        names.get(item.name, item.name): range_text(item.metrics["top_1"])
        for item in items
        if "top_1" in item.metrics
    }
    if not facts:
        return ""
    return (
        '<section class="card"><h2>Top-1 of others</h2><p class="note">Two orders that '
        "look at no pattern; what absences alone would give; what none can beat.</p>"
        f"{_fact_table(facts)}</section>"
    )


def _curve(row: Submission) -> str:
    """Draw accuracy by number of guesses, with its interval and the class order."""
    width, height, left, bottom = 460, 230, 40, 26
    curve, baseline = row.evaluation.top_k, class_order(row)
    n = max(len(curve), 2)

    def at(k: int, value: float) -> str:
        x = left + (width - left - 10) * k / (n - 1)
        return f"{x:.1f},{(height - bottom) - (height - bottom - 10) * value:.1f}"

    upper = [at(k, item.high) for k, item in enumerate(curve)]
    lower = [at(k, item.low) for k, item in enumerate(curve)]
    middle = " ".join(at(k, item.value) for k, item in enumerate(curve))
    order = "" if baseline is None else _order_line(baseline, at, len(curve))
    grid = "".join(
        f'<path class="axis" d="M{at(0, v)} L{at(n - 1, v)}"/>'
        f'<text x="{left - 6}" y="{float(at(0, v).split(",")[1]) + 4:.1f}" '
        f'text-anchor="end">{percent(v).removesuffix(".0")}</text>'
        for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    ticks = "".join(
        f'<text x="{at(k - 1, 0.0).split(",")[0]}" y="{height - 8}" '
        f'text-anchor="middle">{k}</text>'
        for k in (1, 5, 10, 15, 20)
        if k <= len(curve)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Accuracy [%] of the first k guesses">'
        f'{grid}{ticks}<polygon class="band" points="'
        f'{" ".join(upper + lower[::-1])}"/>{order}'
        f'<polyline class="line" points="{middle}"/></svg>'
        '<p class="note">Share of crystals [%] whose group is among the first k '
        "guesses; band: 95 % interval; dashed: order of class frequency.</p>"
    )


def _order_line(baseline: Baseline, at: Any, length: int) -> str:
    points = " ".join(at(k, value) for k, value in enumerate(baseline.top_k[:length]))
    return f'<polyline class="order" points="{points}"/>'


def _facts(row: Submission) -> str:
    metadata, evaluation = row.metadata, row.evaluation
    data, compute = metadata["training_data"], metadata["compute"]
    hours = "unknown" if compute["hours"] is None else f"{compute['hours']:g} hours"
    facts = {
        "authors": escape(", ".join(_author(a) for a in metadata["authors"])),
        **{
            name: link(url, url) + _licence(metadata["licences"].get(name))
            for name, url in metadata["links"].items()
            if url is not None
        },
        "training data": escape(data["description"]),
        "sources": escape("; ".join(data["sources"]) or "none"),
        "saw ICSD, RRUFF, types of this track": escape(
            f"{data['saw_icsd']}, {data['saw_rruff']}, {data['saw_track_types']}"
        ),
        "patterns seen": _count(metadata["patterns_seen"]),
        "parameters": _count(metadata["parameters"]),
        "compute": escape(f"{compute['hardware']}, {hours}"),
        **{
            f"its predictions say, {name}": escape(str(text))
            for name, text in evaluation.model["provenance"].items()
        },
        "how far checked": escape(_TIER_TEXTS[str(metadata["tier"])]),
        "seeds": ", ".join(str(seed) for seed in metadata["seeds"]) or "none",
        "to reproduce": "<br>".join(_code(line) for line in metadata["reproduce"]),
        "classes": f"{evaluation.model['classes']}",
        "digest of the predictions": _code(evaluation.predictions_digest),
        "digest of the checkpoint": _code(evaluation.model["digest"] or "none"),
        **{
            f"version of {name}": _code(str(value))
            for name, value in evaluation.versions.items()
        },
    }
    return _fact_table(facts)


def _fact_table(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{text}</td></tr>'
        for name, text in facts.items()
        if text
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _author(author: Mapping[str, str]) -> str:
    more = [author[key] for key in ("affiliation", "orcid") if key in author]
    return author["name"] + (f" ({', '.join(more)})" if more else "")


def _licence(licence: str | None) -> str:
    return "" if licence is None else f" ({escape(licence)})"


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
