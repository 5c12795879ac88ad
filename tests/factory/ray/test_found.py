"""Ray as it is found: other people's clusters, busy ones, wrong addresses.

After shared/data/public_cases/streams: cpu_affinity, ray_address, ray_busy.
"""

import os
import socket
import subprocess
import sys
import time

import pytest
from measure_driver import InstantCrew

from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.errors import ShardError
from pxrdbench.factory.driver import Run
from pxrdbench.factory.limits import count_processors
from pxrdbench.factory.plan import ShardPlan
from pxrdbench.factory.ray import crew, session
from pxrdbench.factory.ray.session import RaySession, _find_remedy


def test_only_allowed_processors_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert count_processors() == 1


class FakeRay:
    """Takes down how it is started."""

    def __init__(self):
        self.started = []

    def is_initialized(self):
        return False

    def init(self, **options):
        self.started.append(options)

    def shutdown(self):
        pass


def test_a_private_ray_heeds_no_cluster_of_the_surroundings(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with RaySession(1) as inside:
        assert inside.is_private
    assert fake.started[0]["address"] == "local"
    assert fake.started[0]["num_cpus"] == 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_address_where_nothing_is_ends_with_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(ShardError, match=f"nothing answers at {address}.*--address"):
        RaySession(1, address).__enter__()
    assert time.monotonic() - began < 12


def test_an_address_where_something_else_is_ends_within_a_bound(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    monkeypatch.setattr(session, "_ANSWER", 2.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ShardError, match=rf"no Ray answers at {address}.*2 s"):
            RaySession(1, address).__enter__()


def test_a_token_has_its_remedy():
    assert "RAY_AUTH_MODE" in _find_remedy("InvalidAuthToken: …")
    assert "ray status" in _find_remedy("version mismatch")


@pytest.mark.parametrize(
    ("private", "there", "told"),
    [(True, 9, "they take turns"), (False, 2, "2 begin, and no more")],
)
def test_more_workers_than_processors_are_said(
    monkeypatch, caplog, private, there, told
):
    monkeypatch.setattr(crew, "count_processors", lambda: 2)
    some = object.__new__(crew.RayCrew)
    some._wanted = 9
    some._session = RaySession(9)
    some._session.is_private = private
    some._say_fewer(there)
    assert "9 workers are asked for where there are 2 processors" in caplog.text
    assert told in caplog.text


BUSY = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR",
         log_to_driver=False,
         object_store_memory=80 * 2**20, _node_ip_address="127.0.0.1")
import pxrdbench as px
from pxrdbench.factory.run import GenerateConfig, generate
@ray.remote(num_cpus=1)
class Holder:
    def ready(self): return True
holder = Holder.remote(); ray.get(holder.ready.remote())
phases = []
report = generate(
    GenerateConfig(px.Recipe(seed=0), sys.argv[1], minutes=0.03, shard_samples=500),
    lambda p: phases.append(p.phase))
print(report.samples_new, "waiting" in phases, report.explanation)
"""


def test_a_busy_ray_is_said_to_be_and_the_run_ends_in_time(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BUSY, str(tmp_path / "set")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("0 True The time is up and nothing was written"), done.stderr
    assert "no processor of this Ray has become free" in done.stderr


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not met Ray, nor tokens; all is put back afterwards."""
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    monkeypatch.delitem(sys.modules, "ray._raylet", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # noted, so that what is set meanwhile goes
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("fresh")
def test_a_private_ray_asks_for_a_token_that_is_the_owners_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with RaySession(1):
        assert os.environ["RAY_AUTH_MODE"] == "token"
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o077 == 0
    with RaySession(1):  # whoever knows it goes on knowing it
        assert path.read_text() == token
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.usefixtures("fresh")
def test_without_a_home_the_token_is_this_processs(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with RaySession(1):
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.usefixtures("fresh")
def test_a_ray_that_has_begun_without_tokens_goes_on_without(monkeypatch, tmp_path):
    """It has read its mode: its control store would ask for what it never sends."""
    monkeypatch.setitem(sys.modules, "ray._raylet", FakeRay())
    monkeypatch.setenv("HOME", str(tmp_path))
    with RaySession(1):
        assert "RAY_AUTH_MODE" not in os.environ
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fresh")
def test_who_wants_no_token_gets_none(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    with RaySession(1):
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OutOfMemoryError", "want of memory: give fewer --workers"),
        ("ObjectStoreFullError", "make room in /dev/shm"),
        ("OutOfDiskError", "make room for Ray"),
        ("NodeDiedError", "see `ray status`"),
        ("RaySystemError", "see that the head is at work"),
        ("RpcError", "see that the head is at work"),
        ("RuntimeEnvSetupError", "the same pxrdbench"),
        ("ActorUnschedulableError", "no node takes it"),
        ("ActorDiedError", ""),
        ("WorkerCrashedError", ""),
        ("TaskCancelledError", ""),
        ("StopIteration", ""),
    ],
)
def test_what_ended_a_worker_has_its_remedy(recipe, name, words):
    """Each of Ray's errors is the death of a worker, and the last words follow it."""
    from ray import exceptions

    kind = getattr(exceptions, name, StopIteration)

    class Ray(FakeRay):
        def put(self, value):
            return value

        def get(self, ref):
            raise ref

    fake = Ray()
    fake.exceptions = exceptions
    inside = RaySession(1)
    inside.ray = fake
    workers = crew.RayCrew(inside, recipe, open_store("nowhere"), 256, 1)
    error = kind() if kind is exceptions.ActorDiedError else kind("injected")
    assert workers.next_progress(iter([error])) is None
    assert words in workers.death and bool(words) == bool(workers.death)


def test_the_last_words_follow_the_cause_of_death(recipe, tmp_path):
    """A shard that ends three workers is told with why they ended."""
    lost = crew._explain_death(OSError()) or crew._DEATHS["OutOfDiskError"]

    class Crew(InstantCrew):
        coming = ()

        def next_progress(self, stream):
            return None

        def replace(self, dead):
            self.coming = (*self.coming, dead)

        def arrivals(self):
            came, self.coming = list(self.coming), ()
            return came

    dying = Crew(1, recipe.digest)
    dying.death = lost
    plan = ShardPlan(
        Manifest(recipe.card, 100), tmp_path, total_samples=100, max_bytes=10**9
    )
    with pytest.raises(ShardError, match=r"lost 3 workers .*make room for Ray"):
        Run(dying, plan, total_seconds=None, tell=print).work(lambda: False)
