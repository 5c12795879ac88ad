import pytest

from pxrdbench.dataset.manifest import Manifest, ShardSpan
from pxrdbench.dataset.recipe import Recipe
from pxrdbench.dataset.shard import write_shard

SHARD_SAMPLES = 600
BLOCK_SAMPLES = 256


@pytest.fixture(scope="session")
def recipe():
    return Recipe("open-v0", seed=7)


def write_set(recipe, folder, n_shards=2):
    """Write a small data set in this process; returns the folder."""
    folder.mkdir()
    Manifest(recipe.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(folder)
    for index in range(n_shards):
        span = ShardSpan.of(index, SHARD_SAMPLES)
        for _ in write_shard(recipe, folder, span, block_samples=BLOCK_SAMPLES):
            pass
    return folder


@pytest.fixture(scope="session")
def shards(recipe, tmp_path_factory):
    """Two shards of 600 samples, for tests that only read."""
    return write_set(recipe, tmp_path_factory.mktemp("shards") / "set")
