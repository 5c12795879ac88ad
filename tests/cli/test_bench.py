"""The verbs `export` and `bench stream`, and options of recipes."""

import json

import pytest
from typer.testing import CliRunner

from pxrdbench.cli.app import app
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.speed import stream as stream_benchmark

runner = CliRunner()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    recipe = Recipe("open-v0", seed=7, grid=TwoThetaGrid(10.0, 60.0, 501))
    Manifest(recipe.card, 300).write(folder)
    for _ in write_shard(recipe, folder, ShardSpan.of(0, 300)):
        pass
    return folder


@pytest.mark.parametrize("name", ["parquet", "webdataset", "hdf5"])
def test_export_writes_and_tells(shards, tmp_path, name):
    command = ["export", str(shards), "--out", str(tmp_path), "--format", name]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "300 samples in 1 file (1 new)" in result.output
    assert (tmp_path / "README.md").is_file()
    assert (tmp_path / "croissant.json").is_file()
    assert "(0 new)" in runner.invoke(app, command).output


def test_bench_stream_times_every_stage(tmp_path):
    out = tmp_path / "stream.json"
    command = ["bench", "stream", "--samples", "512", "--out", str(out)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    measured = json.loads(out.read_text())
    names = [stage["name"] for stage in measured["stages"]]
    assert names[0] == "draw and simulate"
    assert {
        "recipe to torch batches",
        "block shards to torch batches",
        "Parquet, datasets streaming",
    } <= set(names)
    assert all(stage["per_core_second"] > 0 for stage in measured["stages"])
    assert 0.0 <= measured["waiting"]["waited"] <= 1.0
    for name in names:
        assert name in result.output


def test_bench_alone_is_that_of_the_simulator(monkeypatch):
    seen = []
    monkeypatch.setattr("pxrdbench.cli.bench._bench", lambda *a: seen.append(a))
    assert runner.invoke(app, ["bench", "--crystals", "7"]).exit_code == 0
    assert seen[0][0] == 7


def test_shards_of_the_test_may_stay(tmp_path):
    recipe = Recipe("open-v0", grid=TwoThetaGrid(10.0, 60.0, 501))
    stages = []
    stream_benchmark.benchmark_stream(
        recipe, samples=600, folder=tmp_path, on_progress=stages.append
    )
    assert Manifest.read(tmp_path / "shards").samples == 600
    assert stages[-1] == "a trainer that waits"
    # And a second run over them is possible.
    stream_benchmark.benchmark_stream(recipe, samples=600, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--measurement", "moonlight"], "known are"),
        (["--structure-type", "perovskite"], "slot:letter"),
        (["--max-volume", "-1"], "above 0"),
        (["--coordinates", "nearby"], "known are"),
        (["--measurement", "rruff-paper", "--radiation", "CuKa"], "one line"),
    ],
)
def test_recipes_that_cannot_be_are_refused(options, message, tmp_path):
    command = ["generate", "--samples", "10", "--out", str(tmp_path / "out"), *options]
    result = runner.invoke(app, command)
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output
