"""What can be had without looking at a pattern: guesses by class frequency.

On some test sets the ten most frequent groups hold two thirds of the crystals, so a
top-10 accuracy means little without the number of this guess beside it.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int32

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.evaluation_record import Baseline, Comparison
from pxrdbench.benchmark.scoring.intervals import (
    ClusterBootstrap,
    Estimate,
    mcnemar_exact,
)
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.errors import SplitError
from pxrdbench.tracks.load import (
    Part,
    available_tracks,
    load_table,
)

TOP = (1, 5, 10)
CURVE_LENGTH = 20

# Where a track has no statistics part of its own, the embedded prior's classes guess.
_EMBEDDED_PRIOR = "open-v0"


def class_frequencies(
    predictions: Predictions, track: Part
) -> tuple[Float64[np.ndarray, " 231"], str]:
    """Find how often each group occurs in training, and where that is known from."""
    shares = np.zeros(231)
    if predictions.class_frequencies is not None:
        shares[list(predictions.space_groups)] = predictions.class_frequencies
        return shares / shares.sum(), "class frequencies of the model's training data"
    counts, source = statistics_counts(track)
    return counts / counts.sum(), source


def statistics_counts(
    track: Part,
) -> tuple[Float64[np.ndarray, " 231"], str]:
    """Count groups in the track's statistics part, else in the embedded prior."""
    if track.name in available_tracks():
        try:
            groups = load_table(track.name, "statistics")["space_group"].to_numpy()
        except SplitError:  # this track is for evaluation only
            pass
        else:
            counts = np.bincount(groups, minlength=231).astype(np.float64)
            return counts, f"statistics part of {track.name}"
    from pxrdbench.crystal.prior.prior import load_prior

    prior = load_prior(_EMBEDDED_PRIOR)
    counts = np.zeros(231)
    counts[list(prior.space_groups)] = prior.space_group_probability
    return counts, f"embedded prior {_EMBEDDED_PRIOR}"


def make_baselines(
    rank: Int32[np.ndarray, " crystals"],
    truth: Int16[np.ndarray, " crystals"],
    frequencies: tuple[Float64[np.ndarray, " 231"], str],
    bootstrap: ClusterBootstrap,
) -> tuple[Baseline, ...]:
    """Score two orders that look at no pattern, and a model against them.

    Args:
        rank: Place of the true group among the model's guesses.
        truth: True space group.
        frequencies: Share of each group in training, and whose shares these are.
        bootstrap: Resamples of the crystals.
    """
    shares, source = frequencies
    own = np.bincount(truth, minlength=231).astype(np.float64)
    return (
        _baseline(("most_frequent", source), shares, rank, truth, bootstrap),
        _baseline(("hindsight", "the evaluated part"), own, rank, truth, bootstrap),
    )


def _baseline(
    name_and_source: tuple[str, str],
    shares: Float64[np.ndarray, " 231"],
    model_rank: Int32[np.ndarray, " crystals"],
    truth: Int16[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> Baseline:
    # Groups of equal frequency come in the order of their numbers.
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0.0]
    place = np.full(231, metrics.UNREACHED)
    place[order] = np.arange(1, len(order) + 1)
    rank = place[truth]
    estimates: dict[str, Estimate] = {}
    comparisons: dict[str, Comparison] = {}
    for k in TOP:
        estimate = bootstrap.estimate(metrics.mean_score(rank <= k))
        comparison = compare_hits(model_rank <= k, rank <= k, bootstrap)
        if estimate is not None and comparison is not None:
            estimates[f"top_{k}"] = estimate
            comparisons[f"top_{k}"] = comparison
    curve = [float((rank <= k).mean()) for k in range(1, CURVE_LENGTH + 1)]
    return Baseline(
        name=name_and_source[0],
        source=name_and_source[1],
        space_group=int(order[0]),
        metrics=estimates,
        comparisons=comparisons,
        top_k=tuple(round(value, 6) for value in curve),
    )


def compare_hits(
    model: Bool[np.ndarray, " crystals"],
    baseline: Bool[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> Comparison | None:
    """Compare two systems crystal by crystal: difference, interval, McNemar."""
    gain = model.astype(np.float64) - baseline
    difference = bootstrap.estimate(metrics.mean_score(gain, lowest=-1.0))
    if difference is None:
        return None
    only_model = int((model & ~baseline).sum())
    only_baseline = int((baseline & ~model).sum())
    p_value = mcnemar_exact(only_model, only_baseline)
    return Comparison(difference, only_model, only_baseline, p_value)
