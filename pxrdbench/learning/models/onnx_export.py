"""Trained models as ONNX files, for programs without torch.

The file holds the whole way from a pattern with a maximum of one to calibrated logits:
square root, peak search and all. Class list and grid stand in its metadata.

The file is judged by what it is for: its first guesses are those of the checkpoint,
and its logits differ by a small part of their own spread. A bound on the logits
themselves is none: torch's own logits of `peak-network-light` are up to 1e-2 from those
in double precision, and the file's are just as far; three such files were refused at
3e-3. Most likely, though not isolated, it is the logarithm of q_j - q_i, in which
neighbours cancel.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.errors import ModelError
from pxrdbench.files import atomic_path
from pxrdbench.learning.loading.loader import label_of
from pxrdbench.learning.models.checkpoint import (
    CheckpointClassifier,
    load_classifier,
)
from pxrdbench.tracks.load import load_track

# Largest difference of two logits as a part of the spread of a pattern's logits, and
# share of patterns with the same first guess, on patterns of real crystals.
TOLERANCE, LEAST_AGREEMENT = 0.01, 0.999
_OPSET = 18
_TRACK = "open/structure-type"


@dataclass(frozen=True)
class OnnxReport:
    """How well an exported model agrees with the one it was made of.

    Attributes:
        path: The file.
        n_bytes: Its size.
        n_patterns: Patterns compared.
        difference: Largest difference of two logits.
        spread: Standard deviation of a pattern's logits over the classes, as a mean.
        n_other_guesses: Patterns whose first guess is another one.
        accuracy: Top-1 of the checkpoint on these patterns, 0-1.
        accuracy_onnx: Top-1 of the file.
    """

    path: Path
    n_bytes: int
    n_patterns: int
    difference: float
    spread: float
    n_other_guesses: int
    accuracy: float
    accuracy_onnx: float

    @property
    def relative(self) -> float:
        """Largest difference as a part of the spread."""
        return self.difference / self.spread if self.spread > 0.0 else float("inf")


class _Exported(nn.Module):
    """Pattern to logits, with the temperature inside."""

    def __init__(self, classifier: CheckpointClassifier) -> None:
        super().__init__()
        checkpoint = classifier.checkpoint
        self.network = checkpoint.build().eval()
        self._temperature = checkpoint.temperature
        self._columns = checkpoint.task_set.columns("space_group")

    def forward(self, intensity: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of patterns (batch, channels, points)."""
        logits: torch.Tensor = self.network(intensity)[:, self._columns]
        return logits / self._temperature


def export_onnx(
    checkpoint: str | Path,
    out: Path,
    n_patterns: int = 1000,
    *,
    check: bool = True,
    tolerance: float = TOLERANCE,
) -> OnnxReport:
    """Write a checkpoint as ONNX, and compare the two on patterns of real crystals.

    Args:
        checkpoint: Of a training: file, folder of the run, or a name that ships.
        out: File to write; appears whole or not at all.
        n_patterns: Patterns to compare, of the ``dev`` part of the open track and,
            where that is not enough or of another radiation, synthetic ones.
        check: Whether to refuse a file that disagrees.
        tolerance: Largest difference of two logits that is no disagreement, as a part
            of the spread of a pattern's logits.

    Raises:
        ModelError: If the packages are missing, the model cannot be exported, or the
            file disagrees: another first guess for more than one pattern in a
            thousand, or logits that differ by more than ``tolerance``.
    """
    try:
        import onnx  # noqa: F401 - only to say so early
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            "export needs onnx, onnxscript and onnxruntime; run pip install "
            "onnx onnxscript onnxruntime"
        ) from error
    classifier = load_classifier(checkpoint)
    with atomic_path(out) as part:
        _write(classifier, part)
        intensity, space_group = _patterns(classifier, n_patterns)
        session = onnxruntime.InferenceSession(str(part))
        expected = classifier.predict(intensity)
        found = _run(session, intensity, with_mask=classifier.checkpoint.mask)
        report = _compare(
            out, part, expected, found, space_group, classifier.space_groups
        )
        if check:
            _refuse_other(report, tolerance)
    return report


def _refuse_other(report: OnnxReport, tolerance: float) -> None:
    """Refuse a file that guesses otherwise."""
    if report.n_other_guesses > (1.0 - LEAST_AGREEMENT) * report.n_patterns + 1e-9:
        raise ModelError(
            f"the exported model's first guess is another one for "
            f"{report.n_other_guesses} of {report.n_patterns} patterns; nothing was "
            "written"
        )
    if not report.relative <= tolerance:
        raise ModelError(
            f"the exported model's logits differ by {report.difference:.1e} on "
            f"{report.n_patterns} patterns, {report.relative:.1e} of their spread, "
            f"more than {tolerance:g}; nothing was written"
        )


def _write(classifier: CheckpointClassifier, path: Path) -> None:
    """Trace the model and write it with its metadata."""
    import onnx

    checkpoint = classifier.checkpoint
    channels = 2 if checkpoint.mask else 1
    example = torch.rand(2, channels, checkpoint.grid.points)
    batch = torch.export.Dim("batch", min=1, max=65536)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            program: Any = torch.onnx.export(
                _Exported(classifier),
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                input_names=["intensity"],
                output_names=["logits"],
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
            model = program.model_proto
    except Exception as error:  # the exporter raises many kinds
        raise ModelError(
            f"{checkpoint.model} cannot be exported: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    grid = checkpoint.grid
    for key, value in {
        "space_groups": list(checkpoint.space_groups),
        "grid": {"start": grid.start, "stop": grid.stop, "points": grid.points},
        "radiation": checkpoint.radiation.name,
        "checkpoint": classifier.digest,
    }.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.save(model, str(path))


def _patterns(
    classifier: CheckpointClassifier, n: int
) -> tuple[Float32[np.ndarray, "batch points"], np.ndarray]:
    """Patterns on the model's grid and their space groups."""
    grid, radiation = classifier.grid, classifier.checkpoint.radiation
    part = load_track(_TRACK, "dev")
    intensity, groups = [], []
    if part.radiation.lines == radiation.lines:
        part = part.with_grid(grid)
        batch = part.batch(0, min(n, len(part)))
        intensity.append(batch.intensity)
        groups.append(batch.space_group)
        n -= len(batch)
    if n > 0:
        drawn = Recipe(grid=grid, radiation=radiation).batch(2**41, n)
        intensity.append(drawn.intensity)
        groups.append(drawn.space_group)
    return np.concatenate(intensity), np.concatenate(groups)


def _run(
    session: Any, intensity: Float32[np.ndarray, "batch points"], *, with_mask: bool
) -> Float32[np.ndarray, "batch classes"]:
    x = intensity[:, None]
    if with_mask:
        x = np.concatenate([x, np.ones_like(x)], 1)
    logits = [
        session.run(None, {"intensity": np.ascontiguousarray(x[row : row + 64])})[0]
        for row in range(0, len(x), 64)
    ]
    result: np.ndarray = np.concatenate(logits)
    return result


def _compare(
    out: Path,
    part: Path,
    expected: Float32[np.ndarray, "batch classes"],
    found: Float32[np.ndarray, "batch classes"],
    space_group: np.ndarray,
    classes: tuple[int, ...],
) -> OnnxReport:
    label = label_of(space_group, classes)
    first, other = expected.argmax(1), found.argmax(1)
    return OnnxReport(
        path=out,
        n_bytes=part.stat().st_size,
        n_patterns=len(expected),
        difference=float(np.abs(expected - found).max()),
        spread=float(expected.std(axis=1).mean()),
        n_other_guesses=int((first != other).sum()),
        accuracy=float(np.mean(first == label)),
        accuracy_onnx=float(np.mean(other == label)),
    )
