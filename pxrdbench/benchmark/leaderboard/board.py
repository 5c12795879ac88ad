"""Leaderboards: rows that may be compared, ranked with their ties, as static pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from pxrdbench.benchmark.leaderboard.maintained import (
    TIERS,
    Maintained,
    load_maintained,
)
from pxrdbench.benchmark.leaderboard.ranking import Contestant, Standing, rank_rows
from pxrdbench.benchmark.leaderboard.seeds import SeedSpreads, load_seed_spreads
from pxrdbench.benchmark.leaderboard.submission import (
    Submission,
    check_submission,
    predictions_path_of,
    read_submission,
)
from pxrdbench.benchmark.scoring.evaluation_record import EVALUATOR_VERSION
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.metrics import mean_score
from pxrdbench.errors import EvaluationError
from pxrdbench.outside import guard, read_strict_json
from pxrdbench.tracks.learnt import SEEN
from pxrdbench.tracks.load import (
    Part,
    available_tracks,
    load_part,
    load_record,
)
from pxrdbench.tracks.new_types import find_new_types


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
        unscored: Rows of this version whose predictions nobody but their authors has
            scored; never ranked either.
        refused: What is wrong with rows that are left out, a text each.
        same: Names of rows that hold the same predictions.
        new_types: Top-1 on crystals of types that no other part holds, by name of the
            row; see `tracks.new_types`. Empty where no list of them was fixed.
        new_crystals: Number of these crystals.
        seed_half_widths: What the seed adds to a row's interval of top-1, by its name.
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
    new_types: Mapping[str, Estimate] = field(default_factory=dict)
    new_crystals: int = 0
    seed_half_widths: Mapping[str, float] = field(default_factory=dict)


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
    spreads = load_seed_spreads(Path(folder))
    paths = sorted(Path(folder).joinpath(loaded.name.replace("/", "-")).glob("*.json"))
    kinds: dict[str, list[Submission]] = {
        kind: [] for kind in ("ranked", "seen", "other", "unscored")
    }
    faults = []
    for path in paths:
        try:
            with guard(EvaluationError, f"{path} cannot be read"):
                row, kind = _judge(path, loaded, maintained)
            kinds[kind].append(row)
        except EvaluationError as error:
            faults.append(str(error))
    ranked = kinds["ranked"]
    bootstrap = ClusterBootstrap(loaded.structure_type)
    widths = {row.name: _seed_half_width(row, spreads) for row in ranked}
    standings = rank_rows(
        [
            Contestant(r.name, r.evaluation.metrics["top_1"], r.hits(1), widths[r.name])
            for r in ranked
        ],
        bootstrap,
    )
    everyone = [*ranked, *kinds["seen"], *kinds["unscored"]]
    new = find_new_types(loaded)
    by_name = {row.name: row for row in ranked}
    return Leaderboard(
        track=loaded.name,
        part=loaded.part,
        version=str(loaded.version),
        description=_describe(loaded.name),
        crystals=len(loaded),
        rows=tuple(by_name[standing.name] for standing in standings),
        standings=tuple(standings),
        unranked=(*kinds["seen"], *kinds["other"]),
        unscored=tuple(kinds["unscored"]),
        refused=tuple(faults),
        same=_find_same([*ranked, *kinds["unscored"]]),
        new_types={} if new is None else _score_where(everyone, new, bootstrap),
        new_crystals=0 if new is None else int(new.sum()),
        seed_half_widths=widths,
    )


def _judge(path: Path, track: Part, maintained: Maintained) -> tuple[Submission, str]:
    """Read one row; say whether it is ranked, and why not."""
    row = read_submission(path)
    if not _is_current(row, track):
        return _with_tier(row, TIERS[-1]), "other"
    row = check_submission(path, track=track)  # with its predictions, if beside it
    tier = maintained.tier(path, read_strict_json(path))
    if tier is None and predictions_path_of(path).is_file():
        tier = TIERS[1]
    if has_seen_part(row):
        return _with_tier(row, tier or TIERS[-1]), "seen"
    if tier is None:
        return _with_tier(row, TIERS[-1]), "unscored"
    return _with_tier(row, tier), "ranked"


def _seed_half_width(row: Submission, spreads: SeedSpreads) -> float:
    return spreads.half_width(
        str(row.evaluation.model["name"]),
        is_reproduced=row.metadata["tier"] == TIERS[0],
    )


def _score_where(
    rows: Sequence[Submission],
    where: Bool[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> dict[str, Estimate]:
    """Top-1 on some of the crystals, of rows whose outcomes are published."""
    found = {}
    for row in rows:
        hits = row.hits(1)
        estimate = None if hits is None else bootstrap.estimate(mean_score(hits, where))
        if estimate is not None:
            found[row.name] = estimate
    return found


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


def has_seen_part(row: Submission) -> bool:
    """Whether a model learnt from what it was asked about: such rows have no rank."""
    provenance = row.evaluation.model["provenance"]
    return bool(provenance.get(SEEN) == "yes")


def _describe(track: str) -> str:
    if track not in available_tracks():
        return ""
    return str(load_record(track)["description"])
