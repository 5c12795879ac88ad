"""Leaderboards: rows that may be compared, ranked with their ties, as static pages."""

from dataclasses import dataclass
from pathlib import Path

from pxrdbench.benchmark.leaderboard.ranking import Contestant, Standing, rank_rows
from pxrdbench.benchmark.leaderboard.submission import (
    Submission,
    check_submission,
    read_submission,
)
from pxrdbench.benchmark.scoring.evaluation_record import EVALUATOR_VERSION
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.learnt import SEEN
from pxrdbench.tracks.load import (
    Part,
    available_tracks,
    load_part,
    load_record,
)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """The rows of one track.

    Attributes:
        track: Name of the track.
        part: The part that is ranked.
        version: Installed version of the track.
        description: What the track asks for.
        crystals: Number of crystals in the part.
        rows: Rows of the installed track, data and evaluator, the best first.
        standings: Rank interval of each row, in the same order.
        unranked: Rows of other versions, and of models that have seen what is asked
            about: they are never ranked with these.
    """

    track: str
    part: str
    version: str
    description: str
    crystals: int
    rows: tuple[Submission, ...]
    standings: tuple[Standing, ...]
    unranked: tuple[Submission, ...]


def load_leaderboard(
    folder: Path | str, track: str | Path | Part, part: str = "test"
) -> Leaderboard:
    """Read, check and rank the rows of one track.

    Args:
        folder: The folder of all leaderboards.
        track: Name or folder of a track, or its part in memory.
        part: Which part is ranked, where the track is given by name.

    Raises:
        EvaluationError: With every fault of every row, if there is one.
        SplitError: If the track is unknown.
    """
    loaded = load_part(track, part)
    paths = sorted(Path(folder).joinpath(loaded.name.replace("/", "-")).glob("*.json"))
    current, others, faults = [], [], []
    for path in paths:
        try:
            row = read_submission(path)
            if _is_current(row, loaded) and not has_seen_part(row):
                current.append(check_submission(path, track=loaded))
            else:
                others.append(row)
        except EvaluationError as error:
            faults.append(str(error))
    if faults:
        raise EvaluationError("\n".join(faults))
    standings = rank_rows(
        [Contestant(r.name, r.evaluation.metrics["top_1"], r.hits(1)) for r in current],
        ClusterBootstrap(loaded.structure_type),
    )
    by_name = {row.name: row for row in current}
    return Leaderboard(
        track=loaded.name,
        part=loaded.part,
        version=str(loaded.version),
        description=_describe(loaded.name),
        crystals=len(loaded),
        rows=tuple(by_name[standing.name] for standing in standings),
        standings=tuple(standings),
        unranked=tuple(others),
    )


def _is_current(row: Submission, track: Part) -> bool:
    """Tell whether a row was scored by this evaluator on these very data."""
    evaluation = row.evaluation
    return (
        evaluation.versions["evaluator"] == EVALUATOR_VERSION
        and evaluation.track["part"] == track.part
        and str(evaluation.track["version"]) == str(track.version)
        and evaluation.track["digest"] == track.digest
    )


def has_seen_part(row: Submission) -> bool:
    """Whether a model learnt from what it was asked about: such rows have no rank."""
    provenance = row.evaluation.model["provenance"]
    return bool(provenance.get(SEEN) == "yes")


def _describe(track: str) -> str:
    if track not in available_tracks():
        return ""
    return str(load_record(track)["description"])
