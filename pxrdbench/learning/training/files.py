"""The checkpoints of a run: the last one, the best one, some of those between."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from pxrdbench.learning.training.state import TrainingState

# What a checkpoint can be best at, the first that a run looks at decides.
_MONITORED = ("real_top_1", "synthetic_top_1")


class TrainingFiles:
    """Writes ``last.pt``, ``best.pt`` and ``patterns-N.pt``, each whole or not at all.

    ``last.pt`` holds the weights that were trained, and an average beside them;
    the others hold the weights that were evaluated, and no state of the optimiser.

    Attributes:
        folder: Where they are.
        best: Monitored metric of ``best.pt`` so far, 0-1; -1 if there is none.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self.best = -1.0

    @property
    def last(self) -> Path:
        """The file that a run goes on from."""
        return self.folder / "last.pt"

    def read_stream(self) -> Mapping[str, int] | None:
        """Where ``last.pt`` stands in its shards; None if there is none, or no word."""
        if not self.last.exists():
            return None
        training = load_checkpoint(self.last).training
        return TrainingState.from_dict(training, str(self.last)).stream

    def write_last(self, checkpoint: Checkpoint) -> None:
        """Write what a run goes on from; it holds a ``TrainingState``."""
        save_checkpoint(self.last, checkpoint)

    def write_evaluated(
        self, checkpoint: Checkpoint, accuracy: Mapping[str, float]
    ) -> None:
        """Keep the weights that were just evaluated, if they are to be kept."""
        metric = next((accuracy[name] for name in _MONITORED if name in accuracy), None)
        if metric is not None and metric > self.best:
            self.best = metric
            save_checkpoint(self.folder / "best.pt", checkpoint)
        if self.keep:
            name = f"patterns-{checkpoint.patterns_seen:012d}.pt"
            save_checkpoint(self.folder / name, checkpoint)
            for old in sorted(self.folder.glob("patterns-*.pt"))[: -self.keep]:
                old.unlink()

    def read_last(self, wanted: Mapping[str, Any]) -> tuple[Checkpoint, TrainingState]:
        """Read ``last.pt``.

        Args:
            wanted: What fields of the checkpoint must be for this run.

        Raises:
            ModelError: If it belongs to another model or to other data.
        """
        checkpoint = load_checkpoint(self.last)
        for name, value in wanted.items():
            found = getattr(checkpoint, name)
            if found != value:
                raise ModelError(
                    f"{self.last} cannot go on: its {name} is {found}, that of this "
                    f"run is {value}; choose another folder or leave `resume` away"
                )
        return checkpoint, TrainingState.from_dict(checkpoint.training, str(self.last))


def load_first_weights(
    network: nn.Module, path: str | Path, model: str, space_groups: tuple[int, ...]
) -> int:
    """Put the weights of a checkpoint into a network: fine-tuning.

    Returns:
        Patterns that they have seen.

    Raises:
        ModelError: If the checkpoint is of another model, class list or shape.
    """
    checkpoint: Checkpoint = load_checkpoint(path)
    if checkpoint.model != model:
        raise ModelError(
            f"{path} holds weights of {checkpoint.model!r}, this run trains "
            f"{model!r}; give --model {checkpoint.model}, or another checkpoint"
        )
    if checkpoint.space_groups != space_groups:
        listed = ",".join(map(str, checkpoint.space_groups))
        raise ModelError(
            f"{path} tells {len(checkpoint.space_groups)} space groups apart, this "
            f"run {len(space_groups)} or others; fine-tuning keeps the class list: "
            f"give --classes {listed}"
        )
    try:
        network.load_state_dict(checkpoint.state_dict)
    except RuntimeError as error:
        raise ModelError(
            f"the weights of {path} do not fit: they were trained on "
            f"{checkpoint.grid.points} points with tasks "
            f"{', '.join(checkpoint.tasks)}; take the same grid and tasks"
        ) from error
    return checkpoint.patterns_seen
