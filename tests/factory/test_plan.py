"""Shards come in order, and the folder never outgrows its limit."""

import os
import time
import uuid

import pytest

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardRecord, ShardSpan
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.errors import ShardError
from pxrdbench.factory.limits import format_size, parse_size
from pxrdbench.factory.plan import ShardPlan, lock_folder, open_folder, sweep_folder
from pxrdbench.factory.progress import GenerateProgress, RateMeter
from pxrdbench.factory.run import GenerateConfig, _foresee_listing


def record(index, samples=100, size=100_000):
    return ShardRecord(
        name=f"shard-{index:06d}",
        index=index,
        first=100 * index,
        samples=samples,
        bytes=size,
        sha256="",
        recipe="",
        space_group_counts={},
        rejections={},
        block_offset=(),
        made_with={},
    )


def plan_of(recipe, folder, records=(), total=None, max_bytes=10**9):
    manifest = Manifest(recipe.card, 100, records=tuple(records))
    return ShardPlan(manifest, folder, total_samples=total, max_bytes=max_bytes)


def test_missing_and_short_shards_come_first(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path, [record(0), record(1, 40), record(3)])
    order = []
    for _ in range(3):
        span = plan.next_span()
        plan.start(span, 1)
        order.append(span.index)
    assert order == [1, 2, 4]
    plan.finish(record(1))
    plan.give_up(ShardSpan.of(2, 100))
    assert plan.next_span().index == 2


def test_plan_ends_with_the_samples(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path, [record(0)], total=250)
    assert plan.total_shards == 3
    first, second = ShardSpan.of(1, 100), ShardSpan.of(2, 100, 250)
    for span in (first, second):
        assert plan.next_span() == span
        plan.start(span, 1)
    assert plan.next_span() is None
    plan.finish(record(1))
    plan.finish(record(2, 50))
    assert plan.next_span() is None
    assert (plan.samples, plan.shards, plan.bytes) == (250, 3, 300_000)


def test_room_counts_what_is_in_progress(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path, [record(0)], max_bytes=400_000)
    span = plan.next_span()
    room = plan.room_for(span)
    assert 100_000 < room < 130_000
    plan.start(span, room)
    other = plan.next_span()
    assert plan.room_for(other) == room
    plan.start(other, room)
    assert plan.room_for(plan.next_span()) == 0
    # A shard that turned out smaller than feared gives room back.
    plan.finish(record(1, size=1000))
    assert plan.room_for(plan.next_span()) == room


def test_larger_shards_are_learnt_from(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path, max_bytes=10**6)
    plan.expect(1000.0)
    span = plan.next_span()
    plan.start(span, plan.room_for(span))
    plan.give_up(span, samples=50, size=150_000)
    assert plan.room_for(plan.next_span()) > 300_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20e9),
        ("500 mb", 500e6),
        ("1.5GiB", 1.5 * 2**30),
        ("7", 7),
        (".5k", 500),
        ("2T", 2e12),
        ("3KiB", 3072),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5 apples", "1e9", "iB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ShardError, match="no size"):
        parse_size(text)


@pytest.mark.parametrize("size", [0, 999, 1000, 5_000_000, 2.5e10, 3e13])
def test_size_printed_is_size_read(size):
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.05)


def test_second_run_in_a_folder_is_refused(tmp_path):
    with (
        lock_folder(tmp_path),
        pytest.raises(ShardError, match="another run writes"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass


def test_folder_keeps_its_recipe_and_shard_size(recipe, tmp_path):
    assert open_folder(tmp_path, recipe.card, 100).shard_samples == 100
    assert open_folder(tmp_path, recipe.card).shard_samples == 100
    with pytest.raises(ShardError, match="shards of 100 samples, not 200"):
        open_folder(tmp_path, recipe.card, 200)
    other = Recipe("open-v0", seed=8).card
    with pytest.raises(ShardError, match="there seed is 7, not 8"):
        open_folder(tmp_path, other)


def test_folder_of_another_program_is_refused(recipe, tmp_path):
    (tmp_path / "shard-000000.tar").write_bytes(b"")
    with pytest.raises(ShardError, match="another program"):
        open_folder(tmp_path, recipe.card)


def test_sweep_removes_files_in_progress_only(tmp_path):
    for name in ("shard-000000.tar", "shard-000001.tar.0a.part", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    sweep_folder(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "notes.txt",
        "shard-000000.tar",
    ]


def test_sweep_spares_what_a_reader_is_about_to_rename(tmp_path):
    """A producer that began swept acknowledgements in progress: the trainer ended."""
    names = [f"{name}.{uuid.uuid4().hex}.part" for name in (
        "shard-000001.trainer.ack", "consumer-trainer.json", "shard-000002.json",
        "shard-000003.large.ack",
    )]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"")
    old = time.time() - 7200.0
    os.utime(tmp_path / names[3], (old, old))
    sweep_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[:2])


def test_rate_is_that_of_the_last_seconds():
    meter = RateMeter()
    assert meter.rate == 0.0
    for second in range(1, 11):
        meter.note(float(second), 100 * second)
    assert meter.rate == pytest.approx(100.0)
    for second in range(11, 61):
        meter.note(float(second), 1000 + 500 * (second - 10))
    assert meter.rate == pytest.approx(500.0)
    meter.note(61.0, 0)
    assert meter.rate == 0.0


def test_first_limit_is_named():
    progress = GenerateProgress(
        "running",
        workers=2,
        samples=1000,
        samples_per_second=100.0,
        total_samples=3000,
        bytes=10_000,
        max_bytes=110_000,
        seconds=10.0,
        total_seconds=60.0,
    )
    assert progress.ends == pytest.approx(
        {"time": 50.0, "samples": 20.0, "size": 100.0}
    )
    assert progress.limit == "samples"
    assert progress.seconds_left == pytest.approx(20.0)
    assert progress.samples_per_second_per_core == 50.0
    idle = GenerateProgress("starting", workers=2)
    assert idle.limit is None
    assert idle.seconds_left is None


class Distant(ObjectStore):
    """A store that answers late, of which only the description is read."""

    def __init__(self, delay):
        super().__init__("memory://distant", 0.0)
        self.delay = delay

    def read(self, name, start=0, stop=None):
        time.sleep(self.delay)
        return b""


@pytest.mark.parametrize(
    ("workers", "delay", "samples"),
    [(2, 0.03, None), (150, 0.03, None), (200, 0.1, None), (1000, 0.03, 190_720)],
)
def test_what_a_distant_store_takes_is_said(recipe, workers, delay, samples):
    config = GenerateConfig(recipe, "memory://distant", workers=workers)
    plan = ShardPlan(
        Manifest(recipe.card, 50_000), Distant(0), total_samples=None, max_bytes=10**18
    )
    said = _foresee_listing(config, Distant(delay), plan, 25e-6 / workers)
    if samples is None:
        assert said == ""
    else:
        assert f"--shard-samples {samples}" in said
        assert said.startswith("800 shards a second are more than one driver lists")
    assert _foresee_listing(config, LocalStore("x"), plan, 1e-9) == ""
