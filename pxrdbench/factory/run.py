"""Generate: shards of a recipe, by Ray workers on all cores.

One process plans, leases, lists and counts; workers draw, simulate and pack, a shard
at a time. What a shard holds depends on its number only, so any number of workers, in
any order, with any interruption, leaves the same files. The plan is read from the
folder at the start: that is all there is to resuming.
"""

import math
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import BLOCK_SAMPLES, DATASET_FILE, Manifest
from pxrdbench.dataset.shards.meter import (
    PRODUCER_FILE,
    Meter,
    MeterReading,
    consumer_file,
)
from pxrdbench.dataset.shards.own_prior import keep_prior
from pxrdbench.dataset.shards.rolling import END_FILE, open_rolling, parse_consumers
from pxrdbench.dataset.shards.shard import draw_block
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.open import PATIENCE, open_store
from pxrdbench.dataset.storage.store import Store, explain_os_error
from pxrdbench.errors import ShardError
from pxrdbench.factory.driver import Run
from pxrdbench.factory.limits import count_processors, format_size
from pxrdbench.factory.plan import SHARD_SAMPLES, ShardPlan, open_folder
from pxrdbench.factory.progress import (
    GenerateProgress,
    GenerateReport,
    Limit,
    OnProgress,
    explain_end,
)
from pxrdbench.factory.publisher import AT_ONCE, Publisher
from pxrdbench.factory.ray.crew import RayCrew
from pxrdbench.factory.ray.session import RaySession, read_handler, restore_handler
from pxrdbench.factory.run_log import RunLog

MAX_SIZE_BYTES = 20_000_000_000
# A rolling set is cut into so many shards at least, of samples of about this size.
_ROLLING_SHARDS = 8
_SAMPLE_BYTES = 1_500
# One shard is read while the next one is there; a fifth for shards that are larger.
_LEAST_SHARDS = 2.2
# Records that one driver can put a second, for want of processor time: 2.8 ms each
# (tests/helpers/streams/measure_puts.py); and the share of it that is no queue.
_LISTED = 300.0
_LISTED_SHARE = 0.7


@dataclass(frozen=True)
class GenerateConfig:
    """What `generate` does; the options of the command.

    Attributes:
        recipe: What to generate.
        out: Folder of the shards, made if it is not there, or the URL of an object
            store (``s3://bucket/prefix``).
        hours: How long to work, added to ``minutes``; fractions are fine.
        minutes: How long to work. Starting Ray is not counted.
        samples: How many samples the folder shall hold in the end.
        workers: Processes; all processors if not given.
        max_size_bytes: Size that the folder's shards may have together.
        shard_samples: Samples of a shard: those of the folder, or 50,000, if not
            given.
        address: Ray cluster to join; a private one on this machine if not given.
        rolling: Names of the consumers, with commas, whose acknowledgements delete
            shards. A full folder is then waited for; it does not end the run.
        dashboard: Whether Ray shows its dashboard on this machine.
        patience: How long failing requests to an object store are repeated [s].
        learnt: What the recipe's prior was fitted on, as its private sidecar has it.
    """

    recipe: Recipe
    out: Path | str
    hours: float | None = None
    minutes: float | None = None
    samples: int | None = None
    workers: int | None = None
    max_size_bytes: int = MAX_SIZE_BYTES
    shard_samples: int | None = None
    address: str | None = None
    rolling: str = ""
    dashboard: bool = False
    patience: float = PATIENCE
    learnt: str = ""

    def __post_init__(self) -> None:
        for name in ("hours", "minutes", "samples", "workers", "shard_samples"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ShardError(f"{name} is {value}; it must be above 0")
        if self.max_size_bytes <= 0:
            raise ShardError(f"max_size_bytes is {self.max_size_bytes}, not above 0")
        if self.rolling:
            parse_consumers(self.rolling)

    @property
    def seconds(self) -> float | None:
        """How long to work [s]; None for as long as there is something to do."""
        if self.hours is None and self.minutes is None:
            return None
        return 3600.0 * (self.hours or 0.0) + 60.0 * (self.minutes or 0.0)

    def open_store(self) -> Store:
        """The folder by its absolute path, as workers need it, or the object store."""
        store = open_store(self.out, patience=self.patience)
        if isinstance(store, LocalStore):
            return LocalStore(store.folder.resolve())
        return store


def generate(
    config: GenerateConfig, on_progress: OnProgress | None = None
) -> GenerateReport:
    """Write shards until the samples, the time, the size or the user say stop.

    Finished shards in the folder are kept; the same call goes on where the last one
    stopped. Ctrl-C, SIGTERM and SIGHUP (a closed terminal) end it cleanly.

    Args:
        config: What to do.
        on_progress: Called some times a second.

    Raises:
        ShardError: If the folder holds another recipe, another run writes to it, it
            cannot be written, or workers cannot work.
    """
    store = config.open_store()
    try:
        store.prepare()
        with store.lock():
            return _generate(config, store, on_progress or (lambda _: None))
    except BrokenPipeError:  # whoever listened to the progress has gone
        raise
    except OSError as error:
        raise explain_os_error(store.location, error) from error


def _generate(config: GenerateConfig, store: Store, tell: OnProgress) -> GenerateReport:
    """Look at the folder, and work if there is something to do."""
    shard_samples = config.shard_samples or _choose_shard_samples(config, store)
    manifest = open_folder(store, config.recipe.card, shard_samples)
    keep_prior(store, config.recipe.prior, config.learnt)
    if config.rolling:
        open_rolling(store, config.rolling)
    with Publisher(store, config.rolling) as publisher:
        return _write(config, store, manifest, publisher, tell)


def _write(
    config: GenerateConfig,
    store: Store,
    manifest: Manifest,
    publisher: Publisher,
    tell: OnProgress,
) -> GenerateReport:
    """Work if there is something to do."""
    store.sweep()
    publisher.learn(manifest)
    if config.rolling and publisher.retire():
        manifest = Manifest.read(store)
    plan = ShardPlan(
        manifest,
        store,
        total_samples=config.samples,
        max_bytes=config.max_size_bytes,
    )
    # A run may go on for months: what is known of each shard is let go.
    manifest = replace(manifest, records=(), retired=())
    if plan.next_span() is None:
        _write_end(store, plan)  # unless an earlier run died just before it could
        if not config.rolling:
            store.remove(PRODUCER_FILE)  # likewise
        return _make_report(config, plan, "samples", None, 0)
    store.remove(END_FILE)
    log = RunLog(store)
    log.note(
        "started",
        recipe=config.recipe.digest,
        out=store.location,
        samples=config.samples,
        seconds=config.seconds,
        max_size_bytes=config.max_size_bytes,
        shard_samples=plan.shard_samples,
        address=config.address,
        rolling=config.rolling,
        shards_there=plan.shards,
    )
    workers = config.workers or count_processors()
    tell(
        GenerateProgress(
            "starting",
            workers,
            plan.samples,
            bytes=plan.bytes,
            is_rolling=bool(config.rolling),
        )
    )
    run: Run | None = None
    stopped_by: Limit = "interrupted"
    names = parse_consumers(config.rolling) if config.rolling else ()
    others = [consumer_file(name) for name in names]
    # A set that does not roll is in the end as if nobody had watched.
    meter = Meter(store, PRODUCER_FILE, *others, stays=bool(config.rolling))
    meter.say(MeterReading("starting", samples=plan.samples, bytes=plan.bytes))
    with meter:
        try:
            size, seconds = _warm_up(config.recipe)
            plan.expect(size)
            for note in (
                _foresee(config, plan, seconds / workers),
                _foresee_listing(config, store, plan, seconds / workers),
            ):
                if note:
                    tell(GenerateProgress("starting", workers, plan.samples, note=note))
            with (
                RaySession(
                    workers, config.address, dashboard=config.dashboard
                ) as session,
                RayCrew(
                    session,
                    config.recipe,
                    store,
                    manifest.block_samples,
                    config.workers,
                ) as crew,
                _Signals() as signals,
            ):
                run = Run(
                    crew,
                    plan,
                    total_seconds=config.seconds,
                    tell=tell,
                    publisher=publisher,
                    log=log,
                    is_rolling=bool(config.rolling),
                    meter=meter,
                )
                stopped_by = run.work(lambda: signals.asked)
                workers = crew.workers
        except KeyboardInterrupt:
            stopped_by = "interrupted"
        except BaseException as error:
            log.note("ended", error=str(error))
            meter.end(str(error))
            raise
        finally:
            store.sweep()
        if stopped_by == "samples":
            _write_end(store, plan)
        meter.end(explain_end(str(config.out), plan, stopped_by))
    report = _make_report(config, plan, stopped_by, run, workers)
    log.note(
        "ended",
        stopped_by=stopped_by,
        samples=report.samples,
        samples_new=report.samples_new,
        shards=report.shards,
        seconds=round(report.seconds, 3),
        explanation=report.explanation,
    )
    return report


# Windows has no SIGHUP.
_HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
_STOPPING = (signal.SIGINT, signal.SIGTERM, _HANGUP)


class _Signals:
    """Ctrl-C, SIGTERM and SIGHUP as a wish; a second one insists.

    Who started it under ``nohup`` has SIGHUP ignored, and that stays.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "_Signals":
        self._old = {s: read_handler(s) for s in _STOPPING}
        if self._old.get(_HANGUP) == signal.SIG_IGN:
            del self._old[_HANGUP]
        for number in self._old:
            restore_handler(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            restore_handler(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _write_end(store: Store, plan: ShardPlan) -> None:
    """Tell whoever follows the set that there is no more to wait for."""
    end = f'{{"samples": {plan.samples}}}\n'.encode()
    if store.read_many([END_FILE]).get(END_FILE) != end:
        store.write(END_FILE, end)


def _choose_shard_samples(config: GenerateConfig, store: Store) -> int | None:
    """Samples of a shard of a new rolling set: eight or more fit into its limit.

    Producers and consumer then stand still for each other least.
    """
    if not config.rolling or DATASET_FILE in store.sizes():
        return None
    fits = int(config.max_size_bytes / _ROLLING_SHARDS / _SAMPLE_BYTES)
    return min(SHARD_SAMPLES, max(fits // BLOCK_SAMPLES, 1) * BLOCK_SAMPLES)


def _warm_up(recipe: Recipe) -> tuple[float, float]:
    """Compile the kernels once, for all workers.

    Returns:
        Bytes of a sample, and the time that one core takes for it [s].
    """
    draw_block(recipe, 0, BLOCK_SAMPLES)
    started = time.thread_time()
    block, _ = draw_block(recipe, 0, 2 * BLOCK_SAMPLES)
    seconds = time.thread_time() - started
    arrays = (block.index, block.space_group, block.crystallite_size_nm)
    size = sum(array.nbytes for array in (*arrays, *block.peaks.values()))
    return size / len(block), seconds / len(block)


def _foresee(config: GenerateConfig, plan: ShardPlan, seconds: float) -> str:
    """Say at the start what a limit comes to, where another one was asked for.

    Args:
        config: Of the run.
        plan: What there is.
        seconds: Time a sample, of all workers together [s].

    Returns:
        A sentence; empty if there is nothing to say.

    Raises:
        ShardError: If a rolling set has no room for two shards.
    """
    shard = plan.bytes_per_sample * plan.shard_samples
    if config.rolling:
        if config.max_size_bytes < _LEAST_SHARDS * shard:
            raise ShardError(
                f"a rolling set of {format_size(config.max_size_bytes)} has no room "
                f"for two shards of {plan.shard_samples:,} samples "
                f"({format_size(shard)} each), and would stand still: raise "
                "--max-size, or begin a new folder with fewer --shard-samples"
            )
        return ""
    room = config.max_size_bytes - plan.bytes
    holds = room / plan.bytes_per_sample * seconds
    if config.seconds is None or holds > config.seconds:
        return ""
    return (
        f"{format_size(config.max_size_bytes)} hold about {holds / 3600:.2g} hours of "
        f"the {config.seconds / 3600:.3g} asked for, at {1 / seconds:,.0f} samples/s:"
        " raise --max-size, let a consumer make room (--rolling NAME), or train "
        "straight from the recipe (train --online)"
    )


def _foresee_listing(
    config: GenerateConfig, store: Store, plan: ShardPlan, seconds: float
) -> str:
    """Say at the start if workers bring more shards than a store takes.

    Args:
        config: Of the run.
        store: Where to.
        plan: What there is.
        seconds: Time a sample, of all workers together [s].

    Returns:
        A sentence with the size of shard that fits; empty if all is well.
    """
    if isinstance(store, LocalStore) or config.rolling:
        return ""
    started = time.perf_counter()
    store.read(DATASET_FILE)
    latency = time.perf_counter() - started
    listed = min(AT_ONCE / latency, _LISTED)
    brought = 1.0 / (seconds * plan.shard_samples)
    if brought <= _LISTED_SHARE * listed:
        return ""
    blocks = math.ceil(1.0 / (seconds * _LISTED_SHARE * listed) / BLOCK_SAMPLES)
    return (
        f"{brought:,.0f} shards a second are more than one driver lists in this store, "
        f"which answers after {1000 * latency:.0f} ms (about {listed:,.0f}): workers "
        f"will wait. --shard-samples {blocks * BLOCK_SAMPLES} in a new place is large "
        "enough"
    )


def _make_report(
    config: GenerateConfig,
    plan: ShardPlan,
    stopped_by: Limit,
    run: Run | None,
    workers: int,
) -> GenerateReport:
    out = str(config.out)
    had_workers = run is None or run.had_workers
    return GenerateReport(
        out=out,
        samples=plan.samples,
        samples_new=run.samples_new if run else 0,
        shards=plan.shards,
        bytes=plan.bytes,
        seconds=run.seconds if run else 0.0,
        workers=workers,
        stopped_by=stopped_by,
        explanation=explain_end(out, plan, stopped_by, had_workers=had_workers),
        is_short=stopped_by == "disk"
        or (stopped_by == "size" and config.samples is not None)
        or (stopped_by == "time" and not had_workers),
    )
