"""A set that grows while it is read, without a consumer that deletes what was read.

The first pass is the set as it comes: every sample once, in the order of the recipe, as
soon as its shard is there. It ends with the set; further passes, where they are wanted,
are over the whole set, each in an order of its own, as those of any set of shards. A
sample is given at most once a pass.
"""

import threading
from functools import lru_cache

import numpy as np

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import BatchSource, EndOfSource
from pxrdbench.dataset.storage.store import Store
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.errors import ShardError
from pxrdbench.learning.loading.order import PassOrder


class GrowingSet(BatchSource):
    """A set that is still written, as a first pass without known end, and more.

    Attributes:
        first_pass: Samples of the first pass; None while it is not known where it ends.
        following: The first pass.

    Args:
        store: Where the set is.
        seed: Of the order of later passes, and
        buffer: about how many samples are mixed there one by one.
        measurement: What instrument and sample add when patterns are rendered.
        first_pass: Samples of the first pass, where it has ended already.
        is_repeated: Whether further passes follow; else the source ends with the set.
        patience: How long to wait for a shard that nobody seems to write [s].
    """

    length = None

    def __init__(
        self,
        store: Store,
        *,
        seed: int,
        buffer: int,
        measurement: Measurement | str | None = None,
        first_pass: int | None = None,
        is_repeated: bool = False,
        patience: float = 300.0,
    ) -> None:
        self.following = RollingSet(store, measurement=measurement, patience=patience)
        self.first_pass = first_pass
        self.grid = self.following.grid
        self.radiation = self.following.radiation
        self.space_groups = self.following.space_groups
        self.block_samples = self.following.block_samples
        self._measurement = measurement
        self._seed, self._buffer = seed, buffer
        self._is_repeated = is_repeated
        self._lock = threading.Lock()
        self._shards: ShardSet | None = None
        self._order = lru_cache(maxsize=2)(self._make_order)

    def identity(self) -> dict[str, str | int]:
        """What tells this set from another; how far it is written does not."""
        return {**self.following.identity(), "source": "GrowingSet"}

    def batch(self, start: int, count: int) -> Batch:
        """Make samples at positions start to start + count of the passes.

        Raises:
            EndOfSource: If the set has come to its end, and no further pass follows.
            ShardError: If shards do not come, or are damaged.
        """
        ends = self.first_pass
        if ends is None or start + count <= ends:
            try:
                return self.following.batch(start, count)
            except EndOfSource as end:
                self.end_first_pass(end.length)
                ends = end.length
                if not self._is_repeated:
                    raise
        elif not self._is_repeated:
            raise EndOfSource(ends)
        pieces = []
        stop = start + count
        while start < stop:
            epoch, first = divmod(start, ends)
            last = min(ends, first + stop - start)
            if epoch:
                numbers = self._order(epoch).numbers(first, last)
                source = self._whole().with_epoch(epoch)
                pieces.append(source.take(np.sort(numbers)))
            else:
                pieces.append(self.following.batch(first, last - first))
            start += last - first
        return Batch.join(pieces)

    def wait_for(self, stop: int) -> None:
        """Wait until all positions before a number can be read, as `batch` does."""
        if self.first_pass is not None and self._is_repeated:
            return
        try:
            self.following.wait_for(stop)
        except EndOfSource as end:
            self.end_first_pass(end.length)
            if not self._is_repeated:
                raise

    def end_first_pass(self, samples: int) -> None:
        """Say where the set ends, so far as this run is concerned.

        Raises:
            ShardError: If it holds nothing.
        """
        if samples < 1:
            raise ShardError(
                f"{self.following.store.location} has ended without samples"
            )
        with self._lock:
            self.first_pass = self.first_pass or samples

    def close(self) -> None:
        """Wait for nothing any more."""
        self.following.close()

    def _whole(self) -> ShardSet:
        """The set as it was when its first pass ended; opened when first needed."""
        with self._lock:
            if self._shards is None:
                store = self.following.store
                self._shards = ShardSet(store, measurement=self._measurement)
            return self._shards

    def _make_order(self, epoch: int) -> PassOrder:
        shards, ends = self._whole(), self.first_pass or 0
        if shards.length < ends:
            raise ShardError(
                f"{shards.location} held {ends:,} samples and now holds "
                f"{shards.length:,}: shards have been deleted; run the same `pxrdbench "
                "generate` again, it brings them back"
            )
        starts = np.unique(np.clip(np.asarray(shards.shard_starts), 0, ends))
        return PassOrder(
            ends,
            self._seed,
            epoch,
            block=shards.block_samples,
            shard_starts=starts,
            buffer=self._buffer,
            run=shards.run_samples,
        )
