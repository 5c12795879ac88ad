"""What a process gives up before it opens a stranger's file: network, files, memory.

Only the standard library is imported here, so that all of it comes before any library
starts a thread: a thread that is there already would keep what the process gives up.

References:
    Salaün, Landlock: unprivileged access control, docs.kernel.org/userspace-api/
        landlock.html (Linux 5.13; TCP from 6.7, signals and sockets from 6.12).
"""

import ctypes
import os
import resource
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_NO_NEW_PRIVILEGES = 38  # linux/prctl.h
# The same numbers on every architecture (linux/landlock.h and syscall tables).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_REMOVE, _MAKE = 0b11 << 4, (1 << 7) | (1 << 8)
# Kinds of access that Landlock knew first in each version: 13 of version 1, then
# REFER, TRUNCATE and (5) IOCTL_DEV.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TRUNCATE = 1 << 14
_TCP_VERSION, _SCOPE_VERSION = 4, 6

# What libraries read of a system. Of /proc only what is the process's own: the
# environment of others may hold keys.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/sys/devices/system",
)


class _PathRule(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def leave_network() -> bool:
    """Move this process into a network of its own without devices, if allowed.

    Must come before any thread is started.
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (AttributeError, OSError):  # not Linux
        return False
    flags = (_CLONE_NEWNET, _CLONE_NEWNET | _CLONE_NEWUSER)
    return any(unshare(flag) == 0 for flag in flags)


def limit_files(readable: Sequence[str], writable: Sequence[str] = ()) -> bool:
    """Hide all files but those of Python, its libraries and the ones named.

    With Landlock, where the kernel has it; it also takes away TCP, and signals and
    abstract sockets to processes outside. Must come before any thread is started.

    Args:
        readable: Files and folders beside those of Python and the system's libraries.
        writable: Folders in which files may be made.

    Returns:
        Whether it could be done; nothing is limited otherwise.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        version = int(libc.syscall(_CREATE_RULESET, None, 0, 1))
    except (AttributeError, OSError):  # not Linux
        return False
    if version < 1:
        return False
    handled = sum(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    network = 3 if version >= _TCP_VERSION else 0
    scope = 3 if version >= _SCOPE_VERSION else 0
    attributes = (ctypes.c_uint64 * 3)(handled, network, scope)
    size = 8 * (1 + (version >= _TCP_VERSION) + (version >= _SCOPE_VERSION))
    ruleset = int(libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    if ruleset < 0:
        return False
    read = _READ_FILE | _READ_DIR
    write = (read | _WRITE_FILE | _REMOVE | _MAKE | _TRUNCATE) & handled
    try:
        for place in {*_SYSTEM, *find_libraries(), *readable}:
            _allow(libc, ruleset, place, read)
        for place in writable:
            _allow(libc, ruleset, place, write)
        _allow(libc, ruleset, os.devnull, read | _WRITE_FILE)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return int(libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, place: str, rights: int) -> None:
    """Add a rule for a file or for all below a folder, if there is one."""
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]  # Linux
    except OSError:
        return
    try:
        if not Path(place).is_dir():  # files have fewer rights than folders
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = _PathRule(rights, handle)
        libc.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
    finally:
        os.close(handle)


def find_libraries() -> set[str]:
    """Find the folders of Python, of installed packages and of this package.

    A folder on the path of imports that holds no installed package, such as the one
    a command was started in, is not among them.
    """
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {sysconfig.get_path(kind) for kind in kinds}
    places |= {str(Path(base) / "lib") for base in (sys.prefix, sys.base_prefix)}
    for entry in filter(None, sys.path):
        path = Path(entry)
        try:
            is_installed = path.is_file() or any(path.glob("*.dist-info"))
        except OSError:
            continue
        if is_installed:
            places.add(entry)
    places.add(str(Path(__file__).parents[2]))
    return places


def limit_resources(
    memory_bytes: int, file_bytes: int = 0, processor_seconds: float = 0.0
) -> None:
    """Allow so much more memory than now, files of so many bytes, so much time.

    These hold for each process by itself; `supervisor` adds up all of them.
    """
    # Without /proc (not Linux) libraries count too: torch maps about 4 GiB.
    used = 4 * 2**30
    statm = Path("/proc/self/statm")
    if statm.is_file():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
    allowed = used + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if processor_seconds:
        seconds = int(processor_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
