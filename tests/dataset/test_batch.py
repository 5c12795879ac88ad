from dataclasses import replace

import numpy as np
import pytest

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import BatchSource


def test_recipe_and_shards_are_batch_sources(recipe, shards):
    assert isinstance(recipe, BatchSource)
    assert isinstance(ShardSet(shards), BatchSource)
    assert not isinstance(object(), BatchSource)


class Numbers(BatchSource):
    """Samples that are their own numbers."""

    length = 20

    def batch(self, start, count):
        index = np.arange(start, start + count)
        return Batch(
            intensity=np.repeat(index[:, None], 3, axis=1).astype(np.float32),
            space_group=index.astype(np.int16),
            crystallite_size_nm=index.astype(np.float64),
            index=index,
            ids=tuple(map(str, index)),
            mask=np.zeros((count, 3), bool) if start < 3 else None,
        )


def test_a_source_of_ones_own_needs_only_batch():
    source = Numbers()
    assert (source.block_samples, source.run_samples) == (1, 1)
    assert source.shard_starts is None
    assert not source.is_random_access
    assert not source.skipped
    assert source.with_epoch(3) is source
    taken = source.take(np.array([1, 2, 7, 9]))
    assert taken.index.tolist() == [1, 2, 7, 9]
    assert taken.ids == ("1", "2", "7", "9")
    assert taken.mask.all(axis=1).tolist() == [False, False, True, True]
    with pytest.raises(TypeError, match="abstract"):
        BatchSource()


def test_joined_batches_keep_what_all_have(recipe):
    one, other = recipe.batch(0, 2), recipe.batch(2, 3)
    joined, whole = Batch.join([one, other]), recipe.batch(0, 5)
    np.testing.assert_array_equal(joined.intensity, whole.intensity)
    np.testing.assert_array_equal(joined.crystals.lattice, whole.crystals.lattice)
    assert joined.mask is None
    assert Batch.join([one]) is one
    assert Batch.join([one, replace(other, crystals=None)]).crystals is None


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
