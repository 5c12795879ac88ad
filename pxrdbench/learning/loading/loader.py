"""From numbered samples to torch batches, on threads and in a fixed order."""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Barrier, Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch.utils.data import IterableDataset, get_worker_info

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import BatchSource, EndOfSource, cut_runs
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.dealing import Dealing
from pxrdbench.learning.loading.order import PassOrder

UNCOVERED = -1
# What a loader's state of old had, beside the position.
_OLD_IDENTITY = (
    "seed",
    "batch_size",
    "shuffle",
    "buffer",
    "rank",
    "world_size",
    "length",
)

_log = logging.getLogger(__name__)

__all__ = [
    "UNCOVERED",
    "PatternLoader",
    "Throughput",
    "TorchBatch",
    "label_of",
    "make_loader",
    "make_torch_batch",
]

# Samples that are mixed one by one: 32 blocks, 11 MB of stored peaks.
BUFFER = 8192
# Whoever waits for a batch looks around this often [s].
_LOOK_EVERY = 0.25
# Positions ahead of a batch whose shards begin to be fetched: a fast trainer's second.
_AHEAD = 32_768


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


def make_torch_batch(
    parts: Sequence[Batch],
    classes: Sequence[int],
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    *,
    pin_memory: bool = False,
) -> TorchBatch:
    """Join batches, label them and add the channel axis.

    Args:
        parts: Batches of one grid.
        classes: The class list of the model.
        transform: What to do with the patterns first, without gradients.
        pin_memory: Put the result where an accelerator copies it from meanwhile.
    """
    intensities, labels, masks = [], [], []
    for part in parts:
        label = label_of(part.space_group, classes)
        known = label != UNCOVERED
        intensities.append(part.intensity if known.all() else part.intensity[known])
        labels.append(label[known])
        if part.mask is not None:
            masks.append(part.mask[known])
    x = _join(intensities, pin_memory and transform is None).unsqueeze(1)
    if transform is not None:
        with torch.no_grad():
            x = transform(x)
        x = x.pin_memory() if pin_memory else x
    y = _join(labels, pin_memory)
    return TorchBatch(x, y, _join(masks, pin_memory) if masks else None)


def _join(arrays: Sequence[np.ndarray], pin_memory: bool) -> torch.Tensor:
    """One tensor of several arrays, copied once.

    Arrays of a batch are read-only and torch has no such thing: it needs the copy.
    """
    if not pin_memory:
        return torch.tensor(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
    rows = sum(len(array) for array in arrays)
    dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
    joined = torch.empty((rows, *arrays[0].shape[1:]), dtype=dtype, pin_memory=True)
    np.concatenate(arrays, out=joined.numpy())
    return joined


def start_threads(workers: int) -> ThreadPoolExecutor:
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


@dataclass(frozen=True)
class Throughput:
    """Counts and times of a loader since it was made.

    Attributes:
        made: Patterns that the loader's threads have finished.
        given: Patterns handed to the consumer.
        skipped: Patterns left out because their shard is damaged.
        cpu_seconds: Time that threads computed while they made them [s].
        seconds: Time since the first batch was asked for [s].
        waited_seconds: Time of those that the consumer stood still for a batch [s].
    """

    made: int
    given: int
    skipped: int
    cpu_seconds: float
    seconds: float
    waited_seconds: float

    @property
    def made_per_core_second(self) -> float:
        """Patterns made for each second of computing: what one core could feed."""
        return self.made / self.cpu_seconds if self.cpu_seconds else 0.0

    @property
    def given_per_second(self) -> float:
        """Patterns that went through the consumer a second: its speed with ours."""
        return self.given / self.seconds if self.seconds else 0.0

    @property
    def consumed_per_second(self) -> float:
        """Speed that the consumer would have if it never waited."""
        busy = self.seconds - self.waited_seconds
        return self.given / busy if busy > 0.0 else 0.0

    @property
    def waited(self) -> float:
        """Share of the time that the consumer waited, 0-1."""
        return self.waited_seconds / self.seconds if self.seconds else 0.0


class _Part(NamedTuple):
    """Some samples of a source, on a pass over it."""

    epoch: int
    numbers: np.ndarray


class PatternLoader(IterableDataset[TorchBatch]):
    """Passes over a source, or a stream without end; in the same order every time.

    Batch number k is a function of the source, the seed, the rank and k alone,
    whatever the number of threads, so a run can go on where it stopped. Samples that
    belong to no class are left out, which makes their batch smaller.

    With ``passes`` each ``iter(loader)`` makes so many passes, and the next one the
    following passes, in another order; ``len(loader)`` is the number of batches of one.
    After a ``break`` the next iteration begins with passes that no other has begun.
    Without ``passes`` there is one stream, and each iteration goes on with it. All
    ranks get the same number of batches. In the workers of torch's ``DataLoader``
    (``DataLoader(loader, batch_size=None, num_workers=2)``) they share the samples.

    Attributes:
        classes: The class list, in the order of a model's logits: ``label`` is a
            position in it.
        patterns_given: Position in this rank's order behind the last batch handed
            out, samples left out included.
        seconds_waited: Time that the consumer stood still for want of a batch.
        on_wait: Called a few times a second while a batch is waited for, in the
            consumer's thread, where the loader has threads of its own; what it raises
            ends the iteration.
    """

    def __init__(
        self,
        source: BatchSource,
        batch_size: int,
        *,
        classes: Sequence[int],
        seed: int,
        shuffle: bool,
        buffer: int,
        workers: int,
        prefetch: int,
        passes: int | None,
        first_pattern: int,
        rank: int,
        world_size: int,
        pin_memory: bool,
        transform: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> None:
        if batch_size < 1 or workers < 0 or prefetch < 1 or first_pattern < 0:
            raise ModelError(
                f"batch size {batch_size}, {workers} workers, {prefetch} batches "
                f"ahead, first pattern {first_pattern}: each must be at least "
                "1, 0, 1 and 0"
            )
        if not 0 <= rank < world_size:
            raise ModelError(f"rank {rank} of {world_size}: ranks count from 0")
        if source.length == 0:
            raise ModelError("the source holds no samples; there is nothing to load")
        if source.length is None and passes is not None:
            raise ModelError("an endless source has no passes; leave `passes` away")
        if passes is not None and passes < 1:
            raise ModelError(f"{passes} passes; there must be at least 1")
        self.classes = tuple(classes)
        self.patterns_given = first_pattern
        self.seconds_waited = 0.0
        self.on_wait: Callable[[], None] | None = None
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        # Samples of a recipe are independent: their own order is as good as any.
        self._shuffle = shuffle and source.length is not None
        self._buffer = buffer if source.is_random_access else 0
        self._shards_at_once = source.shards_at_once
        self._workers = workers
        self._prefetch = prefetch
        self._passes = passes
        self._rank, self._world_size = rank, world_size
        self._pin_memory = pin_memory
        self._transform = transform
        self._deal = self._dealing()
        self._begin()
        self._given = self._made = 0
        self._cpu_seconds = self._seconds = 0.0
        self._is_begun = False

    def _begin(self) -> None:
        """What does not travel to another process."""
        self._order = lru_cache(maxsize=2)(self._make_order)
        self._lock = Lock()
        self._began: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        left = ("_order", "_lock", "_began", "on_wait")
        return {name: value for name, value in vars(self).items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.on_wait = None
        self._begin()

    def _dealing(self) -> Dealing:
        """Who gets which samples; among workers of torch's loader too."""
        epoch = None if self._passes is None else self._passes * self._length()
        rank, world_size = self._rank, self._world_size
        info = get_worker_info()
        if info is not None:
            rank = rank * info.num_workers + info.id
            world_size *= info.num_workers
        return Dealing(self._batch_size, rank, world_size, epoch)

    def _length(self) -> int:
        return self._source.length or 0

    def __len__(self) -> int:
        """Batches of one iteration.

        Raises:
            TypeError: If it has no end.
        """
        if self._passes is None:
            raise TypeError("a loader without `passes` has no length: it never ends")
        return self._dealing().batches

    def __iter__(self) -> Generator[TorchBatch]:
        """Hand out the batches of the next passes, or go on with an endless stream."""
        self._deal = self._dealing()
        if get_worker_info() is not None:
            self._refuse_workers()
        stop = self._start_iteration()
        batches = self._iterate_here if self._workers == 0 else self._iterate_threads
        self._began = time.perf_counter()
        try:
            yield from batches(stop)
        finally:
            self._seconds += time.perf_counter() - self._began
            self._began = None

    def _start_iteration(self) -> int | None:
        """Go to the first sample of this iteration; gives where it ends."""
        if self._passes is None:
            return None
        each = self._deal.samples
        if self._is_begun and self.patterns_given % each:
            self.patterns_given += each - self.patterns_given % each
        self._is_begun = True
        return (self.patterns_given // each + 1) * each

    def _refuse_workers(self) -> None:
        """Refuse what workers of torch's loader cannot share.

        Raises:
            ModelError: If the source has one reader, or the position would be lost.
        """
        if getattr(self._source, "consumer", ""):
            raise ModelError(
                "a rolling set has one reader, which acknowledges what it has read: "
                "take num_workers=0, and threads (make_loader(…, workers=2))"
            )
        if self.patterns_given and not self._is_begun:
            raise ModelError(
                "a state cannot go on in workers of a DataLoader, which share the "
                "samples in another way: take num_workers=0, and threads "
                "(make_loader(…, workers=2))"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose which passes the next iteration makes, as torch's samplers do.

        Workers of torch's ``DataLoader`` are copies that forget: without this each
        epoch gives them the order of the first.

        Args:
            epoch: Number of the iteration, from 0.

        Raises:
            ModelError: If there are no passes.
        """
        if self._passes is None:
            raise ModelError("a loader without `passes` has no epochs")
        self.patterns_given = epoch * self._dealing().samples
        self._is_begun = True

    def state_dict(self) -> dict[str, str | int]:
        """What is needed to go on behind the last batch handed out: plain values."""
        return {**self._identity(), "patterns_given": self.patterns_given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader of the same source stopped.

        The number of threads may be another one. A set that has grown since is read as
        it was then; a new loader takes the new shards too. Takes effect when iteration
        begins.

        Raises:
            ModelError: If the other loader had another order.
        """
        self._source = self._source.resumed(state)
        self._shards_at_once = int(state.get("shards_at_once", self._shards_at_once))
        for name, value in self._identity().items():
            # States of old know less.
            if name in state or name in _OLD_IDENTITY:
                found = state.get(name)
                if found != value:
                    raise ModelError(
                        f"the state is of a loader with {name} {found}, this one has "
                        f"{value}: the order would be another; repeat the old options"
                    )
        self.patterns_given = int(state["patterns_given"])
        self._is_begun = False
        self._deal = self._dealing()
        self._order.cache_clear()

    @property
    def throughput(self) -> Throughput:
        """How fast patterns were made and consumed so far."""
        running = 0.0 if self._began is None else time.perf_counter() - self._began
        return Throughput(
            made=self._made,
            given=self._given,
            skipped=sum(self._source.skipped.values()),
            cpu_seconds=self._cpu_seconds,
            seconds=self._seconds + running,
            waited_seconds=self.seconds_waited,
        )

    def _identity(self) -> dict[str, str | int]:
        """What decides the order."""
        return {
            "seed": self._seed,
            "batch_size": self._batch_size,
            "shuffle": int(self._shuffle),
            "buffer": self._buffer,
            "rank": self._rank,
            "world_size": self._world_size,
            "passes": -1 if self._passes is None else self._passes,
            "shards_at_once": self._shards_at_once,
            **self._source.identity(),
            "length": -1 if self._source.length is None else self._source.length,
        }

    def _iterate_here(self, stop: int | None) -> Generator[TorchBatch]:
        while spans := self._deal.spans(self.patterns_given, stop):
            started = time.perf_counter()
            try:
                batch = self._make(spans)
            except EndOfSource as end:
                stop = self._end(end)
                continue
            finally:
                self.seconds_waited += time.perf_counter() - started
            self._give(_count(spans))
            yield batch

    def _iterate_threads(self, stop: int | None) -> Generator[TorchBatch]:
        position = self.patterns_given
        pending: deque[tuple[int, Future[TorchBatch]]] = deque()
        executor = start_threads(self._workers)
        try:
            while True:
                while len(pending) < self._prefetch + self._workers:
                    spans = self._deal.spans(position, stop)
                    if not spans:
                        break
                    count = _count(spans)
                    position += count
                    pending.append((count, executor.submit(self._make, spans)))
                if not pending:
                    return
                count, future = pending.popleft()
                started = time.perf_counter()
                try:
                    self._wait(future)
                    batch = future.result()
                except EndOfSource as end:
                    stop = self._end(end)
                    pending.clear()
                    position = self.patterns_given
                    continue
                finally:
                    self.seconds_waited += time.perf_counter() - started
                self._give(count)
                yield batch
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _give(self, count: int) -> None:
        self.patterns_given += count
        self._given += count

    def _end(self, end: EndOfSource) -> int:
        """Deal anew now that the end of the source is known; gives this rank's end."""
        deal = self._deal
        self._deal = replace(deal, epoch=end.length)
        return self._deal.samples if end.length else 0

    def _wait(self, future: Future[TorchBatch]) -> None:
        """Wait for a batch; let whoever reads look around meanwhile."""
        if self.on_wait is None:
            return
        while not wait([future], timeout=_LOOK_EVERY).done:
            self.on_wait()

    def _make(self, spans: list[tuple[int, int]]) -> TorchBatch:
        """Read, label and move one batch to torch; runs in a loader's thread."""
        started = time.thread_time()
        if self._deal.world_size > 1 and self._source.length is None:
            # A round is there for everyone, or the source ends before it.
            every = self._deal.world_size * self._batch_size
            self._source.wait_for(-(-spans[-1][1] // every) * every)
        parts = [batch for part in self._parts(spans) for batch in self._read(part)]
        batch = self._collate(parts)
        with self._lock:
            self._made += sum(len(part) for part in parts)
            self._cpu_seconds += time.thread_time() - started
        return batch

    def _collate(self, parts: list[Batch]) -> TorchBatch:
        """Label samples and move them to torch as one batch."""
        return make_torch_batch(
            parts, self.classes, self._transform, pin_memory=self._pin_memory
        )

    def _parts(self, spans: list[tuple[int, int]]) -> Iterator[_Part]:
        """Samples at positions of the common order, by passes."""
        length = self._source.length
        for start, stop in spans:
            if length is None:
                yield _Part(0, np.arange(start, stop))
                continue
            for epoch in range(start // length, -(-stop // length)):
                first = max(start - epoch * length, 0)
                last = min(stop - epoch * length, length)
                order = self._order(epoch)
                if self._shuffle and last < length:
                    soon = min(first + _AHEAD, length)
                    end = min(soon + last - first, length)
                    if soon < end:
                        self._source.expect(order.numbers(soon, end))
                yield _Part(epoch, order.numbers(first, last))

    def _read(self, part: _Part) -> Iterator[Batch]:
        """Have the source make samples; in one go if it can."""
        source, numbers = self._source, part.numbers
        if part.epoch:
            source = source.with_epoch(part.epoch)
        if source.is_random_access:
            yield source.take(np.sort(numbers))
            return
        for run in cut_runs(numbers):
            yield source.batch(int(run[0]), len(run))

    def _make_order(self, epoch: int) -> PassOrder:
        source = self._source
        return PassOrder(
            source.length or 0,
            self._seed,
            epoch,
            shuffle=self._shuffle,
            # What a source reads in one go stays together, or nearly, or each sample
            # would cost a whole block.
            block=source.block_samples,
            shard_starts=source.shard_starts,
            buffer=self._buffer,
            run=source.run_samples,
            shards_at_once=self._shards_at_once,
        )


def _count(spans: Sequence[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in spans)


def _warn_of_small_cache(source: BatchSource) -> None:
    """Say so where the cache of an object store has no room for a wide shuffle."""
    if source.shards_at_once < BatchSource.shards_at_once:
        _log.warning(
            "the cache has room for %d shards beside the one that is fetched: so many "
            "are mixed at a time, not %d. ShardSet(…, cache_bytes=) or "
            "PXRDBENCH_CACHE_SIZE give it more",
            source.shards_at_once,
            BatchSource.shards_at_once,
        )


def make_loader(
    source: BatchSource | str | Path,
    batch_size: int,
    *,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    shuffle: bool = True,
    buffer: int = BUFFER,
    workers: int = 0,
    prefetch: int = 2,
    passes: int | None = None,
    first_pattern: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    pin_memory: bool | None = None,
    skip_damaged: bool = False,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> PatternLoader:
    """Load torch batches from shards, a recipe or a part of a track.

    Args:
        source: Where the samples come from; a path is a folder of shards.
        batch_size: Patterns a batch.
        classes: The class list of the model; that of the source if left away.
        seed: Of the order.
        shuffle: Whether each pass over a finite source has an order of its own, by
            shards, blocks and a buffer.
        buffer: About how many samples are mixed one by one, where the source can; 0
            keeps blocks whole.
        workers: Threads that make batches; 0 makes them in the caller's. The kernels
            let other threads run meanwhile.
        prefetch: Batches kept ready in advance.
        passes: Passes over a finite source that each iteration makes; one stream
            without end if left away.
        first_pattern: Where to begin in the order, to go on after a stop.
        rank: Number of this process among those that share the source, and
        world_size: how many there are; as torch.distributed says, if it is in use.
            Each is given other samples, and the same number of batches.
        pin_memory: Whether batches lie where an accelerator copies them from while
            the processor works on; if there is one, by default.
        skip_damaged: Leave damaged blocks of a folder out and count them
            (``throughput.skipped``), instead of stopping with the shard's name.
        transform: What to do with patterns (batch, 1, points) in the loader's
            threads, without gradients: a model's first stage without weights.

    Returns:
        An iterable of ``TorchBatch`` with ``len`` where there are passes, ``classes``,
        ``state_dict`` and ``load_state_dict``.

    Raises:
        ModelError: If a number is out of bounds or the source is empty.
        ShardError: If the folder holds no data set.
    """
    if isinstance(source, str | Path):
        source = ShardSet(source, skip_damaged=skip_damaged)
    elif skip_damaged:
        raise ModelError(
            "skip_damaged belongs to the source: ShardSet(folder, skip_damaged=True)"
        )
    given: object = source
    if not isinstance(given, BatchSource):
        raise ModelError(
            f"a {type(given).__name__} is no source of batches: it must be a subclass "
            "of pxrdbench.dataset.source.BatchSource"
        )
    if (rank is None) != (world_size is None):
        raise ModelError(
            f"rank {rank} of world_size {world_size}: give both, or neither for those "
            "of torch.distributed"
        )
    _warn_of_small_cache(source)
    if world_size is None:
        in_use = torch.distributed.is_available() and torch.distributed.is_initialized()
        world_size = torch.distributed.get_world_size() if in_use else 1
        rank = torch.distributed.get_rank() if in_use else 0
    return PatternLoader(
        source,
        batch_size,
        classes=source.space_groups if classes is None else classes,
        seed=seed,
        shuffle=shuffle,
        buffer=buffer,
        workers=workers,
        prefetch=prefetch,
        passes=passes,
        first_pattern=first_pattern,
        rank=rank or 0,
        world_size=world_size,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        transform=transform,
    )
