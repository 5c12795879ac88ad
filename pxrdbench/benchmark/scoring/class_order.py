"""Predictions of no model: the class frequencies, the same for every pattern.

They are rows of the leaderboards, so that what needs no pattern stands in the table.
"""

from typing import Literal

import numpy as np

from pxrdbench.benchmark.scoring.baselines import class_frequencies
from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.tracks.load import Part

ClassOrder = Literal["most-frequent-class", "class-order"]


def predict_class_order(track: Part, kind: ClassOrder) -> Predictions:
    """Predict from how often each group occurs where a model may learn.

    Args:
        track: The part of the track.
        kind: ``class-order``: the frequencies as probabilities, so that the first k
            guesses are the k most frequent groups. ``most-frequent-class``: a class
            list of one group, and nothing to fall back on.
    """
    shares, source = class_frequencies(_empty(track), track)
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0.0]
    if kind == "most-frequent-class":
        order = order[:1]
    row = np.log(shares[order])
    return Predictions(
        ids=track.ids,
        logits=pack_logits(np.tile(row, (len(track), 1))),
        space_groups=tuple(order.tolist()),
        track=track.name,
        part=track.part,
        track_version=str(track.version),
        track_digest=track.digest,
        model_name=kind,
        provenance={"frequencies": source},
    )


def _empty(track: Part) -> Predictions:
    """Predictions that bring no frequencies of their own."""
    return Predictions(
        ids=track.ids[:1],
        logits=np.zeros((1, 1), np.float16),
        space_groups=(1,),
        track=track.name,
        part=track.part,
        track_version=str(track.version),
        track_digest=track.digest,
    )
