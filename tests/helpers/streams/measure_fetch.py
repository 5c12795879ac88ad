"""How fast a loader's pass is over shards of a store that takes its time for each.

    python tests/helpers/streams/measure_fetch.py [--seconds 0.3] [--shards 48]

Shards of 2,048 samples lie in fsspec's memory; a fetch of a whole one waits so long
before it begins. Nobody computes with the batches.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import fsspec

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.learning.loading.loader import make_loader

SHARD_SAMPLES = 2048


def main():
    """Do it and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--shards", type=int, default=48)
    options = parser.parse_args()
    recipe, memory = Recipe("open-v0", seed=3), fsspec.filesystem("memory")
    plain = ObjectStore.fetch

    def fetch(self, name, path):
        time.sleep(options.seconds)
        plain(self, name, path)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "set"
        folder.mkdir()
        Manifest(recipe.card, SHARD_SAMPLES, 256).write(folder)
        for index in range(options.shards):
            span = ShardSpan.of(index, SHARD_SAMPLES)
            for _ in write_shard(recipe, folder, span, block_samples=256):
                pass
        for path in folder.iterdir():
            memory.pipe_file(f"/fetched/{path.name}", path.read_bytes())
        next(iter(make_loader(folder, 256, passes=1)))  # kernels are compiled
        ObjectStore.fetch = fetch
        shards = ShardSet("memory://fetched", cache=Path(name) / "cache")
        loader = make_loader(shards, 256, passes=1, workers=2)
        started, given, first = time.perf_counter(), 0, None
        for batch in loader:
            given += len(batch.label)
            first = first or time.perf_counter() - started
        seconds = time.perf_counter() - started
    result = {
        "seconds_a_fetch": options.seconds,
        "patterns_per_second": round(given / seconds),
        "seconds_to_the_first_batch": round(first, 2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
