"""What a network is asked for: the space group, and what else a pattern tells.

A network has one last layer whose outputs are dealt out to its tasks, so any model of
the registry can do any of them, alone or together.

    space_group        logits of a class list                          cross entropy
    crystal_system     logits of the seven systems                     cross entropy
    extinction_group   logits of groups with the same absences         cross entropy
    lattice            ln a, ln b, ln c, angles of the conventional cell   smooth L1
    crystallite_size   ln of the size [nm]                                 smooth L1
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch.nn import functional

from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.dataset.batch import Batch
from pxrdbench.errors import ModelError

TASKS = (
    "space_group",
    "crystal_system",
    "extinction_group",
    "lattice",
    "crystallite_size",
)
NUMERIC_TASKS = ("lattice", "crystallite_size")

# Numbers are brought to about zero and one: ln of 6 Å and of 50 nm; degrees.
_LOG_LENGTH, _LENGTH_SPREAD = 1.8, 0.5
_ANGLE, _ANGLE_SPREAD = 95.0, 12.0
_LOG_SIZE, _SIZE_SPREAD = 3.9, 0.5
_N_NUMBERS = 7  # six of the lattice, one size


def class_names(task: str, space_groups: Sequence[int]) -> tuple[int, ...]:
    """Classes of a task in the order of its logits, () for one of numbers.

    Raises:
        ModelError: If the task is unknown.
    """
    tables = load_symmetry_tables()
    if task == "space_group":
        return tuple(space_groups)
    if task == "crystal_system":
        return tuple(range(7))
    if task == "extinction_group":
        found = {int(tables.extinction_group[group]) for group in space_groups}
        return tuple(sorted(found))
    if task in NUMERIC_TASKS:
        return ()
    raise ModelError(f"unknown task {task!r}; known are {', '.join(TASKS)}")


@dataclass(frozen=True)
class TaskSet:
    """The tasks of one network, and where their outputs are.

    Attributes:
        tasks: Names, in the order of the outputs.
        space_groups: The class list.
    """

    tasks: tuple[str, ...]
    space_groups: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ModelError(
                f"tasks are {list(self.tasks)}; name at least one, each once"
            )
        for task in self.tasks:
            class_names(task, self.space_groups)

    def size(self, task: str) -> int:
        """Number of outputs of a task."""
        if task in NUMERIC_TASKS:
            return 6 if task == "lattice" else 1
        return len(class_names(task, self.space_groups))

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the network."""
        return sum(self.size(task) for task in self.tasks)

    @property
    def needs_numbers(self) -> bool:
        """Whether cells or sizes must be known."""
        return any(task in NUMERIC_TASKS for task in self.tasks)

    def columns(self, task: str) -> slice:
        """Where the outputs of a task are.

        Raises:
            ModelError: If the network does not have the task.
        """
        if task not in self.tasks:
            raise ModelError(
                f"the model does not predict {task}; its tasks are "
                f"{', '.join(self.tasks)}"
            )
        start = sum(self.size(other) for other in self.tasks[: self.tasks.index(task)])
        return slice(start, start + self.size(task))

    def loss(
        self,
        outputs: Float[torch.Tensor, "batch outputs"],
        label: Int64[torch.Tensor, " batch"],
        numbers: Float[torch.Tensor, "batch 7"] | None,
    ) -> torch.Tensor:
        """Sum of the losses of all tasks.

        Args:
            outputs: Of the network.
            label: Positions in the class list.
            numbers: What `find_numbers` gives, where a task needs it.
        """
        if self.tasks == ("space_group",):
            return functional.cross_entropy(outputs.float(), label)
        total = outputs.new_zeros((), dtype=torch.float32)
        for task in self.tasks:
            part = outputs[:, self.columns(task)].float()
            if task in NUMERIC_TASKS:
                if numbers is None:
                    raise ModelError(f"the task {task} needs cells and sizes")
                wanted = numbers[:, :6] if task == "lattice" else numbers[:, 6:]
                total = total + functional.smooth_l1_loss(part, wanted)
            else:
                lookup = self._lookup(task).to(label.device)
                total = total + functional.cross_entropy(part, lookup[label])
        return total

    def score(
        self, outputs: Float32[np.ndarray, "batch outputs"], batch: Batch
    ) -> Mapping[str, float]:
        """Accuracies of what is no space group, by name; errors of numbers as parts."""
        scores: dict[str, float] = {}
        for task in self.tasks:
            part = outputs[:, self.columns(task)]
            if task in ("crystal_system", "extinction_group"):
                tables = load_symmetry_tables()
                names = np.array(class_names(task, self.space_groups))
                truth = getattr(tables, task)[batch.space_group]
                scores[task] = float(np.mean(names[part.argmax(1)] == truth))
            elif task == "crystallite_size":
                size = np.exp(part[:, 0] * _SIZE_SPREAD + _LOG_SIZE)
                error = np.abs(size / batch.crystallite_size_nm - 1)
                scores["crystallite_size_error"] = float(np.median(error))
            elif task == "lattice" and batch.crystals is not None:
                length = np.exp(part[:, :3] * _LENGTH_SPREAD + _LOG_LENGTH)
                error = np.abs(length / batch.crystals.lattice[:, :3] - 1)
                scores["lattice_error"] = float(np.median(error))
        return scores

    def _lookup(self, task: str) -> Int64[torch.Tensor, " classes"]:
        """Position among a task's classes of each group of the class list."""
        groups = np.array(self.space_groups)
        if task == "space_group":
            return torch.arange(len(groups))
        of_group = getattr(load_symmetry_tables(), task)[groups]
        names = class_names(task, self.space_groups)
        position = {name: place for place, name in enumerate(names)}
        return torch.tensor([position[int(name)] for name in of_group])


def find_numbers(batch: Batch) -> Float32[np.ndarray, "batch 7"]:
    """Cell and size of each sample, scaled, for tasks of numbers.

    Raises:
        ModelError: If the source does not know its cells.
    """
    if batch.crystals is None:
        raise ModelError(
            "this source does not know the cells of its crystals; learn lattice and "
            "crystallite_size from a recipe (--online) or from real crystals"
        )
    numbers = np.empty((len(batch), _N_NUMBERS), np.float32)
    lattice = batch.crystals.lattice
    numbers[:, :3] = (np.log(lattice[:, :3]) - _LOG_LENGTH) / _LENGTH_SPREAD
    numbers[:, 3:6] = (lattice[:, 3:] - _ANGLE) / _ANGLE_SPREAD
    numbers[:, 6] = (np.log(batch.crystallite_size_nm) - _LOG_SIZE) / _SIZE_SPREAD
    if not np.isfinite(numbers).all():
        raise ModelError(
            "this source has patterns without a crystallite size (a measurement whose "
            "profile is the whole width); leave the task crystallite_size away"
        )
    return numbers
