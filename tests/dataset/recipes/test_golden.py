"""Recipes of old give the samples of old, or are refused with a reason.

The files in tests/golden were written when each kind of recipe was new. A change that
fails here alters data that people hold digests of: raise ``SCHEMA_VERSION``.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from numba import config

from pxrdbench.dataset.recipes import card as recipe_card
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.errors import RecipeError

GOLDEN = Path(__file__).parents[2] / "golden"
CARDS = json.loads((GOLDEN / "recipes.json").read_text())

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="noise on whole scans needs compiled kernels"
)


def load_maker():
    spec = importlib.util.spec_from_file_location("maker", GOLDEN / "make_recipes.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker


@pytest.mark.parametrize("name", CARDS)
def test_an_old_recipe_gives_its_old_samples(name):
    recipe = Recipe.from_json(json.dumps(CARDS[name]["card"]))
    assert recipe.digest == CARDS[name]["digest"]
    with np.load(GOLDEN / "recipes.npz") as stored:
        old = {
            key.partition("/")[2]: stored[key]
            for key in stored.files
            if key.partition("/")[0] == name
        }
    new = load_maker().describe(recipe)
    for key in ("space_group", "atomic_number", "wyckoff_index", "size"):
        assert np.array_equal(old[key], new[key]), key
    if np.array_equal(old["peak_count"], new["peak_count"]):
        # On another processor a float may fall into the next unit of its storage.
        for key in ("two_theta", "peak_intensity"):
            assert np.abs(old[key].astype(int) - new[key].astype(int)).max() <= 1, key
    else:  # a peak at the floor may be on its other side
        assert np.abs(old["peak_count"].astype(int) - new["peak_count"]).max() <= 2
    # One photon more or less in some points, where a rate was rounded otherwise.
    difference = np.abs(old["pattern"] - new["pattern"])
    assert np.mean(difference > 1e-3) < 0.01


@pytest.mark.parametrize("name", CARDS)
def test_another_schema_version_is_refused_with_a_reason(name, monkeypatch):
    monkeypatch.setattr(recipe_card, "SCHEMA_VERSION", 2)
    with pytest.raises(RecipeError, match="version 1, this pxrdbench makes version 2"):
        Recipe.from_json(json.dumps(CARDS[name]["card"]))


def test_a_set_whose_prior_changed_is_refused_with_a_reason():
    card = json.loads(json.dumps(CARDS["plain"]["card"])) | {"prior_digest": "0" * 64}
    with pytest.raises(RecipeError, match="would give other crystals"):
        Recipe.from_json(json.dumps(card))


def test_every_kind_of_recipe_is_kept():
    assert set(load_maker().RECIPES) == set(CARDS)
