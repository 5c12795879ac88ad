"""Shards of an object store on the local disk: fetched whole, kept while there is room.

A reader takes blocks in any order; a request for each would cost its latency every
time. A shard is fetched once and read locally; the shards that were not used for the
longest time give way to others. Several processes may share one cache folder.
"""

import contextlib
import hashlib
import os
import tempfile
import threading
from pathlib import Path

from pxrdbench.dataset.shards.manifest import ShardRecord
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import part_path

# What shards of stores may take on the local disk, unless said otherwise [bytes].
CACHE_BYTES = 4_000_000_000


class ShardCache:
    """Reads shards of a store; those of an object store from local copies.

    Attributes:
        folder: Where the copies are; ``PXRDBENCH_CACHE`` names another place than the
            system's folder for temporary files.
        max_bytes: What they may take together. The shard being read is kept in any
            case.

    Args:
        store: Where the shards are. Those of a folder are read in place.
        folder: Where to keep copies.
        max_bytes: What they may take together.
    """

    def __init__(
        self, store: Store, folder: Path | None = None, max_bytes: int = CACHE_BYTES
    ) -> None:
        self.folder = folder or default_cache_folder()
        self.max_bytes = max_bytes
        self._store = store
        self._lock = threading.Lock()

    def read(self, record: ShardRecord, start: int, stop: int) -> bytes:
        """Read bytes start to stop of a shard.

        Raises:
            FileNotFoundError: If the shard is not there.
            ShardError: If what was fetched is not what the record says.
        """
        if isinstance(self._store, LocalStore):
            return self._store.read(f"{record.name}.tar", start, stop)
        path = self.folder / f"{record.name}-{record.sha256[:32]}.tar"
        while True:
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(start)
                    data = file.read(stop - start)
                with contextlib.suppress(OSError):
                    os.utime(path)  # used last
                return data
            except FileNotFoundError:
                self._fetch(record, path)

    def _fetch(self, record: ShardRecord, path: Path) -> None:
        with self._lock:  # threads of one process fetch a shard once
            if path.exists():
                return
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = part_path(path)
            try:
                self._store.fetch(f"{record.name}.tar", part)
                with part.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != record.sha256:
                    raise ShardError(
                        f"{self._store.address(record.name)}.tar is not what its "
                        "record says; delete it and run the same `pxrdbench generate` "
                        "again: it comes back the same"
                    )
                self._make_room(record.bytes)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Delete the copies that were not used for the longest time."""
        found = []
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


def default_cache_folder() -> Path:
    """Where copies of shards are kept: ``PXRDBENCH_CACHE``, or a temporary folder."""
    chosen = os.environ.get("PXRDBENCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(tempfile.gettempdir()) / f"pxrdbench-cache-{os.getuid()}"
