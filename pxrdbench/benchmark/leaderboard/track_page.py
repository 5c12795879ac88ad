"""Pages of the leaderboards: plain HTML that loads nothing and works from a file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pxrdbench.benchmark.leaderboard.board import has_seen_part
from pxrdbench.benchmark.leaderboard.maintained import TIERS
from pxrdbench.benchmark.leaderboard.parts import (
    badges,
    class_order,
    css_length,
    link,
    page,
    range_text,
)
from pxrdbench.benchmark.leaderboard.ranking import Standing
from pxrdbench.benchmark.leaderboard.submission import Submission
from pxrdbench.benchmark.scoring.evaluation_record import EVALUATOR_VERSION, percent
from pxrdbench.benchmark.scoring.intervals import Estimate

if TYPE_CHECKING:  # it renders with this module
    from pxrdbench.benchmark.leaderboard.board import Leaderboard

_NEW = "new_types"  # of the board, not of an evaluation
_SCORES = {
    "top_1": "Top-1",
    _NEW: "New types",
    "type_balanced_accuracy": "By type",
    "macro_accuracy": "Macro",
    "top_5": "Top-5",
    "crystal_system_accuracy": "Crystal system",
}
_CALIBRATION = {"ece": "ECE"}
_BUDGET = {"patterns_seen": "Patterns seen", "hours": "Hours"}
_UNKNOWN = '<span class="muted">–</span>'


def render_index(boards: Sequence["Leaderboard"], reported: Mapping[str, Any]) -> str:
    """Give the page that leads to all tracks."""
    cards = []
    for board in boards:
        link = f"{board.track.replace('/', '-')}/index.html"
        models = [row for row in board.rows if row.metadata["kind"] == "model"]
        lead = "No model has been submitted yet."
        if models:
            best = models[0]
            tied = next(s for s in board.standings if s.name == best.name).ties
            others = f", tied with {len(tied)} other rows" if tied else ""
            lead = (
                f"Highest: {escape(best.metadata['title'])}, top-1 "
                f"{range_text(best.evaluation.metrics['top_1'])}{others}."
            )
        cards.append(
            f'<section class="card"><h2><a href="{link}">{escape(board.track)}</a></h2>'
            f'<p class="note">{board.crystals:,} crystals, version '
            f"{escape(board.version)}, {len(board.rows)} rows</p>"
            f"<p>{escape(board.description)}</p><p>{lead}</p></section>"
        )
    body = (
        '<header><p class="kicker">pxrdbench</p><h1>Leaderboards</h1>'
        '<p class="lead">Space groups from powder diffraction patterns: frozen test '
        "crystals, 95 % intervals over structure types, ties shown as ties. Every "
        "number is computed from stored predictions by the same code.</p></header>"
        + "".join(cards)
        + _reported_section(reported)
    )
    return page("Leaderboards", body)


def render_track_page(board: "Leaderboard", reported: Mapping[str, Any]) -> str:
    """Give the table of one track."""
    rows = "".join(
        _table_row(row, standing, board)
        for row, standing in zip(board.rows, board.standings, strict=True)
    )
    head = "".join(
        f'<th scope="col"{" aria-sort=ascending" if key == "rank" else ""}>'
        f'<button type="button" data-sort="{key}">{name}</button></th>'
        for key, name in _columns().items()
    )
    body = (
        f'<header><p class="kicker"><a href="../index.html">Leaderboards</a> · '
        f"{escape(board.part)} part, version {escape(board.version)}, evaluator "
        f"{EVALUATOR_VERSION}</p><h1>{escape(board.track)}</h1>"
        f'<p class="lead">{escape(board.description)}</p></header>'
        f'<section class="card">{_controls()}'
        f'<div class="scroll"><table id="board"><thead><tr>{head}</tr></thead>'
        f'<tbody id="rows">{rows}</tbody></table></div>'
        '<p id="none" class="note" hidden>No row fits these filters.</p>'
        f'<p class="note legend">{_legend(board)}</p></section>'
        + _unranked_section(board)
        + _unscored_section(board)
        + _reported_section(reported)
    )
    return page(f"{board.track} · leaderboard", body, with_script=True)


def _columns() -> dict[str, str]:
    return {
        "rank": "Rank",
        "title": "Model",
        **_SCORES,
        **_CALIBRATION,
        **_BUDGET,
        "saw": "Training saw",
        "date": "Date",
    }


def _controls() -> str:
    sorts = "".join(
        f'<option value="{key}">{name}</option>' for key, name in _columns().items()
    )
    tiers = "".join(f'<option value="{t}">{t}</option>' for t in TIERS)
    return (
        '<form id="controls" class="controls">'
        '<label>Search <input type="search" id="search" autocomplete="off"></label>'
        f'<label>Sort by <select id="sort">{sorts}</select></label>'
        f'<label>Tier <select id="tier"><option value="">all</option>{tiers}'
        "</select></label>"
        '<label>At most hours <input type="number" id="hours" min="0" step="any" '
        'inputmode="decimal"></label>'
        '<label>At most patterns <input type="number" id="patterns" min="0" '
        'step="any" inputmode="numeric"></label>'
        '<label class="check"><input type="checkbox" id="baselines" checked> '
        "Baselines</label>"
        '<label class="check"><input type="checkbox" id="unseen"> '
        "Only those that saw none of this track&#39;s types</label>"
        '<button type="reset" class="plain">Clear</button>'
        '<output id="count" aria-live="polite"></output></form>'
    )


def _legend(board: "Leaderboard") -> str:
    text = (
        "Ranks go by top-1. A rank such as 1–3 means that the data cannot say which of "
        "these places it is: rows tie unless the 95 % interval of their difference, "
        "crystal by crystal over resampled structure types, leaves out zero; each pair "
        "is judged by itself. Bars show the interval, the thin mark the guess by class "
        "frequency. Uncovered groups count as wrong. By type: mean over structure "
        "types, each once; macro: mean over space groups. ECE: how far stated "
        "probabilities are off, in points, on covered groups."
    )
    if board.new_types:
        text += (
            f" New types: top-1 on the {board.new_crystals:,} crystals of structure "
            "types that occur in no other part of this track and in no part that "
            "shipped models learnt from or were chosen by."
        )
    if any(board.seed_half_widths.values()):
        widest = max(board.seed_half_widths.values())
        text += (
            " A row is one run. What another seed would change is in the ranks (up to "
            f"±{percent(widest)} points of top-1, as measured on runs of the row's "
            "model, or the largest measured where it was not), not in the bars."
        )
    known = {
        item.name: item for row in board.rows for item in row.evaluation.references
    }
    if {"extinction_group", "enantiomorphs"} <= set(known):
        absences = range_text(known["extinction_group"].metrics["top_1"])
        ceiling = percent(known["enantiomorphs"].metrics["top_1"].value)
        text += (
            " Who knew the extinction group and guessed by class frequency would reach "
            f"{absences}: absences alone, which intensities can beat. The ceiling is "
            f"{ceiling} %: mirror-image groups have the same patterns."
        )
    if not all(standing.is_paired for standing in board.standings):
        text += (
            " Rows marked ≈ publish no outcome by crystal; there overlapping intervals "
            "are a tie, which finds fewer differences."
        )
    return text


def _table_row(row: Submission, standing: Standing, board: "Leaderboard") -> str:
    metadata = row.metadata
    values = {**row.evaluation.metrics}
    if row.name in board.new_types:
        values[_NEW] = board.new_types[row.name]
    calibration = values.get("ece")
    hours = metadata["compute"]["hours"]
    seen = metadata["patterns_seen"]
    sort_keys = {
        "rank": standing.best + standing.worst / 1000,
        "title": str(metadata["title"]).lower(),
        **{name: values[name].value if name in values else "" for name in _SCORES},
        "ece": "" if calibration is None else calibration.value,
        "patterns_seen": "" if seen is None else seen,
        "hours": "" if hours is None else hours,
        "saw": _saw(metadata),
        "date": metadata["date"],
    }
    data = "".join(
        f' data-{key.replace("_", "-")}="{escape(str(value))}"'
        for key, value in sort_keys.items()
    )
    names = ", ".join(author["name"] for author in metadata["authors"])
    cells = [
        _cell("Rank", _rank_text(standing), "rank"),
        f'<th scope="row" data-label="Model"><a href="{escape(row.name)}.html">'
        f"{escape(metadata['title'])}</a> {badges(metadata)}"
        f'<span class="note">{escape(names)}</span></th>',
        *(
            _cell(
                label,
                _bar(values[name], _guess(row, name)) if name in values else _UNKNOWN,
                "score",
            )
            for name, label in _SCORES.items()
        ),
        _cell(
            _CALIBRATION["ece"],
            _UNKNOWN if calibration is None else percent(calibration.value),
        ),
        _cell(_BUDGET["patterns_seen"], _UNKNOWN if seen is None else _short(seen)),
        _cell(_BUDGET["hours"], _UNKNOWN if hours is None else f"{hours:g}"),
        _cell("Training saw", escape(_saw(metadata)), "saw"),
        _cell("Date", escape(metadata["date"]), "date"),
    ]
    return (
        f'<tr data-name="{escape(row.name)}" data-kind="{escape(metadata["kind"])}" '
        f'data-tier="{escape(metadata["tier"])}" '
        f'data-types="{escape(metadata["training_data"]["saw_track_types"])}"{data}>'
        f"{''.join(cells)}</tr>"
    )


def _cell(label: str, content: str, kind: str = "number") -> str:
    return f'<td class="{kind}" data-label="{escape(label)}">{content}</td>'


def _rank_text(standing: Standing) -> str:
    text = str(standing.best)
    if standing.worst > standing.best:
        text += f"–{standing.worst}"
    mark = "" if standing.is_paired else " ≈"
    ties = ""
    if standing.ties:
        others = "1 row" if len(standing.ties) == 1 else f"{len(standing.ties)} rows"
        ties = f'<span class="note">ties with {others}</span>'
    return f"<strong>{text}</strong>{mark}{ties}"


def _short(number: int) -> str:
    """Write a number of patterns so that a column of them stays narrow."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:,.3g} M"


def _saw(metadata: Mapping[str, Any]) -> str:
    data = metadata["training_data"]
    names = {"saw_icsd": "ICSD", "saw_rruff": "RRUFF", "saw_track_types": "its types"}
    seen = [name for key, name in names.items() if data[key] == "yes"]
    unsure = [f"{name}?" for key, name in names.items() if data[key] == "unknown"]
    return ", ".join(seen + unsure) or "none"


def _guess(row: Submission, name: str) -> float | None:
    baseline = class_order(row)
    estimate = baseline.metrics.get(name) if baseline is not None else None
    return None if estimate is None else estimate.value


def _bar(estimate: Estimate, guess: float | None) -> str:
    """Draw value, interval and the guess that looks at no pattern."""
    value, low, high = estimate.value, estimate.low, estimate.high
    mark = ""
    if guess is not None:
        mark = f'<i class="guess" style="left:{css_length(guess)}"></i>'
    interval = f"left:{css_length(low)};width:{css_length(high - low)}"
    return (
        f'<span class="value">{percent(value)}</span> '
        f'<span class="range">{percent(low)}–{percent(high)}</span>'
        f'<span class="bar" aria-hidden="true">'
        f'<i class="interval" style="{interval}"></i>'
        f'<i class="point" style="left:{css_length(value)}"></i>{mark}</span>'
    )


def _unranked_section(board: "Leaderboard") -> str:
    if not board.unranked:
        return ""
    items = "".join(
        f'<li><a href="{escape(row.name)}.html">{escape(row.metadata["title"])}</a>: '
        f"top-1 {range_text(row.evaluation.metrics['top_1'])}, "
        f"{escape(str(row.evaluation.track['part']))} part, track version "
        f"{escape(str(row.evaluation.versions['track']))}, evaluator "
        f"{escape(str(row.evaluation.versions['evaluator']))}"
        f"{'; <b>it has seen this part</b>' if has_seen_part(row) else ''}</li>"
        for row in board.unranked
    )
    return (
        '<section class="card" id="unranked"><h2>Not ranked</h2>'
        '<p class="note">Scored on other data or by another evaluator, so that their '
        "predictions must be scored again; or of models that learnt from what is asked "
        f"about.</p><ul>{items}</ul></section>"
    )


def _unscored_section(board: "Leaderboard") -> str:
    """Rows that nobody else has scored, rows left out, rows that are the same."""
    parts = []
    if board.unscored:
        items = "".join(
            f'<li><a href="{escape(row.name)}.html">{escape(row.metadata["title"])}'
            f"</a>: claims top-1 {range_text(row.evaluation.metrics['top_1'])}</li>"
            for row in board.unscored
        )
        parts.append(
            '<section class="card" id="unscored"><h2>Not ranked: self-scored</h2>'
            '<p class="note">Their predictions are not here, and no maintainer has '
            f"scored them: these are claims.</p><ul>{items}</ul></section>"
        )
    said = [
        f"The same predictions under several names: {', '.join(names)}."
        for names in board.same
    ]
    if board.refused:
        count = len(board.refused)
        said.append(
            f"{count} {'row is' if count == 1 else 'rows are'} left out, with faults "
            "that `pxrdbench leaderboard` lists."
        )
    parts += [f'<p class="note said">{escape(text)}</p>' for text in said]
    return "".join(parts)


def _reported_section(reported: Mapping[str, Any]) -> str:
    if not reported["rows"]:
        return ""
    rows = "".join(
        f'<tr><th scope="row" data-label="System">{escape(row["system"])}'
        f'<span class="note">{link(row["reference"], row["url"])}</span></th>'
        f'<td data-label="Task">{escape(row["task"])}</td>'
        f'<td data-label="Test">{escape(row["test"])}</td>'
        f'<td class="number" data-label="Reported, %">{row["value"]:g}'
        f"{_reported_range(row)}</td>"
        f'<td data-label="Beware">{escape(row["caveat"])}</td></tr>'
        for row in reported["rows"]
    )
    return (
        '<section class="card" id="reported">'
        "<h2>Reported in papers: not comparable</h2>"
        f'<p class="note">{escape(reported["note"])}</p><div class="scroll">'
        '<table class="reported"><thead><tr><th scope="col">System</th>'
        '<th scope="col">Task</th><th scope="col">Test</th>'
        '<th scope="col" class="number">Reported, %</th><th scope="col">Beware</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _reported_range(row: Mapping[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f' <span class="range">{row["low"]:g}–{row["high"]:g}</span>'
