"""How a training run shares the cores of a machine, and how it is told to stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch


def count_cores() -> int:
    """Cores that this process may use, which a container or batch system can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(cores: int, *, is_light: bool) -> tuple[int, int]:
    """Divide cores between torch and the threads that make patterns.

    A light network (one with a stage of its own for the loader's threads) takes about
    as long for a pattern as the pattern took to make: half and half. Any other takes
    a hundred times as long: all cores for torch, and one thread beside it.

    Returns:
        Threads of torch, and threads of the loader.

    Example:
        >>> share_cores(2, is_light=True), share_cores(2, is_light=False)
        ((1, 1), (2, 1))
    """
    if not is_light:
        return cores, 1
    workers = max(1, cores // 2)
    return max(1, cores - workers), workers


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads, and put it back as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into an event.

    A second Ctrl-C interrupts. SIGHUP comes when a terminal or a connection is closed;
    whoever has it ignored (``nohup``) keeps that. Signals reach the main thread only;
    elsewhere the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {
        number: signal.signal(number, ask)
        for number in _STOPPING
        if number != SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Windows has no SIGHUP.
SIGHUP = getattr(signal, "SIGHUP", signal.SIGTERM)
_STOPPING = (signal.SIGINT, signal.SIGTERM, SIGHUP)
