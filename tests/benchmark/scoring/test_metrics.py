from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pxrdbench.benchmark.scoring import metrics

sklearn_metrics = pytest.importorskip("sklearn.metrics")

CLASSES = np.array([225, 62, 14, 2, 194])


@st.composite
def answers(draw, uncovered: bool = True):
    """Logits of float16, with ties, and true groups that may not be covered."""
    n = draw(st.integers(1, 40))
    numbers = st.integers(-6, 6).map(lambda k: k / 2)
    logits = draw(hnp.arrays(np.float16, (n, len(CLASSES)), elements=numbers))
    pool = [*CLASSES.tolist(), 1, 230] if uncovered else CLASSES.tolist()
    truth = draw(hnp.arrays(np.int16, n, elements=st.sampled_from(pool)))
    return logits, truth


def slow_rank(row, truth):
    """Sort by falling logit, equal ones as they stand in the class list."""
    order = sorted(range(len(row)), key=lambda c: (-row[c], c))
    groups = [int(CLASSES[c]) for c in order]
    return groups.index(truth) + 1 if truth in groups else metrics.UNREACHED


@given(answers())
def test_ranks_equal_a_sort(given_answers):
    logits, truth = given_answers
    ranks = metrics.find_ranks(logits, CLASSES, truth)
    slow = [slow_rank(row, t) for row, t in zip(logits.tolist(), truth, strict=True)]
    assert ranks.tolist() == slow


@given(answers())
def test_first_rank_is_the_argmax(given_answers):
    logits, truth = given_answers
    guess = CLASSES[np.argmax(logits, axis=1)]
    ranks = metrics.find_ranks(logits, CLASSES, truth)
    assert ((ranks == 1) == (guess == truth)).all()


@settings(max_examples=40)
@given(answers(), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_crystals(given_answers, random):
    logits, truth = given_answers
    order = np.array(random.sample(range(len(truth)), len(truth)))
    assert all_values(logits, truth) == all_values(logits[order], truth[order])


@given(st.data())
def test_scores_do_not_depend_on_the_order_of_classes(data):
    # Without ties: equal logits count in the order of the class list.
    n = data.draw(st.integers(1, 20))
    rows = st.permutations(range(len(CLASSES)))
    logits = np.array([data.draw(rows) for _ in range(n)], np.float16)
    truth = np.array(
        data.draw(st.lists(st.sampled_from([1, *CLASSES]), min_size=n, max_size=n))
    )
    order = np.array(data.draw(rows))
    one = metrics.find_ranks(logits, CLASSES, truth)
    other = metrics.find_ranks(logits[:, order], CLASSES[order], truth)
    assert one.tolist() == other.tolist()


def all_values(logits, truth):
    rank = metrics.find_ranks(logits, CLASSES, truth)
    guess = CLASSES[np.argmax(logits, axis=1)]
    logp = metrics.log_probabilities(logits)
    confidence = np.exp(logp.max(axis=1))
    scores = [
        metrics.mean_score(rank <= 1),
        metrics.mean_score(rank <= 3),
        metrics.grouped_mean_score(rank == 1, truth),
        metrics.macro_f1_score(guess, truth),
        metrics.calibration_score(confidence, rank == 1),
        metrics.mean_score(confidence, highest=np.inf),
    ]
    return [score.value for score in scores]


@given(answers())
def test_top_k_grows_to_the_covered_share(given_answers):
    logits, truth = given_answers
    rank = metrics.find_ranks(logits, CLASSES, truth)
    curve = [metrics.mean_score(rank <= k).value for k in range(1, len(CLASSES) + 1)]
    assert all(a <= b for a, b in pairwise(curve))
    assert curve[-1] == pytest.approx(np.isin(truth, CLASSES).mean())


@settings(max_examples=40)
@given(answers(uncovered=False))
def test_top_1_is_micro_recall_and_micro_f1(given_answers):
    logits, truth = given_answers
    guess = CLASSES[np.argmax(logits, axis=1)]
    rank = metrics.find_ranks(logits, CLASSES, truth)
    top_1 = metrics.mean_score(rank == 1).value
    for name in ("recall_score", "precision_score", "f1_score"):
        score = getattr(sklearn_metrics, name)(truth, guess, average="micro")
        assert top_1 == pytest.approx(score)
    confusion = metrics.count_confusion(
        metrics.find_labels(CLASSES, truth), metrics.find_labels(CLASSES, guess), 5
    )
    assert top_1 == pytest.approx(np.trace(confusion) / confusion.sum())
    reference = sklearn_metrics.confusion_matrix(truth, guess, labels=CLASSES)
    assert (confusion == reference).all()


# scikit-learn warns when a guess is of a group that no crystal has; we count it too.
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=40)
@given(answers())
def test_macro_scores_equal_scikit_learn(given_answers):
    logits, truth = given_answers
    guess = CLASSES[np.argmax(logits, axis=1)]
    macro = metrics.grouped_mean_score(guess == truth, truth).value
    assert macro == pytest.approx(sklearn_metrics.balanced_accuracy_score(truth, guess))
    f1 = metrics.macro_f1_score(guess, truth).value
    reference = sklearn_metrics.f1_score(
        truth, guess, average="macro", zero_division=0.0
    )
    assert f1 == pytest.approx(reference)


def test_likelihood_and_top_k_equal_scikit_learn():
    generator = np.random.Generator(np.random.PCG64(3))
    logits = generator.normal(0, 2, (400, len(CLASSES)))  # no ties
    label = generator.integers(0, len(CLASSES), 400)
    truth = CLASSES[label]
    logp = metrics.log_probabilities(logits)
    nll = metrics.mean_score(-logp[np.arange(400), label], highest=np.inf).value
    reference = sklearn_metrics.log_loss(label, np.exp(logp), labels=range(5))
    assert nll == pytest.approx(reference, abs=1e-6)
    rank = metrics.find_ranks(logits, CLASSES, truth)
    for k in (1, 2, 4):
        reference = sklearn_metrics.top_k_accuracy_score(
            label, logits, k=k, labels=range(5)
        )
        assert metrics.mean_score(rank <= k).value == pytest.approx(reference)


def test_equal_logits_are_worth_the_first_class_only():
    truth = np.repeat(CLASSES, 10)
    rank = metrics.find_ranks(np.zeros((50, 5), np.float16), CLASSES, truth)
    assert metrics.mean_score(rank == 1).value == pytest.approx(0.2)


def test_uncovered_groups_are_wrong_at_any_k():
    rank = metrics.find_ranks(np.zeros((1, 5), np.float16), CLASSES, np.array([1]))
    assert rank.tolist() == [metrics.UNREACHED]
    assert metrics.mean_score(rank <= 230).value == 0.0


def test_calibration_error_of_a_worked_example():
    # Two bins: 0.8 said and 1/2 right; 0.3 said and 1/1 right.
    confidence = np.array([0.8, 0.8, 0.3])
    correct = np.array([True, False, True])
    value = metrics.calibration_score(confidence, correct, n_bins=10).value
    assert value == pytest.approx(
        (2 * abs(0.5 - 0.8) + 1 * abs(1.0 - 0.3)) / 3, abs=1e-6
    )


@given(
    st.lists(
        st.tuples(st.integers(1, 60).map(lambda k: k / 60), st.booleans()), min_size=1
    ),
    st.sampled_from([1, 5, 10, 15]),
)
def test_calibration_error_equals_a_plain_sum(crystals, n_bins):
    """Bins (lower, upper], with confidences that lie on their edges."""
    confidence = np.array([c for c, _ in crystals])
    correct = np.array([r for _, r in crystals])
    total = 0.0
    for b in range(n_bins):
        # In sixtieths, so that the edges are exact.
        lower, upper = b * 60 // n_bins, (b + 1) * 60 // n_bins
        sixtieths = np.rint(confidence * 60).astype(int)
        member = (sixtieths > lower) & (sixtieths <= upper)
        if member.any():
            gap = correct[member].mean() - confidence[member].mean()
            total += member.sum() * abs(gap)
    value = metrics.calibration_score(confidence, correct, n_bins=n_bins).value
    assert value == pytest.approx(total / len(crystals), abs=2e-6)


def test_a_calibrated_model_has_a_small_calibration_error():
    generator = np.random.Generator(np.random.PCG64(11))
    confidence = generator.uniform(0.2, 1.0, 20_000)
    correct = generator.random(20_000) < confidence
    assert metrics.calibration_score(confidence, correct).value < 0.02
    assert metrics.calibration_score(confidence, ~correct).value > 0.2


def test_reweighting_follows_the_weights():
    correct = np.array([True, True, False, False, False])
    group = np.array([1, 1, 2, 2, 3])
    weight = np.zeros(231)
    weight[[1, 2, 7]] = 3.0, 1.0, 100.0  # group 7 has no crystal, group 3 no weight
    score = metrics.grouped_mean_score(correct, group, weight=weight)
    assert score.value == pytest.approx(0.75)


def test_a_score_of_no_crystal_is_nan():
    nobody = np.zeros(3, bool)
    assert np.isnan(metrics.mean_score(np.ones(3, bool), nobody).value)
    confidence = np.ones(3)
    assert np.isnan(metrics.calibration_score(confidence, ~nobody, nobody).value)


@given(hnp.arrays(np.float64, (4, 6), elements=st.floats(-1e4, 1e4)))
def test_probabilities_add_up_to_one(logits):
    total = np.exp(metrics.log_probabilities(logits)).sum(axis=1)
    assert total == pytest.approx(np.ones(4))


def test_sums_of_likelihoods_do_not_depend_on_their_order():
    amounts = np.random.Generator(np.random.PCG64(2)).exponential(1.0, 5000)
    one = metrics.mean_score(amounts, highest=np.inf).value
    other = metrics.mean_score(np.sort(amounts), highest=np.inf).value
    assert one == other
    assert one == pytest.approx(amounts.mean(), abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_weights_by_type_equal_the_mean_of_types(crystals):
    correct = np.array([c for c, _ in crystals])
    member = np.array([k for _, k in crystals])
    sizes = np.bincount(member)
    one = metrics.weighted_mean_score(correct, 1.0 / sizes[member]).value
    assert one == pytest.approx(
        metrics.grouped_mean_score(correct, member).value, abs=2e-5
    )
