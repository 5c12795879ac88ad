"""Published training runs by name: each row of the reference work's Table 1.

    schopmans2023/park-medium-random     real crystals, random split
    schopmans2023/park-medium-types      real crystals, split by structure type
    schopmans2023/park-big-types
    schopmans2023/park-big               synthetic crystals, endless
    schopmans2023/resnet-10  -50  -101
    schopmans2023/resnet-50-rruff        with background, noise and impurities
    schopmans2023/resnet-50-rruff-pure   the same without impurities

The runs on real crystals were on the ICSD; here they take whatever real crystals are
given (``--track FOLDER``, ``--source``), within the groups and bounds of a prior that
is named, and the split is the track's. What was trained on synthetic crystals takes the
prior ``open-145`` if none is named. The physics of all is ``paper``: no dispersion, no
thermal motion.

References:
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: Table 1; numbers
    that the paper does not give are those of its authors' public implementation.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.learning.training.optimization import Schedule

# One "epoch" of the synthetic runs: 900 batches of 145, or 150 of 870.
_PATTERNS_AN_EPOCH = 130_500
# A real run shows each of some 10^5 crystals with two sizes in each of 1,000 epochs;
# the number of crystals is that of the source.
_REAL_EPOCHS = 1000


@dataclass(frozen=True)
class Experiment:
    """How one published network was trained.

    Attributes:
        model: Name in the registry.
        batch_size: Patterns a step.
        learning_rate: Of Adam.
        schedule: Of the rate.
        patterns: Length; None for 1,000 passes over real crystals.
        prior: What crystals are drawn from; "" for real crystals.
        physics: Preset of drawing and scattering.
        measurement: What instrument and sample add.
        sizes: Crystallite sizes of each crystal.
        summary: One line.
    """

    model: str
    batch_size: int
    learning_rate: float
    schedule: Schedule = "constant"
    patterns: int | None = None
    prior: str = "open-145"
    physics: str = "paper"
    measurement: str | None = None
    sizes: int = 1
    summary: str = ""

    @property
    def is_real(self) -> bool:
        """Whether it learns from real crystals."""
        return not self.prior

    def options(self) -> dict[str, Any]:
        """What it says of options of `TrainConfig`."""
        options = {
            "model": self.model,
            "optimizer": "adam",
            "schedule": self.schedule,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "patterns": self.patterns,
            "fixed_sizes": self.sizes if self.sizes > 1 or self.is_real else None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def length(self, n_crystals: int | None) -> int:
        """Patterns of the whole run."""
        if self.patterns is not None:
            return self.patterns
        if n_crystals is None:
            raise ModelError("the length of this run depends on its real crystals")
        return _REAL_EPOCHS * self.sizes * n_crystals


def _resnet(depth: int) -> Experiment:
    return Experiment(
        f"resnet-{depth}",
        145,
        1e-4,
        "halving",
        2000 * _PATTERNS_AN_EPOCH,
        summary=f"ResNet-{depth}, 261 million synthetic patterns",
    )


EXPERIMENTS: dict[str, Experiment] = {
    f"schopmans2023/{name}": experiment
    for name, experiment in {
        "park-medium-random": Experiment(
            "park-cnn-medium-dropout",
            870,
            1e-3,
            prior="",
            sizes=2,
            summary="random split",
        ),
        "park-medium-types": Experiment(
            "park-cnn-medium-dropout",
            870,
            1e-3,
            prior="",
            sizes=2,
            summary="by structure type",
        ),
        "park-big-types": Experiment(
            "park-cnn-big-dropout",
            870,
            1e-3,
            prior="",
            sizes=2,
            summary="by structure type",
        ),
        "park-big": Experiment(
            "park-cnn-big",
            870,
            1e-3,
            patterns=1000 * _PATTERNS_AN_EPOCH,
            sizes=2,
            summary="130 million synthetic patterns, two of each crystal",
        ),
        "resnet-10": _resnet(10),
        "resnet-50": _resnet(50),
        "resnet-101": _resnet(101),
        "resnet-50-rruff": Experiment(
            "resnet-50-plain",
            145,
            1e-4,
            patterns=1000 * _PATTERNS_AN_EPOCH,
            measurement="rruff-paper",
            summary="with background, noise and impurities",
        ),
        "resnet-50-rruff-pure": Experiment(
            "resnet-50-plain",
            145,
            1e-4,
            patterns=1000 * _PATTERNS_AN_EPOCH,
            measurement="rruff-paper-pure",
            summary="with background and noise, without impurities",
        ),
    }.items()
}


def find_experiment(name: str) -> Experiment:
    """Find a published run by name.

    Raises:
        ModelError: If there is none of this name; it lists those known.
    """
    if name not in EXPERIMENTS:
        raise ModelError(
            f"unknown experiment {name!r}; known are {', '.join(EXPERIMENTS)}"
        )
    return EXPERIMENTS[name]


def measure_step_rate(
    model: str, n_outputs: int, grid: TwoThetaGrid, *, seconds: float = 1.0
) -> float:
    """Patterns a second that this machine can train on: some steps, timed.

    Args:
        model: Name in the registry.
        n_outputs: Of the network.
        grid: Angles of the patterns.
        seconds: About how long to measure.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build_model(model, n_outputs, grid=grid).to(device)
    n = 8 if device.type == "cpu" else 145
    x = torch.rand(n, 1, grid.points, device=device)
    label = torch.arange(n, device=device) % n_outputs

    def step() -> float:
        loss = functional.cross_entropy(network(x), label)
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no type here
        return float(loss.detach())  # waits for a GPU

    step()  # kernels are chosen in the first one
    started, n_steps = time.perf_counter(), 0
    while n_steps == 0 or time.perf_counter() - started < seconds:
        step()
        n_steps += 1
    return n * n_steps / (time.perf_counter() - started)
