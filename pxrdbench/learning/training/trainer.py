"""Train a model for some minutes or some patterns, stop, and go on later."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.learning.training.config import TrainConfig, TrainProgress, TrainReport
from pxrdbench.learning.training.distributed import join_team
from pxrdbench.learning.training.files import TrainingFiles
from pxrdbench.learning.training.run import TrainingRun
from pxrdbench.learning.training.source import open_training_source
from pxrdbench.learning.training.threads import stop_signals, torch_threads
from pxrdbench.tracks.learnt import find_by_summary

__all__ = ["TrainConfig", "TrainProgress", "TrainReport", "fit", "train"]


def train(
    config: TrainConfig, on_progress: Callable[[TrainProgress], None] | None = None
) -> TrainReport:
    """Train a model on shards or on patterns drawn meanwhile.

    Ctrl-C, SIGTERM and SIGHUP end the run behind the step at hand, with a checkpoint.

    Args:
        config: What, on what, how long.
        on_progress: Called about twice a second and behind each look at held-out
            patterns.

    Raises:
        ModelError: If the configuration contradicts itself, or the checkpoint to go
            on from belongs to another model or other data.
    """

    def say(note: str) -> None:
        if on_progress is not None:
            on_progress(TrainProgress(0, None, math.nan, 0.0, 0.0, 0.0, 0.0, note=note))

    # One of several processes speaks for all.
    tell = say if os.environ.get("RANK", "0") == "0" else lambda _: None
    stream = TrainingFiles(config.out, 0).read_stream() if config.resume else None
    opened = open_training_source(config, tell, stream)
    learnt = opened.learnt
    # What is at hand wherever this package is need not lie beside each run.
    if learnt is not None and find_by_summary(learnt.summary()) is None:
        learnt.write(config.out / "run")
    return fit(
        config,
        opened.source,
        opened.held_out,
        provenance=opened.provenance,
        classes=opened.classes,
        on_progress=on_progress,
    )


def fit(
    config: TrainConfig,
    source: BatchSource,
    held_out: Mapping[str, Batch],
    *,
    provenance: Mapping[str, Any] | None = None,
    classes: Sequence[int] | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
) -> TrainReport:
    """Train a model on any source; ``train`` finds the source and calls this.

    Args:
        config: What and how long; its ``shards``, ``recipe``, ``held_out`` and
            ``track`` are not read.
        source: Patterns to learn from.
        held_out: Patterns to look at on the way, by name. Those of space groups that
            the source does not have count as wrong.
        provenance: Fields of the checkpoint on where the patterns come from.
        classes: The class list; the groups of the source if left away.
        on_progress: Called now and then.
    """
    team = join_team()
    run = TrainingRun(
        config,
        source,
        held_out,
        provenance or {},
        on_progress if team.is_first else None,
        classes=classes,
        team=team,
    )
    with torch_threads(run.threads), stop_signals() as stop:
        return run.train(stop)
