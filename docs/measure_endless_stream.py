"""On an endless stream nothing is seen twice: next batches score as held-out ones.

    python docs/measure_endless_stream.py CHECKPOINT [--seed 0] [--patterns 8192]

The checkpoint is of a run with --online and the same seed. At its weights, the patterns
that it would be trained on next are compared with those that are held out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.learning.models.checkpoint import load_classifier
from pxrdbench.learning.training.progress import top_k_accuracy

HELD_OUT_START = 2**40
CHUNK = 512


def main() -> None:
    """Print both accuracies and their difference in standard errors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patterns", type=int, default=8192)
    options = parser.parse_args()
    model = load_classifier(options.checkpoint)
    checkpoint = model.checkpoint
    recipe = Recipe(
        "open-v0",
        seed=options.seed,
        grid=checkpoint.grid,
        radiation=checkpoint.radiation,
    )
    if recipe.digest != checkpoint.recipe_digest:
        parser.error("the checkpoint is of another recipe: give its --seed")
    shares = []
    for start in (checkpoint.patterns_seen, HELD_OUT_START):
        hits = []
        for first in range(start, start + options.patterns, CHUNK):
            batch = recipe.batch(first, CHUNK)
            logits = model.predict(batch.intensity)
            classes = model.space_groups
            hits.append(top_k_accuracy(logits, batch.space_group, classes, 1))
        shares.append(float(np.mean(hits)))
    error = np.sqrt(sum(p * (1 - p) for p in shares) / options.patterns)
    sys.stdout.write(
        f"{checkpoint.model} after {checkpoint.patterns_seen:,} patterns: next unseen "
        f"{100 * shares[0]:.2f} %, held out {100 * shares[1]:.2f} %, difference "
        f"{(shares[0] - shares[1]) / error:+.2f} standard errors\n"
    )


if __name__ == "__main__":
    main()
