"""Sample i of a recipe is a function of the recipe and i."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe, find_empty
from pxrdbench.dataset.shards.packing import pack_peaks
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import RecipeError


def arrays_of(batch):
    """Every array of a batch and its crystals, as bytes by name."""
    values = {
        f.name: getattr(batch, f.name)
        for f in dataclasses.fields(batch)
        if isinstance(getattr(batch, f.name), np.ndarray)
    }
    crystals = {
        f.name: getattr(batch.crystals, f.name)
        for f in dataclasses.fields(batch.crystals)
        if f.name != "site_offset"
    }
    return {name: array.tobytes() for name, array in (values | crystals).items()}


def test_samples_are_the_same_bytes_in_any_range(recipe):
    alone = arrays_of(recipe.batch(1000, 300))
    pieces = [recipe.batch(start, 100) for start in (1200, 1000, 1100)]
    pieces = [arrays_of(batch) for batch in sorted(pieces, key=lambda b: b.index[0])]
    for name, value in alone.items():
        assert value == b"".join(piece[name] for piece in pieces), name


def test_another_seed_gives_other_samples(recipe):
    ours, theirs = recipe.batch(0, 64), Recipe("open-v0", seed=8).batch(0, 64)
    assert not np.array_equal(ours.space_group, theirs.space_group)
    assert not np.array_equal(ours.crystallite_size_nm, theirs.crystallite_size_nm)
    assert np.all(np.any(ours.intensity != theirs.intensity, axis=1))


def test_batch_is_what_its_parts_say(recipe):
    batch = recipe.batch(41, 20)
    assert batch.intensity.shape == (20, 8501)
    assert np.allclose(batch.intensity.max(axis=1), 1.0, rtol=0, atol=2e-7)
    assert np.array_equal(batch.index, np.arange(41, 61))
    assert np.array_equal(batch.space_group, batch.crystals.space_group)
    assert set(batch.space_group.tolist()) <= set(recipe.space_groups)
    assert np.all(
        (batch.crystallite_size_nm >= 20) & (batch.crystallite_size_nm <= 100)
    )
    direct = draw_crystals(recipe.prior, 7, 41, 20)
    assert np.array_equal(batch.crystals.fract, direct.fract)


def test_sizes_are_uniform_and_change_with_the_epoch(recipe):
    sizes = recipe.card.crystallite_sizes(0, 20_000)
    # The mean of 20,000 uniform numbers strays by 0.16 nm, the quarters by 0.3 %.
    assert abs(sizes.mean() - 60.0) < 1.0
    quarters = np.histogram(sizes, bins=4, range=(20, 100))[0] / len(sizes)
    assert np.all(np.abs(quarters - 0.25) < 0.02)
    assert np.array_equal(sizes, sizes.astype(np.float32))
    assert not np.array_equal(sizes, recipe.card.crystallite_sizes(0, 20_000, epoch=1))
    assert np.array_equal(recipe.card.crystallite_sizes(500, 10), sizes[500:510])


def test_default_simulates_a_margin_and_paper_does_not(recipe):
    default = recipe.peaks(0, 200).two_theta
    assert default.min() < 5.0
    assert 90.0 < default.max() < 92.0
    paper = Recipe("open-v0", seed=7, preset="paper").peaks(0, 200).two_theta
    assert paper.min() >= 5.0
    assert paper.max() <= 90.0


def test_crystals_without_a_peak_give_way_to_others():
    narrow = Recipe("open-v0", seed=3, grid=TwoThetaGrid(28.0, 31.0, 301))
    drawn = narrow.draw(0, 150)
    n_empty = drawn.rejections["no_peak_on_grid"]
    assert 0 < n_empty < 150
    assert len(find_empty(drawn.peaks, narrow.grid)) == 0
    first = draw_crystals(narrow.prior, 3, 0, 150)
    changed = [i for i in range(150) if drawn.crystals[i] != first[i]]
    assert len(changed) == n_empty
    # Alone as in the batch: a replacement depends on the sample's own number too.
    row = changed[0]
    assert narrow.crystals(row, 1)[0] == drawn.crystals[row]
    assert narrow.batch(row, 1).intensity.max() == pytest.approx(1.0, abs=2e-7)


def test_grid_that_nothing_reaches_is_refused():
    empty = Recipe("open-v0", grid=TwoThetaGrid(0.1, 0.2, 11))
    with pytest.raises(RecipeError, match="widen the grid"):
        empty.batch(0, 2)


def test_json_makes_the_same_recipe(recipe):
    grid = TwoThetaGrid(10.0, 60.0, 1001)
    original = Recipe(
        seed=2**63,
        preset="paper",
        radiation=0.7,
        grid=grid,
        crystallite_size_nm=(10, 30),
        space_group_frequencies="uniform",
    )
    again = Recipe.from_json(original.to_json())
    assert again.card == original.card
    assert again.digest == original.digest != recipe.digest
    assert np.array_equal(again.batch(5, 3).intensity, original.batch(5, 3).intensity)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"preset": "paper"},
        {"radiation": 1.5},
        {"grid": TwoThetaGrid(5, 90, 4251)},
        {"crystallite_size_nm": (20.0, 99.0)},
        {"space_group_frequencies": "uniform"},
    ],
)
def test_every_choice_is_in_the_digest(recipe, change):
    assert Recipe("open-v0", **({"seed": 7} | change)).digest != recipe.digest


def test_labels_are_not_in_the_digest(recipe):
    renamed = dataclasses.replace(recipe.card, prior_name="a copy")
    assert renamed.digest == recipe.digest


def test_other_prior_or_version_is_refused(recipe):
    contents = json.loads(recipe.to_json())
    with pytest.raises(RecipeError, match="digest 000"):
        Recipe.from_json(json.dumps(contents | {"prior_digest": "0" * 64}))
    with pytest.raises(RecipeError, match="schema version 999"):
        Recipe.from_json(json.dumps(contents | {"schema_version": 999}))
    del contents["grid"]
    for broken in (json.dumps(contents), "{", "[]", "7"):
        with pytest.raises(RecipeError, match=r"no recipe|schema version"):
            Recipe.from_json(broken)


def test_card_finds_its_prior_by_path(recipe, tmp_path):
    path = tmp_path / "moved.npz"
    load_prior("open-v0").save(path)
    card = dataclasses.replace(recipe.card, prior_name="nobody knows it")
    assert Recipe.from_card(card, path).digest == recipe.digest


def test_frequencies_of_the_prior_hold_unless_others_are_named():
    uniform = load_prior("open-v0").with_frequencies("uniform")
    assert Recipe(uniform).card.space_group_frequencies == "uniform"
    fitted = Recipe(uniform, space_group_frequencies="fitted")
    assert fitted.digest == Recipe("open-v0").digest


def test_copy_for_a_worker_is_the_same_recipe(recipe):
    other = copy.copy(recipe)
    assert other.prior is not recipe.prior
    assert other.digest == recipe.digest
    assert np.array_equal(other.batch(0, 2).intensity, recipe.batch(0, 2).intensity)


def test_differences_are_named(recipe):
    other = Recipe("open-v0", seed=9, preset="paper")
    assert recipe.card.differences(other.card) == [
        "seed is 7, not 9",
        "preset is default, not paper",
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**64}, r"2\*\*64"),
        ({"preset": "fast"}, "known are default, paper"),
        ({"crystallite_size_nm": (0.0, 5.0)}, "from 0.0 to 5.0 nm"),
        ({"crystallite_size_nm": (50.0, 20.0)}, "from 50.0 to 20.0 nm"),
        ({"crystallite_size_nm": (np.nan, 20.0)}, "from nan"),
    ],
)
def test_impossible_choices_are_refused(choice, message):
    with pytest.raises(RecipeError, match=message):
        Recipe("open-v0", **choice)


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, 0), (2**56, 1)])
def test_impossible_ranges_are_refused(recipe, start, count):
    with pytest.raises(RecipeError, match="samples"):
        recipe.batch(start, count)


def test_packed_patterns_are_within_the_promised_error(recipe):
    from pxrdbench.dataset.shards.packing import unpack_peaks
    from pxrdbench.diffraction.profile import render

    peaks = recipe.peaks(0, 512)
    sizes = recipe.card.crystallite_sizes(0, 512)
    exact = render(peaks, recipe.grid, sizes)
    packed = render(unpack_peaks(pack_peaks(peaks)), recipe.grid, sizes)
    assert np.abs(packed - exact).max() <= 1e-4


def test_card_survives_json(recipe):
    text = json.dumps(recipe.card.to_dict())
    assert RecipeCard.from_dict(json.loads(text)) == recipe.card
