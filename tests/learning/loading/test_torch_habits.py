"""What a person who knows torch expects of a loader and of a set.

After the cases of shared/data/public_cases/streams: second_epoch_empty, uneven_ranks,
torch_dataloader, state_of_another_set, cache_smaller_than_window.
"""

import itertools
import logging
import os
import pickle  # noqa: TID251 - what torch does to a data set, not a file of ours

import numpy as np
import pytest
import torch
from memory_source import MemorySource
from small_sets import write_set
from torch.utils.data import DataLoader, IterableDataset

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.rolling import RollingSet, open_rolling
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.dealing import Dealing
from pxrdbench.learning.loading.loader import make_loader

GRID = TwoThetaGrid(10.0, 60.0, 501)
RECIPE = Recipe("open-v0", seed=7, grid=GRID)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of 600 samples."""
    return write_set(RECIPE, tmp_path_factory.mktemp("habits") / "set", 3)


def rows_of(batches):
    return [row.numpy().tobytes() for batch in batches for row in batch.intensity]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_iteration_is_a_pass_in_an_order_of_its_own(folder, workers):
    loader = make_loader(folder, 256, passes=1, workers=workers)
    assert len(loader) == 8
    epochs = [torch.cat([b.label for b in loader]) for _ in range(3)]
    assert [len(labels) for labels in epochs] == [1800] * 3
    assert not torch.equal(epochs[0], epochs[1])
    counts = [torch.bincount(labels, minlength=95) for labels in epochs]
    assert torch.equal(counts[0], counts[1])
    # As a loader of many passes has it.
    whole = make_loader(folder, 200, passes=3)
    parts = make_loader(folder, 200, passes=1)
    labels = torch.cat([b.label for b in whole])
    assert torch.equal(labels, torch.cat([b.label for _ in range(3) for b in parts]))


def test_a_break_restarts_and_a_state_goes_on(folder):
    loader = make_loader(folder, 256, passes=1)
    for _ in loader:
        break
    assert sum(len(b.label) for b in loader) == 1800
    for number, _ in enumerate(loader):
        if number == 2:
            state = loader.state_dict()
            break
    rest = make_loader(folder, 256, passes=1)
    rest.load_state_dict(state)
    assert sum(len(b.label) for b in rest) == 1800 - 3 * 256
    assert sum(len(b.label) for b in rest) == 1800


def test_a_stream_without_passes_goes_on_and_has_no_length():
    loader = make_loader(MemorySource(), 10)
    with pytest.raises(TypeError, match="never ends"):
        len(loader)
    list(itertools.islice(loader, 3))
    assert loader.state_dict()["patterns_given"] == 30
    with pytest.raises(ModelError, match="no epochs"):
        loader.set_epoch(1)


@pytest.mark.parametrize("length", [7, 100, 101, 1000, 1003, 1800])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 10, 256])
def test_ranks_get_as_many_batches_and_share_every_sample(
    length, world_size, batch_size
):
    dealt, batches = [], []
    for rank in range(world_size):
        deal = Dealing(batch_size, rank, world_size, length)
        position, own = 0, []
        while spans := deal.spans(position, deal.samples):
            own.append(sum(b - a for a, b in spans))
            position += own[-1]
            dealt += [n for a, b in spans for n in range(a, b)]
        assert position == deal.samples
        assert len(own) == deal.batches
        assert all(0 < n <= max(batch_size, 2) for n in own)
        # The next iteration deals the next samples in the same way.
        again = deal.spans(position, None)
        assert again[0][0] - length == deal.spans(0, None)[0][0]
        batches.append(len(own))
    assert len(set(batches)) == 1
    left_out = length % world_size if batch_size == 1 else 0
    assert sorted(dealt) == list(range(length - left_out))


def test_ranks_of_a_loader_agree(folder):
    for world_size, batch_size in ((3, 256), (7, 256), (8, 1000)):
        counts = [
            sum(1 for _ in make_loader(folder, batch_size, passes=1, **ranks))
            for ranks in (
                {"rank": r, "world_size": world_size} for r in range(world_size)
            )
        ]
        assert len(set(counts)) == 1
        assert counts[0] > 0


def test_ranks_that_cannot_be_are_refused(folder):
    for ranks in ({"world_size": 2}, {"rank": 0}):
        with pytest.raises(ModelError, match="give both, or neither"):
            make_loader(folder, 10, **ranks)
    with pytest.raises(ModelError, match="cannot be shared by 7 processes"):
        make_loader(MemorySource(5), 2, passes=1, rank=0, world_size=7)


class Wrapped(IterableDataset):
    """A data set of a user's own around a loader."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            yield batch.intensity


@pytest.mark.parametrize(
    ("context", "wrap"), [("fork", True), ("fork", False), ("spawn", False)]
)
def test_workers_of_a_data_loader_share_the_samples(folder, context, wrap):
    loader = make_loader(folder, 128, passes=1)
    ours = DataLoader(
        Wrapped(loader) if wrap else loader,
        batch_size=None,
        num_workers=2,
        multiprocessing_context=context,
    )
    given = [x if wrap else x.intensity for x in ours]
    assert sum(len(x) for x in given) == 1800
    rows = {row.numpy().tobytes() for x in given for row in x}
    assert len(rows) == 1800
    if context == "fork" and not wrap:
        loader.set_epoch(1)
        again = [x.label for x in ours]
        assert sum(len(x) for x in again) == 1800
        assert not torch.equal(again[0], next(iter(make_loader(folder, 128))).label)


def test_what_workers_cannot_share_is_refused(folder, tmp_path):
    Manifest(RECIPE.card, 600, 256).write(tmp_path)
    open_rolling(tmp_path, "trainer")
    for _ in write_shard(RECIPE, tmp_path, ShardSpan.of(0, 600)):
        pass
    rolling = make_loader(RollingSet(tmp_path, "trainer"), 100)
    with pytest.raises(ModelError, match="num_workers=0"):
        next(iter(DataLoader(rolling, batch_size=None, num_workers=1)))
    resumed = make_loader(folder, 100, passes=1, first_pattern=100)
    with pytest.raises(ModelError, match="num_workers=0"):
        next(iter(DataLoader(resumed, batch_size=None, num_workers=1)))


def test_a_set_is_a_map_of_samples(folder):
    shards = ShardSet(folder)
    sample = shards[700]
    assert sample["intensity"].shape == (501,)
    assert sample["index"] == 700
    assert shards.space_groups[sample["label"]] == sample["space_group"]
    assert shards[-1]["index"] == 1799
    assert shards[np.int64(5)]["index"] == 5
    assert shards[590:620].index.tolist() == list(range(590, 620))
    assert shards[10:0:-5].index.tolist() == [10, 5]
    assert len(shards[5:5]) == 0
    for wrong in (1800, -1801):
        with pytest.raises(IndexError):
            shards[wrong]
    loader = DataLoader(shards, batch_size=100, shuffle=True, num_workers=2)
    seen = torch.cat([batch["index"] for batch in loader])
    assert sorted(seen.tolist()) == list(range(1800))


def test_a_set_travels_to_another_process_as_it_is(folder, tmp_path):
    shards = ShardSet(folder, measurement="rruff-paper-pure")
    there = pickle.loads(pickle.dumps(shards.with_epoch(2)))  # noqa: S301 - our own
    assert there.epoch == 2
    np.testing.assert_array_equal(
        there.batch(10, 20).intensity, shards.with_epoch(2).batch(10, 20).intensity
    )
    assert there.identity() == shards.identity()


def test_states_of_other_sets_are_refused(folder, tmp_path):
    seed = write_set(
        Recipe("open-v0", seed=8, grid=GRID), tmp_path / "seed", n_shards=3
    )
    larger = tmp_path / "large"
    larger.mkdir()
    Manifest(RECIPE.card, 900, 256).write(larger)
    for index in range(2):
        for _ in write_shard(RECIPE, larger, ShardSpan.of(index, 900)):
            pass
    state = make_loader(folder, 256).state_dict()
    measured = ShardSet(folder, measurement="rruff-paper-pure")
    for other in (seed, larger, measured):
        with pytest.raises(ModelError, match="the order would be another"):
            make_loader(other, 256).load_state_dict(state)
    with pytest.raises(ModelError, match="passes"):
        make_loader(folder, 256, passes=1).load_state_dict(state)
    of_recipe = make_loader(RECIPE, 256).state_dict()
    with pytest.raises(ModelError, match="recipe"):
        make_loader(RECIPE.replace(seed=1), 256).load_state_dict(of_recipe)


def test_a_state_of_an_older_version_is_read(folder):
    state = make_loader(folder, 256).state_dict()
    old = {n: state[n] for n in ("seed", "batch_size", "shuffle", "buffer", "rank")}
    old |= {"world_size": 1, "length": 1800, "patterns_given": 512}
    loader = make_loader(folder, 256)
    loader.load_state_dict(old)
    assert loader.patterns_given == 512


def test_a_small_cache_is_told_of_and_fetches_each_shard_about_once(
    tmp_path, monkeypatch, caplog
):
    folder = write_set(RECIPE, tmp_path / "set", 12)
    url = f"memory://habits/{os.urandom(4).hex()}"
    store = open_store(url)
    for name, data in open_store(folder).read_many(open_store(folder).sizes()).items():
        store.write(name, data)
    fetched, plain = [], ObjectStore.fetch
    monkeypatch.setattr(
        ObjectStore,
        "fetch",
        lambda self, name, path: (fetched.append(name), plain(self, name, path))[1],
    )
    size = max(record.bytes for record in Manifest.read(folder).records)
    remote = ShardSet(url, cache=tmp_path / "cache", cache_bytes=int(2.5 * size))
    with caplog.at_level(logging.WARNING):
        loader = make_loader(remote, 256, passes=1, buffer=1024)
    assert "room for 1 shards" in caplog.text
    assert sum(len(batch.label) for batch in loader) == 12 * 600
    assert len(fetched) < 24
    wide = ShardSet(url, cache=tmp_path / "cache")
    assert wide.shards_at_once == 16
