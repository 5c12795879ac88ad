"""A training that reads what others are still writing: its side of the stream.

It waits for shards and says for whom, gives free what its last checkpoint no longer
needs, writes a checkpoint early when the producers stand at their limit, and keeps the
meter of both sides: ``stream.jsonl`` in the run's folder, a line every few seconds.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pxrdbench.dataset.shards.manifest import (
    DATASET_FILE,
    RETIRED_FILE,
    Manifest,
    find_retired,
)
from pxrdbench.dataset.shards.meter import (
    PRODUCER_FILE,
    Meter,
    MeterReading,
    Watch,
    consumer_file,
    look,
    name_bottleneck,
)
from pxrdbench.dataset.shards.rolling import (
    END_FILE,
    RollingSet,
    acknowledgement_ending,
    find_consumers,
    join_rolling,
)
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.learning.loading.growing import GrowingSet

STREAM_FILE = "stream.jsonl"

_POLL = 0.5
# A set whose producers ended in good order gets no more; listings may lag a little [s].
_ENDED = 5.0
# Killed producers are waited for so long: the same command goes on where they were [s].
PATIENCE = 300.0
# A line of the meter is written this often [s].
_LINE_EVERY = 2.0
# Early checkpoints are at least so far apart, and take this share of the time at most.
_EARLY = 1.0
_EARLY_SHARE = 0.05

Say = Callable[[str], None]


def find_way(store: Store, patience: float, say: Say) -> str:
    """Find out how a set is read; waits until there is one, or its first shard.

    Args:
        store: Where it is or will be.
        patience: How long to wait for it [s].
        say: Told once what is waited for.

    Returns:
        ``rolling``: its consumer deletes what was read; ``growing``: it is still
        written; ``whole``: all there is to come is there.

    Raises:
        ShardError: If nothing comes.
    """
    watch, began, told = Watch(), time.monotonic(), ""
    while True:
        names = store.sizes()
        has_set = DATASET_FILE in names
        if has_set and find_consumers(store):
            return "rolling"
        watch.see(look(store, PRODUCER_FILE))
        has_shards = any(n.startswith("shard-") and n.endswith(".json") for n in names)
        if has_set and has_shards and (END_FILE in names or not watch.is_alive):
            return "whole"
        if has_set and watch.is_alive:
            return "growing"
        missing = (
            "holds no shard, and nobody is known to write one"
            if has_set
            else f"holds no data set ({DATASET_FILE} is not there)"
        )
        if time.monotonic() - began >= patience:
            after = f" after {patience:.0f} s" if patience > 0.0 else ""
            raise ShardError(
                f"{store.location} {missing}{after}; `pxrdbench generate --out "
                f"{store.location}` makes one"
            )
        if missing != told:
            told = missing
            say(
                f"{store.location} {missing}: waiting up to {patience:.0f} s for "
                f"`pxrdbench generate --out {store.location}`"
            )
        time.sleep(_POLL)


def choose_consumer(store: Store, wanted: str | None) -> str:
    """Name the consumer of a rolling set that a run reads as.

    Args:
        store: Where the set is.
        wanted: What was asked for; None for the only one there is.

    Raises:
        ShardError: If there are several and none was asked for.
    """
    known = find_consumers(store)
    if wanted is not None:
        join_rolling(store, wanted)
        return wanted
    if len(known) > 1:
        raise ShardError(
            f"{store.location} rolls for several consumers: say which one this run is, "
            f"--consumer {' or --consumer '.join(known)}"
        )
    return known[0]


def find_origin(store: Store, consumer: str) -> int:
    """First shard that a consumer has not read yet: where a new run begins."""
    names = store.sizes()
    gone = [
        int(name[6:-5])
        for name in names
        if name.startswith("shard-")
        and name.endswith(".json")
        and f"{name[:-5]}.tar" not in names
    ]
    ending = f".{acknowledgement_ending(consumer)}"
    acknowledged = [int(n.split(".")[0][6:]) for n in names if n.endswith(ending)]
    below = 0
    if RETIRED_FILE in names:
        below = find_retired(store, Manifest.read_description(store).card.digest)
    return max([below - 1, *gone, *acknowledged]) + 1


def refuse_second(store: Store, consumer: str, run: str) -> None:
    """Refuse to be a second reader under the same name.

    Raises:
        ShardError: If another run is reading.
    """
    first = look(store, consumer_file(consumer))
    watch = Watch()
    watch.see(first)
    if first is None or first.run == run or not watch.is_alive:
        return
    if first.host != MeterReading("").host:  # its beat is all there is to go by
        time.sleep(5.0)
        watch.see(look(store, consumer_file(consumer)))
        if watch.last == first:
            return
    raise ShardError(
        f"{store.location} is read by another run as {consumer!r} ({first.run}, "
        f"process {first.pid} on {first.host}): each would miss what the other has "
        "read. Stop that one, or have a set written for both: `pxrdbench generate "
        f"--rolling {consumer},{consumer}-2 --out` another folder, and `train "
        f"--consumer {consumer}-2`"
    )


class Follower:
    """This run's side of a stream.

    Attributes:
        note: What is to be said now; empty if nothing is.

    Args:
        source: What is read.
        out: Folder of the run.
        is_first: Whether this process writes checkpoints, and so speaks for the run.
    """

    def __init__(
        self, source: RollingSet | GrowingSet, out: Path, *, is_first: bool
    ) -> None:
        self.source = source
        self.note = ""
        self._set = source.following if isinstance(source, GrowingSet) else source
        self._is_first = is_first
        self._run = str(out.resolve())
        self._log = out / STREAM_FILE
        consumer = self._set.consumer
        name = consumer_file(consumer or f"reader-{os.getpid()}")
        known = find_consumers(self._set.store) if consumer else ()
        self._others = {consumer_file(n): n for n in known if n != consumer}
        # A growing set has no consumer, and its producers wait for nobody.
        own = name if consumer and is_first else ""
        self._meter = Meter(self._set.store, own, PRODUCER_FILE, *self._others)
        self._producers = self._meter.others[PRODUCER_FILE]
        self._logged = self._saved = time.monotonic()
        self._save_seconds = 0.0
        self._waiting_since: float | None = None
        self._trained = 0
        self._set.patience_now = self._patience

    def __enter__(self) -> "Follower":
        self._meter.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()
        self._meter.__exit__(None, None, None)

    @property
    def acknowledged(self) -> int:
        """Samples that were given free."""
        return self._set.acknowledged

    @property
    def producer(self) -> MeterReading | None:
        """How the producers stood last."""
        return self._producers.last

    def state(self) -> Mapping[str, int]:
        """What a checkpoint keeps of the stream."""
        state = {"origin": self._set.origin}
        if isinstance(self.source, GrowingSet) and self.source.first_pass:
            state["first_pass"] = self.source.first_pass
        return state

    def saved(self, position: int, seconds: float) -> None:
        """Give free what a checkpoint that was just written no longer needs.

        Args:
            position: Samples that were learnt when it was written.
            seconds: How long writing took [s].
        """
        self._saved, self._save_seconds = time.monotonic(), seconds
        self._set.acknowledge_below(position)

    def is_due(self, position: int) -> bool:
        """Whether a checkpoint should be written early: producers wait for room."""
        producer = self.producer
        if producer is None or producer.phase != "waiting" or not self._set.consumer:
            return False
        pause = max(_EARLY, self._save_seconds / _EARLY_SHARE)
        if time.monotonic() - self._saved < pause:
            return False
        origin, size = self._set.origin, self._set.shard_samples
        free = (position + origin) // size * size - origin
        return free > self._set.acknowledged

    def waits(self, position: int) -> None:
        """Note that a batch is waited for; after some seconds, say for whom."""
        now = time.monotonic()
        if self._waiting_since is None or position != self._trained:
            self._waiting_since, self._trained = now, position
        if now - self._waiting_since < 3.0:
            return
        place = self._set.store.location
        producer, is_alive = self.producer, self._producers.is_alive
        if producer is None:
            self.note = f"waiting for `pxrdbench generate --out {place}`"
        elif is_alive and producer.phase == "waiting" and (slow := self._slow()):
            self.note = (
                f"waiting for shards, while the producers wait for room: {slow}. "
                "Shards go when all consumers have read them"
            )
        elif is_alive and producer.phase == "waiting" and self._set.consumer:
            self.note = (
                "waiting for shards, while the producers wait for room: the limit of "
                f"{place} holds too few shards; give `generate` a larger --max-size"
            )
        elif is_alive:
            self.note = f"waiting for the producers of {place} ({producer.phase})"
        elif producer.phase == "ended":
            self.note = f"the producers of {place} have ended: {producer.why}"
        else:
            self.note = (
                f"the producers of {place} have gone without a word (process "
                f"{producer.pid} on {producer.host}): waiting up to {PATIENCE:.0f} s "
                "for the same `pxrdbench generate` to go on"
            )

    def _slow(self) -> str:
        """Say which other consumers are at work no more, or never were."""
        told = []
        for name, consumer in self._others.items():
            watch = self._meter.others[name]
            if watch.last is None:
                told.append(f"the consumer {consumer!r} has not begun")
            elif not watch.is_alive:
                told.append(f"the consumer {consumer!r} has ended")
        if self._others and not told:
            told = [f"they also wait for {' and '.join(self._others.values())}"]
        return ", ".join(told)

    def goes_on(self) -> None:
        """Note that batches come."""
        self._waiting_since, self.note = None, ""

    def tell(self, reading: MeterReading) -> None:
        """Say how this side stands, and keep a line of both sides."""
        self._meter.say(reading)
        now = time.monotonic()
        # How a run ended is told however soon that is after the line before.
        is_due = reading.phase == "ended" or now - self._logged >= _LINE_EVERY
        if not self._is_first or not is_due:
            return
        self._logged = now
        producer = self.producer
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "learnt": reading.samples,
            "acknowledged": reading.acknowledged,
            "learnt_per_second": round(reading.per_second, 1),
            "trainer_waited": round(reading.waited, 4),
        }
        if producer is not None:
            # Their file is some seconds old; what was read was written.
            written = producer.samples
            if isinstance(self.source, RollingSet):
                written = max(written, reading.samples + self._set.origin)
            line |= {
                "written": written,
                "held_bytes": producer.bytes,
                "max_bytes": producer.max_bytes,
                "made_per_second": round(producer.per_second, 1),
                "producers_waited": round(producer.waited, 4),
                "producers": producer.phase,
                "bottleneck": name_bottleneck(producer, reading),
            }
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def end(self, why: str) -> None:
        """Say that this run has ended."""
        self._meter.end(why)

    def bottleneck(self, reading: MeterReading) -> str:
        """Which side holds up the other; empty where only one is known."""
        return "" if self.producer is None else name_bottleneck(self.producer, reading)

    def _patience(self) -> float:
        """How long a shard may take, as the producers stand."""
        if self._producers.is_alive:
            return float("inf")
        producer = self.producer
        if producer is None or producer.phase != "ended":
            return PATIENCE
        # Whoever pressed Ctrl-C may go on with the same command.
        return PATIENCE if "nterrupted" in producer.why else _ENDED
