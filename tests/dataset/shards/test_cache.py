"""Copies of shards are whole, bounded, and made once."""

import os
import threading

import pytest

from pxrdbench.dataset.shards.cache import ShardCache, default_cache_folder
from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.errors import ShardError


@pytest.fixture
def remote(shards):
    """The set of two shards in an object store, and its records."""
    store = open_store(f"memory://{shards}/{os.urandom(4).hex()}", patience=0.3)
    local = open_store(shards)
    for name in local.sizes():
        store.write(name, local.read(name))
    return store, Manifest.read(store).records


def test_reads_what_the_store_holds_and_fetches_once(remote, tmp_path, monkeypatch):
    store, records = remote
    cache = ShardCache(store, tmp_path / "cache")
    expected = store.read("shard-000001.tar", 1000, 3000)
    assert cache.read(records[1], 1000, 3000) == expected
    monkeypatch.setattr(store, "fetch", None)
    assert cache.read(records[1], 1000, 3000) == expected
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_oldest_copies_give_way(remote, tmp_path):
    store, records = remote
    cache = ShardCache(store, tmp_path, max_bytes=records[0].bytes + 10)
    for number in (0, 1, 0, 1):
        cache.read(records[number], 0, 10)
        names = [path.name[:12] for path in tmp_path.iterdir()]
        assert names == [records[number].name]


def test_what_will_be_read_soon_is_fetched_beside_and_at_once(remote, tmp_path):
    store, records = remote
    cache = ShardCache(store, tmp_path, max_bytes=10**9)
    together, plain = threading.Barrier(2, timeout=10), store.fetch

    def fetch(name, path):
        together.wait()  # both are on their way at the same time
        plain(name, path)

    store.fetch = fetch
    cache.fetch_ahead(records)
    cache.fetch_ahead(records)
    cache.read(records[0], 0, 10)
    cache.read(records[1], 0, 10)
    assert len(list(tmp_path.glob("shard-*.tar"))) == 2
    # What there is no room for beside the same again waits until it is read.
    small = ShardCache(store, tmp_path / "small", max_bytes=records[0].bytes)
    small.fetch_ahead(records)
    assert not (tmp_path / "small").exists()


def test_a_copy_that_a_killed_process_left_is_removed(remote, tmp_path):
    store, records = remote
    parts = [tmp_path / f"shard-000009-x.tar.{n}.part" for n in range(2)]
    for part in parts:
        part.write_bytes(b"cut")
    os.utime(parts[0], (0, 0))
    ShardCache(store, tmp_path).read(records[0], 0, 10)
    assert [part.exists() for part in parts] == [False, True]


def test_shard_that_is_another_than_its_record_is_refused(remote, tmp_path):
    store, records = remote
    data = bytearray(store.read("shard-000000.tar"))
    data[5000] ^= 1
    store.write("shard-000000.tar", bytes(data))
    with pytest.raises(ShardError, match="is not what its record"):
        ShardCache(store, tmp_path).read(records[0], 0, 10)
    assert not list(tmp_path.iterdir())


def test_shards_of_a_folder_are_read_in_place(shards, tmp_path):
    cache = ShardCache(open_store(shards), tmp_path / "cache")
    record = Manifest.read(shards).records[0]
    expected = (shards / "shard-000000.tar").read_bytes()[512:1024]
    assert cache.read(record, 512, 1024) == expected
    assert not (tmp_path / "cache").exists()


def test_place_of_the_cache_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("PXRDBENCH_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv("PXRDBENCH_CACHE")
    assert str(os.getuid()) in default_cache_folder().name
