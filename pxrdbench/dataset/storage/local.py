"""A folder as a store."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import PART_SUFFIX, part_path, sync_folder, write_atomically

LOCK_FILE = ".lock"

# What readers of a set write into its folder, in progress; and how long that takes at
# most [s].
_OF_READERS = re.compile(r"(shard-\d+\..*\.ack|consumer-.*\.json)\.")
_READERS_TIME = 3600.0


class _Reserve:
    """A file handle of the process that is given up when all others are in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: int | None = None

    def keep(self) -> None:
        """Take the handle, if it is not held."""
        with self._lock, contextlib.suppress(OSError):
            if self._handle is None:
                self._handle = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give it up for a moment; one thread at a time."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    self._handle = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


_reserve = _Reserve()


def _read(path: Path, start: int, stop: int | None) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read() if stop is None else file.read(stop - start)


class LocalStore(Store):
    """A folder.

    Attributes:
        folder: Where it is: an absolute path.
    """

    def __init__(self, folder: str | Path) -> None:
        # A process may change its folder while a set is open.
        self.folder = Path(folder).absolute()
        self.location = str(folder)
        _reserve.keep()

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
        path = self.folder / name
        try:
            return _read(path, start, stop)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            # One handle is kept for this, so that a reader goes on where others leak.
            with _reserve.lent():
                return _read(path, start, stop)

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
        """Remove files in progress; nobody but readers may be writing.

        Those of readers, acknowledgements and meters, are spared for an hour: their
        writer may be about to rename them.
        """
        for path in self.folder.glob(f"*{PART_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                age = time.time() - path.stat().st_mtime
                if not _OF_READERS.match(path.name) or age > _READERS_TIME:
                    path.unlink(missing_ok=True)
