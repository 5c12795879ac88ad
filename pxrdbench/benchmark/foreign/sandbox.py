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
from pxrdbench.benchmark.foreign.files import MOST_BYTES, find_kind
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError


@dataclass(frozen=True)
class SandboxLimits:
    """What a stranger's model may use.

    Attributes:
        memory_bytes: Memory beyond that of the libraries.
        answer_seconds: Time to load, and time for each batch of patterns.
    """

    memory_bytes: int = 4 * 2**30
    answer_seconds: float = 300.0


class SandboxedClassifier:
    """A model behind the ``Classifier`` protocol, in its own process.

    The process has limits of memory and time. It has no network where the system lets
    it give that up (``is_offline``), and sees no files but those of Python and its
    own where the kernel has Landlock (``is_confined``). A stranger's file can write
    nothing; own code can, in a folder that is thrown away. Use it in a ``with``.

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
            answer = json.loads(self._ask(json.dumps(order).encode()))
            self.contract = found or self._read_contract(answer["contract"], path)
        except BaseException:
            self.close()
            raise
        self.is_offline = bool(answer["is_offline"])
        self.is_confined = bool(answer["is_confined"])

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
            return InputContract.from_record(json.loads(text), place)
        if not text:
            raise missing_contract(Path(str(path)))
        return InputContract.parse(text, f"the metadata of {path}")

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
        answer = self._ask(head + np.ascontiguousarray(patterns, "<f4").tobytes())
        shape = (len(intensity), len(self.space_groups))
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
            [sys.executable, "-P", "-m", "pxrdbench.benchmark.foreign.worker"],
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

    def _ask(self, message: bytes) -> bytes:
        """Send a message and wait for its answer, both led by their length."""
        end = time.monotonic() + self._limits.answer_seconds
        self._transfer(len(message).to_bytes(8, "little") + message, 0, end)
        head = self._transfer(b"", 9, end)
        size = int.from_bytes(head[1:], "little")
        if size > MOST_BYTES:
            raise ModelError(f"{self._label} answers with {size:,} bytes")
        answer = self._transfer(b"", size, end)
        if head[:1] != b"+":
            raise ModelError(f"{self._label}: {answer.decode(errors='replace')}")
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
        if code < 0:
            how = f"by {signal.Signals(-code).name}"
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
