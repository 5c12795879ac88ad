"""The log of a training run: one row of CSV for each look at held-out patterns."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pxrdbench.errors import ModelError
from pxrdbench.learning.training.config import TrainProgress


class TrainingLog:
    """Rows behind those that are there, or a new file."""

    def __init__(
        self,
        path: Path,
        accuracies: Sequence[str],
        *,
        append: bool,
        tensorboard: bool = False,
    ) -> None:
        """Open a log.

        Args:
            path: Where it is.
            accuracies: Names of the held-out accuracies: one column each.
            append: Whether to go on with the rows that are there.
            tensorboard: Whether to write TensorBoard's events beside it too.

        Raises:
            ModelError: If TensorBoard is wanted and not installed.
        """
        self._path = path
        self._accuracies = tuple(accuracies)
        if not (append and path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_row(_COLUMNS + self._accuracies, "w")
        self._events = _open_events(path.parent) if tensorboard else None

    def write(self, progress: TrainProgress) -> None:
        """Add a row; an accuracy that is not known yet is left empty."""
        values = (
            f"{progress.seconds:.1f}",
            str(progress.patterns_seen),
            f"{progress.loss:.4f}",
            f"{progress.learning_rate:.3g}",
            f"{progress.patterns_per_second:.1f}",
            f"{progress.waited:.4f}",
        )
        known = progress.accuracy
        accuracies = (
            f"{known[name]:.4f}" if name in known else "" for name in self._accuracies
        )
        self._write_row((*values, *accuracies), "a")
        if self._events is not None:
            named = {"loss": progress.loss, "learning_rate": progress.learning_rate}
            for name, value in {**named, **known}.items():
                self._events.add_scalar(name, value, progress.patterns_seen)
            self._events.flush()

    def close(self) -> None:
        """Close what is open."""
        if self._events is not None:
            self._events.close()

    def _write_row(self, row: Sequence[str], mode: str) -> None:
        with self._path.open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)


def _open_events(folder: Path) -> Any:
    """TensorBoard's writer.

    Raises:
        ModelError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModelError(
            "TensorBoard is not installed; run pip install tensorboard, or leave "
            "`tensorboard` away: log.csv holds the same numbers"
        ) from error
    return SummaryWriter(str(folder))


_COLUMNS = (
    "seconds",
    "patterns_seen",
    "loss",
    "learning_rate",
    "patterns_per_second",
    "waited",
)
