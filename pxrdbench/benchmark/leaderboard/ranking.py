"""Ranks that say what they do not know: two rows tie unless the data tell them apart.

References:
    Hall & Miller (2009), Ann. Stat. 37, 3929: the bootstrap of ranks.
    Mogstad, Romano, Shaikh & Wilhelm (2024), Rev. Econ. Stud. 91, 476: rank
        intervals from intervals of pairwise differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool

from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.metrics import mean_score


@dataclass(frozen=True, eq=False)
class Contestant:
    """What a rank depends on.

    Attributes:
        name: Of the row.
        estimate: Its score.
        correct: Of each crystal, where published.
    """

    name: str
    estimate: Estimate
    correct: Bool[np.ndarray, " crystals"] | None


@dataclass(frozen=True)
class Standing:
    """Where a row stands.

    Attributes:
        name: Of the row.
        best: One more than the number of rows that are better for certain.
        worst: The number of rows that are not worse for certain, with itself.
        ties: Names of the rows that cannot be told apart from it.
        is_paired: Whether every comparison was crystal by crystal; intervals that
            overlap had to do otherwise, which finds fewer differences.
    """

    name: str
    best: int
    worst: int
    ties: tuple[str, ...]
    is_paired: bool


def rank_rows(
    rows: Sequence[Contestant], bootstrap: ClusterBootstrap | None
) -> list[Standing]:
    """Rank rows of one track, the best score first.

    Two rows differ where the 95 % interval of their paired difference, from
    resampled clusters of crystals, does not hold zero. Where one of them has no
    outcomes by crystal, their own intervals must not overlap. Each pair is judged at
    95 % by itself: among n rows all alike, a few of the n(n-1)/2 pairs will differ.

    Args:
        rows: The rows, in any order.
        bootstrap: Resamples of the track's crystals; intervals only if None.
    """
    ordered = sorted(rows, key=lambda row: (-row.estimate.value, row.name))
    n = len(ordered)
    is_better = np.zeros((n, n), bool)
    is_paired = np.ones((n, n), bool)
    for i, j in combinations(range(n), 2):  # i scores at least as high as j
        differs, by_crystal = _differ(ordered[i], ordered[j], bootstrap)
        is_better[i, j] = differs
        is_paired[i, j] = is_paired[j, i] = by_crystal
    return [
        Standing(
            name=row.name,
            best=1 + int(is_better[:, i].sum()),
            worst=n - int(is_better[i].sum()),
            ties=tuple(
                other.name
                for j, other in enumerate(ordered)
                if j != i and not is_better[i, j] and not is_better[j, i]
            ),
            is_paired=bool(is_paired[i].all()),
        )
        for i, row in enumerate(ordered)
    ]


def _differ(
    upper: Contestant, lower: Contestant, bootstrap: ClusterBootstrap | None
) -> tuple[bool, bool]:
    """Tell whether the upper row is better, and whether crystals were compared."""
    if bootstrap is None or upper.correct is None or lower.correct is None:
        return upper.estimate.low > lower.estimate.high, False
    gain = upper.correct.astype(np.float64) - lower.correct
    difference = bootstrap.estimate(mean_score(gain, lowest=-1.0))
    return difference is not None and difference.low > 0.0, True
