"""Leaderboards: rows that may be compared, ranked with their ties, as static pages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pxrdbench.benchmark.leaderboard.maintained import (
    TIERS,
    Maintained,
    load_maintained,
)
from pxrdbench.benchmark.leaderboard.ranking import Contestant, Standing, rank_rows
from pxrdbench.benchmark.leaderboard.submission import (
    Submission,
    check_submission,
    predictions_path_of,
    read_submission,
)
from pxrdbench.benchmark.scoring.evaluation_record import EVALUATOR_VERSION
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.errors import EvaluationError
from pxrdbench.outside import guard, read_strict_json
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
        unranked: Rows of other versions, which are never ranked with these.
        unscored: Rows of this version whose predictions nobody but their authors has
            scored; never ranked either.
        refused: What is wrong with rows that are left out, a text each.
        same: Names of rows that hold the same predictions.
    """

    track: str
    part: str
    version: str
    description: str
    crystals: int
    rows: tuple[Submission, ...]
    standings: tuple[Standing, ...]
    unranked: tuple[Submission, ...]
    unscored: tuple[Submission, ...] = ()
    refused: tuple[str, ...] = ()
    same: tuple[tuple[str, ...], ...] = ()


def load_leaderboard(
    folder: Path | str, track: str | Path | Part, part: str = "test"
) -> Leaderboard:
    """Read, check and rank the rows of one track.

    A row is ranked if its predictions lie beside it, and give its numbers again, or if
    the maintainers' file says that they did. One that is wrong stops no other.

    Args:
        folder: The folder of all leaderboards.
        track: Name or folder of a track, or its part in memory.
        part: Which part is ranked, where the track is given by name.

    Raises:
        EvaluationError: If the maintainers' file is damaged.
        SplitError: If the track is unknown.
    """
    loaded = load_part(track, part)
    maintained = load_maintained(Path(folder))
    paths = sorted(Path(folder).joinpath(loaded.name.replace("/", "-")).glob("*.json"))
    kinds: dict[str, list[Submission]] = {"ranked": [], "other": [], "unscored": []}
    faults = []
    for path in paths:
        try:
            with guard(EvaluationError, f"{path} cannot be read"):
                row, kind = _judge(path, loaded, maintained)
            kinds[kind].append(row)
        except EvaluationError as error:
            faults.append(str(error))
    ranked = kinds["ranked"]
    standings = rank_rows(
        [Contestant(r.name, r.evaluation.metrics["top_1"], r.hits(1)) for r in ranked],
        ClusterBootstrap(loaded.structure_type),
    )
    by_name = {row.name: row for row in ranked}
    return Leaderboard(
        track=loaded.name,
        part=loaded.part,
        version=str(loaded.version),
        description=_describe(loaded.name),
        crystals=len(loaded),
        rows=tuple(by_name[standing.name] for standing in standings),
        standings=tuple(standings),
        unranked=tuple(kinds["other"]),
        unscored=tuple(kinds["unscored"]),
        refused=tuple(faults),
        same=_find_same([*ranked, *kinds["unscored"]]),
    )


def _judge(path: Path, track: Part, maintained: Maintained) -> tuple[Submission, str]:
    """Read one row; say whether it is ranked, of another version, or unscored."""
    row = read_submission(path)
    if not _is_current(row, track):
        return _with_tier(row, TIERS[-1]), "other"
    row = check_submission(path, track=track)  # with its predictions, if beside it
    tier = maintained.tier(path, read_strict_json(path))
    if tier is None and predictions_path_of(path).is_file():
        tier = TIERS[1]
    if tier is None:
        return _with_tier(row, TIERS[-1]), "unscored"
    return _with_tier(row, tier), "ranked"


def _with_tier(row: Submission, tier: str) -> Submission:
    """What a row says of its own tier never counts."""
    return replace(row, metadata={**row.metadata, "tier": tier})


def _find_same(rows: Sequence[Submission]) -> tuple[tuple[str, ...], ...]:
    """Names of rows that hold the same predictions: one model under several names."""
    by_digest: dict[str, list[str]] = {}
    for row in rows:
        by_digest.setdefault(str(row.predictions["digest"]), []).append(row.name)
    return tuple(tuple(sorted(names)) for names in by_digest.values() if names[1:])


def _is_current(row: Submission, track: Part) -> bool:
    """Tell whether a row was scored by this evaluator on these very data."""
    evaluation = row.evaluation
    return (
        evaluation.versions["evaluator"] == EVALUATOR_VERSION
        and evaluation.track["part"] == track.part
        and str(evaluation.track["version"]) == str(track.version)
        and evaluation.track["digest"] == track.digest
    )


def _describe(track: str) -> str:
    if track not in available_tracks():
        return ""
    return str(load_record(track)["description"])
