"""One page that shows what a model is worth: self-contained, nothing to download."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pxrdbench.benchmark import figures
from pxrdbench.benchmark.examples import Example, choose_examples
from pxrdbench.benchmark.intervals import Estimate
from pxrdbench.benchmark.predictions import Predictions
from pxrdbench.benchmark.record import Baseline, Evaluation, percent
from pxrdbench.crystal.symmetry import CRYSTAL_SYSTEMS, space_group_symbol
from pxrdbench.dataset.split import (
    TrackPart,
    available_tracks,
    load_record,
    load_track,
)
from pxrdbench.errors import EvaluationError

_GROUPS = 12  # space groups in the figure of the most frequent ones

# What the page may do: show itself. No script, no request, whatever a file says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_NAMES = {
    "top_1": "Top-1",
    "top_5": "Top-5",
    "top_10": "Top-10",
    "crystal_system_accuracy": "Crystal system",
    "macro_accuracy": "Mean over space groups (macro)",
    "macro_f1": "Macro F1",
    "type_balanced_accuracy": "Mean over structure types",
    "reweighted_top_1": "Top-1 at the training's class frequencies",
    "covered_top_1": "Top-1, covered groups only",
    "covered_top_5": "Top-5, covered groups only",
    "covered_top_10": "Top-10, covered groups only",
    "covered_macro_accuracy": "Macro, covered groups only",
    "enantiomorph_top_1": "Top-1, mirror images counted as one",
    "extinction_group_accuracy": "Extinction group",
    "laue_class_accuracy": "Laue class",
    "nll": "Negative log-likelihood, covered [nats]",
    "ece": "Expected calibration error, covered",
}


def write_report(
    evaluation: Evaluation,
    predictions: Predictions,
    path: Path | str,
    *,
    track: TrackPart | None = None,
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
        track = load_track(evaluation.track["name"], evaluation.track["part"])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(render_report(evaluation, predictions, track), encoding="utf-8")
    part.replace(path)


def render_report(
    evaluation: Evaluation, predictions: Predictions, track: TrackPart
) -> str:
    """Give the page as text; equal arguments give equal text."""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    title = f"{evaluation.model['name']} on {evaluation.track['name']}"
    body = [
        _header(evaluation, track),
        _headline(evaluation),
        _section(_comparison_card(evaluation)),
        _section(_figure_cards(evaluation), "grid"),
        _examples_section(choose_examples(predictions, track), track),
        _section(_all_numbers(evaluation) + _provenance(evaluation), "grid"),
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


def _header(evaluation: Evaluation, track: TrackPart) -> str:
    counts, top_1 = evaluation.counts, evaluation.metrics["top_1"]
    model = escape(str(evaluation.model["name"]))
    name = f"{escape(track.name)}, {escape(track.part)} part, version {track.version}"
    outside = counts["crystals"] - counts["covered"]
    lead = (
        f"{counts['crystals']:,} crystals in {counts['space_groups']} space "
        f"groups and {counts['structure_types']:,} structure types. The first guess is "
        f"the true space group for {_range(top_1)}."
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


def _headline(evaluation: Evaluation) -> str:
    """The four numbers a reader wants first, each beside the guess without a look."""
    guess = _baseline(evaluation, "most_frequent")
    cards = []
    for name in ("top_1", "top_5", "top_10", "crystal_system_accuracy"):
        estimate = evaluation.metrics[name]
        mark, beside = "", "of the first guess"
        if name in guess.metrics:
            chance = guess.metrics[name].value
            mark = f'<i class="baseline" style="left:{_css(chance)}"></i>'
            beside = f'by class order <span class="key">{percent(chance)} %</span>'
        cards.append(
            f'<div class="card stat"><div class="name">{_NAMES[name]}</div>'
            f'<div class="value">{percent(estimate.value)}<small> %</small></div>'
            f'<div class="track"><i class="interval" style="left:{_css(estimate.low)};'
            f'width:{_css(estimate.high - estimate.low)}"></i>'
            f'<i class="point" style="left:{_css(estimate.value)}"></i>{mark}</div>'
            f'<div class="range">95 %: {percent(estimate.low)}–'
            f"{percent(estimate.high)}</div>"
            f'<div class="beside">{beside}</div></div>'
        )
    return f'<div class="headline">{"".join(cards)}</div>'


def _comparison_card(evaluation: Evaluation) -> str:
    """The model against orders of the groups that look at no pattern."""
    rows = []
    for baseline in evaluation.baselines:
        rows.append(f'<tr><th colspan="6">{_baseline_name(baseline)}</th></tr>')
        for name, comparison in baseline.comparisons.items():
            rows.append(
                f'<tr class="part"><td>{_NAMES[name]}</td>'
                f'<td class="number">{percent(evaluation.metrics[name].value)}</td>'
                f'<td class="number">{percent(baseline.metrics[name].value)}</td>'
                f'<td class="number">{_signed(comparison.difference)}</td>'
                f'<td class="number wide">{comparison.only_model:,} : '
                f"{comparison.only_baseline:,}</td>"
                f'<td class="number">{_p_value(comparison.p_value)}</td></tr>'
            )
    head = (
        "<tr><th></th>"
        '<th class="number">model [%]</th><th class="number">guess [%]</th>'
        '<th class="number">difference (95 %)</th>'
        '<th class="number wide">only model : only guess</th>'
        '<th class="number">McNemar p</th></tr>'
    )
    return (
        '<div class="card"><h2>Against guesses by frequency</h2><p class="note">'
        "Both sides on the same crystals. Intervals of the difference resample "
        "structure types; the exact McNemar test takes crystals for independent."
        f'</p><table class="tests"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _baseline_name(baseline: Baseline) -> str:
    if baseline.name == "hindsight":
        name, note = "Class order in hindsight", "No fixed order does better here."
    else:
        name, note = "Class order of training", escape(baseline.source)
    group = f"first {_symbol(baseline.space_group)} ({baseline.space_group})"
    return f'{name}, {group} <span class="note">{note}</span>'


def _figure_cards(evaluation: Evaluation) -> str:
    counts = evaluation.counts["crystal_system"]
    systems = [(n, e, int(counts[n])) for n, e in evaluation.crystal_system.items()]
    edges = [round(0.1 * i, 6) for i in range(11)]
    return "".join(
        [
            _figure_card(
                "How many guesses it takes",
                "Share of crystals whose true group is among the first k guesses, with "
                "95 % intervals; beside it two orders that look at no pattern.",
                figures.draw_top_k(evaluation.top_k, evaluation.baselines),
            ),
            _figure_card(
                "By crystal system",
                "Top-1 accuracy of the crystals of each system; lines are 95 % "
                "intervals.",
                figures.draw_systems(systems),
            ),
            _figure_card(
                "What is taken for what",
                "Crystal system of the first guess, in percent of each true system.",
                figures.draw_confusion(evaluation.confusion, CRYSTAL_SYSTEMS),
            ),
            _figure_card(
                "Whether its probabilities can be believed",
                "Covered crystals by the probability of the first guess. Dashed: "
                "perfect calibration; shaded: number of crystals.",
                figures.draw_calibration(evaluation.calibration, edges),
            ),
            _figure_card(
                "By number of reflections",
                "Quarters of the crystals, from few reflections to many.",
                figures.draw_by_peaks(evaluation.by_peaks),
            ),
            _figure_card(
                "The most frequent space groups",
                "All crystals of a group (grey) and those whose first guess is right.",
                figures.draw_groups(_frequent_groups(evaluation)),
            ),
        ]
    )


def _frequent_groups(evaluation: Evaluation) -> list[tuple[str, int, int]]:
    """Take the groups with most crystals; equals by number."""
    items = [
        (int(group), int(entry["crystals"]), int(entry["correct"]))
        for group, entry in evaluation.space_groups.items()
    ]
    items.sort(key=lambda item: (-item[1], item[0]))
    return [
        (f"{space_group_symbol(group)} ({group})", total, right)
        for group, total, right in items[:_GROUPS]
    ]


def _figure_card(title: str, caption: str, svg: str) -> str:
    return (
        f'<figure class="card"><h2>{escape(title)}</h2>'
        f"<figcaption>{escape(caption)}</figcaption>{_labelled(svg, title)}</figure>"
    )


def _labelled(svg: str, label: str) -> str:
    """Give a drawing the name that a screen reader says."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _examples_section(examples: Sequence[Example], track: TrackPart) -> str:
    cards = []
    for number, example in enumerate(examples):
        right = example.rank == 1
        verdict = "right" if right else "wrong"
        truth = f"{_symbol(example.space_group)} ({example.space_group})"
        place = f"guess {example.rank}" if example.rank else "not among its classes"
        note = "" if right else f", {place}"
        items = "".join(
            f"<li{' class=truth' if group == example.space_group else ''}>"
            f"<span>{_symbol(group)} ({group})</span>"
            f'<span class="bar"><i style="width:{_css(share)}"></i></span>'
            f'<span class="share">{percent(share)} %</span></li>'
            for group, share in example.guesses
        )
        name = escape(" · ".join(x for x in (example.formula, example.name) if x))
        svg = figures.draw_pattern(example.intensity, track.grid, f"example{number}")
        svg = _labelled(svg, f"Diffraction pattern of {example.name}")
        cards.append(
            f'<div class="card example"><div class="top"><h3>{name}</h3>'
            f'<span class="verdict {verdict}">{verdict}</span></div>'
            f'<p class="note">truly {truth}{note}</p>{svg}'
            f'<ol class="guesses">{items}</ol></div>'
        )
    return (
        "<section><h2>Six patterns and what the model says of them</h2>"
        '<p class="note">Chosen by rule: the surest, the middle and the least sure of '
        "the right first guesses, then of the wrong ones.</p>"
        f'<div class="grid">{"".join(cards)}</div></section>'
    )


def _all_numbers(evaluation: Evaluation) -> str:
    rows = []
    for name, estimate in evaluation.metrics.items():
        # A likelihood has no percent.
        form = (lambda x: f"{x:.3f}") if name == "nll" else percent
        rows.append(
            f"<tr><th>{escape(_NAMES.get(name, name))}</th>"
            f'<td class="number">{form(estimate.value)}</td>'
            f'<td class="number">{form(estimate.low)}–{form(estimate.high)}</td></tr>'
        )
    return (
        '<div class="card"><h2>All numbers</h2><p class="note">In percent unless '
        "another unit is named, over all crystals unless said otherwise.</p>"
        '<table><thead><tr><th></th><th class="number">value</th>'
        '<th class="number">95 % interval</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _provenance(evaluation: Evaluation) -> str:
    model, track, counts = evaluation.model, evaluation.track, evaluation.counts
    facts: list[tuple[str, object]] = [
        ("model", model["name"]),
        ("model digest", model["digest"] or "none: a model in memory"),
        ("space groups it knows", model["classes"]),
        *((str(name), value) for name, value in model["provenance"].items()),
        ("licensed data in training", "yes" if model["restricted"] else "no"),
        ("track", f"{track['name']}, {track['part']} part, version {track['version']}"),
        ("track digest", track["digest"]),
        ("crystals, covered", f"{counts['crystals']:,}, {counts['covered']:,}"),
        ("predictions digest", evaluation.predictions_digest),
        *((f"version of {name}", value) for name, value in evaluation.versions.items()),
        ("intervals", _intervals(evaluation)),
        *_about(track["name"]),
    ]
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{_fact(name, value)}</td></tr>"
        for name, value in facts
    )
    return (
        '<div class="card"><h2>Where this comes from</h2><p class="note">The same '
        "predictions, track and versions give the same page.</p>"
        f'<table class="facts"><tbody>{rows}</tbody></table></div>'
    )


def _intervals(evaluation: Evaluation) -> str:
    how = evaluation.interval
    return (
        f"{100 * how['level']:g} %, {how['method']}; clusters: {how['clusters']}; "
        f"{how['replicates']:,} resamples, seed {how['seed']}"
    )


def _about(track: str) -> list[tuple[str, object]]:
    """What a track says of itself and whom it thanks, if it is installed here."""
    if track not in available_tracks():
        return []
    record = load_record(track)
    facts = [("about the track", record["description"])]
    return facts + [("attribution", text) for text in record["attributions"]]


def _fact(name: str, value: object) -> str:
    text = escape(str(value))
    return f"<code>{text}</code>" if name.endswith("digest") else text


def _footer(evaluation: Evaluation) -> str:
    version = escape(str(evaluation.versions["pxrdbench"]))
    return f"<footer>Made by pxrdbench {version}.</footer>"


def _section(content: str, kind: str = "") -> str:
    inner = f'<div class="{kind}">{content}</div>' if kind else content
    return f"<section>{inner}</section>"


def _baseline(evaluation: Evaluation, name: str) -> Baseline:
    return next(item for item in evaluation.baselines if item.name == name)


def _symbol(space_group: int) -> str:
    """Write a Hermann-Mauguin symbol with bars over the digits of inversion axes."""
    text = escape(space_group_symbol(space_group))
    return re.sub(r"-(\d)", r'<span class="over">\1</span>', text)


def _range(estimate: Estimate) -> str:
    value, low, high = map(percent, (estimate.value, estimate.low, estimate.high))
    return f"<b>{value} %</b> (95 % interval {low}–{high} %)"


def _signed(difference: Estimate) -> str:
    numbers = [100 * x for x in (difference.value, difference.low, difference.high)]
    value, low, high = (f"{x:+.1f}".replace("-", "−") for x in numbers)
    return f"<b>{value}</b> <span>({low} to {high})</span>"


def _p_value(p: float) -> str:
    if p >= 0.001:
        return f"{p:.3f}"
    if p < 1e-99:
        return "&lt; 10<sup>−99</sup>"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa} × 10<sup>−{-int(exponent)}</sup>"


def _css(fraction: float) -> str:
    return f"{100.0 * fraction:.2f}%"
