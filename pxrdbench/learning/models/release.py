"""From the checkpoint of a run to a model that is handed out: small and calibrated."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.loader import UNCOVERED, label_of
from pxrdbench.learning.models.checkpoint import (
    Checkpoint,
    CheckpointClassifier,
    load_checkpoint,
    save_checkpoint,
)
from pxrdbench.learning.models.find import available_checkpoints

# Golden-section search over ln T.
_LOWEST, _HIGHEST, _ROUNDS = math.log(0.2), math.log(5.0), 40
_GOLDEN = (math.sqrt(5) - 1) / 2


def shipped_model(name: str = "lab-v0") -> Path:
    """Path of a model in the package.

    Raises:
        ModelError: If there is none of this name; it lists those there.
    """
    shipped = available_checkpoints()
    if name not in shipped:
        known = ", ".join(shipped) or "none"
        raise ModelError(f"no model {name!r} is shipped; shipped are: {known}")
    return shipped[name]


def cross_entropy(
    logits: Float32[np.ndarray, "batch classes"],
    label: Int64[np.ndarray, " batch"],
    temperature: float = 1.0,
) -> float:
    """Mean of -ln p of the right class [nats], at a temperature."""
    z = logits.astype(np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    chosen = z[np.arange(len(z)), label]
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - chosen))


def fit_temperature(
    logits: Float32[np.ndarray, "batch classes"], label: Int64[np.ndarray, " batch"]
) -> float:
    """The number that divides logits so that their cross entropy is lowest.

    Args:
        logits: Of held-out patterns.
        label: Positions in the class list; unknown groups are left out.

    References:
        Guo et al. (2017), ICML, 1321.
    """
    known = label != UNCOVERED
    logits, label = logits[known], label[known]
    low, high = _LOWEST, _HIGHEST
    for _ in range(_ROUNDS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if cross_entropy(logits, label, math.exp(left)) < cross_entropy(
            logits, label, math.exp(right)
        ):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def release_checkpoint(
    checkpoint: Path, out: Path, held_out: Sequence[Batch]
) -> Checkpoint:
    """Write a checkpoint in half precision, calibrated and without training state.

    Args:
        checkpoint: Of a run; its averaged weights are taken, where it has them.
        out: File to write.
        held_out: Patterns that it has not seen, as it will meet them.

    Returns:
        What was written.
    """
    trained = load_checkpoint(checkpoint)
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in trained.state_dict.items()
    }
    plain = replace(trained, state_dict=half, training={}, temperature=1.0)
    classifier = CheckpointClassifier(plain)
    logits = [classifier.predict(batch.intensity) for batch in held_out]
    labels = [label_of(batch.space_group, plain.space_groups) for batch in held_out]
    temperature = fit_temperature(np.concatenate(logits), np.concatenate(labels))
    released = replace(plain, temperature=temperature)
    save_checkpoint(out, released)
    return released
