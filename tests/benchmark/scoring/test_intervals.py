import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from pxrdbench.benchmark.scoring import intervals, metrics
from pxrdbench.benchmark.scoring.intervals import (
    ClusterBootstrap,
    Estimate,
    mcnemar_exact,
)
from pxrdbench.errors import EvaluationError


@given(st.integers(0, 300), st.integers(0, 300))
@example(0, 0)
def test_mcnemar_equals_the_binomial_test(only_first, only_second):
    p = mcnemar_exact(only_first, only_second)
    assert p == mcnemar_exact(only_second, only_first)
    n = only_first + only_second
    reference = binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert p == pytest.approx(reference, rel=1e-9)


def test_mcnemar_of_many_crystals_does_not_overflow():
    assert mcnemar_exact(7000, 0) == 0.0  # 2^-6999, below the least float
    assert 0.0 < mcnemar_exact(3600, 3400) < 0.02


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60))
def test_an_interval_holds_its_value(crystals):
    correct = np.array([c for c, _ in crystals])
    names = [f"type {k}" for _, k in crystals]
    bootstrap = ClusterBootstrap(names, replicates=200)
    confidence = np.linspace(0.1, 0.9, len(crystals))
    for score in (
        metrics.mean_score(correct),
        metrics.grouped_mean_score(correct, np.array([k for _, k in crystals])),
        metrics.calibration_score(confidence, correct),
        metrics.mean_score(-np.log(confidence), highest=np.inf),
        metrics.mean_score(correct - confidence, lowest=-1.0),
    ):
        estimate = bootstrap.estimate(score)
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.value == pytest.approx(score.value, abs=1e-6)
        assert score.lowest <= estimate.low
        assert estimate.high <= score.highest


@given(st.randoms(use_true_random=False))
def test_intervals_do_not_depend_on_the_order_of_crystals(random):
    order = np.array(random.sample(range(30), 30))
    correct = np.arange(30) % 3 == 0
    names = [f"type {i % 7}" for i in range(30)]
    one = ClusterBootstrap(names, replicates=100)
    other = ClusterBootstrap([names[i] for i in order], replicates=100)
    assert one.estimate(metrics.mean_score(correct)) == other.estimate(
        metrics.mean_score(correct[order])
    )


def test_intervals_follow_the_seed_and_nothing_else():
    correct, names = np.arange(50) % 4 == 0, [f"{i % 20}" for i in range(50)]
    score = metrics.mean_score(correct)
    one, same, other = (
        ClusterBootstrap(names, seed=seed).estimate(score) for seed in (0, 0, 1)
    )
    assert one == same
    assert one.value == other.value
    assert (one.low, one.high) != (other.low, other.high)
    # Frozen: an update of numpy or of the stream must not move published intervals.
    assert (one.low, one.high) == FROZEN_INTERVAL


FROZEN_INTERVAL = (0.074433, 0.489323)


def test_resamples_are_fair_and_their_chunks_differ():
    bootstrap = ClusterBootstrap([f"{i:03d}" for i in range(100)], replicates=512)
    first, second = bootstrap._weights
    assert (first.sum(axis=1) == 100).all()
    assert not (first == second).all()
    # Streams that overlap would repeat rows; independent ones share none.
    assert len(np.unique(np.vstack([first, second]), axis=0)) == 512
    # A count is binomial(100, 0.01): variance 0.99.
    assert np.vstack([first, second]).var() == pytest.approx(0.99, abs=0.03)


def test_an_interval_of_independent_crystals_equals_theory():
    correct = np.arange(1000) < 300
    names = [str(i) for i in range(1000)]
    estimate = ClusterBootstrap(names).estimate(metrics.mean_score(correct))
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert estimate.low == pytest.approx(0.3 - half, abs=0.003)
    assert estimate.high == pytest.approx(0.3 + half, abs=0.003)


def test_crystals_that_agree_within_a_type_widen_the_interval():
    correct = np.arange(1000) % 100 < 30  # whole types of ten are right or wrong
    correct = np.repeat(correct[:100], 10)
    types = [f"type {i // 10}" for i in range(1000)]
    score = metrics.mean_score(correct)
    clustered = ClusterBootstrap(types).estimate(score)
    naive = ClusterBootstrap([str(i) for i in range(1000)]).estimate(score)
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.1)


@pytest.mark.parametrize("n_types", [12, 60])
def test_intervals_cover_the_truth_as_often_as_they_say(n_types):
    """Types differ in difficulty and size; the truth is the mean over all of them."""
    generator = np.random.Generator(np.random.PCG64(17))
    trials, covered, naive_covered = 300, 0, 0
    for _ in range(trials):
        # Of a type all crystals share a difficulty: beta with mean 0.3.
        sizes = generator.integers(1, 8, n_types)
        difficulty = generator.beta(0.6, 1.4, n_types)
        correct = generator.random(sizes.sum()) < np.repeat(difficulty, sizes)
        names = [str(i) for i in np.repeat(np.arange(n_types), sizes)]
        score = metrics.mean_score(correct)
        estimate = ClusterBootstrap(names, replicates=400).estimate(score)
        covered += estimate.low <= 0.3 <= estimate.high
        half = 1.96 * np.sqrt(score.value * (1 - score.value) / len(correct))
        naive_covered += abs(score.value - 0.3) <= half
    # 95 % stated; a run of 300 has a standard error of 1.3 %.
    assert 0.91 <= covered / trials <= 0.99
    # The interval that takes crystals for independent does not keep its promise.
    assert naive_covered / trials < 0.90


def test_paired_intervals_cover_and_are_narrower_than_unpaired():
    generator = np.random.Generator(np.random.PCG64(23))
    trials, covered = 300, 0
    for _ in range(trials):
        level = generator.random(80)
        one, other = level < 0.5, level < 0.4  # always right together but for a tenth
        names = [str(i) for i in range(80)]
        gain = one.astype(float) - other
        bootstrap = ClusterBootstrap(names, replicates=400)
        estimate = bootstrap.estimate(metrics.mean_score(gain, lowest=-1.0))
        covered += estimate.low <= 0.1 <= estimate.high
    assert 0.90 <= covered / trials <= 0.99
    unpaired = bootstrap.estimate(metrics.mean_score(one))
    assert estimate.high - estimate.low < unpaired.high - unpaired.low


def test_intervals_of_macro_scores_are_not_moved_by_groups_that_drop_out():
    # Ten rare groups, always wrong, of one type each; one frequent group, right.
    group = np.concatenate([np.zeros(30, int), np.arange(1, 11)])
    correct = group == 0
    names = [str(i) for i in range(40)]
    score = metrics.grouped_mean_score(correct, group)
    estimate = ClusterBootstrap(names).estimate(score)
    assert estimate.value == pytest.approx(1 / 11, abs=1e-6)
    # A third of the rare groups is missing from each resample: alone that gives 1/8.
    assert estimate.low < 1 / 11 < estimate.high
    assert estimate.high < 1 / 6


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_is_not_taken_for_certain(right):
    names = [f"type {i // 2}" for i in range(20)]
    estimate = ClusterBootstrap(names).estimate(metrics.mean_score(np.full(20, right)))
    reference = binomtest(10 * right, 10).proportion_ci(method="wilson")
    assert estimate.value == float(right)
    assert estimate.low == pytest.approx(reference.low, abs=1e-5)
    assert estimate.high == pytest.approx(reference.high, abs=1e-5)


def test_one_cluster_says_little():
    correct = np.arange(10) < 5
    estimate = ClusterBootstrap(["one"] * 10).estimate(metrics.mean_score(correct))
    assert estimate.value == 0.5
    assert estimate.high - estimate.low > 0.7
    gain = metrics.mean_score(correct - 0.5, lowest=-1.0)
    assert ClusterBootstrap(["one"] * 10).estimate(gain) == Estimate(0.0, -1.0, 1.0)


@pytest.mark.parametrize("n_clusters", [5.0, 12.0, 60.0, 1000.0])
def test_the_expanded_tail_equals_its_definition(n_clusters):
    from statistics import NormalDist

    quantile = t.ppf(0.975, n_clusters - 1) * np.sqrt(n_clusters / (n_clusters - 1))
    tail = NormalDist().cdf(-quantile)
    assert intervals._expanded_tail(n_clusters) == pytest.approx(tail, rel=0.02)


def test_a_score_of_no_crystal_has_no_estimate():
    score = metrics.mean_score(np.ones(3, bool), np.zeros(3, bool))
    assert ClusterBootstrap(["a", "b", "c"]).estimate(score) is None


def test_no_crystals_are_refused():
    with pytest.raises(EvaluationError, match="at least one"):
        ClusterBootstrap([])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"value": 0.5, "low": 0.6, "high": 0.7}, "between low"),
        ({"value": float("nan"), "low": 0.0, "high": 1.0}, "between low"),
        ({"value": 0.5, "low": 0.0, "high": float("inf")}, "between low"),
        ({"value": True, "low": 0.0, "high": 1.0}, "no number"),
        ({"value": "0.5", "low": 0.0, "high": 1.0}, "no number"),
        ({"value": 0.5, "low": 0.0}, "must hold"),
        ({"value": 0.5, "low": 0.0, "high": 1.0, "n": 3}, "must hold"),
        (0.5, "must hold"),
    ],
)
def test_wrong_estimates_are_refused(record, message):
    with pytest.raises(EvaluationError, match=message):
        Estimate.from_dict(record)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_estimates_survive_their_record(a, b, c):
    low, value, high = sorted((a, b, c))
    estimate = Estimate(value, low, high)
    assert Estimate.from_dict(estimate.to_dict()) == estimate
