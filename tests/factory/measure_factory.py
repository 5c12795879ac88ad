"""What Ray costs: the rate of its workers against drawing in this process.

    python tests/factory/measure_factory.py [--seconds 20] [--rounds 2]

In turns: (a) draw, simulate and pack blocks in this process; (b) one Ray worker writes
shards; (c) two do. Figures are samples per second of CPU time of the process that
works, so that other programs on the machine disturb little; wall rates stand beside.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from ray_processes import find_descendants

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.shard import draw_block
from pxrdbench.factory import GenerateConfig, generate
from pxrdbench.factory.ray.session import RaySession

SHARD_SAMPLES = 10_000


def draw_here(recipe, samples):
    """Samples per second of CPU time and of wall time, in this process."""
    draw_block(recipe, 0, 1024)
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, samples, 1024):
        draw_block(recipe, start, 1024)
    done = -(-samples // 1024) * 1024
    return done / (time.process_time() - cpu), done / (time.perf_counter() - wall)


def write_with_ray(recipe, workers, seconds):
    """Samples per second of the workers' CPU time, and of wall time, by Ray workers.

    The CPU time counts from the first news to the last, so that importing and
    compiling are left out, as they are on the other side.
    """
    notes = []

    def note(progress):
        if progress.phase == "running":
            cpu = find_descendants(b"ray::ShardWorker")
            notes.append((progress.samples, sum(cpu.values()), progress.seconds))

    with tempfile.TemporaryDirectory() as folder:
        config = GenerateConfig(
            recipe,
            Path(folder) / "set",
            minutes=seconds / 60,
            workers=workers,
            shard_samples=SHARD_SAMPLES,
        )
        before = resource.getrusage(resource.RUSAGE_SELF)
        generate(config, note)
        after = resource.getrusage(resource.RUSAGE_SELF)
    (first, cpu_0, wall_0), (last, cpu_1, wall_1) = notes[0], notes[-1]
    return {
        "samples_per_cpu_second": (last - first) / (cpu_1 - cpu_0),
        "samples_per_second": (last - first) / (wall_1 - wall_0),
        "driver_cpu_share": (after.ru_utime - before.ru_utime) / (wall_1 - wall_0),
        "samples": last - first,
    }


def main():
    """Measure in turns and print the best of each as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    recipe = Recipe(seed=7)
    here, one, two = [], [], []
    for _ in range(options.rounds):
        here.append(draw_here(recipe, 30_000))
        for workers, rates in ((1, one), (2, two)):
            with RaySession(workers):
                rates.append(write_with_ray(recipe, workers, options.seconds))
    key = "samples_per_cpu_second"
    best = max(cpu for cpu, _ in here)
    best_one, best_two = (max(r[key] for r in rates) for rates in (one, two))
    print(
        json.dumps(
            {
                "in_process": [[round(v) for v in pair] for pair in here],
                "one_worker": one,
                "two_workers": two,
                "one_worker_over_in_process": round(best_one / best, 3),
                "cpu_time_a_sample_two_over_one": round(best_one / best_two, 3),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
