"""From numbered samples to torch batches, on threads and in a fixed order."""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from pxrdbench.dataset.batch import Batch, BatchSource
from pxrdbench.errors import ModelError

UNCOVERED = -1


class TorchBatch(NamedTuple):
    """Patterns for a network, and what it should say.

    Attributes:
        intensity: Patterns (batch, 1, points) with a maximum of one, or what the
            loader's ``transform`` made of them.
        label: Position of each space group in the class list.
        mask: Points that were measured (batch, points); None if all were.
    """

    intensity: Float[torch.Tensor, "batch ..."]
    label: Int64[torch.Tensor, " batch"]
    mask: Bool[torch.Tensor, "batch points"] | None = None


def label_of(
    space_group: np.ndarray, classes: Sequence[int]
) -> Int64[np.ndarray, " batch"]:
    """Turn space groups into positions in a model's class list.

    The only place where a label is made.

    Args:
        space_group: Numbers in the International Tables, 1-230.
        classes: The class list of a model, in the order of its logits.

    Returns:
        One label a sample, -1 where the model does not know the group.

    Raises:
        ModelError: If a class is named twice or is no space group.

    Example:
        >>> label_of(np.array([225, 2, 14]), [2, 14, 62]).tolist()
        [-1, 0, 1]
    """
    if len(set(classes)) != len(classes) or not all(1 <= g <= 230 for g in classes):
        raise ModelError(
            "a class list names each of its space groups once, by numbers 1-230; "
            f"it is {list(classes)}"
        )
    position = np.full(231, UNCOVERED, np.int64)
    position[list(classes)] = np.arange(len(classes))
    label: np.ndarray = position[space_group]
    return label


class _Range(NamedTuple):
    """Samples start to stop of a source, on a pass over it."""

    epoch: int
    start: int
    stop: int


def _count(ranges: Sequence[_Range]) -> int:
    return sum(stop - start for _, start, stop in ranges)


@runtime_checkable
class _Redrawing(Protocol):
    """A source whose patterns can differ from pass to pass, as shards' do."""

    def with_epoch(self, epoch: int) -> BatchSource:
        """The same crystals with other crystallite sizes."""


class PatternLoader:
    """Endless, or some passes over a source; in the same order every time.

    Batch number k is a function of the source, the seed and k alone, whatever the
    number of threads, so a run can go on where it stopped. Samples that belong to no
    class are left out, which makes their batch smaller.

    Attributes:
        patterns_given: Position in the order behind the last batch handed out,
            samples left out included.
        seconds_waited: Time that the consumer stood still for want of a batch.
    """

    def __init__(
        self,
        source: BatchSource,
        batch_size: int,
        *,
        classes: Sequence[int],
        seed: int,
        shuffle: bool,
        workers: int,
        prefetch: int,
        passes: int | None,
        first_pattern: int,
        transform: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> None:
        if batch_size < 1 or workers < 0 or prefetch < 1 or first_pattern < 0:
            raise ModelError(
                f"batch size {batch_size}, {workers} workers, {prefetch} batches "
                f"ahead, first pattern {first_pattern}: each must be at least "
                "1, 0, 1 and 0"
            )
        if source.length == 0:
            raise ModelError("the source holds no samples; there is nothing to load")
        if source.length is None and passes is not None:
            raise ModelError("an endless source has no passes; leave `passes` away")
        self.classes = tuple(classes)
        self.patterns_given = first_pattern
        self.seconds_waited = 0.0
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        # Samples of a recipe are independent: their own order is as good as any.
        self._shuffle = shuffle and source.length is not None
        # What a source reads in one go stays together, or each sample would cost a
        # whole block.
        self._together = int(getattr(source, "block_samples", 1))
        self._workers = workers
        self._prefetch = prefetch
        self._stop = None if passes is None else passes * (source.length or 0)
        self._transform = transform
        self._order: tuple[int, np.ndarray, np.ndarray] | None = None

    def __iter__(self) -> Generator[TorchBatch]:
        """Hand out batches, from ``patterns_given`` on."""
        return self._iterate_here() if self._workers == 0 else self._iterate_threads()

    def _iterate_here(self) -> Generator[TorchBatch]:
        while (ranges := self._ranges(self.patterns_given)) is not None:
            started = time.perf_counter()
            batch = self._make(ranges)
            self.seconds_waited += time.perf_counter() - started
            self.patterns_given += _count(ranges)
            yield batch

    def _iterate_threads(self) -> Generator[TorchBatch]:
        position = self.patterns_given
        pending: deque[tuple[int, Future[TorchBatch]]] = deque()
        executor = _start_threads(self._workers)
        try:
            while True:
                while len(pending) < self._prefetch + self._workers:
                    ranges = self._ranges(position)
                    if ranges is None:
                        break
                    count = _count(ranges)
                    position += count
                    pending.append((count, executor.submit(self._make, ranges)))
                if not pending:
                    return
                count, future = pending.popleft()
                started = time.perf_counter()
                batch = future.result()
                self.seconds_waited += time.perf_counter() - started
                self.patterns_given += count
                yield batch
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _make(self, ranges: list[_Range]) -> TorchBatch:
        """Read, label and move one batch to torch; runs in a loader's thread."""
        parts = []
        for epoch, start, stop in ranges:
            source = self._source
            if epoch and isinstance(source, _Redrawing):
                source = source.with_epoch(epoch)
            parts.append(source.batch(start, stop - start))
        return make_torch_batch(parts, self.classes, self._transform)

    def _ranges(self, position: int) -> list[_Range] | None:
        """Ranges of the source that make up the batch at a position."""
        length = self._source.length
        if length is None:
            return [_Range(0, position, position + self._batch_size)]
        wanted = self._batch_size
        if self._stop is not None:
            wanted = min(wanted, self._stop - position)
        ranges: list[_Range] = []
        while wanted > 0:
            epoch, within = divmod(position, length)
            starts, offset = self._blocks(epoch, length)
            block = int(np.searchsorted(offset, within, side="right")) - 1
            skipped = within - int(offset[block])
            count = min(wanted, int(offset[block + 1]) - within)
            start = int(starts[block]) + skipped
            if ranges and ranges[-1].epoch == epoch and ranges[-1].stop == start:
                ranges[-1] = ranges[-1]._replace(stop=start + count)
            else:
                ranges.append(_Range(epoch, start, start + count))
            position += count
            wanted -= count
        return ranges or None

    def _blocks(self, epoch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """First sample of each block in the order of an epoch, and its offsets."""
        if self._order is None or self._order[0] != epoch:
            starts = np.arange(0, length, self._together)
            sizes = np.minimum(starts + self._together, length) - starts
            if self._shuffle:
                order = np.random.default_rng([self._seed, epoch]).permutation(
                    len(starts)
                )
                starts, sizes = starts[order], sizes[order]
            self._order = epoch, starts, np.concatenate([[0], np.cumsum(sizes)])
        return self._order[1:]


def _start_threads(workers: int) -> ThreadPoolExecutor:
    """Start threads in which torch does not spread its work over further threads.

    torch's setting is a default for new threads and a fact of the calling one, so it
    is put back as soon as every worker has taken its own.
    """
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="pxrdbench-loader")
    everyone = Barrier(workers + 1)

    def settle() -> None:
        # The first call in a thread takes over the number of the process, whatever
        # was set in the thread before (seen in torch 2.13).
        torch.get_num_threads()
        torch.set_num_threads(1)
        everyone.wait()

    for _ in range(workers):
        executor.submit(settle)
    everyone.wait()
    torch.set_num_threads(threads)
    return executor


def make_torch_batch(
    parts: Sequence[Batch],
    classes: Sequence[int],
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> TorchBatch:
    """Join batches, label them and add the channel axis.

    Args:
        parts: Batches of one grid.
        classes: The class list of the model.
        transform: What to do with the patterns first, without gradients.
    """
    intensities, labels, masks = [], [], []
    for part in parts:
        label = label_of(part.space_group, classes)
        known = label != UNCOVERED
        intensities.append(part.intensity if known.all() else part.intensity[known])
        labels.append(label[known])
        if part.mask is not None:
            masks.append(part.mask[known])
    # Arrays of a batch are read-only and torch has no such thing: it needs a copy.
    x = torch.tensor(
        intensities[0] if len(parts) == 1 else np.concatenate(intensities)
    ).unsqueeze(1)
    if transform is not None:
        with torch.no_grad():
            x = transform(x)
    mask = torch.from_numpy(np.concatenate(masks)) if masks else None
    return TorchBatch(x, torch.from_numpy(np.concatenate(labels)), mask)


def make_loader(
    source: BatchSource,
    batch_size: int,
    *,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    shuffle: bool = True,
    workers: int = 0,
    prefetch: int = 2,
    passes: int | None = None,
    first_pattern: int = 0,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> PatternLoader:
    """Load torch batches from shards, a recipe or a part of a track.

    Args:
        source: Where the samples come from.
        batch_size: Patterns a batch.
        classes: The class list of the model; that of the source if left away.
        seed: Of the order.
        shuffle: Whether each pass over a finite source has an order of its own.
            Samples that the source stores as one block stay together.
        workers: Threads that make batches; 0 makes them in the caller's. The kernels
            let other threads run meanwhile.
        prefetch: Batches kept ready in advance.
        passes: Passes over a finite source; endless if left away.
        first_pattern: Where to begin in the order, to go on after a stop.
        transform: What to do with patterns (batch, 1, points) in the loader's
            threads, without gradients: a model's first stage without weights.

    Returns:
        An iterable of ``TorchBatch``.

    Raises:
        ModelError: If a number is out of bounds or the source is empty.
    """
    return PatternLoader(
        source,
        batch_size,
        classes=source.space_groups if classes is None else classes,
        seed=seed,
        shuffle=shuffle,
        workers=workers,
        prefetch=prefetch,
        passes=passes,
        first_pattern=first_pattern,
        transform=transform,
    )
