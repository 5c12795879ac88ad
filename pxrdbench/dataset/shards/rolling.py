"""A set that rolls: shards are deleted when all their consumers have read them.

    generate(GenerateConfig(recipe, "shards/stream", rolling="trainer"))   # one process
    loader = make_loader(RollingSet("shards/stream", "trainer"), 256)      # another

The producer fills the disk up to its limit and waits; a consumer acknowledges what it
has read; the producer deletes what each of those named in the beginning has read, and
goes on. A deleted shard is not lost: its record
stays as ``retired``, and whoever asks for its samples again, as a trainer does that
goes on from an older checkpoint, has them drawn from the recipe.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.block_rendering import (
    BlockRenderer,
    describe_measurement,
)
from pxrdbench.dataset.shards.cache import ShardCache
from pxrdbench.dataset.shards.manifest import (
    MOST_COUNT,
    Manifest,
    ShardRecord,
    ShardSpan,
    find_retired,
)
from pxrdbench.dataset.shards.own_prior import recall_recipe
from pxrdbench.dataset.shards.shard import Block, draw_block, read_recorded_block
from pxrdbench.dataset.source import BatchSource, EndOfSource
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store, explain_read_error
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.errors import ShardError, StoreError
from pxrdbench.outside import guard, one_line, parse_strict_json, take

ROLLING_FILE = "rolling.json"
# Where a set was told to end, once it is there: {"samples": N}.
END_FILE = "end.json"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CACHED_BLOCKS = 16
# Shards behind the newest one that are kept in mind, and their copies on the disk.
_KEPT_SHARDS = 16
# Shards of an object store that are fetched before they are asked for.
_AHEAD = 4
# Requests that are made at a time beside the reading.
_AT_ONCE = 8
# How often a reader looks whether the next shard is there [s].
_POLL = 0.25


def acknowledgement_ending(consumer: str) -> str:
    """End of the names of a consumer's acknowledgements: ``shard-000003.NAME.ack``."""
    return f"{consumer}.ack"


def parse_consumers(text: str) -> tuple[str, ...]:
    """Read names of consumers, with commas between them.

    Raises:
        ShardError: If one is impossible, or named twice.

    Example:
        >>> parse_consumers("large,small")
        ('large', 'small')
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ShardError(
                f"{name!r} is no name of a consumer: letters, digits, - and _, at most "
                "64 of them"
            )
    if len(set(names)) < len(names):
        raise ShardError(f"{text!r} names a consumer twice")
    return names


def open_rolling(location: str | Path | Store, consumers: str) -> None:
    """Say who the consumers of a set are, or check that they are the same as before.

    Args:
        location: Folder or URL of the set.
        consumers: Their names, with commas.

    Raises:
        ShardError: If a name is impossible, or others have been named.
    """
    names = parse_consumers(consumers)
    store = open_store(location)
    known = find_consumers(store)
    if not known:
        entry = {"consumer": names[0]} if len(names) == 1 else {"consumers": names}
        store.write(ROLLING_FILE, (json.dumps(entry) + "\n").encode())
    elif set(known) != set(names):
        raise _refuse_other(store, known, [name for name in names if name not in known])


def join_rolling(store: Store, consumer: str) -> None:
    """Be a consumer of a set: one of those that it was made for, or its first.

    Raises:
        ShardError: If it rolls for others.
    """
    known = find_consumers(store)
    if not known:
        open_rolling(store, consumer)
    elif consumer not in known:
        raise _refuse_other(store, known, [consumer])


def _refuse_other(
    store: Store, known: Sequence[str], others: Sequence[str]
) -> ShardError:
    """Say why nobody else may read, and what to do."""
    plural = "s" if len(known) > 1 else ""
    added = f", not {_listed(others)}" if others else " and for all of them"
    everyone = ",".join([*known, *others])
    return ShardError(
        f"{store.location} rolls for the consumer{plural} {_listed(known)}{added}: one "
        "that comes late would miss what others have read. Read as one of those named "
        f"(train --consumer {known[0]}), or have a set written for all from its "
        f"beginning: `pxrdbench generate --rolling {everyone} --out` another folder"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


def find_consumers(location: str | Path | Store) -> tuple[str, ...]:
    """Name the consumers of a rolling set; none if the set does not roll."""
    store = open_store(location)
    try:
        text = store.read(ROLLING_FILE)
    except FileNotFoundError:
        return ()
    place = f"{store.address(ROLLING_FILE)} is damaged"
    with guard(ShardError, place):
        values = parse_strict_json(text, f"{place}: it", ShardError)
        if "consumers" in values:
            names = take(values, "consumers", list)
        else:
            names = [take(values, "consumer", str)]
        if not names:
            raise ValueError("nobody is named")
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"{one_line(str(name), 60)!r} is no name of a consumer"
                )
        return tuple(names)


def find_end(store: Store) -> int | None:
    """Samples of a set that was told to end and is complete; None while it grows.

    Raises:
        ShardError: If the file that says so is damaged.
    """
    text = store.read_many([END_FILE]).get(END_FILE)
    if text is None:
        return None
    place = f"{store.address(END_FILE)} is damaged"
    with guard(ShardError, place):
        samples = take(
            parse_strict_json(text, f"{place}: it", ShardError), "samples", int
        )
        if not 0 <= samples <= MOST_COUNT:
            raise ValueError(f"{samples} samples")
        return int(samples)


def acknowledge(location: str | Path | Store, consumer: str, shard: int) -> None:
    """Say that a shard has been read and may be deleted.

    The producer deletes it within seconds, or when it next runs. Saying it twice does
    no harm.

    Args:
        location: Folder or URL of the set.
        consumer: The name that the producer was given (``--rolling NAME``).
        shard: Number of the shard.

    Raises:
        ShardError: If the set does not roll, or for another consumer.
    """
    store = open_store(location)
    known = find_consumers(store)
    if consumer not in known:
        raise ShardError(
            f"{store.location} does not roll for {consumer!r}"
            + (
                f" but for {_listed(known)}"
                if known
                else "; `generate --rolling` makes it so"
            )
        )
    _acknowledge(store, consumer, shard)


def _acknowledge(store: Store, consumer: str, shard: int) -> None:
    name = f"shard-{shard:06d}.{acknowledgement_ending(consumer)}"
    store.write(name, b"")


@dataclass(frozen=True, eq=False)
class _Found:
    """A record, compared by identity: one that is read anew is another shard."""

    record: ShardRecord


class RollingSet(BatchSource):
    """A set that is still written, as an endless source in the order of the recipe.

    Samples of a recipe are independent, so their own order is as good as a shuffled
    one. Reading waits for shards that are not there yet and draws those that are no
    longer there. Where a consumer is named, shards are acknowledged as soon as every
    sample before their end has been handed out. One process reads them; where several
    share the reading, they name no consumer and call `acknowledge` themselves.

    Attributes:
        redrawn: Samples that were drawn anew because their shard had been deleted.
        origin: Sample of the recipe that is number 0 here.
        patience_now: Asked while a shard is waited for: how long it may take in all
            [s], as is known of its producers now; a set whose producers have gone ends
            where it is. None for the patience alone.
    """

    length = None  # no end is known

    def __init__(
        self,
        location: str | Path | Store,
        consumer: str = "",
        *,
        measurement: Measurement | str | None = None,
        prior: str | Path | Prior | None = None,
        patience: float = 300.0,
        acknowledge_read: bool = True,
        origin: int = 0,
    ) -> None:
        """Open a set.

        Args:
            location: Folder or URL of the set; it is there, but may be empty.
            consumer: Whose acknowledgements to write; none if empty.
            measurement: What instrument and sample add when patterns are rendered,
                instead of what the recipe says.
            prior: Where the recipe's prior is; looked for among those that ship and
                beside the shards if left away.
            patience: How long to wait for a shard [s].
            acknowledge_read: Whether what was handed out is acknowledged at once; else
                it is when `acknowledge_below` says so, as a trainer does behind each
                checkpoint.
            origin: Sample of the recipe that is number 0 here.

        Raises:
            ShardError: If there is no set, or it rolls for another consumer.
        """
        self.redrawn = 0
        self.origin = origin
        self._store = open_store(location)
        self._manifest = Manifest.read_description(self._store)
        card = self._manifest.card
        self._renderer = BlockRenderer(
            card, measurement, lambda: recall_recipe(self._store, card, prior)
        )
        self.grid = card.grid
        self.radiation = card.radiation
        self.space_groups = card.space_groups
        self.block_samples = self._manifest.block_samples
        self._prior = prior
        self._patience = patience
        self._recipe: Recipe | None = None
        if consumer:
            join_rolling(self._store, consumer)
        self._consumer = consumer
        self._records: dict[int, _Found] = {}
        self._shards = ShardCache(self._store)
        self._retired_below = 0
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._read_block)
        self._lock = threading.Lock()
        self._in_flight: list[int] = []
        self._end = 0
        self._acknowledged: int | None = None
        self._total: int | None = None
        self._acknowledge_read_ones = acknowledge_read
        self._closed = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: set[int] = set()
        self.patience_now: Callable[[], float] | None = None

    @property
    def card(self) -> RecipeCard:
        """The recipe of the samples, without the prior's arrays."""
        return self._manifest.card

    @property
    def store(self) -> Store:
        """Where the shards are."""
        return self._store

    @property
    def consumer(self) -> str:
        """Whose acknowledgements are written; none if empty."""
        return self._consumer

    @property
    def shard_samples(self) -> int:
        """Samples of a full shard."""
        return self._manifest.shard_samples

    @property
    def acknowledged(self) -> int:
        """Samples of this set, from ``origin`` on, whose shards were given free."""
        with self._lock:
            shards = self._acknowledged or 0
        return max(0, shards * self.shard_samples - self.origin)

    def identity(self) -> dict[str, str | int]:
        """What tells this set from another; how far it is written does not."""
        return {
            "source": "stream",
            "recipe": self.card.digest,
            "measurement": describe_measurement(self._renderer.measurement),
            "origin": self.origin,
        }

    def batch(self, start: int, count: int) -> Batch:
        """Read and render samples start to start + count; waits until they are there.

        Raises:
            EndOfSource: If the set has been told to end before, and is complete.
            ShardError: If they do not come within the patience.
        """
        first = start + self.origin
        with self._lock:
            self._in_flight.append(first)
        try:
            block = self.read(start, count)
        finally:
            with self._lock:
                self._in_flight.remove(first)
        if self._acknowledge_read_ones:
            self._acknowledge_read(first, first + count)
        return self._renderer.batch(block)

    def draw(self, start: int, count: int) -> Batch:
        """Draw and render samples of the recipe that need not be in the set.

        Args:
            start: Number within the recipe.
            count: How many.
        """
        with self._lock:
            recipe = self._recall()
        block, _ = draw_block(recipe, start, count)
        return self._renderer.batch(block)

    @property
    def recipe(self) -> Recipe:
        """The recipe with its prior."""
        with self._lock:
            return self._recall()

    def acknowledge_below(self, stop: int) -> int:
        """Acknowledge the shards whose samples all lie before a number.

        Args:
            stop: The first sample that is still needed.

        Returns:
            How many shards were acknowledged now.
        """
        if not self._consumer:
            return 0
        frontier = (stop + self.origin) // self.shard_samples
        if self._total is not None and stop + self.origin >= self._total:
            frontier = -(-self._total // self.shard_samples)  # the last one is short
        with self._lock:
            first = self._acknowledged
            if first is None:
                first = self._first_unread(frontier)
            self._acknowledged = max(first, frontier)
        self._acknowledge_all(range(first, frontier))
        return max(0, frontier - first)

    def _acknowledge_all(self, shards: range) -> None:
        """Write acknowledgements; to an object store several at a time."""
        if self._shards.is_needed and len(shards) > 1:
            for written in [
                self._helpers().submit(_acknowledge, self._store, self._consumer, shard)
                for shard in shards
            ]:
                written.result()
            return
        for shard in shards:
            _acknowledge(self._store, self._consumer, shard)

    def wait_for(self, stop: int) -> None:
        """Wait until all samples before a number are there, or were.

        Raises:
            EndOfSource: If the set ends before.
            ShardError: If they do not come within the patience.
        """
        shard, within = divmod(stop - 1 + self.origin, self.shard_samples)
        self._find(shard, within)

    def close(self) -> None:
        """Wait for nothing any more; threads that wait end with an error."""
        self._closed.set()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def read(self, start: int, count: int) -> Block:
        """Read samples start to start + count as they are stored, without a word.

        Raises:
            EndOfSource: If the set has been told to end before, and is complete.
            ShardError: If they do not come within the patience.
        """
        start += self.origin
        if start < 0 or count < 1:
            raise ShardError(f"samples {start} to {start + count - 1} of a set")
        pieces, stop = [], start + count
        while start < stop:
            shard, within = divmod(start, self._manifest.shard_samples)
            number, row = divmod(within, self.block_samples)
            # The last shard of a set may be short, and written anew with more.
            try:
                block = self._block(self._find(shard, within), number)
            except OSError as error:
                raise explain_read_error(self._store.location, error) from error
            end = min(row + stop - start, len(block))
            pieces.append(block.rows(row, end))
            start += end - row
        return Block.join(pieces)

    def _read_block(self, shard: "_Found", number: int) -> Block:
        record = shard.record
        if not record.retired:
            first, last = record.block_offset[number : number + 2]
            try:
                data = self._shards.read(record, first, last)
                return read_recorded_block(data, record, number, self.block_samples)
            except FileNotFoundError:
                pass  # acknowledged by an earlier run, and deleted since we looked
            except (OSError, StoreError):
                raise
            except ShardError as error:
                raise ShardError(
                    f"{self._store.address(record.name)}.tar cannot be read ({error}); "
                    "delete it and run the same `pxrdbench generate` again: it comes "
                    "back the same"
                ) from error
        return self._draw(record, number)

    def _draw(self, record: ShardRecord, number: int) -> Block:
        """Make the samples of a deleted shard again."""
        with self._lock:
            recipe = self._recall()
        first = number * self.block_samples
        count = min(self.block_samples, record.samples - first)
        block, _ = draw_block(recipe, record.first + first, count)
        self.redrawn += count
        return block

    def _recall(self) -> Recipe:
        """The recipe, made when it is first needed; the caller holds the lock."""
        if self._recipe is None:
            self._recipe = recall_recipe(self._store, self.card, self._prior)
        return self._recipe

    def _find(self, shard: int, within: int) -> "_Found":
        """A shard that holds its sample ``within``; waits until it is there."""
        found = self._records.get(shard)
        record = None if found is None else found.record
        began, looked = time.monotonic(), False
        name = ShardSpan.of(shard, self._manifest.shard_samples).name
        while record is None or record.samples <= within:
            found = None
            record = self._look_for(shard, is_first=not looked)
            looked = True
            if record is not None and record.samples > within:
                break
            self._check_end(shard, within)
            patience = self._patience
            if self.patience_now is not None:
                patience = self.patience_now()
            if time.monotonic() > began + patience:
                if self.patience_now is not None:
                    raise EndOfSource(max(0, self._count_there() - self.origin))
                raise ShardError(
                    f"{self._store.address(name)} has not come for "
                    f"{self._patience:.0f} s: see that `pxrdbench generate` is at work "
                    "there and has room (--max-size)"
                )
            if self._closed.wait(_POLL):
                raise ShardError(f"{self._store.location} is closed")
        if found is not None:
            return found
        found = _Found(record)
        with self._lock:
            self._records[shard] = found
            old = [k for k in self._records if k < shard - _KEPT_SHARDS]
            gone = [self._records.pop(k).record for k in old]
        if self._shards.is_needed:
            for each in gone if self._consumer else ():
                self._shards.forget(each)
            self._fetch_ahead(shard)
        return found

    def _look_for(self, shard: int, *, is_first: bool) -> ShardRecord | None:
        """The record of a shard as it stands in the store; None if there is none."""
        span = ShardSpan.of(shard, self._manifest.shard_samples)
        try:
            text = self._store.read(f"{span.name}.json")
            return self._manifest.read_record(self._store, f"{span.name}.json", text)
        except FileNotFoundError:
            pass
        if is_first and shard >= self._retired_below:
            self._retired_below = find_retired(self._store, self.card.digest)
        if shard >= self._retired_below:
            return None
        return ShardRecord(
            name=span.name,
            index=shard,
            first=span.first,
            samples=span.samples,
            bytes=0,
            sha256="",
            recipe=self.card.digest,
            space_group_counts={},
            rejections={},
            block_offset=(),
            made_with={},
            retired=True,
        )

    def _helpers(self) -> ThreadPoolExecutor:
        """Threads for requests that nobody should wait for one after the other."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, "pxrdbench-ahead")
            return self._pool

    def _fetch_ahead(self, shard: int) -> None:
        """Begin to fetch the next shards of an object store, if they are there."""
        pool = self._helpers()
        with self._lock:
            self._begun = {number for number in self._begun if number > shard}
            wanted = set(range(shard + 1, shard + 1 + _AHEAD)) - self._begun
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            for number in sorted(wanted):
                pool.submit(self._fetch_one, number)

    def _fetch_one(self, shard: int) -> None:
        """Fetch a shard that will be read soon; without a word, if it is there."""
        with contextlib.suppress(OSError, ShardError):
            record = self._look_for(shard, is_first=False)
            if record is not None and not record.retired:
                with self._lock:
                    self._begun.add(shard)
                self._shards.fetch_ahead([record])

    def _check_end(self, shard: int, within: int) -> None:
        """See whether a sample that is not there will never be."""
        samples = find_end(self._store)
        if samples is None:
            return
        if shard * self._manifest.shard_samples + within >= samples:
            self._total = samples
            raise EndOfSource(max(0, samples - self.origin))

    def _count_there(self) -> int:
        """Samples up to the first shard that was never written."""
        names = self._store.sizes()
        shard = first = find_retired(self._store, self.card.digest)
        while f"{ShardSpan.of(shard, self.shard_samples).name}.json" in names:
            shard += 1
        if shard == first:
            return shard * self.shard_samples
        name = f"{ShardSpan.of(shard - 1, self.shard_samples).name}.json"
        last = self._manifest.read_record(self._store, name, self._store.read(name))
        return (shard - 1) * self.shard_samples + last.samples

    def _acknowledge_read(self, start: int, stop: int) -> None:
        """Acknowledge the shards below everything that is still being read."""
        if not self._consumer:
            return
        size = self._manifest.shard_samples
        with self._lock:
            self._end = max(self._end, stop)
            first = self._acknowledged
            if first is None:
                first = self._first_unread(start // size)
            frontier = min([*self._in_flight, self._end])
            done = range(first, frontier // size)
            self._acknowledged = max(first, frontier // size)
        self._acknowledge_all(done)

    def _first_unread(self, shard: int) -> int:
        """The first shard below which none is left of what was read before."""
        there = [
            int(name[6:-4])
            for name in self._store.sizes()
            if re.fullmatch(r"shard-\d{6,}\.tar", name)
        ]
        return min([shard, *there])
