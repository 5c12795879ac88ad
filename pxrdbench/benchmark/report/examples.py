"""A few patterns of a track with what a model says of them, chosen by rule."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from pxrdbench.benchmark.scoring.metrics import log_probabilities
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.score import align
from pxrdbench.tracks.load import (
    Part,
    available_tracks,
    load_table,
)

_EXAMPLES = 3  # of right guesses, and of wrong ones
_GUESSES = 4


@dataclass(frozen=True, eq=False)
class Example:
    """One crystal of a track and what a model said of it.

    Attributes:
        name: Its id.
        formula: Chemical formula, "" if unknown.
        space_group: The true one.
        rank: Place of the true group among the guesses, 0 if it is not covered.
        guesses: First guesses and their probabilities.
        intensity: The pattern.
    """

    name: str
    formula: str
    space_group: int
    rank: int
    guesses: tuple[tuple[int, float], ...]
    intensity: Float32[np.ndarray, " points"]


def choose_examples(predictions: Predictions, track: Part) -> list[Example]:
    """Take right and wrong guesses from the surest to the least sure, by rule."""
    row = align(predictions, track)
    logp = log_probabilities(predictions.logits[row])
    classes = np.array(predictions.space_groups)
    order = np.argsort(-predictions.logits[row], axis=1, kind="stable")
    right = classes[order[:, 0]] == track.space_group
    formulas = _formulas(track)
    examples = []
    for chosen in (right, ~right):
        members = np.flatnonzero(chosen)
        members = members[np.argsort(-logp[members].max(axis=1), kind="stable")]
        steps = np.linspace(0, len(members) - 1, min(_EXAMPLES, len(members)))
        for index in members[np.rint(steps).astype(int)].tolist():
            best = order[index]
            place = np.flatnonzero(classes[best] == track.space_group[index])
            examples.append(
                Example(
                    name=track.ids[index],
                    formula=formulas.get(track.ids[index], ""),
                    space_group=int(track.space_group[index]),
                    rank=int(place[0]) + 1 if len(place) else 0,
                    guesses=tuple(
                        (int(classes[c]), float(np.exp(logp[index, c])))
                        for c in best[:_GUESSES]
                    ),
                    intensity=track.batch(index, 1).intensity[0],
                )
            )
    return examples


def _formulas(track: Part) -> Mapping[str, str]:
    """Look up formulas, where the track is one of this installation."""
    if track.name not in available_tracks():
        return {}
    table = load_table(track.name, track.part)
    if "formula" not in table.column_names:
        return {}
    names, formulas = table["id"].to_pylist(), table["formula"].to_pylist()
    return dict(zip(names, formulas, strict=True))
