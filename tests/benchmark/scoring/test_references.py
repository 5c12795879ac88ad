import json
from pathlib import Path

import numpy as np
import pytest
from small_track import CLASSES, make_predictions, make_track, random_logits

from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.benchmark.scoring.metrics import UNREACHED
from pxrdbench.benchmark.scoring.property_bins import (
    SITE_EDGES,
    VOLUME_EDGES,
    bin_amounts,
)
from pxrdbench.benchmark.scoring.references import make_references, place_within
from pxrdbench.benchmark.scoring.score import SMOOTHING, Outcome, score
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.load import load_track
from pxrdbench.tracks.properties import load_properties

ALL_WRONG = UNREACHED


def references_of(truth, statistics):
    truth = np.array(truth, np.int16)
    shares = np.zeros(231)
    for group, share in statistics.items():
        shares[group] = share
    bootstrap = ClusterBootstrap([str(i) for i in range(len(truth))])
    rank = np.full(len(truth), ALL_WRONG, np.int32)
    made = make_references(rank, truth, (shares, "here"), bootstrap)
    return {item.name: item for item in made}


def test_mirror_images_cannot_be_told_apart():
    """P4_1 (76) and P4_3 (78): the more frequent of the two is the best guess."""
    found = references_of([76, 76, 78, 225, 62], {76: 0.5, 225: 0.5})
    assert found["enantiomorphs"].metrics["top_1"].value == pytest.approx(0.8)
    assert found["enantiomorphs"].metrics["top_5"].value == 1.0


def test_absences_alone_leave_the_most_frequent_group():
    # F---: 196, 202, 209, 216, 225 have the same absences; of them 225 and 216 (also
    # 209) are of Laue class m-3m, 202 and 196 of m-3.
    found = references_of([225, 216, 202, 196], {225: 0.6, 216: 0.3, 202: 0.1})
    assert found["extinction_group"].metrics["top_1"].value == pytest.approx(0.25)
    known = found["extinction_and_laue"].metrics
    assert known["top_1"].value == pytest.approx(0.5)
    assert known["top_5"].value == 1.0
    difference = found["extinction_group"].comparisons["top_1"]
    assert (difference.only_model, difference.only_baseline) == (0, 1)


def test_places_within_a_cell_are_a_permutation():
    generator = np.random.Generator(np.random.PCG64(0))
    cell, shares = generator.integers(0, 20, 231), generator.random(231)
    place = place_within(cell, shares)
    for number in np.unique(cell[1:]):
        members = np.flatnonzero(cell == number)
        members = members[members > 0]
        assert sorted(place[members]) == list(range(1, len(members) + 1))
        best = members[np.argmin(place[members])]
        assert shares[best] == shares[members].max()


def test_an_uncovered_crystal_has_a_likelihood():
    track = make_track(60)
    predictions = make_predictions(track, random_logits(track, skill=1.0))
    values = score(predictions, track).metrics
    logits = predictions.logits.astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    whole = np.zeros((60, 231))
    whole[:, list(CLASSES)] = p
    whole[:, 1:] = (1 - SMOOTHING) * whole[:, 1:] + SMOOTHING / 230
    assert whole.sum(axis=1) == pytest.approx(np.ones(60))
    wanted = -np.log(whole[np.arange(60), track.space_group]).mean()
    assert values["nll_all"].value == pytest.approx(wanted, abs=2e-6)


def test_bins_are_parts_of_the_whole():
    generator = np.random.Generator(np.random.PCG64(2))
    amount = generator.uniform(1, 9000, 500)
    correct = generator.random(500) < 0.4
    bootstrap = ClusterBootstrap([str(i % 90) for i in range(500)])
    bins = bin_amounts(amount, VOLUME_EDGES, correct, bootstrap)
    assert sum(item.crystals for item in bins) == 500
    hits = sum(item.crystals * item.top_1.value for item in bins)
    assert hits == pytest.approx(correct.sum(), abs=1e-3)
    for item in bins:
        inside = (amount >= item.low) & (amount < item.high)
        if item.low == VOLUME_EDGES[-1]:
            inside = amount >= item.low
            assert item.high == amount.max()
        assert inside.sum() == item.crystals


@pytest.mark.parametrize("name", ["aflow/prototypes", "open/structure-type"])
def test_shipped_tracks_know_volume_and_sites(name):
    track = load_track(name)
    known = load_properties(name, track.ids)
    assert (known.volume > 5).all()
    assert (known.n_sites >= 1).all()
    assert load_properties("test/small", ("a",)) is None
    assert load_properties(name, ("no-such-crystal",)) is None
    groups = track.space_group
    logits = (groups[:, None] == np.unique(groups)).astype(np.float32)
    predictions = make_predictions(
        track, logits, classes=tuple(np.unique(groups).tolist()), class_frequencies=None
    )
    evaluation = score(predictions, track)
    for bins, edges in (
        (evaluation.by_volume, VOLUME_EDGES),
        (evaluation.by_sites, SITE_EDGES),
    ):
        assert sum(item.crystals for item in bins) == len(track)
        assert {item.top_1.value for item in bins} == {1.0}
        assert {item.low for item in bins} <= set(edges)
    assert Outcome.of(predictions, track).correct.all()


def test_evaluations_of_the_first_format_are_read():
    track = make_track(40)
    evaluation = score(make_predictions(track), track)
    record = json.loads(evaluation.to_json())
    assert Evaluation.from_json(json.dumps(record)) == evaluation
    old = {
        k: v
        for k, v in record.items()
        if k not in {"references", "by_volume", "by_sites"}
    } | {"format_version": 1}
    again = Evaluation.from_json(json.dumps(old))
    assert again.metrics == evaluation.metrics
    assert again.references == ()
    del record["references"]
    with pytest.raises(EvaluationError, match="references"):
        Evaluation.from_json(json.dumps(record))


def test_every_number_is_defined_in_the_docs():
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")
    track = make_track(60)
    evaluation = score(make_predictions(track), track)
    names = [item.name for item in (*evaluation.baselines, *evaluation.references)]
    names += [name for name in evaluation.metrics if "_top_" not in name]
    names += ["by_volume", "by_sites", "by_peaks", "calibration", "confusion", "top_k"]
    for name in names:
        assert f"`{name}`" in text, name
