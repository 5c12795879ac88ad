"""A network against a forest on real crystals and against search-match, paired.

    python docs/compare_baselines.py CHECKPOINT OUT.json --data DATA [--part test]

DATA holds ``structures/mp_structures.parquet``. The forest and search-match learn from
the real crystals of the part ``statistics``; the network has seen none.
"""

import argparse
import json
import sys
from pathlib import Path

from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.learning.loading.real_crystals import RealCrystals, open_real_crystals
from pxrdbench.learning.models.checkpoint import load_classifier
from pxrdbench.learning.networks.peak_forest import PeakForest
from pxrdbench.studies.comparison import compare
from pxrdbench.studies.recognition import grow_forest
from pxrdbench.studies.search_match import SearchMatch, predict_search_match
from pxrdbench.tracks.load import load_track

TRACK = "open/structure-type"
METRICS = ("top_1", "top_5", "top_10")


def find_forest(source: RealCrystals, folder: Path) -> PeakForest:
    """The forest of earlier, or one grown now."""
    path = folder / "forest.npz"
    if path.is_file():
        return PeakForest.load(path)
    forest = grow_forest(source)
    forest.save(path)
    return forest


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="test")
    options = parser.parse_args()
    source, _ = open_real_crystals(f"track:{TRACK}/statistics", options.data, None, 0)
    part = load_track(TRACK, options.part)
    model = load_classifier(options.checkpoint)
    own = predict_track(model, part)
    known = SearchMatch(source.peaks, source.crystals.space_group, k=1)
    arms = {
        "random forest, real crystals": predict_track(
            find_forest(source, options.out.parent), part
        ),
        "1-NN search-match, real crystals": predict_search_match(
            part, known, source=f"{TRACK} statistics"
        ),
    }
    found = {
        "patterns_seen": model.checkpoint.patterns_seen,
        "model": model.checkpoint.model,
        "part": options.part,
    }
    for name, arm in arms.items():
        compared = compare(own, arm, part, metrics=METRICS)
        found[name] = compared.to_dict()
        for metric, value in compared.metrics.items():
            sys.stdout.write(
                f"{name} {metric}: network {value.first}, it {value.second}, "
                f"difference {value.difference}, p {value.p_value}\n"
            )
    options.out.write_text(json.dumps(found, indent=1, default=str) + "\n", "utf-8")


if __name__ == "__main__":
    main()
