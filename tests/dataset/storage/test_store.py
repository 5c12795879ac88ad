"""Stores hold whole objects; folders and object stores alike."""

import errno
import json
import os
import time

import pytest

from pxrdbench.dataset.storage import object_store
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import explain_os_error
from pxrdbench.errors import ShardError
from pxrdbench.files import part_path


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        made = open_store(tmp_path / "set")
    else:
        made = open_store(f"memory://{tmp_path}/set", patience=0.3)
    made.prepare()
    return made


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3:/bucket/a", "s3://bucket/a"),
        ("gcs://bucket", "gcs://bucket"),
        ("shards/open-v0", "shards/open-v0"),
        ("/tmp/s3:/a", "/tmp/s3:/a"),
        ("C/d:e", "C/d:e"),
    ],
)
def test_locations_are_told_apart(location, found):
    """A URL that pathlib has flattened is one still."""
    store = open_store(location)
    assert store.location == found
    assert isinstance(store, ObjectStore) == ("://" in found)
    assert open_store(store) is store


def test_file_url_is_a_folder(tmp_path):
    assert open_store(f"file://{tmp_path}").folder == tmp_path


def test_what_is_written_is_read(store, tmp_path):
    store.write("a.json", b"0123456789")
    store.write("b", b"")
    assert store.read("a.json") == b"0123456789"
    assert store.read("a.json", 2) == b"23456789"
    assert store.read("a.json", 2, 4) == b"23"
    assert store.read("a.json", 0, 3) == b"012"
    assert store.sizes() == {"a.json": 10, "b": 0}
    store.write("a.json", b"new")
    assert store.read_many(["a.json", "none", "b"]) == {"a.json": b"new", "b": b""}
    part = part_path(tmp_path / "piece")
    part.write_bytes(b"whole")
    store.adopt(part, "c.tar")
    assert not part.exists()
    assert store.read("c.tar") == b"whole"
    store.fetch("c.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"whole"
    store.remove("c.tar")
    store.remove("c.tar")
    assert set(store.sizes()) == {"a.json", "b"}


def test_what_is_not_there_is_said(store):
    with pytest.raises(FileNotFoundError):
        store.read("none")
    assert store.read_many([]) == {}


def test_empty_store_has_no_sizes(tmp_path):
    assert open_store(tmp_path / "none").sizes() == {}
    assert open_store(f"memory://{tmp_path}/none").sizes() == {}


def test_second_lock_is_refused_until_the_first_ends(store):
    with (
        store.lock(),
        pytest.raises(ShardError, match="another run writes to"),
        open_store(store.location).lock(),
    ):
        pass
    with open_store(store.location).lock():
        pass
    assert "lock.json" not in store.sizes()


@pytest.mark.parametrize(
    ("host", "pid", "age", "is_held"),
    [
        ("elsewhere", 1, 10, True),
        ("elsewhere", 1, 1000, False),
        (None, 2**30, 10, False),
        (None, None, 10, True),
    ],
)
def test_lock_of_the_dead_is_taken_over(tmp_path, host, pid, age, is_held):
    """Elsewhere after its lease, on this machine as soon as its process is gone."""
    store = open_store(f"memory://{tmp_path}/set", patience=0.3)
    held = {
        "owner": "x",
        "host": host or object_store.socket.gethostname(),
        "pid": pid or os.getpid(),
        "time": time.time() - age,
    }
    store.write("lock.json", json.dumps(held).encode())
    if is_held:
        with pytest.raises(ShardError, match="heard of 10 s ago"), store.lock():
            pass
    else:
        with store.lock():
            assert json.loads(store.read("lock.json"))["pid"] == os.getpid()


class Unsteady:
    """A file system whose calls fail as often as it is told to."""

    def __init__(self, failures, error):
        self.failures, self.error, self.calls = failures, error, 0

    def pipe_file(self, path, data):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error

    cat_file = pipe_file


def unsteady(monkeypatch, failures, error, patience=30.0):
    system = Unsteady(failures, error)
    monkeypatch.setattr(ObjectStore, "_open", lambda self: (system, "bucket"))
    monkeypatch.setattr(object_store.time, "sleep", lambda seconds: None)
    return system, ObjectStore("s3://bucket/set", patience)


def test_failing_requests_are_repeated(monkeypatch):
    system, store = unsteady(monkeypatch, 5, OSError("503 Slow Down"))
    store.write("name", b"data")
    assert system.calls == 6


def test_patience_ends_with_a_sentence(monkeypatch):
    _, store = unsteady(monkeypatch, 10**9, OSError("503 Slow Down"), patience=0.5)
    with pytest.raises(ShardError, match="set/name \\(503 Slow"):
        store.write("name", b"data")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError("no such bucket"), "make the bucket first"),
        (PermissionError("Access Denied"), "check the credentials"),
        (type("NoCredentialsError", (Exception,), {})("none"), "check the credentials"),
    ],
)
def test_refusals_are_not_repeated(monkeypatch, error, words):
    system, store = unsteady(monkeypatch, 10**9, error)
    with pytest.raises(ShardError, match=words):
        store.write("name", b"data")
    assert system.calls == 1


def test_unknown_kind_of_store_is_refused():
    with pytest.raises(ShardError, match="nosuch://bucket cannot be opened"):
        open_store("nosuch://bucket").sizes()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "choose another --out"),
        (errno.EACCES, "permission"),
        (errno.EIO, "its disk works"),
    ],
)
def test_errors_of_the_system_are_sentences(number, words):
    error = explain_os_error("here", OSError(number, os.strerror(number)))
    assert words in str(error)
    assert "stay valid" in str(error)


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        LocalStore(tmp_path / "file").prepare()
