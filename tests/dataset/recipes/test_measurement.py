"""A recipe with a measurement: addressable samples, old digests, honest refusals."""

import json

import numpy as np
import pytest
from numba import config

from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.choices import StructureType
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.recipes.rendering import epoch_seed, shift_reach
from pxrdbench.diffraction.measurement.measurement import (
    GaussianNoise,
    ImpurityPattern,
    ImpurityPhases,
    LatticeStrain,
    Measurement,
    PartialRange,
    SampleDisplacement,
    SpectralLines,
    ZeroShift,
    load_measurement,
)
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import CrystalError, PatternError, PriorError, RecipeError

compiled = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="noise on whole scans needs compiled kernels"
)


@compiled
@pytest.mark.parametrize("name", ["rruff-paper", "laboratory"])
def test_sample_alone_is_the_sample_of_any_batch(name):
    recipe = Recipe("open-v0", seed=7, measurement=name)
    whole = recipe.batch(500, 40)
    for start, count in ((500, 1), (517, 5), (539, 1)):
        part = recipe.batch(start, count)
        rows = slice(start - 500, start - 500 + count)
        assert part.intensity.tobytes() == whole.intensity[rows].tobytes()
        assert np.array_equal(part.space_group, whole.space_group[rows])
    assert np.all(whole.intensity.max(axis=1) == 1.0)
    assert whole.mask is None


@compiled
def test_a_copy_made_from_json_gives_the_same_bytes():
    recipe = Recipe("open-v0", seed=7, measurement="rruff-paper")
    again = Recipe.from_json(recipe.to_json())
    assert again.digest == recipe.digest
    assert (
        again.batch(3, 4).intensity.tobytes() == recipe.batch(3, 4).intensity.tobytes()
    )


@compiled
def test_a_partial_range_gives_a_mask():
    recipe = Recipe("open-v0", seed=7, measurement=Measurement((PartialRange(),)))
    batch = recipe.batch(0, 30)
    assert batch.mask.shape == batch.intensity.shape
    assert batch.mask.dtype == bool
    assert np.all(batch.intensity[~batch.mask] == 0.0)
    angles = recipe.grid.angles()
    first = angles[batch.mask.argmax(axis=1)]
    assert np.all((first >= 4.99) & (first <= 20.01))
    assert len(set(first)) > 5


def test_no_measurement_leaves_the_digest_and_the_card(recipe):
    assert "measurement" not in recipe.card.to_dict()
    # Of open-v0 with seed 0 since the first release.
    assert Recipe("open-v0").digest.startswith("27ffe394512c98ef")
    assert Recipe("open-v0", coordinates="uniform").digest == Recipe("open-v0").digest


@pytest.mark.parametrize(
    "change",
    [
        {"measurement": Measurement((ZeroShift(),))},
        {"measurement": "laboratory"},
        {"max_volume": 500.0},
        {"coordinates": "distant"},
        {"structure_type": "221 0:a 1:b O:c"},
    ],
)
def test_every_later_choice_is_in_the_digest_and_comes_back(recipe, change):
    changed = Recipe("open-v0", seed=7, **change)
    assert changed.digest != recipe.digest
    card = RecipeCard.from_dict(json.loads(changed.to_json()))
    assert card == changed.card
    assert Recipe.from_card(card).digest == changed.digest


def test_the_name_of_a_measurement_is_a_label():
    effects = (ZeroShift(),)
    one = Recipe(measurement=Measurement(effects, name="one"))
    assert one.digest == Recipe(measurement=Measurement(effects, name="two")).digest
    wider = Measurement((ZeroShift((-0.1, 0.1)),), name="one")
    assert one.digest != Recipe(measurement=wider).digest
    assert one.card.differences(Recipe(measurement=wider).card) == [
        "measurement ZeroShift: {'degrees': (-0.03, 0.03)}, "
        "not {'degrees': (-0.1, 0.1)}"
    ]


def test_options_of_the_generator_do_what_they_say():
    small = Recipe("open-v0", seed=7, max_volume=150.0).crystals(0, 200)
    assert small.volume.max() <= 150.0 + 1e-6
    typed = Recipe("open-v0", seed=7, structure_type="221 0:a 1:b O:c")
    assert typed.space_groups == (221,)
    for crystal in typed.crystals(5, 3):
        assert [site.wyckoff_letter for site in crystal.sites] == ["a", "b", "c"]
        assert crystal.sites[2].element == "O"
    near, apart = (
        Recipe("open-v0", seed=7, coordinates=name).crystals(0, 20)
        for name in ("uniform", "distant")
    )
    assert np.array_equal(near.lattice, apart.lattice)
    assert not np.array_equal(near.fract, apart.fract)


def test_widths_of_the_reference_work_leave_no_size():
    recipe = Recipe(measurement="rruff-paper")
    assert recipe.card.crystallite_size_nm is None
    assert np.all(np.isinf(recipe.card.crystallite_sizes(0, 3)))
    assert Recipe(measurement="laboratory").card.crystallite_size_nm == (20.0, 100.0)
    sized = Recipe(measurement="rruff-paper", crystallite_size_nm=(30, 40))
    assert sized.card.crystallite_size_nm == (30.0, 40.0)


def test_impurities_come_from_beyond_every_set(recipe):
    mixed = Recipe("open-v0", seed=7, measurement="rruff-paper", grid=recipe.grid)
    assert len(mixed.pool) == 1024
    expected = recipe.peaks(2**50 + 5, 1)
    pool = mixed.pool.peaks
    rows = slice(pool.peak_offset[5], pool.peak_offset[6])
    assert np.array_equal(pool.two_theta[rows], expected.two_theta)


def test_lines_that_may_leave_the_grid_do_not_count():
    grid = TwoThetaGrid(28.0, 31.0, 301)
    shifted = Measurement((ZeroShift((-0.5, 0.5)), SampleDisplacement((-0.3, 0.3))))
    recipe = Recipe("open-v0", seed=3, grid=grid, measurement=shifted)
    reach = shift_reach(shifted, grid)
    assert 0.5 + 0.15 < reach < 0.7
    drawn = recipe.draw(0, 150)
    for first, last in zip(
        drawn.peaks.peak_offset[:-1], drawn.peaks.peak_offset[1:], strict=True
    ):
        two_theta = drawn.peaks.two_theta[first:last]
        assert np.any((two_theta >= 28.0 + reach) & (two_theta <= 31.0 - reach))
    plain = Recipe("open-v0", seed=3, grid=grid).draw(0, 150)
    assert drawn.rejections["no_peak_on_grid"] > plain.rejections["no_peak_on_grid"]


def test_spectral_lines_reach_no_further_than_said():
    paper, grid = load_measurement("rruff-paper"), TwoThetaGrid()
    angles = np.array([5.0, 90.0])
    moved = np.degrees(2 * np.arcsin(np.sin(np.radians(angles / 2)) * 1.54439 / 1.5406))
    assert shift_reach(paper, grid) > np.abs(moved - angles).max()
    assert (
        shift_reach(None, grid)
        == shift_reach(Measurement((GaussianNoise(),)), grid)
        == 0
    )


def test_every_epoch_has_a_key_of_its_own():
    keys = [epoch_seed(7, epoch) for epoch in range(100)]
    assert keys[0] == 7
    assert len(set(keys)) == 100
    assert all(0 <= key < 2**64 for key in keys)


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ({"measurement": "no-such"}, PatternError, "known are rruff-paper"),
        ({"measurement": "rruff-paper", "radiation": "CuKa"}, RecipeError, "one line"),
        ({"measurement": "rruff-paper", "radiation": "MoKa1"}, RecipeError, "within 5"),
        ({"max_volume": 0.0}, RecipeError, "above 0"),
        ({"max_volume": float("nan")}, RecipeError, "above 0"),
        ({"coordinates": "nearby"}, PriorError, "known are"),
        ({"structure_type": "perovskite"}, RecipeError, "slot:letter"),
        ({"structure_type": ""}, RecipeError, "slot:letter"),
        ({"structure_type": "900 0:a"}, RecipeError, "slot:letter"),
        ({"structure_type": "221 0:z"}, CrystalError, "z"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choice, error, message):
    with pytest.raises(error, match=message):
        Recipe("open-v0", **choice)


def test_a_card_of_a_newer_version_is_refused(recipe):
    contents = json.loads(recipe.to_json()) | {"colour": "blue"}
    with pytest.raises(RecipeError, match="does not know: colour"):
        RecipeCard.from_dict(contents)
    lab = json.loads(Recipe(measurement="laboratory").to_json())
    lab["measurement"]["effects"][0]["effect"] = "Moonlight"
    with pytest.raises(RecipeError, match="unknown effect"):
        RecipeCard.from_dict(lab)


def test_what_acts_on_drawn_peaks_cannot_be_had_later(recipe):
    card = recipe.card
    with pytest.raises(RecipeError, match="LatticeStrain"):
        card.with_measurement(Measurement((LatticeStrain(), ZeroShift())))
    strained = Recipe(measurement=Measurement((LatticeStrain(),))).card
    both = Measurement((LatticeStrain(), ZeroShift()))
    assert strained.with_measurement(both).measurement == both
    with pytest.raises(RecipeError, match="ImpurityPhases"):
        strained.with_measurement(Measurement((ImpurityPhases(),)))
    paper = card.with_measurement(Measurement((SpectralLines(), ImpurityPattern())))
    assert paper.crystallite_size_nm == (20.0, 100.0)
    rruff = card.with_measurement(load_measurement("rruff-paper"))
    assert rruff.crystallite_size_nm is None
    back = rruff.with_measurement(Measurement())
    assert back.crystallite_size_nm == (20.0, 100.0)


def test_structure_types_survive_json():
    kind = StructureType.parse("227 Si:a")
    assert kind.sites == (("Si", "a"),)
    assert StructureType.from_dict(json.loads(json.dumps(kind.to_dict()))) == kind
