"""One worker of a factory: draws, simulates and packs, and hands the shard over.

A worker writes shards, but it lists none: a finished file goes to the driver, which
alone gives names and writes records, and only for leases that still stand. So a worker
that was taken for dead and comes back can spoil nothing. The file goes

    to a folder that driver and worker share    as a file in progress, by its path
    to an object store                          as the object, put whole
    to a folder that only the driver has        in pieces, with the progress
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import ShardSpan
from pxrdbench.dataset.shards.shard import ShardProgress, draw_block, write_shard
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store, is_disk_full

# A worker tells its progress this often [s]: a message costs a millisecond.
_TICK = 0.5
# Pieces in which a file is sent [bytes].
_PIECE = 4 * 1024 * 1024


class ShardWorker:
    """Writes one shard after another, in a process of its own.

    Args:
        recipe: What to write.
        store: Where to.
        block_samples: Samples of a block.
        probe: A file that the driver has put into its folder. Whoever does not see it
            has another disk.
    """

    def __init__(
        self, recipe: Recipe, store: Store, block_samples: int, probe: str = ""
    ) -> None:
        self._recipe = recipe
        self._store = store
        self._block_samples = block_samples
        self._stop = threading.Event()
        is_shared = isinstance(store, LocalStore) and (
            not probe or (store.folder / probe).exists()
        )
        self._is_sending = isinstance(store, LocalStore) and not is_shared
        if isinstance(store, LocalStore) and is_shared:
            self._folder = store.folder
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="pxrdbench-")
            self._folder = Path(self._temporary.name)

    def is_ready(self) -> bool:
        """Load kernels and tables, so that the clock starts when work does."""
        draw_block(self._recipe, 0, 1)
        return True

    def stop(self) -> None:
        """Give up the shard in progress; called from another thread."""
        self._stop.set()

    def write(
        self, span: ShardSpan, max_bytes: int, *, replaces: bool = True
    ) -> Iterator[ShardProgress]:
        """Write a shard; tell about it now and then, and in the end.

        Args:
            span: Which.
            max_bytes: How large it may become.
            replaces: Whether its record may stand there, and is deleted first.

        Yields:
            Samples and bytes so far; in the end the record, or why there is none.
        """
        last, progress = time.monotonic(), ShardProgress()
        try:
            for progress in self._write(span, max_bytes):
                if progress.record is not None:
                    yield from self._hand_over(
                        progress, progress.record.name, replaces=replaces
                    )
                    return
                if progress.stopped or time.monotonic() - last > _TICK:
                    last = time.monotonic()
                    yield progress
        except OSError as error:
            if not is_disk_full(error):
                raise
            yield replace(progress, stopped="disk")

    def _write(self, span: ShardSpan, max_bytes: int) -> Iterator[ShardProgress]:
        return write_shard(
            self._recipe,
            self._folder,
            span,
            block_samples=self._block_samples,
            max_bytes=max_bytes,
            should_stop=self._stop.is_set,
            publish=False,
        )

    def _hand_over(
        self, finished: ShardProgress, name: str, *, replaces: bool
    ) -> Iterator[ShardProgress]:
        """Bring a finished file to where it belongs."""
        part = Path(finished.part)
        if self._is_sending:
            with part.open("rb") as file:
                while data := file.read(_PIECE):
                    yield ShardProgress(finished.samples, finished.bytes, data=data)
            part.unlink()
            yield replace(finished, part="")
        elif isinstance(self._store, LocalStore):
            yield finished
        else:
            # A record never stands beside another tar than its own.
            if replaces:
                self._store.remove(f"{name}.json")
            self._store.adopt(part, f"{name}.tar")
            yield replace(finished, part="")
