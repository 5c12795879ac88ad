"""Files that appear whole or not at all.

A file is written under a name of its own beside its place, synchronised with the disk
and renamed: a reader sees the old one or the new one, also after a loss of power.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART_SUFFIX = ".part"


def part_path(path: Path) -> Path:
    """Name a file in progress; no two writers ever share one."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A name to write to in a ``with`` block; the file gets its own at the end.

    Folders above are made. What a block that raises has written is removed.

    Yields:
        A path beside the file's place, of a file that is not there yet.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write a file that is there whole or not at all; text as UTF-8."""
    with atomic_path(path) as part, part.open("xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
