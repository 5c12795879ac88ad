"""Stored samples into patterns, as their recipe says or with other effects."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.recipes.rendering import epoch_seed, render_samples
from pxrdbench.dataset.shards.packing import unpack_peaks
from pxrdbench.dataset.shards.shard import Block
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import (
    Measurement,
    Scans,
    load_measurement,
)
from pxrdbench.errors import PatternError, ShardError


class BlockRenderer:
    """Renders stored samples; what a set, a stream and an export share.

    Attributes:
        card: The recipe of the peaks.
        measurement: What instrument and sample add; None for nothing.
    """

    def __init__(
        self,
        card: RecipeCard,
        measurement: Measurement | str | None = None,
        make_recipe: Callable[[], Recipe] | None = None,
    ) -> None:
        """Choose how patterns are made.

        Args:
            card: The recipe of the peaks.
            measurement: What to add instead of what the recipe says;
                ``Measurement()`` adds nothing.
            make_recipe: Makes the recipe with its prior; only asked where a
                measurement adds impurities.

        Raises:
            RecipeError: If an effect acts when peaks are drawn and these were drawn
                without it.
        """
        if isinstance(measurement, str):
            measurement = load_measurement(measurement)
        self.card = card
        self._look = card
        if measurement is not None:
            self._look = card.with_measurement(measurement)
        self.measurement = self._look.measurement
        self._pool = None
        if self.measurement is not None and self.measurement.needs_pool:
            recipe = make_recipe() if make_recipe else Recipe.from_card(card)
            self._pool = recipe.pool

    def batch(self, block: Block, epoch: int = 0) -> Batch:
        """Make the patterns of samples in any order.

        Args:
            block: The samples; consecutive ones cost least.
            epoch: 0 renders with the sizes stored and the effects of the recipe, any
                other with sizes and effects drawn anew.

        Raises:
            ShardError: If a sample cannot be rendered; it names the sample.
        """
        sizes = self.sizes(block, epoch)
        if self.measurement is None:  # neighbours in a batch need not be consecutive
            scans = [self._render(block, sizes, epoch)]
        else:
            scans = [
                self._render(block.rows(first, stop), sizes[first:stop], epoch)
                for first, stop in _runs(block.index)
            ]
        masks = [s.is_measured for s in scans if s.is_measured is not None]
        return Batch(
            intensity=_join([s.intensity for s in scans]),
            space_group=block.space_group,
            crystallite_size_nm=sizes,
            index=block.index,
            mask=_join(masks) if masks else None,
        )

    def sizes(self, block: Block, epoch: int = 0) -> np.ndarray:
        """Crystallite sizes of samples in one pass over them [nm]."""
        look = self._look
        if not epoch and look.crystallite_size_nm == self.card.crystallite_size_nm:
            return block.crystallite_size_nm
        return _join(
            [
                look.crystallite_sizes(int(block.index[first]), stop - first, epoch)
                for first, stop in _runs(block.index)
            ]
        )

    def _render(self, block: Block, sizes: np.ndarray, epoch: int) -> Scans:
        start = int(block.index[0])
        seed = epoch_seed(self.card.seed, epoch)
        try:
            return render_samples(
                unpack_peaks(block.peaks),
                self.card.grid,
                Samples(seed, start, len(block)),
                sizes,
                self.measurement,
                self._pool,
            )
        except PatternError as error:
            sample = block.index[error.index or 0]
            raise ShardError(f"sample {sample} cannot be rendered: {error}") from error


def describe_measurement(measurement: Measurement | None) -> str:
    """Tell measurements apart: a digest, or nothing for none."""
    if measurement is None:
        return ""
    text = json.dumps(measurement.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def empty_batch(card: RecipeCard) -> Batch:
    """A batch without samples."""
    return Batch(
        intensity=np.zeros((0, card.grid.points), np.float32),
        space_group=np.zeros(0, np.int16),
        crystallite_size_nm=np.zeros(0),
        index=np.zeros(0, np.int64),
    )


def take_rows(block: Block, rows: np.ndarray) -> Block:
    """Take samples of a block by their rows, in any order."""
    counts = block.peaks["peak_count"].astype(np.int64)
    starts = np.cumsum(counts) - counts
    wanted = counts[rows]
    source = np.repeat(starts[rows] - (np.cumsum(wanted) - wanted), wanted)
    source += np.arange(len(source))
    return Block(
        block.index[rows],
        block.space_group[rows],
        block.crystallite_size_nm[rows],
        {
            "two_theta": block.peaks["two_theta"][source],
            "intensity": block.peaks["intensity"][source],
            "peak_count": block.peaks["peak_count"][rows],
            "wavelength": block.peaks["wavelength"],
        },
    )


def _runs(index: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows of consecutive samples: first, and one after the last."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    yield from pairwise([0, *breaks.tolist(), len(index)])


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put arrays behind each other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
