"""What can be wrong with a submission, all of it at once."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.evaluation_record import EVALUATOR_VERSION, Evaluation
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.crystal.symmetry.tables import CRYSTAL_SYSTEMS, load_symmetry_tables
from pxrdbench.errors import EvaluationError
from pxrdbench.outside import one_line
from pxrdbench.tracks.load import Part

# Numbers are written with six decimals.
_TOLERANCE = 2e-6
_MOST_FAULTS = 100
# Says which version wrote the file; the numbers do not depend on it.
_FREE = frozenset({"evaluation.versions.pxrdbench"})

Hits = Mapping[int, Bool[np.ndarray, " crystals"] | None]


@cache
def load_schema() -> dict[str, Any]:
    """Load the JSON schema of a submission."""
    path = Path(__file__).parent / "submission_schema.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def find_schema_faults(record: Any) -> list[str]:
    """List what the schema finds: missing, unknown, of the wrong kind."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(load_schema())
    # A file of two megabytes can have as many faults as it has values.
    found = islice(validator.iter_errors(record), _MOST_FAULTS)
    errors = sorted(found, key=lambda error: error.json_path)
    return [
        f"{error.json_path.removeprefix('$').lstrip('.') or 'file'}: "
        f"{one_line(_shortened(error.message))}"
        for error in errors
    ]


def find_internal_faults(record: Mapping[str, Any]) -> list[str]:
    """List where a record of sound structure contradicts itself or the rules."""
    faults = _metadata_faults(record)
    try:
        evaluation = Evaluation.from_json(json.dumps(record["evaluation"]))
    except EvaluationError as error:
        return [*faults, f"evaluation: {error}"]
    if record["predictions"]["digest"] != evaluation.predictions_digest:
        faults.append(
            "predictions.digest: differs from evaluation.predictions_digest; the "
            "numbers are of other predictions"
        )
    versions, track = evaluation.versions, evaluation.track
    for name, own in (("track", "version"), ("data", "digest")):
        if versions[name] != track[own]:
            faults.append(
                f"evaluation.versions.{name}: differs from evaluation.track.{own}"
            )
    return faults + _identity_faults(evaluation)


def _metadata_faults(record: Mapping[str, Any]) -> list[str]:
    """Check what a schema cannot say."""
    metadata, faults = record["metadata"], []
    try:
        date.fromisoformat(metadata["date"])
    except ValueError:
        faults.append(f"metadata.date: {metadata['date']!r} is no day")
    # Rows of older versions state a tier; it is only held against what they say.
    tier, links = metadata.get("tier"), metadata["links"]
    if len(set(metadata["seeds"])) != len(metadata["seeds"]):
        faults.append("metadata.seeds: one stands twice")
    if tier == "predictions only" and links["predictions"] is None:
        faults.append(
            "metadata.links.predictions: must say where the predictions lie, or the "
            "tier is 'self-scored'"
        )
    if tier == "reproduced" and not metadata["reproduce"]:
        faults.append("metadata.reproduce: lacks the commands that were run")
    if tier not in {None, "self-scored"} and record["outcomes"] is None:
        faults.append(f"outcomes: must be there in the tier {tier!r}")
    for name in ("code", "weights"):
        if links[name] is not None and metadata["licences"][name] is None:
            faults.append(f"metadata.licences.{name}: what is linked has a licence")
    return faults


def _identity_faults(evaluation: Evaluation) -> list[str]:
    """Check what must hold between numbers, whatever the predictions."""
    n, values, faults = int(evaluation.counts["crystals"]), evaluation.metrics, []

    def equal(place: str, found: float, wanted: float | int, meaning: str) -> None:
        if abs(found - wanted) > _TOLERANCE:
            faults.append(
                f"evaluation.{place}: {found:g}, but {meaning} is {wanted:.6g}"
            )

    table = np.array(evaluation.confusion)
    equal("confusion", float(table.sum()), n, "counts.crystals")
    equal(
        "metrics.crystal_system_accuracy",
        values["crystal_system_accuracy"].value,
        float(np.trace(table)) / n,
        "the share on the diagonal of the confusion",
    )
    rows = evaluation.space_groups.values()
    correct = sum(int(row["correct"]) for row in rows)
    equal("metrics.top_1", values["top_1"].value, correct / n, "correct by space group")
    equal(
        "space_groups",
        float(sum(int(r["crystals"]) for r in rows)),
        n,
        "counts.crystals",
    )
    for k in (1, 5, 10):
        if len(evaluation.top_k) >= k:
            curve = evaluation.top_k[k - 1].value
            equal(
                f"metrics.top_{k}", values[f"top_{k}"].value, curve, f"top_k[{k - 1}]"
            )
    steps = np.diff([item.value for item in evaluation.top_k])
    if (steps < -_TOLERANCE).any():
        faults.append(
            "evaluation.top_k: falls; more guesses are never right less often"
        )
    return faults


def find_track_faults(evaluation: Evaluation, hits: Hits, track: Part) -> list[str]:
    """List where numbers differ from what the track and the outcomes give.

    Args:
        evaluation: The numbers.
        hits: By k, of each crystal: whether its group is among the first k guesses.
        track: The installed version of the track.
    """
    claimed = {
        name: str(evaluation.track[name]) for name in ("name", "part", "version")
    }
    own = {"name": track.name, "part": track.part, "version": str(track.version)}
    faults = [
        f"evaluation.track.{name}: {claimed[name]!r}, installed is {own[name]!r}"
        for name in own
        if claimed[name] != own[name]
    ]
    if evaluation.track["digest"] != track.digest:
        faults.append("evaluation.track.digest: of other data than those installed")
    if evaluation.versions["evaluator"] != EVALUATOR_VERSION:
        faults.append(
            f"evaluation.versions.evaluator: {evaluation.versions['evaluator']!r}, "
            f"installed is {EVALUATOR_VERSION!r}; score the predictions again"
        )
    if evaluation.counts["crystals"] != len(track):
        faults.append(
            f"evaluation.counts.crystals: {evaluation.counts['crystals']}, the track "
            f"has {len(track)}"
        )
    if faults:
        return faults
    return list(_outcome_faults(evaluation, hits, track))


def _outcome_faults(evaluation: Evaluation, hits: Hits, track: Part) -> Iterator[str]:
    bootstrap = ClusterBootstrap(track.structure_type)
    for k, hit in hits.items():
        if hit is not None:
            again = bootstrap.estimate(metrics.mean_score(hit))
            yield from _compare(f"top_{k}", evaluation.metrics[f"top_{k}"], again)
    first, fifth, tenth = (hits[k] for k in (1, 5, 10))
    if first is None or fifth is None or tenth is None:
        return
    if (first & ~fifth).any() or (fifth & ~tenth).any():
        yield "outcomes: a crystal is right among few guesses and wrong among more"
    truth = np.asarray(track.space_group)
    system = np.asarray(load_symmetry_tables().crystal_system)[truth]
    for index, name in enumerate(CRYSTAL_SYSTEMS):
        again = bootstrap.estimate(metrics.mean_score(first, system == index))
        claimed = evaluation.crystal_system.get(name)
        yield from _compare(f"crystal_system.{name}", claimed, again)
    for group in np.unique(truth).tolist():
        mine = {
            "crystals": int((truth == group).sum()),
            "correct": int(first[truth == group].sum()),
        }
        row = evaluation.space_groups.get(str(group), {})
        if {name: row.get(name) for name in mine} != mine:
            yield f"evaluation.space_groups.{group}: outcomes and track give {mine}"


def _compare(
    name: str, claimed: Estimate | None, again: Estimate | None
) -> Iterator[str]:
    if claimed is None or again is None:
        if claimed is not again:
            yield f"evaluation.metrics.{name}: {claimed}, computed again {again}"
        return
    yield from find_score_faults(
        {"evaluation": {"metrics": {name: claimed.to_dict()}}},
        {"evaluation": {"metrics": {name: again.to_dict()}}},
    )


def find_score_faults(claimed: Any, again: Any, place: str = "") -> list[str]:
    """List where numbers differ from those computed again, each by its place."""
    if place in _FREE:
        return []
    if isinstance(claimed, dict) and isinstance(again, dict):
        return [
            fault
            for name in sorted(claimed.keys() | again.keys())
            for fault in find_score_faults(
                claimed.get(name), again.get(name), f"{place}.{name}".lstrip(".")
            )
        ]
    if isinstance(claimed, list) and isinstance(again, list):
        if len(claimed) != len(again):
            return [f"{place}: {len(claimed)} entries, computed again {len(again)}"]
        return [
            fault
            for i, (one, other) in enumerate(zip(claimed, again, strict=True))
            for fault in find_score_faults(one, other, f"{place}[{i}]")
        ]
    if _is_same(claimed, again):
        return []
    one, other = _shortened(repr(claimed)), _shortened(repr(again))
    return [f"{place}: {one}, computed again {other}"]


def _is_same(claimed: Any, again: Any) -> bool:
    if isinstance(claimed, float) or isinstance(again, float):
        numbers = isinstance(claimed, int | float) and isinstance(again, int | float)
        return numbers and abs(claimed - again) <= _TOLERANCE
    return bool(claimed == again)


def _shortened(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:120]}… {text[-36:]}"
