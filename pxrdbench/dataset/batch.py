"""What a model learns from: a batch of patterns, and whatever can make one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from pxrdbench.crystal.structure import CrystalBatch, join_crystals
from pxrdbench.frozen import freeze_arrays


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
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.space_group)

    @classmethod
    def join(cls, batches: Sequence["Batch"]) -> "Batch":
        """Make one batch of several of one grid; a single one is not copied.

        Names and crystals are kept if all have them. Where only some have masks, the
        others were measured everywhere.
        """
        if len(batches) == 1:
            return batches[0]
        crystals = [b.crystals for b in batches if b.crystals is not None]
        ids = [b.ids for b in batches if b.ids is not None]
        masks = None
        if any(b.mask is not None for b in batches):
            masks = np.concatenate(
                [
                    np.ones(b.intensity.shape, np.bool_) if b.mask is None else b.mask
                    for b in batches
                ]
            )
        return cls(
            intensity=np.concatenate([b.intensity for b in batches]),
            space_group=np.concatenate([b.space_group for b in batches]),
            crystallite_size_nm=np.concatenate(
                [b.crystallite_size_nm for b in batches]
            ),
            index=np.concatenate([b.index for b in batches]),
            ids=tuple(chain(*ids)) if len(ids) == len(batches) else None,
            crystals=(
                join_crystals(crystals) if len(crystals) == len(batches) else None
            ),
            mask=masks,
        )
