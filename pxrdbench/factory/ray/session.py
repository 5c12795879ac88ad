"""Ray itself: started for this process alone, or joined where it runs.

A Ray of our own lives on this machine behind the loopback address, without dashboard or
usage reports, and ends with the ``with`` block.
"""

import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pxrdbench.errors import ShardError

# The smallest that Ray accepts, for messages of a few bytes.
SMALL_OBJECT_STORE_BYTES = 80 * 1024 * 1024
# A cluster that is to be joined answers within so long [s].
_CONNECT = 10.0
_ANSWER = 20.0


# Processes of Ray without which none of its workers can be reached.
_VITAL = {"gcs_server": "control store", "raylet": "scheduler"}


class RaySession:
    """Ray for the length of a ``with`` block.

    Attributes:
        ray: The module, once inside.
        is_private: Whether this session's Ray is its own and on this machine alone.
    """

    def __init__(
        self,
        workers: int,
        address: str | None = None,
        *,
        dashboard: bool = False,
        object_store_bytes: int = SMALL_OBJECT_STORE_BYTES,
    ) -> None:
        self.ray: Any = None
        self.is_private = address is None
        self._workers = workers
        self._address = address
        self._dashboard = dashboard
        self._object_store_bytes = object_store_bytes
        self._is_ours = False

    def __enter__(self) -> "RaySession":
        # All of this must stand in the environment before Ray is imported. The first
        # is the only switch that makes every Ray process listen on 127.0.0.1 alone
        # (Ray 2.60: `_node_ip_address` is turned into the outer address).
        if self._address is None:
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            _ask_for_token()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A worker holds 150 MB: to end it helps no machine that is short of memory.
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.ray = ray
        self._old_handler = read_handler(signal.SIGTERM)
        self._is_ours = not ray.is_initialized()
        try:
            if self._is_ours:
                self._init()
            else:  # whoever started it decided where it runs
                self.is_private = False
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            self.ray.shutdown()
        restore_handler(signal.SIGTERM, self._old_handler)

    def check(self) -> None:
        """See that a Ray of our own still lives.

        Without its control store Ray itself would try for a minute and then end this
        process without a word that helps (``gcs_rpc_server_reconnect_timeout_s``).

        Raises:
            ShardError: If one of the processes that hold it together has gone.
        """
        if not self._is_ours or self._address is not None:
            return
        node = getattr(self.ray._private.worker, "_global_node", None)
        processes = getattr(node, "all_processes", {})
        for name, what in _VITAL.items():
            for info in processes.get(name, ()):
                if (status := info.process.poll()) is not None:
                    raise ShardError(
                        f"Ray's {what} ({name}) has ended (status {status}); mostly a "
                        "machine is out of memory. What was finished is kept, and the "
                        "same command goes on there"
                    )

    @property
    def processors(self) -> int:
        """Processors of all nodes."""
        return int(self.ray.cluster_resources().get("CPU", 1))

    @property
    def free_processors(self) -> int:
        """Processors that nobody holds at the moment."""
        return int(self.ray.available_resources().get("CPU", 0))

    def _init(self) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        private = {
            "num_cpus": self._workers,
            "num_gpus": 0,
            "include_dashboard": self._dashboard,
            "object_store_memory": self._object_store_bytes,
            "_node_ip_address": "127.0.0.1",
        }
        try:
            if self._address is None:
                # "local": also where RAY_ADDRESS, or a file that `ray start` left,
                # names a cluster; --address is the one way to join it.
                self.ray.init(address="local", **private, **quiet)
            else:
                _refuse_wrong(self._address)
                self.ray.init(address=self._address, **quiet)
        except ShardError:
            raise
        except Exception as error:  # Ray raises bare ones, after a minute of trying
            if self._dashboard and "dashboard" in str(error):
                where = "with its dashboard"
                remedy = "pip install 'ray[default]', or leave --dashboard away."
            elif self._address is None:
                where = "on this machine"
                remedy = "Try again when it has memory and processors to spare."
            else:
                where = f"at {self._address}"
                remedy = _find_remedy(str(error))
            raise ShardError(f"Ray did not start {where}: {error} {remedy}") from error


def _ask_for_token() -> None:
    """Have Ray of our own ask whoever calls it for a token, other users here included.

    Ray 2.52 knows tokens, 2.59 asks for one by itself. It would write its file with the
    rights that the user's mask leaves, mostly for everybody to read: it is made here
    first, for its owner alone. Whoever has chosen a mode or a token keeps it. A process
    that has Ray's library already stays without: that has read its mode, once.
    """
    if "RAY_AUTH_MODE" not in os.environ and "ray._raylet" in sys.modules:
        return
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    token = secrets.token_hex(32)
    try:
        path = Path.home() / ".ray" / "auth_token"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(token)
    except FileExistsError:
        return
    except (OSError, RuntimeError):  # no home, or none that can be written
        os.environ["RAY_AUTH_TOKEN"] = token


def _find_remedy(why: str) -> str:
    """What to do where a cluster cannot be joined."""
    if "token" in why.lower() or "auth" in why.lower():
        return (
            "The cluster asks for a token: set RAY_AUTH_MODE=token here and on every "
            "node, with the token of its head (RAY_AUTH_TOKEN, or a copy of the head's "
            "~/.ray/auth_token), or RAY_AUTH_MODE=disabled everywhere."
        )
    return (
        "See that `ray status` knows a cluster there, with the same versions of Ray "
        "and Python."
    )


def _refuse_wrong(address: str) -> None:
    """Find out within a bound whether a cluster answers; Ray would try for minutes.

    Args:
        address: As HOST:PORT; others, as ``auto``, are left to Ray.

    Raises:
        ShardError: If nothing answers there, or not as Ray does.
    """
    match = re.fullmatch(r"(?:[a-z]+://)?(.+):(\d+)", address)
    if match is None or address.startswith("ray://"):
        return
    try:
        with socket.create_connection((match[1], int(match[2])), _CONNECT):
            pass
    except OSError as error:
        raise ShardError(
            f"nothing answers at {address} ({error.strerror or error}): give --address "
            "as `ray start --head` printed it, HOST:PORT, and see that the port is open"
        ) from error
    code = f"from ray._raylet import GcsClient; GcsClient(address={address!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER,
        )
        why = "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        why = f"no answer of Ray's for {_ANSWER:.0f} s"
    if why:
        raise ShardError(f"no Ray answers at {address}: {why}. {_find_remedy(why)}")


def read_handler(number: int) -> Any:
    """The handler of a signal."""
    return signal.getsignal(number)


def restore_handler(number: int, handler: Any) -> None:
    """Set the handler of a signal, where Python allows it."""
    # Only the main thread may have handlers; elsewhere nobody presses Ctrl-C.
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(number, handler)
