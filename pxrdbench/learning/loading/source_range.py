"""A range of a source as a source of its own: how shards are held out."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError


class SourceRange:
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
        if hasattr(source, "take"):  # a range can what its source can, and no more
            self.take = self._take

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns."""
        return self.source.grid

    @property
    def radiation(self) -> Radiation:
        """What the patterns are made with."""
        return self.source.radiation

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that may occur in the other source."""
        return self.source.space_groups

    @property
    def block_samples(self) -> int:
        """Samples that the other source reads in one go."""
        return int(getattr(self.source, "block_samples", 1))

    @property
    def run_samples(self) -> int:
        """Samples that stay together when the other source's are shuffled."""
        return int(getattr(self.source, "run_samples", 1))

    @property
    def shard_starts(self) -> Int64[np.ndarray, " shards_and_one"] | None:
        """First sample of each shard and the end, where the other source has shards."""
        starts = getattr(self.source, "shard_starts", None)
        if starts is None:
            return None
        inside: np.ndarray = np.unique(np.clip(starts - self.start, 0, self.length))
        return inside

    @property
    def skipped(self) -> Mapping[str, int]:
        """Samples that the other source left out, by shard."""
        skipped: Mapping[str, int] = getattr(self.source, "skipped", {})
        return skipped

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.stop - self.start

    def with_epoch(self, epoch: int) -> "SourceRange":
        """The same range of another pass, where the other source knows passes."""
        redraw = getattr(self.source, "with_epoch", None)
        return (
            self
            if redraw is None
            else SourceRange(redraw(epoch), self.start, self.stop)
        )

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

    def _take(self, numbers: Int64[np.ndarray, " batch"]) -> Batch:
        """Make samples by their numbers, ascending."""
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < self.length:
            raise ModelError(
                f"samples {numbers[0]} to {numbers[-1]} of a range of {self.length}"
            )
        batch: Batch = self.source.take(numbers + self.start)  # type: ignore[attr-defined]  # only where it is there
        return batch
