"""A loader that stops anywhere goes on as if it had never stopped."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from memory_source import MemorySource
from small_sets import write_set

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import EndOfSource
from pxrdbench.diffraction.measurement.measurement import Measurement, PartialRange
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError, ShardError
from pxrdbench.learning.loading.loader import make_loader
from pxrdbench.learning.loading.source_range import SourceRange

GRID = TwoThetaGrid(10.0, 60.0, 501)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of 600 samples in blocks of 256, on a short grid."""
    recipe = Recipe("open-v0", seed=7, grid=GRID)
    return write_set(recipe, tmp_path_factory.mktemp("shards") / "set", 3)


def take(loader, n):
    return list(itertools.islice(loader, n))


def same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.intensity, other.intensity)
        assert torch.equal(one.label, other.label)


@pytest.mark.parametrize("kind", ["shards", "recipe", "range", "memory"])
def test_fifty_stops_change_nothing(kind, folder):
    """Over two and a half passes, with 0 to 3 threads, a new number at each stop."""
    source = {
        "shards": lambda: ShardSet(folder),
        "recipe": lambda: Recipe("open-v0", seed=7, grid=GRID),
        "range": lambda: SourceRange(ShardSet(folder), 100, 1700),
        "memory": lambda: MemorySource(900, block=64),
    }[kind]()
    n_batches = 70
    undisturbed = take(make_loader(source, 64, seed=5, buffer=700), n_batches)
    random = np.random.default_rng(11)
    stops = np.sort(random.integers(0, n_batches + 1, 50))
    stream, state = [], None
    for stop in [*stops.tolist(), n_batches]:
        loader = make_loader(
            source, 64, seed=5, buffer=700, workers=int(random.integers(4))
        )
        if state is not None:
            loader.load_state_dict(json.loads(state))
        stream += take(loader, stop - len(stream))
        state = json.dumps(loader.state_dict())
        assert loader.patterns_given == 64 * stop
    same(stream, undisturbed)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_every_sample_comes_once_a_pass(workers, folder):
    source = ShardSet(folder)
    loaded = take(make_loader(source, 250, workers=workers, passes=2), 99)
    assert sum(len(batch.label) for batch in loaded) == 2 * 1800
    # Sizes are drawn anew in the second pass: compare labels, then the first pass.
    first = torch.cat([b.intensity for b in loaded])[:1800, 0].numpy()
    stored = source.batch(0, 1800).intensity
    assert {row.tobytes() for row in first} == {row.tobytes() for row in stored}


@pytest.mark.parametrize("source", [MemorySource(1000, block=32), MemorySource()])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_stream_and_nothing_else(source, world_size):
    whole = take(make_loader(source, 16, seed=2), 12)
    for rank in range(world_size):
        options = {"seed": 2, "rank": rank, "world_size": world_size}
        ours = take(make_loader(source, 16, **options, workers=rank), 4)
        same(ours, whole[rank::world_size][:4])
        # And a rank resumes alone.
        half = make_loader(source, 16, **options)
        first = take(half, 2)
        rest = make_loader(source, 16, **options)
        rest.load_state_dict(half.state_dict())
        same(first + take(rest, 2), ours)


def test_ranks_cover_a_pass(folder):
    seen = []
    for rank in range(3):
        loader = make_loader(
            ShardSet(folder), 128, rank=rank, world_size=3, passes=1, workers=1
        )
        seen += [row.tobytes() for b in loader for row in b.intensity.numpy()]
    assert len(seen) == 1800
    stored = ShardSet(folder).batch(0, 1800).intensity
    assert set(seen) == {row.tobytes() for row in stored}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed 5, this one has 6"),
        ({"batch_size": 32}, "batch_size"),
        ({"buffer": 1}, "buffer"),
        ({"shuffle": False}, "shuffle"),
        ({"rank": 1, "world_size": 2}, "rank"),
    ],
)
def test_a_state_of_another_order_is_refused(change, message, folder):
    state = make_loader(folder, 64, seed=5).state_dict()
    options = {"batch_size": 64, "seed": 5, **change}
    with pytest.raises(ModelError, match=message):
        make_loader(folder, **options).load_state_dict(state)


@pytest.mark.parametrize("passes", [None, 2])
def test_a_set_that_has_grown_goes_on_with_what_it_was(folder, tmp_path, passes):
    smaller = shutil.copytree(folder, tmp_path / "copy")
    record = smaller / "shard-000002.json"
    text = record.read_text()
    record.unlink()
    undisturbed = take(make_loader(smaller, 64, seed=5, passes=passes), 30)
    begun = make_loader(smaller, 64, seed=5, passes=passes)
    first = take(begun, 7)
    record.write_text(text)
    grown = make_loader(smaller, 64, seed=5, passes=passes)
    assert grown.state_dict()["length"] == 1800
    grown.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    same(first + take(grown, 23), undisturbed)


def test_a_set_that_has_shrunk_is_refused(folder, tmp_path):
    state = make_loader(folder, 64).state_dict()
    smaller = shutil.copytree(folder, tmp_path / "copy")
    (smaller / "shard-000001.json").unlink()
    with pytest.raises(ModelError, match=r"shards 0-2:600, this one has 0:600,2:600"):
        make_loader(smaller, 64).load_state_dict(state)


def damage(folder, shard, block):
    opened = ShardSet(folder)
    first = opened.manifest.records[shard].block_offset[block]
    with (folder / f"shard-{shard:06d}.tar").open("r+b") as file:
        file.seek(first)
        file.write(bytes(600))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_stops_with_its_name_or_is_counted(workers, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "copy")
    damage(broken, 1, 1)
    with pytest.raises(ShardError, match=r"shard-000001\.tar cannot be read"):
        take(make_loader(broken, 100, workers=workers, passes=1), 99)
    loader = make_loader(broken, 100, workers=workers, passes=1, skip_damaged=True)
    loaded = take(loader, 99)
    assert sum(len(batch.label) for batch in loaded) == 1800 - 256
    assert loader.throughput.skipped == 256
    assert loader.patterns_given == 1800
    everything = ShardSet(broken, skip_damaged=True)
    assert len(everything.batch(0, 1800)) == 1800 - 256
    assert everything.skipped == {"shard-000001": 256}
    assert len(everything.batch(600 + 256, 256)) == 0


class GrowingSource(MemorySource):
    """A stream of which nobody knew that it would end."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def batch(self, start, count):
        if start + count > self.end:
            raise EndOfSource(self.end)
        return super().batch(start, count)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("end", [0, 64, 100])
def test_a_stream_that_ends_gives_all_it_had(workers, end):
    loaded = take(make_loader(GrowingSource(end), 16, workers=workers), 99)
    assert sum(len(batch.label) for batch in loaded) == end
    if end:
        expected = MemorySource().batch(0, end).intensity
        rows = torch.cat([batch.intensity for batch in loaded])[:, 0].numpy()
        np.testing.assert_array_equal(rows, expected)


def test_masks_and_fresh_noise_reach_the_batch(folder):
    source = ShardSet(
        folder, measurement=Measurement((PartialRange((10, 20), (40, 60)),))
    )
    assert source.run_samples > 1
    batch = take(make_loader(source, 32), 1)[0]
    assert batch.mask.shape == (32, GRID.points)
    assert batch.mask.dtype == torch.bool
    assert torch.all(batch.intensity[:, 0][~batch.mask] == 0)
    assert take(make_loader(folder, 32), 1)[0].mask is None


def test_throughput_counts_what_was_made_and_given():
    loader = make_loader(MemorySource(), 8, workers=2, prefetch=3)
    take(loader, 5)
    seen = loader.throughput
    assert seen.given == 40
    assert 40 <= seen.made <= 80
    assert seen.cpu_seconds > 0
    assert seen.seconds >= seen.waited_seconds >= 0
    assert 0.0 <= seen.waited <= 1.0
    assert seen.made_per_core_second == pytest.approx(seen.made / seen.cpu_seconds)
    assert seen.consumed_per_second >= seen.given_per_second > 0
    time_after = seen.seconds
    assert loader.throughput.seconds == pytest.approx(time_after, abs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"rank": 0, "world_size": 0}, "rank 0 of 0"),
        ({"skip_damaged": True}, "belongs to the source"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        make_loader(MemorySource(), 8, **options)


def test_pinned_batches_hold_the_same(folder, monkeypatch):
    """Without an accelerator: what is copied, not where to."""
    asked, empty = [], torch.empty

    def unpinned(*shape, pin_memory=False, **options):
        asked.append(pin_memory)
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", unpinned)
    partial = Measurement((PartialRange((10, 20), (40, 60)),))
    for source in (ShardSet(folder), ShardSet(folder, measurement=partial)):
        # A batch of the end of one pass and the beginning of the next has two parts.
        options = {"first_pattern": 1728, "seed": 3}
        pinned = take(make_loader(source, 128, pin_memory=True, **options), 2)
        plain = take(make_loader(source, 128, pin_memory=False, **options), 2)
        same(pinned, plain)
        assert (pinned[0].mask is None) == (plain[0].mask is None)
    assert any(asked)


@pytest.mark.gpu
def test_batches_are_pinned_where_there_is_an_accelerator(folder):
    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    pinned = take(make_loader(folder, 32, workers=1), 3)
    plain = take(make_loader(folder, 32, pin_memory=False), 3)
    assert all(b.intensity.is_pinned() and b.label.is_pinned() for b in pinned)
    same(pinned, plain)
