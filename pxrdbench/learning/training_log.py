"""The log of a training run: one row of CSV for each look at held-out patterns."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pxrdbench.learning.train_config import TrainProgress


class TrainingLog:
    """Rows behind those that are there, or a new file."""

    def __init__(self, path: Path, accuracies: Sequence[str], *, append: bool) -> None:
        """Open a log.

        Args:
            path: Where it is.
            accuracies: Names of the held-out accuracies: one column each.
            append: Whether to go on with the rows that are there.
        """
        self._path = path
        self._accuracies = tuple(accuracies)
        if not (append and path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_row(_COLUMNS + self._accuracies, "w")

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

    def _write_row(self, row: Sequence[str], mode: str) -> None:
        with self._path.open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)


_COLUMNS = (
    "seconds",
    "patterns_seen",
    "loss",
    "learning_rate",
    "patterns_per_second",
    "waited",
)
