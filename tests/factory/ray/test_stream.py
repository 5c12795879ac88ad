"""A stream of Ray workers is the recipe, with bounded work ahead."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ray_processes import find_descendants

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.errors import ShardError
from pxrdbench.factory import RayStream
from pxrdbench.factory.ray.session import RaySession
from pxrdbench.learning.loading.loader import make_loader

CHUNK = 128


@pytest.fixture(scope="module")
def recipe():
    return Recipe("open-v0", seed=7)


@pytest.fixture(scope="module")
def ray_session():
    with RaySession(2) as session:
        yield session.ray


@pytest.fixture
def stream(recipe, ray_session):
    with RayStream(recipe, workers=2, chunk_samples=CHUNK) as stream:
        yield stream


def test_stream_gives_the_samples_of_the_recipe(recipe, stream):
    given = [stream.batch(start, 100) for start in range(1000, 2000, 100)]
    expected = recipe.batch(1000, 1000)
    assert np.array_equal(np.concatenate([b.index for b in given]), expected.index)
    assert np.array_equal(
        np.concatenate([b.space_group for b in given]), expected.space_group
    )
    intensity = np.concatenate([b.intensity for b in given])
    assert np.abs(intensity - expected.intensity).max() < 2e-4
    assert stream.redrawn == 0
    # What was let go is drawn again.
    again = stream.batch(1000, 10)
    assert np.array_equal(again.intensity, given[0].intensity[:10])
    assert stream.redrawn == 10


def test_loader_reads_a_stream_on_threads(recipe, ray_session):
    with RayStream(recipe, workers=2, chunk_samples=CHUNK) as stream:
        loader = iter(make_loader(stream, 96, workers=2))
        labels = np.concatenate([next(loader).label for _ in range(12)])
        loader.close()
        assert stream.redrawn == 0
    groups = recipe.draw(0, 12 * 96).crystals.space_group
    assert np.array_equal(np.array(recipe.space_groups)[labels], groups)


def test_workers_do_not_run_away(recipe, ray_session):
    """Two chunks ahead each, then they wait for the reader."""
    with RayStream(recipe, workers=1, chunk_samples=CHUNK, ahead=2) as stream:
        stream.batch(0, 10)
        actor = stream._lanes[0]._actor
        made = [0, -1]
        while made[-1] != made[-2]:  # until it stands still
            time.sleep(0.5)
            made.append(ray_session.get(actor.made.remote()))
        # One is fetched, two are ahead, one is in the worker's hand.
        assert 1 <= made[-1] <= 4
        for chunk in range(1, 9):
            stream.batch(chunk * CHUNK, 10)
        assert ray_session.get(actor.made.remote()) >= 9


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_dead_worker_is_replaced_where_it_died(recipe, ray_session):
    with RayStream(recipe, workers=1, chunk_samples=CHUNK) as stream:
        first = stream.batch(0, CHUNK)
        (pid,) = find_descendants(b"ray::_StreamWorker")
        os.kill(pid, signal.SIGKILL)
        with ThreadPoolExecutor(1) as executor:
            rest = executor.submit(stream.batch, CHUNK, 5 * CHUNK).result(60)
    expected = recipe.batch(0, 6 * CHUNK).space_group
    assert np.array_equal(np.r_[first.space_group, rest.space_group], expected)


@pytest.mark.parametrize("option", [{"workers": 0}, {"ahead": 0}, {"chunk_samples": 0}])
def test_impossible_options_are_refused(recipe, option):
    with pytest.raises(ShardError, match="each must be at least 1"):
        RayStream(recipe, **option)
