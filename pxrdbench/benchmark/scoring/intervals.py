"""How far a score can be trusted: cluster bootstrap and exact paired tests.

Crystals of one structure type look alike, so a model is right or wrong on them
together. Intervals that take crystals for independent are too narrow; these resample
whole clusters (structure types, or minerals).

References:
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13 (percentiles).
    Davison & Hinkley (1997), Bootstrap Methods, sec. 3.8 (whole clusters).
    Hesterberg (2015), The American Statistician 69, 371: sec. 5.3 (few clusters).
    McNemar (1947), Psychometrika 12, 153; the exact form is the sign test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt16

from pxrdbench.benchmark.scoring.metrics import Score
from pxrdbench.errors import EvaluationError

LEVEL = 0.95
REPLICATES = 2000
# Replicates multiplied at once: bounds the memory. Part of the random stream.
_CHUNK = 256


@dataclass(frozen=True)
class Estimate:
    """A score and its interval; ``low`` <= ``value`` <= ``high``."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Give the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, record: Any, where: str = "estimate") -> "Estimate":
        """Check three numbers by name.

        Raises:
            EvaluationError: If one is missing, no finite number or out of order.
        """
        if not isinstance(record, dict) or set(record) != {"value", "low", "high"}:
            raise EvaluationError(
                f"{where} is {record!r}; it must hold value, low and high and no more"
            )
        numbers = [record["value"], record["low"], record["high"]]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise EvaluationError(f"{where} holds {number!r}, which is no number")
        value, low, high = (float(number) for number in numbers)
        if not (math.isfinite(low) and math.isfinite(high) and low <= value <= high):
            raise EvaluationError(
                f"{where}: value {value} must lie between low {low} and high {high}"
            )
        return cls(value, low, high)


class ClusterBootstrap:
    """Resamples of whole clusters, the same for every score of one test set.

    The resamples come from the raw Philox stream of a seed, whose values no numpy
    version changes: the same clusters give the same intervals anywhere.

    Args:
        clusters: Name of the cluster of each crystal.
        replicates: Number of resamples.
        seed: Key of the random stream.

    Attributes:
        n_clusters: Number of different clusters.
    """

    def __init__(
        self, clusters: Sequence[str], *, replicates: int = REPLICATES, seed: int = 0
    ) -> None:
        if not len(clusters):
            raise EvaluationError("no crystals: an interval needs at least one")
        # Sorted names: the result does not depend on the order of the crystals.
        names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        self._member: Int[np.ndarray, " crystals"] = member
        self.n_clusters = len(names)
        self.replicates = replicates
        self.seed = seed

    def estimate(self, score: Score) -> Estimate | None:
        """Give a score with its interval; None if no crystal contributes.

        Percentiles of the replicates, taken further out for few clusters by the
        ratio of Student's t to the normal distribution (Hesterberg's expanded
        percentiles), and widened to hold the value where they miss it. A proportion
        without spread (all right, all wrong, one cluster) gets Wilson's interval of
        its effective number of clusters instead of an empty one.
        """
        value = score.value
        if not math.isfinite(value):
            return None
        replicates = self._replicates(score)
        if score.recentred and len(replicates):
            replicates = replicates + (value - replicates.mean())
        if len(replicates) == 0 or np.ptp(replicates) == 0.0:
            low, high = self._without_spread(score, value)
        else:
            tail = _expanded_tail(self.count_clusters(score.presence))
            low, high = (float(q) for q in np.quantile(replicates, [tail, 1.0 - tail]))
        low = min(max(low, score.lowest), value)
        high = max(min(high, score.highest), value)
        return Estimate(_rounded(value), _rounded(low), _rounded(high))

    def lower_bounds(
        self,
        values: Float64[np.ndarray, " differences"],
        replicates: Float64[np.ndarray, "differences replicates"],
    ) -> Float64[np.ndarray, " differences"]:
        """Give the lower ends of intervals of many differences over all crystals.

        What `estimate` gives for each of them, from replicates that are at hand.

        Args:
            values: The differences themselves, each in -1 to 1.
            replicates: The same in every resample, see `replicates_of`.
        """
        everyone = np.ones(len(self._member), bool)
        clusters = self.count_clusters(everyone)
        low = np.quantile(replicates, _expanded_tail(clusters), axis=1)
        if clusters < 2.0:  # no resample differs: nothing is known of the spread
            low[np.ptp(replicates, axis=1) == 0.0] = -1.0
        return np.asarray(np.minimum(np.maximum(low, -1.0), values))

    def replicates_of(self, score: Score) -> Float64[np.ndarray, " replicates"]:
        """Compute the score of every resample; NaN where it is not defined."""
        sums = self.cluster_sums(score)
        values = [
            score.finish(chunk.astype(np.float64) @ sums) for chunk in self._weights
        ]
        return np.concatenate(values)

    def cluster_sums(self, score: Score) -> Float64[np.ndarray, "clusters sums"]:
        """Add up what the crystals of each cluster add to the score's sums."""
        order = np.argsort(self._member, kind="stable")
        first = np.searchsorted(self._member[order], np.arange(self.n_clusters))
        return np.asarray(np.add.reduceat(score.terms[order], first, axis=0))

    def _replicates(self, score: Score) -> Float64[np.ndarray, " defined"]:
        """Compute the score of every resample in which it is defined."""
        replicates = self.replicates_of(score)
        return np.asarray(replicates[np.isfinite(replicates)])

    @cached_property
    def _weights(self) -> list[UInt16[np.ndarray, "chunk clusters"]]:
        """Draw how often each resample holds each cluster."""
        n = self.n_clusters
        chunks = []
        for start in range(0, self.replicates, _CHUNK):
            rows = min(_CHUNK, self.replicates - start)
            # A draw advances the lowest word; the chunk stands in the next one.
            stream = np.random.Philox(key=self.seed, counter=[0, start // _CHUNK, 0, 0])
            # 53 bits to [0, 1), then the number of a cluster.
            uniform = (stream.random_raw(rows * n) >> np.uint64(11)) * 2.0**-53
            drawn = (uniform * n).astype(np.int64).reshape(rows, n)
            cells = (drawn + n * np.arange(rows)[:, None]).ravel()
            counts = np.bincount(cells, minlength=rows * n)
            chunks.append(counts.astype(np.uint16).reshape(rows, n))
        return chunks

    def count_clusters(self, presence: Bool[np.ndarray, " crystals"]) -> float:
        """Count clusters as Kish: (Σ n)² / Σ n², n crystals in a cluster."""
        sizes = np.bincount(self._member[presence], minlength=self.n_clusters)
        return float(sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum())

    def _without_spread(self, score: Score, value: float) -> tuple[float, float]:
        """Give Wilson's interval for a proportion, else the whole range."""
        if (score.lowest, score.highest) == (0.0, 1.0):
            return wilson_interval(value, self.count_clusters(score.presence))
        if math.isfinite(score.highest) and self.count_clusters(score.presence) < 2.0:
            return score.lowest, score.highest
        return value, value


def wilson_interval(proportion: float, size: float) -> tuple[float, float]:
    """Compute Wilson's score interval of a proportion of ``size`` trials.

    References:
        Wilson (1927), J. Am. Stat. Assoc. 22, 209.

    Example:
        >>> low, high = wilson_interval(0.0, 10)
        >>> low, round(high, 4)
        (0.0, 0.2775)
    """
    z = NormalDist().inv_cdf((1.0 + LEVEL) / 2.0)
    centre = (proportion + z**2 / (2.0 * size)) / (1.0 + z**2 / size)
    variance = proportion * (1.0 - proportion) / size + z**2 / (4.0 * size**2)
    half = z * math.sqrt(variance) / (1.0 + z**2 / size)
    # At 0 and 1 centre and half width are equal but for rounding.
    low = 0.0 if proportion == 0.0 else centre - half
    high = 1.0 if proportion == 1.0 else centre + half
    return low, high


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Test whether two models are right equally often, on the same crystals.

    Of the crystals on which exactly one of the two is right, half would favour each
    if there were no difference: a two-sided binomial test, computed in integers.

    Args:
        only_first: Crystals that only the first model gets right.
        only_second: Crystals that only the second gets right.

    Example:
        >>> mcnemar_exact(0, 5)
        0.0625
    """
    n = only_first + only_second
    coefficient = tail = 1
    for k in range(1, min(only_first, only_second) + 1):
        coefficient = coefficient * (n - k + 1) // k
        tail += coefficient
    return min(1.0, float(2 * tail / 2**n))


def _expanded_tail(n_clusters: float) -> float:
    """Compute the tail probability of expanded percentiles (Hesterberg 2015)."""
    normal = NormalDist()
    z = normal.inv_cdf((1.0 + LEVEL) / 2.0)
    freedom = max(n_clusters - 1.0, 1.0)
    # Student's t from z: Abramowitz & Stegun (1964), eq. 26.7.5, to freedom^-4.
    t = (
        z
        + (z**3 + z) / (4.0 * freedom)
        + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * freedom**2)
        + (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / (384.0 * freedom**3)
        + (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z)
        / (92160.0 * freedom**4)
    )
    return normal.cdf(-t * math.sqrt((freedom + 1.0) / freedom))


def _rounded(number: float) -> float:
    """Round to six decimals: a hundred times finer than any interval here."""
    return round(number, 6) + 0.0
