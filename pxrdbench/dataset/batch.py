"""What a model learns from: a batch of patterns, and whatever can make one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from pxrdbench.crystal.structure import CrystalBatch
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
