"""Object stores behind fsspec: S3 and whatever else has a URL.

Requests fail now and then, and more so when many machines make them. Each is repeated
with growing pauses until it succeeds or patience ends; then the message says what
failed. Refusals that no repetition mends (a missing bucket, a wrong key) end at once.
"""

import contextlib
import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pxrdbench.dataset.storage.store import Store, find_remedy, is_local
from pxrdbench.errors import ShardError, StoreError

# The object that stands for the lock. No store has locks of its own, so it is a lease:
# whoever holds it renews it, and who has not renewed it for long is taken for dead.
_LOCK_OBJECT = "lock.json"
_LOCK_RENEW = 20.0
_LOCK_LEASE = 90.0

_CONNECTIONS = 64
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 15.0
# Whether there is a store at all is asked for so long [s].
_FIRST_PATIENCE = 15.0
# Told by name, so that no store's package need be there.
_FINAL = {"NoCredentialsError", "PartialCredentialsError"}

T = TypeVar("T")

_log = logging.getLogger(__name__)


class ObjectStore(Store):
    """Objects under a prefix, such as ``s3://bucket/prefix``.

    Attributes:
        location: The URL.
        patience: How long failing requests are repeated [s].
    """

    def __init__(self, url: str, patience: float) -> None:
        self.location = url.rstrip("/")
        self.patience = patience

    def sizes(self) -> dict[str, int]:
        """Every object's name and size [bytes], at the time of asking."""

        def list_all() -> list[dict[str, Any]]:
            filesystem, root = self._open()
            filesystem.invalidate_cache()
            try:
                found: list[dict[str, Any]] = filesystem.ls(root, detail=True)
            except FileNotFoundError:  # stores know no empty folders
                return []
            return found

        return {
            str(entry["name"]).rpartition("/")[2]: int(entry["size"] or 0)
            for entry in self._repeat("list", "", list_all)
            if entry["type"] == "file"
        }

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object, or bytes start to stop of it."""
        return self._repeat("read", name, lambda: self._get(name, start, stop))

    def read_once(self, name: str, start: int, stop: int) -> bytes:
        """Read bytes start to stop of an object, with the patience of a moment.

        Raises:
            StoreError: If it does not work at once.
        """
        return self._repeat("read", name, lambda: self._get(name, start, stop), 0.0)

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Read several objects, many at a time where the store can."""

        def get() -> dict[str, bytes]:
            filesystem, root = self._open()
            paths = {f"{root}/{name}": name for name in names}
            if not paths:
                return {}
            found = filesystem.cat(list(paths), on_error="return")
            data = {}
            for path, name in paths.items():
                answer = found[path]
                if isinstance(answer, FileNotFoundError):
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                data[name] = answer
            return data

        names = list(names)
        return self._repeat("read", f"{len(names)} objects", get)

    def write(self, name: str, data: bytes) -> None:
        """Put an object; it is there whole or not at all."""

        def put() -> None:
            filesystem, root = self._open()
            filesystem.pipe_file(f"{root}/{name}", data)

        self._repeat("write", name, put)

    def adopt(self, part: Path, name: str) -> None:
        """Upload a finished local file in one put; the file is gone afterwards."""

        def put() -> None:
            filesystem, root = self._open()
            filesystem.put_file(str(part), f"{root}/{name}")

        try:
            self._repeat("write", name, put)
        finally:
            part.unlink(missing_ok=True)

    def fetch(self, name: str, path: Path) -> None:
        """Download an object."""

        def get() -> None:
            filesystem, root = self._open()
            filesystem.get_file(f"{root}/{name}", str(path))

        self._repeat("read", name, get)

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""

        def delete() -> None:
            filesystem, root = self._open()
            with contextlib.suppress(FileNotFoundError):
                filesystem.rm_file(f"{root}/{name}")

        self._repeat("delete", name, delete)

    def prepare(self) -> None:
        """See that the store answers, without the patience of a run at work."""
        with contextlib.suppress(FileNotFoundError):
            self._repeat(
                "read",
                _LOCK_OBJECT,
                lambda: self._get(_LOCK_OBJECT),
                min(self.patience, _FIRST_PATIENCE),
            )

    def _get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        filesystem, root = self._open()
        data: bytes = filesystem.cat_file(
            f"{root}/{name}", start=start or None, end=stop
        )
        return data

    def sweep(self) -> None:
        """Nothing to do: an object is there whole or not at all."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store's lock object and keep renewing it.

        Two runs that begin in the same moment may both believe that they hold it.
        They write the same bytes, so that only work is lost.

        Raises:
            ShardError: If another run has it.
        """
        me = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self._refuse_if_held()
        self._renew(me)
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(_LOCK_RENEW):
                with contextlib.suppress(ShardError):
                    self._renew(me)

        keeper = threading.Thread(target=keep, name="pxrdbench-lock", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            with contextlib.suppress(ShardError):
                self.remove(_LOCK_OBJECT)

    def _renew(self, owner: dict[str, Any]) -> None:
        self.write(_LOCK_OBJECT, json.dumps({**owner, "time": time.time()}).encode())

    def _refuse_if_held(self) -> None:
        try:
            held = json.loads(self.read(_LOCK_OBJECT))
            age = time.time() - float(held["time"])
            host, pid = str(held["host"]), int(held["pid"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        if host == socket.gethostname() and not Path(f"/proc/{pid}").exists():
            return
        if age < _LOCK_LEASE:
            raise ShardError(
                f"another run writes to {self.location} (process {pid} on {host}, "
                f"heard of {max(age, 0):.0f} s ago); wait for it, or choose another "
                f"--out. If it is dead, its lock ends {_LOCK_LEASE:.0f} s after its "
                "last sign"
            )

    def _open(self) -> tuple[Any, str]:
        """The file system and the prefix; fsspec keeps one for each process."""
        import fsspec

        try:
            filesystem, root = fsspec.core.url_to_fs(
                self.location, use_listings_cache=False, **self._connections()
            )
        except ImportError as error:
            raise ShardError(
                f"{self.location} cannot be opened: {error}. For s3:// addresses: "
                "pip install 'pxrdbench[s3]'"
            ) from error
        except ValueError as error:
            raise ShardError(f"{self.location} cannot be opened: {error}") from error
        return filesystem, str(root).rstrip("/")

    def _connections(self) -> dict[str, Any]:
        """Room for as many requests at a time as threads make; S3 would have ten."""
        if not self.location.startswith(("s3://", "s3a://")):
            return {}
        from fsspec.config import conf

        chosen = dict(conf.get("s3", {}).get("config_kwargs", {}))
        return {"config_kwargs": {"max_pool_connections": _CONNECTIONS, **chosen}}

    def _repeat(
        self,
        verb: str,
        name: str,
        action: Callable[[], T],
        patience: float | None = None,
    ) -> T:
        """Do something until it works, or patience ends.

        Raises:
            FileNotFoundError: If what is to be read is not there.
            ShardError: If it does not work.
        """
        ends = time.monotonic() + (self.patience if patience is None else patience)
        pause = _FIRST_PAUSE
        while True:
            try:
                return action()
            except ShardError:
                raise
            except FileNotFoundError as error:
                if verb != "write":
                    raise
                raise self._explain(verb, name, error) from error
            except Exception as error:  # stores raise what they like
                # Spread out, so that a hundred workers do not come back together.
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                is_final = (
                    isinstance(error, PermissionError)
                    or type(error).__name__ in _FINAL
                    or is_local(error)
                )
                if is_final or time.monotonic() + wait > ends:
                    raise self._explain(verb, name, error) from error
                _log.warning(
                    "%s: cannot %s %s (%s); again in %.1f s",
                    self.location,
                    verb,
                    name,
                    error,
                    wait,
                )
                time.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _explain(self, verb: str, name: str, error: Exception) -> ShardError:
        what = self.address(name) if name and " " not in name else self.location
        why = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, FileNotFoundError):
            remedy = "make the bucket first, or choose another --out"
        elif isinstance(error, OSError) and is_local(error):
            remedy = f"this machine is to blame: {find_remedy(error)}"
        elif isinstance(error, PermissionError) or type(error).__name__ in _FINAL:
            remedy = "check the credentials (AWS_ACCESS_KEY_ID, …) and their rights"
        else:
            remedy = (
                f"repeated for {self.patience:.0f} s; check the network and the "
                "endpoint (AWS_ENDPOINT_URL)"
            )
        return StoreError(
            f"cannot {verb} {what} ({why}): {remedy}. Shards that are listed stay "
            "valid, and the same command goes on where it stopped"
        )
