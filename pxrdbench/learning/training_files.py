"""The checkpoints of a run: the last one, the best one, some of those between."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pxrdbench.errors import ModelError
from pxrdbench.learning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from pxrdbench.learning.training_run import TrainingRun

# What a checkpoint can be best at, the first that a run looks at decides.
_MERITS = ("real_top_1", "synthetic_top_1")


class TrainingFiles:
    """Writes ``last.pt``, ``best.pt`` and ``patterns-N.pt``, each whole or not at all.

    ``last.pt`` holds the weights that were trained, and an average beside them;
    the others hold the weights that were evaluated, and no state of the optimiser.

    Attributes:
        folder: Where they are.
        best: Merit of ``best.pt`` so far, 0-1; -1 if there is none.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self.best = -1.0

    @property
    def last(self) -> Path:
        """The file that a run goes on from."""
        return self.folder / "last.pt"

    def write_last(self, run: "TrainingRun") -> None:
        """Write the state of a run."""
        checkpoint = run.describe(run.network.state_dict())
        state: dict[str, Any] = {
            "optimizer": run.optimizer.state_dict(),
            "steps": run.steps,
            "seconds": run.clock.seconds(),
            "cpu_seconds": run.clock.cpu_seconds(),
            "seed": run.config.seed,
            "accuracy": dict(run.accuracy),
            "best": self.best,
            "random_state": torch.get_rng_state(),
        }
        if run.average is not None:
            # What is evaluated comes first, what is trained stands in the state.
            state["weights"] = checkpoint.state_dict
            state["average_steps"] = run.average.steps
            checkpoint = run.describe(run.average.state)
        checkpoint.training.update(state)
        save_checkpoint(self.last, checkpoint)

    def write_evaluated(
        self, run: "TrainingRun", accuracy: Mapping[str, float]
    ) -> None:
        """Keep the weights that were just evaluated, if they are to be kept."""
        state = run.average.state if run.average else run.network.state_dict()
        merit = next((accuracy[name] for name in _MERITS if name in accuracy), None)
        if merit is not None and merit > self.best:
            self.best = merit
            save_checkpoint(self.folder / "best.pt", run.describe(state))
        if self.keep:
            name = f"patterns-{run.patterns_seen:012d}.pt"
            save_checkpoint(self.folder / name, run.describe(state))
            for old in sorted(self.folder.glob("patterns-*.pt"))[: -self.keep]:
                old.unlink()

    def restore(self, run: "TrainingRun") -> None:
        """Go on from ``last.pt``, bit for bit on one thread of a processor.

        Raises:
            ModelError: If it belongs to another model or to other data.
        """
        checkpoint = load_checkpoint(self.last)
        wanted = {
            "model": run.config.model,
            "space_groups": run.space_groups,
            "tasks": run.config.tasks,
            "mask": run.config.mask,
            "grid": run.source.grid,
            "radiation": run.source.radiation,
            **run.provenance,
        }
        for name, value in wanted.items():
            found = getattr(checkpoint, name)
            if found != value:
                raise ModelError(
                    f"{self.last} cannot go on: its {name} is {found}, that of this "
                    f"run is {value}; choose another folder or leave `resume` away"
                )
        state = checkpoint.training
        if "optimizer" not in state:
            raise ModelError(f"{self.last} holds no training state to go on from")
        if ("weights" in state) != (run.average is not None):
            raise ModelError(
                f"{self.last} cannot go on: one of the runs averages its weights, the "
                "other does not; give the same `average`"
            )
        run.network.load_state_dict(state.get("weights", checkpoint.state_dict))
        if run.average is not None:
            run.average.load(checkpoint.state_dict, int(state["average_steps"]))
        run.optimizer.load_state_dict(state["optimizer"])
        run.steps = int(state["steps"])
        run.clock.seconds_before = float(state["seconds"])
        run.clock.cpu_before = float(state.get("cpu_seconds", 0.0))
        run.patterns_before = checkpoint.patterns_seen
        run.accuracy = dict(state["accuracy"])
        self.best = float(state.get("best", -1.0))
        if "random_state" in state:
            torch.set_rng_state(state["random_state"])


def load_first_weights(
    network: nn.Module, path: Path, model: str, space_groups: tuple[int, ...]
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
