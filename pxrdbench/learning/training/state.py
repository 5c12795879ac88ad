"""What a training needs to go on, beside what its checkpoint says of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pxrdbench.errors import ModelError


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Where a run stood when it was saved.

    It lies in the ``training`` part of ``last.pt``; the keys there are the names of
    the fields, and fields that are None are left away.

    Attributes:
        optimizer: The optimiser's own state.
        steps: Steps taken.
        seconds: Time of training, of all sessions [s].
        cpu_seconds: Processor time likewise [s].
        seed: Of the run.
        accuracy: Of validation patterns, as last measured, 0-1 by name.
        best: Monitored metric of ``best.pt``, 0-1; -1 if there is none.
        random_state: Of torch's generator; None in files of old.
        weights: Those that are trained, where the checkpoint's are their average.
        average_steps: Steps that this average has seen.
        stream: Where a run on shards stands in them: ``samples`` of a set that was
            whole, or ``origin`` and ``first_pass`` of one that is still written.
    """

    optimizer: Mapping[str, Any]
    steps: int
    seconds: float
    cpu_seconds: float
    seed: int
    accuracy: Mapping[str, float]
    best: float = -1.0
    random_state: torch.Tensor | None = None
    weights: Mapping[str, torch.Tensor] | None = None
    average_steps: int | None = None
    stream: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], place: str) -> "TrainingState":
        """Find the state in the ``training`` part of a checkpoint.

        Args:
            state: That part.
            place: Whose, for messages.

        Raises:
            ModelError: If it holds no state, as the files of released models.
        """
        if "optimizer" not in state:
            raise ModelError(f"{place} holds no training state to go on from")
        steps = state.get("average_steps")
        return cls(
            optimizer=state["optimizer"],
            steps=int(state["steps"]),
            seconds=float(state["seconds"]),
            cpu_seconds=float(state.get("cpu_seconds", 0.0)),
            seed=int(state.get("seed", 0)),
            accuracy=dict(state["accuracy"]),
            best=float(state.get("best", -1.0)),
            random_state=state.get("random_state"),
            weights=state.get("weights"),
            average_steps=None if steps is None else int(steps),
            stream=state.get("stream"),
        )
