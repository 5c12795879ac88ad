"""A crew of Ray actors: one worker a processor, replaced when it dies."""

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import ShardSpan
from pxrdbench.dataset.shards.shard import ShardProgress
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import PxrdbenchError, ShardError
from pxrdbench.factory.limits import count_processors
from pxrdbench.factory.ray.session import RaySession
from pxrdbench.factory.shard_worker import ShardWorker
from pxrdbench.files import part_path

# News of workers are waited for this long [s].
_TICK = 0.25
# New processors of a cluster are looked for this often [s].
_GROW_EVERY = 5.0
# All workers of a cluster may take so long to begin; then those there begin [s].
_START = 60.0
_MAX_FAILED_STARTS = 5
# Workers of a Ray that others use too are not waited for longer than this, without a
# word, before the run begins to watch its clock [s].
_BUSY = 6.0

_log = logging.getLogger(__name__)


class RayCrew:
    """Workers of a Ray session; a `Crew` of the driver.

    Attributes:
        workers: Workers that could begin.
        death: Why the worker that died last did, and what to do; empty if nobody knows.

    Args:
        session: A Ray that runs.
        recipe: What to write.
        store: Where to; a folder by its absolute path.
        block_samples: Samples of a block.
        workers: How many; None for one a processor, also of nodes that join later.
    """

    def __init__(
        self,
        session: RaySession,
        recipe: Recipe,
        store: Store,
        block_samples: int,
        workers: int | None,
    ) -> None:
        self.death = ""
        self._session = session
        self._ray = session.ray
        self._recipe = self._ray.put(recipe)
        self._store = store
        self._block_samples = block_samples
        self._wanted = workers
        self._probe: Path | None = None
        self._starting: dict[Any, Any] = {}
        self._ready: list[Any] = []
        self._failed_starts = 0
        self._grown_at = 0.0

    @property
    def workers(self) -> int:
        """Workers that could begin."""
        return len(self._ready)

    def __enter__(self) -> "RayCrew":
        if isinstance(self._store, LocalStore):
            # Whoever does not see this file has another disk. A sweep removes it.
            self._probe = part_path(self._store.folder / "probe")
            self._probe.touch()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in [*self._ready, *self._starting.values()]:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)

    def start(self) -> list[Any]:
        """Start all workers and wait until they could begin.

        Raises:
            ShardError: If they cannot.
        """
        processors = self._session.processors
        for _ in range(min(self._wanted or processors, processors)):
            self._make()
        self._say_fewer(processors)
        self._grown_at = time.monotonic()
        ends = time.monotonic() + _START
        arrived: list[Any] = []
        began = time.monotonic()
        while self._starting and (not arrived or time.monotonic() < ends):
            self._ray.wait(list(self._starting), num_returns=1, timeout=_TICK)
            arrived += self.arrivals()
            late = time.monotonic() - began > _BUSY
            if late and not arrived and not self._session.is_private:
                _log.warning(
                    "no processor of this Ray has become free for %.0f s; waiting for "
                    "one (`ray status` says who holds them)",
                    _BUSY,
                )
                break
        return arrived

    def _say_fewer(self, processors: int) -> None:
        """Say so where more workers are asked for than can work at once."""
        there = processors
        if self._session.is_private:
            there = min(processors, count_processors())
        if self._wanted is not None and self._wanted > there:
            follow = (
                "they take turns"
                if self._session.is_private
                else f"{there} begin, and no more than that"
            )
            _log.warning(
                "%d workers are asked for where there are %d processors: %s",
                self._wanted,
                there,
                follow,
            )

    def arrivals(self) -> list[Any]:
        """Workers that could begin since last asked: replacements, new nodes.

        Raises:
            ShardError: If workers cannot begin, or Ray itself has ended.
        """
        self._session.check()
        self._grow()
        if not self._starting:
            return []
        refs = list(self._starting)
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        arrived = []
        for ref in ready:
            actor = self._starting.pop(ref)
            try:
                self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise _explain(error.cause) from error
            except self._ray.exceptions.RayError as error:
                self._note_failed_start(error)
                self._make()
                continue
            self._failed_starts = 0
            self._ready.append(actor)
            arrived.append(actor)
        return arrived

    def replace(self, dead: Any) -> None:
        """End a worker for good and start another one for it."""
        with contextlib.suppress(Exception):
            self._ray.kill(dead)
        self._ready = [actor for actor in self._ready if actor is not dead]
        self._make()

    def write(
        self, worker: Any, span: ShardSpan, max_bytes: int, *, replaces: bool
    ) -> Any:
        """Have a shard written; gives a stream of progress."""
        return worker.write.options(num_returns="streaming").remote(
            span, max_bytes, replaces=replaces
        )

    def stop(self, workers: list[Any]) -> None:
        """Ask workers to give up their shard."""
        for worker in workers:
            worker.stop.remote()

    def wait(self, streams: list[Any]) -> list[Any]:
        """Streams that have news; waits a moment for one."""
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=_TICK)
        if ready:  # whoever else has news by now
            ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
        return list(ready)

    def next_progress(self, stream: Any) -> ShardProgress | None:
        """The next news; None if the worker died.

        Raises:
            Exception: What went wrong in the worker.
        """
        try:
            progress: ShardProgress = self._ray.get(next(stream))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except (self._ray.exceptions.RayError, StopIteration) as error:
            _log.warning("a worker died: %s", str(error).partition("\n")[0])
            self.death = _explain_death(error)
            return None
        return progress

    def _grow(self) -> None:
        """Use the processors of nodes that have joined."""
        now = time.monotonic()
        if self._wanted is not None or now - self._grown_at < _GROW_EVERY:
            return
        self._grown_at = now
        there = len(self._ready) + len(self._starting)
        for _ in range(self._session.processors - there):
            self._make()

    def _make(self) -> None:
        # Workers that cannot be placed wait for a processor without being in the way.
        remote_class = self._ray.remote(num_cpus=1, max_concurrency=2)(ShardWorker)
        probe = self._probe.name if self._probe is not None else ""
        actor = remote_class.remote(
            self._recipe, self._store, self._block_samples, probe
        )
        self._starting[actor.is_ready.remote()] = actor

    def _note_failed_start(self, error: Exception) -> None:
        self._failed_starts += 1
        _log.warning("a worker did not begin: %s", error)
        if self._failed_starts >= _MAX_FAILED_STARTS:
            reason = str(error).strip().rpartition("\n")[2]
            raise ShardError(
                f"{self._failed_starts} workers in a row did not begin ({reason}): see "
                "that every node has pxrdbench in the same version, and memory"
            ) from error


def _explain(cause: BaseException) -> PxrdbenchError:
    if isinstance(cause, PxrdbenchError):
        return cause
    return ShardError(f"a worker cannot begin: {cause!r}")


# Ray's errors by name, so that the module needs no Ray to be read.
_DEATHS = {
    "OutOfMemoryError": "Ray ended it for want of memory: give fewer --workers",
    "ObjectStoreFullError": "Ray's object store is full: make room in /dev/shm there",
    "OutOfDiskError": "its node's disk is full: make room for Ray there (/tmp/ray)",
    "NodeDiedError": "its node is gone: see `ray status`, and the node's own log",
    "RaySystemError": "Ray itself does not answer: see that the head is at work",
    "RpcError": "Ray itself does not answer: see that the head is at work",
    "RuntimeEnvSetupError": "its node cannot start it: have the same pxrdbench there",
    "ActorUnschedulableError": "no node takes it: see `ray status`",
}


def _explain_death(error: BaseException) -> str:
    """Say why a worker died and what to do; empty if its end tells nothing."""
    for kind in type(error).__mro__:
        if kind.__name__ in _DEATHS:
            return _DEATHS[kind.__name__]
    return ""
