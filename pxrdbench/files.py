"""Files that appear whole or not at all, and JSON of strangers, read strictly.

A file is written under a name of its own beside its place, synchronised with the disk
and renamed: a reader sees the old one or the new one, also after a loss of power. JSON
is one object, no name twice, no NaN, no absurd size.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pxrdbench.errors import EvaluationError

PART_SUFFIX = ".part"
# An honest submission takes 40 kB.
_MOST_BYTES = 2_000_000


def part_path(path: Path) -> Path:
    """Name a file in progress; no two writers ever share one."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A name to write to in a ``with`` block; the file gets its own at the end.

    Folders above are made. What a block that raises has written is removed.

    Yields:
        A path beside the file's place, of a file that is not there yet.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write a file that is there whole or not at all; text as UTF-8."""
    with atomic_path(path) as part, part.open("xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


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
