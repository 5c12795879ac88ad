import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from small_track import CLASSES, GRID, FixedClassifier, make_predictions, make_track

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
from pxrdbench.benchmark.scoring.predict import (
    ModelDescription,
    ProbabilityWarning,
    describe_model,
    look_like_probabilities,
    predict_track,
    resample,
)
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import EvaluationError, ModelError, SplitError
from pxrdbench.learning.models.checkpoint import Checkpoint, save_checkpoint
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.tracks.load import available_tracks, load_track

KNOWN = ModelDescription(name="fixed", class_frequencies={225: 0.5, 14: 0.3})


@pytest.fixture(scope="module")
def track():
    return make_track(30)


def test_predictions_do_not_depend_on_the_batch_size(track):
    one = predict_track(FixedClassifier(), track, KNOWN, batch_size=7)
    other = predict_track(FixedClassifier(), track, KNOWN, batch_size=256)
    assert one.ids == track.ids
    assert np.abs(one.logits.astype(float) - other.logits).max() < 0.05
    assert one.track_digest == track.digest
    assert one.class_frequencies.tolist() == [0.5, 0, 0.3, 0, 0, 0, 0]


def test_progress_is_reported_to_the_end(track):
    steps = []
    predict_track(
        FixedClassifier(),
        track,
        batch_size=8,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(8, 30), (16, 30), (24, 30), (30, 30)]


def test_patterns_are_resampled_to_the_grid_of_the_model(track):
    coarse = FixedClassifier(TwoThetaGrid(10.0, 60.0, 501))
    predict_track(coarse, track)
    assert set(coarse.shapes) == {(30, 501)}


def test_resampling_at_the_same_angles_changes_nothing(track):
    intensity = track.batch(0, 3).intensity
    assert resample(intensity, GRID, GRID) is intensity
    finer = TwoThetaGrid(5.0, 90.0, 2 * GRID.points - 1)
    doubled = resample(intensity, GRID, finer)
    assert doubled.dtype == np.float32
    assert np.allclose(doubled[:, ::2], intensity, atol=1e-6)
    assert doubled.max(axis=1) == pytest.approx(np.ones(3))


def test_resampling_scales_to_the_strongest_peak_that_is_left(track):
    part = TwoThetaGrid(70.0, 80.0, 201)
    whole = track.batch(0, 10).intensity
    left = whole[:, 1300:1501].max(axis=1) > 0
    assert 0 < left.sum() < 10
    # A pattern without a peak there stays empty instead of becoming noise.
    assert resample(whole, GRID, part).max(axis=1) == pytest.approx(left.astype(float))


def test_angles_that_the_track_lacks_are_refused(track):
    wide = FixedClassifier(TwoThetaGrid(5.0, 120.0, 501))
    with pytest.raises(EvaluationError, match=r"5.0-120.0 degrees"):
        predict_track(wide, track)


def test_another_radiation_is_refused_and_the_doublet_is_not(track):
    molybdenum = ModelDescription(radiation=Radiation.parse(0.7107))
    with pytest.raises(EvaluationError, match=r"0\.7107 angstrom"):
        predict_track(FixedClassifier(), track, molybdenum)
    doublet = ModelDescription(radiation=Radiation.parse("CuKa"))
    assert len(predict_track(FixedClassifier(), track, doublet)) == 30


def test_logits_of_another_shape_are_refused(track):
    class Wrong(FixedClassifier):
        def predict(self, intensity):
            return super().predict(intensity)[:, 1:]

    with pytest.raises(EvaluationError, match="logits of shape"):
        predict_track(Wrong(), track)


def test_a_diverged_model_is_named(track):
    class Diverged(FixedClassifier):
        def predict(self, intensity):
            return np.full((len(intensity), len(CLASSES)), np.nan, np.float32)

    with pytest.raises(EvaluationError, match="diverged"):
        evaluate(Diverged(), track)


def test_evaluate_writes_all_three_files_and_again_the_same(track, tmp_path):
    for name in ("one", "two"):
        evaluation = evaluate(
            FixedClassifier(), track, out=tmp_path / name, model_name="fixed"
        )
        assert Evaluation.read(tmp_path / name / "evaluation.json") == evaluation
    names = {"predictions.h5", "evaluation.json", "report.html"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name


def test_rescoring_stored_predictions_gives_the_identical_files(track, tmp_path):
    evaluate(FixedClassifier(), track, out=tmp_path / "first")
    evaluate(tmp_path / "first" / "predictions.h5", track, out=tmp_path / "again")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def save_untrained(path, **changes):
    grid = TwoThetaGrid()
    network = build_model("park-cnn-small", len(CLASSES), grid=grid)
    known = {
        "model": "park-cnn-small",
        "state_dict": network.state_dict(),
        "space_groups": CLASSES,
        "grid": grid,
        "radiation": Radiation.parse("CuKa1"),
        "prior_digest": load_prior("open-v0").digest,
        "patterns_seen": 1234,
    }
    save_checkpoint(path, Checkpoint(**(known | changes)))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("model") / "last.pt")


def test_a_checkpoint_is_evaluated_on_real_compounds(checkpoint, tmp_path):
    evaluation = evaluate(checkpoint, out=tmp_path)
    assert evaluation.track["name"] == "aflow/prototypes"
    assert evaluation.counts["crystals"] == len(load_track("aflow/prototypes"))
    assert evaluation.model["name"] == "park-cnn-small"
    assert len(evaluation.model["digest"]) == 64
    assert evaluation.model["provenance"]["patterns seen"] == "1,234"
    # An untrained network knows nothing.
    assert evaluation.metrics["covered_top_1"].value < 0.6
    predictions = Predictions.read(tmp_path / "predictions.h5")
    prior = load_prior("open-v0")
    shares = dict(zip(prior.space_groups, prior.space_group_probability, strict=True))
    assert predictions.class_frequencies.tolist() == pytest.approx(
        [shares.get(group, 0.0) for group in CLASSES]
    )
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["metrics"]["top_1"]["value"] == evaluation.metrics["top_1"].value
    again = evaluate(tmp_path / "predictions.h5")
    assert again == evaluation


def test_a_restricted_prior_marks_the_predictions(tmp_path, track):
    path = save_untrained(tmp_path / "r.pt", restricted=True, prior_digest="0" * 64)
    from pxrdbench.learning.models.checkpoint import load_classifier

    description = describe_model(load_classifier(path), "mine")
    assert description.name == "mine"
    assert description.restricted
    assert description.class_frequencies is None  # the prior is not one we ship


def test_unsafe_and_missing_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        evaluate(tmp_path / "none.pt")
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(ModelError):
        evaluate(tmp_path / "evil.pt")


def test_an_unknown_track_is_refused(track):
    with pytest.raises(SplitError, match="known are"):
        evaluate(make_predictions(track), "no/track")


@pytest.mark.parametrize("name", ["aflow/prototypes", "open/structure-type"])
def test_shipped_tracks_can_be_scored(name):
    assert name in available_tracks()
    shipped = load_track(name)
    classes = np.unique(shipped.space_group)[:50]
    logits = np.zeros((len(shipped), 50), np.float32)
    logits[:, 0] = 1.0
    predictions = make_predictions(
        shipped, logits, classes=tuple(classes.tolist()), class_frequencies=None
    )
    evaluation = evaluate(predictions, shipped)
    share = (shipped.space_group == classes[0]).mean()
    assert evaluation.metrics["top_1"].value == pytest.approx(share, abs=1e-6)
    assert sum(item.crystals for item in evaluation.by_peaks) == len(shipped)


def test_scoring_needs_no_torch(track, tmp_path):
    make_predictions(track).write(tmp_path / "p.h5")
    code = (
        "import sys; from pxrdbench.benchmark.scoring.predictions import Predictions;"
        "import pxrdbench.benchmark.scoring.score;"
        "Predictions.read(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "p.h5")]
    subprocess.run(command, check=True)


def test_descriptions_of_other_classifiers_are_plain():
    description = describe_model(FixedClassifier())
    assert description.name == "FixedClassifier"
    assert description.digest == ""


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_in_place_of_logits_are_noticed(track, dtype):
    class Softmax(FixedClassifier):
        def predict(self, intensity):
            odds = np.exp(super().predict(intensity).astype(np.float64))
            return (odds / odds.sum(axis=1, keepdims=True)).astype(dtype)

    with pytest.warns(ProbabilityWarning, match="leave the softmax away"):
        probable = predict_track(Softmax(), track, KNOWN, batch_size=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = predict_track(FixedClassifier(), track, KNOWN, batch_size=7)
    guess = probable.logits.argmax(axis=1)
    assert np.array_equal(guess, logits.logits.argmax(axis=1))


@pytest.mark.parametrize(
    "rows",
    [
        [[0.2, 0.8], [0.5, 0.6]],  # one row does not sum to 1
        [[1.5, -0.5], [0.5, 0.5]],  # sums to 1, but is negative
        np.log([[0.2, 0.8], [0.5, 0.5]]),  # logarithms of probabilities are logits
        [[1.0], [1.0]],  # one class: nothing can be told
        [[np.nan, 1.0], [0.5, 0.5]],
    ],
)
def test_logits_are_not_taken_for_probabilities(rows):
    assert not look_like_probabilities(np.array(rows))
