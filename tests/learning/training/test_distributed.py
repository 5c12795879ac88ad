"""Two processes under torchrun (gloo) train as one with batches twice as large."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_source import MemorySource
from small_sets import write_set

from pxrdbench.dataset.shards.rolling import END_FILE, open_rolling
from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.training.distributed import SourceShare, Team
from pxrdbench.learning.training.trainer import TrainConfig, fit

FOLDER = Path(__file__).parent


def torchrun(*arguments):
    # --standalone asks for the machine's name, which not every machine can answer.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += ["--master-addr", "127.0.0.1", "--master-port", port]
    command += ["--nproc-per-node=2", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join(
        [str(FOLDER), str(FOLDER.parent.parent), env.get("PYTHONPATH", "")]
    )
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_model")
def test_two_processes_take_the_steps_of_one(tmp_path):
    program = FOLDER.parents[1] / "helpers" / "distributed_run.py"
    torchrun(str(program), str(tmp_path / "two"), "320", "640")
    config = TrainConfig(
        model="tiny",
        out=tmp_path / "one",
        patterns=640,
        batch_size=32,
        threads=1,
        schedule="cosine",
    )
    two = load_checkpoint(tmp_path / "two" / "last.pt")
    assert two.patterns_seen == 640
    assert two.training["steps"] == 20
    # The run of two parts has two cosines; compare with one that has them too.
    fit(replace(config, patterns=320), MemorySource(), {})
    one = fit(replace(config, resume=True), MemorySource(), {})
    for name, value in load_checkpoint(one.checkpoint).state_dict.items():
        torch.testing.assert_close(value, two.state_dict[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_share_one_rolling_set(recipe, tmp_path):
    """By the verb: each batch is one process's, and the first gives shards free."""
    folder, out = write_set(recipe, tmp_path / "set", 3), tmp_path / "run"
    open_rolling(folder, "trainer")
    (folder / END_FILE).write_text('{"samples": 1800}')
    options = ["--shards", str(folder), "--out", str(out), "--batch-size", "64"]
    torchrun(
        *["-m", "pxrdbench.cli", "train", "--model", "peak-network", *options],
        *["--threads", "1"],
    )
    # All end with the same step: whole rounds of two batches.
    assert load_checkpoint(out / "last.pt").patterns_seen == 1800 // 128 * 128
    lines = (out / "stream.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["acknowledged"] == 1200
    assert sorted(path.name[:12] for path in folder.glob("*.ack")) == [
        "shard-000000", "shard-000001",
    ]  # fmt: skip


@pytest.mark.parametrize("length", [None, 200])
def test_shares_are_the_batches_of_the_whole(length):
    source = MemorySource(length)
    shares = [SourceShare(source, Team(rank, 3), 8) for rank in range(3)]
    index = np.concatenate([s.batch(16, 8).index for s in shares])
    assert index.tolist() == list(range(48, 72))
    assert shares[0].length == (None if length is None else 64)
    with pytest.raises(ModelError, match="two batches"):
        shares[0].batch(4, 8)
    if length is not None:
        with pytest.raises(ModelError, match="too few"):
            SourceShare(source, Team(0, 30), 8)
