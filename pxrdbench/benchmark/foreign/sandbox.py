"""A process of its own for a model of another's making, where it can do no harm."""

import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from pxrdbench.benchmark.foreign.contract import (
    METADATA_KEY,
    InputContract,
    find_contract,
    missing_contract,
)
from pxrdbench.benchmark.foreign.files import find_kind
from pxrdbench.benchmark.foreign.supervisor import TOOK_TOO_MUCH
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError, PxrdbenchWarning
from pxrdbench.outside import one_line, parse_strict_json

# What a process gives up, and what gives it.
_GIVEN_UP = {
    "is_offline": "namespaces of networks",
    "is_separate": "namespaces of processes",
    "is_confined": "Landlock",
    "is_powerless": "dropping of capabilities",
    "is_filtered": "seccomp",
}
# What torch and its libraries have resident once they are imported.
_LIBRARY_BYTES = 2 * 2**30
_MOST_ANSWER, _MOST_ERROR = 2**20, 10_000


@dataclass(frozen=True)
class SandboxLimits:
    """What a stranger's model may use.

    Attributes:
        memory_bytes: Memory beyond that of the libraries.
        answer_seconds: Time to load, and time for each batch of patterns.
        processor_seconds: Processor time of all its processes.
        processes: Processes of own code, and threads' owners; a stranger's file may
            start none.
        disk_bytes: Files of own code in the folder that is thrown away.
        unconfined: Whether a stranger's file is opened even where the system cannot
            confine it.
    """

    memory_bytes: int = 4 * 2**30
    answer_seconds: float = 300.0
    processor_seconds: float = 7 * 86_400.0
    processes: int = 64
    disk_bytes: int = 2**30
    unconfined: bool = False


class SandboxedClassifier:
    """A model behind the ``Classifier`` protocol, in its own process.

    The process has limits of memory, time, processes and disk, and dies with this one.
    It has no network where the system lets it give that up (``is_offline``), sees no
    files but those of Python and its own where the kernel has Landlock
    (``is_confined``), and no other processes where it has namespaces of them
    (``is_separate``); it has no capabilities (``is_powerless``) and a filter of system
    calls (``is_filtered``). Where one of these is missing, a stranger's file is not
    opened unless ``limits.unconfined`` says so; own code is, with a warning. A
    stranger's file can write nothing; own code can, in a folder that is thrown away.
    Use it in a ``with``.

    Args:
        path: The model; the weights of own code, or None where it needs none.
        contract: What it reads; found beside or in the file if None. Own code says it
            itself.
        limits: What it may use.
        factory: ``module:factory`` of the user's own code.
        folder: Where own code is looked for first.

    Raises:
        ModelError: In one sentence, whatever is wrong with the file.
    """

    def __init__(
        self,
        path: Path | str | None,
        contract: InputContract | None = None,
        limits: SandboxLimits | None = None,
        *,
        factory: str = "",
        folder: Path | str = ".",
    ) -> None:
        self._limits = limits or SandboxLimits()
        self._label = factory or str(path)
        self._is_own = bool(factory)
        self.factory, self.code_folder = factory, str(Path(folder).resolve())
        if factory:
            self.kind = "own code"
        elif path is None:
            raise ModelError("a model is a file, or module:factory of your own code")
        else:
            self.kind = find_kind(path)
        found = contract
        if path is not None and not factory and found is None:
            found = find_contract(Path(path))
        if not factory and self.kind != "onnx":
            if found is None:
                raise missing_contract(Path(str(path)))
            if not found.model:
                raise ModelError(
                    f"{path} holds weights only: name their registered model as "
                    f"'model' in {Path(str(path)).name}.json"
                )
        order = self._make_order(path, found, factory, Path(folder).resolve())
        self._folder = tempfile.TemporaryDirectory(prefix="pxrdbench-model-")
        self._process = self._start()
        try:
            text = self._ask(json.dumps(order).encode())
            answer = parse_strict_json(text, f"what {self._label} answers", ModelError)
            self.contract = found or self._read_contract(answer["contract"], path)
        except BaseException:
            self.close()
            raise
        self.is_offline = bool(answer["is_offline"])
        self.is_confined = bool(answer["is_confined"])
        self.is_separate = bool(answer["is_separate"])
        self.is_powerless = bool(answer["is_powerless"])
        self.is_filtered = bool(answer["is_filtered"])
        self._warn()

    def _warn(self) -> None:
        """Say where the system could not confine what was opened all the same."""
        kept = [name for name in _GIVEN_UP if not getattr(self, name)]
        if kept:
            warnings.warn(
                f"{self._label} runs with less confinement than usual: this system "
                f"does not give {', '.join(_GIVEN_UP[name] for name in kept)}",
                PxrdbenchWarning,
                stacklevel=4,
            )

    def _make_order(
        self,
        path: Path | str | None,
        contract: InputContract | None,
        factory: str,
        folder: Path,
    ) -> dict[str, Any]:
        resolved = "" if path is None else str(Path(path).resolve())
        readable = [resolved] if resolved else []
        model = contract.model if contract else ""
        if factory:
            readable += [str(folder), *_module_folders(factory.partition(":")[0])]
        elif model:
            readable += _plug_in_folders(model)
        order: dict[str, Any] = {
            "path": resolved,
            "kind": self.kind,
            "model": model,
            "factory": factory,
            "folder": str(folder),
            "readable": readable,
            "metadata_key": METADATA_KEY,
            "memory_bytes": self._limits.memory_bytes,
            "processor_seconds": self._limits.processor_seconds,
            "unconfined": self._limits.unconfined,
            "allowance": {
                "memory_bytes": self._limits.memory_bytes + _LIBRARY_BYTES,
                "processor_seconds": self._limits.processor_seconds,
                # The model, and the first process of its namespace.
                "processes": self._limits.processes + 1,
                "disk_bytes": self._limits.disk_bytes,
            },
        }
        if contract is not None:
            grid = contract.grid
            order["n_classes"] = len(contract.space_groups)
            order["grid"] = [grid.start, grid.stop, grid.points]
        return order

    def _read_contract(self, text: str, path: Path | str | None) -> InputContract:
        """Read what the worker found in the metadata, or what own code says."""
        if self._is_own:
            place = f"what {self._label} returns"
            record = parse_strict_json(text, place, ModelError)
            return InputContract.from_record(record, place)
        if not text:
            raise missing_contract(Path(str(path)))
        return InputContract.parse(str(text), f"the metadata of {path}")

    @property
    def space_groups(self) -> tuple[int, ...]:
        """The class list: space group of each logit."""
        return self.contract.space_groups

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns that it reads."""
        return self.contract.grid

    @property
    def takes_mask(self) -> bool:
        """Whether ``predict`` is to be told which points were measured."""
        return self.contract.mask

    def predict(
        self,
        intensity: Float32[np.ndarray, "batch points"],
        mask: Bool[np.ndarray, "batch points"] | None = None,
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logits of patterns with a maximum of one.

        Raises:
            ModelError: If the model fails, dies or takes too long.
        """
        patterns = self.contract.prepare(intensity, mask)
        head = bytes([patterns.shape[1]]) + patterns.shape[2].to_bytes(8, "little")
        shape = (len(intensity), len(self.space_groups))
        message = head + np.ascontiguousarray(patterns, "<f4").tobytes()
        # A few more, so that a wrong number of classes is named as such.
        answer = self._ask(message, 4 * shape[0] * max(shape[1], 230) + _MOST_ANSWER)
        if len(answer) != 4 * shape[0] * shape[1]:
            raise ModelError(
                f"{self._label} gives {len(answer) // 4} numbers for {shape[0]} "
                f"patterns and {shape[1]} classes"
            )
        return np.frombuffer(answer, "<f4").reshape(shape).astype(np.float32)

    def close(self) -> None:
        """End the process, and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads its session
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> "SandboxedClassifier":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        # Nothing of this environment: keys and tokens are no business of a model.
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": self._folder.name,
            "TMPDIR": self._folder.name,
            "NUMBA_CACHE_DIR": self._folder.name,
        }
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "pxrdbench.benchmark.foreign.worker"),
                str(os.getpid()),
            ],
            bufsize=0,  # what a buffer holds cannot be waited for
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What own code complains of is for its author to read.
            stderr=None if self._is_own else subprocess.DEVNULL,
            cwd=self._folder.name,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101  # asked for above
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _ask(self, message: bytes, most: int = _MOST_ANSWER) -> bytes:
        """Send a message and wait for its answer, both led by their length.

        Nothing is received, and no memory taken, beyond the most that is expected.
        """
        end = time.monotonic() + self._limits.answer_seconds
        self._transfer(len(message).to_bytes(8, "little") + message, 0, end)
        head = self._transfer(b"", 9, end)
        size = int.from_bytes(head[1:], "little")
        if size > (most if head[:1] == b"+" else _MOST_ERROR):
            raise ModelError(
                f"{self._label} answers with {size:,} bytes; at most {most:,} are read"
            )
        answer = self._transfer(b"", size, end)
        if head[:1] != b"+":
            text = one_line(answer.decode(errors="replace"), 600)
            raise ModelError(f"{self._label}: {text}")
        return answer

    def _transfer(self, message: bytes, wanted: int, end: float) -> bytes:
        """Write a message, or read some bytes, before the time is up."""
        stream = self._process.stdin if message else self._process.stdout
        event = selectors.EVENT_WRITE if message else selectors.EVENT_READ
        received, left = bytearray(), memoryview(message)
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)  # type: ignore[arg-type]  # both are pipes
            while left or len(received) < wanted:
                if not selector.select(max(end - time.monotonic(), 0.0)):
                    raise ModelError(
                        f"{self._label} gave no answer within "
                        f"{self._limits.answer_seconds:g} s and was stopped"
                    )
                try:
                    if message:
                        left = left[os.write(stream.fileno(), left[: 1 << 16]) :]  # type: ignore[union-attr]
                        continue
                    chunk = os.read(stream.fileno(), wanted - len(received))  # type: ignore[union-attr]
                except BrokenPipeError:
                    chunk = b""
                if not chunk:
                    raise ModelError(self._explain_death())
                received += chunk
        return bytes(received)

    def _explain_death(self) -> str:
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:  # it closed its answers and lives on
            self._process.kill()
            code = self._process.wait()
        how = f"with status {code}"
        # The watcher says the model's signal as shells do.
        number = -code if code < 0 else code - 128
        if number in {int(known) for known in signal.Signals}:
            how = f"by {signal.Signals(number).name}"
        if code == TOOK_TOO_MUCH:
            how = (
                "because all its processes together took more memory, processor time, "
                "disk or processes than allowed"
            )
        gib = self._limits.memory_bytes / 2**30
        allowed = f"it may use {gib:g} GiB of memory"
        return f"the process of {self._label} ended {how}; {allowed}"


def _module_folders(name: str) -> list[str]:
    """Find the folder of an installed module's code, wherever it was installed."""
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if found is None:
        return []
    if found.submodule_search_locations:
        return [str(place) for place in found.submodule_search_locations]
    return [] if found.origin is None else [found.origin]


def _plug_in_folders(model: str) -> list[str]:
    """Find the code of a registered model that another package offers."""
    from importlib.metadata import entry_points

    return [
        place
        for point in entry_points(group="pxrdbench.models")
        if point.name == model
        for place in _module_folders(point.module)
    ]
