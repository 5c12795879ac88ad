"""What a training run is told, and what it tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pxrdbench.dataset.recipe import Recipe
from pxrdbench.errors import ModelError


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and how long.

    Attributes:
        model: Name in the registry.
        out: Folder for ``last.pt`` and ``log.csv``.
        shards: Folder of shards to learn from, or
        recipe: what to draw patterns from while training; exactly one of the two.
        measurement: Name of what instrument and sample add when shards are rendered,
            instead of what their recipe says.
        minutes: Length of the run; one that goes on counts what it had before.
        patterns: Length of the run in patterns, instead: the weights at the end are
            then the same every time, on one machine with one number of threads.
        batch_size: Patterns a step; the model's own if left away.
        learning_rate: Highest rate of Adam; the model's own if left away. It rises
            for 200 steps at most, then falls along a cosine, or stays where it is
            in a run without end.
        seed: Of the first weights and of the order of the samples.
        resume: Go on from ``out/last.pt`` if it is there.
        evaluations: How often to look at held-out patterns, if that is affordable.
        held_out: Number of synthetic patterns held out.
        track: Track whose ``dev`` part shows the accuracy on real crystals; None for
            none.
        threads: Threads of torch, and
        loader_workers: threads that make patterns; found from the cores if left away.
    """

    model: str
    out: Path
    shards: Path | None = None
    recipe: Recipe | None = None
    measurement: str | None = None
    minutes: float | None = None
    patterns: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    resume: bool = False
    evaluations: int = 8
    held_out: int = 2048
    track: str | None = "open/structure-type"
    threads: int | None = None
    loader_workers: int | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and self.patterns is not None:
            raise ModelError("a run has a length in minutes or in patterns, not both")
        for name in ("minutes", "patterns", "batch_size", "learning_rate", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ModelError(f"{name} is {value}; it must be above 0")


@dataclass(frozen=True)
class TrainProgress:
    """How far a run is.

    Attributes:
        patterns_seen: Patterns trained on, those before a resume included.
        fraction: Done of the whole, 0-1; None for a run without end.
        loss: Cross entropy [nats], mean since the last report.
        learning_rate: At the moment.
        seconds: Time trained, that before a resume included.
        patterns_per_second: Since this run began.
        waited: Share of that time spent waiting for patterns, 0-1.
        accuracy: Newest held-out accuracies by set and metric, 0-1.
    """

    patterns_seen: int
    fraction: float | None
    loss: float
    learning_rate: float
    seconds: float
    patterns_per_second: float
    waited: float
    accuracy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainReport:
    """What a run came to.

    Attributes:
        checkpoint: The file written last.
        patterns_seen: Patterns trained on, those before a resume included.
        seconds: Time trained, that before a resume included.
        patterns_per_second: Of this run.
        waited: Share of this run spent waiting for patterns, 0-1.
        accuracy: Held-out accuracies at the end, by set and metric, 0-1.
        n_parameters: Of the model.
        is_interrupted: Whether it was stopped before its end.
    """

    checkpoint: Path
    patterns_seen: int
    seconds: float
    patterns_per_second: float
    waited: float
    accuracy: Mapping[str, float]
    n_parameters: int
    is_interrupted: bool
