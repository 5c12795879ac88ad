"""What all effects of sample and instrument share: ranges, order, random numbers."""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_MEASUREMENT, draw_uniforms
from pxrdbench.errors import PatternError

# Lowest and highest value of a uniform distribution.
Range = tuple[float, float]

# Each effect has this many blocks of random numbers of a sample for itself.
_BLOCKS_EACH = 1 << 24


@dataclass(frozen=True)
class Samples:
    """Which samples of which data set: decides every random number of an effect.

    Attributes:
        seed: Key of the data set, 0 to 2**64 - 1.
        start: Index of the first sample.
        count: Number of samples.
    """

    seed: int
    start: int
    count: int


@dataclass(frozen=True)
class Effect:
    """One thing that a sample or an instrument adds, with ranges to draw it from.

    Attributes:
        acts_on: What it changes: crystals, lists of peaks, or patterns on a grid.
        acts_when: ``drawn``: when peaks are simulated, so stored peaks keep it;
            ``rendered``: when patterns are made, so stored peaks can take it anew.
        rank: Effects act in ascending order; also names its random numbers.
    """

    acts_on: ClassVar[Literal["crystals", "peaks", "patterns"]]
    acts_when: ClassVar[Literal["drawn", "rendered"]]
    rank: ClassVar[int]

    def first_block(self) -> int:
        """First block of the effect's own random numbers."""
        return self.rank * _BLOCKS_EACH

    def uniforms(self, samples: Samples, n: int) -> Float64[np.ndarray, "batch n"]:
        """N numbers of [0, 1) for each sample."""
        return draw_uniforms(
            samples.seed,
            samples.start,
            samples.count,
            STREAM_MEASUREMENT,
            n,
            self.first_block(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Name and ranges as plain data."""
        return {
            "effect": type(self).__name__,
            **{field.name: getattr(self, field.name) for field in fields(self)},
        }

    def _check(self, name: str, low: float, high: float) -> None:
        """Refuse a range that leaves its bounds.

        Raises:
            PatternError: It names effect, range and bounds.
        """
        first, last = getattr(self, name)
        if not low <= first <= last <= high or not math.isfinite(last - first):
            raise PatternError(
                f"{type(self).__name__} {name} runs from {first} to {last}; "
                f"it must hold that {low} <= lowest <= highest <= {high}"
            )


def spread(
    value_range: Range, uniforms: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Move numbers of [0, 1) onto a range."""
    low, high = value_range
    values: Float64[np.ndarray, "*shape"] = low + (high - low) * uniforms
    return values


def spread_log(
    value_range: Range, uniforms: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Move numbers of [0, 1) onto a range, evenly in the logarithm."""
    low, high = value_range
    values: Float64[np.ndarray, "*shape"] = low * (high / low) ** uniforms
    return values
