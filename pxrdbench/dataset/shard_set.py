"""Shards as a source of batches: read in blocks, rendered on loading."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.manifest import Manifest, ShardRecord
from pxrdbench.dataset.packing import unpack_peaks
from pxrdbench.dataset.recipe_card import RecipeCard
from pxrdbench.dataset.shard import Block, read_block
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import ShardError

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
        epoch: Pass over the samples: 0 renders with the crystallite sizes stored, any
            other with sizes drawn anew.
    """

    def __init__(self, folder: str | Path, *, epoch: int = 0) -> None:
        """Open a folder of shards.

        Raises:
            ShardError: If the folder holds no data set.
        """
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.epoch = epoch
        samples = [record.samples for record in self.manifest.records]
        self._shard_offset = np.concatenate([[0], np.cumsum(samples)]).astype(np.int64)
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._read_block)

    @property
    def card(self) -> RecipeCard:
        """The recipe of the samples, without the prior's arrays."""
        return self.manifest.card

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
        """Give the same samples with other crystallite sizes, without reading anew."""
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
        if self.epoch:
            sizes = self._redraw_sizes(block.index)
            block = replace(block, crystallite_size_nm=sizes)
        peaks = unpack_peaks(block.peaks)
        return Batch(
            intensity=render(peaks, self.grid, block.crystallite_size_nm),
            space_group=block.space_group,
            crystallite_size_nm=block.crystallite_size_nm,
            index=block.index,
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

    def _redraw_sizes(self, index: np.ndarray) -> np.ndarray:
        """Draw sizes for this epoch; runs of consecutive samples in one go."""
        starts = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
        counts = np.diff(starts, append=len(index))
        return np.concatenate(
            [
                self.card.crystallite_sizes(int(index[start]), int(count), self.epoch)
                for start, count in zip(starts, counts, strict=True)
            ]
        )
