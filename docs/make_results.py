"""Train, evaluate and compare what docs/results-plan.md fixed; write docs/results.md.

    OMP_NUM_THREADS=1 python docs/make_results.py --data FOLDER --runs FOLDER
    OMP_NUM_THREADS=1 python docs/make_results.py --data FOLDER --long RUN

The second command adds what was not planned: a long run of another network.
`--data` holds `structures/mp_structures.parquet`. What `--runs` already holds is not
done again: delete a folder there to repeat it. `--page-only` writes the page anew from
docs/results.json.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from results_page import write_page

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.benchmark.scoring.metrics import mean_score
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.learning.models.checkpoint import load_checkpoint, load_classifier
from pxrdbench.learning.training.trainer import TrainConfig, train
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.studies.comparison import compare, compare_scores
from pxrdbench.studies.crystals import StudyCrystals, load_real_crystals
from pxrdbench.studies.randomisation import VARIANTS, find_variant_hits
from pxrdbench.tracks.load import TrackPart, load_table, load_track

HERE = Path(__file__).parent
MODEL, PATTERNS, SEEDS = "peak-network", 300_000, (0, 1, 2)
RANDOM, TYPES = "open/random", "open/structure-type"
# Name of an arm: what it learns from, and the tracks that judge it.
ARMS = {
    "random": (f"track:{RANDOM}/statistics", (RANDOM, TYPES)),
    "types": (f"track:{TYPES}/statistics", (TYPES,)),
    "synthetic": ("", (TYPES, RANDOM)),
}


def say(text: str) -> None:
    """Tell what is going on."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def train_arms(data: Path, runs: Path) -> dict[str, list[dict[str, Any]]]:
    """Train all arms and evaluate them; returns what each run cost."""
    costs: dict[str, list[dict[str, Any]]] = {}
    for arm, (source, tracks) in ARMS.items():
        for seed in SEEDS:
            out = runs / arm / str(seed)
            note = out / "cost.json"
            if not note.is_file():
                say(f"train {arm}, seed {seed}")
                costs.setdefault(arm, []).append(train_one(out, source, seed, data))
                note.write_text(json.dumps(costs[arm][-1]), encoding="utf-8")
            else:
                costs.setdefault(arm, []).append(json.loads(note.read_text()))
            for track in tracks:
                folder = out / "eval" / track.replace("/", "-")
                if not (folder / "evaluation.json").is_file():
                    evaluate(out / "last.pt", track, out=folder)
    return costs


def train_one(out: Path, source: str, seed: int, data: Path) -> dict[str, Any]:
    """Train one run; returns what it cost."""
    recipe = None if source else Recipe("open-v0", seed=seed)
    began = time.process_time()
    report = train(
        TrainConfig(
            model=MODEL,
            out=out,
            recipe=recipe,
            source=source or None,
            data=data if source else None,
            patterns=PATTERNS,
            seed=seed,
        )
    )
    return {
        "patterns": report.patterns_seen,
        "cpu_seconds": round(time.process_time() - began, 1),
        "parameters": report.n_parameters,
    }


def predictions_of(runs: Path, arm: str, track: str) -> list[Predictions]:
    """Read what the models of an arm said of a track."""
    folder = track.replace("/", "-")
    paths = (runs / arm / str(s) / "eval" / folder / "predictions.h5" for s in SEEDS)
    return [Predictions.read(path) for path in paths]


def restrict_track(track: TrackPart, ids: set[str]) -> TrackPart:
    """The crystals of a part that have these ids; its peaks are not needed here."""
    rows = [row for row, name in enumerate(track.ids) if name in ids]
    return replace(
        track,
        ids=tuple(track.ids[row] for row in rows),
        space_group=track.space_group[rows].copy(),
        structure_type=tuple(track.structure_type[row] for row in rows),
        crystallite_size_nm=track.crystallite_size_nm[rows].copy(),
    )


def restrict(found: Predictions, track: TrackPart) -> Predictions:
    """The predictions for the crystals of a part, in its order."""
    place = {name: row for row, name in enumerate(found.ids)}
    rows = [place[name] for name in track.ids]
    return replace(found, ids=track.ids, logits=found.logits[rows].copy())


def compare_arms(runs: Path) -> dict[str, Any]:
    """Comparisons 1, 1b and 2 of the plan."""
    types, random = load_track(TYPES, "test"), load_track(RANDOM, "test")
    both = restrict_track(types, set(random.ids))
    first = [restrict(p, both) for p in predictions_of(runs, "random", TYPES)]
    second = [restrict(p, both) for p in predictions_of(runs, "types", TYPES)]
    own = compare(
        predictions_of(runs, "synthetic", TYPES),
        predictions_of(runs, "types", TYPES),
        types,
    )
    flat = compare(first, second, both)
    a = compare(*2 * [predictions_of(runs, "random", RANDOM)], random)
    b = compare(*2 * [predictions_of(runs, "types", TYPES)], types)
    synthetic = compare(*2 * [predictions_of(runs, "synthetic", RANDOM)], random)
    return {
        "1": {**asdict(flat), "crystals": len(both)},
        "1b": unpaired(a.metrics["top_1"].first, b.metrics["top_1"].first),
        "2": {**asdict(own), "crystals": len(types)},
        "rows": {
            "random on open/random": estimates(a),
            "types on open/structure-type": estimates(b),
            "synthetic on open/structure-type": {
                name: asdict(found.first) for name, found in own.metrics.items()
            },
            "synthetic on open/random": estimates(synthetic),
        },
    }


def estimates(found: Any) -> dict[str, Any]:
    """The first arm of a comparison, all metrics."""
    return {name: asdict(one.first) for name, one in found.metrics.items()}


def unpaired(first: Any, second: Any) -> dict[str, float]:
    """Difference of two accuracies on different crystals: half widths add squared."""
    value = first.value - second.value
    low = math.hypot(first.value - first.low, second.high - second.value)
    high = math.hypot(first.high - first.value, second.value - second.low)
    return {"value": value, "low": value - low, "high": value + high}


def statistics_crystals(data: Path, count: int) -> StudyCrystals:
    """The first crystals, in order of id, of the part that the prior was fitted on."""
    table = load_table(TYPES, "statistics").sort_by("id").slice(0, count)
    types = dict(
        zip(table["id"].to_pylist(), table["structure_type"].to_pylist(), strict=True)
    )
    crystals, ids, _ = read_crystals(data, list(types))
    size = draw_uniforms(0, 0, len(ids), STREAM_CRYSTALLITE_SIZE, 1)[:, 0]
    return StudyCrystals(
        crystals, tuple(ids), tuple(types[name] for name in ids), 20.0 + 80.0 * size
    )


def randomise(data: Path, checkpoints: list[Path]) -> dict[str, Any]:
    """Comparisons 3 to 3f: synthetic-trained models on crystals drawn anew."""
    models = [load_classifier(path) for path in checkpoints]
    prior = load_prior("open-v0")
    result: dict[str, Any] = {}
    say("read crystals")
    sets = {
        "test": load_real_crystals(data, load_track(TYPES, "test")),
        "statistics": statistics_crystals(data, 5_000),
    }
    for part, crystals in sets.items():
        say(f"randomise {part}")
        hits = []
        for model in models:
            found, kept, left_out = find_variant_hits(model, crystals, prior)
            hits.append(found)
        bootstrap = ClusterBootstrap([crystals.structure_type[row] for row in kept])
        result[part] = {"crystals": len(kept), "left_out": left_out}
        pairs = {name: (name, "as they are") for name in VARIANTS}
        pairs["coordinates, not lattice"] = ("coordinates", "lattice")
        for name, pair in pairs.items():
            arms = [[mean_score(one[which][0]) for one in hits] for which in pair]
            # The same models on both sides: what a seed does cancels.
            compared = compare_scores(*arms, bootstrap, seeds_are_paired=True)
            if compared is None:
                raise SystemExit(f"no crystal of the {part} part to judge")
            result[part][name] = asdict(compared)
    return result


def learning_curve(runs: Path) -> list[dict[str, float]]:
    """Accuracy against patterns seen, from the logs of the synthetic arm."""
    return [
        {"seed": float(seed), **row}
        for seed in SEEDS
        for row in read_log(runs / "synthetic" / str(seed) / "log.csv")
    ]


def read_log(path: Path) -> list[dict[str, float]]:
    """Accuracy against patterns seen, from the log of a run."""
    lines = path.read_text().strip().splitlines()
    names = lines[0].split(",")
    rows = []
    for line in lines[1:]:
        cells = dict(zip(names, line.split(","), strict=True))
        keys = ("patterns_seen", "synthetic_top_1", "real_top_1")
        rows.append({key: float(cells[key]) for key in keys})
    return rows


def look_at_long_run(data: Path, run: Path) -> dict[str, Any]:
    """What was not planned: another network, trained longer, one seed."""
    checkpoint = load_checkpoint(run / "last.pt")
    return {
        "model": checkpoint.model,
        "patterns": checkpoint.patterns_seen,
        "cpu_seconds": round(checkpoint.training["cpu_seconds"]),
        "curve": read_log(run / "log.csv"),
        "randomised": randomise(data, [run / "last.pt"]),
    }


def main() -> None:
    """Do what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--long", type=Path)
    parser.add_argument("--page-only", action="store_true")
    given = parser.parse_args()
    record = HERE / "results.json"
    results = json.loads(record.read_text()) if record.is_file() else {}
    if given.runs is not None:
        synthetic = [given.runs / "synthetic" / str(s) / "last.pt" for s in SEEDS]
        results |= {
            "model": MODEL,
            "patterns": PATTERNS,
            "seeds": list(SEEDS),
            "costs": train_arms(given.data, given.runs),
            "comparisons": compare_arms(given.runs),
            "randomised": randomise(given.data, synthetic),
            "curve": learning_curve(given.runs),
        }
    if given.long is not None:
        results["long"] = look_at_long_run(given.data, given.long)
    if not given.page_only:
        text = json.dumps(results, indent=1, default=_plain)
        record.write_text(text + "\n", encoding="utf-8")
    write_page(results, HERE)
    say("written: docs/results.md")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


if __name__ == "__main__":
    main()
