"""Batches for a step of training: patterns, labels, and what other tasks need."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.learning.loading.loader import (
    BUFFER,
    UNCOVERED,
    PatternLoader,
    TorchBatch,
    label_of,
)
from pxrdbench.learning.tasks import TaskSet, find_numbers


class StepBatch(NamedTuple):
    """What a step of training reads.

    Attributes:
        intensity: Patterns (batch, 1, points), or what a first stage made of them.
        label: Position of each space group in the class list.
        mask: Points that were measured (batch, points), where the source says so.
        numbers: Cells and sizes, where a task needs them.
    """

    intensity: Float[torch.Tensor, "batch ..."]
    label: Int64[torch.Tensor, " batch"]
    mask: torch.Tensor | None = None
    numbers: Float[torch.Tensor, "batch 7"] | None = None

    def part(self, start: int, stop: int) -> "StepBatch":
        """Some of the samples."""
        return StepBatch(*(None if t is None else t[start:stop] for t in self))  # type: ignore[arg-type]  # the first two are never None

    def on(
        self, device: torch.device, with_mask: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Patterns with their channels, labels and numbers, on a device."""
        x = self.intensity
        if with_mask:
            mask = torch.ones_like(x) if self.mask is None else self.mask[:, None]
            x = torch.cat([x, mask.to(x.dtype)], 1)
        numbers = self.numbers
        return (
            x.to(device, non_blocking=True),
            self.label.to(device, non_blocking=True),
            None if numbers is None else numbers.to(device, non_blocking=True),
        )


class StepLoader(PatternLoader):
    """The loader of patterns, with cells and sizes beside them where tasks need them.

    Hands out ``StepBatch`` where the other hands out ``TorchBatch``.
    """

    tasks: TaskSet | None = None

    def _collate(self, parts: list[Batch]) -> TorchBatch:
        """Put samples together; numbers too where a task needs them."""
        batch = StepBatch(*super()._collate(parts))
        if self.tasks is not None and self.tasks.needs_numbers:
            batch = batch._replace(numbers=_numbers(parts, self.classes))
        return batch  # type: ignore[return-value]  # what a step reads


def _numbers(parts: Sequence[Batch], classes: Sequence[int]) -> torch.Tensor:
    """Cells and sizes of the samples whose groups are classes."""
    known = [label_of(part.space_group, classes) != UNCOVERED for part in parts]
    numbers = [
        find_numbers(part)[rows] for part, rows in zip(parts, known, strict=True)
    ]
    return torch.from_numpy(np.concatenate(numbers))


def make_step_loader(
    source: BatchSource,
    batch_size: int,
    tasks: TaskSet,
    *,
    seed: int,
    workers: int,
    prefetch: int,
    first_pattern: int,
    transform: Callable[[torch.Tensor], torch.Tensor] | None,
) -> StepLoader:
    """Load the batches of a training run; arguments as for ``make_loader``."""
    loader = StepLoader(
        source,
        batch_size,
        classes=tasks.space_groups,
        seed=seed,
        shuffle=True,
        buffer=BUFFER,
        workers=workers,
        prefetch=prefetch,
        passes=None,
        first_pattern=first_pattern,
        # The source of a run on several GPUs deals its batches out itself.
        rank=0,
        world_size=1,
        pin_memory=torch.cuda.is_available(),
        transform=transform,
    )
    loader.tasks = tasks
    return loader
