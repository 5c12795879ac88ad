"""Producers and trainer as a person starts them, while what they rest on is killed.

`measure_stream_kills` is the long form of the first test: fifty random kills.
"""

import logging
import time
from itertools import pairwise

import pytest
from loopback_cluster import loopback_cluster
from measure_stream_kills import (
    SHARD_SAMPLES,
    Pair,
    check_lives,
    look_at,
    same_weights,
)
from object_server import ObjectServer
from stream_trainer import config_of

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.rolling import END_FILE, open_rolling
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.training.trainer import train

pytestmark = pytest.mark.slow

LIMIT = 6_000_000


@pytest.fixture
def started():
    """Makes pairs, and ends what is left of them."""
    pairs = []

    def start(*arguments, **options):
        pairs.append(Pair(*arguments, **options))
        for side in ("producer", "trainer"):
            pairs[-1].start(side)
        pairs[-1].wait_for(lambda: pairs[-1].learnt() > 0, "a first checkpoint")
        return pairs[-1]

    yield start
    for pair in pairs:
        pair.stop()


def wait_for_more(pair, samples=1):
    """Wait until so many more are safe in a checkpoint; none was given free before."""
    before = pair.learnt()
    pair.wait_for(lambda: pair.learnt() >= before + samples, "progress")
    look_at(pair)


def held_bytes(pair):
    sizes = open_store(pair.place).sizes()
    return sum(size for name, size in sizes.items() if name.endswith(".tar"))


def undisturbed(folder, samples):
    """Learn the same samples in this process, of a set that was there before."""
    place = folder / "set"
    place.mkdir(parents=True)
    recipe = Recipe("open-v0", seed=0)
    Manifest(recipe.card, SHARD_SAMPLES).write(place)
    open_rolling(place, "trainer")
    for index in range(samples // SHARD_SAMPLES):
        for _ in write_shard(recipe, place, ShardSpan.of(index, SHARD_SAMPLES)):
            pass
    (place / END_FILE).write_text(f'{{"samples": {samples}}}')
    return train(config_of(str(place), folder / "run")).checkpoint


@pytest.mark.usefixtures("tiny_model")
def test_killed_sides_go_on_and_learn_each_sample_once(started, tmp_path):
    pair = started(tmp_path / "killed", rate=2000)
    pair.kill("trainer")
    pair.kill("producer")
    look_at(pair)
    pair.start("trainer")
    pair.start("producer")
    wait_for_more(pair)
    assert pair.kill("worker")
    wait_for_more(pair, 4 * SHARD_SAMPLES)
    assert held_bytes(pair) <= LIMIT
    samples = pair.end_at()
    learnt, lives = check_lives(pair)
    assert learnt == samples
    assert lives == 2
    killed = pair.out / "last.pt"
    plain = undisturbed(tmp_path / "plain", samples)
    assert load_checkpoint(plain).patterns_seen == samples
    assert same_weights(killed, plain)


def test_a_store_that_dies_and_comes_back_costs_time_only(
    started, tmp_path, monkeypatch
):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ObjectServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PXRDBENCH_CACHE", str(tmp_path / "cache"))
    import s3fs

    # Of another test's server, as this process remembers it.
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("streams")
    try:
        pair = started(tmp_path / "pair", rate=1500, url="s3://streams/set")
        server.stop()
        time.sleep(5.0)
        assert all(process.poll() is None for process in pair.sides.values())
        server.start()
        for _ in range(3):
            wait_for_more(pair)
            assert held_bytes(pair) <= LIMIT
        samples = pair.end_at()
        assert check_lives(pair) == (samples, 1)
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_cluster_loses_a_node_while_a_trainer_follows(started, tmp_path):
    with loopback_cluster(2) as cluster:
        pair = started(tmp_path / "pair", rate=3000, address=cluster.address)
        wait_for_more(pair)
        gone = next(iter(cluster.worker_nodes))
        cluster.remove_node(gone, allow_graceful=False)
        wait_for_more(pair, 4 * SHARD_SAMPLES)
        assert held_bytes(pair) <= LIMIT
        samples = pair.end_at()
        assert check_lives(pair) == (samples, 1)
    manifest = Manifest.read(pair.place)
    assert manifest.held_samples == samples
    numbers = [record.index for record in (*manifest.retired, *manifest.records)]
    assert all(b - a == 1 for a, b in pairwise(sorted(numbers)))
