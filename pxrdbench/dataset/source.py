"""Where batches come from: recipes, shards, tracks."""

from typing import Protocol, runtime_checkable

from pxrdbench.dataset.batch import Batch
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid


class EndOfSource(Exception):
    """A source without known length has come to its end.

    Attributes:
        length: Number of its samples, as is known now.
    """

    def __init__(self, length: int) -> None:
        super().__init__(f"the source has ended with {length} samples")
        self.length = length


@runtime_checkable
class BatchSource(Protocol):
    """Whatever hands out numbered samples: shards, a recipe, a part of a track.

    ``batch`` may be called from several threads at once, for any range, in any
    order; sample i is the same whichever range it comes in.

    A source may have more: ``take(numbers)`` gives samples by ascending numbers,
    ``with_epoch(epoch)`` the same crystals with other sizes and noise for another
    pass, ``block_samples`` and ``shard_starts`` say what it reads in one go, and
    ``run_samples`` what should stay together when samples are shuffled.
    """

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns."""

    @property
    def radiation(self) -> Radiation:
        """What the patterns are made with."""

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that may occur, ascending: the classes to learn."""

    @property
    def length(self) -> int | None:
        """Number of samples; None for a source without end."""

    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count.

        Raises:
            EndOfSource: If the length was not known and they lie beyond the end.
        """
