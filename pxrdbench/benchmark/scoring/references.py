"""What a model could reach that read some things perfectly and others not at all.

``extinction_group`` knows which reflections are absent, ``extinction_and_laue`` the
Laue class too; both then guess by class frequency. Intensities carry more, so a model
can beat them. ``enantiomorphs`` is a bound: mirror-image groups (P4₁ and P4₃, …) have
the same patterns, so of each such pair only one can be right.
"""

import numpy as np
from jaxtyping import Float64, Int, Int16, Int32

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.baselines import TOP, compare_hits
from pxrdbench.benchmark.scoring.evaluation_record import Reference
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables


def make_references(
    rank: Int32[np.ndarray, " crystals"],
    truth: Int16[np.ndarray, " crystals"],
    statistics: tuple[Float64[np.ndarray, " 231"], str],
    bootstrap: ClusterBootstrap,
) -> tuple[Reference, ...]:
    """Score what perfect knowledge of a part of the symmetry would give.

    Args:
        rank: Place of the true group among the model's guesses.
        truth: True space group.
        statistics: Share of each group where a model may learn, and whose these are.
        bootstrap: Resamples of the crystals.
    """
    tables = load_symmetry_tables()
    extinction = tables.extinction_group.astype(np.int64)
    laue = merged_laue_classes()
    groups = np.arange(231)
    partner = np.where(tables.enantiomorph > 0, tables.enantiomorph, groups)
    own = np.bincount(truth, minlength=231).astype(np.float64)
    shares, source = statistics
    known = (
        ("extinction_group", source, extinction, shares),
        ("extinction_and_laue", source, 1000 * extinction + laue, shares),
        ("enantiomorphs", "the evaluated part", np.minimum(groups, partner), own),
    )
    return tuple(
        _reference(name, whose, place_within(cell, counts)[truth], rank, bootstrap)
        for name, whose, cell, counts in known
    )


def merged_laue_classes() -> Int[np.ndarray, " 231"]:
    """Number the Laue classes; powders superpose -31m and -3m1: one class."""
    laue = load_symmetry_tables().laue_class
    return np.where(laue == 6, 7, laue).astype(np.int64)


def place_within(
    cell: Int[np.ndarray, " 231"], shares: Float64[np.ndarray, " 231"]
) -> Int[np.ndarray, " 231"]:
    """Order the groups of each cell by share, then number; places count from 1.

    Example:
        >>> cell, shares = np.zeros(231, int), np.zeros(231)
        >>> shares[[4, 9]] = 0.2, 0.8
        >>> place_within(cell, shares)[[9, 4, 1]].tolist()
        [1, 2, 3]
    """
    place = np.zeros(231, np.int64)
    order = 1 + np.lexsort((np.arange(1, 231), -shares[1:]))
    for number in np.unique(cell[1:]):
        members = order[cell[order] == number]
        place[members] = np.arange(1, len(members) + 1)
    return place


def _reference(
    name: str,
    source: str,
    place: Int[np.ndarray, " crystals"],
    model_rank: Int32[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> Reference:
    estimates, comparisons = {}, {}
    for k in TOP:
        estimate = bootstrap.estimate(metrics.mean_score(place <= k))
        comparison = compare_hits(model_rank <= k, place <= k, bootstrap)
        if estimate is not None and comparison is not None:
            estimates[f"top_{k}"] = estimate
            comparisons[f"top_{k}"] = comparison
    return Reference(name, source, estimates, comparisons)
