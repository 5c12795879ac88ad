"""The figures and the example patterns of a report."""

from collections.abc import Sequence
from html import escape

from pxrdbench.benchmark.report import figures
from pxrdbench.benchmark.report.examples import Example
from pxrdbench.benchmark.report.parts import css_length, symbol_html
from pxrdbench.benchmark.report.svg import labelled
from pxrdbench.benchmark.scoring.evaluation_record import Bin, Evaluation, percent
from pxrdbench.benchmark.scoring.property_bins import SITE_EDGES
from pxrdbench.crystal.symmetry.tables import CRYSTAL_SYSTEMS, space_group_symbol
from pxrdbench.tracks.load import Part

_GROUPS = 12  # space groups in the figure of the most frequent ones


def figure_cards(evaluation: Evaluation) -> str:
    """Draw every curve and histogram of an evaluation."""
    counts = evaluation.counts["crystal_system"]
    systems = [(n, e, int(counts[n])) for n, e in evaluation.crystal_system.items()]
    edges = [round(0.1 * i, 6) for i in range(11)]
    return "".join(
        [
            figure_card(
                "How many guesses it takes",
                "Share of crystals whose true group is among the first k guesses, with "
                "95 % intervals; beside it two orders that look at no pattern.",
                figures.draw_top_k(evaluation.top_k, evaluation.baselines),
            ),
            figure_card(
                "By crystal system",
                "Top-1 accuracy of the crystals of each system; lines are 95 % "
                "intervals.",
                figures.draw_systems(systems),
            ),
            figure_card(
                "What is taken for what",
                "Crystal system of the first guess, in percent of each true system.",
                figures.draw_confusion(evaluation.confusion, CRYSTAL_SYSTEMS),
            ),
            figure_card(
                "Whether its probabilities can be believed",
                "Covered crystals by the probability of the first guess. Dashed: "
                "perfect calibration; shaded: number of crystals.",
                figures.draw_calibration(evaluation.calibration, edges),
            ),
            *_property_cards(evaluation),
            figure_card(
                "The most frequent space groups",
                "All crystals of a group (grey) and those whose first guess is right.",
                figures.draw_groups(_frequent_groups(evaluation)),
            ),
        ]
    )


def _property_cards(evaluation: Evaluation) -> list[str]:
    """Draw accuracy by reflections, volume and sites, where these are known."""
    caption = (
        "Above, crystals in each bin, those whose first guess is right in colour; "
        "below, the share that is wrong, with 95 % intervals."
    )
    cards = []
    if evaluation.by_peaks:
        svg = figures.draw_by_peaks(evaluation.by_peaks)
        quarters = "Quarters of the crystals, from few reflections to many."
        cards.append(figure_card("By number of reflections", quarters, svg))
    if evaluation.by_volume:
        names = [f"{item.low:,.0f}–{item.high:,.0f}" for item in evaluation.by_volume]
        svg = figures.draw_by_property(
            evaluation.by_volume, names, "volume of the conventional cell [Å³]", "vol"
        )
        cards.append(figure_card("By volume of the cell", caption, svg))
    if evaluation.by_sites:
        svg = figures.draw_by_property(
            evaluation.by_sites,
            [_whole_range(item) for item in evaluation.by_sites],
            "atoms in the asymmetric unit",
            "sites",
        )
        cards.append(figure_card("By number of sites", caption, svg))
    return cards


def _whole_range(item: Bin) -> str:
    """Write a range of numbers; only the last bin holds its upper end."""
    last = item.high if item.low >= SITE_EDGES[-1] else item.high - 1.0
    return f"{item.low:.0f}" if last <= item.low else f"{item.low:.0f}–{last:.0f}"


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


def figure_card(title: str, caption: str, svg: str) -> str:
    """Put a drawing under its title and caption."""
    return (
        f'<figure class="card"><h2>{escape(title)}</h2>'
        f"<figcaption>{escape(caption)}</figcaption>{labelled(svg, title)}</figure>"
    )


def examples_section(examples: Sequence[Example], track: Part) -> str:
    """Show some patterns with the first guesses."""
    cards = []
    for number, example in enumerate(examples):
        right = example.rank == 1
        verdict = "right" if right else "wrong"
        truth = f"{symbol_html(example.space_group)} ({example.space_group})"
        place = f"guess {example.rank}" if example.rank else "not among its classes"
        note = "" if right else f", {place}"
        items = "".join(
            f"<li{' class=truth' if group == example.space_group else ''}>"
            f"<span>{symbol_html(group)} ({group})</span>"
            f'<span class="bar"><i style="width:{css_length(share)}"></i></span>'
            f'<span class="share">{percent(share)} %</span></li>'
            for group, share in example.guesses
        )
        name = escape(" · ".join(x for x in (example.formula, example.name) if x))
        svg = figures.draw_pattern(example.intensity, track.grid, f"example{number}")
        svg = labelled(svg, f"Diffraction pattern of {example.name}")
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
