import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_track import CLASSES, make_predictions, make_track, random_logits

from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, mcnemar_exact
from pxrdbench.benchmark.scoring.metrics import mean_score
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.errors import EvaluationError
from pxrdbench.studies.comparison import compare, compare_scores, load_arm


@pytest.fixture(scope="module")
def track():
    return make_track(150)


def arm(track, skill, seeds):
    return [
        make_predictions(track, random_logits(track, seed=s, skill=skill))
        for s in seeds
    ]


def test_an_arm_against_itself_differs_in_nothing(track):
    models = arm(track, 2.0, (1, 2, 3))
    for name, found in compare(models, models, track).metrics.items():
        assert found.difference.value == 0, name
        assert found.p_value in (1.0, None)
        assert not found.is_significant


def test_two_single_models_agree_with_the_older_tests(track):
    (one,), (other,) = arm(track, 3.0, (1,)), arm(track, 0.5, (2,))
    found = compare(one, other, track)
    top = found.metrics["top_1"]
    values = [score(p, track).metrics["top_1"].value for p in (one, other)]
    assert (top.first.value, top.second.value) == tuple(values)
    assert top.difference.value == pytest.approx(values[0] - values[1], abs=2e-6)
    assert top.is_significant
    assert top.p_value < 0.01
    hits = [
        np.array(CLASSES)[p.logits.argmax(axis=1)] == track.space_group
        for p in (one, other)
    ]
    wanted = mcnemar_exact(
        int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum())
    )
    assert found.mcnemar_p == wanted
    assert compare(arm(track, 3.0, (1, 2)), other, track).mcnemar_p is None


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_exchanging_the_arms_turns_the_signs(seed):
    track = make_track(50, seed=seed % 7)
    a, b = arm(track, 2.0, (seed, seed + 1)), arm(track, 1.0, (seed + 2,))
    one, other = compare(a, b, track), compare(b, a, track)
    for name, found in one.metrics.items():
        back = other.metrics[name]
        assert found.difference.value == pytest.approx(-back.difference.value)
        assert found.difference.low == pytest.approx(-back.difference.high)
        assert found.p_value == back.p_value


def simulated(generator, n_types, sizes, seeds, effect, seed_sd):
    """Hits of two arms: type effects common to both, and an effect of each seed."""
    member = np.repeat(np.arange(n_types), sizes)
    base = generator.normal(0.0, 1.0, n_types)[member]
    arms = []
    for shift in (effect, 0.0):
        models = []
        for _ in range(seeds):
            own = shift + generator.normal(0.0, seed_sd)
            p = 1.0 / (1.0 + np.exp(-(base + own)))
            models.append(generator.random(len(member)) < p)
        arms.append(models)
    return [str(i) for i in member], arms


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.5)])
def test_intervals_of_a_difference_cover_at_the_stated_rate(seeds, seed_sd):
    """With seeds that matter; types drawn anew in each of 200 worlds."""
    generator = np.random.Generator(np.random.PCG64(11))
    covered, rejected, trials = 0, 0, 200
    for trial in range(trials):
        clusters, arms = simulated(generator, 60, 3, seeds, 0.0, seed_sd)
        bootstrap = ClusterBootstrap(clusters, replicates=300, seed=trial)
        scores = [[mean_score(hit) for hit in models] for models in arms]
        found = compare_scores(*scores, bootstrap)
        covered += found.difference.low <= 0.0 <= found.difference.high
        rejected += seeds == 1 and found.p_value < 0.05
    # 95 % of 200 with four standard errors of room on the low side.
    assert 0.89 <= covered / trials <= 1.0
    assert rejected / trials <= 0.11


def test_seeds_widen_the_interval_and_types_alone_would_be_too_sure():
    generator = np.random.Generator(np.random.PCG64(5))
    clusters, arms = simulated(generator, 400, 5, 3, 0.0, 0.6)
    bootstrap = ClusterBootstrap(clusters, replicates=500)
    scores = [[mean_score(hit) for hit in models] for models in arms]
    several = compare_scores(*scores, bootstrap)
    single = compare_scores(scores[0][:1], scores[1][:1], bootstrap)
    width = several.difference.high - several.difference.low
    assert width > 2 * (single.difference.high - single.difference.low)
    assert max(several.seed_spread) > 0.02
    assert single.seed_spread == (None, None)


def test_paired_seeds_cancel_what_they_share():
    generator = np.random.Generator(np.random.PCG64(6))
    clusters = [str(i % 200) for i in range(1000)]
    bootstrap = ClusterBootstrap(clusters, replicates=300)
    luck = generator.normal(0.5, 0.1, 4)
    arms = [
        [mean_score(generator.random(1000) < p + gain) for p in luck]
        for gain in (0.05, 0.0)
    ]
    free = compare_scores(*arms, bootstrap)
    paired = compare_scores(*arms, bootstrap, seeds_are_paired=True)
    assert paired.difference.value == free.difference.value
    assert paired.difference.high < free.difference.high


def test_arms_are_read_from_files_and_folders(track, tmp_path):
    models = arm(track, 2.0, (1, 2))
    for number, model in enumerate(models):
        model.write(tmp_path / f"seed{number}" / "predictions.h5")
    other = dataclasses.replace(models[0], track="other/track")
    other.write(tmp_path / "elsewhere" / "predictions.h5")
    assert len(load_arm(tmp_path)) == 3
    assert len(load_arm(tmp_path, track.name)) == 2
    files = [tmp_path / f"seed{i}" / "predictions.h5" for i in (0, 1)]
    assert compare(files, models, track).metrics["top_1"].difference.value == 0
    with pytest.raises(EvaluationError, match="several tracks"):
        compare(tmp_path, models)
    with pytest.raises(EvaluationError, match="holds no predictions"):
        load_arm(tmp_path, "no/track")
    with pytest.raises(EvaluationError, match="no metric 'best'"):
        compare(models, models, track, metrics=["best"])
    with pytest.raises(EvaluationError, match="as many models in both arms"):
        compare(models, models[:1], track, seeds_are_paired=True)
