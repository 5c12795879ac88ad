"""The loop of a run: lease out shards, collect progress, watch the limits.

It knows no Ray: a crew is whoever can write shards in the background. A shard is
leased to one worker at a time. The lease ends with the shard, with the worker, or when
nothing has been heard for long; then it is given to another worker. Only what comes
under a lease that stands is published and counted.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pxrdbench.dataset.shards.manifest import ShardRecord, ShardSpan
from pxrdbench.dataset.shards.meter import Meter, MeterReading
from pxrdbench.dataset.shards.shard import ShardProgress
from pxrdbench.dataset.storage.store import is_disk_full
from pxrdbench.errors import ShardError
from pxrdbench.factory.plan import ShardPlan
from pxrdbench.factory.progress import (
    GenerateProgress,
    Limit,
    OnProgress,
    Phase,
    RateMeter,
)
from pxrdbench.factory.publisher import Publisher
from pxrdbench.factory.run_log import RunLog

# A shard that is this close to its end when the time is up is finished [s].
_GRACE = 3.0
# Workers that have not stopped after this are ended [s]; the one shard that a run is
# to leave, if it has nothing else, has longer.
_PATIENCE = 5.0
_PATIENCE_FOR_ONE = 60.0
# A worker tells twice a second how far it is. One that says nothing for so long hangs,
# or its node is cut off; an upload that is repeated may take two minutes [s].
_LEASE = 300.0
# A run without any worker ends after this [s].
_ALONE = 300.0
# A shard that ended so many workers will end the next one too.
_MAX_CRASHES = 3
# The driver looks for acknowledgements this often [s]: a listing of the store.
_RETIRE_EVERY = 2.0
_PAUSE = 0.1
# And, where nothing else is to be done, whether records have arrived.
_LISTING_PAUSE = 0.01


@runtime_checkable
class Crew(Protocol):
    """Workers that write shards in the background."""

    @property
    def workers(self) -> int:
        """How many could begin."""

    @property
    def death(self) -> str:
        """Why the worker that died last did, and what to do; empty if nobody knows."""

    def start(self) -> list[Any]:
        """Start all workers, and wait until they could begin."""

    def arrivals(self) -> list[Any]:
        """Workers that could begin since last asked: replacements, new nodes."""

    def replace(self, dead: Any) -> None:
        """End a worker for good and start another one for it."""

    def write(
        self, worker: Any, span: ShardSpan, max_bytes: int, *, replaces: bool
    ) -> Any:
        """Have a shard written; gives a stream of progress.

        Args:
            worker: Who writes.
            span: What.
            max_bytes: How large it may become.
            replaces: Whether a record of that number stands there and must go first.
        """

    def stop(self, workers: list[Any]) -> None:
        """Ask workers to give up their shard."""

    def wait(self, streams: list[Any]) -> list[Any]:
        """Streams that have news; waits a moment for one."""

    def next_progress(self, stream: Any) -> ShardProgress | None:
        """The next news of a stream; None if its worker died."""


@dataclass
class Task:
    """A leased shard, seen from the driver."""

    worker: Any
    span: ShardSpan
    stream: Any
    started: float
    heard: float
    progress: ShardProgress = field(default_factory=ShardProgress)

    def seconds_left(self, now: float) -> float:
        """Time that the shard still takes, if it goes on like this."""
        if not self.progress.samples:
            return float("inf")
        rate = self.progress.samples / max(now - self.started, 1e-9)
        return (self.span.samples - self.progress.samples) / rate


class Run:
    """The driver's loop: lease out shards, collect progress, watch the limits.

    Args:
        crew: Who writes.
        plan: What is to be written.
        total_seconds: How long to work [s]; None for no end.
        tell: Called some times a second.
        publisher: Who lists what the crew brings; nobody if the crew does it itself.
        log: What happened, for later.
        is_rolling: Whether to wait for room rather than end when there is none.
        meter: Told how this side stands, for whoever reads meanwhile.
    """

    def __init__(
        self,
        crew: Crew,
        plan: ShardPlan,
        *,
        total_seconds: float | None,
        tell: OnProgress,
        publisher: Publisher | None = None,
        log: RunLog | None = None,
        is_rolling: bool = False,
        meter: Meter | None = None,
    ) -> None:
        self.samples_new = 0
        self.seconds = 0.0
        self.had_workers = False
        self._total_seconds = total_seconds
        self._plan = plan
        self._tell = tell
        self._crew = crew
        self._publisher = publisher
        self._log = log or RunLog()
        self._is_rolling = is_rolling
        self._stream = meter
        self._waited_seconds = 0.0
        self._no_room = False
        self._tasks: list[Task] = []
        # Shards whose records are on their way, with the seconds that they took.
        self._listing: dict[int, tuple[ShardProgress, float]] = {}
        self._idle: list[Any] = []
        self._shard_seconds = 0.0
        self._stopped_by: Limit | None = None
        self._asked_at = 0.0
        self._is_waiting = False
        self._heard_of_workers = 0.0
        self._retired_at = 0.0
        self._crashes: Counter[int] = Counter()
        self._meter = RateMeter()

    def work(self, is_interrupted: Callable[[], bool]) -> Limit:
        """Go on until a limit is reached and no shard is in progress.

        Raises:
            ShardError: If workers keep dying, or there are none.
        """
        self._idle = self._crew.start()
        self.had_workers = bool(self._idle)
        self._started = self._heard_of_workers = time.monotonic()
        while True:
            self._watch(is_interrupted())
            self._take_listed()
            self._retire()
            self._idle += self._crew.arrivals()
            self.had_workers |= bool(self._idle)
            self._hand_out()
            if self._is_over():
                break
            before = self.seconds
            self._collect()
            self.seconds = time.monotonic() - self._started
            self._count_waiting(self.seconds - before)
            self._report()
        return self._stopped_by or "samples"

    def _count_waiting(self, seconds: float) -> None:
        """Count the time of workers that have nothing to do for want of room."""
        if self._stopped_by is None and self._no_room and self._crew.workers:
            self._waited_seconds += seconds * len(self._idle) / self._crew.workers

    def _is_over(self) -> bool:
        if not self._tasks and not self._listing:
            return self._stopped_by is not None
        waited = time.monotonic() - self._asked_at
        if self._stopped_by == "time":
            return waited > (
                _PATIENCE + _GRACE if self.samples_new else _PATIENCE_FOR_ONE
            )
        return self._stopped_by == "interrupted" and waited > _PATIENCE

    def _watch(self, is_interrupted: bool) -> None:
        """Ask workers to stop if the user or the clock says so."""
        now = time.monotonic()
        if is_interrupted and self._stopped_by != "interrupted":
            self._stop("interrupted")
            self._crew.stop([task.worker for task in self._tasks])
        elif self._seconds_left() <= 0 and self._stopped_by is None:
            self._stop("time")
            late = [t for t in self._tasks if t.seconds_left(now) > _GRACE]
            if self.samples_new == 0 and len(late) == len(self._tasks):
                # A run must leave something: the shard nearest to its end stays.
                late.sort(key=lambda task: task.seconds_left(now))
                late = late[1:]
            self._crew.stop([task.worker for task in late])
        for task in [t for t in self._tasks if now - t.heard > _LEASE]:
            self._end_lease(task, f"nothing heard for {_LEASE:.0f} s")

    def _stop(self, reason: Limit) -> None:
        self._stopped_by, self._asked_at = reason, time.monotonic()
        self._log.note("stopping", reason=reason)

    def _retire(self) -> None:
        """Delete what the consumer has read."""
        if self._publisher is None:
            return
        now = time.monotonic()
        is_due = now - self._retired_at >= _RETIRE_EVERY
        if is_due:
            self._retired_at = now
        gone = self._publisher.retire_beside(is_due=is_due)
        self._take_listed()  # what is gone was listed before
        for record in gone:
            self._plan.retire(record.index)
            self._log.note("retired", shard=record.name, bytes=record.bytes)

    def _hand_out(self) -> None:
        """Lease a shard to every idle worker, if there is room and time for it."""
        self._is_waiting = False
        while self._stopped_by is None:
            span = self._plan.next_span()
            room = self._plan.room_for(span) if span else 0
            too_late = self._shard_seconds > self._seconds_left() + _GRACE
            self._no_room = span is not None and not room
            if span is None or not room or too_late:
                self._pause_or_end(span, room)
                return
            if not self._idle:
                self._is_waiting = not self._tasks
                return
            worker = self._idle.pop()
            self._plan.start(span, room)
            stream = self._crew.write(
                worker, span, room, replaces=self._plan.has_record(span)
            )
            now = time.monotonic()
            self._tasks.append(Task(worker, span, stream, now, now))
            self._log.note("leased", shard=span.name, worker=str(worker))

    def _pause_or_end(self, span: ShardSpan | None, room: int) -> None:
        """What to do when no shard can be leased out: wait for room, or end."""
        if self._tasks or self._listing:
            return
        if span is None:
            self._stop("samples")
        elif room:
            self._stop("time")
        elif self._is_rolling and self._plan.shards:
            self._is_waiting = True
        else:
            self._stop("disk" if self._plan.is_disk_short else "size")

    def _collect(self) -> None:
        """Take the news of workers; wait a little if there are none."""
        if not self._tasks:
            if not self._idle:
                self._check_alone()
            time.sleep(_LISTING_PAUSE if self._listing else _PAUSE)
            return
        self._heard_of_workers = time.monotonic()
        for stream in self._crew.wait([task.stream for task in self._tasks]):
            task = next(task for task in self._tasks if task.stream is stream)
            progress = self._crew.next_progress(stream)
            if progress is None:
                self._end_lease(task, "its worker died")
                continue
            task.heard = time.monotonic()
            self._take(task, progress)

    def _take(self, task: Task, progress: ShardProgress) -> None:
        """Count what came under a lease; in the end the worker is free again."""
        task.progress = progress
        stopped, is_listed = progress.stopped, True
        if self._publisher is not None:
            try:
                is_listed = self._publisher.take(task.span, progress)
            except OSError as error:
                if not is_disk_full(error):
                    raise
                stopped = "disk"
        if progress.record is None and not stopped:
            return
        self._tasks.remove(task)
        self._idle.append(task.worker)
        if progress.record is None or stopped:
            self._drop(task.span, progress.samples, progress.bytes)
            self._log.note("given_up", shard=task.span.name, reason=stopped)
            if stopped == "disk" and self._stopped_by is None:
                self._stop("disk")
            return
        seconds = time.monotonic() - task.started
        if is_listed:
            self._finish(progress.record, progress.samples, seconds)
        else:
            self._listing[task.span.index] = progress, seconds

    def _take_listed(self) -> None:
        """Count shards whose records have arrived where they belong."""
        if self._publisher is None or not self._listing:
            return
        for record in self._publisher.listed():
            progress, seconds = self._listing.pop(record.index)
            self._finish(record, progress.samples, seconds)

    def _finish(self, record: ShardRecord, samples: int, seconds: float) -> None:
        """Count a shard that is listed."""
        self._plan.finish(record)
        self.samples_new += samples
        self._shard_seconds = seconds
        self._log.note(
            "finished",
            shard=record.name,
            samples=samples,
            bytes=record.bytes,
            seconds=round(seconds, 3),
        )

    def _end_lease(self, task: Task, why: str) -> None:
        """Give up on a worker; its shard is leased again, to another one."""
        self._log.note("lease_lost", shard=task.span.name, reason=why)
        self._tasks.remove(task)
        self._drop(task.span)
        self._crashes[task.span.index] += 1
        if self._crashes[task.span.index] >= _MAX_CRASHES:
            if "heard" not in why and self._crew.death:
                remedy = self._crew.death
            else:
                remedy = (
                    "without an error of their own; mostly a machine is out of memory: "
                    "try fewer --workers"
                )
            raise ShardError(
                f"{task.span.name} lost {_MAX_CRASHES} workers ({why}), {remedy}"
            )
        self._crew.replace(task.worker)

    def _drop(self, span: ShardSpan, samples: int = 0, size: int = 0) -> None:
        if self._publisher is not None:
            self._publisher.drop(span)
        self._plan.give_up(span, samples, size)

    def _check_alone(self) -> None:
        alone = time.monotonic() - self._heard_of_workers
        if alone > _ALONE:
            raise ShardError(
                f"there has been no worker for {alone:.0f} s: see that the cluster "
                "has nodes with free processors. The same command goes on where this "
                "run stopped"
            )

    def _seconds_left(self) -> float:
        if self._total_seconds is None:
            return float("inf")
        return self._total_seconds - (time.monotonic() - self._started)

    @property
    def _phase(self) -> Phase:
        if self._stopped_by:
            return "stopping"
        return "waiting" if self._is_waiting else "running"

    def _report(self) -> None:
        plan = self._plan
        news = [task.progress for task in self._tasks]
        news += [progress for progress, _ in self._listing.values()]
        in_progress = sum(progress.samples for progress in news)
        self._meter.note(self.seconds, self.samples_new + in_progress)
        progress = GenerateProgress(
            phase=self._phase,
            workers=self._crew.workers,
            samples=plan.samples + in_progress,
            samples_new=self.samples_new + in_progress,
            total_samples=plan.total_samples,
            samples_per_second=self._meter.rate,
            bytes=plan.bytes + sum(progress.bytes for progress in news),
            max_bytes=plan.max_bytes,
            shards=plan.shards,
            retired=plan.retired,
            total_shards=plan.total_shards,
            seconds=self.seconds,
            total_seconds=self._total_seconds,
            is_rolling=self._is_rolling,
            waited_seconds=self._waited_seconds,
            consumer=None if self._stream is None else self._stream.other.last,
        )
        if self._stream is not None:
            self._stream.say(self._reading(progress))
        self._log.progress(progress)
        self._tell(progress)

    def _reading(self, progress: GenerateProgress) -> MeterReading:
        """This side of a stream, for whoever reads it."""
        return MeterReading(
            phase="waiting" if self._no_room and self._is_rolling else progress.phase,
            samples=self._plan.samples,
            per_second=self.samples_new / max(self.seconds, 1e-9),
            waited=progress.waited,
            bytes=progress.bytes,
            max_bytes=progress.max_bytes,
            seconds=self.seconds,
        )
