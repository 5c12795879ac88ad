"""Submissions: what a model said, who made it and from what, in one strict JSON file.

A row of a leaderboard is ``leaderboards/<track>/<name>.json``. Its numbers are those
of the evaluation that trusted code computes from predictions; a submitted model is
never run.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from pxrdbench.benchmark.leaderboard.checks import (
    find_internal_faults,
    find_schema_faults,
    find_score_faults,
    find_track_faults,
)
from pxrdbench.benchmark.scoring.baselines import TOP
from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.score import Outcome, score
from pxrdbench.errors import EvaluationError, SplitError
from pxrdbench.files import write_atomically
from pxrdbench.outside import guard, read_strict_json
from pxrdbench.tracks.load import (
    Part,
    available_tracks,
    check_track_name,
    load_part,
)

FORMAT = "pxrdbench.submission"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Submission:
    """One row of a leaderboard.

    Attributes:
        metadata: Who, what, from what; as the schema describes it.
        predictions: ``sha256`` and ``bytes`` of the file, ``digest`` of its content.
        outcomes: Base64 bits ``top_1``, ``top_5``, ``top_10`` by crystal, or None
            where they may not be published.
        evaluation: The numbers.
    """

    metadata: Mapping[str, Any]
    predictions: Mapping[str, Any]
    outcomes: Mapping[str, str] | None
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """Name of the row and of its file."""
        return str(self.metadata["name"])

    def hits(self, k: int) -> Bool[np.ndarray, " crystals"] | None:
        """Tell which crystals' groups are among the first k guesses, if published."""
        if self.outcomes is None:
            return None
        return unpack_bits(
            self.outcomes[f"top_{k}"], int(self.evaluation.counts["crystals"])
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Submission":
        """Read what has been checked against the schema."""
        return cls(
            record["metadata"],
            record["predictions"],
            record["outcomes"],
            Evaluation.from_json(json.dumps(record["evaluation"])),
        )


def metadata_template() -> dict[str, Any]:
    """Give metadata to fill in; every empty text must be filled or set to null."""
    return {
        "name": "",
        "title": "",
        "kind": "model",
        "date": "",
        "authors": [{"name": ""}],
        "description": "",
        "links": {"code": None, "weights": None, "paper": None, "predictions": None},
        "licences": {"code": None, "weights": None},
        "training_data": {
            "description": "",
            "sources": [],
            "saw_icsd": "unknown",
            "saw_rruff": "unknown",
            "saw_track_types": "unknown",
        },
        "patterns_seen": None,
        "parameters": None,
        "compute": {"hardware": "", "hours": None},
        "seeds": [],
        "reproduce": [],
    }


def write_template(path: Path | str) -> Path:
    """Write metadata to fill in as a JSON file; an existing file stays.

    Raises:
        EvaluationError: If the file exists.
    """
    path = Path(path)
    if path.exists():
        raise EvaluationError(f"{path} exists; fill it in, or choose another name")
    path.write_text(to_text(metadata_template()), encoding="utf-8")
    return path


def pack_submission(
    predictions_path: Path | str,
    metadata: Mapping[str, Any],
    track: str | Path | Part | None = None,
) -> dict[str, Any]:
    """Score predictions and put the numbers beside the metadata.

    Args:
        predictions_path: An HDF5 file that ``eval`` writes.
        metadata: See ``metadata_template`` and the schema.
        track: Name or folder of the track, or its part in memory; the one that the
            predictions name if None.

    Returns:
        The record, not yet checked: see ``find_faults`` and ``submit``.

    Raises:
        EvaluationError: If the predictions cannot be scored, or licensed crystals
            went into them.
    """
    path = Path(predictions_path)
    predictions = Predictions.read(path)
    if predictions.restricted:
        raise EvaluationError(
            f"{path} comes from a model that licensed crystals went into; such "
            "predictions are not published. Score a model that learnt from an open "
            "prior, or keep the evaluation to yourself"
        )
    if track is None:  # a file may not choose a folder
        track = check_track_name(predictions.track)
    loaded = load_part(track, predictions.part)
    evaluation = json.loads(score(predictions, loaded).to_json())
    rank = Outcome.of(predictions, loaded).rank
    content = path.read_bytes()
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "metadata": json.loads(json.dumps(dict(metadata))),
        "predictions": {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "digest": predictions.digest,
        },
        "outcomes": {f"top_{k}": pack_bits(rank <= k) for k in TOP},
        "evaluation": evaluation,
    }


def submit(
    predictions_path: Path | str,
    metadata: Mapping[str, Any] | Path | str,
    folder: Path | str = "leaderboards",
    *,
    track: str | Path | Part | None = None,
    replace: bool = False,
    keep_predictions: bool = True,
) -> Path:
    """Pack, check and write a row: ``<folder>/<track>/<name>.json``.

    Args:
        predictions_path: An HDF5 file that ``eval`` writes.
        metadata: Metadata, or the JSON file that holds them.
        folder: The folder of all leaderboards.
        track: Folder of the track or its part in memory, where it is none of
            ``available_tracks``.
        replace: Whether a row of this name may be replaced.
        keep_predictions: Whether the predictions are put beside the row, as
            ``<name>.h5``: a row is ranked when whoever renders the board can score it
            again.

    Returns:
        Where the row lies.

    Raises:
        EvaluationError: With every fault, if there is one; nothing is written.
    """
    if not isinstance(metadata, Mapping):
        metadata = read_strict_json(Path(metadata))
    record = pack_submission(predictions_path, metadata, track)
    loaded = _find_track(record, track)
    _refuse(find_record_faults(record, loaded), "the submission")
    place = row_path(folder, record["evaluation"]["track"]["name"], metadata["name"])
    if place.exists() and not replace:
        raise EvaluationError(
            f"{place} exists; choose another metadata.name, or replace it on purpose"
        )
    content = Path(predictions_path).read_bytes() if keep_predictions else b""
    beside = predictions_path_of(place)
    if keep_predictions:
        write_atomically(beside, content)
    elif beside.is_file():
        beside.unlink()  # of the row that is replaced
    write_atomically(place, to_text(record))
    return place


def predictions_path_of(row: Path) -> Path:
    """Say where the predictions of a row lie, if they lie beside it."""
    return row.with_name(f"{row.name.removesuffix('.json')}.h5")


def row_path(folder: Path | str, track: str, name: str) -> Path:
    """Say where a row lies.

    Example:
        >>> row_path("leaderboards", "aflow/prototypes", "mine").as_posix()
        'leaderboards/aflow-prototypes/mine.json'
    """
    return Path(folder) / track.replace("/", "-") / f"{name}.json"


def to_text(record: Mapping[str, Any]) -> str:
    """Write a record as JSON: equal records give equal text."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_submission(path: Path | str) -> Submission:
    """Read a row whose structure is sound and whose numbers agree with each other.

    Its numbers may be of another version of the track than the one installed.

    Raises:
        EvaluationError: With every fault, if there is one.
    """
    record = read_strict_json(Path(path))
    faults = find_schema_faults(record) or _internal_faults(record)
    _refuse([*faults, *_name_faults(record, Path(path))], str(path))
    return Submission.from_record(record)


def check_submission(
    path: Path | str,
    predictions: Path | str | None = None,
    *,
    track: Part | None = None,
) -> Submission:
    """Check a row with trusted code; a submitted model is never run.

    Without predictions all that follows from the published outcomes is computed
    again: top-k and crystal systems with their intervals, counts by space group.
    With predictions, given or beside the row, every number is.

    Args:
        path: The row.
        predictions: What it was computed from.
        track: Folder of the track or its part in memory, where it is none of
            ``available_tracks``.

    Raises:
        EvaluationError: With every fault, if there is one.
    """
    _refuse(find_faults(path, predictions, track=track), str(path))
    return Submission.from_record(read_strict_json(Path(path)))


def find_faults(
    path: Path | str,
    predictions: Path | str | None = None,
    *,
    track: Part | None = None,
) -> list[str]:
    """List everything that is wrong with a row, each with its place.

    Raises:
        EvaluationError: If the file is no JSON at all.
    """
    path = Path(path)
    record = read_strict_json(path)
    faults = _name_faults(record, path)
    structure = find_schema_faults(record)
    if structure:  # numbers that are not there cannot be compared
        return faults + structure
    loaded = _find_track(record, track)
    faults += find_record_faults(record, loaded)
    beside = predictions_path_of(path)
    if predictions is None and beside.is_file():
        predictions = beside
    if predictions is not None and loaded is not None:
        faults += _prediction_faults(record, Path(predictions), loaded)
    return list(dict.fromkeys(faults))  # predictions find some that outcomes found


def recomputed_numbers(path: Path | str, predictions: Path | str | None = None) -> str:
    """Say which numbers of a sound row `check_submission` computes again."""
    path = Path(path)
    if predictions is not None or predictions_path_of(path).is_file():
        return "every number recomputed from the predictions"
    if read_strict_json(path)["outcomes"] is None:
        return (
            "no number recomputed: neither predictions nor outcomes are there, only "
            "the form was looked at"
        )
    return (
        "top-1, top-5, top-10, crystal systems and counts by group recomputed from "
        "the published outcomes; all other numbers as claimed (give PREDICTIONS)"
    )


def find_record_faults(record: Mapping[str, Any], track: Part | None) -> list[str]:
    """List what is wrong with a record, without its predictions."""
    faults = find_schema_faults(record)
    if faults:
        return faults
    faults = _internal_faults(record)
    if track is None:
        known = ", ".join(available_tracks())
        name = record["evaluation"]["track"]
        place = "evaluation.track: "
        return [*faults, f"{place}{name['name']} {name['part']} is none of {known}"]
    submission = Submission.from_record(record)
    try:
        hits = {k: submission.hits(k) for k in TOP}
    except EvaluationError as error:
        return [*faults, f"outcomes: {error}"]
    return faults + find_track_faults(submission.evaluation, hits, track)


def _internal_faults(record: Mapping[str, Any]) -> list[str]:
    with guard(EvaluationError, "a row that cannot be followed"):
        return find_internal_faults(record)


def _prediction_faults(record: Mapping[str, Any], path: Path, track: Part) -> list[str]:
    """Compute every number again and compare."""
    try:
        again = pack_submission(path, record["metadata"], track)
    except EvaluationError as error:
        return [f"predictions: {error}"]
    parts = ["predictions", "evaluation"]
    if record["outcomes"] is not None:
        parts.append("outcomes")
    return find_score_faults(
        {name: record[name] for name in parts}, {name: again[name] for name in parts}
    )


def pack_bits(hits: Bool[np.ndarray, " crystals"]) -> str:
    """Write flags as base64, eight to a byte, the first one highest."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpack_bits(text: str, count: int) -> Bool[np.ndarray, " crystals"]:
    """Read flags that ``pack_bits`` wrote.

    Raises:
        EvaluationError: If there are not as many bytes as ``count`` flags need.

    Example:
        >>> unpack_bits(pack_bits(np.array([True, False, True])), 3).tolist()
        [True, False, True]
    """
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise EvaluationError(f"{text[:20]!r}… is no base64: {error}") from error
    if len(content) != -(-count // 8):
        raise EvaluationError(
            f"{len(content)} bytes of flags; {count} crystals take {-(-count // 8)}"
        )
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    if bits[count:].any():
        raise EvaluationError(f"flags are set beyond the {count} crystals")
    return bits[:count].astype(bool)


def _find_track(
    record: Mapping[str, Any], track: str | Path | Part | None
) -> Part | None:
    """Load the track that a record names, unless it is given; None if unknown."""
    named = record["evaluation"]["track"]
    if track is not None:
        return load_part(track, named["part"])
    try:
        return load_part(check_track_name(named["name"]), named["part"])
    except SplitError:
        return None


def _name_faults(record: Any, path: Path) -> list[str]:
    """Compare a row's place with what it says of itself, if it says anything."""
    try:
        name = record["metadata"]["name"]
        track = record["evaluation"]["track"]["name"].replace("/", "-")
    except (KeyError, TypeError, AttributeError):
        return []
    if (path.parent.resolve().name, path.name) == (track, f"{name}.json"):
        return []
    wanted = f"{track}/{name}.json"
    return [f"file: {path.parent.name}/{path.name} should be {wanted}"]


def _refuse(faults: list[str], what: str) -> None:
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise EvaluationError(f"{what} has {count}:\n{listed}")
