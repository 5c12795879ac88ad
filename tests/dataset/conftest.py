import pytest
from small_sets import write_set

from pxrdbench.dataset.recipe import Recipe


@pytest.fixture(scope="session")
def recipe():
    return Recipe("open-v0", seed=7)


@pytest.fixture(scope="session")
def shards(recipe, tmp_path_factory):
    """Two shards of 600 samples, for tests that only read."""
    return write_set(recipe, tmp_path_factory.mktemp("shards") / "set")
