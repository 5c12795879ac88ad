"""One training run: its steps, its looks at held-out patterns, its checkpoints."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pxrdbench.dataset.batch import Batch, BatchSource
from pxrdbench.errors import ModelError
from pxrdbench.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    predict_logits,
    save_checkpoint,
)
from pxrdbench.learning.loader import TorchBatch, label_of, make_loader
from pxrdbench.learning.registry import TwoStageModel, build_model, find_model
from pxrdbench.learning.threads import count_cores, share_cores
from pxrdbench.learning.train_config import TrainConfig, TrainProgress, TrainReport
from pxrdbench.learning.training_log import TrainingLog

# The rate rises for so many steps, or for this share of a run if that is less.
_WARM_UP_STEPS = 200
_WARM_UP_SHARE = 0.05
_LAST_RATE = 0.01  # of the highest, at the end of the cosine
_TOP = (1, 5)  # accuracies that are looked at: the group is among the k likeliest
_PROGRESS_SECONDS = 0.5
_CHECKPOINT_SECONDS = 60.0
# At most this share of a run goes into looking at held-out patterns on the way.
_EVALUATION_SHARE = 0.05


def learning_rate_factor(step: int, fraction: float) -> float:
    """Share of the highest learning rate at a step of a run.

    Args:
        step: Steps taken.
        fraction: Done of the run, 0-1; 0 in a run without end.

    Example:
        >>> learning_rate_factor(10_000, 0.0), learning_rate_factor(10_000, 1.0)
        (1.0, 0.01)
    """
    warm_up = max((step + 1) / _WARM_UP_STEPS, fraction / _WARM_UP_SHARE)
    cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
    return min(1.0, warm_up) * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


def top_k_accuracy(
    logits: np.ndarray, space_group: np.ndarray, classes: Sequence[int], k: int
) -> float:
    """Share of patterns whose space group is among the k likeliest, 0-1.

    Patterns of groups that the model does not know count as wrong.
    """
    label = label_of(space_group, classes)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float(np.mean((best == label[:, None]).any(axis=1)))


class TrainingRun:
    """The state of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        source: BatchSource,
        held_out: Mapping[str, Batch],
        provenance: Mapping[str, Any],
        on_progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        spec = find_model(config.model)
        self.config = config
        self.source = source
        self.held_out = held_out
        self.provenance = dict(provenance)
        self.on_progress = on_progress
        self.space_groups = tuple(int(group) for group in source.space_groups)
        self.path = config.out / "last.pt"
        self.rate = config.learning_rate or spec.learning_rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = build_model(
                config.model, len(self.space_groups), grid=source.grid
            )
        # A first stage without weights runs beside the training, with the loader.
        self.classify: Callable[[torch.Tensor], torch.Tensor] = self.network
        encode: Callable[[torch.Tensor], torch.Tensor] | None = None
        if isinstance(self.network, TwoStageModel):
            encode, self.classify = self.network.encode, self.network.classify
        threads, workers = share_cores(count_cores(), is_light=encode is not None)
        self.threads = config.threads or threads
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.rate,
            weight_decay=spec.weight_decay,
            eps=1e-7,  # Keras' own, with which the reference work trained
            fused=True,  # a tenth of the time of the loop over weights, on a CPU
        )
        self.steps = 0
        self.seconds_before = 0.0
        self.patterns_before = 0
        self.accuracy: dict[str, float] = {}
        self.losses: list[torch.Tensor] = []
        self.loss = math.nan
        self.stopped: float | None = None
        if config.resume and self.path.exists():
            self._restore()
        self.loader = make_loader(
            source,
            config.batch_size or spec.batch_size,
            seed=config.seed,
            workers=workers if config.loader_workers is None else config.loader_workers,
            prefetch=4,
            first_pattern=self.patterns_before,
            transform=encode,
        )

    def train(self, stop: threading.Event) -> TrainReport:
        """Take steps until the end, or until told to stop."""
        self.started = time.perf_counter()
        self.reported = self.saved = self.evaluated = self.started
        self.evaluated_at = self._fraction()
        self.evaluation_seconds: float | None = None
        log = TrainingLog(
            self.config.out / "log.csv",
            [f"{name}_top_{k}" for name in self.held_out for k in _TOP],
            append=self.patterns_before > 0,
        )
        with closing(iter(self.loader)) as batches:
            while not stop.is_set() and self._fraction() < 1.0:
                self._step(next(batches))
                now = time.perf_counter()
                if self._is_time_to_evaluate(now):
                    self._evaluate()
                    log.write(self._report())
                elif now - self.reported > _PROGRESS_SECONDS:
                    self._report()
                if now - self.saved > _CHECKPOINT_SECONDS:
                    self._save()
        is_interrupted = stop.is_set() and self._fraction() < 1.0
        self.stopped = time.perf_counter()  # what follows is no training
        self._save()
        if not is_interrupted:
            self._evaluate()
            self._save()  # with the accuracies
        log.write(self._report())
        return TrainReport(
            checkpoint=self.path,
            patterns_seen=self.loader.patterns_given,
            seconds=self._seconds(),
            patterns_per_second=self._speed(),
            waited=self._waited(),
            accuracy=dict(self.accuracy),
            n_parameters=sum(p.numel() for p in self.network.parameters()),
            is_interrupted=is_interrupted,
        )

    def _step(self, batch: TorchBatch) -> None:
        """Change the weights once."""
        fraction = 0.0 if self._is_endless() else self._fraction()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * learning_rate_factor(self.steps, fraction)
        self.steps += 1
        if len(batch.label) == 0:  # none of its groups is a class
            return
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.classify(batch.intensity), batch.label)
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no type here
        self.optimizer.step()
        self.losses.append(loss.detach())

    def _evaluate(self) -> None:
        """Look at the held-out patterns."""
        started = time.perf_counter()
        self.network.eval()
        for name, batch in self.held_out.items():
            logits = predict_logits(self.network, batch.intensity, self.source.grid)
            for k in _TOP:
                self.accuracy[f"{name}_top_{k}"] = top_k_accuracy(
                    logits, batch.space_group, self.space_groups, k
                )
        self.network.train()
        self.evaluated = time.perf_counter()
        self.evaluated_at = self._fraction()
        self.evaluation_seconds = self.evaluated - started

    def _is_time_to_evaluate(self, now: float) -> bool:
        if self._is_endless():
            due = now - self.evaluated > _CHECKPOINT_SECONDS
        else:
            # Not at the very end, where it happens anyway.
            step = 1 / self.config.evaluations if self.config.evaluations else 2.0
            due = self.evaluated_at + step <= self._fraction() < 1.0 - step / 2
        if not due:
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
            patterns_seen=self.loader.patterns_given,
            fraction=None if self._is_endless() else min(1.0, self._fraction()),
            loss=self.loss,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            seconds=self._seconds(),
            patterns_per_second=self._speed(),
            waited=self._waited(),
            accuracy=dict(self.accuracy),
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
                f"the loss is {loss} after {self.loader.patterns_given} patterns: the "
                f"run has diverged; try a learning rate below {self.rate:g}"
            )
        return loss

    def _is_endless(self) -> bool:
        return self.config.minutes is None and self.config.patterns is None

    def _fraction(self) -> float:
        """Done of the run; 0 for ever if it has no end."""
        if self.config.patterns is not None:
            return self.loader.patterns_given / self.config.patterns
        if self.config.minutes is not None:
            return self._seconds() / (60 * self.config.minutes)
        return 0.0

    def _elapsed(self) -> float:
        """Seconds of this run, up to its last step."""
        now = time.perf_counter() if self.stopped is None else self.stopped
        return max(now - self.started, 1e-9)

    def _seconds(self) -> float:
        return self.seconds_before + self._elapsed()

    def _speed(self) -> float:
        """Patterns a second since this run began."""
        n_patterns = self.loader.patterns_given - self.patterns_before
        return n_patterns / self._elapsed()

    def _waited(self) -> float:
        return self.loader.seconds_waited / self._elapsed()

    def _save(self) -> None:
        """Write the checkpoint, unless its weights have run away."""
        self._mean_loss()
        checkpoint = Checkpoint(
            model=self.config.model,
            state_dict=self.network.state_dict(),
            space_groups=self.space_groups,
            grid=self.source.grid,
            radiation=self.source.radiation,
            patterns_seen=self.loader.patterns_given,
            training={
                "optimizer": self.optimizer.state_dict(),
                "steps": self.steps,
                "seconds": self._seconds(),
                "seed": self.config.seed,
                "accuracy": dict(self.accuracy),
            },
            **self.provenance,
        )
        save_checkpoint(self.path, checkpoint)
        self.saved = time.perf_counter()

    def _restore(self) -> None:
        """Go on from the checkpoint.

        Raises:
            ModelError: If it belongs to another model or to other data.
        """
        checkpoint = load_checkpoint(self.path)
        wanted = {
            "model": self.config.model,
            "space_groups": self.space_groups,
            "grid": self.source.grid,
            "radiation": self.source.radiation,
            **self.provenance,
        }
        for name, value in wanted.items():
            found = getattr(checkpoint, name)
            if found != value:
                raise ModelError(
                    f"{self.path} cannot go on: its {name} is {found}, that of this "
                    f"run is {value}; choose another folder or leave `resume` away"
                )
        state = checkpoint.training
        if "optimizer" not in state:
            raise ModelError(f"{self.path} holds no training state to go on from")
        self.network.load_state_dict(checkpoint.state_dict)
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["steps"])
        self.seconds_before = float(state["seconds"])
        self.patterns_before = checkpoint.patterns_seen
        self.accuracy = dict(state["accuracy"])
