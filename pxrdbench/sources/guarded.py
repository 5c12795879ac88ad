"""Work on files that nobody vouches for, each under a time limit.

A file can hang a reader or kill it. Each runs in a process of its own pool; one that
hangs or dies costs its file alone, for its process is replaced.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from pxrdbench.errors import SourceError
from pxrdbench.sources.processes import available_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

# A process that has not started after this many seconds never will.
_START_LIMIT = 120.0


@dataclass(frozen=True)
class Lost:
    """Stands for the result of a task that hung or killed its process."""

    reason: str


class _Worker(Generic[Task, Result]):
    """One process, and what it is at."""

    def __init__(self, function: Callable[[Task], Result]) -> None:
        # Fresh processes: a fork would copy the locks of other libraries' threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, function), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: int | None = None
        self.is_ready = False
        self.deadline = time.monotonic() + _START_LIMIT

    def send(self, index: int, task: Task, time_limit: float) -> None:
        self.task = index
        self.deadline = time.monotonic() + time_limit
        self.connection.send(task)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def run_guarded(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int | None = None,
    time_limit: float = 20.0,
) -> Iterator[Result | Lost]:
    """Apply a function to each task in other processes.

    Args:
        function: A function of a module.
        tasks: What it takes.
        workers: Processes; as many as there are cores if None.
        time_limit: Longest time for one task [s].

    Yields:
        The results in the order of the tasks.

    Raises:
        SourceError: If fewer than one worker is asked for, or none starts.
    """
    if workers is None:
        workers = available_cores()
    if workers < 1:
        raise SourceError(f"{workers} workers; at least 1 is needed")
    pool = [_Worker(function) for _ in range(min(workers, len(tasks)))]
    finished: dict[int, Result | Lost] = {}
    started = yielded = 0
    try:
        while yielded < len(tasks):
            for position, worker in enumerate(pool):
                # A slow task must not let the others run far ahead of it.
                is_near = started - yielded < 1000 * len(pool)
                if worker.is_ready and worker.task is None and is_near:
                    if started < len(tasks):
                        worker.send(started, tasks[started], time_limit)
                        started += 1
                elif time.monotonic() > worker.deadline and worker.task is not None:
                    finished[worker.task] = Lost(
                        f"it took longer than {time_limit:g} s"
                    )
                    worker.stop()
                    pool[position] = _Worker(function)
            _receive(pool, function, finished)
            while yielded in finished:
                yield finished.pop(yielded)
                yielded += 1
    finally:
        for worker in pool:
            worker.stop()


def _receive(
    pool: list[_Worker[Task, Result]],
    function: Callable[[Task], Result],
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
            pool[position] = _Worker(function)
            continue
        if worker.task is None:
            worker.is_ready = True
        else:
            finished[worker.task] = report
            worker.task = None


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Work until the other end is closed."""
    connection.send("ready")
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(function(task))
