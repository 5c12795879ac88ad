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
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from pxrdbench.errors import ShardError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_HANDLES = {errno.EMFILE, errno.ENFILE}
_NO_MEMORY = {errno.ENOMEM}
# What a store's package may raise because of this machine: no repetition mends it soon.
_LOCAL = _FULL | _NO_HANDLES | _NO_MEMORY | {errno.EROFS}


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


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def is_local(error: BaseException) -> bool:
    """Whether an error is of this machine, not of a network or what is behind it."""
    return isinstance(error, OSError) and error.errno in _LOCAL


def find_remedy(error: OSError) -> str:
    """Say what to do about a failing disk, in a few words that follow the cause."""
    number = error.errno
    if number in _FULL:
        return "make room there"
    if number in _FORBIDDEN:
        return "have the permission given, or choose another place"
    if number in _NO_HANDLES:
        return "too many files are open: close some, or raise the limit (ulimit -n)"
    if number in _NO_MEMORY:
        return "give the machine memory, or ask for less at a time"
    if number in {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV}:
        return "see that it is there and its disk mounted"
    if number in {errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EPIPE}:
        return "check the network"
    return "see that its disk works"


def explain_read_error(location: str, error: OSError) -> StoreError:
    """Say in a sentence why something cannot be read; the data is not to blame."""
    why = error.strerror or str(error) or type(error).__name__
    return StoreError(
        f"{location} cannot be read now ({why}): {find_remedy(error)}. The shards are "
        "not to blame; the same call works again when this is mended"
    )


def explain_os_error(location: str, error: OSError) -> ShardError:
    """Say in a sentence why a folder cannot be written, and what to do."""
    why = error.strerror or str(error)
    if is_disk_full(error):
        remedy = "make room, or choose another --out"
    elif error.errno in _FORBIDDEN:
        remedy = "choose another --out, or have the permission to write given"
    elif error.errno in _NO_HANDLES | _NO_MEMORY:
        remedy = find_remedy(error)
    else:
        remedy = "see that the folder is there and its disk works"
    return StoreError(
        f"{location} cannot be written ({why}): {remedy}. Shards that are listed stay "
        "valid, and the same command goes on where this run stopped"
    )
