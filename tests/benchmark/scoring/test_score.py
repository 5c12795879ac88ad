import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_track import CLASSES, make_predictions, make_track, random_logits

from pxrdbench.benchmark.scoring.baselines import class_frequencies
from pxrdbench.benchmark.scoring.intervals import mcnemar_exact
from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.benchmark.scoring.score import align, count_peaks, score
from pxrdbench.errors import EvaluationError

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(scope="module")
def track():
    return make_track(120)


@pytest.fixture(scope="module")
def predictions(track):
    return make_predictions(track)


@pytest.fixture(scope="module")
def evaluation(predictions, track):
    return score(predictions, track)


def with_changes(predictions, **changes):
    known = {name: getattr(predictions, name) for name in vars(predictions)}
    return Predictions(**(known | changes))


def test_scoring_twice_gives_the_identical_text(predictions, track, tmp_path):
    predictions.write(tmp_path / "p.h5")
    stored = Predictions.read(tmp_path / "p.h5")
    assert score(stored, track).to_json() == score(predictions, track).to_json()


@settings(max_examples=4)
@given(st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_predictions(random):
    track = make_track(40)
    predictions = make_predictions(track)
    order = np.array(random.sample(range(40), 40))
    shuffled = with_changes(
        predictions,
        ids=tuple(predictions.ids[i] for i in order),
        logits=predictions.logits[order],
    )
    one, other = score(predictions, track), score(shuffled, track)
    assert dataclasses.replace(other, predictions_digest="") == dataclasses.replace(
        one, predictions_digest=""
    )


def test_scores_do_not_depend_on_the_order_of_the_track(predictions, track, evaluation):
    order = np.random.Generator(np.random.PCG64(4)).permutation(len(track))
    counts = np.diff(track.peaks.peak_offset)
    peaks = dataclasses.replace(
        track.peaks,
        two_theta=np.concatenate(
            [np.split(track.peaks.two_theta, np.cumsum(counts))[i] for i in order]
        ),
        peak_offset=np.concatenate([[0], np.cumsum(counts[order])]),
    )
    shuffled = dataclasses.replace(
        track,
        ids=tuple(track.ids[i] for i in order),
        space_group=track.space_group[order],
        structure_type=tuple(track.structure_type[i] for i in order),
        peaks=peaks,
    )
    assert score(predictions, shuffled) == evaluation


def test_numbers_equal_scikit_learn(predictions, track, evaluation):
    guess = np.array(CLASSES)[predictions.logits.argmax(axis=1)]
    truth = track.space_group
    values = {name: item.value for name, item in evaluation.metrics.items()}
    assert values["top_1"] == pytest.approx(
        sklearn_metrics.accuracy_score(truth, guess), abs=1e-6
    )
    assert values["macro_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(truth, guess), abs=1e-6
    )
    assert values["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(truth, guess, average="macro"), abs=1e-6
    )
    covered = truth != 1
    label = np.array([CLASSES.index(g) for g in truth[covered]])
    logits = predictions.logits[covered].astype(float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    nll = sklearn_metrics.log_loss(label, probability, labels=range(len(CLASSES)))
    assert values["nll"] == pytest.approx(nll, abs=1e-5)
    for k in (1, 5):
        top = sklearn_metrics.top_k_accuracy_score(
            label, logits, k=k, labels=range(len(CLASSES))
        )
        assert values[f"covered_top_{k}"] == pytest.approx(top, abs=0.02)


def test_identities_between_numbers(evaluation, track):
    values = {name: item.value for name, item in evaluation.metrics.items()}
    counts = evaluation.counts
    share = counts["covered"] / counts["crystals"]
    assert counts["covered"] == (track.space_group != 1).sum()
    for k in (1, 5, 10):
        assert values[f"top_{k}"] == pytest.approx(
            values[f"covered_top_{k}"] * share, abs=2e-6
        )
    # Groups that are not covered have recall 0 in the one and no place in the other.
    assert values["macro_accuracy"] * counts["space_groups"] == pytest.approx(
        values["covered_macro_accuracy"] * counts["covered_space_groups"], abs=1e-5
    )
    assert counts["covered_space_groups"] < counts["space_groups"]
    # Systems, bins and groups are parts of the whole.
    for parts, sizes in (
        (
            evaluation.crystal_system.values(),
            [n for n in counts["crystal_system"].values() if n],
        ),
        (
            [item.top_1 for item in evaluation.by_peaks],
            [item.crystals for item in evaluation.by_peaks],
        ),
    ):
        total = sum(e.value * n for e, n in zip(parts, sizes, strict=True))
        assert total / counts["crystals"] == pytest.approx(values["top_1"], abs=1e-5)
    hits = sum(entry["correct"] for entry in evaluation.space_groups.values())
    assert hits / counts["crystals"] == pytest.approx(values["top_1"], abs=1e-6)
    confusion = np.array(evaluation.confusion)
    assert confusion.sum() == counts["crystals"]
    assert np.trace(confusion) / confusion.sum() == pytest.approx(
        values["crystal_system_accuracy"], abs=1e-6
    )
    # What is right in the group is right in everything coarser.
    for coarser in ("enantiomorph_top_1", "extinction_group_accuracy"):
        assert values[coarser] >= values["top_1"]
    assert values["crystal_system_accuracy"] >= values["laue_class_accuracy"]
    assert evaluation.top_k[0] == evaluation.metrics["top_1"]
    assert evaluation.top_k[4] == evaluation.metrics["top_5"]


def test_mirror_images_count_as_one_where_it_says_so():
    track = make_track(60)
    always_76 = np.zeros((60, len(CLASSES)), np.float32)
    always_76[:, CLASSES.index(76)] = 1.0
    values = score(make_predictions(track, always_76), track).metrics
    n_76, n_78 = ((track.space_group == group).mean() for group in (76, 78))
    assert values["top_1"].value == pytest.approx(n_76, abs=1e-6)
    assert values["enantiomorph_top_1"].value == pytest.approx(n_76 + n_78, abs=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_perfect_and_hopeless_models(track, right):
    is_true = track.space_group[:, None] == np.array(CLASSES)
    logits = np.where(is_true, 30.0, 0.0) * (1 if right else -1)
    evaluation = score(make_predictions(track, logits), track)
    value = evaluation.metrics["covered_top_1"].value
    assert value == float(right)
    assert evaluation.metrics["nll"].value == pytest.approx(31.8 * (not right), abs=0.1)
    comparison = evaluation.baselines[0].comparisons["top_1"]
    assert (comparison.difference.value > 0) == right
    assert comparison.p_value < (1e-20 if right else 0.05)


def test_the_class_order_scores_like_a_model_that_says_it(track):
    """A model whose logits are log frequencies is the baseline, and ties with it."""
    shares = np.array([7.0, 6, 5, 4, 3, 2, 1])
    logits = np.tile(np.log(shares), (len(track), 1))
    predictions = make_predictions(track, logits, class_frequencies=shares)
    evaluation = score(predictions, track)
    baseline = evaluation.baselines[0]
    assert baseline.name == "most_frequent"
    assert baseline.space_group == 225
    for name in ("top_1", "top_5", "top_10"):
        assert baseline.metrics[name] == evaluation.metrics[name]
        comparison = baseline.comparisons[name]
        assert (comparison.only_model, comparison.only_baseline) == (0, 0)
        assert (comparison.difference.value, comparison.p_value) == (0.0, 1.0)
    curve = [estimate.value for estimate in evaluation.top_k]
    assert list(baseline.top_k[: len(curve)]) == curve


def test_no_fixed_order_beats_hindsight(evaluation, track):
    first, hindsight = evaluation.baselines
    assert hindsight.name == "hindsight"
    assert all(a <= b for a, b in zip(first.top_k, hindsight.top_k, strict=True))
    most = np.bincount(track.space_group).max() / len(track)
    assert hindsight.metrics["top_1"].value == pytest.approx(most, abs=1e-6)


def test_comparison_counts_add_up(evaluation, predictions, track):
    guess = np.array(CLASSES)[predictions.logits.argmax(axis=1)]
    model, baseline = guess == track.space_group, track.space_group == 225
    comparison = evaluation.baselines[0].comparisons["top_1"]
    assert comparison.only_model == (model & ~baseline).sum()
    assert comparison.only_baseline == (baseline & ~model).sum()
    assert comparison.p_value == mcnemar_exact(
        comparison.only_model, comparison.only_baseline
    )
    gain = (comparison.only_model - comparison.only_baseline) / len(track)
    assert comparison.difference.value == pytest.approx(gain, abs=1e-6)


def test_frequencies_of_training_come_first_then_those_of_the_statistics_part(track):
    shares, source = class_frequencies(make_predictions(track), track)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.argmax() == 225
    assert "training" in source
    unknown = make_predictions(track, class_frequencies=None)
    shares, source = class_frequencies(unknown, track)
    assert source == "embedded prior open-v0"
    open_track = dataclasses.replace(track, name="open/structure-type")
    shares, source = class_frequencies(unknown, open_track)
    assert source == "statistics part of open/structure-type"
    assert shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"track": "other/track"}, "of track other/track"),
        ({"part": "dev"}, "dev"),
        ({"track_version": "2"}, "version 2"),
        ({"track_digest": "f" * 64}, "ffffff"),
    ],
)
def test_predictions_of_another_track_are_refused(predictions, track, change, message):
    with pytest.raises(EvaluationError, match=message):
        score(with_changes(predictions, **change), track)


def test_missing_and_unknown_crystals_are_refused(predictions, track):
    fewer = with_changes(
        predictions, ids=predictions.ids[1:], logits=predictions.logits[1:]
    )
    with pytest.raises(EvaluationError, match="lack 1 of 120 crystals, 'crystal-0000'"):
        align(fewer, track)
    more = with_changes(
        predictions,
        ids=(*predictions.ids, "stranger"),
        logits=np.concatenate([predictions.logits, predictions.logits[:1]]),
    )
    with pytest.raises(EvaluationError, match="hold 1 that the track lacks"):
        align(more, track)


def test_no_covered_crystal_leaves_covered_numbers_out(track):
    logits = random_logits(track, classes=(3, 5))
    evaluation = score(make_predictions(track, logits, classes=(3, 5)), track)
    assert evaluation.metrics["top_10"].value == 0.0
    assert not {"nll", "ece", "covered_top_1"} & set(evaluation.metrics)
    assert evaluation.calibration == ()


def test_peaks_are_counted_on_the_grid(track):
    counts = count_peaks(track)
    expected = [
        len(part)
        for part in np.split(track.peaks.two_theta, track.peaks.peak_offset[1:-1])
    ]
    assert counts.tolist() == expected
    narrow = dataclasses.replace(track, grid=dataclasses.replace(track.grid, stop=45.0))
    angles = np.split(track.peaks.two_theta, track.peaks.peak_offset[1:-1])
    assert count_peaks(narrow).tolist() == [int((a <= 45).sum()) for a in angles]


def test_logits_far_apart_do_not_break_the_likelihood(track):
    logits = np.zeros((len(track), len(CLASSES)))
    logits[:, 0] = 1e6
    packed = pack_logits(logits)
    assert np.isfinite(packed).all()
    assert np.isfinite(
        score(make_predictions(track, logits), track).metrics["nll"].high
    )
