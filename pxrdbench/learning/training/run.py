"""One training run: its steps, its looks at held-out patterns, its checkpoints."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.shards.meter import MeterReading
from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.source import BatchSource
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.following import Follower
from pxrdbench.learning.loading.growing import GrowingSet
from pxrdbench.learning.loading.task_loader import StepBatch, make_step_loader
from pxrdbench.learning.models.checkpoint import Checkpoint, predict_logits
from pxrdbench.learning.networks.registry import TwoStageModel, build_model, find_model
from pxrdbench.learning.tasks import TaskSet
from pxrdbench.learning.training.clock import TrainingClock
from pxrdbench.learning.training.config import TrainConfig, TrainProgress, TrainReport
from pxrdbench.learning.training.distributed import SourceShare, Team
from pxrdbench.learning.training.files import TrainingFiles, load_first_weights
from pxrdbench.learning.training.log import TrainingLog
from pxrdbench.learning.training.optimization import (
    Placement,
    WeightAverage,
    autocast,
    explain_out_of_memory,
    find_device,
    learning_rate_factor,
    make_optimizer,
    rate_factor,
)
from pxrdbench.learning.training.progress import top_k_accuracy
from pxrdbench.learning.training.state import TrainingState
from pxrdbench.learning.training.threads import count_cores, share_cores

__all__ = ["TrainingRun", "learning_rate_factor"]

_TOP = (1, 5)  # accuracies that are looked at: the group is among the k likeliest
_PROGRESS_SECONDS = 0.5
_CHECKPOINT_SECONDS = 60.0
# At most this share of a run goes into looking at held-out patterns on the way.
_EVALUATION_SHARE = 0.05


class _Trained(nn.Module):
    """What a step runs: the whole network, or its second stage."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of what the loader hands out."""
        if isinstance(self.network, TwoStageModel):
            return self.network.classify(x)
        outputs: torch.Tensor = self.network(x)
        return outputs


class _Over(Exception):
    """A run that follows a stream has come to its end, or was asked to end."""

    def __init__(self, is_interrupted: bool) -> None:
        super().__init__()
        self.is_interrupted = is_interrupted


class TrainingRun:
    """The state of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        source: BatchSource,
        held_out: Mapping[str, Batch],
        provenance: Mapping[str, Any],
        on_progress: Callable[[TrainProgress], None] | None,
        *,
        classes: Sequence[int] | None = None,
        team: Team | None = None,
    ) -> None:
        spec = find_model(config.model)
        self.config = config
        self.source = source
        self.held_out = held_out
        self.provenance = dict(provenance)
        self.on_progress = on_progress
        self.team = team or Team()
        self.space_groups = tuple(
            int(group)
            for group in (source.space_groups if classes is None else classes)
        )
        if len(self.space_groups) < 2:
            raise ModelError(
                f"a class list of {len(self.space_groups)} space groups; at least 2 "
                "are needed"
            )
        self.tasks = TaskSet(tuple(config.tasks), self.space_groups)
        self.rate = config.learning_rate or spec.learning_rate
        self.batch_size = config.batch_size or spec.batch_size
        self.device = self.team.device(find_device(config.device))
        self.network = self._build()
        # A first stage without weights runs beside the training, with the loader.
        encode = None
        if isinstance(self.network, TwoStageModel):
            encode = self.network.encode
        threads, workers = share_cores(count_cores(), is_light=encode is not None)
        self.threads = config.threads or threads
        if config.loader_workers is not None:
            workers = config.loader_workers
        self.step_module = Placement(self.device, config.compile).prepare(
            _Trained(self.network)
        )
        self.autocast = autocast(config.precision, self.device)
        self.optimizer = make_optimizer(
            config.optimizer, self.network, self.rate, spec.weight_decay
        )
        self.average = (
            None
            if config.average is None
            else WeightAverage(self.network, config.average)
        )
        self.clock = TrainingClock(config)
        self.files = TrainingFiles(config.out, config.keep)
        self.steps = 0
        self.patterns_before = 0
        self.accuracy: dict[str, float] = {}
        self.losses: list[torch.Tensor] = []
        self.loss = math.nan
        self.explanation = ""
        self.follower = (
            Follower(source, config.out, is_first=self.team.is_first)
            if isinstance(source, RollingSet | GrowingSet)
            else None
        )
        if config.resume and self.files.last.exists():
            self._restore()
        share = (
            source
            if self.team.size == 1
            else SourceShare(source, self.team, self.batch_size)
        )
        self.loader = make_step_loader(
            share,
            self.batch_size,
            self.tasks,
            seed=config.seed,
            # A thread that waits for shards must not be that which writes checkpoints.
            workers=workers if self.follower is None else max(1, workers),
            prefetch=4,
            first_pattern=self.patterns_before // self.team.size,
            transform=encode,
        )
        self.position = self.loader.patterns_given

    def _build(self) -> nn.Module:
        """Draw the first weights, or take those of another run."""
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = build_model(
                config.model,
                self.tasks.n_outputs,
                grid=self.source.grid,
                mask=config.mask,
            )
        if config.start_from is not None:
            load_first_weights(
                network, config.start_from, config.model, self.space_groups
            )
        return network.to(self.device)

    @property
    def patterns_seen(self) -> int:
        """Patterns trained on by all processes, those before a resume included."""
        return self.position * self.team.size

    def describe(self, state: Mapping[str, torch.Tensor]) -> Checkpoint:
        """A checkpoint of some weights of this run."""
        return Checkpoint(
            model=self.config.model,
            state_dict={name: value.detach().cpu() for name, value in state.items()},
            space_groups=self.space_groups,
            grid=self.source.grid,
            radiation=self.source.radiation,
            patterns_seen=self.patterns_seen,
            tasks=self.tasks.tasks,
            mask=self.config.mask,
            **self.provenance,
        )

    def _checkpoint(self) -> Checkpoint:
        """What a run goes on from: weights and state.

        Where weights are averaged, what is evaluated comes first, and what is trained
        stands in the state.
        """
        trained, average = self.describe(self.network.state_dict()), self.average
        state = TrainingState(
            optimizer=self.optimizer.state_dict(),
            steps=self.steps,
            seconds=self.clock.seconds(),
            cpu_seconds=self.clock.cpu_seconds(),
            seed=self.config.seed,
            accuracy=dict(self.accuracy),
            best=self.files.best,
            random_state=torch.get_rng_state(),
            weights=None if average is None else trained.state_dict,
            average_steps=None if average is None else average.steps,
            stream=self._stream_state(),
        )
        checkpoint = trained if average is None else self.describe(average.state)
        checkpoint.training.update(state.to_dict())
        return checkpoint

    def _stream_state(self) -> Mapping[str, int] | None:
        """Where the run stands in its shards."""
        if self.follower is not None:
            return self.follower.state()
        if self.config.shards is None or self.source.length is None:
            return None
        held_out = self.held_out.get("synthetic", ())
        return {"samples": self.source.length + len(held_out)}

    def _restore(self) -> None:
        """Go on from ``last.pt``, bit for bit on one thread of a processor.

        Raises:
            ModelError: If it belongs to another model or to other data.
        """
        checkpoint, state = self.files.read_last(
            {
                "model": self.config.model,
                "space_groups": self.space_groups,
                "tasks": self.config.tasks,
                "mask": self.config.mask,
                "grid": self.source.grid,
                "radiation": self.source.radiation,
                **self.provenance,
            }
        )
        if (state.weights is not None) != (self.average is not None):
            raise ModelError(
                f"{self.files.last} cannot go on: one of the runs averages its "
                "weights, the other does not; give the same `average`"
            )
        self.network.load_state_dict(state.weights or checkpoint.state_dict)
        if self.average is not None:
            self.average.load(checkpoint.state_dict, state.average_steps or 0)
        self.optimizer.load_state_dict(dict(state.optimizer))
        self.steps = state.steps
        self.clock.seconds_before = state.seconds
        self.clock.cpu_before = state.cpu_seconds
        self.patterns_before = checkpoint.patterns_seen
        self.accuracy = dict(state.accuracy)
        self.files.best = state.best
        if state.random_state is not None:
            torch.set_rng_state(state.random_state)

    def train(self, stop: threading.Event) -> TrainReport:
        """Take steps until the end, or until told to stop.

        Raises:
            ModelError: If memory runs out or the weights run away; the last
                checkpoint stays as it was.
        """
        self.clock.start()
        now = time.perf_counter()
        self.reported = self.saved = self.evaluated = now
        self.evaluated_at = self._fraction()
        self.evaluation_seconds: float | None = None
        log = TrainingLog(
            self.config.out / "log.csv",
            [f"{name}_top_{k}" for name in self.held_out for k in _TOP],
            append=self.patterns_before > 0,
            tensorboard=self.config.tensorboard,
        )
        with self.follower or nullcontext():
            is_interrupted = self._take_steps(stop, log)
            self.clock.stop()
            if self.team.is_first:
                self._save()
                if not is_interrupted:
                    self._evaluate()
                    self._save()  # with the accuracies
                log.write(self._report())
                self._end_stream()
        log.close()
        self.team.agree([0.0], self.device)  # all find the checkpoint whole
        return TrainReport(
            checkpoint=self.files.last,
            patterns_seen=self.patterns_seen,
            seconds=self.clock.seconds(),
            patterns_per_second=self._speed(),
            waited=self._waited(),
            accuracy=dict(self.accuracy),
            n_parameters=sum(p.numel() for p in self.network.parameters()),
            is_interrupted=is_interrupted,
            cpu_seconds=self.clock.cpu_seconds(),
            made_per_core_second=self.loader.throughput.made_per_core_second,
            acknowledged=0 if self.follower is None else self.follower.acknowledged,
            explanation=self.explanation,
        )

    def _take_steps(self, stop: threading.Event, log: TrainingLog) -> bool:
        """Train until the end; say whether it was stopped before."""
        if self.follower is not None:
            return self._follow(stop, log, self.follower)
        with closing(iter(self.loader)) as batches:
            while True:
                asked, done = self.team.agree(
                    [float(stop.is_set()), self._fraction()], self.device
                )
                if asked or done >= 1.0:
                    return bool(asked) and done < 1.0
                self._try_step(cast(StepBatch, next(batches)))
                if self.team.is_first:
                    self._look_around(log)

    def _follow(
        self, stop: threading.Event, log: TrainingLog, follower: Follower
    ) -> bool:
        """Train on what others are writing; say whether it was stopped.

        Processes of a team agree once a step, and four times a second while any of
        them waits for shards: so checkpoints are written, and shards given free, also
        while nothing can be learnt.
        """

        def agree(*, waits: bool) -> bool:
            asked, done, anyone_waits = self.team.agree(
                [float(stop.is_set()), self._fraction(), float(waits)], self.device
            )
            if asked or done >= 1.0:
                raise _Over(bool(asked) and done < 1.0)
            if waits:
                follower.waits(self.position)
            if anyone_waits and self.team.is_first:
                self._look_around(log)
            return not anyone_waits

        def wait() -> None:
            agree(waits=True)

        self.loader.on_wait = wait
        try:
            with closing(iter(self.loader)) as batches, closing(follower.source):
                for batch in batches:
                    while not agree(waits=False):
                        pass
                    follower.goes_on()
                    if self.position == self.patterns_before // self.team.size:
                        # The time until the first shard is no time of the run.
                        self.clock.start()
                        self.loader.seconds_waited = 0.0
                    self._try_step(cast(StepBatch, batch))
                    if self.team.is_first:
                        self._look_around(log)
                while not agree(waits=False):  # others may not know it yet
                    pass
                self.explanation = (
                    f"the set of {self.config.shards} has come to its end"
                )
        except _Over as over:
            return over.is_interrupted
        return False

    def _end_stream(self) -> None:
        """Say how the stream stood when the run ended."""
        follower, reading = self.follower, self._reading("ended")
        if follower is None:
            return
        parts = [self.explanation, follower.bottleneck(reading)]
        self.explanation = "; ".join(part for part in parts if part)
        follower.tell(reading)
        follower.end(self.explanation or "the run is over")

    def _reading(self, phase: str) -> MeterReading:
        """How this side of the stream stands."""
        follower = self.follower
        return MeterReading(
            phase=phase,
            run=str(self.config.out.resolve()),
            samples=self.patterns_seen,
            acknowledged=0 if follower is None else follower.acknowledged,
            per_second=self._speed(),
            waited=min(1.0, self._waited()),
            seconds=self.clock.elapsed(),
        )

    def _try_step(self, batch: StepBatch) -> None:
        """Change the weights once, or say why not."""
        try:
            self._step(batch)
        except (RuntimeError, MemoryError) as error:
            told = explain_out_of_memory(error, self.batch_size)
            if told is None:
                raise
            raise told from error

    def _look_around(self, log: TrainingLog) -> None:
        """Evaluate, report and save, where it is time to."""
        now = time.perf_counter()
        if self._is_time_to_evaluate(now):
            self._evaluate()
            log.write(self._report())
        elif now - self.reported > _PROGRESS_SECONDS:
            self._report()
        follower = self.follower
        is_due = follower is not None and follower.is_due(self.patterns_seen)
        if is_due or now - self.saved > _CHECKPOINT_SECONDS:
            self._save()

    def _step(self, batch: StepBatch) -> None:
        """Change the weights once."""
        self.position = self.loader.patterns_given
        fraction = 0.0 if self.config.is_endless else self._fraction()
        factor = rate_factor(
            self.config.schedule, self.steps, fraction, self.patterns_seen
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.steps += 1
        n = len(batch.label)
        if n == 0 and self.team.size == 1:  # none of its groups is a class
            return
        self.optimizer.zero_grad(set_to_none=True)
        for start in range(0, n, -(-n // self.config.accumulate) or 1):
            part = batch.part(start, start + -(-n // self.config.accumulate))
            share = len(part.label) / n
            self._add_gradients(part, share)
        self.team.share_gradients(self.network)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _add_gradients(self, batch: StepBatch, share: float) -> None:
        """Add the gradients of a part of a step."""
        x, label, numbers = batch.on(self.device, self.config.mask)
        with self.autocast():
            outputs = self.step_module(x)
        loss = share * self.tasks.loss(outputs, label, numbers)
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no type here
        self.losses.append(loss.detach() / share)

    def _evaluate(self) -> None:
        """Look at the held-out patterns, with the average where there is one."""
        started = time.perf_counter()
        self.network.eval()
        applied = nullcontext() if self.average is None else self.average.applied()
        with applied:
            for name, batch in self.held_out.items():
                mask = getattr(batch, "mask", None)
                if self.config.mask and mask is None:
                    mask = np.ones(batch.intensity.shape, np.bool_)
                outputs = predict_logits(
                    self.network,
                    batch.intensity,
                    self.source.grid,
                    mask if self.config.mask else None,
                )
                if "space_group" in self.tasks.tasks:
                    logits = outputs[:, self.tasks.columns("space_group")]
                    for k in _TOP:
                        self.accuracy[f"{name}_top_{k}"] = top_k_accuracy(
                            logits, batch.space_group, self.space_groups, k
                        )
                for metric, value in self.tasks.score(outputs, batch).items():
                    self.accuracy[f"{name}_{metric}"] = value
        self.network.train()
        average = self.average
        weights = self.network.state_dict() if average is None else average.state
        self.files.write_evaluated(self.describe(weights), self.accuracy)
        self.evaluated = time.perf_counter()
        self.evaluated_at = self._fraction()
        self.evaluation_seconds = self.evaluated - started

    def _is_time_to_evaluate(self, now: float) -> bool:
        if self.config.is_endless:
            due = now - self.evaluated > _CHECKPOINT_SECONDS
        else:
            # Not at the very end, where it happens anyway.
            step = 1 / self.config.evaluations if self.config.evaluations else 2.0
            due = self.evaluated_at + step <= self._fraction() < 1.0 - step / 2
        if not due or self.patterns_seen == self.patterns_before:
            return False
        cost = self.evaluation_seconds
        if cost is None:  # forward alone takes about a third of a training step
            patterns = sum(len(batch) for batch in self.held_out.values())
            cost = patterns / (3 * self._speed())
        return cost <= _EVALUATION_SHARE * (now - self.evaluated)

    def _report(self) -> TrainProgress:
        """Tell how far the run is."""
        self.loss = self._mean_loss()
        progress = TrainProgress(
            patterns_seen=self.patterns_seen,
            fraction=None if self.config.is_endless else min(1.0, self._fraction()),
            loss=self.loss,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            seconds=self.clock.seconds(),
            patterns_per_second=self._speed(),
            waited=self._waited(),
            accuracy=dict(self.accuracy),
            cpu_seconds=self.clock.cpu_seconds(),
            made_per_core_second=self.loader.throughput.made_per_core_second,
            note="" if self.follower is None else self.follower.note,
        )
        if self.follower is not None:
            self.follower.tell(
                self._reading("waiting" if self.follower.note else "running")
            )
        self.losses.clear()
        self.reported = time.perf_counter()
        if self.on_progress is not None:
            self.on_progress(progress)
        return progress

    def _mean_loss(self) -> float:
        """Mean loss since the last report.

        Raises:
            ModelError: If the weights have run away.
        """
        if not self.losses:
            return self.loss
        loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} after {self.patterns_seen} patterns: the run has "
                f"diverged; try a learning rate below {self.rate:g}. The last "
                "checkpoint is intact"
            )
        return loss

    def _fraction(self) -> float:
        return self.clock.fraction(self.patterns_seen)

    def _speed(self) -> float:
        """Patterns a second since this run began."""
        return (self.patterns_seen - self.patterns_before) / self.clock.elapsed()

    def _waited(self) -> float:
        return self.loader.seconds_waited / self.clock.elapsed()

    def _save(self) -> None:
        """Write the checkpoint, unless its weights have run away."""
        self._mean_loss()
        started = time.perf_counter()
        self.files.write_last(self._checkpoint())
        self.saved = time.perf_counter()
        if self.follower is not None:
            self.follower.saved(self.patterns_seen, self.saved - started)
