"""Training without a disk: Ray workers draw, the trainer renders.

    with RayStream(Recipe(seed=0), workers=16) as stream:
        loader = make_loader(stream, 256, workers=4)

Worker w of W makes chunks w, w + W, w + 2 W, … of the recipe, each some thousand
packed samples (1.3 kB a sample). It runs ahead by a few chunks and then waits until
they are fetched: what is in flight is bounded by workers x ahead x chunk. The chunks go
straight from the worker to whoever reads; there is no queue in between. Sample i is
that of the recipe, whatever the number of workers, so that a stream can be read again
from anywhere.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.block_rendering import (
    BlockRenderer,
    describe_measurement,
)
from pxrdbench.dataset.shards.shard import Block, draw_block
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.errors import ShardError
from pxrdbench.factory.limits import count_processors
from pxrdbench.factory.ray.session import SMALL_OBJECT_STORE_BYTES, RaySession

# Samples of a chunk: 1.4 MB, which costs a message 1 µs a sample.
CHUNK_SAMPLES = 1024
# Chunks that a worker makes in advance.
_AHEAD = 2
# A generous size of a chunk in Ray's memory, which is reserved beforehand [bytes].
_CHUNK_BYTES = 4_000_000
# A worker that dies so often at one place will die there again.
_MAX_DEATHS = 3
# Readers wait so long for a chunk, which takes a second or two to make [s].
_PATIENCE = 300.0
_LOOK_EVERY = 1.0


class _StreamWorker:
    """Makes every so-many-th chunk of a recipe."""

    def __init__(self, recipe: Recipe, chunk_samples: int) -> None:
        self._recipe = recipe
        self._chunk_samples = chunk_samples
        self._made = 0

    def made(self) -> int:
        """Chunks made so far, fetched or not."""
        return self._made

    def chunks(self, first: int, step: int) -> Iterator[Block]:
        """Chunks first, first + step, … without end."""
        number = first
        while True:
            start = number * self._chunk_samples
            block, _ = draw_block(self._recipe, start, self._chunk_samples)
            self._made += 1
            yield block
            number += step


class RayStream(BatchSource):
    """A recipe as an endless source whose samples are made by Ray workers.

    Read in order, as a loader does, it costs the reader the rendering only. What is
    asked for out of order, and was let go already, is drawn here.

    Attributes:
        redrawn: Samples that were drawn here, because they had been let go.
    """

    length = None  # a recipe has no end

    def __init__(
        self,
        recipe: Recipe,
        *,
        workers: int | None = None,
        address: str | None = None,
        measurement: Measurement | str | None = None,
        prior: str | Path | None = None,
        chunk_samples: int = CHUNK_SAMPLES,
        ahead: int = _AHEAD,
    ) -> None:
        """Say what to stream; entering the ``with`` block starts Ray.

        Args:
            recipe: What to draw.
            workers: Processes; one a processor if not given.
            address: Ray cluster to join; a private one on this machine if not given.
            measurement: What instrument and sample add when patterns are rendered,
                instead of what the recipe says.
            prior: Where the recipe's prior is, where the measurement needs it.
            chunk_samples: Samples that a worker sends at a time.
            ahead: Chunks that each worker makes in advance.
        """
        if chunk_samples < 1 or ahead < 1 or (workers is not None and workers < 1):
            raise ShardError(
                f"{workers} workers, {chunk_samples} samples a chunk, {ahead} chunks "
                "ahead: each must be at least 1"
            )
        self.redrawn = 0
        self.grid = recipe.grid
        self.radiation = recipe.radiation
        self.space_groups = recipe.space_groups
        self.block_samples = chunk_samples
        self._recipe = recipe
        self._renderer = BlockRenderer(
            recipe.card,
            measurement,
            lambda: recipe if prior is None else Recipe.from_card(recipe.card, prior),
        )
        self._chunk_samples = chunk_samples
        self._ahead = ahead
        self._wanted = workers
        processes = workers or count_processors()
        room = processes * (ahead + 1) * _CHUNK_BYTES * chunk_samples // CHUNK_SAMPLES
        self._session = RaySession(
            processes,
            address,
            object_store_bytes=max(2 * room, SMALL_OBJECT_STORE_BYTES),
        )
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._kept: OrderedDict[int, Block] = OrderedDict()

    def __enter__(self) -> "RayStream":
        self._session.__enter__()
        self._put = self._session.ray.put(self._recipe)
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.end()
        self._lanes = []
        self._session.__exit__(None, None, None)

    def identity(self) -> dict[str, str | int]:
        """What tells this stream from another."""
        look = describe_measurement(self._renderer.measurement)
        return {"source": "stream", "recipe": self._recipe.digest, "measurement": look}

    def batch(self, start: int, count: int) -> Batch:
        """Fetch and render samples start to start + count.

        Raises:
            ShardError: If workers keep dying.
        """
        return self._renderer.batch(self.read(start, count))

    def read(self, start: int, count: int) -> Block:
        """Fetch samples start to start + count as workers make them."""
        if start < 0 or count < 1:
            raise ShardError(f"samples {start} to {start + count - 1} of a stream")
        pieces, stop = [], start + count
        while start < stop:
            number, row = divmod(start, self._chunk_samples)
            end = min(row + stop - start, self._chunk_samples)
            chunk = self._chunk(number)
            if chunk is None:
                self.redrawn += end - row
                pieces.append(draw_block(self._recipe, start, end - row)[0])
            else:
                pieces.append(chunk.rows(row, end))
            start += end - row
        return Block.join(pieces)

    def _chunk(self, number: int) -> Block | None:
        """A chunk; None if it has been let go."""
        with self._lock:
            if not self._lanes:
                self._start(number)
            lane = self._lanes[number % len(self._lanes)]
        with lane.lock:  # one reader waits for a worker, the others for that reader
            while lane.next_chunk <= number:
                fetched, block = lane.fetch()
                with self._lock:
                    self._kept[fetched] = block
                    # Readers are a batch or two apart: a round of chunks is enough.
                    while len(self._kept) > 2 * len(self._lanes) + 2:
                        self._kept.popitem(last=False)
        with self._lock:
            return self._kept.get(number)

    def _start(self, number: int) -> None:
        """Start the workers so that the first chunk is the one asked for."""
        processors = self._session.processors
        count = min(self._wanted or processors, processors)
        for lane in range(count):
            first = number + (lane - number) % count
            self._lanes.append(self._make_lane(first, count))

    def _make_lane(self, first: int, step: int) -> "_Lane":
        return _Lane(
            self._session,
            (self._put, self._chunk_samples),
            self._ahead,
            first,
            step,
        )


class _Lane:
    """One worker's chunks in their order; started again where it died."""

    def __init__(
        self,
        session: RaySession,
        arguments: tuple[Any, int],
        ahead: int,
        first: int,
        step: int,
    ) -> None:
        self.lock = threading.Lock()
        self.next_chunk = first
        self._session, self._ray = session, session.ray
        self._arguments = arguments
        self._ahead = ahead
        self._step = step
        self._deaths = 0
        self._begin()

    def fetch(self) -> tuple[int, Block]:
        """Wait for the next chunk; its number, and what it holds.

        Raises:
            ShardError: If the worker dies again and again, or Ray itself has ended.
        """
        while True:
            try:
                if not self._wait():
                    raise ShardError(
                        f"no worker has sent anything for {_PATIENCE:.0f} s: see that "
                        "Ray has free processors, one for each worker"
                    )
                block: Block = self._ray.get(next(self._stream))
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except (self._ray.exceptions.RayError, StopIteration) as error:
                self._deaths += 1
                if self._deaths >= _MAX_DEATHS:
                    raise ShardError(
                        f"samples {self.next_chunk * self._arguments[1]} and following "
                        f"ended {self._deaths} workers; mostly a machine is out of "
                        "memory: try fewer workers"
                    ) from error
                self._begin()
                continue
            self._deaths = 0
            number = self.next_chunk
            self.next_chunk += self._step
            return number, block

    def _wait(self) -> bool:
        """Wait for a chunk, and see meanwhile that Ray lives; whether one came."""
        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends:
            if self._ray.wait([self._stream], timeout=_LOOK_EVERY)[0]:
                return True
            self._session.check()
        return False

    def end(self) -> None:
        """End the worker."""
        self._ray.kill(self._actor)

    def _begin(self) -> None:
        # The second thread answers questions; the first one makes chunks.
        remote_class = self._ray.remote(num_cpus=1, max_concurrency=2)(_StreamWorker)
        self._actor = remote_class.remote(*self._arguments)
        self._stream = self._actor.chunks.options(
            num_returns="streaming",
            _generator_backpressure_num_objects=self._ahead,
        ).remote(self.next_chunk, self._step)
