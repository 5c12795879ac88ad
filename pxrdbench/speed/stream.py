"""How fast samples flow, stage by stage: made, stored, loaded, exported, waited for."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pxrdbench.dataset.export.write import ExportConfig, export_shards
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan, describe_versions
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.learning.loading.loader import make_loader

# The network of the trainer that is waited for is replaced by a pause of as long.
_TRAINED_PER_SECOND = 2000.0
_SAMPLES_AT_ONCE = 256


def benchmark_stream(
    recipe: Recipe,
    *,
    samples: int = 8192,
    batch_size: int = 256,
    folder: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time every stage between a prior and a training, one after the other.

    Times are CPU times of this process, all threads together; set OMP_NUM_THREADS=1.
    Rates on the clock stand beside them: on a busy machine they are lower.

    Args:
        recipe: What to draw.
        samples: Samples of each stage, beside some to warm up.
        batch_size: Patterns of a loader's batch.
        folder: For the shards of the test, which are kept there; a temporary one if
            None.
        on_progress: Called with the name of each stage.

    Returns:
        ``stages``: name, ``cpu_microseconds`` of a sample, ``per_core_second`` and
        ``per_second``; ``waiting`` of a trainer; what was measured on.
    """
    tell = on_progress or (lambda _: None)
    stages: list[dict[str, Any]] = []

    def measure(name: str, steps: Iterator[int]) -> None:
        tell(name)
        next(steps)  # compiled, opened and cached before the clock starts
        stages.append({"name": name, **_time(steps, samples)})

    with _folder(folder) as work:
        measure("draw and simulate", _draw(recipe))
        measure("draw, simulate and render", _make(recipe))
        measure("recipe to torch batches", _load(recipe, batch_size))
        measure("write block shards", _write(recipe, work / "shards", samples))
        shards = work / "shards"
        measure("block shards to torch batches", _load(ShardSet(shards), batch_size))
        measure("the same, one block a batch", _load(ShardSet(shards), 256, buffer=0))
        tell("export")
        export_shards(ExportConfig(shards, work / "parquet"))
        measure("Parquet, datasets streaming", _stream(work / "parquet", True))
        measure("Parquet, datasets on disk", _stream(work / "parquet", False))
        tell("a trainer that waits")
        waiting = _wait(ShardSet(shards), batch_size)
    return {
        "samples": samples,
        "batch_size": batch_size,
        "recipe": recipe.digest,
        "stages": stages,
        "waiting": waiting,
        "made_with": {**describe_versions(), "torch": torch.__version__},
    }


def _time(steps: Iterator[int], samples: int) -> dict[str, float]:
    """Take steps until there are enough samples; times of one."""
    clock, cpu, done = time.perf_counter(), time.process_time(), 0
    for count in steps:
        done += count
        if done >= samples:
            break
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return {
        "cpu_microseconds": 1e6 * cpu / done,
        "per_core_second": done / cpu,
        "per_second": done / clock,
    }


def _draw(recipe: Recipe) -> Iterator[int]:
    for start in itertools.count(0, _SAMPLES_AT_ONCE):
        yield len(recipe.peaks(start, _SAMPLES_AT_ONCE))


def _make(recipe: Recipe) -> Iterator[int]:
    for start in itertools.count(0, _SAMPLES_AT_ONCE):
        yield len(recipe.batch(start, _SAMPLES_AT_ONCE))


def _load(source: Any, batch_size: int, **options: Any) -> Iterator[int]:
    for batch in make_loader(source, batch_size, **options):
        yield len(batch.label)


def _write(recipe: Recipe, folder: Path, samples: int) -> Iterator[int]:
    """Write one shard; its first step is that of a shard which is thrown away."""
    folder.mkdir(parents=True, exist_ok=True)
    Manifest(recipe.card, samples).write(folder)
    yield next(write_shard(recipe, folder, ShardSpan.of(1, samples))).samples
    told = 0
    for progress in write_shard(recipe, folder, ShardSpan.of(0, samples)):
        # The last samples count when the shard has its name and its record.
        if progress.record is not None or progress.samples < samples:
            yield progress.samples - told
            told = progress.samples


def _stream(folder: Path, streaming: bool) -> Iterator[int]:
    """Rows as `datasets` gives them, patterns decoded; passes without end."""
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset(
            str(folder), split="train", streaming=streaming, cache_dir=cache
        )
        while True:
            for row in rows:
                pattern = np.frombuffer(row["intensity"], "<u2")
                yield int(len(pattern) > 0)


def _wait(source: ShardSet, batch_size: int) -> dict[str, Any]:
    """Have a trainer of known speed wait for a loader with one thread."""
    loader = make_loader(source, batch_size, workers=1, prefetch=4)
    pause = batch_size / _TRAINED_PER_SECOND
    for _ in itertools.islice(loader, max(4, int(2.0 / pause))):
        time.sleep(pause)
    seen = loader.throughput
    return {
        "trained_per_second": _TRAINED_PER_SECOND,
        "workers": 1,
        "waited": seen.waited,
        "made_per_core_second": seen.made_per_core_second,
        "given_per_second": seen.given_per_second,
    }


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="pxrdbench-") as path:
        yield Path(path)
