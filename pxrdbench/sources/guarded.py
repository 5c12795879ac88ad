"""Work on files that nobody vouches for, each under a time limit.

A file can hang a reader or kill it. Each runs in a process of its own pool; one that
hangs or dies costs its file alone, for its process is replaced.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pxrdbench.errors import SourceError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Stands behind the last task.
_NO_TASK = object()

# A process that has not started after this many seconds never will.
_START_LIMIT = 120.0


@dataclass(frozen=True)
class Lost:
    """Stands for the result of a task that hung or killed its process."""

    reason: str


class _Worker(Generic[Task, Result]):
    """One process, and what it is at."""

    def __init__(
        self, function: Callable[[Task], Result], prepare: Callable[[], None] | None
    ) -> None:
        # Fresh processes: a fork would copy the locks of other libraries' threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, function, prepare), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: int | None = None
        self.is_ready = False
        self.deadline = time.monotonic() + _START_LIMIT
        self.last_deadline = self.deadline
        self.cpu_at_start = 0.0

    def send(self, index: int, task: Task, time_limit: float, patience: float) -> None:
        self.task = index
        self.cpu_at_start = _processor_seconds(self.process.pid) or 0.0
        self.deadline = time.monotonic() + time_limit
        self.last_deadline = time.monotonic() + patience * time_limit
        self.connection.send(task)

    def is_late(self, time_limit: float) -> bool:
        """Whether its time is up; a process that had no processor gets more."""
        now = time.monotonic()
        if now <= self.deadline:
            return False
        used = _processor_seconds(self.process.pid)
        if used is None or now >= self.last_deadline:
            return True
        left = time_limit - (used - self.cpu_at_start)
        if left <= 0.0:
            return True
        self.deadline = min(now + max(left, 0.1), self.last_deadline)
        return False

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def run_guarded(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int | None = None,
    time_limit: float = 20.0,
    *,
    patience: float = 10.0,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Result | Lost]:
    """Apply a function to each task in other processes.

    Args:
        function: A function of a module.
        tasks: What it takes; drawn as they are needed.
        workers: Processes; as many as there are cores if None.
        time_limit: Longest time for one task [s], counted as processor time where the
            system tells it (Linux): a crowded machine must not change the result.
        patience: So many times the limit may pass on the clock.
        prepare: Is called once in each process, outside of any limit: to import what
            the function needs.

    Yields:
        The results in the order of the tasks.

    Raises:
        SourceError: If fewer than one worker is asked for, or none starts.
    """
    if workers is None:
        workers = available_cores()
    if workers < 1:
        raise SourceError(f"{workers} workers; at least 1 is needed")
    if isinstance(tasks, Sized):
        workers = min(workers, len(tasks))
    source = iter(tasks)
    upcoming = next(source, _NO_TASK)
    pool: list[_Worker[Task, Result]] = []
    if upcoming is not _NO_TASK:
        pool = [_Worker(function, prepare) for _ in range(workers)]
    finished: dict[int, Result | Lost] = {}
    started = yielded = 0
    try:
        while upcoming is not _NO_TASK or yielded < started:
            for position, worker in enumerate(pool):
                # A slow task must not let the others run far ahead of it.
                is_near = started - yielded < 1000 * len(pool)
                if worker.is_ready and worker.task is None and is_near:
                    if upcoming is not _NO_TASK:
                        worker.send(started, cast(Task, upcoming), time_limit, patience)
                        started += 1
                        upcoming = next(source, _NO_TASK)
                elif worker.task is not None and worker.is_late(time_limit):
                    finished[worker.task] = Lost(
                        f"it took longer than {time_limit:g} s"
                    )
                    worker.stop()
                    pool[position] = _Worker(function, prepare)
            _receive(pool, function, prepare, finished)
            while yielded in finished:
                yield finished.pop(yielded)
                yielded += 1
    finally:
        for worker in pool:
            worker.stop()


def _receive(
    pool: list[_Worker[Task, Result]],
    function: Callable[[Task], Result],
    prepare: Callable[[], None] | None,
    finished: dict[int, Result | Lost],
) -> None:
    """Wait for the next reports, and take them in."""
    busy = {
        worker.connection: position
        for position, worker in enumerate(pool)
        if worker.task is not None or not worker.is_ready
    }
    pause = min((pool[p].deadline for p in busy.values()), default=0.0)
    pause = max(pause - time.monotonic(), 0.0)
    for connection in wait(list(busy), timeout=pause + 0.01):
        position = busy[connection]  # type: ignore[index]
        worker = pool[position]
        try:
            report = worker.connection.recv()
        except (EOFError, ConnectionError, OSError):
            if worker.task is None:
                raise SourceError(
                    "the processes that read files do not start; a script that calls "
                    "this must do so below `if __name__ == '__main__':`"
                ) from None
            finished[worker.task] = Lost("the process that read it died")
            worker.stop()
            pool[position] = _Worker(function, prepare)
            continue
        if worker.task is None:
            worker.is_ready = True
        else:
            finished[worker.task] = report
            worker.task = None


def _processor_seconds(pid: int | None) -> float | None:
    """Processor time that a process has used; None where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        # The name, in brackets, may hold blanks.
        user, system = text.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _serve(
    connection: Connection,
    function: Callable[[Any], Any],
    prepare: Callable[[], None] | None,
) -> None:
    """Work until the other end is closed."""
    if prepare is not None:
        prepare()
    connection.send("ready")
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        result = function(task)
        try:
            connection.send(result)
        except (BrokenPipeError, ConnectionError):
            return  # whoever asked was killed


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_chunks(
    function: Callable[..., list[Result]],
    chunks: Sequence[tuple[Any, ...]],
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Apply a function to each chunk, in other processes where that pays.

    Args:
        function: A function of a module; takes the parts of a chunk, the first of
            which is a table.
        chunks: What to work on; each starts with a ``pyarrow.Table``.
        workers: Processes; as many as there are cores if None. One means this one.
        progress: Is called with the rows done and the rows there are.

    Returns:
        All results, in the order of the chunks.

    Raises:
        SourceError: If fewer than one worker is asked for, or the processes die.
    """
    if workers is None:
        workers = available_cores()
    if workers < 1:
        raise SourceError(f"{workers} workers; at least 1 is needed")
    total = sum(len(chunk[0]) for chunk in chunks)
    workers = min(workers, len(chunks))
    results: list[Result] = []
    if workers <= 1:
        for chunk in chunks:
            results += function(*chunk)
            if progress:
                progress(len(results), total)
        return results
    # Fresh processes: a fork would copy the locks of arrow's and torch's threads.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_quiet_spglib
        ) as executor:
            for part in executor.map(function, *zip(*chunks, strict=True)):
                results += part
                if progress:
                    progress(len(results), total)
    except BrokenProcessPool as error:
        raise SourceError(
            "the processes that read crystals died; a script that calls this must do "
            "so below `if __name__ == '__main__':`, or give workers=1"
        ) from error
    return results


def _quiet_spglib() -> None:
    """Keep spglib's notes on each failed attempt off the screen; results tell."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
