"""Small data sets, written in this process."""

from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.shard import write_shard

SHARD_SAMPLES = 600
BLOCK_SAMPLES = 256


def write_set(recipe, folder, n_shards=2, first=0):
    """Write shards of 600 samples; returns the folder."""
    folder.mkdir(exist_ok=True)
    Manifest(recipe.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(folder)
    for index in range(first, first + n_shards):
        span = ShardSpan.of(index, SHARD_SAMPLES)
        for _ in write_shard(recipe, folder, span, block_samples=BLOCK_SAMPLES):
            pass
    return folder
