"""Each drawn crystal with several crystallite sizes, one after the other.

The reference work's parkCNN learns from batches of 435 crystals with two sizes each,
its ResNets from one size a crystal.

References:
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: section 2.3.
"""

from dataclasses import dataclass

import numpy as np

from pxrdbench.crystal.structure import take_crystals
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.recipes.rendering import render_samples
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.errors import ModelError
from pxrdbench.frozen import freeze_arrays


@dataclass(frozen=True, eq=False)
class SeveralSizes(BatchSource):
    """Samples of a recipe, each with as many sizes: sample i is crystal i // n_sizes.

    Attributes:
        recipe: What draws the crystals.
        n_sizes: Sizes of each.
    """

    recipe: Recipe
    n_sizes: int

    length = None

    def __post_init__(self) -> None:
        if self.n_sizes < 1:
            raise ModelError(f"{self.n_sizes} sizes a crystal; there is at least one")
        for name in ("grid", "radiation", "space_groups"):
            object.__setattr__(self, name, getattr(self.recipe, name))
        freeze_arrays(self)

    def batch(self, start: int, count: int) -> Batch:
        """Make the patterns of samples start to start + count."""
        n, recipe = self.n_sizes, self.recipe
        numbers = np.arange(start, start + count, dtype=np.int64)
        first, last = start // n, (start + count - 1) // n
        drawn = recipe.draw(first, last - first + 1)
        card, kinds = recipe.card, len(drawn.crystals)
        is_mixed = card.measurement is not None and card.measurement.needs_pool
        intensity = np.empty((count, recipe.grid.points), np.float32)
        sizes, mask = np.empty(count), None
        for turn in range(n):
            of_turn = card.crystallite_sizes(first, kinds, epoch=turn)
            scans = render_samples(
                drawn.peaks,
                recipe.grid,
                Samples(card.seed, first + (turn << 50), kinds),
                of_turn,
                card.measurement,
                recipe.pool if is_mixed else None,
            )
            rows = numbers % n == turn
            taken = numbers[rows] // n - first
            intensity[rows], sizes[rows] = scans.intensity[taken], of_turn[taken]
            if scans.is_measured is not None:
                mask = np.ones(intensity.shape, bool) if mask is None else mask
                mask[rows] = scans.is_measured[taken]
        crystals = take_crystals(drawn.crystals, numbers // n - first)
        return Batch(
            intensity=intensity,
            space_group=crystals.space_group,
            crystallite_size_nm=sizes,
            index=numbers,
            crystals=crystals,
            mask=mask,
        )
