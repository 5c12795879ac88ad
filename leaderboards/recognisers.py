"""What learns from the real crystals of a track and is no network."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.learning.loading.real_crystals import RealCrystals
from pxrdbench.learning.networks.peak_forest import PeakForest
from pxrdbench.studies.recognition import grow_forest
from pxrdbench.studies.search_match import SearchMatch, predict_search_match
from pxrdbench.tracks.load import MeasuredPart, TrackPart

Answer = Callable[[TrackPart | MeasuredPart], Predictions]


@dataclass(frozen=True)
class Recogniser:
    """What learns from the real crystals of a track, and is no network.

    Attributes:
        title: For people.
        text: What it is.
        parameters: Number of weights, None where it has none to count.
        learn: Given crystals, whose they are, and a folder for what is kept: what
            answers for a track, and the processor time of learning [s].
    """

    title: str
    text: str
    parameters: int | None
    learn: Callable[[RealCrystals, str, Path], tuple[Answer, float]]


def find_forest(source: RealCrystals, learnt: str, runs: Path) -> tuple[Answer, float]:
    """A random forest, of earlier or grown now."""
    path = runs / f"random-forest-{learnt.replace('/', '-')}.npz"
    cost = path.with_suffix(".json")
    if not path.is_file():
        began = time.process_time()
        grow_forest(source).save(path)
        cost.write_text(json.dumps(time.process_time() - began), "utf-8")
    forest = PeakForest.load(path)
    seconds = json.loads(cost.read_text("utf-8"))
    return lambda track: predict_track(forest, track), seconds


def keep_neighbours(
    k: int, source: RealCrystals, learnt: str, _: Path
) -> tuple[Answer, float]:
    """Search-match, which keeps what it is given."""
    began = time.process_time()
    known = SearchMatch(source.peaks, source.crystals.space_group, k=k)
    name = f"{learnt} statistics"
    return (
        lambda track: predict_search_match(track, known, source=name),
        time.process_time() - began,
    )


RECOGNISERS = {
    "random-forest": Recogniser(
        "Random forest over peak features",
        "300 trees over 138 features of the peaks that are found in the rendered "
        "pattern, grown on real crystals.",
        None,
        find_forest,
    ),
    "search-match-1": Recogniser(
        "Search-match, nearest neighbour",
        "Names the space group of the most similar known pattern (cosine of coarse "
        "profiles of the peak lists). It learns nothing about symmetry: what it scores "
        "is recognition.",
        0,
        partial(keep_neighbours, 1),
    ),
    "search-match-5": Recogniser(
        "Search-match, five nearest neighbours",
        "The five most similar known patterns vote with their similarity. It learns "
        "nothing about symmetry: what it scores is recognition.",
        0,
        partial(keep_neighbours, 5),
    ),
}
