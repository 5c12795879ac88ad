"""What the driver itself does for a shard, as a set grows: fabricated shards, no Ray.

    python tests/helpers/streams/measure_driver.py [--shards 1000 100000]

A crew that is done at once takes the place of workers and a store in memory that of a
disk, so that what is timed is the driver's loop alone: plan, lease, list, count, tell.
Sizes are timed in turns.
"""

import argparse
import json
import statistics
import time

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardRecord, ShardSpan
from pxrdbench.dataset.shards.shard import ShardProgress
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.factory.driver import Run
from pxrdbench.factory.plan import ShardPlan

SHARD_SAMPLES = 50_000
BYTES = 67_000_000


def record_of(span, recipe):
    """A record such as a worker hands over; blocks left out."""
    return ShardRecord(
        name=span.name,
        index=span.index,
        first=span.first,
        samples=span.samples,
        bytes=BYTES,
        sha256="",
        recipe=recipe,
        space_group_counts={},
        rejections={},
        block_offset=(),
        made_with={},
    )


class InstantCrew:
    """Every shard is there as soon as it is asked for."""

    def __init__(self, workers, recipe):
        self.workers, self.death, self._recipe = workers, "", recipe

    def start(self):
        return list(range(self.workers))

    def arrivals(self):
        return []

    def write(self, worker, span, max_bytes, *, replaces):
        return [record_of(span, self._recipe)]

    def stop(self, workers):
        """Nobody is at work."""

    def wait(self, streams):
        return streams[:1]

    def next_progress(self, stream):
        record = stream[0]
        return ShardProgress(record.samples, record.bytes, record)


class Roomy(LocalStore):
    """A folder whose disk is never asked."""

    def free_bytes(self):
        return 10**18


def time_shard(recipe, shards, more, workers, retired=0):
    """Time a shard takes the driver when so many are there [s].

    Args:
        recipe: Of the set.
        shards: How many are there when it begins.
        more: How many it hands out.
        workers: Size of the crew.
        retired: How many of those there have been deleted.
    """
    records = tuple(
        record_of(ShardSpan.of(index, SHARD_SAMPLES), recipe.digest)
        for index in range(shards)
    )
    manifest = Manifest(
        recipe.card, SHARD_SAMPLES, records=records[retired:], retired=records[:retired]
    )
    plan = ShardPlan(
        manifest,
        Roomy("/nowhere"),
        total_samples=(shards + more) * SHARD_SAMPLES,
        max_bytes=10**18,
    )
    crew = InstantCrew(workers, recipe.digest)
    run = Run(crew, plan, total_seconds=None, tell=lambda progress: None)
    started = time.process_time()
    if run.work(lambda: False) != "samples" or run.samples_new != more * SHARD_SAMPLES:
        raise SystemExit("the run did not do what it was to do")
    return (time.process_time() - started) / more


def main():
    """Do it and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--shards", type=int, nargs="+", default=[1000, 10_000, 100_000]
    )
    parser.add_argument("--more", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    recipe = Recipe(seed=7)
    times = {n: [] for n in options.shards}
    for _ in range(options.rounds):
        for n in options.shards:
            times[n].append(time_shard(recipe, n, options.more, options.workers))
    result = {n: round(1e6 * statistics.median(t), 1) for n, t in times.items()}
    print(json.dumps({"microseconds_a_shard": result}, indent=1))


if __name__ == "__main__":
    main()
