"""Sources that take turns: any source, any size of batches."""

import numpy as np
import pytest
from memory_source import MemorySource

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.loader import make_loader
from pxrdbench.learning.loading.mixture import MixedRecipes
from pxrdbench.learning.loading.source_range import SourceRange

GRID = TwoThetaGrid(10, 60, 501)


@pytest.mark.parametrize("batch_size", [1, 5, 64, 100])
def test_batches_of_any_size_hold_the_same_samples(batch_size):
    mixed = MixedRecipes([MemorySource(), MemorySource()], 64)
    loader = make_loader(mixed, batch_size, workers=2)
    found = []
    for batch in loader:
        found.append(batch.intensity[:, 0].numpy())
        if loader.patterns_given >= 200:
            break
    found = np.concatenate(found)[:200]
    np.testing.assert_array_equal(found, mixed.batch(0, 200).intensity)


def test_shards_of_one_set_take_turns_too(shards):
    plain = ShardSet(shards)
    noisy = ShardSet(shards, measurement="rruff-paper-pure")
    mixed = MixedRecipes([plain, noisy], 16)
    assert mixed.length == plain.length
    assert mixed.is_random_access
    assert (mixed.block_samples, mixed.run_samples) == (256, noisy.run_samples)
    batch = mixed.take(np.array([3, 15, 16, 40, 599, 600]))
    assert batch.index.tolist() == [3, 15, 16, 40, 599, 600]
    turns = np.array([3, 15, 16, 40, 599, 600]) // 16 % 2
    alone = plain.take(batch.index)
    same = (batch.intensity == alone.intensity).all(axis=1)
    assert same.tolist() == (turns == 0).tolist()
    again = mixed.with_epoch(2)
    assert [source.epoch for source in again.recipes] == [2, 2]
    part = SourceRange(mixed, 8, 100)
    np.testing.assert_array_equal(part.batch(0, 20).index, np.arange(8, 28))
    seen = sum(len(b.label) for b in make_loader(mixed, 100, passes=1))
    assert seen == plain.length


def test_a_mixture_keeps_every_choice_of_its_recipe():
    recipe = Recipe(
        seed=5, grid=GRID, crystallite_size_nm=(30.0, 40.0), max_volume=900.0
    )
    mixed = MixedRecipes.from_names(recipe, ("clean", "laboratory"), 4)
    for one in mixed.recipes:
        assert one.card.crystallite_size_nm == (30.0, 40.0)
        assert one.card.max_volume == 900.0
        assert one.card.seed == 5
    sizes = mixed.batch(0, 8).crystallite_size_nm
    assert ((sizes >= 30) & (sizes <= 40)).all()


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ModelError, match="at least one"):
        MixedRecipes([], 4)
    with pytest.raises(ModelError, match="at least one"):
        MixedRecipes([MemorySource()], 0)
    with pytest.raises(ModelError, match="share grid"):
        MixedRecipes([MemorySource(), Recipe(grid=GRID)], 4)
    with pytest.raises(ModelError, match="only mixtures of recipes"):
        MixedRecipes([MemorySource()], 4).digest  # noqa: B018


class TestReplace:
    """A recipe with some choices made anew."""

    def test_one_choice_changes_and_no_other(self):
        recipe = Recipe("open-145", 3, preset="paper", grid=GRID, radiation="MoKa1")
        changed = recipe.replace(seed=4)
        assert changed.card.differences(recipe.card) == ["seed is 4, not 3"]
        assert changed.replace(seed=3).digest == recipe.digest

    def test_measurements_come_and_go(self):
        recipe = Recipe(grid=GRID, crystallite_size_nm=(30.0, 40.0))
        whole = recipe.replace(measurement="rruff-paper")
        assert whole.card.crystallite_size_nm is None
        assert whole.digest == Recipe(grid=GRID, measurement="rruff-paper").digest
        assert whole.replace(measurement=None).digest == Recipe(grid=GRID).digest
        kept = recipe.replace(measurement=Measurement())
        assert kept.card.crystallite_size_nm == (30.0, 40.0)

    def test_frequencies_and_priors(self):
        recipe = Recipe(grid=GRID, space_group_frequencies="uniform")
        other = recipe.replace(prior="open-145")
        assert other.card.prior_name == "open-145"
        assert other.card.space_group_frequencies == "uniform"
        with pytest.raises(TypeError):
            recipe.replace(colour="red")
