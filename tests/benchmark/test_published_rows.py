"""What lies in leaderboards/ beside the rows gives the numbers of the rows."""

from pathlib import Path

import numpy as np
import pytest

from pxrdbench.benchmark.leaderboard.submission import check_submission
from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.learning.models.checkpoint import load_checkpoint, load_classifier
from pxrdbench.tracks.load import load_track

FOLDER = Path(__file__).parents[2] / "leaderboards"
PREDICTIONS = sorted(FOLDER.glob("*/*.h5"))
CHECKPOINTS = sorted((FOLDER / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize(
    "path", PREDICTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_kept_predictions_give_every_number_of_their_row(path):
    check_submission(path.with_suffix(".json"), path)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_kept_checkpoint_gives_the_kept_predictions(path):
    track = load_track("aflow/prototypes")
    kept = Predictions.read(FOLDER / "aflow-prototypes" / f"{path.stem}.h5")
    again = predict_track(load_classifier(path), track)
    assert again.space_groups == kept.space_groups
    # Half precision and a temperature: the order of the guesses stays, but for ties.
    same = again.logits.argmax(axis=1) == kept.logits.argmax(axis=1)
    assert same.mean() > 0.98
    card = path.with_suffix(".md").read_text("utf-8")
    assert f"{load_checkpoint(path).patterns_seen:,} patterns" in card


def test_what_is_kept_is_small():
    assert PREDICTIONS
    assert CHECKPOINTS
    for kept in (PREDICTIONS, CHECKPOINTS):
        assert np.sum([path.stat().st_size for path in kept]) <= 8e6
