"""Ranks that say what they do not know: two rows tie unless the data tell them apart.

References:
    Hall & Miller (2009), Ann. Stat. 37, 3929: the bootstrap of ranks.
    Mogstad, Romano, Shaikh & Wilhelm (2024), Rev. Econ. Stud. 91, 476: rank
        intervals from intervals of pairwise differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.metrics import mean_score

# Intervals are written with six decimals: what is smaller is no difference.
_LEAST_GAIN = 5e-7


@dataclass(frozen=True, eq=False)
class Contestant:
    """What a rank depends on.

    Attributes:
        name: Of the row.
        estimate: Its score.
        correct: Of each crystal, where published.
        seed_half_width: Half width of the 95 % interval that another training seed
            alone would give; 0 where nothing is drawn by chance.
    """

    name: str
    estimate: Estimate
    correct: Bool[np.ndarray, " crystals"] | None
    seed_half_width: float = 0.0


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
    outcomes by crystal, their own intervals must not overlap. What another seed would
    do to either row widens the interval: half widths add squared, as independent ones
    do. Each pair is judged at 95 % by itself: among n rows all alike, a few of the
    n(n-1)/2 pairs will differ.

    A row is resampled once; a difference of two rows is, in each resample, the
    difference of their scores there, so that n rows cost n resamplings.

    Args:
        rows: The rows, in any order.
        bootstrap: Resamples of the track's crystals; intervals only if None.
    """
    ordered = sorted(rows, key=lambda row: (-row.estimate.value, row.name))
    n = len(ordered)
    has_crystals = np.array(
        [bootstrap is not None and row.correct is not None for row in ordered], bool
    )
    is_paired = has_crystals[:, None] & has_crystals[None]
    np.fill_diagonal(is_paired, True)
    seeds = np.array([row.seed_half_width for row in ordered])
    value, low, high = (
        np.array([[r.estimate.value, r.estimate.low, r.estimate.high] for r in ordered])
        .reshape(n, 3)
        .T
    )
    # By themselves, whatever their crystals: own intervals, wider by the seed.
    low = low - (np.hypot(value - low, seeds) - (value - low))
    high = high + (np.hypot(high - value, seeds) - (high - value))
    is_better = np.triu(low[:, None] > high[None], 1)
    if bootstrap is not None:
        _compare_paired(ordered, bootstrap, seeds, is_better)
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


def _compare_paired(
    ordered: Sequence[Contestant],
    bootstrap: ClusterBootstrap,
    seeds: Float64[np.ndarray, " rows"],
    is_better: Bool[np.ndarray, "rows rows"],
) -> None:
    """Judge the pairs that can be compared crystal by crystal."""
    scores = {
        i: mean_score(row.correct)
        for i, row in enumerate(ordered)
        if row.correct is not None
    }
    places = np.array(sorted(scores), int)
    if not len(places):
        return
    values = np.array([scores[i].value for i in places])
    resampled = np.stack([bootstrap.replicates_of(scores[i]) for i in places])
    for k, i in enumerate(places[:-1]):
        later = places[k + 1 :]
        gain = values[k] - values[k + 1 :]
        low = bootstrap.lower_bounds(gain, resampled[k] - resampled[k + 1 :])
        margin = np.hypot(gain - low, np.hypot(seeds[i], seeds[later]))
        is_better[i, later] = gain - margin > _LEAST_GAIN
