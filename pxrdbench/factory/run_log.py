"""What a run did, as JSON lines: ``log.jsonl`` beside the shards.

A line is an object with ``time`` (UTC, ISO 8601) and ``event``: ``started``,
``leased``, ``finished``, ``given_up``, ``lease_lost``, ``retired``, ``progress``,
``stopping``, ``ended``. A folder's log grows from run to run; in an object store, which
knows no appending, each run has log objects of its own, ``log-TIME.jsonl`` and on.
"""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.factory.progress import GenerateProgress

LOG_FILE = "log.jsonl"

# Progress is logged this often, and the log object of a store written anew [s].
_PROGRESS_EVERY = 10.0
_PUT_EVERY = 60.0
# An object with more lines than this is left as it is, and another one begun.
_MOST_LINES = 5000


class RunLog:
    """Takes notes; writing them down never ends a run.

    Args:
        store: Where to; None to forget everything.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._lines: list[str] = []
        self._progress_at = float("-inf")
        self._put_at = time.monotonic()
        self._stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._part = 0

    def note(self, event: str, **details: Any) -> None:
        """Write a line down."""
        if self._store is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **details}, default=str)
        if isinstance(self._store, LocalStore):
            try:
                with (self._store.folder / LOG_FILE).open("a") as file:
                    file.write(line + "\n")
            except OSError:  # a full disk ends the run where it writes shards
                return
            return
        self._lines.append(line)
        if event == "ended" or time.monotonic() - self._put_at > _PUT_EVERY:
            self._put_at = time.monotonic()
            text = "\n".join([*self._lines, ""])
            try:
                self._store.write(self._name(), text.encode())
            except ShardError:
                return
            if len(self._lines) > _MOST_LINES:  # what is put grows with every put
                self._lines = []
                self._part += 1

    def _name(self) -> str:
        part = f"-{self._part:04d}" if self._part else ""
        return f"log-{self._stamp}{part}.jsonl"

    def progress(self, progress: GenerateProgress) -> None:
        """Write down how far the run is, now and then."""
        if time.monotonic() - self._progress_at < _PROGRESS_EVERY:
            return
        self._progress_at = time.monotonic()
        self.note("progress", **_rounded(asdict(progress)))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in values.items()
    }
