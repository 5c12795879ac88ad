"""From a prior to a scored model through the verbs, as a user would go."""

import json

import pytest
from typer.testing import CliRunner

from pxrdbench.benchmark.evaluation import Evaluation
from pxrdbench.cli import app
from pxrdbench.dataset.shards.shard_set import ShardSet

SAMPLES = 3000


def pxrdbench(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    """Generate, train and evaluate once; the tests look at what is there."""
    folder = tmp_path_factory.mktemp("way")
    said = {
        "generate": pxrdbench(
            "generate", "--samples", SAMPLES, "--shard-samples", 1000,
            "--out", folder / "shards", "--workers", 1,
        ),
        "train": pxrdbench(
            "train", "--model", "peak-network", "--patterns", 6000,
            "--shards", folder / "shards", "--out", folder / "run",
        ),
        "eval": pxrdbench("eval", folder / "run" / "last.pt"),
    }  # fmt: skip
    return folder, said


def test_shards_are_complete_and_sound(way):
    folder, said = way
    shards = ShardSet(folder / "shards")
    assert shards.length == SAMPLES
    assert "3,000 samples" in said["generate"]
    assert "sound" in pxrdbench("verify", folder / "shards", "--samples", 300)


def test_generating_again_makes_nothing_new(way):
    folder, _ = way
    before = {p.name: p.read_bytes() for p in (folder / "shards").glob("*.tar")}
    said = pxrdbench(
        "generate", "--samples", SAMPLES, "--shard-samples", 1000,
        "--out", folder / "shards",
    )  # fmt: skip
    after = {p.name: p.read_bytes() for p in (folder / "shards").glob("*.tar")}
    assert before == after
    assert len(before) == 3
    assert "0 samples" in said


def test_training_leaves_a_checkpoint_and_a_log(way):
    folder, said = way
    assert (folder / "run" / "last.pt").is_file()
    assert "held-out accuracy" in said["train"]
    assert (folder / "run" / "log.csv").read_text().count("\n") >= 2


def test_evaluation_is_written_and_printed(way):
    folder, said = way
    written = folder / "run" / "eval" / "aflow-prototypes"
    record = json.loads((written / "evaluation.json").read_text())
    top_1 = record["metrics"]["top_1"]
    assert 0 <= top_1["low"] <= top_1["value"] <= top_1["high"] <= 1
    assert f"{100 * top_1['value']:.1f}" in said["eval"]
    assert "<svg" in (written / "report.html").read_text()
    assert Evaluation.read(written / "evaluation.json").counts["crystals"] == 288


def test_stored_predictions_score_the_same(way, tmp_path):
    folder, _ = way
    written = folder / "run" / "eval" / "aflow-prototypes"
    pxrdbench("eval", written / "predictions.h5", "--out", tmp_path)
    again = (tmp_path / "evaluation.json").read_bytes()
    assert again == (written / "evaluation.json").read_bytes()


def test_training_goes_on_from_its_checkpoint(way):
    folder, _ = way
    said = pxrdbench(
        "train", "--model", "peak-network", "--patterns", 8000, "--resume",
        "--shards", folder / "shards", "--out", folder / "run",
    )  # fmt: skip
    assert "8,0" in said or "8,1" in said or "8,2" in said
