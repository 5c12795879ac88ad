"""Sizes as people write them, and what a machine has."""

import os
import re

from pxrdbench.errors import ShardError

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def count_processors() -> int:
    """Processors that this process may use, which Slurm or taskset can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_size(text: str) -> int:
    """Turn ``20GB``, ``500 MB`` or ``1.5GiB`` into bytes.

    Raises:
        ShardError: If it is no size.

    Example:
        >>> parse_size("20GB"), parse_size("1.5 KiB")
        (20000000000, 1536)
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kKmMgGtT]?i?)[bB]?\s*", text)
    unit = match and match[2].upper().replace("K", "k").replace("I", "i")
    if match is None or unit not in _UNITS:
        raise ShardError(f"{text!r} is no size; write 20GB, 500MB or 1.5GiB")
    return int(float(match[1]) * _UNITS[unit])


def format_size(size: int | float) -> str:
    """Write a number of bytes for people.

    Example:
        >>> format_size(62_345_678), format_size(999)
        ('62.3 MB', '999 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
