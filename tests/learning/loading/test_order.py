"""The order of a pass: every sample once, whatever is asked for first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxrdbench.learning.loading.order import SHARDS_AT_ONCE, PassOrder


@st.composite
def orders(draw):
    sizes = draw(st.lists(st.integers(1, 90), min_size=1, max_size=2 * SHARDS_AT_ONCE))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    options = {
        "shuffle": draw(st.booleans()),
        "block": draw(st.sampled_from([1, 7, 32])),
        "shard_starts": draw(st.sampled_from([None, starts])),
        "buffer": draw(st.sampled_from([0, 50, 1000])),
        "run": draw(st.sampled_from([1, 4])),
    }
    return int(starts[-1]), options


@given(orders(), st.integers(0, 5), st.data())
def test_a_pass_is_a_permutation_and_any_piece_of_it_is_the_same(order, epoch, data):
    length, options = order
    whole = PassOrder(length, 3, epoch, **options).numbers(0, length)
    assert np.array_equal(np.sort(whole), np.arange(length))
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    piece = PassOrder(length, 3, epoch, **options).numbers(start, stop)
    assert np.array_equal(piece, whole[start:stop])
    if not options["shuffle"]:
        assert np.array_equal(whole, np.arange(length))


def test_a_batch_holds_samples_of_many_blocks():
    order = PassOrder(100_000, 0, 0, block=256, buffer=8192)
    batch = order.numbers(5000, 5128)
    assert len(set(batch // 256)) > 20
    # And yet 64 batches read no more than the 32 blocks of their window.
    assert len(set(order.numbers(0, 8192) // 256)) == 32


def test_shards_come_some_at_a_time():
    shards = np.arange(0, 101) * 1000
    order = PassOrder(100_000, 0, 0, block=250, shard_starts=shards, buffer=1000)
    first = order.numbers(0, SHARDS_AT_ONCE * 1000) // 1000
    assert len(set(first)) == SHARDS_AT_ONCE
    assert sorted(set(first)) != list(range(SHARDS_AT_ONCE))


def test_runs_stay_together():
    numbers = PassOrder(10_000, 0, 0, block=250, buffer=2000, run=10).numbers(0, 10_000)
    ends = np.flatnonzero(np.diff(numbers) != 1)
    starts = np.concatenate([[0], ends + 1])
    assert np.all(numbers[starts] % 10 == 0)
    assert len(starts) > 900


@pytest.mark.parametrize("buffer", [0, 2000])
def test_seed_and_pass_make_another_order(buffer):
    def first(seed, epoch):
        return PassOrder(9999, seed, epoch, block=250, buffer=buffer).numbers(0, 999)

    assert np.array_equal(first(1, 0), first(1, 0))
    assert not np.array_equal(first(1, 0), first(1, 1))
    assert not np.array_equal(first(1, 0), first(2, 0))


def test_neighbours_are_far_apart_after_shuffling():
    numbers = PassOrder(50_000, 4, 1, block=256, buffer=8192).numbers(0, 50_000)
    # Of independent positions, the mean distance would be a third of the length.
    assert np.abs(np.diff(numbers)).mean() > 50_000 / 5
