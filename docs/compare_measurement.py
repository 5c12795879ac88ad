"""Does training with measurement effects help on measured patterns? Paired, seeds.

    python docs/compare_measurement.py FOLDER [--patterns 100000] [--seeds 3]
        [--data DATA]

The same network sees the same number of patterns twice: clean ones, and a mixture of
clean and measured ones of the same crystals. Both name the space groups of patterns of
``rruff_agi`` (measured minerals; DATA/rruff) that lie in their class list. Networks
that stand in FOLDER are not trained again.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pxrdbench.benchmark.scoring.intervals import mcnemar_exact
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.learning.loading.loader import label_of
from pxrdbench.learning.models.checkpoint import CheckpointClassifier, load_classifier
from pxrdbench.learning.training.trainer import TrainConfig, train
from pxrdbench.studies.resampling import percent_interval

GRID = TwoThetaGrid(5.0, 90.0, 4251)
ARMS = {
    "clean": (),
    "effects": ("clean", "rruff-paper", "laboratory", "laboratory-partial"),
}


def train_arm(folder: Path, arm: str, seed: int, patterns: int) -> Path:
    """The checkpoint of one network, trained now or earlier."""
    out = folder / f"{arm}-{seed}"
    if not (out / "done").exists():
        train(
            TrainConfig(
                model="scan-network",
                out=out,
                recipe=Recipe("open-v0", seed=seed, grid=GRID),
                mixture=ARMS[arm],
                patterns=patterns,
                seed=seed,
                resume=True,
                threads=1,
                loader_workers=0,
                evaluations=0,
                track=None,
                held_out=256,
            )
        )
        (out / "done").touch()
    return out / "last.pt"


def read_minerals(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Patterns of ``rruff_agi`` on the grid of the networks, and their groups."""
    with np.load(data / "rruff" / "rruff_agi_patterns.npz", allow_pickle=False) as file:
        raw = max((file[name] for name in file.files), key=lambda a: a.ndim)
    rows = (data / "rruff" / "rruff_agi_labels.csv").read_text("utf-8").splitlines()
    header = rows[0].split(",")
    column = next(i for i, name in enumerate(header) if "space" in name or name == "sg")
    groups = np.array([int(row.split(",")[column]) for row in rows[1:]])
    angles = 5.0 + 0.01 * np.arange(raw.shape[1])
    raw = raw.astype(np.float32)
    raw[:, 0] = raw[:, 1]  # the first point of each is padding
    patterns = np.stack([np.interp(GRID.angles(), angles, row) for row in raw])
    patterns -= patterns.min(axis=1, keepdims=True)
    patterns /= patterns.max(axis=1, keepdims=True)
    return patterns.astype(np.float32), groups


def ranks(model: CheckpointClassifier, x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Place of the true group among the guesses of a model, from 0."""
    logits = np.concatenate(
        [model.predict(x[i : i + 64]) for i in range(0, len(x), 64)]
    )
    label = label_of(groups, model.space_groups)
    order = np.argsort(-logits, axis=1, kind="stable")
    place: np.ndarray = np.argmax(order == label[:, None], axis=1)
    return place


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patterns", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    for seed in range(options.seeds):
        for arm, places in found.items():
            path = train_arm(options.folder, arm, seed, options.patterns)
            if options.data is None:
                continue
            model = load_classifier(path)
            x, groups = read_minerals(options.data)
            known = label_of(groups, model.space_groups) >= 0
            places.append(ranks(model, x[known], groups[known]))
    if options.data is None:
        return
    result: dict[str, object] = {"patterns_seen": options.patterns}
    for arm, places in found.items():
        for k in (1, 5, 10):
            shares = [round(100 * float(np.mean(p < k)), 2) for p in places]
            result[f"{arm} top_{k} %"] = shares
    for k in (1, 5, 10):
        hits = {arm: np.stack(places) < k for arm, places in found.items()}
        gain = hits["effects"].astype(int) - hits["clean"].astype(int)
        n = gain.shape[1]
        result["minerals"] = n
        result[f"gain top_{k}, points, by seed"] = (
            (100 * gain.mean(1)).round(2).tolist()
        )
        result[f"top_{k} mcnemar p by seed"] = [
            mcnemar_exact(int((row > 0).sum()), int((row < 0).sum())) for row in gain
        ]
        each = [str(row) for row in range(n)]
        result[f"gain top_{k}, mean, 95 %"] = percent_interval(gain.mean(0), each)
    text = json.dumps(result, indent=1)
    (options.folder / "result.json").write_text(text + "\n", "utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
