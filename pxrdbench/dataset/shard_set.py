"""Shards as a source of batches: read in blocks, rendered on loading."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from pxrdbench.crystal.prior import Prior
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.manifest import Manifest, ShardRecord
from pxrdbench.dataset.packing import unpack_peaks
from pxrdbench.dataset.recipe import Recipe
from pxrdbench.dataset.recipe_card import RecipeCard
from pxrdbench.dataset.rendering import epoch_seed, render_samples
from pxrdbench.dataset.shard import Block, read_block
from pxrdbench.diffraction.effect import Samples
from pxrdbench.diffraction.measurement import Measurement, Scans, load_measurement
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.errors import PatternError, ShardError

# Blocks kept in memory, a third of a megabyte each: a loader reads in order, some
# threads at a time.
_CACHED_BLOCKS = 16


class ShardSet:
    """A folder of shards as numbered samples, finished shards only.

    Sample numbers count what is there, in the order of the recipe, without gaps;
    ``Batch.index`` holds the number within the recipe. Reads are safe from several
    threads and after a fork: no file stays open.

    Attributes:
        folder: Where the shards are.
        manifest: What the folder held when the set was opened.
        epoch: Pass over the samples: 0 renders with the crystallite sizes stored and
            the effects of the recipe, any other with sizes and effects drawn anew.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        epoch: int = 0,
        measurement: Measurement | str | None = None,
        prior: str | Path | Prior | None = None,
    ) -> None:
        """Open a folder of shards.

        Args:
            folder: Where the shards are.
            epoch: Pass over the samples.
            measurement: What instrument and sample add when patterns are rendered,
                instead of what the recipe says; ``Measurement()`` adds nothing.
            prior: Where the recipe's prior is, if it is no embedded one; only asked
                for where a measurement adds impurities.

        Raises:
            ShardError: If the folder holds no data set.
            RecipeError: If an effect of the measurement acts when peaks are drawn and
                the stored peaks were drawn without it.
        """
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.epoch = epoch
        if isinstance(measurement, str):
            measurement = load_measurement(measurement)
        # How patterns are made; the card of the manifest says how peaks were.
        self._look = self.manifest.card
        if measurement is not None:
            self._look = self._look.with_measurement(measurement)
        used = self._look.measurement
        self._pool = None
        if used is not None and used.needs_pool:
            self._pool = Recipe.from_card(self.manifest.card, prior).pool
        samples = [record.samples for record in self.manifest.records]
        self._shard_offset = np.concatenate([[0], np.cumsum(samples)]).astype(np.int64)
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._read_block)

    @property
    def card(self) -> RecipeCard:
        """The recipe of the samples, without the prior's arrays."""
        return self.manifest.card

    @property
    def measurement(self) -> Measurement | None:
        """What instrument and sample add to the patterns; None for nothing."""
        return self._look.measurement

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns."""
        return self.card.grid

    @property
    def radiation(self) -> Radiation:
        """What the patterns are made with."""
        return self.card.radiation

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that may occur, ascending: the classes to learn."""
        return self.card.space_groups

    @property
    def block_samples(self) -> int:
        """Samples that are read in one go; a shuffling loader keeps them together."""
        return self.manifest.block_samples

    @property
    def length(self) -> int:
        """Number of samples."""
        return int(self._shard_offset[-1])

    def __len__(self) -> int:
        return self.length

    def with_epoch(self, epoch: int) -> "ShardSet":
        """Give the same samples with other sizes and effects, without reading anew."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other.epoch = epoch
        return other

    def batch(self, start: int, count: int) -> Batch:
        """Read and render samples start to start + count.

        Raises:
            ShardError: If there are fewer samples, or a shard is damaged.
        """
        block = self.read(start, count)
        pieces = [
            self._render(block.rows(first, stop)) for first, stop in _runs(block.index)
        ]
        sizes, scans = zip(*pieces, strict=True)
        masks = [s.is_measured for s in scans if s.is_measured is not None]
        return Batch(
            intensity=_join([s.intensity for s in scans]),
            space_group=block.space_group,
            crystallite_size_nm=_join(sizes),
            index=block.index,
            mask=_join(masks) if masks else None,
        )

    def peaks(self, start: int, count: int) -> PeakBatch:
        """Read the reflections of samples start to start + count."""
        return unpack_peaks(self.read(start, count).peaks)

    def read(self, start: int, count: int) -> Block:
        """Read samples start to start + count as they are stored."""
        stop = start + count
        if start < 0 or count < 1 or stop > self.length:
            raise ShardError(
                f"samples {start} to {stop - 1} of a set that holds {self.length}"
            )
        pieces = []
        while start < stop:
            shard = int(np.searchsorted(self._shard_offset, start, "right")) - 1
            number, row = divmod(
                start - int(self._shard_offset[shard]), self.block_samples
            )
            block = self._block(shard, number)
            end = min(row + stop - start, len(block))
            pieces.append(block.rows(row, end))
            start += end - row
        return Block.join(pieces)

    def _read_block(self, shard: int, number: int) -> Block:
        record = self.manifest.records[shard]
        first, last = record.block_offset[number : number + 2]
        path = self.folder / f"{record.name}.tar"
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(first)
                data = file.read(last - first)
            block = read_block(data)
        except (OSError, ShardError) as error:
            raise self._damaged(record, error) from error
        if block.index[0] != record.first + number * self.block_samples:
            raise self._damaged(record, f"block {number} is not where it should be")
        return block

    def _damaged(self, record: ShardRecord, why: object) -> ShardError:
        return ShardError(
            f"{self.folder / record.name}.tar cannot be read ({why}); delete it and "
            "run the same `pxrdbench generate` again: it comes back the same"
        )

    def _render(self, block: Block) -> tuple[np.ndarray, Scans]:
        """Sizes and patterns of consecutive samples."""
        start, sizes = int(block.index[0]), block.crystallite_size_nm
        if (
            self.epoch
            or self._look.crystallite_size_nm != self.card.crystallite_size_nm
        ):
            sizes = self._look.crystallite_sizes(start, len(block), self.epoch)
        samples = Samples(epoch_seed(self.card.seed, self.epoch), start, len(block))
        try:
            scans = render_samples(
                unpack_peaks(block.peaks),
                self.grid,
                samples,
                sizes,
                self._look.measurement,
                self._pool,
            )
        except PatternError as error:
            row = error.index or 0
            raise ShardError(
                f"sample {start + row} of {self.folder} cannot be rendered: {error}"
            ) from error
        return sizes, scans


def _runs(index: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows of consecutive samples: first, and one after the last."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    yield from pairwise([0, *breaks.tolist(), len(index)])


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put arrays behind each other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
