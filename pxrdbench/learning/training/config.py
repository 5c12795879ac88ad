"""What a training run is told, and what it tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.errors import ModelError, OptionError
from pxrdbench.learning.loading.real_crystals import find_crystal_source
from pxrdbench.learning.networks.registry import find_model
from pxrdbench.learning.training.optimization import (
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    Optimizer,
    Precision,
    Schedule,
)


@dataclass(frozen=True)
class SourceKind:
    """One of the three things that a run learns from, and what it can be told.

    Attributes:
        what: In words.
        options: Options of `TrainConfig` that act on it and not on every other.
        tasks: Tasks that cannot be learnt from it.
    """

    what: str
    options: frozenset[str]
    tasks: frozenset[str] = frozenset()


SOURCE_KINDS = {
    "recipe": SourceKind("patterns that are drawn meanwhile", frozenset({"mixture"})),
    # Shards hold peaks, not the crystals behind them.
    "shards": SourceKind(
        "shards, whose crystals are drawn already",
        frozenset({"measurement", "consumer"}),
        frozenset({"lattice", "crystallite_size"}),
    ),
    "source": SourceKind(
        "real crystals, which nobody draws", frozenset({"measurement", "data"})
    ),
}

_POSITIVE = (
    "minutes",
    "patterns",
    "cpu_minutes",
    "batch_size",
    "learning_rate",
    "threads",
    "accumulate",
)


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and how long.

    Attributes:
        model: Name in the registry.
        out: Folder for ``last.pt``, ``best.pt`` and ``log.csv``.
        shards: Folder of shards to learn from, or
        recipe: what to draw patterns from while training, or
        source: name of real crystals, ``track:open/structure-type/statistics`` or
            ``import:FOLDER``, see `find_crystal_source`; exactly one of the three.
        consumer: Of a rolling set with several, which one reads.
        data: Where the crystals of a track are: the folder of their table, or an
            import.
        physics: Of real crystals: ``default``, ``paper``, or that of the track if
            None.
        fixed_sizes: Crystallite sizes that belong to each crystal; None for another
            in each pass.
        limits: Prior whose groups and bounds real crystals must meet.
        prior_place: File of the recipe's prior, beside which it says what was learnt.
        protocol: Name of the published run that is followed.
        measurement: Name of what instrument and sample add when shards are rendered,
            instead of what their recipe says.
        mixture: Names of measurements that take turns, batch by batch; ``clean`` is
            none. For a recipe.
        minutes: Length of the run; one that goes on counts what it had before.
        patterns: Length of the run in patterns, instead: the weights at the end are
            then the same every time, on one machine with one number of threads.
        cpu_minutes: Length in processor time of all threads, instead: what is fair
            on a machine that others use too.
        batch_size: Patterns a step; the model's own if left away.
        learning_rate: Highest rate of Adam; the model's own if left away.
        optimizer: ``adamw`` or ``adam``.
        schedule: ``cosine`` rises for 200 steps at most, then falls along a cosine, or
            stays where it is in a run without end; ``constant``; ``halving`` as in
            the reference work.
        precision: ``float32``, or ``bfloat16`` for the forward pass.
        compile: Whether the step goes through ``torch.compile``.
        accumulate: Parts into which a step is cut, to need less memory.
        average: Decay of an average of the weights, which is then what is evaluated
            and kept beside them; None for none.
        seed: Of the first weights and of the order of the samples.
        resume: Go on from ``out/last.pt`` if it is there.
        start_from: Checkpoint, run or shipped model whose weights are the first ones:
            fine-tuning to another radiation, measurement or source.
        classes: Space groups to tell apart: ``source`` for those of the source,
            ``open-145``, ``all``, or the numbers joined by commas.
        tasks: What to predict: ``space_group``, ``crystal_system``,
            ``extinction_group``, ``lattice``, ``crystallite_size``, any of them.
        mask: Whether the network has a second channel: what was measured.
        keep: Checkpoints of looks at held-out patterns to keep beside the last one.
        tensorboard: Whether to write TensorBoard's log too.
        evaluations: How often to look at held-out patterns, if that is affordable.
        held_out: Number of synthetic patterns held out.
        track: Name or folder of a track whose ``dev`` part shows the accuracy on real
            crystals; None for none.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of torch, and
        loader_workers: threads that make patterns; found from the cores if left away.
        patience: How long to wait for a set of shards that is not there yet [s].
    """

    model: str
    out: Path
    shards: str | Path | None = None
    recipe: Recipe | None = None
    source: str | Path | None = None
    data: str | Path | None = None
    physics: str | None = None
    fixed_sizes: int | None = None
    limits: Prior | None = None
    prior_place: str | Path | None = None
    protocol: str = ""
    measurement: str | None = None
    mixture: tuple[str, ...] = ()
    minutes: float | None = None
    patterns: int | None = None
    cpu_minutes: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "cosine"
    precision: Precision = "float32"
    compile: bool = False
    accumulate: int = 1
    average: float | None = None
    seed: int = 0
    resume: bool = False
    start_from: str | Path | None = None
    classes: str = "source"
    tasks: tuple[str, ...] = ("space_group",)
    mask: bool = False
    keep: int = 0
    tensorboard: bool = False
    evaluations: int = 8
    held_out: int = 2048
    track: str | Path | None = "open/structure-type"
    device: str = "auto"
    threads: int | None = None
    loader_workers: int | None = None
    patience: float = 0.0
    consumer: str | None = None

    def __post_init__(self) -> None:
        lengths = (self.minutes, self.patterns, self.cpu_minutes)
        if sum(length is not None for length in lengths) > 1:
            raise ModelError(
                "a run has a length in minutes, in patterns or in minutes of "
                "processor time: one of them"
            )
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ModelError(f"{name} is {value}; it must be above 0")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ModelError(
                    f"unknown {name} {getattr(self, name)!r}; known are "
                    f"{', '.join(known)}"
                )
        if self.average is not None and not 0 < self.average < 1:
            raise ModelError(f"average is {self.average}; it lies between 0 and 1")
        if self.keep < 0:
            raise ModelError(f"keep is {self.keep}; it must be at least 0")
        self._refuse_idle()

    @property
    def source_kind(self) -> str | None:
        """Which of ``SOURCE_KINDS`` it names; None if none of them, or several."""
        kinds = [kind for kind in SOURCE_KINDS if getattr(self, kind) is not None]
        return kinds[0] if len(kinds) == 1 else None

    def _refuse_idle(self) -> None:
        """Refuse options that cannot act on the source or the model.

        Raises:
            OptionError: If there is one; it says why.
        """
        if self.mask and not find_model(self.model).reads_mask:
            raise OptionError(
                f"mask cannot act on {self.model}, which has no channel for it: where "
                "nothing was measured the pattern is zero, and that is all it sees"
            )
        if (kind := self.source_kind) is None:
            return
        source = SOURCE_KINDS[kind]
        every = {name for other in SOURCE_KINDS.values() for name in other.options}
        for name in sorted(every - source.options):
            if getattr(self, name):
                raise OptionError(f"{name} cannot act on {source.what}")
        for task in self.tasks:
            if task in source.tasks:
                raise OptionError(
                    f"the task {task} cannot be learnt from {source.what}: they keep "
                    "no cells; draw patterns meanwhile (--online)"
                )
        if self.data is not None and find_crystal_source(self.source or "").track == "":
            raise OptionError(
                "data cannot act on an import, which holds its own crystals"
            )
        card = None if self.recipe is None else self.recipe.card
        if card is not None and self.mixture and card.measurement is not None:
            raise OptionError(
                "the recipe's measurement cannot act with a mixture, which names the "
                "measurements"
            )
        if (
            card is not None
            and "crystallite_size" in self.tasks
            and card.crystallite_size_nm is None
        ):
            raise OptionError(
                "the task crystallite_size cannot be learnt from a measurement whose "
                "profile is the whole width"
            )

    @property
    def is_endless(self) -> bool:
        """Whether the run has no length."""
        return self.minutes is None and self.patterns is None and not self.cpu_minutes


@dataclass(frozen=True)
class TrainProgress:
    """How far a run is.

    Attributes:
        patterns_seen: Patterns trained on, those before a resume included.
        fraction: Done of the whole, 0-1; None for a run without end.
        loss: Sum of the tasks' losses [nats], mean since the last report.
        learning_rate: At the moment.
        seconds: Time trained, that before a resume included.
        patterns_per_second: Since this run began.
        waited: Share of that time spent waiting for patterns, 0-1.
        accuracy: Newest held-out accuracies by set and metric, 0-1.
        cpu_seconds: Processor time of all threads, that before a resume included.
        made_per_core_second: Patterns that one core makes a second, if it does
            nothing else: what the loader could feed.
        note: What is to be said now, as whom the run waits for; empty for nothing.
    """

    patterns_seen: int
    fraction: float | None
    loss: float
    learning_rate: float
    seconds: float
    patterns_per_second: float
    waited: float
    accuracy: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    made_per_core_second: float = 0.0
    note: str = ""


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
        cpu_seconds: Processor time of all threads, that before a resume included.
        made_per_core_second: Patterns that one core makes a second, if it does
            nothing else: what the loader could feed.
        acknowledged: Samples of a rolling set that were given free.
        explanation: Why a run on a set that is still written ended, and which side of
            the stream held up the other; empty for other runs.
    """

    checkpoint: Path
    patterns_seen: int
    seconds: float
    patterns_per_second: float
    waited: float
    accuracy: Mapping[str, float]
    n_parameters: int
    is_interrupted: bool
    cpu_seconds: float = 0.0
    made_per_core_second: float = 0.0
    acknowledged: int = 0
    explanation: str = ""
