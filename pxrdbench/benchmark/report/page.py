"""One page that shows what a model is worth: self-contained, nothing to download."""

from html import escape
from pathlib import Path

from pxrdbench.benchmark.report.cards import examples_section, figure_cards
from pxrdbench.benchmark.report.examples import choose_examples
from pxrdbench.benchmark.report.parts import (
    NAMES,
    NEW_TYPES,
    css_length,
    range_html,
)
from pxrdbench.benchmark.report.tables import all_numbers, comparison_card, provenance
from pxrdbench.benchmark.scoring.evaluation_record import Baseline, Evaluation, percent
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.metrics import mean_score
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.score import Outcome
from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.tracks.load import Part, check_track_name, load_track
from pxrdbench.tracks.new_types import find_new_types

# What the page may do: show itself. No script, no request, whatever a file says.
_HEADLINE = (
    "top_1",
    "top_5",
    "type_balanced_accuracy",
    "macro_accuracy",
    "crystal_system_accuracy",
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_report(
    evaluation: Evaluation,
    predictions: Predictions,
    path: Path | str,
    *,
    track: Part | None = None,
) -> None:
    """Write an evaluation as one HTML page with figures.

    Args:
        evaluation: The numbers.
        predictions: What they were computed from; gives the examples.
        path: Where the page goes.
        track: The part of the track; loaded by its name if None.

    Raises:
        EvaluationError: If evaluation, predictions and track do not belong together.
    """
    if evaluation.predictions_digest != predictions.digest:
        raise EvaluationError(
            "the evaluation was not computed from these predictions; score them first"
        )
    if track is None:
        name = check_track_name(evaluation.track["name"])
        track = load_track(name, evaluation.track["part"])
    path = Path(path)
    write_atomically(path, render_report(evaluation, predictions, track))


def render_report(evaluation: Evaluation, predictions: Predictions, track: Part) -> str:
    """Give the page as text; equal arguments give equal text."""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    title = f"{evaluation.model['name']} on {evaluation.track['name']}"
    body = [
        _header(evaluation, track),
        _headline(evaluation, _score_new_types(predictions, track)),
        _section(comparison_card(evaluation)),
        _section(figure_cards(evaluation), "grid"),
        examples_section(choose_examples(predictions, track), track),
        _section(all_numbers(evaluation) + provenance(evaluation), "grid"),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)} · pxrdbench</title>",
            f"<style>\n{style}</style>\n</head>\n<body>\n<main>",
            *body,
            _footer(evaluation),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _header(evaluation: Evaluation, track: Part) -> str:
    counts, top_1 = evaluation.counts, evaluation.metrics["top_1"]
    model = escape(str(evaluation.model["name"]))
    name = f"{escape(track.name)}, {escape(track.part)} part, version {track.version}"
    outside = counts["crystals"] - counts["covered"]
    lead = (
        f"{counts['crystals']:,} crystals in {counts['space_groups']} space "
        f"groups and {counts['structure_types']:,} structure types. The first guess is "
        f"the true space group for {range_html(top_1)}."
    )
    if outside:
        lead += (
            f" {outside:,} crystals belong to groups that the model does not know; "
            "they count as wrong."
        )
    return (
        f'<header><p class="kicker">pxrdbench evaluation · {name}</p>\n'
        f"<h1>{model}</h1>\n"
        f'<p class="lead">{lead}</p></header>'
    )


def _score_new_types(predictions: Predictions, track: Part) -> Estimate | None:
    """Top-1 on crystals of types that no other part holds; None without a list."""
    new = find_new_types(track)
    if new is None or not new.any():
        return None
    correct = Outcome.of(predictions, track).correct
    return ClusterBootstrap(track.structure_type).estimate(mean_score(correct, new))


def _headline(evaluation: Evaluation, new_types: Estimate | None) -> str:
    """The numbers a reader wants first, each beside the guess without a look."""
    guess = _baseline(evaluation, "most_frequent")
    cards = []
    numbers = {name: evaluation.metrics[name] for name in _HEADLINE}
    if new_types is not None:
        numbers[NEW_TYPES] = new_types
    for name, estimate in numbers.items():
        mark, beside = "", "of the first guess"
        left, width = css_length(estimate.low), estimate.high - estimate.low
        if name in guess.metrics:
            chance = guess.metrics[name].value
            mark = f'<i class="baseline" style="left:{css_length(chance)}"></i>'
            beside = f'by class order <span class="key">{percent(chance)} %</span>'
        cards.append(
            f'<div class="card stat"><div class="name">{NAMES[name]}</div>'
            f'<div class="value">{percent(estimate.value)}<small> %</small></div>'
            f'<div class="track"><i class="interval" style="left:{left};'
            f'width:{css_length(width)}"></i>'
            f'<i class="point" style="left:{css_length(estimate.value)}"></i>'
            f"{mark}</div>"
            f'<div class="range">95 %: {percent(estimate.low)}–'
            f"{percent(estimate.high)}</div>"
            f'<div class="beside">{beside}</div></div>'
        )
    return f'<div class="headline">{"".join(cards)}</div>'


def _footer(evaluation: Evaluation) -> str:
    version = escape(str(evaluation.versions["pxrdbench"]))
    return f"<footer>Made by pxrdbench {version}.</footer>"


def _section(content: str, kind: str = "") -> str:
    inner = f'<div class="{kind}">{content}</div>' if kind else content
    return f"<section>{inner}</section>"


def _baseline(evaluation: Evaluation, name: str) -> Baseline:
    return next(item for item in evaluation.baselines if item.name == name)
