import itertools
import time

import numpy as np
import pytest
import torch
from memory_source import SPACE_GROUPS, MemorySource

from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.loader import label_of, make_loader


def take(loader, n):
    return list(itertools.islice(loader, n))


def rows(batches):
    return torch.cat([batch.intensity for batch in batches])


def test_a_label_is_the_position_in_the_class_list():
    assert label_of(np.array([62, 2, 7]), [2, 14, 62]).tolist() == [2, 0, -1]
    assert label_of(np.array([62]), [62, 2]).tolist() == [0]


@pytest.mark.parametrize("classes", [[2, 2], [0, 1], [231]])
def test_a_class_list_that_cannot_be_is_refused(classes):
    with pytest.raises(ModelError, match="1-230"):
        label_of(np.array([1]), classes)


def test_shapes_types_and_values():
    source = MemorySource()
    batch = take(make_loader(source, 5), 2)[1]
    expected = source.batch(5, 5)
    assert batch.intensity.shape == (5, 1, 301)
    assert batch.intensity.dtype == torch.float32
    assert batch.label.dtype == torch.int64
    np.testing.assert_array_equal(batch.intensity[:, 0].numpy(), expected.intensity)
    np.testing.assert_array_equal(
        np.array(SPACE_GROUPS)[batch.label.numpy()], expected.space_group
    )


@pytest.mark.parametrize("length", [None, 37])
def test_threads_change_nothing(length):
    alone = take(make_loader(MemorySource(length), 8, seed=3), 12)
    threads = take(make_loader(MemorySource(length), 8, seed=3, workers=3), 12)
    for one, other in zip(alone, threads, strict=True):
        assert torch.equal(one.intensity, other.intensity)
        assert torch.equal(one.label, other.label)


@pytest.mark.parametrize("length", [None, 37])
def test_going_on_gives_what_would_have_come(length):
    whole = make_loader(MemorySource(length), 8, seed=3, workers=2)
    first = take(whole, 9)
    assert whole.patterns_given == 72
    rest = make_loader(MemorySource(length), 8, seed=3, first_pattern=5 * 8)
    assert torch.equal(rows(first[5:]), rows(take(rest, 4)))


@pytest.mark.parametrize("block", [None, 4, 50])
def test_each_pass_sees_every_sample_once_in_another_order(block):
    length = 37
    source = MemorySource(length, block=block)
    everything = {row.tobytes() for row in source.batch(0, length).intensity}
    loaded = rows(take(make_loader(source, 37, seed=1), 2))[:, 0].numpy()
    first, second = loaded[:length], loaded[length:]
    assert {row.tobytes() for row in first} == everything
    assert {row.tobytes() for row in second} == everything
    if block != 50:
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, source.batch(0, length).intensity)


def test_blocks_are_read_in_one_go():
    source = MemorySource(64, block=16)
    take(make_loader(source, 16, seed=1), 4)
    assert sorted(source.calls) == [(0, 16), (16, 16), (32, 16), (48, 16)]


def test_passes_end_and_the_last_batch_is_smaller():
    loader = make_loader(MemorySource(10), 4, shuffle=False, passes=1)
    batches = list(loader)
    assert [len(batch.label) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(
        rows(batches)[:, 0].numpy(), MemorySource(10).batch(0, 10).intensity
    )


def test_groups_outside_the_class_list_are_left_out():
    batch = take(make_loader(MemorySource(), 40, classes=(62, 14)), 1)[0]
    groups = MemorySource().batch(0, 40).space_group
    assert len(batch.label) == np.isin(groups, (62, 14)).sum()
    assert set(batch.label.tolist()) == {0, 1}
    assert len(batch.intensity) == len(batch.label)


def test_the_transform_runs_without_gradients():
    factor = torch.ones(1, requires_grad=True)
    loader = make_loader(MemorySource(), 4, workers=1, transform=lambda x: x * factor)
    assert not take(loader, 1)[0].intensity.requires_grad


def test_an_error_in_a_thread_reaches_the_caller():
    class Broken(MemorySource):
        def batch(self, start, count):
            raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        take(make_loader(Broken(), 4, workers=2), 1)


def test_waiting_is_measured():
    class Slow(MemorySource):
        def batch(self, start, count):
            time.sleep(0.05)
            return super().batch(start, count)

    loader = make_loader(Slow(), 2, workers=1, prefetch=1)
    take(loader, 3)
    assert loader.seconds_waited > 0.1


def test_loader_threads_leave_the_threads_of_torch_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(before)  # as any run before this one did
    seen = []

    def look(x):
        seen.append(torch.get_num_threads())
        return x

    take(make_loader(MemorySource(), 4, workers=2, transform=look), 3)
    assert torch.get_num_threads() == before
    assert set(seen) == {1}


@pytest.mark.parametrize(
    ("length", "options", "message"),
    [
        (None, {"passes": 1}, "endless"),
        (0, {}, "no samples"),
        (None, {"workers": -1}, "workers"),
        (None, {"batch_size": 0}, "batch size"),
    ],
)
def test_what_cannot_be_loaded_is_refused(length, options, message):
    with pytest.raises(ModelError, match=message):
        make_loader(MemorySource(length), **{"batch_size": 4, **options})


def test_each_pass_asks_for_another_epoch():
    asked = []

    class EpochSource(MemorySource):
        def with_epoch(self, epoch):
            asked.append(epoch)
            return self

    take(make_loader(EpochSource(8), 8, shuffle=False), 3)
    assert asked == [1, 2]
