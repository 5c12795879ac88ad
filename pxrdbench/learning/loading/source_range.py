"""A range of a source as a source of its own: how shards are held out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.errors import ModelError


class SourceRange(BatchSource):
    """Samples start to stop of another source, counted from zero.

    Attributes:
        source: The other source.
        start: Its first sample that belongs to this one.
        stop: The first that no longer does.
    """

    def __init__(self, source: BatchSource, start: int, stop: int) -> None:
        if not 0 <= start < stop or (
            source.length is not None and stop > source.length
        ):
            raise ModelError(
                f"samples {start} to {stop} of a source of {source.length}"
            )
        self.source = source
        self.start = start
        self.stop = stop
        self.grid = source.grid
        self.radiation = source.radiation
        self.space_groups = source.space_groups
        self.length: int = stop - start
        # A range can what its source can, and no more.
        self.block_samples = source.block_samples
        self.run_samples = source.run_samples
        self.is_random_access = source.is_random_access
        self.skipped = source.skipped
        self.shards_at_once = source.shards_at_once
        if source.shard_starts is not None:
            inside = np.clip(source.shard_starts - start, 0, self.length)
            self.shard_starts = np.unique(inside)

    def with_epoch(self, epoch: int) -> "SourceRange":
        """The same range of another pass, where the other source knows passes."""
        other = self.source.with_epoch(epoch)
        if other is self.source:
            return self
        return SourceRange(other, self.start, self.stop)

    def expect(self, numbers: Int64[np.ndarray, " soon"]) -> None:
        """Tell the other source which samples are wanted soon."""
        self.source.expect(numbers + self.start)

    def identity(self) -> dict[str, str | int]:
        """What tells this range from another."""
        bounds = {"start": self.start, "stop": self.stop}
        return {**self.source.identity(), **bounds}

    def resumed(self, identity: Mapping[str, Any]) -> "SourceRange":
        """The same range of a source that has only grown."""
        other = self.source.resumed(identity)
        stop = int(identity.get("stop", self.stop))
        if other is self.source and stop == self.stop:
            return self
        return SourceRange(other, self.start, stop)

    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count.

        Raises:
            ModelError: If the range ends before.
        """
        if not 0 <= start < start + count <= self.length:
            raise ModelError(
                f"samples {start} to {start + count} of a range of {self.length}"
            )
        return self.source.batch(self.start + start, count)

    def take(self, numbers: Int64[np.ndarray, " batch"]) -> Batch:
        """Make samples by their numbers, ascending."""
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < self.length:
            raise ModelError(
                f"samples {numbers[0]} to {numbers[-1]} of a range of {self.length}"
            )
        return self.source.take(numbers + self.start)
