"""All leaderboards as pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.leaderboard.board import load_leaderboard
from pxrdbench.benchmark.leaderboard.row_page import render_row_page
from pxrdbench.benchmark.leaderboard.track_page import render_index, render_track_page
from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.outside import guard, read_strict_json, take
from pxrdbench.tracks.load import available_tracks
from pxrdbench.tracks.part import Part

_REPORTED = "pxrdbench.reported"


_REPORTED_FIELDS = frozenset(
    {"system", "reference", "url", "task", "test", "value", "low", "high", "caveat"}
)


def render_leaderboards(
    folder: Path | str = "leaderboards",
    out: Path | str | None = None,
    tracks: Sequence[str | Path | Part] | None = None,
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
        EvaluationError: With every fault of every row that was left out; all pages
            of the others are written before.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"there is no folder {folder} of leaderboards")
    target = folder if out is None else Path(out)
    wanted = available_tracks() if tracks is None else tracks
    boards = [load_leaderboard(folder, track) for track in wanted]
    faults = [fault for board in boards for fault in board.refused]
    try:
        reported = load_reported(folder / "reported.json")
    except EvaluationError as error:
        faults.append(str(error))
        reported = {"note": "", "rows": []}
    pages = {target / "index.html": render_index(boards, reported)}
    for board in boards:
        place = target / board.track.replace("/", "-")
        pages[place / "index.html"] = render_track_page(board, reported)
        for row in (*board.rows, *board.unranked, *board.unscored):
            pages[place / f"{row.name}.html"] = render_row_page(row, board)
    for path, text in pages.items():
        write_atomically(path, text)
    if faults:
        listed = "\n".join(faults)
        raise EvaluationError(
            f"{len(pages)} pages are written to {target}, without what is wrong:\n"
            f"{listed}"
        )
    return list(pages)


def load_reported(path: Path) -> dict[str, Any]:
    """Read numbers that papers report; none if there is no such file.

    Raises:
        EvaluationError: If the file is not of this form.
    """
    if not path.is_file():
        return {"note": "", "rows": []}
    record = read_strict_json(path)
    with guard(EvaluationError, f"{path} cannot be read"):
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
            for name in ("value", "low", "high"):
                if row[name] is not None or name == "value":
                    take(row, name, (int, float))
    return record
