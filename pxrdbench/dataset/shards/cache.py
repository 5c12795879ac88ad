"""Shards of an object store on the local disk: fetched whole, kept while there is room.

A reader takes blocks in any order; a request for each would cost its latency every
time. A shard is fetched once and read locally; the shards that were not used for the
longest time give way to others. Several processes may share one cache folder.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pxrdbench.dataset.shards.manifest import ShardRecord
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.object_store import ObjectStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError, StoreError
from pxrdbench.files import PART_SUFFIX, part_path

# What shards of stores may take on the local disk, unless said otherwise [bytes].
CACHE_BYTES = 4_000_000_000
# A copy that another process deletes, or leaves cut short, is fetched so often.
_TRIES = 4
# A copy in progress that has not grown for so long has no writer any more [s].
_ABANDONED = 3600.0
# Shards that are fetched at a time.
_AT_ONCE = 8

_log = logging.getLogger(__name__)


class ShardCache:
    """Reads shards of a store; those of an object store from local copies.

    A copy that cannot be made, for want of room or rights, costs time and nothing else:
    the bytes are then read from the store. A copy that is not what its record says is
    thrown away and fetched again.

    Attributes:
        folder: Where the copies are; ``PXRDBENCH_CACHE`` names another place than the
            system's folder for temporary files.
        max_bytes: What they may take together. The shard being read is kept in any
            case.

    Args:
        store: Where the shards are. Those of a folder are read in place.
        folder: Where to keep copies.
        max_bytes: What they may take together; ``PXRDBENCH_CACHE_SIZE``, or 4 GB, if
            left away.
    """

    def __init__(
        self, store: Store, folder: Path | None = None, max_bytes: int | None = None
    ) -> None:
        # A process may change its folder while a set is open.
        self.folder = (folder or default_cache_folder()).absolute()
        self.max_bytes = max_bytes or default_cache_bytes()
        self._store = store
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._has_warned = False
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._coming: set[str] = set()

    @property
    def is_needed(self) -> bool:
        """Whether copies are made at all."""
        return not isinstance(self._store, LocalStore)

    def read(self, record: ShardRecord, start: int, stop: int) -> bytes:
        """Read bytes start to stop of a shard.

        Raises:
            FileNotFoundError: If the shard is not there.
            ShardError: If what was fetched is not what the record says.
            StoreError: If the store, or both store and cache, cannot be read now.
        """
        if isinstance(self._store, LocalStore):
            return self._store.read(f"{record.name}.tar", start, stop)
        path = self._path(record)
        for _ in range(_TRIES):
            try:
                data = _read(path, start, stop)
            except FileNotFoundError:
                if (error := self._try_fetch(record, path)) is not None:
                    return self._read_past(record, start, stop, error)
                continue
            except OSError as error:
                return self._read_past(record, start, stop, error)
            if len(data) == stop - start:
                return data
            path.unlink(missing_ok=True)  # cut short
        raise StoreError(
            f"{path} is cut short again and again: see who else writes to the cache "
            "(PXRDBENCH_CACHE names another place)"
        )

    def fetch_ahead(self, records: Iterable[ShardRecord]) -> None:
        """Begin to fetch shards that will be read soon, several at a time.

        What there is no room for beside as many that are being read is not fetched.
        What goes wrong is told to whoever reads the shard.
        """
        wanted = list(records)
        if sum(2 * record.bytes for record in wanted) > self.max_bytes:
            return
        for record in wanted:
            with self._lock:
                if record.name in self._coming or self._path(record).exists():
                    continue
                self._coming.add(record.name)
            # A process that ends waits for no shard that nobody will read.
            threading.Thread(
                target=self._come, args=(record,), name="pxrdbench-fetch", daemon=True
            ).start()

    def _come(self, record: ShardRecord) -> None:
        """Fetch a shard without a word."""
        try:
            with self._slots, contextlib.suppress(OSError, ShardError):
                self._try_fetch(record, self._path(record))
        finally:
            with self._lock:
                self._coming.discard(record.name)

    def forget(self, record: ShardRecord) -> None:
        """Delete the copy of a shard that is read no more."""
        with contextlib.suppress(OSError):
            self._path(record).unlink(missing_ok=True)

    def drop_damaged(self, record: ShardRecord) -> bool:
        """Throw a copy away that is not what its record says.

        Returns:
            Whether there was one; what the store holds may then be well.
        """
        path = self._path(record)
        if not self.is_needed or not path.exists():
            return False
        try:
            is_sound = _digest(path) == record.sha256
        except OSError:
            return False
        if is_sound:
            return False
        _log.warning("%s has changed on this disk; it is fetched again", path)
        path.unlink(missing_ok=True)
        return True

    def _path(self, record: ShardRecord) -> Path:
        return self.folder / f"{record.name}-{record.sha256[:32]}.tar"

    def _try_fetch(self, record: ShardRecord, path: Path) -> Exception | None:
        """Fetch a shard; gives why it did not come, where that is no damage."""
        with self._lock:
            lock = self._locks[record.name]
        with lock:  # threads of one process fetch a shard once
            if path.exists():
                return None
            try:
                self._fetch(record, path)
            except FileNotFoundError:
                raise
            except (OSError, StoreError) as error:
                return error
        return None

    def _read_past(
        self, record: ShardRecord, start: int, stop: int, why: Exception
    ) -> bytes:
        """Read from the store itself, once, since there is no copy."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%s: no copy of %s can be kept (%s); blocks are read one by one, which "
                "is slow. PXRDBENCH_CACHE names another place for copies",
                self.folder,
                record.name,
                why,
            )
        name = f"{record.name}.tar"
        try:
            if isinstance(self._store, ObjectStore):
                return self._store.read_once(name, start, stop)
            return self._store.read(name, start, stop)
        except StoreError:
            if isinstance(why, OSError):
                raise
            raise why from None

    def _fetch(self, record: ShardRecord, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = part_path(path)
        try:
            self._store.fetch(f"{record.name}.tar", part)
            if _digest(part) != record.sha256:
                raise ShardError(
                    f"{self._store.address(record.name)}.tar is not what its record "
                    "says; delete it and run the same `pxrdbench generate` again: it "
                    "comes back the same"
                )
            self._make_room(record.bytes)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Delete the copies that were not used for the longest time."""
        found = []
        for path in self.folder.glob(f"shard-*{PART_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink(missing_ok=True)  # its process was killed
        for path in self.folder.glob("shard-*.tar"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total + needed <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def _read(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        data = file.read(stop - start)
    with contextlib.suppress(OSError):
        os.utime(path)  # used last
    return data


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_cache_bytes() -> int:
    """What copies may take: ``PXRDBENCH_CACHE_SIZE`` in bytes, or 4 GB.

    Raises:
        StoreError: If that is no number.
    """
    chosen = os.environ.get("PXRDBENCH_CACHE_SIZE", "")
    if chosen and not chosen.isdecimal():
        raise StoreError(
            f"PXRDBENCH_CACHE_SIZE is {chosen!r}, no number of bytes as 20000000000"
        )
    return int(chosen or CACHE_BYTES)


def default_cache_folder() -> Path:
    """Where copies of shards are kept: ``PXRDBENCH_CACHE``, or a temporary folder."""
    chosen = os.environ.get("PXRDBENCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(tempfile.gettempdir()) / f"pxrdbench-cache-{os.getuid()}"
