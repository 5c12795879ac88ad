"""What comes from outside: JSON and arrays read strictly, damage named in one list.

Whoever made a file may have meant harm. A reader here looks at what the file says of
itself before it takes memory for it, gives back plain values, and fails with one
sentence.
"""

import json
import lzma
import math
import re
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from pxrdbench.errors import EvaluationError, PxrdbenchError

Model = TypeVar("Model")

# What damage looks like: the one list of what libraries raise when a file is not what
# it seems. Some are surprising: h5py raises RuntimeError, zipfile RuntimeError for a
# password and NotImplementedError for a method, numpy SyntaxError and TokenError for a
# header, json RecursionError, int() OverflowError.
DAMAGES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

# An honest submission takes 40 kB.
MOST_JSON_BYTES = 2_000_000
# Honest records nest eight deep; validators and writers recurse.
_MOST_DEPTH = 32
# Seeds are 64 bits; nothing that is written down is larger.
_MOST_NUMBER = 2**64
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Arrays of an honest npz file, and bytes of a header of numpy's.
_MOST_ARRAYS = 4096
_MOST_HEADER = 10_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def guard(error: type[PxrdbenchError], message: str) -> Iterator[None]:
    """Turn damage that a block meets into one sentence.

    Args:
        error: What to raise.
        message: What it says before the reason.

    Raises:
        PxrdbenchError: Of the kind asked for; one that the block raises stays.
    """
    try:
        yield
    except PxrdbenchError:
        raise
    except DAMAGES as damage:
        raise error(f"{message}: {describe_damage(damage)}") from damage


def describe_damage(damage: BaseException) -> str:
    """Say in one line what an exception says; never more, and nothing that acts."""
    found: Any = getattr(damage, "errors", None)
    if callable(found):  # pydantic's: where, and what
        places = [
            f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}"
            for item in found(include_url=False, include_input=False)[:3]
        ]
        return one_line("; ".join(places))
    text = one_line(str(damage))
    name = type(damage).__name__
    # A KeyError says a name alone, and many say nothing at all.
    return (
        f"{name}: {text}" if text and not isinstance(damage, OSError) else text or name
    )


def one_line(text: str, most: int = 300) -> str:
    """Write a stranger's text in one line, without what a terminal acts upon."""
    shown = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for c in " ".join(text[: 4 * most].split())
    )
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def read_strict_json(
    path: Path,
    error: type[PxrdbenchError] = EvaluationError,
    most_bytes: int = MOST_JSON_BYTES,
) -> dict[str, Any]:
    """Read a JSON object that means the same to every reader.

    Args:
        path: The file.
        error: What to raise.
        most_bytes: Of a file.

    Raises:
        PxrdbenchError: Of the kind asked for, if the file is missing, too large or no
            such object; it names the file.
    """
    if not path.is_file():
        raise error(f"there is no file {path}")
    with guard(error, f"{path} cannot be read"), path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise error(
            f"{path} has {path.stat().st_size:,} bytes; at most {most_bytes:,} are read"
        )
    return parse_strict_json(content, str(path), error)


def parse_strict_json(
    text: str | bytes, place: str, error: type[PxrdbenchError] = EvaluationError
) -> dict[str, Any]:
    """Parse a JSON object that means the same to every reader.

    No name twice, no NaN, no number beyond 64 bits or a float's range, no half of a
    character, no nesting that a reader could not follow.

    Args:
        text: JSON, as text or UTF-8.
        place: Where it stands, for messages.
        error: What to raise.

    Raises:
        PxrdbenchError: Of the kind asked for, if it is no such object.
    """
    with guard(error, f"{place} is no strict JSON"):
        record = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
        )
        _check_values(record)
    if not isinstance(record, dict):
        raise error(f"{place} holds {type(record).__name__}, not an object")
    return record


def read_model(
    kind: type[Model], text: str | bytes, place: str, error: type[PxrdbenchError]
) -> Model:
    """Read a dataclass from strict JSON: its annotations are the schema.

    Nothing is converted, nothing unknown is passed over where the class says so
    (``__pydantic_config__``); `json_schema` gives the same as a JSON schema.

    Args:
        kind: A dataclass whose fields are annotated with their bounds.
        text: JSON, as text or UTF-8.
        place: Where it stands, for messages.
        error: What to raise.

    Raises:
        PxrdbenchError: Of the kind asked for, with the first places that are wrong.
    """
    parse_strict_json(text, place, error)
    with guard(error, place):
        return cast(
            Model, _adapter(cast(Hashable, kind)).validate_json(text, strict=True)
        )


def json_schema(kind: type) -> dict[str, Any]:
    """The JSON schema of what `read_model` takes for a class."""
    schema: dict[str, Any] = _adapter(kind).json_schema()
    return schema


@cache
def _adapter(kind: Hashable) -> Any:
    from pydantic import TypeAdapter  # 0.1 s that a command's help need not wait for

    return TypeAdapter(cast(Any, kind))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{name!r} stands twice in one object")
            seen.add(name)
    return record


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond the range of a float")
    return number


def _parse_int(text: str) -> int:
    # int() takes a time that grows with the square of the digits.
    number = int(text) if len(text) <= 21 else _MOST_NUMBER
    if abs(number) >= _MOST_NUMBER:
        raise ValueError(f"{text[:20]}… is an integer beyond 64 bits")
    return number


def _check_values(record: Any) -> None:
    """Look through a parsed value, without recursion."""
    level, depth = [record], 0
    while level:
        depth += 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"it nests more than {_MOST_DEPTH} deep")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and _SURROGATE.search(value):
                raise ValueError(f"{value[:20]!a} holds half of a character")
        level = inner


def read_arrays(file: IO[bytes] | Path | str, most_bytes: int) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file, none of which takes more than it says.

    What each array claims is compared with its entry, and all entries with the limit,
    before memory is taken. No objects, no records, no foreign byte order, no methods
    of compression that numpy does not write.

    Args:
        file: An npz file; open, it can be sought in.
        most_bytes: Of all arrays together.

    Raises:
        Exception: One of `DAMAGES`: put a `guard` around it.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(entries, most_bytes)
        return {
            entry.filename.removesuffix(".npy"): _read_array(archive, entry)
            for entry in entries
        }


def _check_entries(entries: list[zipfile.ZipInfo], most_bytes: int) -> None:
    names = [entry.filename.removesuffix(".npy") for entry in entries]
    if len(entries) > _MOST_ARRAYS or len(set(names)) != len(names):
        raise ValueError(f"it has {len(entries):,} arrays, or one twice")
    total = sum(entry.file_size for entry in entries)
    if total > most_bytes:
        raise ValueError(
            f"its arrays would take {total:,} bytes; at most {most_bytes:,} are read"
        )
    for entry in entries:
        if entry.compress_type not in _METHODS or entry.flag_bits & 1:
            raise ValueError(f"{entry.filename[:80]!r} is packed in an unknown way")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, whose header and entry must agree."""
    name = entry.filename[:80]
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(member, _MOST_HEADER)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(member, _MOST_HEADER)
        else:
            raise ValueError(f"{name!r} has a header of version {version}")
        shape, is_fortran, dtype = header
        if dtype.kind not in "biufUS" or not dtype.isnative or not dtype.itemsize:
            raise ValueError(f"{name!r} holds {one_line(str(dtype), 60)}")
        size = math.prod(shape) * dtype.itemsize
        if any(n < 0 for n in shape) or member.tell() + size != entry.file_size:
            raise ValueError(f"{name!r} is not as long as its shape {shape[:8]} says")
        content = bytearray(member.read(size))
        if len(content) != size:
            raise EOFError(f"{name!r} ends too early")
        member.read(1)  # at its end zipfile compares the checksum
    array: np.ndarray = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")


def check_array(
    name: str,
    array: Any,
    kinds: str,
    shape: tuple[int | None, ...],
    low: float = -math.inf,
    high: float = math.inf,
) -> np.ndarray:
    """See that an array is what a kernel expects: kernels look at nothing.

    Args:
        name: What to call it.
        array: Whatever stands in its place.
        kinds: Letters of numpy for the kinds that are allowed, such as ``iu``.
        shape: Length of each axis; None for any.
        low: Smallest value.
        high: Largest value; NaN and infinity are none in any case.

    Returns:
        The array.

    Raises:
        ValueError: With its name and what is wrong.
    """
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    if array.dtype.kind not in kinds or not array.dtype.isnative:
        raise ValueError(f"{name} holds {array.dtype}")
    if len(array.shape) != len(shape) or any(
        wanted is not None and found != wanted
        for found, wanted in zip(array.shape, shape, strict=True)
    ):
        wanted_shape = tuple("any" if n is None else n for n in shape)
        raise ValueError(f"{name} has the shape {array.shape}, not {wanted_shape}")
    if array.size:
        smallest, largest = array.min(), array.max()
        # NaN fails every comparison.
        if not (low <= smallest and largest <= high) or not (
            array.dtype.kind != "f" or np.isfinite([smallest, largest]).all()
        ):
            raise ValueError(
                f"{name} runs from {smallest} to {largest}; allowed are {low:g} to "
                f"{high:g}"
            )
    return array


def check_offsets(name: str, offset: np.ndarray, total: int, least: int = 0) -> None:
    """See that running offsets begin at 0, do not fall, and end where the rows end.

    Args:
        name: What to call them.
        offset: First row of each part, and the number of all.
        total: Number of rows.
        least: Fewest rows of a part.

    Raises:
        ValueError: If they do not.
    """
    steps = np.diff(offset.astype(np.int64))
    if not len(offset) or offset[0] != 0 or offset[-1] != total:
        raise ValueError(f"{name} does not run from 0 to {total}")
    if (steps < least).any():
        raise ValueError(f"{name} has a part of fewer than {least} rows, or falls")


def take(record: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Take a value of a record that is of a kind; a truth value is no number.

    Raises:
        ValueError: If it is missing or of another kind.
    """
    if name not in record:
        raise ValueError(f"{name!r} is missing")
    value = record[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name!r} is {one_line(repr(value), 60)}")
    return value
