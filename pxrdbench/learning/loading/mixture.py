"""Several recipes that take turns: one network for clean and for measured patterns."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.measurement.measurement import Measurement, load_measurement
from pxrdbench.diffraction.measurement.scan_effects import PartialRange
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


class MixedRecipes(BatchSource):
    """Blocks of samples of several recipes, or other sources, in turn.

    Sample i belongs to block i // ``block`` and is sample i of that block's source, so
    no two show the same crystal, where each source has its own at every number.

    Attributes:
        recipes: The sources; of one grid and radiation and with the same space groups.
        block: Samples of a block: best those of a batch.
    """

    def __init__(self, recipes: Sequence[BatchSource], block: int) -> None:
        if not recipes or block < 1:
            raise ModelError(
                f"a mixture of {len(recipes)} sources in blocks of {block}: it needs "
                "at least one of each"
            )
        first = recipes[0]
        for other in recipes[1:]:
            same = (other.grid, other.radiation, other.space_groups)
            if same != (first.grid, first.radiation, first.space_groups):
                raise ModelError(
                    "recipes of a mixture share grid, radiation and space groups"
                )
        self.recipes = tuple(recipes)
        self.block = block
        self.grid = first.grid
        self.radiation = first.radiation
        self.space_groups = first.space_groups
        ends = [source.length for source in recipes if source.length is not None]
        self.length = min(ends) if ends else None
        self.block_samples = max(source.block_samples for source in recipes)
        self.run_samples = max(source.run_samples for source in recipes)
        self.is_random_access = all(source.is_random_access for source in recipes)

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
        ways = [find_mixed_measurement(name) for name in names]
        return cls([recipe.replace(measurement=way) for way in ways], block)

    @property
    def digest(self) -> str:
        """Name of a mixture of recipes: SHA-256 over theirs and the block.

        Raises:
            ModelError: If it mixes other sources, which have no such name.
        """
        names = [s.digest for s in self.recipes if isinstance(s, Recipe)]
        if len(names) != len(self.recipes):
            raise ModelError("only mixtures of recipes have a digest")
        return hashlib.sha256(" ".join([*names, str(self.block)]).encode()).hexdigest()

    def identity(self) -> dict[str, str | int]:
        """What tells this mixture from another."""
        parts = [sorted(source.identity().items()) for source in self.recipes]
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        return {"source": "MixedRecipes", "recipes": digest, "block": self.block}

    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count, of as many blocks as that takes."""
        return self.take(np.arange(start, start + count))

    def take(self, numbers: Int64[np.ndarray, " batch"]) -> Batch:
        """Make samples by their numbers, ascending."""
        blocks = np.asarray(numbers) // self.block
        cuts = np.flatnonzero(np.diff(blocks)) + 1
        return Batch.join(
            [
                self.recipes[int(some[0]) // self.block % len(self.recipes)].take(some)
                for some in np.split(np.asarray(numbers), cuts)
            ]
        )

    def with_epoch(self, epoch: int) -> "MixedRecipes":
        """The same mixture in another pass, of sources that know passes."""
        others = [source.with_epoch(epoch) for source in self.recipes]
        return MixedRecipes(others, self.block)
