"""Search-match: equal to ten plain lines, and a classifier like any other."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from small_track import make_track

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.errors import EvaluationError
from pxrdbench.studies.search_match import (
    SHARPNESS,
    ProfileSettings,
    SearchMatch,
    coarsen_patterns,
    make_profiles,
    predict_search_match,
    profiles_of,
)
from pxrdbench.tracks.load import load_track


@pytest.fixture(scope="module")
def track():
    return make_track(120, seed=1)


@pytest.fixture(scope="module")
def known():
    other = make_track(300, seed=2)
    return other.peaks, other.space_group


def slow_profile(two_theta, intensity, settings):
    """The profile as the text says it, one bin at a time."""
    binned = np.zeros(settings.bins)
    for angle, height in zip(two_theta, intensity, strict=True):
        number = int((angle - settings.start) / settings.step)
        if settings.start <= angle < settings.stop:
            binned[number] += height
    roots = (binned / binned.max()) ** settings.power
    centres = np.arange(settings.bins) * settings.step
    smeared = [
        np.sum(roots * np.exp(-0.5 * ((centres - centre) / settings.smear) ** 2))
        for centre in centres
    ]
    return np.array(smeared) / np.linalg.norm(smeared)


def test_profiles_are_what_the_text_says(track):
    settings = ProfileSettings()
    made = make_profiles(track.peaks, settings)
    offset = track.peaks.peak_offset
    for row in range(0, 120, 17):
        mine = slice(offset[row], offset[row + 1])
        expected = slow_profile(
            track.peaks.two_theta[mine], track.peaks.intensity[mine], settings
        )
        # The Gaussian is cut at four standard deviations.
        assert made[row] == pytest.approx(expected, abs=2e-4)


def test_the_nearest_neighbour_is_scikit_learns(track, known):
    settings = ProfileSettings()
    match = SearchMatch(*known, settings=settings)
    theirs = KNeighborsClassifier(1, metric="cosine", algorithm="brute")
    theirs.fit(make_profiles(known[0], settings).astype(np.float64), known[1])
    profiles = profiles_of(track, settings)
    nearest, cosine = match.find_nearest(profiles)
    distance, row = theirs.kneighbors(profiles.astype(np.float64))
    assert cosine == pytest.approx(1.0 - distance[:, 0], abs=1e-5)
    assert (nearest == row[:, 0]).mean() > 0.98  # ties within rounding
    guess = np.array(match.space_groups)[match.score_profiles(profiles).argmax(1)]
    assert np.array_equal(guess, known[1][nearest])


@pytest.mark.parametrize("k", [3, 15])
def test_votes_of_several_neighbours_add_up(track, known, k):
    match = SearchMatch(*known, k=k)
    profiles = profiles_of(track, match.settings)
    scores = match.score_profiles(profiles)
    cosine = profiles @ make_profiles(known[0], match.settings).T
    for row in range(0, 120, 13):
        voters = np.argsort(-cosine[row])[:k]
        votes = dict.fromkeys(match.space_groups, 0.0)
        for voter in voters:
            votes[int(known[1][voter])] += np.exp(SHARPNESS * cosine[row, voter])
        for column, group in enumerate(match.space_groups):
            if votes[group] > 0.0:
                assert scores[row, column] == pytest.approx(
                    np.log(votes[group]), rel=1e-4
                )
            else:
                assert scores[row, column] < 0.0


def test_known_crystals_are_recognised_in_any_order(known):
    match = SearchMatch(*known)
    order = np.random.default_rng(0).permutation(len(known[1]))
    profiles = make_profiles(known[0], match.settings)[order]
    nearest, cosine = match.find_nearest(profiles)
    assert np.array_equal(nearest, order)
    assert cosine == pytest.approx(np.ones(len(order)), abs=1e-5)


def test_rendered_patterns_give_what_peak_lists_give():
    dev = load_track("open/structure-type", "dev")
    settings = ProfileSettings()
    listed = make_profiles(dev.peaks, settings)[:64]
    rendered = coarsen_patterns(dev.batch(0, 64).intensity, dev.grid, settings)
    cosine = (listed * rendered).sum(axis=1)
    # Tails reach into neighbouring bins; a cube root makes much of little.
    assert np.median(cosine) > 0.98
    assert cosine.min() > 0.9


def test_coarsening_adds_up_what_lies_in_a_bin():
    grid = TwoThetaGrid(5.0, 90.0, 8501)
    pattern = np.zeros((1, 8501), np.float32)
    pattern[0, [0, 8500, 4000]] = 1.0  # 5, 90 and 45 degrees
    settings = ProfileSettings(smear=0.01, power=1.0)
    profile = coarsen_patterns(pattern, grid, settings)[0]
    assert np.flatnonzero(profile > 0.1).tolist() == [0, 200, 424]


def test_it_is_a_classifier_and_makes_predictions(known):
    frozen = load_track("aflow/prototypes")
    match = SearchMatch(frozen.peaks, frozen.space_group)
    predictions = predict_search_match(frozen, match, source="itself")
    evaluation = score(predictions, frozen)
    assert evaluation.metrics["top_1"].value == 1.0
    assert predictions.provenance["known crystals"] == "288 of itself"
    assert predictions.class_frequencies.sum() == pytest.approx(1.0)
    through_patterns = evaluate(predict_track(match, frozen), frozen)
    assert through_patterns.metrics["top_1"].value > 0.97


def test_what_cannot_be_is_refused(known):
    peaks, groups = known
    with pytest.raises(EvaluationError, match="0 neighbours of 300"):
        SearchMatch(peaks, groups, k=0)
    with pytest.raises(EvaluationError, match="301 neighbours of 300"):
        SearchMatch(peaks, groups, k=301)
    with pytest.raises(EvaluationError, match="300 peak lists, but 7"):
        SearchMatch(peaks, groups[:7])
    outside = PeakBatch(np.array([120.0]), np.array([1.0]), np.array([0, 1]))
    with pytest.raises(EvaluationError, match="has nothing between 5"):
        make_profiles(outside, ProfileSettings())
