import dataclasses
import re

import numpy as np
import pytest
from small_track import CLASSES, GRID, FixedClassifier, make_track

from pxrdbench.benchmark.scoring.predict import ModelDescription
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.errors import EvaluationError
from pxrdbench.studies.crystals import StudyCrystals, load_real_crystals
from pxrdbench.studies.effect_levels import CRYSTAL_CURVES, PEAK_CURVES
from pxrdbench.studies.randomisation import VARIANTS, study_randomisation
from pxrdbench.studies.robustness import (
    choose_crystals,
    measure_robustness,
    read_robustness,
)
from pxrdbench.studies.robustness_page import (
    render_robustness_page,
    write_robustness_page,
)
from pxrdbench.tracks.load import load_track

EFFECTS = ["zero-shift", "gaussian-noise", "impurity"]


class Knower(FixedClassifier):
    """Recognises the patterns it has seen by their nearest neighbour."""

    def __init__(self, track):
        super().__init__(track.grid)
        self.known = track.batch(0, len(track)).intensity
        self.labels = [
            CLASSES.index(g) if g in CLASSES else 0 for g in track.space_group
        ]

    def predict(self, intensity):
        distance = ((intensity[:, None] - self.known) ** 2).sum(axis=2)
        logits = np.zeros((len(intensity), len(CLASSES)), np.float32)
        nearest = np.array(self.labels)[distance.argmin(axis=1)]
        logits[np.arange(len(intensity)), nearest] = 1.0
        return logits


@pytest.fixture(scope="module")
def track():
    return make_track(40)


@pytest.fixture(scope="module")
def result(track):
    return measure_robustness(
        Knower(track),
        track,
        count=20,
        effects=EFFECTS,
    )


def test_without_effect_nothing_is_lost_and_strong_effects_cost(track, result):
    covered = np.isin(track.space_group, CLASSES)
    rows = choose_crystals(track.ids, track.peaks, GRID, 20)
    assert result.crystals == 20
    assert result.top_1.value == pytest.approx(covered[rows].mean(), abs=1e-6)
    for curve in result.curves:
        for item in curve.levels:
            lost = result.top_1.value - item.top_1.value
            assert item.loss.value == pytest.approx(lost, abs=2e-6)
        assert curve.levels[0].loss.value <= curve.levels[-1].loss.value
    shift = result.curves[0].levels
    assert shift[-1].loss.value > 0.3  # 0.2 degrees: no peak where it was


def test_results_repeat_and_survive_their_file(track, result, tmp_path):
    again = measure_robustness(
        Knower(track),
        track,
        count=20,
        effects=EFFECTS,
    )
    assert again.to_json() == result.to_json()
    result.write(tmp_path / "r.json")
    assert read_robustness(tmp_path / "r.json") == result
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_robustness(tmp_path / "r.json")


def test_a_larger_sample_holds_the_smaller(track):
    small = set(choose_crystals(track.ids, track.peaks, GRID, 10).tolist())
    assert len(small) == 10
    assert small < set(choose_crystals(track.ids, track.peaks, GRID, 25).tolist())


def test_every_effect_runs_and_can_be_asked_for(track):
    definitions = [d.name for d in PEAK_CURVES]
    assert len(set(definitions)) == len(definitions)
    model = FixedClassifier(GRID)
    steps = []
    found = measure_robustness(
        model, track, count=5, on_progress=lambda d, t: steps.append((d, t))
    )
    assert [curve.effect for curve in found.curves] == definitions
    assert steps[-1][0] == steps[-1][1]
    for definition in (*PEAK_CURVES, *CRYSTAL_CURVES):
        for level in definition.levels:
            definition.make(level)  # within what the effect allows


def test_what_cannot_be_asked_for_is_said(track):
    model = FixedClassifier(GRID)
    with pytest.raises(EvaluationError, match="known are counting-noise"):
        measure_robustness(model, track, effects=["rain"])
    with pytest.raises(EvaluationError, match="a track holds peaks only"):
        measure_robustness(model, track, effects=["texture"])
    molybdenum = ModelDescription(radiation=Radiation.parse("MoKa1"))
    with pytest.raises(EvaluationError, match="degrees only"):
        measure_robustness(model, track, molybdenum)


def test_the_page_shows_every_curve_and_loads_nothing(result, tmp_path):
    page = render_robustness_page(result)
    assert page.count("<svg") == len(result.curves)
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "script" not in page
    write_robustness_page(result, tmp_path / "a" / "r.html")
    assert (tmp_path / "a" / "r.html").read_text(encoding="utf-8") == page


@pytest.fixture(scope="module")
def synthetic():
    crystals = draw_crystals(load_prior("open-v0"), seed=9, start=0, count=40)
    names = tuple(f"c{i}" for i in range(40))
    return StudyCrystals(
        crystals, names, tuple(f"t{i // 2}" for i in range(40)), np.full(40, 50.0)
    )


def test_all_variants_hold_the_same_crystals(synthetic):
    prior = load_prior("open-v0")
    model = FixedClassifier(classes=prior.space_groups)
    steps = []
    found = study_randomisation(
        model, synthetic, prior, seeds=(0, 1), on_progress=lambda *s: steps.append(s)
    )
    assert set(found.variants) == set(VARIANTS)
    assert found.variants["as they are"].gain.value == 0
    # A seed leaves out what is counted; two seeds at most twice that.
    lost = sum(found.left_out.values())
    assert 40 - 2 * lost <= found.crystals <= 40
    assert steps[-1] == (40 * 4 * 2, 40 * 4 * 2)
    again = study_randomisation(model, synthetic, prior, seeds=(0, 1))
    assert again == found
    for variant in found.variants.values():
        gain = variant.top_1.value - found.variants["as they are"].top_1.value
        assert variant.gain.value == pytest.approx(gain, abs=2e-6)


def test_crystals_with_effects_on_crystals(synthetic):
    track = make_track(40)
    named = dataclasses.replace(track, ids=synthetic.ids)
    found = measure_robustness(
        FixedClassifier(GRID), named, count=10,
        effects=["texture", "lattice-strain"],
        crystals=(synthetic.crystals, synthetic.ids),
    )  # fmt: skip
    assert [curve.effect for curve in found.curves] == ["texture", "lattice-strain"]
    with pytest.raises(EvaluationError, match="can be measured"):
        measure_robustness(
            FixedClassifier(GRID), track, crystals=(synthetic.crystals, synthetic.ids)
        )


@pytest.mark.data
def test_the_crystals_of_a_track_come_back_from_their_source(test_data):
    track = load_track("open/structure-type")
    read = load_real_crystals(test_data, track, 12, workers=1)
    assert len(read) == 12
    place = {name: i for i, name in enumerate(track.ids)}
    rows = [place[name] for name in read.ids]
    assert (read.crystals.space_group == track.space_group[rows]).all()
    assert read.structure_type == tuple(track.structure_type[i] for i in rows)
    with pytest.raises(EvaluationError, match="holds no crystal of aflow"):
        load_real_crystals(test_data, load_track("aflow/prototypes"), 3)
