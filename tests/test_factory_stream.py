"""A stream of Ray workers is the recipe, with bounded work ahead."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pxrdbench.dataset.recipe import Recipe
from pxrdbench.errors import ShardError
from pxrdbench.factory import RayStream
from pxrdbench.factory.ray_session import RaySession
from pxrdbench.learning.loader import make_loader

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
        # Long enough for dozens of chunks.
        time.sleep(1.5)
        actor = stream._lanes[0]._actor
        # The worker's only thread is busy for as long as it waits.
        ready, _ = ray_session.wait([actor.__ray_ready__.remote()], timeout=0.3)
        assert not ready
        used = ray_session.available_resources().get("object_store_memory", 0)
        total = ray_session.cluster_resources()["object_store_memory"]
        assert total - used < 10 * CHUNK * 1400


def find_stream_workers():
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_StreamWorker"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_dead_worker_is_replaced_where_it_died(recipe, ray_session):
    before = set(find_stream_workers())
    with RayStream(recipe, workers=1, chunk_samples=CHUNK) as stream:
        first = stream.batch(0, CHUNK)
        for pid in set(find_stream_workers()) - before:
            os.kill(pid, signal.SIGKILL)
        with ThreadPoolExecutor(1) as executor:
            rest = executor.submit(stream.batch, CHUNK, 5 * CHUNK).result(60)
    expected = recipe.batch(0, 6 * CHUNK).space_group
    assert np.array_equal(np.r_[first.space_group, rest.space_group], expected)


@pytest.mark.parametrize("option", [{"workers": 0}, {"ahead": 0}, {"chunk_samples": 0}])
def test_impossible_options_are_refused(recipe, option):
    with pytest.raises(ShardError, match="each must be at least 1"):
        RayStream(recipe, **option)
