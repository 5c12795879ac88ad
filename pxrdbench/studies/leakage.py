"""What a model can have seen before: an audit of training sources against tracks.

A split is only as good as what it keeps apart, and not only within itself: the
prototypes of AFLOW are common types of the Materials Project, and the crystals that one
track tests with are learnt from in another. So every pair of a training source and a
track is audited: crystals, types and formulas that both have, and the accuracy of
search-match (`benchmark.search_match`), which is what mere recognition scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import EvaluationError
from pxrdbench.sources.labels.formulas import reduce_formula, reduce_formulas
from pxrdbench.studies.search_match import (
    ProfileSettings,
    SearchMatch,
    profiles_of,
)
from pxrdbench.tracks.load import (
    Part,
)


@dataclass(frozen=True, eq=False)
class AuditedSource:
    """Real crystals that a model may have learnt from.

    Attributes:
        name: For the report.
        ids: Names of the crystals.
        space_group: Their space groups.
        structure_type: Their types.
        formula: Their formulas, as written.
        peaks: Their peak lists; None if they are not at hand.
    """

    name: str
    ids: tuple[str, ...]
    space_group: Int16[np.ndarray, " crystals"]
    structure_type: tuple[str, ...]
    formula: tuple[str, ...]
    peaks: PeakBatch | None = None


def audit_pair(
    source: AuditedSource,
    track: Part,
    formula: Sequence[str],
    settings: ProfileSettings | None = None,
) -> dict[str, Any]:
    """Find out what a source gives away of a part of a track.

    Args:
        source: What was learnt from.
        track: What is asked about.
        formula: Of the crystals of the part, as written.
        settings: Of search-match.

    Returns:
        Counts of what both have and, where the source has peak lists,
        ``search_match``: accuracy of the nearest neighbour with its interval over
        clusters, on all crystals (``all``), on those of types that the source has
        (``known_types``) and that it lacks (``new_types``).
    """
    types, formulas = set(source.structure_type), reduce_formulas(source.formula)
    own = [reduce_formula(text) for text in formula]
    same_id = np.isin(np.array(track.ids), np.array(source.ids))
    known_type = np.array([label in types for label in track.structure_type])
    known_formula = np.array([text in formulas for text in own])
    result: dict[str, Any] = {
        "source": source.name,
        "source_crystals": len(source.ids),
        "track": track.name,
        "part": track.part,
        "crystals": len(track),
        "shared_crystals": int(same_id.sum()),
        "shared_types": len(types & set(track.structure_type)),
        "crystals_of_shared_types": int(known_type.sum()),
        "shared_formulas": len(formulas & set(own)),
        "crystals_of_shared_formulas": int(known_formula.sum()),
        "crystals_of_shared_type_and_formula": int((known_type & known_formula).sum()),
    }
    if source.peaks is not None:
        correct = find_recognised(source, track, settings)
        result["search_match"] = _accuracies(correct, known_type, track)
    return result


def find_recognised(
    source: AuditedSource, track: Part, settings: ProfileSettings | None = None
) -> Bool[np.ndarray, " crystals"]:
    """Tell which crystals have a nearest neighbour of their own space group.

    Raises:
        EvaluationError: If the source has no peak lists.
    """
    if source.peaks is None:
        raise EvaluationError(f"there are no peak lists of {source.name} at hand")
    known = SearchMatch(source.peaks, source.space_group, settings=settings)
    nearest, _ = known.find_nearest(profiles_of(track, known.settings))
    return np.asarray(source.space_group[nearest] == track.space_group)


def _accuracies(
    correct: Bool[np.ndarray, " crystals"],
    known_type: Bool[np.ndarray, " crystals"],
    track: Part,
) -> dict[str, Any]:
    bootstrap = ClusterBootstrap(track.structure_type)
    chosen = {
        "all": np.ones(len(correct), bool),
        "known_types": known_type,
        "new_types": ~known_type,
    }
    result: dict[str, Any] = {}
    for name, rows in chosen.items():
        estimate = bootstrap.estimate(metrics.mean_score(correct, rows))
        result[name] = None if estimate is None else estimate.to_dict()
    return result


def compare_recognition(
    first: tuple[Part, Bool[np.ndarray, " first"]],
    second: tuple[Part, Bool[np.ndarray, " second"]],
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Say how much recognition loses from one track to another, paired by type.

    Whole types are resampled over both tests at once: a type that is in both counts
    in both, so that what they share does not widen the interval.

    Args:
        first: A part, and which of its crystals were recognised.
        second: Another.
        replicates: Number of resamples.
        seed: Key of the random stream.

    Returns:
        Both accuracies, and ``loss``: 1 − second / first with its 95 % interval.
    """
    names, member = np.unique(
        np.array([*first[0].structure_type, *second[0].structure_type]),
        return_inverse=True,
    )
    cut = len(first[0])
    sums = []
    for rows, correct in ((member[:cut], first[1]), (member[cut:], second[1])):
        sums.append(np.bincount(rows, weights=correct, minlength=len(names)))
        sums.append(np.bincount(rows, minlength=len(names)).astype(np.float64))
    totals = np.array(sums)
    generator = np.random.Generator(np.random.Philox(seed))
    losses = np.empty(replicates)
    for replicate in range(replicates):
        drawn = generator.integers(0, len(names), len(names))
        weights = np.bincount(drawn, minlength=len(names)).astype(np.float64)
        losses[replicate] = _loss(totals @ weights)
    low, high = np.quantile(losses, [0.025, 0.975])
    value = totals.sum(axis=1)
    return {
        "first": {"track": first[0].name, "accuracy": round(value[0] / value[1], 6)},
        "second": {"track": second[0].name, "accuracy": round(value[2] / value[3], 6)},
        "loss": {
            "value": round(_loss(value), 6),
            "low": round(float(low), 6),
            "high": round(float(high), 6),
        },
        "clusters": len(names),
        "replicates": replicates,
    }


def _loss(totals: np.ndarray) -> float:
    """One minus the ratio of two accuracies: right, all, right, all."""
    return float(1.0 - (totals[2] / totals[3]) / (totals[0] / totals[1]))
