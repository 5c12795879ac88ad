"""Where shards lie: a local folder, or any object store that fsspec opens.

A store is flat: names and whole objects. An object appears whole or not at all, in a
folder by a rename after its contents have reached the disk, in an object store because
a put is one. Readers and writers know nothing else of where they are.

    open_store("shards/open-v0")            a folder, also one that machines share
    open_store("s3://bucket/prefix")        needs s3fs; credentials and endpoint as
                                            for every other program (AWS_* variables,
                                            fsspec's configuration)
"""

import errno
import fcntl
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pxrdbench.errors import ShardError

LOCK_FILE = ".lock"
PART_SUFFIX = ".part"
# Requests to an object store that fail are repeated for so long [s].
PATIENCE = 120.0

_URL = re.compile(r"^[a-z][a-z0-9+.-]+://")
# A URL that went through pathlib, which takes the second slash for an empty name.
_FLATTENED_URL = re.compile(r"^([a-z][a-z0-9+.-]+):/(?=[^/])")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store(ABC):
    """Named objects, each whole or not there.

    Attributes:
        location: The folder or URL, as messages name it.
    """

    location: str

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Every object's name and size [bytes]; empty if there is nothing yet."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object, or bytes start to stop of it.

        Raises:
            FileNotFoundError: If there is none of that name.
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write an object; one of the same name gives way to it in one step."""

    @abstractmethod
    def adopt(self, part: Path, name: str) -> None:
        """Make a finished local file an object; the file is gone afterwards."""

    @abstractmethod
    def fetch(self, name: str, path: Path) -> None:
        """Copy an object into a local file.

        Raises:
            FileNotFoundError: If there is none of that name.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that objects can be written."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out for the length of a ``with`` block.

        Raises:
            ShardError: If another run has it.
        """

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Read several objects; those that vanish meanwhile are left out."""
        found = {}
        for name in names:
            try:
                found[name] = self.read(name)
            except FileNotFoundError:
                continue
        return found

    def free_bytes(self) -> int | None:
        """Room left; None where nobody knows."""
        return None

    @abstractmethod
    def sweep(self) -> None:
        """Remove what interrupted writers left; nobody else may be writing."""

    def address(self, name: str) -> str:
        """Name an object for people."""
        return f"{self.location.rstrip('/')}/{name}"


class LocalStore(Store):
    """A folder.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.location = str(folder)

    def sizes(self) -> dict[str, int]:
        """Every file's name and size [bytes]; empty if there is no such folder."""
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    try:
                        if entry.is_file():
                            found[entry.name] = entry.stat().st_size
                    except FileNotFoundError:  # renamed or removed meanwhile
                        continue
        except FileNotFoundError:
            return {}
        return found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file, or bytes start to stop of it."""
        with (self.folder / name).open("rb", buffering=0) as file:
            file.seek(start)
            return file.read() if stop is None else file.read(stop - start)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is there whole or not at all."""
        write_atomically(self.folder / name, data)

    def adopt(self, part: Path, name: str) -> None:
        """Rename a file into place; its contents are already on the disk."""
        part.replace(self.folder / name)
        sync_folder(self.folder)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file."""
        shutil.copyfile(self.folder / name, path)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the folder, and see that files can be made in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = part_path(self.folder / "probe")
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room on the disk [bytes]."""
        return shutil.disk_usage(self.folder).free

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder; the lock ends with the process.

        Raises:
            ShardError: If another run has it.
        """
        with (self.folder / LOCK_FILE).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ShardError(
                    f"another run writes to {self.folder}; wait for it, or choose "
                    "another folder"
                ) from None
            yield

    def sweep(self) -> None:
        """Remove files in progress; nobody else may be writing."""
        for path in self.folder.glob(f"*{PART_SUFFIX}"):
            path.unlink(missing_ok=True)


def open_store(location: "str | Path | Store", *, patience: float = PATIENCE) -> Store:
    """Find out what a location is; nothing is read yet.

    Args:
        location: A folder, or a URL such as ``s3://bucket/prefix``.
        patience: How long failing requests to an object store are repeated [s].
    """
    if isinstance(location, Store):
        return location
    text = _FLATTENED_URL.sub(r"\1://", str(location))
    if text.startswith("file://"):
        return LocalStore(text.removeprefix("file://"))
    if not _URL.match(text):
        return LocalStore(location)
    # fsspec is of no use to whoever has a folder.
    from pxrdbench.dataset.object_store import ObjectStore

    return ObjectStore(text, patience)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def explain_os_error(location: str, error: OSError) -> ShardError:
    """Say in a sentence why a folder cannot be written, and what to do."""
    why = error.strerror or str(error)
    if is_disk_full(error):
        remedy = "make room, or choose another --out"
    elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        remedy = "choose another --out, or have the permission to write given"
    else:
        remedy = "see that the folder is there and its disk works"
    return ShardError(
        f"{location} cannot be written ({why}): {remedy}. Shards that are listed stay "
        "valid, and the same command goes on where this run stopped"
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, even if the power fails."""
    part = part_path(path)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


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
