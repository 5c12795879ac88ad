"""Score predictions against the truth of a track: a pure function of the two.

Stored predictions scored again give the identical evaluation, and any later metric
can be had from them.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16, Int32

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.baselines import (
    CURVE_LENGTH,
    TOP,
    class_frequencies,
    make_baselines,
    statistics_counts,
)
from pxrdbench.benchmark.scoring.evaluation_record import (
    EVALUATOR_VERSION,
    Bin,
    Evaluation,
)
from pxrdbench.benchmark.scoring.intervals import (
    LEVEL,
    REPLICATES,
    ClusterBootstrap,
    Estimate,
)
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.property_bins import bin_by_property
from pxrdbench.benchmark.scoring.references import make_references, merged_laue_classes
from pxrdbench.crystal.symmetry.tables import CRYSTAL_SYSTEMS, load_symmetry_tables
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.load import Part, TrackPart

_CALIBRATION_BINS = 10
_SIZE_BINS = 4
# Share of probability that `nll_all` spreads over all 230 groups: an uncovered group
# costs ln(230 / 0.01) = 10.04 nats, a covered one at most 0.01 nats more than in `nll`.
SMOOTHING = 0.01


def score(predictions: Predictions, track: Part) -> Evaluation:
    """Compute every number from predictions and the truth.

    Intervals of 95 % come from resampling structure types, always with the same
    seed; the result does not depend on the order of the predictions.

    Raises:
        EvaluationError: If the predictions are of another track, part or version, or
            lack crystals.
    """
    outcome = Outcome.of(predictions, track)
    bootstrap = ClusterBootstrap(track.structure_type)
    counts, whose = statistics_counts(track)
    statistics = counts / counts.sum(), whose
    estimates = {
        name: estimate
        for name, item in define_scores(outcome, track, statistics[0]).items()
        if (estimate := bootstrap.estimate(item)) is not None
    }
    by_volume, by_sites = bin_by_property(track, outcome.correct, bootstrap)
    return Evaluation(
        track={
            "name": track.name,
            "part": track.part,
            "version": str(track.version),
            "digest": track.digest,
        },
        model={
            "name": predictions.model_name,
            "digest": predictions.model_digest,
            "classes": len(predictions.space_groups),
            "restricted": predictions.restricted,
            "provenance": dict(sorted(predictions.provenance.items())),
        },
        predictions_digest=predictions.digest,
        versions={
            "evaluator": EVALUATOR_VERSION,
            "pxrdbench": _package_version(),
            "track": str(track.version),
            "data": track.digest,
        },
        interval={
            "level": LEVEL,
            "method": "percentile bootstrap over clusters, expanded for few clusters",
            "clusters": track.clusters,
            "replicates": REPLICATES,
            "seed": bootstrap.seed,
        },
        counts=_counts(outcome, bootstrap.n_clusters),
        metrics=estimates,
        crystal_system=_per_system(outcome, bootstrap),
        baselines=make_baselines(
            outcome.rank,
            outcome.truth,
            class_frequencies(predictions, track),
            bootstrap,
        ),
        top_k=_top_k_curve(outcome, bootstrap, len(predictions.space_groups)),
        confusion=_confusion(outcome),
        calibration=_calibration(outcome, bootstrap),
        by_peaks=_by_peaks(outcome, track, bootstrap),
        space_groups=_per_space_group(outcome),
        references=make_references(outcome.rank, outcome.truth, statistics, bootstrap),
        by_volume=by_volume,
        by_sites=by_sites,
    )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was guessed of each crystal of a track, in the track's order.

    Attributes:
        truth: True space group.
        guess: Space group with the largest logit.
        rank: Place of the true group; ``metrics.UNREACHED`` if it is not covered.
        covered: Whether the true group stands in the model's class list.
        confidence: Probability of the guess.
        negative_log_likelihood: Of the true group; 0 where it is not covered.
    """

    truth: Int16[np.ndarray, " crystals"]
    guess: Int16[np.ndarray, " crystals"]
    rank: Int32[np.ndarray, " crystals"]
    covered: Bool[np.ndarray, " crystals"]
    confidence: Float64[np.ndarray, " crystals"]
    negative_log_likelihood: Float64[np.ndarray, " crystals"]

    @classmethod
    def of(cls, predictions: Predictions, track: Part) -> "Outcome":
        """Look at predictions in the order of the track's crystals."""
        logits = predictions.logits[align(predictions, track)]
        classes = np.array(predictions.space_groups, np.int16)
        truth = np.asarray(track.space_group, np.int16)
        logp = metrics.log_probabilities(logits)
        label = metrics.find_labels(classes, truth)
        own = np.take_along_axis(logp, np.maximum(label, 0)[:, None], axis=1)[:, 0]
        return cls(
            truth=truth,
            guess=classes[np.argmax(logits, axis=1)],
            rank=metrics.find_ranks(logits, classes, truth),
            covered=label >= 0,
            confidence=np.exp(logp.max(axis=1)),
            negative_log_likelihood=np.where(label >= 0, -own, 0.0),
        )

    @cached_property
    def correct(self) -> Bool[np.ndarray, " crystals"]:
        """Whether the first guess is the true group."""
        return np.asarray(self.rank == 1)

    @property
    def true_system(self) -> Int[np.ndarray, " crystals"]:
        """Position of the true crystal system in ``CRYSTAL_SYSTEMS``."""
        return np.asarray(_systems()[self.truth])


def align(predictions: Predictions, track: Part) -> Int[np.ndarray, " crystals"]:
    """Find the row of the predictions for each crystal of the track.

    Raises:
        EvaluationError: If the predictions are of another track, part or version, or
            not of exactly its crystals.
    """
    claimed = (predictions.track, predictions.part, predictions.track_version)
    asked = (track.name, track.part, str(track.version))
    if claimed != asked or predictions.track_digest != track.digest:
        raise EvaluationError(
            f"the predictions are of track {_describe(claimed)} (digest "
            f"{predictions.track_digest[:12]}), not of {_describe(asked)} (digest "
            f"{track.digest[:12]}); predict this track anew"
        )
    row = {name: index for index, name in enumerate(predictions.ids)}
    missing = [name for name in track.ids if name not in row]
    if missing or len(row) != len(track.ids):
        raise EvaluationError(
            f"the predictions lack {len(missing)} of {len(track.ids)} crystals"
            f"{f', {missing[0]!r} first' if missing else ''}, and hold "
            f"{len(row) - len(track.ids) + len(missing)} that the track lacks"
        )
    return np.array([row[name] for name in track.ids])


def _describe(identity: tuple[str, str, str]) -> str:
    name, part, track_version = identity
    return f"{name} {part}, version {track_version}"


def define_scores(
    outcome: Outcome,
    track: Part,
    shares: Float64[np.ndarray, " 231"],
) -> dict[str, metrics.Score]:
    """Define every metric, by the name it has in the evaluation.

    Args:
        outcome: What was guessed.
        track: The part of the track.
        shares: Share of each group in the track's statistics part.
    """
    tables = load_symmetry_tables()
    truth, covered, correct = outcome.truth, outcome.covered, outcome.correct
    hits = {k: outcome.rank <= k for k in TOP}
    laue = merged_laue_classes()
    extinction = tables.extinction_group.astype(np.int64)
    partner = np.where(tables.enantiomorph > 0, tables.enantiomorph, np.arange(231))
    _, member, sizes = np.unique(
        track.structure_type, return_inverse=True, return_counts=True
    )

    def same(table: Int[np.ndarray, " 231"]) -> metrics.Score:
        return metrics.mean_score(table[truth] == table[outcome.guess])

    return {
        **{f"top_{k}": metrics.mean_score(hit) for k, hit in hits.items()},
        "macro_accuracy": metrics.grouped_mean_score(correct, truth),
        "macro_f1": metrics.macro_f1_score(outcome.guess, truth),
        "type_balanced_accuracy": metrics.weighted_mean_score(
            correct, 1.0 / sizes[member]
        ),
        "reweighted_top_1": metrics.grouped_mean_score(correct, truth, weight=shares),
        **{f"covered_top_{k}": metrics.mean_score(h, covered) for k, h in hits.items()},
        "covered_macro_accuracy": metrics.grouped_mean_score(correct, truth, covered),
        "enantiomorph_top_1": metrics.mean_score(
            correct | (partner[truth] == outcome.guess)
        ),
        "crystal_system_accuracy": same(tables.crystal_system),
        "laue_class_accuracy": same(laue),
        "extinction_group_accuracy": same(extinction),
        "extinction_and_laue_accuracy": same(1000 * extinction + laue),
        "nll": metrics.mean_score(
            outcome.negative_log_likelihood, covered, highest=np.inf
        ),
        "nll_all": metrics.mean_score(_smoothed(outcome), highest=np.inf),
        "ece": metrics.calibration_score(outcome.confidence, correct, covered),
    }


def _smoothed(outcome: Outcome) -> Float64[np.ndarray, " crystals"]:
    """-ln((1 - ε) p + ε / 230) of the true group, p = 0 where it is not covered."""
    own = np.where(outcome.covered, np.exp(-outcome.negative_log_likelihood), 0.0)
    return np.asarray(-np.log((1.0 - SMOOTHING) * own + SMOOTHING / 230.0))


def _systems() -> Int[np.ndarray, " 231"]:
    return load_symmetry_tables().crystal_system.astype(np.int64)


def _counts(outcome: Outcome, n_types: int) -> dict[str, Any]:
    systems = np.bincount(outcome.true_system, minlength=len(CRYSTAL_SYSTEMS))
    return {
        "crystals": len(outcome.truth),
        "covered": int(outcome.covered.sum()),
        "structure_types": n_types,
        "space_groups": len(np.unique(outcome.truth)),
        "covered_space_groups": len(np.unique(outcome.truth[outcome.covered])),
        "crystal_system": dict(zip(CRYSTAL_SYSTEMS, systems.tolist(), strict=True)),
    }


def _per_system(outcome: Outcome, bootstrap: ClusterBootstrap) -> dict[str, Estimate]:
    scores = {
        name: metrics.mean_score(outcome.correct, outcome.true_system == index)
        for index, name in enumerate(CRYSTAL_SYSTEMS)
    }
    estimates = {name: bootstrap.estimate(item) for name, item in scores.items()}
    return {name: item for name, item in estimates.items() if item is not None}


def _top_k_curve(
    outcome: Outcome, bootstrap: ClusterBootstrap, n_classes: int
) -> tuple[Estimate, ...]:
    curve = [
        bootstrap.estimate(metrics.mean_score(outcome.rank <= k))
        for k in range(1, min(CURVE_LENGTH, n_classes) + 1)
    ]
    return tuple(item for item in curve if item is not None)


def _confusion(outcome: Outcome) -> tuple[tuple[int, ...], ...]:
    systems = _systems()
    cells = metrics.count_confusion(
        systems[outcome.truth], systems[outcome.guess], len(CRYSTAL_SYSTEMS)
    )
    return tuple(tuple(row) for row in cells.tolist())


def _calibration(outcome: Outcome, bootstrap: ClusterBootstrap) -> tuple[Bin, ...]:
    edges = [round(i / _CALIBRATION_BINS, 6) for i in range(_CALIBRATION_BINS + 1)]
    bins = metrics.confidence_bins(outcome.confidence, _CALIBRATION_BINS)
    members = [outcome.covered & (bins == i) for i in range(_CALIBRATION_BINS)]
    ranges = list(pairwise(edges))
    return _make_bins(outcome, bootstrap, outcome.confidence, members, ranges)


def _by_peaks(
    outcome: Outcome, track: Part, bootstrap: ClusterBootstrap
) -> tuple[Bin, ...]:
    """Divide the crystals at the quartiles of the number of their reflections."""
    if not isinstance(track, TrackPart):
        return ()  # nobody knows the reflections of a measured pattern
    numbers = count_peaks(track)
    inner = np.unique(np.quantile(numbers, np.arange(1, _SIZE_BINS) / _SIZE_BINS))
    bins = np.searchsorted(inner, numbers, side="left")
    members = [bins == i for i in range(len(inner) + 1) if (bins == i).any()]
    ranges = [(float(numbers[m].min()), float(numbers[m].max())) for m in members]
    return _make_bins(outcome, bootstrap, numbers.astype(float), members, ranges)


def count_peaks(track: TrackPart) -> Int[np.ndarray, " crystals"]:
    """Count the reflections of each crystal whose angle lies on the track's grid."""
    angle = track.peaks.two_theta
    inside = (angle >= track.grid.start) & (angle <= track.grid.stop)
    before = np.concatenate([[0], np.cumsum(inside)])
    return np.diff(before[track.peaks.peak_offset])


def _make_bins(
    outcome: Outcome,
    bootstrap: ClusterBootstrap,
    amount: Float64[np.ndarray, " crystals"],
    members: list[Bool[np.ndarray, " crystals"]],
    ranges: list[tuple[float, float]],
) -> tuple[Bin, ...]:
    bins = []
    for member, (low, high) in zip(members, ranges, strict=True):
        estimate = bootstrap.estimate(metrics.mean_score(outcome.correct, member))
        if estimate is not None:
            mean = round(metrics.mean_score(amount, member).value, 6)
            bins.append(Bin(low, high, int(member.sum()), mean, estimate))
    return tuple(bins)


def _per_space_group(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {
        str(group): {
            "crystals": int((outcome.truth == group).sum()),
            "correct": int(outcome.correct[outcome.truth == group].sum()),
            "covered": bool(outcome.covered[outcome.truth == group].any()),
        }
        for group in np.unique(outcome.truth).tolist()
    }


def _package_version() -> str:
    try:
        return version("pxrdbench")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
