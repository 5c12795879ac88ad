"""The factory on object stores, on full and read-only disks, and rolling."""

import contextlib
import json
import logging
import subprocess
import threading
import time

import numpy as np
import pytest
from object_server import ObjectServer

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.errors import ShardError
from pxrdbench.factory import GenerateConfig, generate, plan
from pxrdbench.factory.ray.session import RaySession

SHARD_SAMPLES = 400
SAMPLES = 1900  # the last shard is shorter


@pytest.fixture(scope="module")
def server():
    """A server, and the environment that leads this process and its workers there."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ObjectServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir("shards")
        yield server
    server.stop()


@pytest.fixture(scope="module")
def recipe():
    return Recipe("open-v0", seed=7)


@pytest.fixture(scope="module")
def ray_session(server):
    with RaySession(2) as session:
        yield session.ray


@pytest.fixture
def healthy(server):
    """The server, without failures before and afterwards."""
    server.every = server.puts = server.failed = 0
    yield server
    server.every = 0


def config_of(recipe, out, **options):
    defaults = {"samples": SAMPLES, "workers": 2, "shard_samples": SHARD_SAMPLES}
    return GenerateConfig(recipe, out, **(defaults | options))


@pytest.fixture(scope="module")
def local(recipe, ray_session, tmp_path_factory):
    """The same set in a folder."""
    out = tmp_path_factory.mktemp("local") / "set"
    generate(config_of(recipe, out))
    return out


def objects_of(location):
    """Everything that is the set; logs are not."""
    store = open_store(location)
    names = [n for n in store.sizes() if not n.startswith((".lock", "lock", "log"))]
    return store.read_many(names)


def test_store_that_fails_one_put_in_ten_gets_the_same_set(
    recipe, ray_session, healthy, local, tmp_path
):
    healthy.every = 10
    url = "s3://shards/unsteady/set"
    report = generate(config_of(recipe, url))
    assert (report.stopped_by, report.samples) == ("samples", SAMPLES)
    assert healthy.failed >= 1
    assert healthy.failed == healthy.puts // 10
    assert objects_of(url) == objects_of(local)
    found = verify_shards(url, sample=500)
    assert found.is_sound
    assert found.identical == found.redrawn >= 500
    assert found.leftovers == ()
    # The log is an object too, and the lock is gone.
    (log,) = [n for n in open_store(url).sizes() if n.startswith("log")]
    lines = [json.loads(line) for line in open_store(url).read(log).splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["started", "ended"]
    assert sum(line["event"] == "finished" for line in lines) == 5
    assert "lock.json" not in open_store(url).sizes()
    # Read by shards, in any order, from local copies.
    there = ShardSet(url, cache=tmp_path)
    assert np.array_equal(
        there.batch(300, 1500).intensity, ShardSet(local).batch(300, 1500).intensity
    )
    assert len(list(tmp_path.glob("shard-*.tar"))) == 5
    # A finished set is left alone.
    assert generate(config_of(recipe, url)).samples_new == 0


def test_store_that_refuses_ends_the_run_and_a_later_one_goes_on(
    recipe, ray_session, healthy, local
):
    url = "s3://shards/refusing"

    def refuse(progress):
        if progress.shards >= 2:
            healthy.every = 1

    with pytest.raises(ShardError, match="cannot write s3://shards/ref") as caught:
        generate(config_of(recipe, url, patience=1.0), refuse)
    assert "the same command goes on" in str(caught.value)
    healthy.every = 0
    found = verify_shards(url, sample=200)
    assert found.is_sound
    assert 800 <= found.samples < SAMPLES
    report = generate(config_of(recipe, url))
    assert report.samples_new == SAMPLES - found.samples
    assert objects_of(url) == objects_of(local)


def test_bucket_that_is_not_there_is_one_sentence(recipe, healthy):
    with pytest.raises(ShardError, match="make the bucket first"):
        generate(config_of(recipe, "s3://nothing/set"))


@contextlib.contextmanager
def mounted(folder, options):
    """A small disk of its own, where one may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("mounting is not permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_that_fills_up_ends_the_run_and_a_later_one_goes_on(
    recipe, ray_session, local, tmp_path, monkeypatch
):
    """Something else has taken the room that the plan counted on."""
    monkeypatch.setattr(plan, "_DISK_RESERVE", -(10**12))
    with mounted(tmp_path / "disk", "size=1600k") as disk:
        report = generate(config_of(recipe, disk))
        assert report.stopped_by == "disk"
        assert "Make room" in report.explanation
        found = verify_shards(disk, sample=200)
        assert found.is_sound
        assert 400 <= found.samples < SAMPLES
        assert found.leftovers == ()
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        again = generate(config_of(recipe, disk))
        assert again.samples == SAMPLES
        assert objects_of(disk) == objects_of(local)


def test_short_disk_is_seen_beforehand(recipe, ray_session, tmp_path):
    with mounted(tmp_path / "disk", "size=20m") as disk:
        report = generate(config_of(recipe, disk))
        assert (report.stopped_by, report.shards) == ("disk", 0)
        assert "1 GB that is left free" in report.explanation


def test_read_only_folder_is_one_sentence(recipe, ray_session, tmp_path):
    with mounted(tmp_path / "disk", "size=16m") as disk:
        generate(config_of(recipe, disk / "set", samples=400, max_size_bytes=10**7))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ShardError, match=r"written \(Read-only file"):
            generate(config_of(recipe, disk / "set"))
        with pytest.raises(ShardError, match=r"written \(Read-only file"):
            generate(config_of(recipe, disk / "other"))


def test_rolling_set_is_bounded_and_read_once(recipe, ray_session, tmp_path):
    """A consumer follows a producer that has room for a few shards only."""
    out, limit, samples = tmp_path / "set", 3_000_000, 4000
    steps, reports = [], []

    def produce():
        config = config_of(
            recipe, out, samples=samples, max_size_bytes=limit, rolling="trainer"
        )
        reports.append(generate(config, steps.append))

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        while not (out / "rolling.json").exists():
            assert producer.is_alive()
            time.sleep(0.05)
        rolling = RollingSet(out, "trainer", patience=60)
        seen, largest = [], 0
        for start in range(0, samples, 160):
            seen.append(rolling.batch(start, 160).index)
            sizes = open_store(out).sizes()
            there = sum(sizes[name] for name in sizes if name.endswith(".tar"))
            largest = max(largest, there)
    finally:
        producer.join(60)
    assert reports[0].stopped_by == "samples"
    assert reports[0].samples == samples
    assert np.array_equal(np.concatenate(seen), np.arange(samples))
    assert 400_000 < largest <= limit
    assert rolling.redrawn == 0
    assert max(step.bytes for step in steps) <= limit
    # The rest goes with the next run, which has nothing else to do.
    generate(config_of(recipe, out, samples=samples, rolling="trainer"))
    manifest = Manifest.read(out)
    assert len(manifest.retired) == 10
    assert list(out.glob("*.tar")) == []
    events = [json.loads(line) for line in (out / "log.jsonl").open()]
    assert sum(event["event"] == "finished" for event in events) == 10
    with pytest.raises(ShardError, match="rolls for the consumer 'trainer'"):
        generate(config_of(recipe, out, rolling="another"))
