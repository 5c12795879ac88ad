import numpy as np
import pytest
from memory_source import MemorySource

from pxrdbench.dataset.source import BatchSource
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.source_range import SourceRange


class EpochSource(MemorySource):
    epoch = 0

    def with_epoch(self, epoch):
        other = EpochSource(self.length)
        other.epoch = epoch
        return other


def test_a_range_counts_from_zero():
    source = MemorySource(20, block=4)
    part = SourceRange(source, 12, 20)
    assert isinstance(part, BatchSource)
    assert part.length == 8
    assert part.block_samples == 4
    assert part.grid == source.grid
    assert part.space_groups == source.space_groups
    np.testing.assert_array_equal(part.batch(1, 3).index, [13, 14, 15])


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (7, 2), (0, 0)])
def test_what_lies_outside_is_refused(start, count):
    with pytest.raises(ModelError, match="range of 8"):
        SourceRange(MemorySource(20), 12, 20).batch(start, count)


def test_a_range_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="source of 20"):
        SourceRange(MemorySource(20), 12, 21)
    with pytest.raises(ModelError):
        SourceRange(MemorySource(20), 12, 12)


def test_passes_reach_the_source_behind():
    part = SourceRange(EpochSource(20), 12, 20).with_epoch(3)
    assert part.source.epoch == 3
    assert part.start == 12
    plain = SourceRange(MemorySource(20), 12, 20)
    assert plain.with_epoch(3) is plain
