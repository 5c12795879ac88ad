"""Models of strangers: opened in a process of their own, where they can do no harm.

Accepted is what holds numbers or a graph of known operations: ``.safetensors`` and
plain state dicts (``.pt``, ``.pth``) of a registered model, and ``.onnx``. Whatever
runs code when it is read (pickled modules, TorchScript, ``torch.export`` archives) is
refused. Beside the file lies what it reads, ``<file>.json``:

    {"space_groups": [2, 14, …], "grid": {"start": 5, "stop": 90, "points": 8501},
     "radiation": "CuKa1", "model": "resnet-10"}

``model`` is the registered name; ONNX needs none. Patterns come with maximum 1.
"""

import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from pxrdbench.benchmark.evaluation import (
    DEFAULT_TRACK,
    Evaluation,
    ModelDescription,
    evaluate,
    predict_track,
)
from pxrdbench.benchmark.model_files import MOST_BYTES, InputContract, find_kind
from pxrdbench.dataset.split import TrackPart, load_track
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError

if TYPE_CHECKING:  # imports torch, which this process may not need
    from pxrdbench.learning.registry import Classifier


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
    """A stranger's model behind the ``Classifier`` protocol, in its own process.

    The process has limits of memory and time, can write no file and has no network
    where the system lets it give that up (``is_offline``). Use it in a ``with``.

    Args:
        path: The model.
        contract: What it reads; ``<path>.json`` if None.
        limits: What it may use.

    Raises:
        ModelError: In one sentence, whatever is wrong with the file.
    """

    def __init__(
        self,
        path: Path | str,
        contract: InputContract | None = None,
        limits: SandboxLimits | None = None,
    ) -> None:
        path = Path(path)
        kind = find_kind(path)
        self.kind = kind
        self._path, self._limits = path, limits or SandboxLimits()
        self.contract = contract or InputContract.read(f"{path}.json")
        if kind != "onnx" and not self.contract.model:
            raise ModelError(
                f"{path} holds weights only: name their registered model as 'model' "
                f"in {path.name}.json"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="pxrdbench-model-")
        self._process = self._start()
        grid = self.contract.grid
        order = {
            "path": str(path.resolve()),
            "kind": kind,
            "model": self.contract.model,
            "n_classes": len(self.contract.space_groups),
            "grid": [grid.start, grid.stop, grid.points],
            "memory_bytes": self._limits.memory_bytes,
        }
        try:
            answer = json.loads(self._ask(json.dumps(order).encode()))
        except BaseException:
            self.close()
            raise
        self.is_offline = bool(answer["is_offline"])

    @property
    def space_groups(self) -> tuple[int, ...]:
        """The class list: space group of each logit."""
        return self.contract.space_groups

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns that it reads."""
        return self.contract.grid

    def predict(
        self, intensity: Float32[np.ndarray, "batch points"]
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logits of patterns with a maximum of one.

        Raises:
            ModelError: If the model fails, dies or takes too long.
        """
        answer = self._ask(np.ascontiguousarray(intensity, "<f4").tobytes())
        shape = (len(intensity), len(self.space_groups))
        if len(answer) != 4 * shape[0] * shape[1]:
            raise ModelError(
                f"{self._path} gives {len(answer) // 4} numbers for {shape[0]} "
                f"patterns and {shape[1]} classes"
            )
        return np.frombuffer(answer, "<f4").reshape(shape).astype(np.float32)

    def close(self) -> None:
        """End the process."""
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
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pxrdbench.benchmark.foreign_worker"],
            bufsize=0,  # what a buffer holds cannot be waited for
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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
            raise ModelError(f"{self._path} answers with {size:,} bytes")
        answer = self._transfer(b"", size, end)
        if head[:1] != b"+":
            raise ModelError(f"{self._path}: {answer.decode(errors='replace')}")
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
                        f"{self._path} gave no answer within "
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
        return (
            f"the process of {self._path} ended {how}; it may use {gib:g} GiB of memory"
        )


def evaluate_file(
    path: Path | str,
    track: str | TrackPart = DEFAULT_TRACK,
    part: str = "test",
    out: Path | str | None = None,
    *,
    model_name: str | None = None,
    limits: SandboxLimits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate whatever file a user has, safely; see ``evaluate``.

    Args:
        path: One of our checkpoints, stored predictions (``.h5``), or a stranger's
            model with its sidecar.
        track: Name of a track, or a loaded part.
        part: Part of the track, if it is given by name.
        out: Folder for predictions, evaluation and report.
        model_name: What to call the model; the file's name for a stranger's.
        limits: What a stranger's model may use.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        ModelError: If the file cannot be opened safely.
        EvaluationError: If it does not belong to the track.
    """
    path = Path(path)
    if path.suffix in {".h5", ".hdf5"} or not path.is_file():
        return evaluate(path, track, part, out, model_name=model_name)
    model = open_model(path, limits)
    if not isinstance(model, SandboxedClassifier):
        return evaluate(
            model, track, part, out, model_name=model_name, on_progress=on_progress
        )
    loaded = load_track(track, part) if isinstance(track, str) else track
    with model:
        description = ModelDescription(
            name=model_name or path.stem,
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
            radiation=model.contract.radiation,
            provenance={
                "architecture": model.contract.model or "as exported",
                "opened as": model.kind,
                "without network": "yes" if model.is_offline else "no",
            },
        )
        predictions = predict_track(model, loaded, description, on_progress=on_progress)
    return evaluate(predictions, loaded, out=out)


def open_model(path: Path | str, limits: SandboxLimits | None = None) -> "Classifier":
    """Open one of our own checkpoints, or a stranger's model in its own process.

    Returns:
        A ``Classifier``; close a ``SandboxedClassifier`` when done.

    Raises:
        ModelError: If it cannot be opened safely.
    """
    path = Path(path)
    kind = find_kind(path)
    if kind == "state dict" and not Path(f"{path}.json").is_file():
        from pxrdbench.learning.checkpoint import load_classifier

        return load_classifier(path)
    return SandboxedClassifier(path, limits=limits)
