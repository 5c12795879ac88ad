"""Which system calls a stranger's process may not make: a filter of the kernel's.

The filter is a program of classic BPF, written here, that answers "not permitted" for
what Landlock and namespaces leave open: modes, owners and attributes of files, sockets
of any kind, priorities, keys, other processes' memory, mounts, clocks, rings of
input and output that would pass by the filter. A stranger's file may start no
process either.

References:
    docs.kernel.org/userspace-api/seccomp_filter.html; linux/seccomp.h, linux/audit.h,
    linux/filter.h; tables of arch/x86/entry/syscalls and asm-generic/unistd.h.
"""

import ctypes
import errno
import platform
import struct

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Places in struct seccomp_data: number, architecture, low words of the arguments.
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_THREAD = 0x00010000  # CLONE_THREAD
_X32 = 0x40000000  # the same calls under other numbers, x86_64 only

# Numbers from 424 on are the same everywhere.
_SAME = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "fchmodat2": 452,
    "setxattrat": 463,
    "removexattrat": 466,
    "file_setattr": 469,
}
_X86_64 = {
    # modes, owners, attributes, times
    "chmod": 90,
    "fchmod": 91,
    "fchmodat": 268,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "fchownat": 260,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "utime": 132,
    "utimes": 235,
    "futimesat": 261,
    "utimensat": 280,
    "mknod": 133,
    "mknodat": 259,
    # sockets
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "bind": 49,
    "listen": 50,
    "accept4": 288,
    # priorities and other processes
    "setpriority": 141,
    "ioprio_set": 251,
    "sched_setparam": 142,
    "sched_setscheduler": 144,
    "sched_setattr": 314,
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "migrate_pages": 256,
    "move_pages": 279,
    # who and where it is
    "setuid": 105,
    "setgid": 106,
    "setreuid": 113,
    "setregid": 114,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "setfsuid": 122,
    "setfsgid": 123,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "unshare": 272,
    "setns": 308,
    "personality": 135,
    # what outlives it
    "shmget": 29,
    "shmat": 30,
    "shmctl": 31,
    "semget": 64,
    "semop": 65,
    "semctl": 66,
    "semtimedop": 220,
    "msgget": 68,
    "msgsnd": 69,
    "msgrcv": 70,
    "msgctl": 71,
    "mq_open": 240,
    "mq_unlink": 241,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    # the machine
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "open_by_handle_at": 304,
    "name_to_handle_at": 303,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "kexec_load": 246,
    "kexec_file_load": 320,
    "reboot": 169,
    "swapon": 167,
    "swapoff": 168,
    "settimeofday": 164,
    "clock_settime": 227,
    "adjtimex": 159,
    "clock_adjtime": 305,
    "sethostname": 170,
    "setdomainname": 171,
    "acct": 163,
    "quotactl": 179,
    "iopl": 172,
    "ioperm": 173,
    "syslog": 103,
    "vhangup": 153,
    "fanotify_init": 300,
    "modify_ldt": 154,
}
_AARCH64 = {
    "fchmod": 52,
    "fchmodat": 53,
    "fchownat": 54,
    "fchown": 55,
    "setxattr": 5,
    "lsetxattr": 6,
    "fsetxattr": 7,
    "removexattr": 14,
    "lremovexattr": 15,
    "fremovexattr": 16,
    "utimensat": 88,
    "mknodat": 33,
    "socket": 198,
    "bind": 200,
    "listen": 201,
    "accept": 202,
    "connect": 203,
    "accept4": 242,
    "setpriority": 140,
    "ioprio_set": 30,
    "sched_setparam": 118,
    "sched_setscheduler": 119,
    "sched_setattr": 274,
    "ptrace": 117,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "migrate_pages": 238,
    "move_pages": 239,
    "setregid": 143,
    "setgid": 144,
    "setreuid": 145,
    "setuid": 146,
    "setresuid": 147,
    "setresgid": 149,
    "setfsuid": 151,
    "setfsgid": 152,
    "setgroups": 159,
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "chroot": 51,
    "unshare": 97,
    "setns": 268,
    "personality": 92,
    "mq_open": 180,
    "mq_unlink": 181,
    "msgget": 186,
    "msgctl": 187,
    "msgrcv": 188,
    "msgsnd": 189,
    "semget": 190,
    "semctl": 191,
    "semtimedop": 192,
    "semop": 193,
    "shmget": 194,
    "shmctl": 195,
    "shmat": 196,
    "shmdt": 197,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "bpf": 280,
    "perf_event_open": 241,
    "userfaultfd": 282,
    "open_by_handle_at": 265,
    "name_to_handle_at": 264,
    "init_module": 105,
    "delete_module": 106,
    "finit_module": 273,
    "kexec_load": 104,
    "kexec_file_load": 294,
    "reboot": 142,
    "swapon": 224,
    "swapoff": 225,
    "settimeofday": 170,
    "clock_settime": 112,
    "adjtimex": 171,
    "clock_adjtime": 266,
    "sethostname": 161,
    "setdomainname": 162,
    "acct": 89,
    "quotactl": 60,
    "syslog": 116,
    "vhangup": 58,
    "fanotify_init": 262,
}
# Audit's name of the architecture, its table, and what starts programs and processes.
_TABLES = {
    "x86_64": (0xC000003E, _X86_64, (57, 58, 59, 322), 56, 302),
    "aarch64": (0xC00000B7, _AARCH64, (221, 281), 220, 261),
}
_CLONE3 = 435


def make_filter(machine: str, *, may_start: bool) -> bytes:
    """Write the program for a machine, as struct sock_filter, 8 bytes each.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        may_start: Whether processes and programs may be started.
    """
    architecture, table, starts, clone, limit = _TABLES[machine]
    denied = sorted(
        {*table.values(), *_SAME.values()} | set(() if may_start else starts)
    )
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for number in denied:
        program += [_step(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    # The limits of other processes are none of its business: pid 0 is itself.
    program += [
        _step(_EQUAL, limit, 0, 4),
        _step(_LOAD, _FIRST),
        _step(_EQUAL, 0, 1, 0),
        _refuse(errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]
    if not may_start:
        # clone3 keeps its flags in memory, where a filter cannot look: libraries take
        # clone, whose first argument says whether a thread is wanted.
        program += [
            _step(_EQUAL, _CLONE3, 0, 1),
            _refuse(errno.ENOSYS),
            _step(_EQUAL, clone, 0, 3),
            _step(_LOAD, _FIRST),
            _step(_SET, _THREAD, 1, 0),
            _refuse(errno.EPERM),
        ]
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def filter_system_calls(*, may_start: bool) -> bool:
    """Put the filter on this thread and all that it starts; for ever.

    Must come before any other thread is started, and after no new privileges are
    taken (``limit_files``).

    Args:
        may_start: Whether processes and programs may be started: own code may.

    Returns:
        Whether the kernel has taken it; nothing is filtered otherwise.
    """
    machine = platform.machine()
    if machine not in _TABLES or struct.calcsize("P") != 8:
        return False
    content = make_filter(machine, may_start=may_start)
    steps = ctypes.create_string_buffer(content, len(content))

    class Program(ctypes.Structure):
        """struct sock_fprog."""

        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    program = Program(len(content) // 8, ctypes.addressof(steps))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)
    except (AttributeError, OSError):  # not Linux
        return False
    return int(done) == 0


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)
