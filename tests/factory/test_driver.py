"""The loop of a run, with a crew that does what the test says."""

import itertools

import pytest
from measure_driver import time_shard

from pxrdbench.dataset.shards.manifest import Manifest, ShardRecord
from pxrdbench.dataset.shards.shard import ShardProgress
from pxrdbench.errors import ShardError
from pxrdbench.factory import driver
from pxrdbench.factory.driver import Run
from pxrdbench.factory.plan import ShardPlan

SHARD_SAMPLES = 100
BYTES = 100_000


def finished(span, size=BYTES):
    return ShardProgress(
        span.samples,
        size,
        ShardRecord(
            name=span.name,
            index=span.index,
            first=span.first,
            samples=span.samples,
            bytes=size,
            sha256="",
            recipe="",
            space_group_counts={},
            rejections={},
            block_offset=(),
            made_with={},
        ),
    )


class ScriptedCrew:
    """Every shard goes through the steps that ``script(span)`` gives.

    A step is news, or None for the death of the worker. A stopped worker gives its
    shard up, unless it is deaf.
    """

    def __init__(self, script, workers=2, deaf=False):
        self.workers, self.death = workers, ""
        self.coming = []
        self.written, self.stopped, self.replaced = [], [], 0
        self._script, self._deaf = script, deaf

    def start(self):
        return list(range(self.workers))

    def arrivals(self):
        arrived, self.coming = self.coming, []
        return arrived

    def replace(self, dead):
        self.replaced += 1
        self.coming.append(dead + 100)

    def write(self, worker, span, max_bytes, *, replaces):
        self.written.append(span.index)
        self.allowed = max_bytes
        return [worker, iter(self._script(span)), ShardProgress()]

    def stop(self, workers):
        self.stopped += workers

    def wait(self, streams):
        return list(streams)

    def next_progress(self, stream):
        worker, steps, last = stream
        if worker in self.stopped and not self._deaf:
            return ShardProgress(last.samples, last.bytes, stopped="asked")
        stream[2] = next(steps, last)
        return stream[2]


def run_of(recipe, folder, crew, *, total=None, max_bytes=10**9, seconds=None):
    manifest = Manifest(recipe.card, SHARD_SAMPLES)
    plan = ShardPlan(manifest, folder, total_samples=total, max_bytes=max_bytes)
    plan.expect(BYTES / SHARD_SAMPLES)
    steps = []
    return Run(crew, plan, total_seconds=seconds, tell=steps.append), plan, steps


def never():
    return False


def test_all_shards_are_written_once(recipe, tmp_path):
    crew = ScriptedCrew(lambda span: [ShardProgress(50, 5), finished(span)])
    run, plan, steps = run_of(recipe, tmp_path, crew, total=730)
    assert run.work(never) == "samples"
    assert crew.written == list(range(8))
    assert run.samples_new == plan.samples == 730
    assert [step.samples for step in steps] == sorted(step.samples for step in steps)
    assert steps[-1].samples == 730


def test_shard_of_a_dead_worker_is_written_again(recipe, tmp_path):
    deaths = iter([True])
    crew = ScriptedCrew(
        lambda span: [None] if next(deaths, False) else [finished(span)]
    )
    run, plan, _ = run_of(recipe, tmp_path, crew, total=300)
    assert run.work(never) == "samples"
    assert crew.replaced == 1
    assert sorted(crew.written) == [0, 0, 1, 2]
    assert plan.samples == 300


def test_folder_stays_below_its_limit(recipe, tmp_path):
    crew = ScriptedCrew(lambda span: [finished(span)])
    run, plan, _ = run_of(recipe, tmp_path, crew, max_bytes=5 * BYTES)
    assert run.work(never) == "size"
    # A shard may be 5 % and 20 kB larger than those before, so one fits no more.
    assert plan.bytes == 4 * BYTES


def test_shards_larger_than_expected_end_the_run(recipe, tmp_path):
    crew = ScriptedCrew(
        lambda span: [ShardProgress(50, crew.allowed + 1, stopped="size")]
    )
    run, plan, _ = run_of(recipe, tmp_path, crew, max_bytes=5 * BYTES)
    assert run.work(never) == "size"
    assert plan.shards == 0
    # Every attempt was given more room than the last, until there was none.
    assert 2 <= len(crew.written) < 20


def test_full_disk_is_named(recipe, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000_000 + 3 * BYTES})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    crew = ScriptedCrew(lambda span: [ShardProgress(1, 1)], workers=3)
    run, *_ = run_of(recipe, tmp_path, crew)
    asked = iter([False] * 3)
    run.work(lambda: next(asked, True))
    assert crew.written == [0, 1]
    usage.free = 0
    run, *_ = run_of(recipe, tmp_path, ScriptedCrew(None))
    assert run.work(never) == "disk"


def test_time_up_leaves_the_shard_nearest_to_its_end(recipe, tmp_path):
    """Nothing is finished yet, so one shard of two goes on until it is."""

    def script(span):
        samples = 6 if span.index == 1 else 3
        yield from [ShardProgress(samples, 1)] * 100
        yield finished(span)

    crew = ScriptedCrew(script)
    monotonic = itertools.count(0.0, 0.05)
    run, plan, _ = run_of(recipe, tmp_path, crew, seconds=2.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.time, "monotonic", lambda: next(monotonic))
        assert run.work(never) == "time"
    assert plan.shards == 1
    assert len(crew.stopped) == 1
    assert plan.next_span().index == 0


def test_shard_that_cannot_be_finished_is_not_begun(recipe, tmp_path):
    ticks = itertools.count(0.0)
    crew = ScriptedCrew(
        lambda span: [ShardProgress(1, 1)] * 20 + [finished(span)], workers=1
    )
    run, plan, _ = run_of(recipe, tmp_path, crew, seconds=200.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.time, "monotonic", lambda: next(ticks))
        assert run.work(never) == "time"
    assert plan.shards == len(crew.written) >= 1
    assert not crew.stopped


def test_interrupt_asks_once_and_gives_up_waiting(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_PATIENCE", 0.05)
    crew = ScriptedCrew(lambda span: [ShardProgress(1, 1)], deaf=True)
    run, plan, steps = run_of(recipe, tmp_path, crew)
    asked = iter([False, False])
    assert run.work(lambda: next(asked, True)) == "interrupted"
    assert sorted(crew.stopped) == [0, 1]
    assert plan.shards == 0
    assert steps[-1].phase == "stopping"


class SilentCrew(ScriptedCrew):
    """Workers below 100 say nothing; those that replace them do."""

    def wait(self, streams):
        return [stream for stream in streams if stream[0] >= 100]


def test_silent_worker_loses_its_lease(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_LEASE", 0.05)
    crew = SilentCrew(lambda span: [finished(span)])
    run, plan, _ = run_of(recipe, tmp_path, crew, total=500)
    assert run.work(never) == "samples"
    assert crew.replaced == 2
    assert sorted(crew.written) == [0, 0, 1, 1, 2, 3, 4]
    assert plan.samples == run.samples_new == 500


def test_shard_that_ends_every_worker_ends_the_run(recipe, tmp_path):
    crew = ScriptedCrew(
        lambda span: [None] if span.index == 1 else [finished(span)], workers=2
    )
    run, *_ = run_of(recipe, tmp_path, crew, total=1000)
    with pytest.raises(ShardError, match="shard-000001 lost 3 workers"):
        run.work(never)
    assert crew.replaced == 2


def test_run_without_workers_waits_and_ends(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_ALONE", 0.3)
    crew = ScriptedCrew(None, workers=0)
    run, _, steps = run_of(recipe, tmp_path, crew, total=1000)
    with pytest.raises(ShardError, match="no worker for"):
        run.work(never)
    assert {step.phase for step in steps} == {"waiting"}


def test_worker_that_comes_late_works(recipe, tmp_path):
    crew = ScriptedCrew(lambda span: [finished(span)], workers=0)
    crew.coming = [7]
    run, plan, _ = run_of(recipe, tmp_path, crew, total=1000)
    assert run.work(never) == "samples"
    assert plan.samples == 1000


class Consumer:
    """A publisher whose consumer reads the oldest shard when it is asked."""

    def __init__(self, shards):
        self.there, self.patience = [], shards

    def take(self, span, progress):
        self.there += [progress.record] * (progress.record is not None)
        return True

    def drop(self, span):
        pass

    def retire_beside(self, *, is_due):
        if not is_due:
            return []
        read, self.there = self.there[:1], self.there[1:]
        return read


def test_full_rolling_set_waits_for_its_consumer(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_RETIRE_EVERY", 0.05)
    monkeypatch.setattr(driver, "_PAUSE", 0.01)
    crew = ScriptedCrew(lambda span: [finished(span)])
    manifest = Manifest(recipe.card, SHARD_SAMPLES)
    plan = ShardPlan(manifest, tmp_path, total_samples=1500, max_bytes=4 * BYTES)
    plan.expect(BYTES / SHARD_SAMPLES)
    steps = []
    run = Run(
        crew,
        plan,
        total_seconds=None,
        tell=steps.append,
        publisher=Consumer(1),
        is_rolling=True,
    )
    assert run.work(never) == "samples"
    assert (plan.samples, sorted(crew.written)) == (1500, list(range(15)))
    assert max(step.bytes for step in steps) <= 4 * BYTES
    assert "waiting" in {step.phase for step in steps}
    assert all("size" not in step.ends for step in steps)


def test_full_disk_in_a_worker_ends_the_run(recipe, tmp_path):
    crew = ScriptedCrew(
        lambda span: [
            finished(span) if span.index < 3 else ShardProgress(5, 5, stopped="disk")
        ]
    )
    run, plan, _ = run_of(recipe, tmp_path, crew, total=1000)
    assert run.work(never) == "disk"
    assert plan.samples == 300


def test_a_shard_costs_the_driver_no_more_where_there_are_many(recipe):
    """Work a shard with 30,000 fabricated shards there is within 1.5 of 300's."""
    times = {300: [], 30_000: []}
    for _ in range(5):
        for shards, some in times.items():
            some.append(time_shard(recipe, shards, 400, 8))
    few, many = (min(some) for some in times.values())
    assert many < 1.5 * few, times
