"""JSON of strangers: one object, no name twice, no NaN, no absurd size."""

import json
from pathlib import Path
from typing import Any

from pxrdbench.errors import EvaluationError

# An honest submission takes 40 kB.
_MOST_BYTES = 2_000_000


def read_strict_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that means the same to every reader.

    Raises:
        EvaluationError: If the file is missing, too large or no such object; it
            names the file.
    """
    if not path.is_file():
        raise EvaluationError(f"there is no file {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise EvaluationError(
            f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are "
            "read"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise EvaluationError(f"{path} is no strict JSON: {error}") from error
    return parse_strict_json(text, str(path))


def parse_strict_json(text: str, place: str) -> dict[str, Any]:
    """Parse a JSON object that means the same to every reader.

    Raises:
        EvaluationError: If it is no such object; it names the place.
    """
    try:
        record = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{place} is no strict JSON: {error}") from error
    if not isinstance(record, dict):
        raise EvaluationError(f"{place} holds {type(record).__name__}, not an object")
    return record


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return record


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
