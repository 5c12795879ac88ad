"""How weights change: schedules of the rate, optimisers, averages, precision."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pxrdbench.errors import ModelError

Schedule = Literal["cosine", "constant", "halving"]
Optimizer = Literal["adamw", "adam"]
Precision = Literal["float32", "bfloat16"]

SCHEDULES = ("cosine", "constant", "halving")
OPTIMIZERS = ("adamw", "adam")
PRECISIONS = ("float32", "bfloat16")

# The rate rises for so many steps, or for this share of a run if that is less.
_WARM_UP_STEPS = 200
_WARM_UP_SHARE = 0.05
_LAST_RATE = 0.01  # of the highest, at the end of the cosine
# The reference work halves the rate at its epochs 499, 999 and 1499 of 130,500
# patterns each: floor((1 + epoch) / 500) times.
_PATTERNS_AN_EPOCH = 130_500
_EPOCHS_A_HALVING = 500


def learning_rate_factor(step: int, fraction: float) -> float:
    """Share of the highest learning rate at a step of a run with a cosine.

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


def rate_factor(
    schedule: Schedule, step: int, fraction: float, patterns_seen: int
) -> float:
    """Share of the highest learning rate at a step of a run.

    Args:
        schedule: ``cosine`` behind a warm-up, ``constant``, or ``halving`` as in the
            reference work: half after each 65 million patterns, without a warm-up.
        step: Steps taken.
        fraction: Done of the run, 0-1; 0 in a run without end.
        patterns_seen: Patterns trained on.

    Example:
        >>> rate_factor("halving", 0, 0.0, 499 * 130_500)
        0.5
    """
    if schedule == "constant":
        return 1.0
    if schedule == "halving":
        epoch = patterns_seen // _PATTERNS_AN_EPOCH
        factor: float = 0.5 ** ((1 + epoch) // _EPOCHS_A_HALVING)
        return factor
    return learning_rate_factor(step, fraction)


def make_optimizer(
    kind: Optimizer, network: nn.Module, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights, with Keras' epsilon.

    Args:
        kind: ``adamw`` takes the decay from the weights, ``adam`` has none.
        network: Whose weights.
        rate: Highest rate.
        weight_decay: Share of a weight, times the rate, that a step takes away.
    """
    # Fused: a tenth of the time of the loop over weights, on a CPU. The epsilon is
    # Keras' own, with which the reference work trained.
    if kind == "adam":
        return torch.optim.Adam(network.parameters(), rate, eps=1e-7, fused=True)
    return torch.optim.AdamW(
        network.parameters(), rate, eps=1e-7, weight_decay=weight_decay, fused=True
    )


class WeightAverage:
    """An exponential average of the weights, which is evaluated and kept.

    Early on the average is over the steps so far: the decay grows as (1 + n)/(10 + n).

    Attributes:
        steps: Number of updates.
        state: The average, by name.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._network = network
        self.state = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in self._network.state_dict().items():
            mean = self.state[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def load(self, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Go on from an average that was kept."""
        for name, value in state.items():
            self.state[name].copy_(value)
        self.steps = steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network, and the weights back afterwards."""
        weights = {k: v.detach().clone() for k, v in self._network.state_dict().items()}
        self._network.load_state_dict(self.state)
        try:
            yield
        finally:
            self._network.load_state_dict(weights)


def autocast(
    precision: Precision, device: torch.device
) -> Callable[[], AbstractContextManager[object]]:
    """A context for the forward pass in a precision; weights stay in single."""
    if precision == "float32":
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


@dataclass(frozen=True)
class Placement:
    """Where a network runs and how its step is compiled.

    Attributes:
        device: Of weights and patterns.
        compile: Whether the step goes through ``torch.compile``.
    """

    device: torch.device
    compile: bool = False

    def prepare(self, module: nn.Module) -> nn.Module:
        """Compile a module, if that was asked for."""
        if not self.compile:
            return module
        module.compile()
        return module


def find_device(name: str) -> torch.device:
    """Choose a device: ``auto`` takes a GPU where there is one.

    Raises:
        ModelError: If the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(
            f"unknown device {name!r}; use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name!r} is not there; use --device cpu")
    return device


def explain_out_of_memory(error: BaseException, batch_size: int) -> ModelError | None:
    """One sentence with a remedy, if an error says that memory ran out."""
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
    if not is_memory:
        return None
    half = max(1, batch_size // 2)
    return ModelError(
        f"a step of {batch_size} patterns does not fit into memory; try batch_size "
        f"{half} with accumulate 2, which takes the same steps; the last checkpoint "
        "is intact"
    )
