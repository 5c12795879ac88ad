"""Several recipes that take turns: one network for clean and for measured patterns."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.measurement.measurement import Measurement, load_measurement
from pxrdbench.diffraction.measurement.scan_effects import PartialRange
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError

CLEAN = "clean"
_PARTIAL = "-partial"


def find_mixed_measurement(name: str) -> Measurement | None:
    """A measurement by name: a preset, ``clean``, or a preset and ``-partial``.

    ``laboratory-partial`` is ``laboratory`` on a range that begins at 5 to 20 and ends
    at 60 to 90 degrees.
    """
    if name == CLEAN:
        return None
    if name.endswith(_PARTIAL):
        whole = load_measurement(name.removesuffix(_PARTIAL))
        effects = (*whole.effects, PartialRange())
        return replace(whole, effects=effects, name=name)
    return load_measurement(name)


class MixedRecipes:
    """Blocks of samples of several recipes in turn, without end.

    Sample i belongs to block i // ``block`` and is sample i of that block's recipe, so
    no two recipes show the same crystal.

    Attributes:
        recipes: Of one prior, grid and radiation.
        block: Samples of a block: those of a batch.
    """

    def __init__(self, recipes: Sequence[Recipe], block: int) -> None:
        if not recipes:
            raise ModelError("a mixture needs at least one recipe")
        first = recipes[0]
        for other in recipes[1:]:
            same = (other.grid, other.radiation, other.space_groups)
            if same != (first.grid, first.radiation, first.space_groups):
                raise ModelError(
                    "recipes of a mixture share grid, radiation and space groups"
                )
        self.recipes = tuple(recipes)
        self.block = block

    @classmethod
    def from_names(
        cls, recipe: Recipe, names: Sequence[str], block: int
    ) -> "MixedRecipes":
        """Measure the samples of one recipe in several ways.

        Args:
            recipe: Of clean patterns.
            names: As for `find_mixed_measurement`.
            block: Samples of a batch.
        """
        card = recipe.card
        recipes = [
            Recipe(
                recipe.prior,
                card.seed,
                preset=card.preset,
                radiation=card.radiation,
                grid=card.grid,
                measurement=find_mixed_measurement(name),
                max_volume=card.max_volume,
                coordinates=card.coordinates,
                structure_type=card.structure_type,
            )
            for name in names
        ]
        return cls(recipes, block)

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns."""
        return self.recipes[0].grid

    @property
    def radiation(self) -> Radiation:
        """What the patterns are made with."""
        return self.recipes[0].radiation

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that may occur, ascending."""
        return self.recipes[0].space_groups

    @property
    def length(self) -> None:
        """A mixture has no end."""
        return

    @property
    def digest(self) -> str:
        """Name of the mixture: SHA-256 over those of its recipes and the block."""
        names = [recipe.digest for recipe in self.recipes]
        return hashlib.sha256(" ".join([*names, str(self.block)]).encode()).hexdigest()

    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count, all of one block.

        Raises:
            ModelError: If the range reaches into another block.
        """
        number, offset = divmod(start, self.block)
        if offset + count > self.block:
            raise ModelError(
                f"samples {start} to {start + count} are of two blocks of {self.block}"
            )
        return self.recipes[number % len(self.recipes)].batch(start, count)
