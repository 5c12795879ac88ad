"""Producers and trainer from one command, and from two."""

import json
import subprocess
import sys

from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.speed.stream_picture import draw_stream

COMMAND = [sys.executable, "-m", "pxrdbench.cli"]


def test_one_command_writes_and_learns_and_draws(tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        [
            *[*COMMAND, "stream", "--out", str(out), "--patterns", "9000"],
            *["--max-size", "8MB", "--workers", "1"],
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "generate --rolling trainer" in said
    assert "following" in said and "consumer 'trainer'" in said
    manifest = Manifest.read(out / "shards")
    free = sum(record.samples for record in manifest.retired)
    assert manifest.bytes <= 8_000_000
    last = json.loads((out / "stream.jsonl").read_text().splitlines()[-1])
    assert last["learnt"] >= 9000
    assert 0 < free <= last["acknowledged"] <= last["learnt"]
    # Nobody is left behind.
    reading = json.loads((out / "shards" / "producer.json").read_text())
    assert reading["phase"] == "ended"
    assert "producers: " in said


def test_producers_that_cannot_begin_are_heard(tmp_path):
    done = subprocess.run(
        [*COMMAND, "stream", "--out", str(tmp_path), "--max-size", "much"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode != 0
    assert "the producers did not begin" in " ".join(done.stderr.split())


def test_a_picture_needs_two_lines(tmp_path):
    log, path = tmp_path / "stream.jsonl", tmp_path / "stream.png"
    line = {
        "written": 10, "learnt": 5, "acknowledged": 2, "producers_waited": 0.1,
        "trainer_waited": 0.0, "bottleneck": "both sides keep step",
    }  # fmt: skip
    lines = [
        json.dumps({**line, "time": f"2026-01-01T00:0{n}:00+00:00"}) for n in range(3)
    ]
    log.write_text(lines[0] + "\n")
    assert not draw_stream(log, path)
    log.write_text("\n".join(lines))
    assert draw_stream(log, path)
    assert path.stat().st_size > 1000
