import json

import numpy as np
import pytest
from small_track import make_predictions
from typer.testing import CliRunner

from pxrdbench.cli.app import app
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.learning.models.checkpoint import Checkpoint, save_checkpoint
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.tracks.load import load_track

CLASSES = (225, 62, 14, 2, 194)


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    track = load_track("aflow/prototypes")
    generator = np.random.Generator(np.random.PCG64(0))
    for arm, skill in (("a", 3.0), ("b", 0.0)):
        for seed in (0, 1):
            logits = generator.normal(0, 1, (len(track), len(CLASSES)))
            logits += skill * (track.space_group[:, None] == np.array(CLASSES))
            made = make_predictions(
                track, logits, CLASSES, class_frequencies=None, model_name=arm
            )
            made.write(folder / arm / str(seed) / "predictions.h5")
    return folder


def test_two_arms_are_compared_and_kept(arms, tmp_path):
    out = tmp_path / "c.json"
    result = CliRunner().invoke(
        app, ["compare", str(arms / "a"), str(arms / "b"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "A a (2) and B b (2) on aflow/prototypes test" in result.output
    record = json.loads(out.read_text())
    top = record["metrics"]["top_1"]
    assert top["difference"]["value"] > 0.1
    assert top["seed_spread"][0] is not None
    assert record["mcnemar_p"] is None


def test_one_seed_is_said(arms):
    files = [str(arms / arm / "0" / "predictions.h5") for arm in "ab"]
    result = CliRunner().invoke(app, ["compare", *files])
    assert result.exit_code == 0, result.output
    assert "One seed in an arm" in result.output
    assert "exact McNemar" in result.output


def test_robustness_writes_numbers_and_page(tmp_path):
    grid = TwoThetaGrid()
    save_checkpoint(
        tmp_path / "m.pt",
        Checkpoint(
            model="peak-network",
            state_dict=build_model("peak-network", 5, grid=grid).state_dict(),
            space_groups=CLASSES,
            grid=grid,
            radiation=Radiation.parse("CuKa1"),
        ),
    )
    arguments = [
        "robustness", str(tmp_path / "m.pt"), "--track", "aflow/prototypes",
        "--crystals", "6", "--effect", "zero-shift", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"robustness.json", "robustness.html"}
    assert "Zero shift" in result.output
