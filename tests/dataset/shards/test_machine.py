"""The machine is not the data: what fails is named, and nothing is lost for it.

After the cases of shared/data/public_cases/streams: good_data_called_damaged and
endpoint_down.
"""

import errno
import logging
import os
import resource
import shutil
import subprocess
import sys

import fsspec
import pytest

from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.storage import local
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import explain_os_error
from pxrdbench.errors import ShardError, StoreError

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "permission given",
    errno.EACCES: "permission given",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "ulimit -n",
    errno.ENOMEM: "memory",
    errno.EIO: "disk works",
    errno.ESTALE: "mounted",
    errno.ENODEV: "mounted",
    errno.ETIMEDOUT: "network",
    errno.ECONNRESET: "network",
}


def fail_with(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def remote(shards):
    """The set of two shards in an object store, by its URL."""
    url = f"memory://{shards}/{os.urandom(4).hex()}"
    store, folder = open_store(url, patience=0.3), open_store(shards)
    for name in folder.sizes():
        store.write(name, folder.read(name))
    return url


@pytest.mark.parametrize("number", REMEDIES)
def test_a_failing_disk_is_named_and_nothing_is_left_out(shards, monkeypatch, number):
    skipping = ShardSet(shards, skip_damaged=True)
    rolling = RollingSet(shards)
    with monkeypatch.context() as patch:
        patch.setattr(local, "_read", fail_with(number))
        for read in (lambda: skipping.batch(0, 100), lambda: rolling.read(0, 100)):
            with pytest.raises(StoreError, match=REMEDIES[number]) as told:
                read()
            assert os.strerror(number) in str(told.value)
            assert "delete" not in str(told.value)
    assert not skipping.skipped
    assert len(skipping.batch(0, 100)) == len(rolling.read(0, 100)) == 100


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_folder_that_cannot_be_written_has_its_remedy(number):
    error = OSError(number, os.strerror(number))
    assert isinstance(explain_os_error("out", error), StoreError)


def test_a_reader_goes_on_where_others_have_taken_all_handles(shards):
    shards_open = ShardSet(shards)
    shards_open.batch(0, 1)  # kernels are loaded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        assert len(shards_open.batch(700, 100)) == 100
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_lost_folder_is_no_damage_but_a_deleted_shard_is(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "set")
    skipping = ShardSet(folder, skip_damaged=True)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="mounted"):
        skipping.batch(0, 10)
    (tmp_path / "elsewhere").rename(folder)
    assert len(skipping.batch(0, 10)) == 10
    (folder / "shard-000001.tar").unlink()
    assert len(skipping.batch(590, 20)) == 10
    with pytest.raises(ShardError, match=r"deleted since.*generate"):
        ShardSet.batch(_strict(skipping), 590, 20)


def _strict(shards):
    other = shards.with_epoch(0)
    other._skip_damaged = False
    return other


def test_a_folder_is_found_after_the_process_has_changed_its_own(
    shards, tmp_path, monkeypatch
):
    monkeypatch.chdir(shards.parent)
    here = ShardSet(shards.name)
    monkeypatch.chdir(tmp_path)
    assert len(here.batch(0, 10)) == 10


def test_an_endpoint_that_fails_for_a_while_is_no_damage(remote, tmp_path, monkeypatch):
    store = open_store(remote, patience=0.2)
    skipping = ShardSet(store, skip_damaged=True, cache=tmp_path)

    def broken(*_, **__):
        raise ConnectionError("connection reset by peer")

    with monkeypatch.context() as patch:
        for name in ("get_file", "cat_file"):
            patch.setattr(type(fsspec.filesystem("memory")), name, broken)
        with pytest.raises(StoreError, match="check the network") as told:
            skipping.batch(0, 100)
        assert "delete" not in str(told.value)
    assert len(skipping.batch(0, 100)) == 100
    assert not skipping.skipped


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_cache_that_cannot_be_written_costs_time_only(
    remote, tmp_path, monkeypatch, caplog, number
):
    monkeypatch.setattr(ObjectStore, "fetch", fail_with(number))
    cached = ShardSet(remote, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        assert len(cached.batch(0, 300)) == 300
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert "PXRDBENCH_CACHE" in told[0] and os.strerror(number) in told[0]


def test_a_full_disk_is_not_taken_for_a_network(remote, tmp_path, monkeypatch):
    files = type(fsspec.filesystem("memory"))
    calls = []

    def full(*_, **__):
        calls.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "get_file", full)
    store = open_store(remote, patience=60)
    with pytest.raises(StoreError, match="this machine is to blame: make room"):
        store.fetch("shard-000000.tar", tmp_path / "copy")
    assert len(calls) == 1


@pytest.mark.parametrize("spoil", ["cut", "changed"])
def test_a_bad_copy_is_thrown_away_and_fetched_again(remote, tmp_path, spoil):
    truth = ShardSet(remote, cache=tmp_path / "other").read(0, 600)
    ShardSet(remote, cache=tmp_path).read(0, 10)
    copy = next(tmp_path.glob("*.tar"))
    data = copy.read_bytes()
    # The name of the first block's first member.
    copy.write_bytes(data[:5000] if spoil == "cut" else b"\xff" * 900 + data[900:])
    again = ShardSet(remote, cache=tmp_path).read(0, 600)
    for name in truth.peaks:
        assert (again.peaks[name] == truth.peaks[name]).all()
    assert copy.read_bytes() == data


def test_what_the_cache_may_take_is_an_option(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("PXRDBENCH_CACHE_SIZE", "12345")
    assert ShardSet(remote, cache=tmp_path)._shards.max_bytes == 12345
    assert ShardSet(remote, cache_bytes=99)._shards.max_bytes == 99
    monkeypatch.setenv("PXRDBENCH_CACHE_SIZE", "20GB")
    with pytest.raises(StoreError, match="number of bytes"):
        ShardSet(remote)


def test_a_process_without_any_handle_left_says_so(shards):
    """In a process that has loaded no kernel yet."""
    code = f"""
import os, resource
import pxrdbench as px
shards = px.ShardSet({str(shards)!r}, skip_damaged=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); held = []
try:
    while True: held.append(os.open("/dev/null", 0))
except OSError: pass
try:
    shards.batch(0, 500); print("read")
except px.errors.ShardError as error:
    print(type(error).__name__, error)
for handle in held: os.close(handle)
print(len(shards.batch(0, 500)), dict(shards.skipped))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    first, last = done.stdout.strip().splitlines(), done.stderr
    assert first[-1] == "500 {}", last
    assert first[0] == "read" or ("StoreError" in first[0] and "ulimit" in first[0])


def test_a_local_store_is_one_folder_for_good():
    assert LocalStore("here").folder.is_absolute()
    assert LocalStore("here").location == "here"
