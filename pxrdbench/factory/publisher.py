"""The driver's hand on a store: it names shards, lists them, and retires them.

Workers only bring files. Since one process alone writes records, and for leases that
stand, no shard is listed twice, whatever workers and nodes do.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from pxrdbench.dataset.shards.manifest import (
    Manifest,
    ShardRecord,
    ShardSpan,
    write_retired,
)
from pxrdbench.dataset.shards.rolling import (
    acknowledgement_ending,
    parse_consumers,
)
from pxrdbench.dataset.shards.shard import ShardProgress, publish_shard
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import part_path

# Requests to an object store at a time: at 100 ms each they list 250 shards a second.
AT_ONCE = 32
# Records of so many shards in a row that are gone become one line.
_COMPACTED = 256

T = TypeVar("T")


class Publisher:
    """Gives finished shards their names, writes their records, deletes read shards.

    A folder is written at once. Requests to an object store are made beside the
    driver's loop, many at a time: one after the other, each would cost its latency.

    Args:
        store: Where the shards lie.
        consumers: Names of those whose acknowledgements delete shards, with commas;
            none if empty.
    """

    def __init__(self, store: Store, consumers: str = "") -> None:
        self._store = store
        self._consumers = parse_consumers(consumers) if consumers else ()
        self._received: dict[int, tuple[Path, BinaryIO]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._retirer: ThreadPoolExecutor | None = None
        if not isinstance(store, LocalStore):
            self._pool = ThreadPoolExecutor(AT_ONCE, "pxrdbench-put")
            self._retirer = ThreadPoolExecutor(1, "pxrdbench-retire")
        self._listing: dict[int, tuple[ShardRecord, Future[None]]] = {}
        self._retiring: Future[list[ShardRecord]] | None = None
        self._recipe, self._shard_samples, self._below = "", 0, 0
        self._retired: set[int] = set()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._pool, self._retirer):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def learn(self, manifest: Manifest) -> None:
        """Learn which shards were retired before, so that their records become one."""
        self._recipe = manifest.card.digest
        self._shard_samples = manifest.shard_samples
        self._below = manifest.retired_below
        self._retired = {
            r.index for r in manifest.retired if r.samples == self._shard_samples
        }

    def take(self, span: ShardSpan, progress: ShardProgress) -> bool:
        """Take what a worker brings: a piece of a file, or news of a whole one.

        Returns:
            Whether that is all; else `listed` tells when the shard is listed.

        Raises:
            OSError: If it cannot be written.
            ShardError: If the worker wrote another shard than it was asked for.
        """
        if progress.data:
            self._receive(span, progress.data)
        record = progress.record
        if record is None:
            return True
        if (record.index, record.first) != (span.index, span.first):
            raise ShardError(
                f"a worker was to write {span.name} and wrote {record.name}: its "
                "pxrdbench is of another version than that of the driver"
            )
        if self._pool is not None:
            future = self._pool.submit(publish_shard, self._store, None, record)
            self._listing[record.index] = record, future
            return False
        part = Path(progress.part) if progress.part else self._close(span)
        try:
            publish_shard(self._store, part, record)
        except OSError:
            # A tar without a record is nothing but in the way on a full disk.
            if part is not None:
                part.unlink(missing_ok=True)
                self._store.remove(f"{record.name}.tar")
            raise
        return True

    @property
    def is_listing(self) -> bool:
        """Whether records are on their way."""
        return bool(self._listing)

    def listed(self) -> list[ShardRecord]:
        """Records that have arrived since last asked.

        Raises:
            ShardError: If one could not be written.
        """
        done = [record for record, future in self._listing.values() if future.done()]
        for record in done:
            self._listing.pop(record.index)[1].result()
        return done

    def drop(self, span: ShardSpan) -> None:
        """Throw away what came of a shard whose lease has ended."""
        if span.index in self._received:
            path, file = self._received.pop(span.index)
            with contextlib.suppress(OSError):  # what a full disk has left unwritten
                file.close()
            path.unlink(missing_ok=True)

    def retire_beside(self, *, is_due: bool) -> list[ShardRecord]:
        """As `retire`, without keeping the caller waiting for a distant store.

        Args:
            is_due: Whether to look for acknowledgements again.

        Returns:
            The records of shards whose deletion has ended.
        """
        if self._retirer is None:
            return self.retire() if is_due else []
        done: list[ShardRecord] = []
        if self._retiring is not None and self._retiring.done():
            done, self._retiring = self._retiring.result(), None
        if is_due and self._retiring is None:
            self._retiring = self._retirer.submit(self.retire)
        return done

    def retire(self) -> list[ShardRecord]:
        """Delete the shards that all consumers have acknowledged since last time.

        First the record says so, then the tar goes, then the acknowledgements: a crash
        in between leaves something that the next call finishes.

        Returns:
            The records of the shards deleted.
        """
        if not self._consumers:
            return []
        sizes = self._store.sizes()
        asked: dict[str, list[str]] = {}
        for consumer in self._consumers:
            ending = f".{acknowledgement_ending(consumer)}"
            for name in sizes:
                if name.endswith(ending):
                    asked.setdefault(name.removesuffix(ending), []).append(name)
        found = self._each(
            lambda shard: self._retire_one(shard, asked[shard], sizes), sorted(asked)
        )
        done = [record for record in found if record is not None]
        self._retired |= {r.index for r in done if r.samples == self._shard_samples}
        self._compact()
        return done

    def _retire_one(
        self, shard: str, acknowledged: list[str], sizes: Mapping[str, int]
    ) -> ShardRecord | None:
        """Delete a shard for which there are these acknowledgements, if it may go."""
        record, name = None, f"{shard}.json"
        is_read = len(acknowledged) == len(self._consumers)
        if name in sizes and (is_read or f"{shard}.tar" not in sizes):
            record = ShardRecord.from_json(self._store.read(name).decode(), name)
        # One that is gone may be acknowledged again, by whoever reads it once more.
        if not is_read and name in sizes and (record is None or not record.retired):
            return None
        if record is not None:
            if not record.retired:
                # Offsets of a file that is gone are of no use to anybody.
                retired = replace(record, retired=True, block_offset=(), block_crc32=())
                self._store.write(name, retired.to_json().encode())
            if f"{shard}.tar" in sizes:
                self._store.remove(f"{shard}.tar")
        for each in acknowledged:
            self._store.remove(each)
        was_gone = record is not None and record.retired and f"{shard}.tar" not in sizes
        return None if was_gone else record

    def _compact(self) -> None:
        """Put one line in place of the records of shards that are gone."""
        below = self._below
        while below in self._retired:
            below += 1
        if below - self._below < _COMPACTED:
            return
        write_retired(self._store, self._recipe, below)
        gone = range(self._below, below)
        self._below = below
        self._retired -= set(gone)
        names = [f"{ShardSpan.of(index, 1).name}.json" for index in gone]
        self._each(self._store.remove, names)

    def _each(self, action: Callable[[str], T], names: list[str]) -> list[T]:
        """Do something with each name, many at a time where that saves time."""
        if self._pool is None:
            return [action(name) for name in names]
        return list(self._pool.map(action, names))

    def _receive(self, span: ShardSpan, data: bytes) -> None:
        if span.index not in self._received:
            if not isinstance(self._store, LocalStore):
                raise ShardError(f"{self._store.location} takes no pieces of files")
            path = part_path(self._store.folder / f"{span.name}.tar")
            self._received[span.index] = path, path.open("xb")
        self._received[span.index][1].write(data)

    def _close(self, span: ShardSpan) -> Path | None:
        if span.index not in self._received:
            return None
        path, file = self._received.pop(span.index)
        with file:
            file.flush()
            os.fsync(file.fileno())
        return path
