"""What the parts of a report share: names of metrics, numbers as text."""

import re
from html import escape

from pxrdbench.benchmark.scoring.evaluation_record import percent
from pxrdbench.benchmark.scoring.intervals import Estimate
from pxrdbench.crystal.symmetry.tables import space_group_symbol

NAMES = {
    "top_1": "Top-1",
    "top_5": "Top-5",
    "top_10": "Top-10",
    "crystal_system_accuracy": "Crystal system",
    "macro_accuracy": "Mean over space groups (macro)",
    "macro_f1": "Macro F1",
    "type_balanced_accuracy": "Mean over structure types",
    "reweighted_top_1": "Top-1 at the statistics part's class frequencies",
    "covered_top_1": "Top-1, covered groups only",
    "covered_top_5": "Top-5, covered groups only",
    "covered_top_10": "Top-10, covered groups only",
    "covered_macro_accuracy": "Macro, covered groups only",
    "enantiomorph_top_1": "Top-1, mirror images counted as one",
    "extinction_group_accuracy": "Extinction group",
    "extinction_and_laue_accuracy": "Extinction group and Laue class",
    "laue_class_accuracy": "Laue class",
    "nll": "Negative log-likelihood, covered [nats]",
    "nll_all": "Negative log-likelihood, all, 1 % spread evenly [nats]",
    "ece": "Expected calibration error, covered",
}

# Not of an evaluation: computed from predictions and the list that a track fixed.
NEW_TYPES = "new_types"
NAMES[NEW_TYPES] = "Top-1, structure types of no other part"


def symbol_html(space_group: int) -> str:
    """Write a Hermann-Mauguin symbol with bars over the digits of inversion axes."""
    text = escape(space_group_symbol(space_group))
    return re.sub(r"-(\d)", r'<span class="over">\1</span>', text)


def range_html(estimate: Estimate) -> str:
    """Write value and interval in percent."""
    value, low, high = map(percent, (estimate.value, estimate.low, estimate.high))
    return f"<b>{value} %</b> (95 % interval {low}–{high} %)"


def signed_html(difference: Estimate) -> str:
    """Write a difference in points with its interval."""
    numbers = [100 * x for x in (difference.value, difference.low, difference.high)]
    value, low, high = (f"{x:+.1f}".replace("-", "−") for x in numbers)
    return f"<b>{value}</b> <span>({low} to {high})</span>"


def p_value_html(p: float) -> str:
    """Write a p value."""
    if p >= 0.001:
        return f"{p:.3f}"
    if p < 1e-99:
        return "&lt; 10<sup>−99</sup>"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa} × 10<sup>−{-int(exponent)}</sup>"


def css_length(fraction: float) -> str:
    """Write a fraction as a length."""
    return f"{100.0 * fraction:.2f}%"
