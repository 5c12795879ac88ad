"""Several nodes on this machine, one killed in the middle: nothing lost or twice."""

import pytest
from loopback_cluster import loopback_cluster

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.factory import GenerateConfig, generate
from pxrdbench.factory.ray.crew import RayCrew

pytestmark = pytest.mark.slow

SHARD_SAMPLES = 4000


@pytest.fixture
def cluster():
    """A head without workers and three nodes of one worker each, on loopback."""
    with loopback_cluster(3) as cluster:
        yield cluster


def files_of(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name not in {".lock", "log.jsonl"}
    }


def test_killed_node_costs_nothing_but_time(cluster, tmp_path, monkeypatch):
    recipe = Recipe("open-v0", seed=7)
    killed, crews = [], []

    def kill_one(progress):
        crews.append(progress.workers)
        if progress.phase == "running" and progress.shards >= 3 and not killed:
            killed.append(next(iter(cluster.worker_nodes)))
            cluster.remove_node(killed[0], allow_graceful=False)

    out = tmp_path / "set"
    config = GenerateConfig(
        recipe,
        out,
        samples=80_000,
        shard_samples=SHARD_SAMPLES,
        address=cluster.address,
    )
    report = generate(config, kill_one)
    assert killed
    assert max(crews) == 3
    assert report.stopped_by == "samples"
    manifest = Manifest.read(out)
    assert [record.index for record in manifest.records] == list(range(20))
    assert report.samples == report.samples_new == manifest.samples == 80_000
    found = verify_shards(out, sample=500)
    assert found.is_sound
    assert found.leftovers == ()
    log = (out / "log.jsonl").read_text()
    assert log.count('"finished"') == 20
    # None if the node died between two leases of its worker.
    assert log.count('"lease_lost"') <= 1

    # The nodes that are left, told that the folder is the driver's alone: they send.
    monkeypatch.setattr(RayCrew, "__enter__", _hide_the_folder)
    sent = tmp_path / "sent"
    config = GenerateConfig(
        recipe,
        sent,
        samples=12_000,
        shard_samples=SHARD_SAMPLES,
        address=cluster.address,
    )
    assert generate(config).samples == 12_000
    del (there := files_of(sent))["end.json"]
    assert there.items() <= files_of(out).items()


def _hide_the_folder(crew):
    crew._probe = crew._store.folder / "not-here"
    return crew
