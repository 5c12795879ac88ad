"""Searching many crystals for symmetry, on all cores of one machine.

spglib holds Python's lock, so threads would not help. Results come back in the order
of the chunks: nothing depends on the number of processes.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pxrdbench.errors import SourceError

Result = TypeVar("Result")


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
