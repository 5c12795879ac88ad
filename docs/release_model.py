"""Make a shipped model and its card of a finished or stopped training run.

    python docs/release_model.py RUN_FOLDER NAME [--data DATA]

DATA holds ``structures/mp_structures.parquet`` and lets the card say how the model does
on the real crystals of ``dev``, measured as in the training.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.learning.loading.mixture import find_mixed_measurement
from pxrdbench.learning.models.checkpoint import (
    CheckpointClassifier,
    load_checkpoint,
    load_classifier,
)
from pxrdbench.learning.models.release import release_checkpoint
from pxrdbench.learning.training.progress import top_k_accuracy
from pxrdbench.tracks.load import load_table, load_track

TRACK = "open/structure-type"
FOLDER = Path(__file__).parent.parent / "pxrdbench" / "learning" / "models"
HELD_OUT_START = 2**42
N_SYNTHETIC = 1024


def accuracies(
    classifier: CheckpointClassifier, intensity: np.ndarray, space_group: np.ndarray
) -> dict[str, float]:
    """Top-1, 5, 10 on some patterns, and their number."""
    rows = range(0, len(intensity), 256)
    logits = np.concatenate([classifier.predict(intensity[i : i + 256]) for i in rows])
    return {
        f"top_{k}": round(
            top_k_accuracy(logits, space_group, classifier.space_groups, k), 4
        )
        for k in (1, 5, 10)
    } | {"n": len(space_group)}


def measured_dev(
    name: str, recipe: Recipe, crystals: CrystalBatch, sizes: np.ndarray
) -> np.ndarray:
    """Crystals of ``dev``, measured in one of the ways of the training."""
    measurement = find_mixed_measurement(name)
    samples = Samples(20261123, 0, len(crystals))
    pool = Recipe(recipe.prior, 5, grid=recipe.grid, measurement=measurement).pool
    grid = recipe.grid
    peaks = measurement.simulate(
        crystals, samples, two_theta=(grid.start - 2, grid.stop + 2), pool=pool
    )
    return measurement.render(peaks, grid, samples, sizes, pool=pool).intensity


def real_accuracies(
    classifier: CheckpointClassifier,
    names: Sequence[str],
    recipe: Recipe,
    data: Path | None,
) -> dict[str, dict[str, float]]:
    """Accuracies on ``dev``: frozen patterns, and measured ones where data is."""
    part = replace(load_track(TRACK, "dev"), grid=classifier.grid)
    batch = part.batch(0, len(part))
    found = {"clean": accuracies(classifier, batch.intensity, batch.space_group)}
    if data is None:
        return found
    from pxrdbench.sources.databases.materials_project import read_crystals

    table = load_table(TRACK, "dev")
    ids = table["id"].to_pylist()
    size = dict(zip(ids, table["crystallite_size_nm"].to_pylist(), strict=True))
    crystals, kept, _ = read_crystals(data, ids)
    sizes = np.array([size[name] for name in kept])
    for name in names:
        if name != "clean":
            x = measured_dev(name, recipe, crystals, sizes)
            found[name] = accuracies(classifier, x, crystals.space_group)
    return found


def main() -> None:
    """Write the model and its card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--command", default="")
    options = parser.parse_args()
    trained = load_checkpoint(options.run / "last.pt")
    names = trained.measurement or ("clean",)
    recipe = Recipe("open-v0", seed=0, grid=trained.grid, radiation=trained.radiation)
    held_out = []
    for number, name in enumerate(names):
        way = Recipe(
            "open-v0",
            seed=0,
            grid=trained.grid,
            radiation=trained.radiation,
            measurement=find_mixed_measurement(name),
        )
        held_out.append(way.batch(HELD_OUT_START + number * N_SYNTHETIC, N_SYNTHETIC))
    out = FOLDER / f"{options.name}.pt"
    # One half calibrates, the other judges.
    first = [half(batch, 0) for batch in held_out]
    second = [half(batch, 1) for batch in held_out]
    released = release_checkpoint(options.run / "last.pt", out, first)
    classifier = load_classifier(out)
    card = {
        "name": options.name,
        "architecture": trained.model,
        "parameters": sum(v.numel() for v in trained.state_dict.values()),
        "bytes": out.stat().st_size,
        "space_groups": len(trained.space_groups),
        "grid": [trained.grid.start, trained.grid.stop, trained.grid.points],
        "radiation": trained.radiation.name,
        "training_command": options.command,
        "measurement": list(names),
        "patterns_seen": trained.patterns_seen,
        "cpu_seconds": round(trained.training["cpu_seconds"]),
        "hardware": "2 shared cores of an AMD EPYC (Zen 4), no GPU",
        "recipe_digest": trained.recipe_digest,
        "prior_digest": trained.prior_digest,
        "temperature": round(released.temperature, 4),
        "accuracy_synthetic": {
            name: accuracies(classifier, batch.intensity, batch.space_group)
            for name, batch in zip(names, second, strict=True)
        },
        f"accuracy {TRACK} dev": real_accuracies(
            classifier, names, recipe, options.data
        ),
    }
    text = json.dumps(card, indent=1)
    out.with_suffix(".json").write_text(text + "\n", "utf-8")
    sys.stdout.write(text + "\n")


def half(batch: Batch, which: int) -> Batch:
    """Every other sample."""
    rows = slice(which, None, 2)
    return replace(
        batch,
        intensity=batch.intensity[rows],
        space_group=batch.space_group[rows],
        crystallite_size_nm=batch.crystallite_size_nm[rows],
        index=batch.index[rows],
        crystals=None,
        mask=None,
    )


if __name__ == "__main__":
    main()
