"""The tables of a report: references, all numbers, where they come from."""

from html import escape

from pxrdbench.benchmark.report.parts import (
    NAMES,
    p_value_html,
    signed_html,
    symbol_html,
)
from pxrdbench.benchmark.scoring.evaluation_record import (
    UNBOUNDED,
    Baseline,
    Evaluation,
    Reference,
    percent,
)
from pxrdbench.tracks.load import available_tracks, load_record

_REFERENCES = {
    "extinction_group": (
        "If the extinction group were known",
        "Absences only, then the most frequent group; intensities can beat it.",
    ),
    "extinction_and_laue": (
        "If extinction group and Laue class were known",
        "Then the most frequent group; intensities can beat it.",
    ),
    "enantiomorphs": (
        "The ceiling",
        "Mirror-image groups have the same patterns: one of each pair.",
    ),
}


def comparison_card(evaluation: Evaluation) -> str:
    """The model against what looks at no pattern, and against perfect knowledge."""
    rows = []
    for baseline in evaluation.baselines:
        rows += _comparison_rows(evaluation, baseline, _baseline_name(baseline))
    for reference in evaluation.references:
        rows += _comparison_rows(evaluation, reference, _reference_name(reference))
    head = (
        "<tr><th></th>"
        '<th class="number">model [%]</th><th class="number">other [%]</th>'
        '<th class="number">difference (95 %)</th>'
        '<th class="number wide">only model : only other</th>'
        '<th class="number">McNemar p</th></tr>'
    )
    return (
        '<div class="card">'
        "<h2>Against no look at the pattern, and against perfect "
        'knowledge</h2><p class="note">'
        "Both sides on the same crystals. Intervals of the difference resample "
        "structure types; the exact McNemar test takes crystals for independent."
        f'</p><table class="tests"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _comparison_rows(
    evaluation: Evaluation, other: Baseline | Reference, name: str
) -> list[str]:
    rows = [f'<tr><th colspan="6">{name}</th></tr>']
    for key, comparison in other.comparisons.items():
        if isinstance(other, Reference) and key != "top_1":
            continue  # within a cell of a few groups the rest is near 100 %
        rows.append(
            f'<tr class="part"><td>{NAMES[key]}</td>'
            f'<td class="number">{percent(evaluation.metrics[key].value)}</td>'
            f'<td class="number">{percent(other.metrics[key].value)}</td>'
            f'<td class="number">{signed_html(comparison.difference)}</td>'
            f'<td class="number wide">{comparison.only_model:,} : '
            f"{comparison.only_baseline:,}</td>"
            f'<td class="number">{p_value_html(comparison.p_value)}</td></tr>'
        )
    return rows


def _reference_name(reference: Reference) -> str:
    name, note = _REFERENCES[reference.name]
    return f'{name} <span class="note">{note}</span>'


def _baseline_name(baseline: Baseline) -> str:
    if baseline.name == "hindsight":
        name, note = "Class order in hindsight", "No fixed order does better here."
    else:
        name, note = "Class order of training", escape(baseline.source)
    group = f"first {symbol_html(baseline.space_group)} ({baseline.space_group})"
    return f'{name}, {group} <span class="note">{note}</span>'


def all_numbers(evaluation: Evaluation) -> str:
    """Tell every metric with its interval."""
    rows = []
    for name, estimate in evaluation.metrics.items():
        # A likelihood has no percent.
        form = (lambda x: f"{x:.3f}") if name in UNBOUNDED else percent
        rows.append(
            f"<tr><th>{escape(NAMES.get(name, name))}</th>"
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


def provenance(evaluation: Evaluation) -> str:
    """Tell model, track, digests and versions."""
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
