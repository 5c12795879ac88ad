"""A loader on a set that is still written: all samples, once, and then the end."""

import itertools
import json
import threading
import time

import numpy as np
import pytest
import torch
from small_sets import BLOCK_SAMPLES, SHARD_SAMPLES

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.rolling import (
    END_FILE,
    RollingSet,
    acknowledgement_ending,
)
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ShardError
from pxrdbench.learning.loading.loader import make_loader

RECIPE = Recipe("open-v0", seed=7, grid=TwoThetaGrid(10.0, 60.0, 501))


def write(folder, index, samples=SHARD_SAMPLES):
    span = ShardSpan(index, index * SHARD_SAMPLES, samples)
    for _ in write_shard(RECIPE, folder, span, block_samples=BLOCK_SAMPLES):
        pass


@pytest.fixture
def growing(tmp_path):
    """Three shards that come one by one, the last one short, and then the end."""
    Manifest(RECIPE.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(tmp_path)

    def produce():
        for index, samples in enumerate((600, 600, 350)):
            time.sleep(0.2)
            write(tmp_path, index, samples)
        time.sleep(0.2)
        (tmp_path / END_FILE).write_text(json.dumps({"samples": 1550}))

    producer = threading.Thread(target=produce)
    producer.start()
    yield tmp_path
    producer.join()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_growing_set_is_followed_to_its_end(growing, workers):
    loader = make_loader(RollingSet(growing, patience=30), 100, workers=workers)
    loaded = list(loader)
    assert [len(batch.label) for batch in loaded] == [100] * 15 + [50]
    rows = torch.cat([batch.intensity for batch in loaded])[:, 0].numpy()
    assert np.abs(rows - RECIPE.batch(0, 1550).intensity).max() <= 2e-4
    assert loader.throughput.given == 1550
    assert loader.throughput.waited > 0.0


def test_a_loader_resumes_on_a_set_that_has_rolled_on(growing):
    first = make_loader(RollingSet(growing, "trainer", patience=30), 100)
    begun = list(itertools.islice(first, 7))
    acknowledged = list(growing.glob(f"*.{acknowledgement_ending('trainer')}"))
    assert [path.name[:12] for path in acknowledged] == ["shard-000000"]
    second = make_loader(RollingSet(growing, "trainer", patience=30), 100, workers=3)
    second.load_state_dict(first.state_dict())
    rest = list(second)
    rows = torch.cat([batch.intensity for batch in begun + rest])[:, 0].numpy()
    assert len(rows) == 1550
    assert np.abs(rows - RECIPE.batch(0, 1550).intensity).max() <= 2e-4


def test_a_set_that_stops_growing_is_named(tmp_path):
    Manifest(RECIPE.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(tmp_path)
    write(tmp_path, 0)
    loader = make_loader(RollingSet(tmp_path, patience=0.3), 100, workers=1)
    loaded = []
    with pytest.raises(ShardError, match=r"shard-000001 has not come for 0 s"):
        loaded.extend(loader)
    assert loader.patterns_given == 600
