"""Leaderboards: rows that may be compared, ranked with their ties, as static pages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.intervals import ClusterBootstrap
from pxrdbench.benchmark.leaderboard_page import render_index, render_track_page
from pxrdbench.benchmark.ranking import Contestant, Standing, rank_rows
from pxrdbench.benchmark.record import EVALUATOR_VERSION
from pxrdbench.benchmark.row_page import render_row_page
from pxrdbench.benchmark.submission import Submission, check_submission, read_submission
from pxrdbench.dataset.split import (
    TrackPart,
    available_tracks,
    load_record,
    load_track,
)
from pxrdbench.errors import EvaluationError

_REPORTED = "pxrdbench.reported"
_REPORTED_FIELDS = frozenset(
    {"system", "reference", "url", "task", "test", "value", "low", "high", "caveat"}
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
    folder: Path | str, track: str | TrackPart, part: str = "test"
) -> Leaderboard:
    """Read, check and rank the rows of one track.

    Args:
        folder: The folder of all leaderboards.
        track: Name of a track, or its part in memory.
        part: Which part is ranked, where the track is given by name.

    Raises:
        EvaluationError: With every fault of every row, if there is one.
        SplitError: If the track is unknown.
    """
    loaded = load_track(track, part) if isinstance(track, str) else track
    paths = sorted(Path(folder).joinpath(loaded.name.replace("/", "-")).glob("*.json"))
    current, others, faults = [], [], []
    for path in paths:
        try:
            row = read_submission(path)
            if _is_current(row, loaded):
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


def render_leaderboards(
    folder: Path | str = "leaderboards",
    out: Path | str | None = None,
    tracks: Sequence[str | TrackPart] | None = None,
) -> list[Path]:
    """Write the pages of all tracks: an index, a table a track, a page a row.

    Every page stands alone: it loads nothing and works from a file.

    Args:
        folder: Rows as ``<track>/<name>.json``, and ``reported.json``.
        out: Where the pages go; beside the rows if None.
        tracks: Which tracks; all installed ones if None.

    Returns:
        The pages, the index first.

    Raises:
        EvaluationError: With every fault of every row, if there is one; no page is
            written then.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"there is no folder {folder} of leaderboards")
    target = folder if out is None else Path(out)
    wanted = available_tracks() if tracks is None else tracks
    boards = [load_leaderboard(folder, track) for track in wanted]
    reported = load_reported(folder / "reported.json")
    pages = {target / "index.html": render_index(boards, reported)}
    for board in boards:
        place = target / board.track.replace("/", "-")
        pages[place / "index.html"] = render_track_page(board, reported)
        for row in (*board.rows, *board.unranked):
            pages[place / f"{row.name}.html"] = render_row_page(row, board)
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return list(pages)


def load_reported(path: Path) -> dict[str, Any]:
    """Read numbers that papers report; none if there is no such file.

    Raises:
        EvaluationError: If the file is not of this form.
    """
    if not path.is_file():
        return {"note": "", "rows": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _REPORTED or record["format_version"] != 1:
            raise EvaluationError(f"{path} is not of the form {_REPORTED}, version 1")
        for row in record["rows"]:
            if set(row) != _REPORTED_FIELDS:
                odd = sorted(set(row) ^ _REPORTED_FIELDS)
                raise EvaluationError(
                    f"{path}: {row.get('system')!r} lacks or adds {odd}"
                )
            if row["url"] is not None and not row["url"].startswith("https://"):
                raise EvaluationError(f"{path}: {row['url']!r} is no https address")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(f"{path} cannot be read: {error!r}") from error
    return dict(record)


def _is_current(row: Submission, track: TrackPart) -> bool:
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
