import numpy as np
import pytest

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import BatchSource


def test_recipe_and_shards_are_batch_sources(recipe, shards):
    assert isinstance(recipe, BatchSource)
    assert isinstance(ShardSet(shards), BatchSource)
    assert not isinstance(object(), BatchSource)


def test_arrays_of_a_batch_are_frozen():
    batch = Batch(
        intensity=np.zeros((2, 5), np.float32),
        space_group=np.array([1, 2], np.int16),
        crystallite_size_nm=np.full(2, 50.0),
        index=np.arange(2),
    )
    assert len(batch) == 2
    with pytest.raises(ValueError, match="read-only"):
        batch.intensity[0] = 1.0
