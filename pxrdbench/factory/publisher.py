"""The driver's hand on a store: it names shards, lists them, and retires them.

Workers only bring files. Since one process alone writes records, and for leases that
stand, no shard is listed twice, whatever workers and nodes do.
"""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pxrdbench.dataset.shards.manifest import ShardRecord, ShardSpan
from pxrdbench.dataset.shards.rolling import acknowledgement_ending
from pxrdbench.dataset.shards.shard import ShardProgress, publish_shard
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import part_path


class Publisher:
    """Gives finished shards their names, writes their records, deletes read shards.

    Args:
        store: Where the shards lie.
        consumer: Name of the one whose acknowledgements delete shards; none if empty.
    """

    def __init__(self, store: Store, consumer: str = "") -> None:
        self._store = store
        self._consumer = consumer
        self._received: dict[int, tuple[Path, BinaryIO]] = {}

    def take(self, span: ShardSpan, progress: ShardProgress) -> None:
        """Take what a worker brings: a piece of a file, or news of a whole one.

        Raises:
            OSError: If it cannot be written.
            ShardError: If the worker wrote another shard than it was asked for.
        """
        if progress.data:
            self._receive(span, progress.data)
        record = progress.record
        if record is None:
            return
        if (record.index, record.first) != (span.index, span.first):
            raise ShardError(
                f"a worker was to write {span.name} and wrote {record.name}: its "
                "pxrdbench is of another version than that of the driver"
            )
        part = Path(progress.part) if progress.part else self._close(span)
        try:
            publish_shard(self._store, part, record)
        except OSError:
            # A tar without a record is nothing but in the way on a full disk.
            if part is not None:
                part.unlink(missing_ok=True)
                self._store.remove(f"{record.name}.tar")
            raise

    def drop(self, span: ShardSpan) -> None:
        """Throw away what came of a shard whose lease has ended."""
        if span.index in self._received:
            path, file = self._received.pop(span.index)
            with contextlib.suppress(OSError):  # what a full disk has left unwritten
                file.close()
            path.unlink(missing_ok=True)

    def retire(self) -> list[ShardRecord]:
        """Delete the shards that the consumer has acknowledged since last time.

        First the record says so, then the tar goes, then the acknowledgement: a crash
        in between leaves something that the next call finishes.

        Returns:
            The records of the shards deleted.
        """
        if not self._consumer:
            return []
        sizes = self._store.sizes()
        done = []
        for name in sorted(sizes):
            shard, _, ending = name.partition(".")
            if ending != acknowledgement_ending(self._consumer):
                continue
            if f"{shard}.json" in sizes:
                record = ShardRecord.from_json(
                    self._store.read(f"{shard}.json").decode(), name
                )
                if not record.retired:
                    # Offsets of a file that is gone are of no use to anybody.
                    retired = replace(
                        record, retired=True, block_offset=(), block_crc32=()
                    )
                    self._store.write(f"{shard}.json", retired.to_json().encode())
                self._store.remove(f"{shard}.tar")
                done.append(record)
            self._store.remove(name)
        return done

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
