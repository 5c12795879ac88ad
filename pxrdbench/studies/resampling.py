"""Means over clusters with intervals, for studies that have no stored predictions.

Evaluations of tracks use ``benchmark.scoring.intervals``, which corrects for few
clusters; this is the plain percentile bootstrap.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

# Enough for percentiles to the tenth of a point that tables show.
REPLICATES = 4000


def resample_means(
    values: np.ndarray, clusters: Sequence[str], replicates: int = REPLICATES
) -> Float64[np.ndarray, " replicates"]:
    """Means of bootstrap resamples of whole clusters.

    Equal names of clusters give equal resamples, so that the difference of two results
    is the paired one.

    Args:
        values: One number a pattern.
        clusters: What each pattern belongs to, as the name of its mineral.
        replicates: Number of resamples.

    References:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, values, minlength=len(names))
    counts = np.bincount(member, minlength=len(names))
    rng = np.random.Generator(np.random.Philox(key=0))
    picks = rng.integers(0, len(names), (replicates, len(names)))
    means: np.ndarray = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return means


def percent_interval(
    values: np.ndarray, clusters: Sequence[str], replicates: int = REPLICATES
) -> dict[str, float]:
    """Mean and 95 % percentile interval over clusters, in per cent."""
    draws = 100.0 * resample_means(values, clusters, replicates)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "value": round(100 * float(np.mean(values)), 1),
        "low": round(float(low), 1),
        "high": round(float(high), 1),
    }
