"""Two arms against each other: one model or several trained alike, paired by crystal.

What differs between two arms by chance has two sources: which structure types the test
set happens to hold, and which seed a model was trained with. The variance of the
difference Δ of the arms' means adds up both levels:

    σ² = Var_types*(Δ*) + s_1² / S_1 + s_2² / S_2

Whole types are drawn as in ``ClusterBootstrap``, the same ones for every model of both
arms, times C / (C − 1) for C types. The level of the seeds is what a bootstrap of S − 1
of S seeds gives with endlessly many replicates (Rao & Wu 1988); s is the standard
deviation between the models of an arm. The interval is Δ ± t σ with Satterthwaite's
degrees of freedom: three seeds know little of their spread, and the interval says so.
With one seed an arm nothing is known of it: the interval is then that of these two very
models.

References:
    Owen (2007), Ann. Appl. Stat. 1, 386: bootstrap of two crossed factors.
    Rao & Wu (1988), J. Am. Stat. Assoc. 83, 231: rescaled bootstrap.
    Satterthwaite (1946), Biometrics Bull. 2, 110.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.benchmark.scoring.baselines import statistics_counts
from pxrdbench.benchmark.scoring.intervals import (
    LEVEL,
    ClusterBootstrap,
    Estimate,
    mcnemar_exact,
)
from pxrdbench.benchmark.scoring.metrics import Score
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.score import Outcome, define_scores
from pxrdbench.errors import EvaluationError, OptionError
from pxrdbench.tracks.load import Part, check_track_name, load_part

# What a comparison tells unless asked for more.
METRICS = (
    "top_1",
    "top_5",
    "top_10",
    "macro_accuracy",
    "type_balanced_accuracy",
    "reweighted_top_1",
    "crystal_system_accuracy",
)
_SIGN_FLIPS = 9999
_FLIP_STREAM = 2**32  # apart from the resamples of the same seed

Arm = Predictions | Path | str | Sequence[Predictions | Path | str]


@dataclass(frozen=True)
class MetricComparison:
    """One metric of two arms.

    Attributes:
        first: Mean over the models of the first arm.
        second: Of the second.
        difference: First minus second, paired crystal by crystal.
        p_value: Of no difference between these very models: the arms of whole
            structure types are exchanged at random (two-sided); None for metrics that
            are no mean over crystals.
        seed_spread: Standard deviation between the models of each arm; None for one.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    p_value: float | None
    seed_spread: tuple[float | None, float | None]

    @property
    def is_significant(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference.low > 0.0 or self.difference.high < 0.0


@dataclass(frozen=True)
class ArmComparison:
    """Two arms on one part of a track.

    Attributes:
        track: ``name``, ``part``, ``version``, ``digest``.
        models: Names of the models of each arm.
        metrics: By name.
        mcnemar_p: Exact McNemar test of top-1, where each arm is one model. It takes
            crystals for independent.
    """

    track: Mapping[str, str]
    models: tuple[tuple[str, ...], tuple[str, ...]]
    metrics: Mapping[str, MetricComparison]
    mcnemar_p: float | None

    def to_dict(self) -> dict[str, Any]:
        """Give all numbers as plain data, for JSON."""
        return asdict(self)


def compare(
    first: Arm,
    second: Arm,
    track: str | Path | Part | None = None,
    *,
    part: str = "test",
    metrics: Sequence[str] = METRICS,
    seeds_are_paired: bool = False,
) -> ArmComparison:
    """Compare two arms on the same crystals.

    Args:
        first: Predictions, a file of them, a folder in which all ``predictions.h5``
            are models of the arm, or several of these: one for each training seed.
        second: The other arm.
        track: Name or folder of the track, or its part in memory; the predictions'
            if None.
        part: Part of the track, where it is given by name.
        metrics: Names of metrics, see docs/metrics.md.
        seeds_are_paired: Whether model i of both arms shares its seed, so that what
            the seed does cancels; the arms must then have equally many.

    Raises:
        EvaluationError: If an arm has no predictions for the track, or a metric is
            unknown.
    """
    given = None if track is None else load_part(track, part)
    arms = [
        load_arm(arm, None if given is None else given.name) for arm in (first, second)
    ]
    loaded = _find_track(arms) if given is None else given
    outcomes = [[Outcome.of(model, loaded) for model in arm] for arm in arms]
    if seeds_are_paired and len(arms[0]) == len(arms[1]) == 1:
        raise OptionError(
            "paired seeds cannot act on one model an arm: there is no spread of seeds"
        )
    if seeds_are_paired and len(arms[0]) != len(arms[1]):
        raise EvaluationError(
            f"paired seeds need as many models in both arms, not {len(arms[0])} and "
            f"{len(arms[1])}"
        )
    shares = statistics_counts(loaded)[0]
    scores = [
        [define_scores(outcome, loaded, shares / shares.sum()) for outcome in arm]
        for arm in outcomes
    ]
    bootstrap = ClusterBootstrap(loaded.structure_type)
    compared = {}
    for name in metrics:
        if name not in scores[0][0]:
            known = ", ".join(scores[0][0])
            raise EvaluationError(f"there is no metric {name!r}; known are {known}")
        found = compare_scores(
            [model[name] for model in scores[0]],
            [model[name] for model in scores[1]],
            bootstrap,
            seeds_are_paired=seeds_are_paired,
        )
        if found is not None:
            compared[name] = found
    hits = [arm[0].correct for arm in outcomes]
    is_single = len(arms[0]) == len(arms[1]) == 1
    return ArmComparison(
        track={
            "name": loaded.name,
            "part": loaded.part,
            "version": str(loaded.version),
            "digest": loaded.digest,
        },
        models=(
            tuple(model.model_name for model in arms[0]),
            tuple(model.model_name for model in arms[1]),
        ),
        metrics=compared,
        mcnemar_p=_mcnemar(hits[0], hits[1]) if is_single else None,
    )


def compare_scores(
    first: Sequence[Score],
    second: Sequence[Score],
    bootstrap: ClusterBootstrap,
    *,
    seeds_are_paired: bool = False,
) -> MetricComparison | None:
    """Compare one score of several models an arm; None if it is nowhere defined."""
    values = [np.array([s.value for s in arm]) for arm in (first, second)]
    if not all(np.isfinite(v).all() for v in values):
        return None
    replicates = [
        np.stack([_centred(bootstrap.replicates_of(s), s) for s in arm], axis=1)
        for arm in (first, second)
    ]
    lowest, highest = first[0].lowest, first[0].highest
    n_types = bootstrap.count_clusters(first[0].presence)
    estimates = [
        _interval(v.mean(), r.mean(axis=1), [v], n_types, (lowest, highest))
        for v, r in zip(values, replicates, strict=True)
    ]
    difference = _interval(
        values[0].mean() - values[1].mean(),
        replicates[0].mean(axis=1) - replicates[1].mean(axis=1),
        [values[0] - values[1]] if seeds_are_paired else values,
        n_types,
        (lowest - highest, highest - lowest),
    )
    spreads = [float(v.std(ddof=1)) if len(v) > 1 else None for v in values]
    return MetricComparison(
        first=estimates[0],
        second=estimates[1],
        difference=difference,
        p_value=_exchange_test(first, second, bootstrap),
        seed_spread=(_rounded(spreads[0]), _rounded(spreads[1])),
    )


def load_arm(arm: Arm, track: str | None = None) -> list[Predictions]:
    """Read the predictions of all models of an arm.

    Args:
        arm: See ``compare``.
        track: Name of a track; those of others in a folder are left out.

    Raises:
        EvaluationError: If there are none.
    """
    if isinstance(arm, Predictions):
        return [arm]
    if not isinstance(arm, str | Path):
        return [model for item in arm for model in load_arm(item, track)]
    path = Path(arm)
    if not path.is_dir():
        return [Predictions.read(path)]
    found = [Predictions.read(file) for file in sorted(path.rglob("predictions.h5"))]
    if track is not None:
        found = [model for model in found if model.track == track]
    if not found:
        of = f" of {track}" if track else ""
        raise EvaluationError(f"{path} holds no predictions.h5{of}; `eval` writes them")
    return found


def _find_track(arms: Sequence[Sequence[Predictions]]) -> Part:
    """The track that all predictions are of, by name: files choose no folder."""
    named = {(model.track, model.part) for arm in arms for model in arm}
    if len(named) > 1:
        listed = ", ".join(f"{name} {p}" for name, p in sorted(named))
        raise EvaluationError(
            f"the predictions are of several tracks ({listed}): name one"
        )
    ((name, of),) = named
    return load_part(check_track_name(name), of)


def _centred(
    replicates: Float64[np.ndarray, " replicates"], score: Score
) -> Float64[np.ndarray, " replicates"]:
    """Shift replicates onto the value; a resample that lost all counts as the value."""
    known = np.where(np.isfinite(replicates), replicates, score.value)
    if score.recentred:
        known = known + (score.value - known.mean())
    return np.asarray(known)


def _interval(
    value: float,
    replicates: Float64[np.ndarray, " replicates"],
    seeds: Sequence[Float64[np.ndarray, " seeds"]],
    n_types: float,
    bounds: tuple[float, float],
) -> Estimate:
    """Value ± t σ, with Satterthwaite's degrees of freedom of types and seeds."""
    n_types = max(n_types, 2.0)
    types = float(replicates.var()) * n_types / (n_types - 1.0)
    parts = [(types, n_types - 1.0)]
    parts += [
        (float(v.var(ddof=1)) / len(v), len(v) - 1.0) for v in seeds if len(v) > 1
    ]
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    half = student_t(total**2 / below) * math.sqrt(total) if below > 0.0 else 0.0
    low, high = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Estimate(
        round(float(value), 6),
        round(float(min(low, value)), 6),
        round(float(max(high, value)), 6),
    )


def student_t(freedom: float) -> float:
    """Find the two-sided quantile of Student's t at the level of all intervals.

    Example:
        >>> round(student_t(2.0), 3), round(student_t(1e6), 3)
        (4.303, 1.96)
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1.0 + LEVEL) / 2.0))


def _exchange_test(
    first: Sequence[Score], second: Sequence[Score], bootstrap: ClusterBootstrap
) -> float | None:
    """Exchange the arms of random structure types; how often is |Δ| as large?

    Only for means with the same denominator in both arms, where Δ is a sum over types.
    """
    sums = [[bootstrap.cluster_sums(s) for s in arm] for arm in (first, second)]
    shape = sums[0][0].shape
    denominator = sums[0][0][:, 1] if shape[1] == 2 else None
    if denominator is None or any(
        s.shape != shape or not np.array_equal(s[:, 1], denominator)
        for arm in sums
        for s in arm
    ):
        return None
    means = [np.mean([s[:, 0] for s in arm], axis=0) for arm in sums]
    gain = means[0] - means[1]
    gain = gain[gain != 0.0]
    observed = abs(gain.sum())
    if not len(gain):
        return 1.0
    count = 0
    chunk = 500
    for start in range(0, _SIGN_FLIPS, chunk):
        rows = min(chunk, _SIGN_FLIPS - start)
        stream = np.random.Philox(
            key=bootstrap.seed, counter=[0, start // chunk, 1, _FLIP_STREAM]
        )
        bits = stream.random_raw(rows * len(gain)).reshape(rows, len(gain))
        signs = 1.0 - 2.0 * (bits >> np.uint64(63)).astype(np.float64)
        # Sums of the same numbers in another order: equal but for rounding.
        count += int((np.abs(signs @ gain) >= observed * (1.0 - 1e-12)).sum())
    return round((count + 1) / (_SIGN_FLIPS + 1), 6)


def _mcnemar(
    first: Bool[np.ndarray, " crystals"], second: Bool[np.ndarray, " crystals"]
) -> float:
    return mcnemar_exact(int((first & ~second).sum()), int((second & ~first).sum()))


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
