"""Where batches come from: recipes, shards, tracks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid

_NOTHING: Mapping[str, int] = MappingProxyType({})


class EndOfSource(Exception):
    """A source without known length has come to its end.

    Attributes:
        length: Number of its samples, as is known now.
    """

    def __init__(self, length: int) -> None:
        super().__init__(f"the source has ended with {length} samples")
        self.length = length


class BatchSource(ABC):
    """Whatever hands out numbered samples: shards, a recipe, a part of a track.

    ``batch`` may be called from several threads at once, for any range, in any
    order; sample i is the same whichever range it comes in. A source of one's own
    sets the first four attributes and writes ``batch``; the rest has defaults.

    Attributes:
        grid: Angles of the patterns.
        radiation: What the patterns are made with.
        space_groups: Space groups that may occur, ascending: the classes to learn.
        length: Number of samples; None for a source without end.
        block_samples: Samples that it reads in one go.
        run_samples: Samples that stay together when they are shuffled.
        shard_starts: First sample of each shard and the end; None for no shards.
        is_random_access: Whether ``take`` costs hardly more than ``batch``: samples
            are then mixed one by one.
        skipped: Samples left out so far because they are damaged, by shard.
        shards_at_once: Shards whose blocks a shuffling loader mixes.
    """

    grid: TwoThetaGrid
    radiation: Radiation
    space_groups: tuple[int, ...]
    length: int | None
    block_samples: int = 1
    run_samples: int = 1
    shard_starts: Int64[np.ndarray, " shards_and_one"] | None = None
    is_random_access: bool = False
    skipped: Mapping[str, int] = _NOTHING
    shards_at_once: int = 16

    @abstractmethod
    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count.

        Raises:
            EndOfSource: If the length was not known and they lie beyond the end.
        """

    def take(self, numbers: Int64[np.ndarray, " batch"]) -> Batch:
        """Make samples by their numbers, a range at a time.

        Args:
            numbers: At least one, ascending for most sources.
        """
        return Batch.join(
            [self.batch(int(run[0]), len(run)) for run in cut_runs(numbers)]
        )

    def wait_for(self, stop: int) -> None:  # noqa: B027 - most sources need nothing
        """Wait until all samples before a number can be read.

        Raises:
            EndOfSource: If the source ends before.
        """

    def expect(self, numbers: Int64[np.ndarray, " soon"]) -> None:  # noqa: B027 - most sources need nothing
        """Hear which samples are wanted soon, to begin to fetch them; waits not.

        Args:
            numbers: Samples in any order.
        """

    def identity(self) -> Mapping[str, str | int]:
        """What tells this source from another, for the state of a loader."""
        length = -1 if self.length is None else self.length
        return {"source": type(self).__name__, "length": length}

    def resumed(self, identity: Mapping[str, Any]) -> "BatchSource":
        """Give the source as it was when a state was saved, where it has only grown.

        Args:
            identity: What `identity` gave then.

        Returns:
            The source itself, if it cannot tell.
        """
        return self

    def with_epoch(self, epoch: int) -> "BatchSource":
        """Give the same crystals with other sizes and noise, for another pass.

        Args:
            epoch: Number of the pass; 0 is the one that ``batch`` gives.

        Returns:
            The source itself where passes do not differ.
        """
        return self


def cut_runs(
    numbers: Int64[np.ndarray, " batch"],
) -> list[Int64[np.ndarray, " run"]]:
    """Cut numbers into runs of consecutive ones.

    Example:
        >>> [run.tolist() for run in cut_runs(np.array([3, 4, 9]))]
        [[3, 4], [9]]
    """
    numbers = np.asarray(numbers)
    return np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
