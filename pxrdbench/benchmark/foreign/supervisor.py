"""Whoever watches a stranger's process: nothing of it outlives who asked for it.

    the one who asked ── watcher ── first process of a namespace ── the model

The watcher waits on the death of the one who asked, whatever the cause, and of the
model; it adds up what the model and all its children take. Where the system has
namespaces of processes, the end of their first process ends all of them, also those
that left their parents. Where it has none, the watcher inherits the orphans and ends
them one by one.

Only the standard library is imported, as in `confinement`.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# linux/prctl.h and linux/sched.h
_SET_DEATH_SIGNAL, _SET_SUBREAPER, _BOUND_DROP, _AMBIENT = 1, 36, 24, 47
_NEW_PROCESSES, _NEW_IPC = 0x20000000, 0x08000000
_CAPABILITIES = 0x20080522  # version 3 of the header, linux/capability.h
_MOST_CAPABILITIES = 64
_LOOK_EVERY = 0.25  # seconds
# Status of the watcher when what it watches took too much; no program of ours has it.
TOOK_TOO_MUCH = 97


@dataclass(frozen=True)
class Allowance:
    """What a process and its children may take together.

    Attributes:
        memory_bytes: Resident memory.
        processor_seconds: Processor time.
        processes: Number of processes, the first included.
        disk_bytes: Files in the folder that is thrown away.
    """

    memory_bytes: int
    processor_seconds: float
    processes: int
    disk_bytes: int


def separate_processes() -> bool:
    """Let the next child be the first process of a namespace, if that is allowed.

    Comes after `leave_network`, which may have made a namespace of users.
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (AttributeError, OSError):  # not Linux
        return False
    return any(
        unshare(flags) == 0 for flags in (_NEW_PROCESSES | _NEW_IPC, _NEW_PROCESSES)
    )


def drop_capabilities() -> bool:
    """Give up what root may do; the user stays the same.

    Returns:
        Whether nothing is left.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        for number in range(_MOST_CAPABILITIES):
            libc.prctl(_BOUND_DROP, number, 0, 0, 0)
        libc.prctl(_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
        nothing = (ctypes.c_uint32 * 6)()
        return int(libc.capset(ctypes.byref(header), ctypes.byref(nothing))) == 0
    except (AttributeError, OSError):
        return False


def die_with_parent() -> bool:
    """Ask the kernel to end this process when its parent's thread ends."""
    parent = os.getppid()
    try:
        done = ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    except (AttributeError, OSError):
        return False
    # The parent may have died before it was asked.
    return done == 0 and os.getppid() == parent


def supervise(
    run: Callable[[], None],
    asker: int,
    allowance: Callable[[], Allowance | None],
    *,
    is_separate: bool,
) -> None:
    """Run something in a child that dies with the one who asked; never returns.

    Args:
        run: What the child does.
        asker: The process that asked for it.
        allowance: What it may take, once that is known.
        is_separate: Whether the child is the first process of a namespace.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    watched = _open_process(asker)
    if os.getppid() != asker:
        os._exit(1)
    child = os.fork()
    if child == 0:
        try:
            # What the namespace's first process sees as its parent is 0 in any case.
            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            if is_separate:
                _reap_until_done(run)
            run()
        finally:
            sys.stdout = None  # a pipe that may be closed
            os._exit(1 if sys.exc_info()[0] else 0)
    for descriptor in (0, 1):  # or the model's end would not be seen
        os.close(descriptor)
    _watch(child, asker, watched, allowance)


def _reap_until_done(run: Callable[[], None]) -> None:
    """Be the first process: end with the model, and take in what it left behind."""
    model = os.fork()
    if model == 0:
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        return
    for descriptor in (0, 1):
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == model:
            os._exit(_exit_code(status))


def _watch(
    child: int, asker: int, watched: int, allowance: Callable[[], Allowance | None]
) -> None:
    """Wait for the child's end, the asker's, or too much of anything."""
    status, excess = None, False
    while status is None:
        if watched >= 0:
            ended = bool(select.select([watched], [], [], _LOOK_EVERY)[0])
        else:
            time.sleep(_LOOK_EVERY)
            ended = os.getppid() != asker
        limit = allowance()
        excess = limit is not None and _takes_too_much(child, limit)
        if ended or excess:
            _end_all(child)
        while True:
            try:
                pid, found = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, found = child, 1
            if pid == 0:
                break
            if pid == child:
                status = found
                break
    _end_all(child)
    os._exit(TOOK_TOO_MUCH if excess else _exit_code(status))


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    # As a shell says it: 128 and the number of the signal.
    return code if code >= 0 else 128 - code


def _end_all(child: int) -> None:
    """End the child and whatever it started, again until nothing is left."""
    for _ in range(100):
        left = [pid for pid in descendants(os.getpid()) if pid != os.getpid()]
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        alive = [pid for pid in left if pid != child]
        if not alive:
            return
        for pid in alive:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _takes_too_much(child: int, limit: Allowance) -> bool:
    pids = list(descendants(child))
    if len(pids) > limit.processes:
        return True
    memory, seconds = 0, 0.0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            fields = _status_fields(pid)
            # User and system time, also of children that have been waited for.
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    if memory > limit.memory_bytes or seconds > limit.processor_seconds:
        return True
    return _disk_bytes(Path.cwd()) > limit.disk_bytes


def _disk_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(Path(place, name)).st_blocks * 512
    return total


def descendants(root: int) -> Iterator[int]:
    """A process and all that descend from it, as far as their parents are known."""
    children: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208  # no Path a process
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    parent = int(_status_fields(int(name))[1])
                    children.setdefault(parent, []).append(int(name))
    level = [root]
    while level:
        yield from level
        level = [pid for parent in level for pid in children.get(parent, ())]


def _status_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, which may hold anything."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()


def _open_process(pid: int) -> int:
    """A descriptor that can be read when a process ends; -1 where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
