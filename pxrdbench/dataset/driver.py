"""The loop of a run: hand out shards, collect progress, watch the limits.

It knows no Ray: a crew is whoever can write shards in the background.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pxrdbench.dataset.manifest import ShardSpan
from pxrdbench.dataset.plan import ShardPlan
from pxrdbench.dataset.progress import GenerateProgress, Limit, OnProgress, RateMeter
from pxrdbench.dataset.shard import ShardProgress

# A shard that is this close to its end when the time is up is finished [s].
_GRACE = 3.0
# Workers that have not stopped after this are ended [s].
_PATIENCE = 5.0


@runtime_checkable
class Crew(Protocol):
    """Workers that write shards in the background."""

    workers: int

    def start(self) -> list[Any]:
        """Start all workers, and wait until they could begin."""

    def replace(self, dead: Any) -> Any:
        """Start another worker for one that died."""

    def write(self, worker: Any, span: ShardSpan, max_bytes: int) -> Any:
        """Have a shard written; gives a stream of progress."""

    def stop(self, workers: list[Any]) -> None:
        """Ask workers to give up their shard."""

    def wait(self, streams: list[Any]) -> list[Any]:
        """Streams that have news; waits a moment for one."""

    def next_progress(self, stream: Any) -> ShardProgress | None:
        """The next news of a stream; None if its worker died."""


@dataclass
class Task:
    """A shard in progress, seen from the driver."""

    worker: Any
    span: ShardSpan
    stream: Any
    started: float
    progress: ShardProgress = field(default_factory=ShardProgress)

    def seconds_left(self, now: float) -> float:
        """Time that the shard still takes, if it goes on like this."""
        if not self.progress.samples:
            return float("inf")
        rate = self.progress.samples / max(now - self.started, 1e-9)
        return (self.span.samples - self.progress.samples) / rate


class Run:
    """The driver's loop: hand out shards, collect progress, watch the limits."""

    def __init__(
        self,
        crew: Crew,
        plan: ShardPlan,
        *,
        total_seconds: float | None,
        tell: OnProgress,
    ) -> None:
        self.samples_new = 0
        self.seconds = 0.0
        self._total_seconds = total_seconds
        self._plan = plan
        self._tell = tell
        self._crew = crew
        self._tasks: list[Task] = []
        self._idle: list[Any] = []
        self._shard_seconds = 0.0
        self._stopped_by: Limit | None = None
        self._asked_at = 0.0
        self._meter = RateMeter()

    def work(self, is_interrupted: Callable[[], bool]) -> Limit:
        """Go on until a limit is reached and no shard is in progress."""
        self._idle = self._crew.start()
        self._started = time.monotonic()
        while True:
            self._watch(is_interrupted())
            self._hand_out()
            if not self._tasks or self._is_patience_over():
                break
            self._collect()
            self.seconds = time.monotonic() - self._started
            self._report()
        return self._stopped_by or "samples"

    def _watch(self, is_interrupted: bool) -> None:
        """Ask workers to stop if the user or the clock says so."""
        if is_interrupted and self._stopped_by != "interrupted":
            self._stopped_by, self._asked_at = "interrupted", time.monotonic()
            self._crew.stop([task.worker for task in self._tasks])
        elif self._seconds_left() <= 0 and self._stopped_by is None:
            self._stopped_by = "time"
            now = time.monotonic()
            late = [t for t in self._tasks if t.seconds_left(now) > _GRACE]
            if self.samples_new == 0 and len(late) == len(self._tasks):
                # A run must leave something: the shard nearest to its end stays.
                late.sort(key=lambda task: task.seconds_left(now))
                late = late[1:]
            self._crew.stop([task.worker for task in late])

    def _hand_out(self) -> None:
        """Give every idle worker a shard, if there is one, and room and time for it."""
        while self._idle and self._stopped_by is None:
            span = self._plan.next_span()
            room = self._plan.room_for(span) if span else 0
            too_late = self._shard_seconds > self._seconds_left() + _GRACE
            if span is None or not room or too_late:
                if not self._tasks:
                    self._stopped_by = self._reason(span, room)
                return
            worker = self._idle.pop()
            self._plan.start(span, room)
            stream = self._crew.write(worker, span, room)
            self._tasks.append(Task(worker, span, stream, time.monotonic()))

    def _reason(self, span: ShardSpan | None, room: int) -> Limit:
        if span is None:
            return "samples"
        if not room:
            return "disk" if self._plan.is_disk_short else "size"
        return "time"

    def _collect(self) -> None:
        """Take the news of workers; wait a little if there are none."""
        for stream in self._crew.wait([task.stream for task in self._tasks]):
            task = next(task for task in self._tasks if task.stream is stream)
            progress = self._crew.next_progress(stream)
            if progress is None:
                self._plan.give_up(task.span)
                self._tasks.remove(task)
                self._idle.append(self._crew.replace(task.worker))
                continue
            task.progress = progress
            if progress.record is None and not progress.stopped:
                continue
            self._tasks.remove(task)
            self._idle.append(task.worker)
            if progress.record is None:
                self._plan.give_up(task.span, progress.samples, progress.bytes)
            else:
                self._plan.finish(progress.record)
                self.samples_new += progress.samples
                self._shard_seconds = time.monotonic() - task.started

    def _seconds_left(self) -> float:
        if self._total_seconds is None:
            return float("inf")
        return self._total_seconds - (time.monotonic() - self._started)

    def _is_patience_over(self) -> bool:
        waited = time.monotonic() - self._asked_at
        return self._stopped_by == "interrupted" and waited > _PATIENCE

    def _report(self) -> None:
        plan = self._plan
        in_progress = sum(task.progress.samples for task in self._tasks)
        self._meter.note(self.seconds, self.samples_new + in_progress)
        progress = GenerateProgress(
            phase="stopping" if self._stopped_by else "running",
            workers=self._crew.workers,
            samples=plan.samples + in_progress,
            samples_new=self.samples_new + in_progress,
            total_samples=plan.total_samples,
            samples_per_second=self._meter.rate,
            bytes=plan.bytes + sum(task.progress.bytes for task in self._tasks),
            max_bytes=plan.max_bytes,
            shards=plan.shards,
            total_shards=plan.total_shards,
            seconds=self.seconds,
            total_seconds=self._total_seconds,
        )
        self._tell(progress)
