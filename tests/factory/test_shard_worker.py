"""Workers bring files, the driver lists them: the same shard on every way."""

import errno
import os

import pytest

from pxrdbench.dataset.shards.manifest import ShardSpan
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.errors import ShardError
from pxrdbench.factory.publisher import Publisher
from pxrdbench.factory.shard_worker import ShardWorker

SPAN = ShardSpan.of(1, 600)


@pytest.fixture(scope="module")
def expected(recipe, tmp_path_factory):
    """Tar and record as one process writes them."""
    folder = tmp_path_factory.mktemp("alone")
    assert list(write_shard(recipe, folder, SPAN))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bring(worker, publisher):
    """Have a shard written and listed; the news of it."""
    news = []
    for progress in worker.write(SPAN, 10**9):
        publisher.take(SPAN, progress)
        news.append(progress)
    return news


@pytest.mark.parametrize("way", ["shared", "sent", "stored"])
def test_shard_arrives_whole(recipe, tmp_path, expected, way):
    if way == "stored":
        store = open_store(f"memory://{tmp_path}", patience=0.3)
    else:
        store = LocalStore(tmp_path)
    probe = "not-here" if way == "sent" else ""
    news = bring(ShardWorker(recipe, store, 256, probe), Publisher(store))
    assert store.read_many(store.sizes()) == expected
    assert any(p.data for p in news) == (way == "sent")
    assert news[-1].record.samples == 600


def test_large_files_are_sent_in_pieces(recipe, tmp_path, expected, monkeypatch):
    monkeypatch.setattr("pxrdbench.factory.shard_worker._PIECE", 100_000)
    store = LocalStore(tmp_path)
    news = bring(ShardWorker(recipe, store, 256, "not-here"), Publisher(store))
    assert sum(bool(p.data) for p in news) > 5
    assert store.read_many(store.sizes()) == expected


def test_nothing_is_listed_before_the_driver_does(recipe, tmp_path):
    worker = ShardWorker(recipe, LocalStore(tmp_path), 256)
    *_, last = worker.write(SPAN, 10**9)
    (name,) = LocalStore(tmp_path).sizes()
    assert name.endswith(".part")
    assert last.part == str(tmp_path / name)


def test_lease_that_ended_leaves_nothing(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("pxrdbench.factory.shard_worker._PIECE", 100_000)
    store = LocalStore(tmp_path)
    publisher = Publisher(store)
    news = list(ShardWorker(recipe, store, 256, "not-here").write(SPAN, 10**9))
    for progress in news[: len(news) // 2]:
        publisher.take(SPAN, progress)
    assert store.sizes()
    publisher.drop(SPAN)
    assert store.sizes() == {}


def test_shard_of_another_lease_is_refused(recipe, tmp_path):
    store = LocalStore(tmp_path)
    *_, last = ShardWorker(recipe, store, 256).write(SPAN, 10**9)
    with pytest.raises(ShardError, match="wrote shard-000001"):
        Publisher(store).take(ShardSpan.of(2, 600), last)


def test_full_disk_is_news_and_not_an_error(recipe, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    *_, last = ShardWorker(recipe, LocalStore(tmp_path), 256).write(SPAN, 10**9)
    assert last.stopped == "disk"
    assert last.record is None
    assert LocalStore(tmp_path).sizes() == {}


def test_disk_that_is_full_for_the_record_leaves_no_tar(recipe, tmp_path, monkeypatch):
    store = LocalStore(tmp_path)
    *_, last = ShardWorker(recipe, store, 256).write(SPAN, 10**9)

    def full(name, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        Publisher(store).take(SPAN, last)
    assert store.sizes() == {}


def test_other_errors_come_through(recipe, tmp_path):
    worker = ShardWorker(recipe, LocalStore(tmp_path / "none"), 256)
    with pytest.raises(FileNotFoundError):
        list(worker.write(SPAN, 10**9))
