"""Generate: shards of a recipe, by Ray workers on all cores.

One process plans and counts; workers draw, simulate, pack and write, a shard at a
time. What a shard holds depends on its number only, so any number of workers, in any
order, with any interruption, leaves the same files. The plan is read from the folder
at the start: that is all there is to resuming.

Ray runs on this machine, for this process, behind the loopback address, without
dashboard or usage reports; ``address`` joins an existing cluster instead, whose
machines then share the folder.
"""

import contextlib
import logging
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pxrdbench.dataset.driver import Run
from pxrdbench.dataset.manifest import BLOCK_SAMPLES, Manifest, ShardSpan
from pxrdbench.dataset.plan import ShardPlan, lock_folder, open_folder, sweep_folder
from pxrdbench.dataset.progress import (
    GenerateProgress,
    GenerateReport,
    Limit,
    OnProgress,
    explain_end,
)
from pxrdbench.dataset.recipe import Recipe
from pxrdbench.dataset.shard import ShardProgress, ShardWorker, draw_block
from pxrdbench.errors import ShardError

MAX_SIZE_BYTES = 20_000_000_000

# News of workers are waited for this long [s].
_TICK = 0.25
_MAX_CRASHES = 3
# The smallest that Ray accepts; messages here are a few bytes.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateConfig:
    """What `generate` does; the options of the command.

    Attributes:
        recipe: What to generate.
        out: Folder of the shards; it is made if it is not there.
        hours: How long to work, added to ``minutes``; fractions are fine.
        minutes: How long to work. Starting Ray is not counted.
        samples: How many samples the folder shall hold in the end.
        workers: Processes; all cores if not given.
        max_size_bytes: Size that the folder's shards may have together.
        shard_samples: Samples of a shard: those of the folder, or 50,000, if not
            given.
        address: Ray cluster to join; a private one on this machine if not given.
    """

    recipe: Recipe
    out: Path
    hours: float | None = None
    minutes: float | None = None
    samples: int | None = None
    workers: int | None = None
    max_size_bytes: int = MAX_SIZE_BYTES
    shard_samples: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        for name in ("hours", "minutes", "samples", "workers", "shard_samples"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ShardError(f"{name} is {value}; it must be above 0")
        if self.max_size_bytes <= 0:
            raise ShardError(f"max_size_bytes is {self.max_size_bytes}, not above 0")

    @property
    def seconds(self) -> float | None:
        """How long to work [s]; None for as long as there is something to do."""
        if self.hours is None and self.minutes is None:
            return None
        return 3600.0 * (self.hours or 0.0) + 60.0 * (self.minutes or 0.0)


def generate(
    config: GenerateConfig, on_progress: OnProgress | None = None
) -> GenerateReport:
    """Write shards until the samples, the time, the size or the user say stop.

    Finished shards in the folder are kept; the same call goes on where the last one
    stopped. Ctrl-C and SIGTERM end it cleanly.

    Args:
        config: What to do.
        on_progress: Called some times a second.

    Raises:
        ShardError: If the folder holds another recipe, or another run writes to it.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    with lock_folder(config.out):
        manifest = open_folder(config.out, config.recipe.card, config.shard_samples)
        plan = ShardPlan(
            manifest,
            config.out,
            total_samples=config.samples,
            max_bytes=config.max_size_bytes,
        )
        sweep_folder(config.out)
        if plan.next_span() is None:
            return _make_report(config, plan, "samples", None, 0)
        try:
            return _run(config, plan, on_progress or (lambda _: None), manifest)
        finally:
            sweep_folder(config.out)


def _run(
    config: GenerateConfig, plan: ShardPlan, tell: OnProgress, manifest: Manifest
) -> GenerateReport:
    """Start everything, work, and stop everything."""
    crew = _Crew(config, manifest.block_samples)
    tell(GenerateProgress("starting", crew.workers, plan.samples, bytes=plan.bytes))
    run = None
    try:
        plan.expect(_warm_up(config.recipe))
        with crew, _Signals() as signals:
            run = Run(crew, plan, total_seconds=config.seconds, tell=tell)
            stopped_by = run.work(lambda: signals.asked)
    except KeyboardInterrupt:
        stopped_by = "interrupted"
    return _make_report(config, plan, stopped_by, run, crew.workers)


class _Crew:
    """Ray and its workers: the only place that talks to Ray."""

    def __init__(self, config: GenerateConfig, block_samples: int) -> None:
        self.workers = config.workers or os.cpu_count() or 1
        self._config = config
        self._block_samples = block_samples
        self._actors: list[Any] = []
        self._crashes = 0
        self._is_ours = False

    def __enter__(self) -> "_Crew":
        # All of this must stand in the environment before Ray is imported. The first
        # is the only switch that makes every Ray process listen on 127.0.0.1 alone
        # (Ray 2.60: `_node_ip_address` is turned into the outer address).
        if self._config.address is None:
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A worker holds 150 MB: to end it helps no machine that is short of memory.
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        self._old_handler = _read_handler(signal.SIGTERM)
        self._is_ours = not ray.is_initialized()
        try:
            if self._is_ours:
                self._init()
            if self._config.address is not None or not self._is_ours:
                cores = int(ray.cluster_resources().get("CPU", 1))
                self.workers = min(self._config.workers or cores, cores)
            self._recipe = ray.put(self._config.recipe)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _init(self) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        private = {
            "num_cpus": self.workers,
            "num_gpus": 0,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
        address = self._config.address
        try:
            if address is None:
                self._ray.init(**private, **quiet)
            else:
                self._ray.init(address=address, **quiet)
        except Exception as error:  # Ray raises bare ones, after a minute of trying
            where = "on this machine" if address is None else f"at {address}"
            raise ShardError(
                f"Ray did not start {where}: {error} Try again when the machine has "
                "memory and processors to spare."
            ) from error

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            for actor in self._actors:
                self._ray.kill(actor)
        if self._is_ours:
            self._ray.shutdown()
        _restore_handler(signal.SIGTERM, self._old_handler)

    def start(self) -> list[Any]:
        """Start all workers and wait until they could begin."""
        actors = [self._make() for _ in range(self.workers)]
        self._ray.get([actor.is_ready.remote() for actor in actors])
        return actors

    def replace(self, dead: Any) -> Any:
        """Start another worker for one that died."""
        self._crashes += 1
        if self._crashes >= _MAX_CRASHES:
            raise ShardError(
                f"workers died {self._crashes} times without an error of their own; "
                "mostly the machine is out of memory: try fewer --workers"
            )
        self._actors.remove(dead)
        return self._make()

    def write(self, worker: Any, span: ShardSpan, max_bytes: int) -> Any:
        """Have a shard written; gives a stream of progress."""
        return worker.write.options(num_returns="streaming").remote(span, max_bytes)

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
            return None
        return progress

    def _make(self) -> Any:
        remote_class = self._ray.remote(num_cpus=1, max_concurrency=2)(ShardWorker)
        folder = self._config.out.resolve()
        actor = remote_class.remote(self._recipe, folder, self._block_samples)
        self._actors.append(actor)
        return actor


class _Signals:
    """Ctrl-C and SIGTERM as a wish; a second one insists."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "_Signals":
        self._old = {s: _read_handler(s) for s in (signal.SIGINT, signal.SIGTERM)}
        for number in self._old:
            _restore_handler(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            _restore_handler(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _read_handler(number: int) -> Any:
    return signal.getsignal(number)


def _restore_handler(number: int, handler: Any) -> None:
    # Python lets only the main thread have handlers; elsewhere nobody presses Ctrl-C.
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(number, handler)


def _warm_up(recipe: Recipe) -> float:
    """Compile the kernels once, for all workers; returns the bytes of a sample."""
    block, _ = draw_block(recipe, 0, BLOCK_SAMPLES)
    arrays = (block.index, block.space_group, block.crystallite_size_nm)
    size = sum(array.nbytes for array in (*arrays, *block.peaks.values()))
    return size / BLOCK_SAMPLES


def _make_report(
    config: GenerateConfig,
    plan: ShardPlan,
    stopped_by: Limit,
    run: Run | None,
    workers: int,
) -> GenerateReport:
    return GenerateReport(
        out=config.out,
        samples=plan.samples,
        samples_new=run.samples_new if run else 0,
        shards=plan.shards,
        bytes=plan.bytes,
        seconds=run.seconds if run else 0.0,
        workers=workers,
        stopped_by=stopped_by,
        explanation=explain_end(config.out, plan, stopped_by),
    )
