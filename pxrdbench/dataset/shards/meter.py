"""How either side of a stream stands, as small files beside the shards.

    producer.json          whoever writes: `generate`
    consumer-NAME.json     whoever reads: `train --shards`

Each side writes its own every two seconds and looks at the other's, so that both know
who waits for whom, whatever machines they are on. No sample depends on these files: a
side that cannot write or read one goes on without a word. Clocks are never compared:
a side is alive while its ``beat`` moves on, or while its process is there on this
machine.
"""

import builtins
import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError

PRODUCER_FILE = "producer.json"

# How often a side tells, and looks at the other [s].
_EVERY = 2.0
# A side whose beat has stood still for so long is gone: three puts to a slow store [s].
_GONE = 20.0


def consumer_file(consumer: str) -> str:
    """Name of the file in which a consumer says how it stands."""
    return f"consumer-{consumer}.json"


@dataclass(frozen=True)
class MeterReading:
    """How one side of a stream stands.

    Attributes:
        phase: ``starting``, ``running``, ``waiting`` (a producer for room, a consumer
            for shards) or ``ended``.
        run: What this side writes to; tells one run from another.
        why: Why it has ended, in a sentence.
        samples: Written by a producer, learnt by a consumer, those of earlier runs
            included.
        acknowledged: Samples of shards that a consumer has given free.
        per_second: Samples a second, over all the time of this run.
        waited: Share of this run's time spent waiting for the other side, 0-1.
        bytes: Held by the set's shards.
        max_bytes: What they may take.
        seconds: Time since this run began to work [s].
        beat: Rises with every reading.
        host: Machine, and
        pid: process of this side.
    """

    phase: str
    run: str = ""
    why: str = ""
    samples: int = 0
    acknowledged: int = 0
    per_second: float = 0.0
    waited: float = 0.0
    bytes: int = 0
    max_bytes: int = 0
    seconds: float = 0.0
    beat: int = 0
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    @property
    def could(self) -> float:
        """Samples a second if it never waited for the other side."""
        return self.per_second / max(1.0 - self.waited, 1e-3)

    def to_json(self) -> str:
        """Write it down."""
        values = asdict(self)
        return json.dumps({n: _short(v) for n, v in values.items()}) + "\n"

    @classmethod
    def from_json(cls, text: "str | builtins.bytes") -> "MeterReading | None":
        """Read what `to_json` wrote; None if it is nothing of the kind."""
        try:
            values = json.loads(text)
            known = {f.name for f in fields(cls)}
            return cls(**{n: v for n, v in values.items() if n in known})
        except (ValueError, TypeError, AttributeError):
            return None


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def look(store: Store, name: str) -> MeterReading | None:
    """How a side stood last; None if nothing is known of it."""
    with contextlib.suppress(OSError, ShardError):
        return MeterReading.from_json(store.read_many([name]).get(name, b""))
    return None


class Watch:
    """Tells whether a side is at work, by its beat and this side's own clock."""

    def __init__(self) -> None:
        self.last: MeterReading | None = None
        self._heard = time.monotonic()

    def see(self, reading: MeterReading | None) -> None:
        """Take the newest reading; None where the side's file is not there."""
        if reading is None and self.last is not None:
            self.last = replace(self.last, phase="ended", why="their run is over")
            return
        if reading is not None and (
            self.last is None
            or (reading.beat, reading.pid) != (self.last.beat, self.last.pid)
        ):
            self._heard = time.monotonic()
        self.last = reading

    @property
    def is_alive(self) -> bool:
        """Whether it works, as far as can be told from here."""
        reading = self.last
        if reading is None or reading.phase == "ended":
            return False
        if reading.host == socket.gethostname() and Path("/proc/self").exists():
            return Path(f"/proc/{reading.pid}").exists()
        return time.monotonic() - self._heard < _GONE


class Meter:
    """Tells how one side stands and looks at the other, on a thread of its own.

    Attributes:
        others: Those of the other side, by the names of their files.

    Args:
        store: Where the shards are.
        own: Name of this side's file; nothing is written if empty.
        others: Names of the other side's files.
        stays: Whether this side's file stays when it has ended.
    """

    def __init__(
        self, store: Store, own: str, *others: str, stays: bool = True
    ) -> None:
        self._stays = stays
        self.others = {name: Watch() for name in others}
        self._store = store
        self._own = own
        self._reading: MeterReading | None = None
        self._beat = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name="pxrdbench-meter", daemon=True
        )

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # A store that does not answer is no reason to stay.
        self._thread.join(timeout=2 * _EVERY)

    @property
    def other(self) -> Watch:
        """The other side; of several that read, the one that is farthest behind."""
        told = [watch for watch in self.others.values() if watch.last is not None]
        return min(told, key=lambda w: w.last.samples if w.last else 0, default=Watch())

    def say(self, reading: MeterReading) -> None:
        """Say how this side stands; it is written when it is next time to."""
        self._reading = reading

    def end(self, why: str) -> None:
        """Say that this side has ended."""
        if self._reading is not None:
            self._reading = replace(self._reading, phase="ended", why=why)

    def _work(self) -> None:
        while True:
            has_ended = self._ended.is_set()
            if self.others:
                with contextlib.suppress(OSError, ShardError):
                    found = self._store.read_many(list(self.others))
                    for name, watch in self.others.items():
                        text = found.get(name)
                        watch.see(
                            None if text is None else MeterReading.from_json(text)
                        )
            if has_ended and not self._stays:
                with contextlib.suppress(OSError, ShardError):
                    self._store.remove(self._own)
                return
            self._write()
            if has_ended:
                return
            self._ended.wait(_EVERY)

    def _write(self) -> None:
        reading = self._reading
        if reading is None or not self._own:
            return
        store = self._store
        if isinstance(store, LocalStore) and not store.folder.is_dir():
            return  # a folder that was taken away is not made again for this
        self._beat += 1
        text = replace(reading, beat=self._beat).to_json()
        with contextlib.suppress(OSError, ShardError):
            self._store.write(self._own, text.encode())


def name_bottleneck(producer: MeterReading, consumer: MeterReading) -> str:
    """Say which side holds up the other, and by how much.

    Example:
        >>> name_bottleneck(
        ...     MeterReading("waiting", per_second=900.0, waited=0.9),
        ...     MeterReading("running", per_second=900.0, waited=0.01),
        ... )
        'the trainer is the bottleneck: producers could make 9.9 times as much'
    """
    if producer.waited >= consumer.waited:
        factor = producer.could / max(consumer.could, 1e-9)
        side, other = "the trainer is", "producers could make"
    else:
        factor = consumer.could / max(producer.could, 1e-9)
        side, other = "producers are", "the trainer could learn"
    if factor <= 1.05:
        return "both sides keep step"
    return f"{side} the bottleneck: {other} {factor:.1f} times as much"
