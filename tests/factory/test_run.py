"""The factory: the same shards for any crew and any interruption."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from measure_kills import run_killed
from ray_processes import find_descendants

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.shards.packing import pack_peaks
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.errors import ShardError
from pxrdbench.factory import GenerateConfig, generate
from pxrdbench.factory.ray.session import RaySession
from pxrdbench.factory.run import _make_report, _Signals

SHARD_SAMPLES = 800
PARTS_OF_RAY = ("gcs_server", "raylet", "ShardWorker", "log_monitor", "dashboard")
SAMPLES = 3000  # the last shard is shorter

# A run in a process of its own, with a Ray of its own, as the command starts it.
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.factory import GenerateConfig, generate
out, options = Path(sys.argv[1]), json.loads(sys.argv[2])
def tell(progress):
    print(progress.phase, progress.shards, progress.samples, flush=True)
report = generate(GenerateConfig(Recipe(seed=7), out, **options), tell)
print(json.dumps(dataclasses.asdict(report), default=str), flush=True)
"""


@pytest.fixture(scope="module")
def recipe():
    return Recipe("open-v0", seed=7)


@pytest.fixture(scope="module")
def ray_session():
    """One Ray for the runs in this process, started as `generate` starts it."""
    with RaySession(2) as session:
        yield session.ray


@pytest.fixture(scope="module")
def two_workers(recipe, ray_session, tmp_path_factory):
    """A finished set, and what its run reported."""
    out = tmp_path_factory.mktemp("two") / "set"
    steps = []
    report = generate(
        GenerateConfig(
            recipe, out, samples=SAMPLES, workers=2, shard_samples=SHARD_SAMPLES
        ),
        steps.append,
    )
    return out, report, steps


def files_of(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name not in {".lock", "log.jsonl"}
    }


def start(out, **options):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process, wanted):
    """Read lines until one says that the run has come so far."""
    for line in process.stdout:
        phase, shards, samples = line.split()
        if wanted(phase, int(shards), int(samples)):
            return
    pytest.fail(f"the run ended early: {process.stderr.read()}")


def test_ray_listens_to_this_machine_only(ray_session):
    assert {node["NodeManagerAddress"] for node in ray_session.nodes()} == {"127.0.0.1"}
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_run_reports_what_lies_in_the_folder(two_workers):
    out, report, steps = two_workers
    manifest = Manifest.read(out)
    assert report.stopped_by == "samples"
    assert (report.samples, report.samples_new, report.shards) == (3000, 3000, 4)
    assert report.bytes == manifest.bytes
    assert [record.samples for record in manifest.records] == [800, 800, 800, 600]
    assert not [name for name in files_of(out) if name.endswith(".part")]
    assert steps[0].phase == "starting"
    last = steps[-1]
    assert (last.samples, last.shards, last.total_shards) == (3000, 4, 4)
    assert last.samples_per_second > 0
    assert verify_shards(out, sample=3000).identical == 3000


def test_one_worker_writes_the_same_bytes(recipe, ray_session, two_workers, tmp_path):
    config = GenerateConfig(
        recipe, tmp_path, samples=SAMPLES, workers=1, shard_samples=SHARD_SAMPLES
    )
    generate(config)
    assert files_of(tmp_path) == files_of(two_workers[0])


def test_samples_are_those_of_the_recipe_alone(recipe, two_workers):
    """Samples 1000-1999 drawn by two workers, and here."""
    read = ShardSet(two_workers[0]).read(1000, 1000)
    drawn = recipe.draw(1000, 1000)
    assert np.array_equal(read.space_group, drawn.crystals.space_group)
    for name, values in pack_peaks(drawn.peaks).items():
        assert np.array_equal(read.peaks[name], values), name
    other = Recipe("open-v0", seed=8).peaks(1000, 1000)
    assert not np.array_equal(pack_peaks(other)["two_theta"], read.peaks["two_theta"])


def test_finished_set_needs_no_ray(recipe, two_workers):
    out = two_workers[0]
    before = files_of(out)
    config = GenerateConfig(recipe, out, samples=SAMPLES, workers=2)
    started = time.monotonic()
    report = generate(config)
    assert time.monotonic() - started < 1.0
    assert (report.samples_new, report.stopped_by) == (0, "samples")
    assert files_of(out) == before
    # An earlier run may have died just before it could say that the set is complete.
    (out / "end.json").unlink()
    generate(config)
    assert files_of(out) == before


def test_lost_and_short_shards_come_back(recipe, ray_session, two_workers, tmp_path):
    config = GenerateConfig(
        recipe, tmp_path, samples=1000, workers=2, shard_samples=SHARD_SAMPLES
    )
    generate(config)
    assert [r.samples for r in Manifest.read(tmp_path).records] == [800, 200]
    (tmp_path / "shard-000000.tar").unlink()
    (tmp_path / "shard-000002.tar.0.part").write_bytes(b"left by a crash")
    report = generate(dataclasses.replace(config, samples=SAMPLES))
    assert report.samples_new == 3000
    assert files_of(tmp_path) == files_of(two_workers[0])


def test_another_recipe_in_the_folder_is_refused(two_workers):
    out = two_workers[0]
    before = files_of(out)
    with pytest.raises(ShardError, match="there seed is 7, not 8"):
        generate(GenerateConfig(Recipe("open-v0", seed=8), out, samples=SAMPLES))
    assert files_of(out) == before


def test_size_limit_holds_and_is_explained(recipe, ray_session, tmp_path):
    config = GenerateConfig(
        recipe, tmp_path, workers=2, shard_samples=500, max_size_bytes=2_600_000
    )
    report = generate(config)
    assert report.stopped_by == "size"
    total = sum(path.stat().st_size for path in tmp_path.glob("*.tar"))
    assert 1_000_000 < total == report.bytes <= 2_600_000
    for words in ("size limit", "of 2.6 MB", "500 samples", "--max-size", "--online"):
        assert words in report.explanation


def test_shard_larger_than_the_limit_is_not_begun(recipe, ray_session, tmp_path):
    config = GenerateConfig(recipe, tmp_path, workers=1, max_size_bytes=1_000_000)
    report = generate(config)
    assert (report.stopped_by, report.shards) == ("size", 0)
    assert "50,000 samples needs about" in report.explanation
    assert not list(tmp_path.glob("*.tar*"))


def test_time_is_kept(recipe, ray_session, tmp_path):
    # Where others use the processors, a worker takes long to begin.
    for seconds in (1.5, 10.0, 60.0):
        config = GenerateConfig(
            recipe, tmp_path, minutes=seconds / 60, workers=2, shard_samples=1000
        )
        report = generate(config)
        assert report.stopped_by == "time"
        assert seconds / 3 < report.seconds < seconds + 20.0
        if report.shards:
            break
    assert report.shards >= 1
    assert report.samples == 1000 * report.shards
    assert verify_shards(tmp_path, sample=300).is_sound


def test_error_in_a_worker_arrives(recipe, ray_session, tmp_path):
    out = tmp_path / "set"
    config = GenerateConfig(recipe, out, samples=500, workers=1)

    def remove_folder(progress):
        if progress.phase == "starting":
            shutil.rmtree(out)

    with pytest.raises(ShardError, match=r"set cannot be written \(No such file"):
        generate(config, remove_folder)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_dead_worker_is_replaced(recipe, ray_session, two_workers, tmp_path):
    killed = []

    def kill_one(progress):
        if progress.phase == "running" and not killed:
            killed.append(next(iter(find_descendants(b"ray::ShardWorker"))))
            os.kill(killed[0], signal.SIGKILL)

    config = GenerateConfig(
        recipe, tmp_path, samples=SAMPLES, workers=1, shard_samples=SHARD_SAMPLES
    )
    # Telling happens after the first news, so most of the set is still to come.
    report = generate(config, kill_one)
    assert killed
    assert report.samples == SAMPLES
    assert files_of(tmp_path) == files_of(two_workers[0])


def test_killed_run_goes_on_as_if_nothing_had_happened(
    recipe, ray_session, two_workers, tmp_path
):
    process = start(tmp_path, samples=10**7, workers=2, shard_samples=SHARD_SAMPLES)
    wait_for(process, lambda phase, shards, samples: shards >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Ray's processes notice within seconds that the driver is gone; until then they
    # may finish what they began.
    manifest = Manifest.read(tmp_path)
    assert manifest.samples >= 1600
    deadline = time.monotonic() + 20
    while list(tmp_path.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.1)
    report = verify_shards(tmp_path, sample=0)
    assert report.is_sound
    assert not [name for name in report.leftovers if name.endswith(".tar")]
    expected = files_of(two_workers[0])
    for name in ("shard-000000.tar", "shard-000001.tar"):
        assert files_of(tmp_path)[name] == expected[name]
    done = Manifest.read(tmp_path).samples
    config = GenerateConfig(
        recipe, tmp_path, samples=done + 1000, workers=2, shard_samples=SHARD_SAMPLES
    )
    again = generate(config)
    assert again.samples == done + 1000
    assert not [name for name in files_of(tmp_path) if name.endswith(".part")]
    assert verify_shards(tmp_path, sample=0).leftovers == ()


@pytest.mark.slow
def test_driver_killed_again_and_again_changes_no_byte(two_workers, tmp_path):
    """Twice here; `tests/helpers/measure_kills.py` does it twenty times."""
    out = tmp_path / "set"
    moments = run_killed(
        out, SAMPLES, SHARD_SAMPLES, 2, 2, random.Random(1), lambda _: None
    )
    assert len(moments) == 2
    assert files_of(out) == files_of(two_workers[0])


def test_interrupt_ends_cleanly(tmp_path):
    process = start(tmp_path, workers=2, shard_samples=SHARD_SAMPLES)
    wait_for(process, lambda phase, shards, samples: shards >= 1)
    asked = time.monotonic()
    # As a terminal does it: the whole foreground group gets the signal.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert time.monotonic() - asked < 10
    assert errors == ""
    report = json.loads(output.splitlines()[-1])
    assert report["stopped_by"] == "interrupted"
    assert "goes on where" in report["explanation"]
    assert report["samples"] == Manifest.read(tmp_path).samples >= SHARD_SAMPLES
    found = verify_shards(tmp_path, sample=0)
    assert found.is_sound
    assert found.leftovers == ()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk"
)
def test_a_full_disk_is_told_by_the_exit_status(tmp_path):
    """The verb itself, on a disk of 16 MB: the 1 GB that stays free is not there."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pxrdbench.cli", "generate", "--workers", "1"),
                *("--samples", "3000", "--out", str(tmp_path / "set")),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert done.returncode == 1
    assert "disk is nearly full" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("asked", "stopped_by", "had_workers", "is_short"),
    [
        ({"samples": 9}, "samples", True, False),
        ({"samples": 9}, "disk", True, True),
        ({"hours": 1}, "disk", True, True),
        ({"samples": 9}, "size", True, True),
        ({"hours": 1}, "size", True, False),
        ({"hours": 1}, "time", True, False),
        ({"hours": 1}, "time", False, True),
        ({"samples": 9}, "interrupted", True, False),
    ],
)
def test_less_than_asked_is_told(
    recipe, tmp_path, asked, stopped_by, had_workers, is_short
):
    config = GenerateConfig(recipe, tmp_path, **asked)
    plan = SimpleNamespace(
        samples=1, shards=1, bytes=1, max_bytes=9, bytes_per_sample=1, shard_samples=1
    )
    run = SimpleNamespace(samples_new=1, seconds=1.0, had_workers=had_workers)
    assert _make_report(config, plan, stopped_by, run, 1).is_short is is_short


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_dead_part_of_ray_is_named_soon_and_nothing_stays(tmp_path, name):
    process = start(tmp_path, minutes=10, workers=1, shard_samples=SHARD_SAMPLES)
    wait_for(process, lambda phase, shards, samples: shards >= 1)
    ray = {n: find_descendants(b"", of=process.pid, having=n) for n in PARTS_OF_RAY}
    (pid,) = ray[name]
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    _, said = process.communicate(timeout=50)
    assert time.monotonic() - began < 30
    assert process.returncode != 0
    assert f"({name}) has ended" in said.splitlines()[-1]
    assert "the same command goes on there" in said.splitlines()[-1]
    left = [pid for found in ray.values() for pid in found]
    ends = time.monotonic() + 10  # workers note that their raylet has gone
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert verify_shards(tmp_path, sample=0).is_sound


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_asks_and_the_second_insists(number):
    found = signal.getsignal(number)
    if found == signal.SIG_IGN:  # SIGHUP where the tests themselves run under nohup
        signal.signal(number, signal.SIG_DFL)
    before = signal.getsignal(number)
    try:
        with _Signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, found)


def test_under_nohup_a_closed_terminal_is_no_matter():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "option",
    [
        {"minutes": 0},
        {"hours": -1},
        {"samples": 0},
        {"workers": 0},
        {"shard_samples": -5},
        {"minutes": float("nan")},
        {"max_size_bytes": 0},
    ],
)
def test_impossible_options_are_refused(recipe, tmp_path, option):
    with pytest.raises(ShardError, match=f"{next(iter(option))} is"):
        GenerateConfig(recipe, tmp_path, **option)


def test_hours_and_minutes_add_up(recipe, tmp_path):
    assert GenerateConfig(recipe, tmp_path, hours=0.5, minutes=1).seconds == 1860
    assert GenerateConfig(recipe, tmp_path).seconds is None


def test_ray_that_does_not_start_is_one_sentence(recipe, tmp_path, monkeypatch):
    import ray

    def fail(**_):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ShardError, match="Ray did not start on this machine"):
        generate(GenerateConfig(recipe, tmp_path, samples=10, workers=1))
    assert not list(tmp_path.glob("*.tar"))
