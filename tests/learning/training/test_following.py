"""A training on shards that are still written: each sample once, and given free."""

import json
import threading
import time

import pytest
from small_sets import SHARD_SAMPLES, write_set
from trained import config

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.meter import (
    PRODUCER_FILE,
    Meter,
    MeterReading,
    Watch,
    consumer_file,
    look,
    name_bottleneck,
)
from pxrdbench.dataset.shards.rolling import END_FILE, RollingSet, open_rolling
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import OptionError, ShardError
from pxrdbench.factory.publisher import Publisher
from pxrdbench.learning.loading import following
from pxrdbench.learning.loading.following import (
    Follower,
    find_way,
    refuse_second,
)
from pxrdbench.learning.loading.growing import GrowingSet
from pxrdbench.learning.training.trainer import train

pytestmark = pytest.mark.usefixtures("tiny_model")

RECIPE = Recipe("open-v0", seed=3, grid=TwoThetaGrid(10.0, 60.0, 501))


@pytest.fixture
def read(monkeypatch):
    """Numbers of the samples that were handed to a training, in their order."""
    numbers, plain = [], RollingSet.batch

    def batch(self, start, count):
        made = plain(self, start, count)
        numbers.extend(made.index.tolist())
        return made

    monkeypatch.setattr(RollingSet, "batch", batch)
    return numbers


class Producer:
    """A process that writes three shards at most at a time, as `generate` does."""

    def __init__(
        self, folder, shards, *, rolling=True, ends=True, pause=0.05, names="trainer"
    ):
        self.folder, self.shards, self.rolling = folder, shards, rolling
        self.names = names
        self.ends, self.pause = ends, pause
        self.most = 0
        self.thread = threading.Thread(target=self.work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(60)

    def work(self):
        store = open_store(self.folder)
        self.folder.mkdir(exist_ok=True)
        if self.rolling:
            open_rolling(store, self.names)
        others = [consumer_file(name) for name in self.names.split(",")]
        meter = Meter(store, PRODUCER_FILE, *others)
        meter.say(MeterReading("running"))
        publisher = Publisher(store, self.names if self.rolling else "")
        with meter:
            Manifest(RECIPE.card, SHARD_SAMPLES, 256).write(store)
            for index in range(self.shards):
                while self.rolling and len(self.tars()) >= 3:
                    meter.say(MeterReading("waiting"))
                    publisher.retire()
                    time.sleep(0.02)
                meter.say(MeterReading("running"))
                span = ShardSpan.of(index, SHARD_SAMPLES)
                for _ in write_shard(RECIPE, self.folder, span, block_samples=256):
                    pass
                self.most = max(self.most, len(self.tars()))
                time.sleep(self.pause)
            if self.ends:
                end = json.dumps({"samples": self.shards * SHARD_SAMPLES})
                store.write(END_FILE, end.encode())
            meter.end("The time is up.")
        publisher.retire()

    def tars(self):
        return list(self.folder.glob("*.tar"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("pxrdbench.dataset.shards.meter._EVERY", 0.05)
    monkeypatch.setattr(following, "_EARLY", 0.05)
    monkeypatch.setattr(following, "_EARLY_SHARE", 1.0)
    monkeypatch.setattr(following, "_ENDED", 0.5)
    monkeypatch.setattr(following, "_LINE_EVERY", 0.1)


def follow(tmp_path, out="run", **changes):
    notes = []
    report = train(
        config(
            tmp_path / out,
            shards=tmp_path / "set",
            patience=20.0,
            **{"patterns": None, "held_out": 64, "track": None, **changes},
        ),
        lambda progress: notes.append(progress.note),
    )
    return report, notes


def test_a_rolling_set_is_learnt_once_and_given_free(tmp_path, read):
    with Producer(tmp_path / "set", 6) as producer:
        report, notes = follow(tmp_path)
    total = 6 * SHARD_SAMPLES
    assert report.patterns_seen == report.acknowledged == total
    assert sorted(read) == list(range(total))
    assert producer.most == 3, "the folder outgrew its limit"
    assert not report.is_interrupted
    assert "come to its end" in report.explanation
    assert any("as its consumer 'trainer'" in note for note in notes)
    lines = (tmp_path / "run/stream.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["learnt"] == total
    last = look(open_store(tmp_path / "set"), consumer_file("trainer"))
    assert last.phase == "ended" and last.samples == total


def test_two_experiments_read_one_set_by_their_names(tmp_path, monkeypatch):
    numbers, plain = {}, RollingSet.batch

    def batch(self, start, count):
        made = plain(self, start, count)
        numbers.setdefault(self.consumer, []).extend(made.index.tolist())
        return made

    monkeypatch.setattr(RollingSet, "batch", batch)
    reports, errors = {}, []

    def run(name):
        try:
            reports[name], _ = follow(tmp_path, out=name, consumer=name)
        except Exception as error:
            errors.append(error)

    with Producer(tmp_path / "set", 6, names="large,small") as producer:
        with pytest.raises(ShardError, match=r"several consumers: .* --consumer small"):
            follow(tmp_path, out="neither")
        with pytest.raises(ShardError, match=r"not 'third'"):
            follow(tmp_path, out="third", consumer="third")
        both = [threading.Thread(target=run, args=(n,)) for n in ("large", "small")]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(60)
    assert not errors
    total = 6 * SHARD_SAMPLES
    for name in ("large", "small"):
        assert reports[name].patterns_seen == reports[name].acknowledged == total
        assert sorted(numbers[name]) == list(range(total))
    assert producer.most == 3, "the folder outgrew its limit"
    # The rest goes when producers look again.
    Publisher(open_store(tmp_path / "set"), "large,small").retire()
    assert not producer.tars()


def test_who_is_waited_for_among_consumers_is_said(tmp_path, monkeypatch):
    folder = write_set(RECIPE, tmp_path / "set", 2)
    store = open_store(folder)
    open_rolling(store, "large,small,late")
    full, ended = MeterReading("waiting"), MeterReading("ended", run="elsewhere")
    store.write(PRODUCER_FILE, full.to_json().encode())
    store.write(consumer_file("small"), ended.to_json().encode())
    with Follower(RollingSet(store, "large"), tmp_path, is_first=True) as follower:
        until = time.monotonic() + 10
        while follower.producer is None and time.monotonic() < until:
            time.sleep(0.02)
        follower.waits(0)
        assert follower.note == ""
        follower._waiting_since -= 5.0
        follower.waits(0)
    assert "while the producers wait for room" in follower.note
    assert "the consumer 'small' has ended" in follower.note
    assert "the consumer 'late' has not begun" in follower.note


def test_a_name_is_refused_where_nobody_is_asked_for(tmp_path):
    write_set(RECIPE, tmp_path / "set", 2)
    with pytest.raises(OptionError, match=r"--consumer cannot act on .*does not roll"):
        follow(tmp_path, consumer="large")


def test_it_goes_on_at_the_same_sample_after_a_stop(tmp_path, read):
    with Producer(tmp_path / "set", 6):
        first, _ = follow(tmp_path, patterns=1500)
        learnt = first.patterns_seen
        assert first.acknowledged == learnt // SHARD_SAMPLES * SHARD_SAMPLES
        seen = len(read)
        rest, _ = follow(tmp_path, resume=True, patterns=None)
    assert rest.patterns_seen == 6 * SHARD_SAMPLES
    # What the first run had read ahead of its last step is read again, nothing else.
    assert min(read[seen:]) == learnt
    assert set(read) == set(range(6 * SHARD_SAMPLES))


def test_a_new_run_begins_where_the_set_stands_and_says_so(tmp_path, read):
    with Producer(tmp_path / "set", 6):
        first, _ = follow(tmp_path, patterns=1500)
        read.clear()
        _, notes = follow(tmp_path, out="other")
    free = first.patterns_seen // SHARD_SAMPLES * SHARD_SAMPLES
    assert min(read) == free
    assert any(f"from sample {free:,} on" in note for note in notes)


def test_a_growing_set_is_followed_to_its_end(tmp_path, read):
    with Producer(tmp_path / "set", 4, rolling=False, pause=0.3):
        report, notes = follow(tmp_path)
    assert report.patterns_seen == 4 * SHARD_SAMPLES
    assert sorted(read) == list(range(4 * SHARD_SAMPLES))
    assert any("the run ends with the set" in note for note in notes)
    assert len(list((tmp_path / "set").glob("*.tar"))) == 4


def test_further_passes_follow_where_the_run_is_longer(tmp_path, read):
    with Producer(tmp_path / "set", 2, rolling=False, pause=0.3):
        report, notes = follow(tmp_path, patterns=3000)
    assert report.patterns_seen >= 3000
    assert sorted(read) == list(range(2 * SHARD_SAMPLES))
    assert any("further passes follow" in note for note in notes)


def test_passes_behind_the_first_give_each_sample_once(tmp_path):
    folder = write_set(RECIPE, tmp_path / "set", 2)
    (folder / END_FILE).write_text('{"samples": 1200}')
    source = GrowingSet(open_store(folder), seed=0, buffer=256, is_repeated=True)
    first = source.batch(0, 1200).index
    second = source.batch(1200, 1200).index
    across = source.batch(1100, 200).index
    assert first.tolist() == list(range(1200))
    assert sorted(second.tolist()) == list(range(1200))
    assert across[:100].tolist() == list(range(1100, 1200))


def test_producers_that_have_ended_are_not_waited_for(tmp_path):
    with Producer(tmp_path / "set", 3, ends=False):
        report, _ = follow(tmp_path)
    assert report.patterns_seen == 3 * SHARD_SAMPLES


def test_a_set_that_is_there_is_whole(tmp_path):
    folder = write_set(RECIPE, tmp_path / "set", 2)
    said = []
    assert find_way(open_store(folder), 0.0, said.append) == "whole"
    assert said == []


def test_nothing_is_waited_for_in_so_many_words(tmp_path):
    said = []
    with pytest.raises(ShardError, match=r"holds no data set .* after 1 s"):
        find_way(open_store(tmp_path / "set"), 1.0, said.append)
    assert len(said) == 1 and "waiting up to 1 s for `pxrdbench generate" in said[0]


def test_a_second_reader_of_the_same_name_is_refused(tmp_path):
    store = open_store(tmp_path)
    first = MeterReading("running", run="/runs/one")
    store.write(consumer_file("trainer"), first.to_json().encode())
    refuse_second(store, "trainer", "/runs/one")
    with pytest.raises(ShardError, match=r"is read by another run.*--rolling"):
        refuse_second(store, "trainer", "/runs/two")
    ended = MeterReading("ended", run="/runs/one")
    store.write(consumer_file("trainer"), ended.to_json().encode())
    refuse_second(store, "trainer", "/runs/two")


def test_a_side_whose_process_is_gone_is_not_alive():
    watch = Watch()
    watch.see(MeterReading("running"))
    assert watch.is_alive
    watch.see(MeterReading("running", pid=2**22 + 1))
    assert not watch.is_alive
    watch.see(MeterReading("running", host="elsewhere"))
    assert watch.is_alive
    watch.see(MeterReading("ended", host="elsewhere", beat=1))
    assert not watch.is_alive


def test_readings_that_are_none_are_no_harm(tmp_path):
    assert MeterReading.from_json("[1]") is None
    assert MeterReading.from_json('{"phase": "running", "later": 1}').phase == "running"
    assert look(open_store(tmp_path), "producer.json") is None
    slow = MeterReading("running", per_second=100.0, waited=0.5)
    fast = MeterReading("running", per_second=100.0)
    assert name_bottleneck(fast, fast) == "both sides keep step"
    assert name_bottleneck(fast, slow).startswith("producers are the bottleneck")
