"""The order in which a loader goes through a finite source, as pure arithmetic.

Position p of pass e is sample ``order.numbers(p, p + 1)`` of the source: a function of
the seed, the pass and p. Nothing needs to be remembered but p to go on anywhere, with
any number of threads.

Three shuffles lie in one another. Shards are permuted and taken some at a time; their
blocks are permuted among each other; and so many blocks as fill the buffer are mixed
sample by sample. What a source reads in one go is thus read once or twice a pass, and
a batch holds samples of dozens of places.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int64

# Shards whose blocks are mixed: few files at a time, for stores that open slowly.
SHARDS_AT_ONCE = 16

_Numbers = Int64[np.ndarray, " positions"]


class PassOrder:
    """The order of one pass.

    Args:
        length: Samples of the source.
        seed: Of the loader, and
        epoch: number of the pass: together they decide the order.
        shuffle: Whether to leave the source's own order.
        block: Samples that the source reads in one go.
        shard_starts: First sample of each shard and the end; one shard if None.
        buffer: About how many samples are mixed one by one; 0 keeps blocks whole.
        run: Samples that stay together even so.
        shards_at_once: Shards whose blocks are mixed.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        epoch: int,
        *,
        shuffle: bool = True,
        block: int = 1,
        shard_starts: np.ndarray | None = None,
        buffer: int = 0,
        run: int = 1,
        shards_at_once: int = SHARDS_AT_ONCE,
    ) -> None:
        self._key = (seed, epoch)
        self._run = run
        self._shards_at_once = shards_at_once
        shards = np.array([0, length]) if shard_starts is None else shard_starts
        starts, sizes, shard = _blocks(shards, block)
        if shuffle:
            order = self._shuffle_blocks(shard, len(shards) - 1)
            starts, sizes = starts[order], sizes[order]
        self._starts = starts
        self._offset = np.concatenate([[0], np.cumsum(sizes)])
        # Blocks a window; a window of one block is the block itself, in its order.
        is_mixed = shuffle and block > 1 and buffer > 0
        self._window_blocks = max(1, buffer // block) if is_mixed else 0
        self._window = lru_cache(maxsize=4)(self._mix_window)

    def numbers(self, start: int, stop: int) -> _Numbers:
        """Samples at positions start to stop of the pass."""
        if not self._window_blocks:
            return self._plain(start, stop)
        pieces = []
        while start < stop:
            block = int(np.searchsorted(self._offset, start, "right")) - 1
            window = block // self._window_blocks
            first, last = self._bounds(window)
            end = min(stop, last)
            pieces.append(self._window(window)[start - first : end - first])
            start = end
        return np.concatenate(pieces)

    def _plain(self, start: int, stop: int) -> _Numbers:
        """Positions in blocks that are whole."""
        first = int(np.searchsorted(self._offset, start, "right")) - 1
        last = int(np.searchsorted(self._offset, stop, "left"))
        each = np.diff(self._offset[first : last + 1])
        shift = np.repeat(self._starts[first:last] - self._offset[first:last], each)
        begin = int(self._offset[first])
        numbers: _Numbers = (np.arange(len(shift)) + begin + shift)[
            start - begin : stop - begin
        ]
        return numbers

    def _bounds(self, window: int) -> tuple[int, int]:
        """First position of a window, and the first behind it."""
        first = window * self._window_blocks
        last = min(first + self._window_blocks, len(self._starts))
        return int(self._offset[first]), int(self._offset[last])

    def _mix_window(self, window: int) -> _Numbers:
        """The samples of a window in their order."""
        numbers = self._plain(*self._bounds(window))
        runs = np.flatnonzero(
            (np.diff(numbers, prepend=numbers[0] - 2) != 1) | (numbers % self._run == 0)
        )
        sizes = np.diff(runs, append=len(numbers))
        order = np.random.default_rng([*self._key, 1, window]).permutation(len(runs))
        shift = np.repeat(runs[order], sizes[order])
        within = np.arange(len(numbers)) - np.repeat(
            np.cumsum(sizes[order]) - sizes[order], sizes[order]
        )
        mixed: _Numbers = numbers[shift + within]
        return mixed

    def _shuffle_blocks(self, shard: np.ndarray, n_shards: int) -> np.ndarray:
        """Blocks in an order that is random within some shards at a time."""
        # One generator: the order of a set without shards is that of older versions.
        random = np.random.default_rng(list(self._key))
        if n_shards <= self._shards_at_once:
            return random.permutation(len(shard))
        group = np.empty(n_shards, np.int64)
        group[random.permutation(n_shards)] = (
            np.arange(n_shards) // self._shards_at_once
        )
        return np.lexsort((random.random(len(shard)), group[shard]))


def _blocks(
    shards: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First sample and size of each block, and the shard that it lies in."""
    samples = np.diff(shards)
    counts = -(-samples // block)
    shard = np.repeat(np.arange(len(samples)), counts)
    number = np.arange(len(shard)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = shards[shard] + number * block
    sizes = np.minimum(starts + block, shards[shard + 1]) - starts
    return starts, sizes, shard
