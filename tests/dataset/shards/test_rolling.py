"""A rolling set: read once, acknowledged, deleted, and drawn again when asked for."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.rolling import (
    END_FILE,
    RollingSet,
    acknowledge,
    find_consumers,
    open_rolling,
)
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.dataset.source import EndOfSource
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.errors import ShardError
from pxrdbench.factory import publisher
from pxrdbench.factory.plan import ShardPlan
from pxrdbench.factory.publisher import Publisher
from pxrdbench.learning.loading.following import find_origin

SHARD_SAMPLES, BLOCK_SAMPLES = 120, 50


def add_shard(recipe, folder, index, total=None):
    span = ShardSpan.of(index, SHARD_SAMPLES, total)
    assert list(write_shard(recipe, folder, span, block_samples=BLOCK_SAMPLES))


@pytest.fixture
def folder(recipe, tmp_path):
    """Three shards that roll for the consumer ``trainer``."""
    Manifest(recipe.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(tmp_path)
    open_rolling(tmp_path, "trainer")
    for index in range(3):
        add_shard(recipe, tmp_path, index)
    return tmp_path


def names_of(folder, ending):
    return sorted(path.name for path in folder.glob(f"*.{ending}"))


def test_acknowledged_shards_are_deleted_and_remembered(folder):
    plan = ShardPlan(Manifest.read(folder), folder, total_samples=None, max_bytes=10**9)
    size = plan.bytes
    acknowledge(folder, "trainer", 1)
    acknowledge(folder, "trainer", 1)
    (record,) = Publisher(open_store(folder), "trainer").retire()
    plan.retire(record.index)
    assert names_of(folder, "tar") == ["shard-000000.tar", "shard-000002.tar"]
    assert names_of(folder, "ack") == []
    assert json.loads((folder / "shard-000001.json").read_text())["retired"] is True
    manifest = Manifest.read(folder)
    assert [r.index for r in manifest.records] == [0, 2]
    assert [r.index for r in manifest.retired] == [1]
    assert manifest.missing == ()
    assert verify_shards(folder, sample=0).is_sound
    assert plan.bytes == manifest.bytes < size
    # What is retired is done: the next shard is a new one, now and after a restart.
    again = ShardPlan(manifest, folder, total_samples=None, max_bytes=10**9)
    for one in (plan, again):
        assert (one.samples, one.shards, one.retired) == (360, 2, 1)
        assert one.next_span().index == 3
    assert Publisher(open_store(folder), "trainer").retire() == []


@pytest.fixture
def shared(recipe, tmp_path):
    """Two shards that roll for two consumers."""
    Manifest(recipe.card, SHARD_SAMPLES, BLOCK_SAMPLES).write(tmp_path)
    open_rolling(tmp_path, "large,small")
    for index in range(2):
        add_shard(recipe, tmp_path, index)
    return tmp_path


def test_a_shard_goes_when_all_consumers_have_read_it(shared):
    hand = Publisher(open_store(shared), "large,small")
    acknowledge(shared, "large", 0)
    acknowledge(shared, "large", 1)
    assert hand.retire() == []
    assert len(names_of(shared, "tar")) == 2
    store = open_store(shared)
    assert (find_origin(store, "large"), find_origin(store, "small")) == (2, 0)
    acknowledge(shared, "small", 0)
    (gone,) = hand.retire()
    assert gone.index == 0
    assert names_of(shared, "tar") == ["shard-000001.tar"]
    assert names_of(shared, "ack") == ["shard-000001.large.ack"]
    assert (find_origin(store, "large"), find_origin(store, "small")) == (2, 1)
    # One that goes on from an older checkpoint says it again: nothing is left behind.
    acknowledge(shared, "small", 0)
    assert hand.retire() == []
    assert names_of(shared, "ack") == ["shard-000001.large.ack"]


def test_a_consumer_that_comes_late_is_refused_with_the_way_out(shared):
    words = (
        r"for the consumers 'large' and 'small', not 'third'.*train --consumer large"
    )
    for refused in (
        lambda: RollingSet(shared, "third"),
        lambda: open_rolling(shared, "large,small,third"),
    ):
        with pytest.raises(ShardError, match=words) as caught:
            refused()
        assert "--rolling large,small,third --out" in str(caught.value)
    with pytest.raises(ShardError, match="and for all of them"):
        open_rolling(shared, "large")
    open_rolling(shared, "small,large")
    assert RollingSet(shared, "small").consumer == "small"
    with pytest.raises(ShardError, match="names a consumer twice"):
        open_rolling(shared, "large,large")


def retire_first(folder, monkeypatch, below, crash=False):
    """Have the first shards read, deleted, and their records put together."""
    monkeypatch.setattr(publisher, "_COMPACTED", 2)
    for index in range(below):
        acknowledge(folder, "trainer", index)
    store = open_store(folder)
    with Publisher(store, "trainer") as hand:
        hand.learn(Manifest.read(store))
        if crash:
            monkeypatch.setattr(hand, "_each", lambda action, names: [])
            hand._retired = set(range(below))
            hand._compact()
        else:
            hand.retire()


def test_records_of_deleted_shards_become_one_line(folder, monkeypatch):
    retire_first(folder, monkeypatch, 2)
    assert names_of(folder, "json") == [
        "dataset.json", "retired.json", "rolling.json", "shard-000002.json",
    ]  # fmt: skip
    manifest = Manifest.read(folder)
    assert (manifest.retired_below, manifest.retired) == (2, ())
    assert (manifest.held_samples, manifest.find_gaps()) == (360, ())
    assert verify_shards(folder, sample=0).is_sound
    plan = ShardPlan(manifest, folder, total_samples=None, max_bytes=10**9)
    assert (plan.samples, plan.shards, plan.retired) == (360, 1, 2)
    assert plan.next_span().index == 3
    assert find_origin(open_store(folder), "trainer") == 2
    # Whoever goes on from before has them drawn again.
    rolling = RollingSet(folder, "trainer")
    assert rolling.batch(100, 150).index.tolist() == list(range(100, 250))
    assert rolling.redrawn == 140


def test_a_crash_while_records_are_put_together_counts_nothing_twice(
    folder, monkeypatch
):
    for index in range(2):
        acknowledge(folder, "trainer", index)
    Publisher(open_store(folder), "trainer").retire()
    retire_first(folder, monkeypatch, 2, crash=True)
    assert "shard-000000.json" in names_of(folder, "json")
    manifest = Manifest.read(folder)
    assert (manifest.retired_below, manifest.held_samples) == (2, 360)
    assert find_origin(open_store(folder), "trainer") == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"below": 2}',
        '{"below": -1, "recipe": "R"}',
        "[",
        '{"below": 1, "recipe": "0"}',
    ],
)
def test_a_damaged_line_of_deleted_shards_is_said(folder, recipe, text):
    text = text.replace("R", recipe.digest)
    (folder / "retired.json").write_text(text)
    with pytest.raises(ShardError, match=r"retired.json is damaged"):
        Manifest.read(folder)


def test_shards_of_a_store_are_fetched_before_they_are_asked_for(
    folder, recipe, monkeypatch, tmp_path
):
    monkeypatch.setenv("PXRDBENCH_CACHE", str(tmp_path / "cache"))
    local, store = open_store(folder), open_store(f"memory://{folder}/ahead")
    for name in local.sizes():
        store.write(name, local.read(name))
    rolling = RollingSet(store, "trainer", acknowledge_read=False)
    rolling.batch(0, 10)
    until = time.monotonic() + 10
    while len(list((tmp_path / "cache").glob("*.tar"))) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    monkeypatch.setattr(store, "fetch", None)
    assert rolling.batch(10, 350).index.tolist() == list(range(10, 360))
    assert rolling.acknowledge_below(360) == 3
    rolling.close()
    assert sum(name.endswith(".ack") for name in store.sizes()) == 3
    assert rolling.acknowledge_below(360) == 0  # and behind its end


@pytest.mark.parametrize("step", ["write", "remove_tar", "remove_ack"])
def test_retiring_survives_a_crash_at_every_step(folder, monkeypatch, step):
    acknowledge(folder, "trainer", 0)
    store = open_store(folder)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if step == "write":
            patch.setattr(store, "write", crash)
        else:
            remove, wanted = store.remove, step.removeprefix("remove_")
            patch.setattr(
                store,
                "remove",
                lambda name: crash() if name.endswith(wanted) else remove(name),
            )
        Publisher(store, "trainer").retire()
    assert verify_shards(folder, sample=0).is_sound
    Publisher(store, "trainer").retire()
    assert names_of(folder, "tar") == ["shard-000001.tar", "shard-000002.tar"]
    assert names_of(folder, "ack") == []
    assert len(Manifest.read(folder).retired) == 1


def test_acknowledgements_of_others_delete_nothing(folder):
    acknowledge(folder, "trainer", 0)
    assert Publisher(open_store(folder)).retire() == []
    assert len(names_of(folder, "tar")) == 3
    with pytest.raises(ShardError, match="does not roll for 'other' but for 'trainer'"):
        acknowledge(folder, "other", 0)
    with pytest.raises(ShardError, match="rolls for the consumer 'trainer', not 'x'"):
        open_rolling(folder, "x")
    with pytest.raises(ShardError, match="rolls for the consumer"):
        RollingSet(folder, "x")
    assert find_consumers(folder) == ("trainer",)


def test_set_that_does_not_roll_says_so(shards):
    with pytest.raises(ShardError, match="generate --rolling"):
        acknowledge(shards, "trainer", 0)
    assert find_consumers(shards) == ()


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a b", "x" * 65])
def test_impossible_names_are_refused(tmp_path, name):
    with pytest.raises(ShardError, match="no name of a consumer"):
        open_rolling(tmp_path, name)


def test_reading_gives_the_recipe_and_acknowledges(recipe, folder):
    rolling = RollingSet(folder, "trainer")
    given = [rolling.batch(start, 40) for start in range(0, 360, 40)]
    assert np.array_equal(np.concatenate([b.index for b in given]), np.arange(360))
    expected = ShardSet(folder).batch(0, 360)
    assert np.array_equal(
        np.concatenate([b.intensity for b in given]), expected.intensity
    )
    assert names_of(folder, "ack") == [f"shard-{k:06d}.trainer.ack" for k in range(3)]
    assert rolling.redrawn == 0
    # Gone, and asked for again: the same samples, from the recipe.
    Publisher(open_store(folder), "trainer").retire()
    assert names_of(folder, "tar") == []
    fresh = RollingSet(folder, "trainer").batch(100, 130)
    assert np.array_equal(fresh.intensity, expected.intensity[100:230])
    assert np.array_equal(fresh.space_group, expected.space_group[100:230])


def test_batch_in_another_thread_holds_acknowledgements_back(folder, monkeypatch):
    rolling = RollingSet(folder, "trainer")
    read, go_on, begun = rolling.read, threading.Event(), threading.Event()

    def slow(start, count):
        if start == 0:
            begun.set()
            assert go_on.wait(10)
        return read(start, count)

    monkeypatch.setattr(rolling, "read", slow)
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(rolling.batch, 0, 60)
        assert begun.wait(10)
        rolling.batch(60, 60)
        rolling.batch(120, 120)
        assert names_of(folder, "ack") == []
        go_on.set()
        first.result()
    assert names_of(folder, "ack") == [
        "shard-000000.trainer.ack",
        "shard-000001.trainer.ack",
    ]


def test_reader_that_goes_on_acknowledges_what_was_left(folder):
    """An earlier reader ended after sample 250 and before it could say so."""
    RollingSet(folder, "trainer").batch(250, 10)
    assert names_of(folder, "ack") == [
        "shard-000000.trainer.ack",
        "shard-000001.trainer.ack",
    ]


def test_reader_waits_for_what_is_not_there_yet(recipe, folder):
    rolling = RollingSet(folder, patience=30)
    with ThreadPoolExecutor(1) as executor:
        later = executor.submit(rolling.batch, 350, 100)
        time.sleep(0.3)
        assert not later.done()
        add_shard(recipe, folder, 3, 440)
        time.sleep(0.6)
        # Of the third shard 80 samples are there; it is written anew with all.
        assert not later.done() or len(later.result()) == 100
        add_shard(recipe, folder, 3)
        assert np.array_equal(later.result().index, np.arange(350, 450))
    assert names_of(folder, "ack") == []


def test_set_that_has_come_to_its_end_says_so(recipe, folder):
    add_shard(recipe, folder, 3, 440)
    open_store(folder).write(END_FILE, b'{"samples": 440}')
    rolling = RollingSet(folder, patience=0.1)
    assert len(rolling.batch(400, 40)) == 40
    for start in (400, 440, 700):
        with pytest.raises(EndOfSource) as caught:
            rolling.batch(start, 41)
        assert caught.value.length == 440


def test_patience_of_a_reader_ends(folder):
    with pytest.raises(ShardError, match="shard-000003 has not come for 0 s"):
        RollingSet(folder, patience=0.1).batch(360, 1)


def test_shard_deleted_while_it_is_read_is_drawn(folder):
    rolling = RollingSet(folder)
    expected = rolling.batch(0, 50).intensity
    rolling.batch(0, 1)
    for path in folder.glob("*.tar"):
        path.unlink()
    assert np.array_equal(rolling.batch(0, 50).intensity, expected)
    assert len(rolling.batch(50, 60)) == 60
    assert rolling.redrawn == 70


def test_damaged_shard_is_named(folder):
    path = folder / "shard-000001.tar"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ShardError, match="shard-000001\\.tar cannot"):
        RollingSet(folder).batch(130, 10)
