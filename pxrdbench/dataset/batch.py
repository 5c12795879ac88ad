"""What a model learns from: a batch of patterns, and whatever can make one."""

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid


@dataclass(frozen=True, eq=False)
class Batch:
    """Patterns and what is known of the crystals behind them.

    Attributes:
        intensity: One pattern a row, scaled to a maximum of one.
        space_group: Number in the International Tables, 1-230.
        crystallite_size_nm: Size that broadened each pattern [nm]; infinite where a
            measurement drew the whole width.
        index: Number of each sample in its source.
        ids: Names of the samples, where they are real crystals.
        crystals: The crystals themselves, where the source knows them.
        mask: Points that were measured; the others are zero. None if all were.
    """

    intensity: Float32[np.ndarray, "batch points"]
    space_group: Int16[np.ndarray, " batch"]
    crystallite_size_nm: Float64[np.ndarray, " batch"]
    index: Int64[np.ndarray, " batch"]
    ids: tuple[str, ...] | None = None
    crystals: CrystalBatch | None = None
    mask: Bool[np.ndarray, "batch points"] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.space_group)


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
