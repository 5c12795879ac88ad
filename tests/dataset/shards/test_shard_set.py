"""Shards give back what the recipe makes."""

import shutil

import numpy as np
import pytest
from numba import config
from small_sets import write_set

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import ShardWarning
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.diffraction.measurement.measurement import (
    Measurement,
    PartialRange,
    ZeroShift,
)
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import RecipeError, ShardError

compiled = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="noise on whole scans needs compiled kernels"
)


@pytest.mark.parametrize(
    ("start", "count"), [(0, 1), (200, 100), (255, 2), (500, 300), (1190, 10)]
)
def test_batch_is_that_of_the_recipe(recipe, shards, start, count):
    ours, theirs = ShardSet(shards).batch(start, count), recipe.batch(start, count)
    assert np.array_equal(ours.space_group, theirs.space_group)
    assert np.array_equal(ours.crystallite_size_nm, theirs.crystallite_size_nm)
    assert np.array_equal(ours.index, theirs.index)
    assert ours.intensity.dtype == np.float32
    assert np.abs(ours.intensity - theirs.intensity).max() <= 2e-4


def test_set_says_what_it_holds(recipe, shards):
    opened = ShardSet(shards)
    assert len(opened) == opened.length == 1200
    assert opened.grid == recipe.grid
    assert opened.radiation == recipe.radiation
    assert opened.space_groups == recipe.space_groups
    assert opened.block_samples == 256
    assert len(opened.peaks(3, 4)) == 4


def test_samples_do_not_depend_on_the_range(shards):
    opened = ShardSet(shards)
    whole = opened.batch(590, 20).intensity
    single = np.concatenate([opened.batch(590 + i, 1).intensity for i in range(20)])
    assert np.array_equal(whole, single)


@pytest.mark.parametrize("epoch", [1, 2])
def test_another_epoch_has_other_sizes_for_the_same_peaks(recipe, shards, epoch):
    first, other = ShardSet(shards), ShardSet(shards).with_epoch(epoch)
    before, after = first.batch(580, 40), other.batch(580, 40)
    assert np.array_equal(before.space_group, after.space_group)
    assert not np.array_equal(before.intensity, after.intensity)
    expected = recipe.card.crystallite_sizes(580, 40, epoch)
    assert np.array_equal(after.crystallite_size_nm, expected)
    assert np.array_equal(first.batch(580, 40).intensity, before.intensity)


def test_gap_is_closed_and_the_index_tells(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    (folder / "shard-000000.tar").unlink()
    with pytest.raises(ShardError, match=r"shard-000000\.tar is missing"):
        ShardSet(folder)
    with pytest.warns(ShardWarning, match="600 samples are left"):
        opened = ShardSet(folder, epoch=3, skip_damaged=True)
    assert opened.length == 600
    batch = opened.batch(0, 5)
    assert batch.index.tolist() == [600, 601, 602, 603, 604]
    sizes = opened.card.crystallite_sizes(600, 5, 3)
    assert np.array_equal(batch.crystallite_size_nm, sizes)


@pytest.mark.parametrize(("start", "count"), [(-1, 3), (0, 0), (1199, 2), (5000, 1)])
def test_range_outside_is_refused(shards, start, count):
    with pytest.raises(ShardError, match="set that holds 1200"):
        ShardSet(shards).batch(start, count)


def test_damage_names_the_shard_and_the_remedy(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    tar = folder / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[:2000] = bytes(2000)
    tar.write_bytes(data)
    opened = ShardSet(folder)
    assert len(opened.batch(0, 600)) == 600
    with pytest.raises(ShardError, match=r"shard-000001\.tar cannot be read.*delete"):
        opened.batch(600, 1)


def test_swapped_shards_are_noticed(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    opened = ShardSet(folder)
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000001.tar")
    with pytest.raises(ShardError, match="has changed since it was written"):
        opened.batch(600, 1)


def test_threads_read_at_the_same_time(shards):
    from concurrent.futures import ThreadPoolExecutor

    opened = ShardSet(shards)
    starts = range(0, 1200, 50)
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda start: opened.batch(start, 50), starts))
    for start, batch in zip(starts, parallel, strict=True):
        assert np.array_equal(batch.index, np.arange(start, start + 50))
        assert np.array_equal(batch.intensity, opened.batch(start, 50).intensity)


@compiled
@pytest.mark.parametrize("name", ["rruff-paper", "rruff-paper-pure"])
def test_plain_shards_take_a_measurement_at_load(shards, name):
    opened = ShardSet(shards, measurement=name)
    measured = Recipe("open-v0", seed=7, measurement=name)
    ours, theirs = opened.batch(590, 20), measured.batch(590, 20)
    # The same random numbers; only the rounding of stored peaks differs.
    assert np.abs(ours.intensity - theirs.intensity).max() <= 1e-3
    assert np.all(np.isinf(ours.crystallite_size_nm))
    alone = opened.batch(601, 1).intensity
    assert alone.tobytes() == ours.intensity[11:12].tobytes()


@compiled
def test_each_epoch_has_noise_of_its_own(shards):
    opened = ShardSet(shards, measurement="rruff-paper-pure")
    first, second = opened.batch(0, 9), opened.with_epoch(1).batch(0, 9)
    assert np.all(np.abs(first.intensity - second.intensity).max(axis=1) > 1e-3)
    again = opened.with_epoch(1).batch(0, 9)
    assert again.intensity.tobytes() == second.intensity.tobytes()


@compiled
def test_shards_of_a_measured_recipe_are_rendered_as_it_says(tmp_path):
    recipe = Recipe("open-v0", seed=7, measurement="laboratory")
    opened = ShardSet(write_set(recipe, tmp_path / "measured", 1))
    ours, theirs = opened.batch(250, 20), recipe.batch(250, 20)
    # A count of photons changes where the rounding of a peak crosses a whole number.
    difference = np.abs(ours.intensity - theirs.intensity)
    assert np.median(difference.max(axis=1)) <= 0.02
    assert difference.mean() <= 1e-4
    plain = ShardSet(tmp_path / "measured", measurement=Measurement())
    assert plain.measurement == Measurement()
    smooth = plain.batch(250, 20).intensity
    assert np.mean(smooth == 0.0) > 0.2
    verified = verify_shards(tmp_path / "measured", sample=256)
    assert verified.is_sound
    assert verified.identical == verified.redrawn > 0


@compiled
def test_a_partial_range_over_a_gap_keeps_its_mask(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    opened = ShardSet(folder, measurement=Measurement((PartialRange(),)))
    batch = opened.batch(595, 10)
    assert batch.mask.shape == batch.intensity.shape
    assert np.all(batch.intensity[~batch.mask] == 0.0)


def test_effects_on_drawn_peaks_are_refused_at_load(shards):
    with pytest.raises(RecipeError, match="act when peaks are drawn"):
        ShardSet(shards, measurement="laboratory")


def test_a_pattern_that_leaves_the_grid_names_its_sample(tmp_path):
    recipe = Recipe("open-v0", seed=3, grid=TwoThetaGrid(28.0, 31.0, 301))
    folder = write_set(recipe, tmp_path / "narrow", 1)
    moved = Measurement((ZeroShift((4.0, 4.0)),))
    with pytest.raises(ShardError, match=r"narrow: sample \d+ cannot be rendered"):
        ShardSet(folder, measurement=moved).batch(0, 300)
