"""How the samples of a common order are dealt to the processes that share it.

Of every ``world_size`` pieces of a batch each process gets the one with its number.
What is left at the end of an iteration, too little for a batch each, is shared evenly.
Every sample comes once, and all processes get the same number of batches, which any
training that averages gradients after each batch stands on. (With batches of one sample
what is left is less than one for each, and left out.)
"""

from dataclasses import dataclass
from functools import cached_property

from pxrdbench.errors import ModelError

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Dealing:
    """One process's part of a common order.

    Attributes:
        batch_size: Samples of a batch.
        rank: Number of the process, and
        world_size: how many there are.
        epoch: Samples of one iteration, all processes together; None for no end.
    """

    batch_size: int
    rank: int
    world_size: int
    epoch: int | None

    def __post_init__(self) -> None:
        if self.epoch is not None and 0 < self.epoch < self.world_size:
            raise ModelError(
                f"{self.epoch} samples cannot be shared by {self.world_size} processes"
            )

    @cached_property
    def _rounds(self) -> int:
        """Rounds in which everyone gets a whole batch."""
        every = self.batch_size * self.world_size
        rounds, left = divmod(self.epoch or 0, every)
        # Too little for a sample each: the last whole round is shared out with it.
        return rounds - 1 if 0 < left < self.world_size and rounds else rounds

    @cached_property
    def _tail(self) -> list[tuple[int, int]]:
        """This process's batches behind the whole rounds: first sample, and count."""
        first = self._rounds * self.batch_size * self.world_size
        each, more = divmod((self.epoch or 0) - first, self.world_size)
        if self.batch_size == 1 and each:
            more = 0  # no way to give everyone as many single samples
        count = each + (self.rank < more)
        start = first + self.rank * each + min(self.rank, more)
        if not count:
            return []
        if each >= self.batch_size > 1:
            half = -(-count // 2)
            return [(start, half), (start + half, count - half)]
        return [(start, count)]

    @cached_property
    def samples(self) -> int:
        """Samples of this process in one iteration; 0 where there is no end."""
        tail = sum(count for _, count in self._tail)
        return self._rounds * self.batch_size + tail

    @property
    def batches(self) -> int:
        """Batches of each process in one iteration."""
        return self._rounds + len(self._tail)

    def spans(self, position: int, stop: int | None) -> Spans:
        """Stretches of the common order that make up the next batch.

        Args:
            position: In this process's own order.
            stop: Where that ends for now; None for no end.
        """
        if stop is not None and position >= stop:
            return []
        if self.epoch is None:
            return self._whole(position, self.batch_size, None)
        epoch, within = divmod(position, self.samples)
        base, whole = epoch * self.epoch, self._rounds * self.batch_size
        spans = self._whole(within, self.batch_size, whole)
        wanted = self.batch_size - sum(b - a for a, b in spans)
        if wanted > 0:
            within = max(within, whole) - whole
            for first, count in self._tail:
                if within >= count:
                    within -= count
                    continue
                take = count - within if not spans else min(wanted, count - within)
                spans.append((first + within, first + within + take))
                break
        return _join([(base + first, base + last) for first, last in spans])

    def _whole(self, position: int, wanted: int, end: int | None) -> Spans:
        """A batch of whole rounds, of one piece or the parts of two."""
        piece = self.batch_size
        spans: Spans = []
        while wanted > 0 and (end is None or position < end):
            number, within = divmod(position, piece)
            start = (number * self.world_size + self.rank) * piece + within
            count = min(wanted, piece - within)
            spans.append((start, start + count))
            position += count
            wanted -= count
        return spans


def _join(spans: Spans) -> Spans:
    """Put stretches together that follow each other."""
    joined: Spans = []
    for first, last in spans:
        if joined and joined[-1][1] == first:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined
