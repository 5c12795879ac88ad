"""Parts of tracks as Hugging Face data sets: labels, peak lists or patterns."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from pxrdbench.errors import SplitError
from pxrdbench.tracks.load import (
    MEASURED,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
)

Content = Literal["labels", "peaks", "patterns"]

_ROW = "row"
_SIZE = "crystallite_size_nm"
# Patterns rendered at once while streaming, and pieces that workers can share.
_STREAM_BATCH = 256
_STREAM_PIECES = 64
# Patterns rendered at once where rows are asked for one by one: 1 MB.
_BLOCK = 32


def load_split(
    track: str | Path,
    part: str | None = None,
    content: Content = "peaks",
    *,
    classes: Sequence[int] | None = None,
    streaming: bool = False,
) -> Any:
    """Load one part of a track, or all, as a Hugging Face data set.

    Patterns are rendered when they are asked for, whatever is done with the data set:
    without a format in batches, after ``with_format("torch")`` or ``"numpy"`` by blocks
    of neighbouring rows, at the pace of ``datasets`` itself. ``map``, ``filter``,
    ``select`` and ``shuffle`` keep them. A copy by ``save_to_disk``, for which the
    format is ``numpy`` or ``torch``, holds numbers of rows, and needs this package.

    Args:
        track: Name of the track, see `available_tracks`, or the folder of a track
            that was built from licensed data.
        part: ``statistics`` (what priors may see), ``dev`` or ``test``. If None, all
            that have this content, as a ``DatasetDict`` with the same features:
            labels of the three, peaks and patterns of those that are frozen.
        content: ``labels``; ``peaks``: also the peak lists, where they are frozen;
            ``patterns``: also the rendered pattern of each row, made when it is asked
            for.
        classes: Class list, space groups by number: adds the column ``label``, a
            ``ClassLabel`` that counts into it (-1: not in the list).
        streaming: Give an ``IterableDataset``.

    Returns:
        A ``datasets.Dataset`` with columns ``id`` (of the source, unprefixed),
        ``space_group``, ``structure_type``, ``formula``, … Where the patterns of the
        part are frozen also ``crystallite_size_nm`` [nm] and the peaks: ``two_theta``
        [degrees] and ``intensity`` (the strongest is 1). With ``content="patterns"``
        the column ``intensity`` is the pattern on the grid of the track, float32 with
        a maximum of one; a slice gives one array (rows, points).

    Raises:
        SplitError: If the track or the part is unknown, patterns are asked of a part
            where none are frozen, or a class list is no list of space groups.

    Example:
        >>> rows = load_split("aflow/prototypes", "test", "patterns", classes=[225, 62])
        >>> batch = rows[:4]
        >>> batch["intensity"].shape
        (4, 8501)
        >>> rows.features["label"].names
        ['225', '62']
    """
    import datasets

    if content not in ("labels", "peaks", "patterns"):
        raise SplitError(
            f"content {content!r} is not known; it is labels, peaks or patterns"
        )
    if part is not None:
        return _load_part(track, part, content, classes, streaming=streaming)
    record = load_record(track)
    frozen = list(record["frozen_parts"])
    parts = [p for p in record["parts"] if content == "labels" or p in frozen]
    loaded = {
        p: _load_part(track, p, content, classes, streaming=streaming, is_alone=False)
        for p in parts
    }
    kind = datasets.IterableDatasetDict if streaming else datasets.DatasetDict
    return kind(loaded)


def _load_part(
    track: str | Path,
    part: str,
    content: Content,
    classes: Sequence[int] | None,
    *,
    streaming: bool,
    is_alone: bool = True,
) -> Any:
    import datasets

    table, record = make_split_table(track, part, content), load_record(track)
    if content == "labels" and not is_alone and _SIZE in table.column_names:
        table = table.drop_columns([_SIZE])  # the statistics part has none
    features = dict(datasets.Features.from_arrow_schema(table.schema))
    if content == "patterns":
        _register(datasets)
        table = table.rename_columns(
            ["intensity" if name == _ROW else name for name in table.column_names]
        )
        features["intensity"] = RenderedPattern(
            str(track), part, record["grid"]["points"], record["digest"]
        )
        del features[_ROW]
    if classes is not None:
        table, feature = _add_label(table, classes)
        features["label"] = feature
    loaded = datasets.Dataset(
        table.combine_chunks(),
        info=datasets.DatasetInfo(
            description=record["description"],
            citation="\n".join(record["attributions"]),
            license=record["licence"],
            features=datasets.Features({n: features[n] for n in table.column_names}),
            dataset_name=record["name"].replace("/", "-"),
            version=f"{record['version']}.0.0",
        ),
        split=datasets.NamedSplit(part),
        fingerprint=_fingerprint(
            record["digest"], part, content, classes, is_alone=is_alone
        ),
    )
    if content != "patterns":
        return _stream(loaded) if streaming else loaded
    render = PatternRenderer(track, part)
    if not streaming:
        return loaded.with_transform(render)
    points = record["grid"]["points"]
    features["intensity"] = datasets.List(datasets.Value("float32"), length=points)
    return _stream(loaded).map(
        render,
        batched=True,
        batch_size=_STREAM_BATCH,
        features=datasets.Features({n: features[n] for n in table.column_names}),
    )


@dataclass
class RenderedPattern:
    """A column of patterns for the features of ``datasets``: numbers of rows inside.

    Attributes:
        track: Name of the track, or its folder.
        part: Its part.
        length: Points of a pattern.
        digest: Of the track.
    """

    track: str
    part: str
    length: int
    digest: str
    dtype: ClassVar[str] = "float32"
    _type: str = field(default="PxrdbenchPattern", init=False, repr=False)

    def __call__(self) -> Any:
        """The type that is stored."""
        import pyarrow

        return pyarrow.int32()

    def encode_example(self, value: Any) -> int:
        """The number of a row; a pattern is no number, and is stored as itself."""
        if isinstance(value, RowPattern):
            return value.row
        if isinstance(value, (int, np.integer)):
            return int(value)
        raise TypeError("a pattern is stored as numbers, not as a row")

    def decode_example(self, value: int, token_per_repo_id: Any = None) -> "RowPattern":
        """The pattern of a row, rendered when its numbers are asked for."""
        return RowPattern(self.track, self.part, self.length, self.digest, int(value))

    def cast_storage(self, storage: Any) -> Any:
        """Accept numbers of rows, nothing else."""
        import pyarrow

        if not pyarrow.types.is_integer(storage.type):
            raise TypeError("a pattern is stored as numbers, not as a row")
        return storage.cast(pyarrow.int32())


@dataclass(frozen=True)
class RowPattern:
    """The pattern of one row, as an array once somebody asks: ``np.asarray(it)``."""

    track: str
    part: str
    length: int
    digest: str
    row: int

    @property
    def shape(self) -> tuple[int]:
        """Of the array."""
        return (self.length,)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        block = _block(self.track, self.part, self.digest, self.row // _BLOCK)
        pattern = np.array(block[self.row % _BLOCK])  # own copy, which may be changed
        return pattern if dtype is None else pattern.astype(dtype)


@lru_cache(maxsize=16)
def _block(track: str, part: str, digest: str, number: int) -> np.ndarray:
    """Patterns of neighbouring rows, which are mostly asked for together."""
    del digest  # of the track: another one is another block
    source = load_track(track, part)
    first = number * _BLOCK
    rows = np.arange(first, min(first + _BLOCK, len(source)))
    rendered: np.ndarray = source.take(rows).intensity
    return rendered


def _register(datasets: Any) -> None:
    """Tell the library the name of our column, once a process."""
    from datasets.features import features

    if "PxrdbenchPattern" not in features._FEATURE_TYPES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the call is experimental
            features.register_feature(RenderedPattern, "PxrdbenchPattern")


class PatternRenderer:
    """Puts the patterns to the rows of a batch; may be sent to other processes.

    Args:
        track: Name of the track, or its folder.
        part: Its part.
    """

    def __init__(self, track: str | Path, part: str) -> None:
        self.track = track
        self.part = part

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Exchange the numbers of the rows for patterns."""
        rendered: dict[str, Any] = dict(batch)
        if "intensity" not in batch:  # only other columns are asked for
            return rendered
        values = batch["intensity"]
        if len(values) and not isinstance(values[0], (RowPattern, int, np.integer)):
            return rendered  # a map has put something else there
        rows = np.array(
            [v.row if isinstance(v, RowPattern) else v for v in values], np.int64
        )
        source = load_track(self.track, self.part)  # read once a process
        intensity = source.take(rows).intensity
        intensity.flags.writeable = True  # made for this batch, nobody else has it
        rendered["intensity"] = intensity
        return rendered


def make_split_table(track: str | Path, part: str, content: Content) -> Any:
    """Put the columns of a part together, as a ``pyarrow.Table`` without ``part``.

    Raises:
        SplitError: If the part is unknown, or patterns are asked of one without.
    """
    import pyarrow

    table, record = load_table(track, part).drop_columns(["part"]), load_record(track)
    is_frozen = part in record["frozen_parts"]
    if content == "patterns":
        if not is_frozen:
            raise SplitError(
                f"the patterns of {record['name']} {part} are not frozen, only those "
                f"of {', '.join(record['frozen_parts'])}; content='labels' gives its "
                "crystals"
            )
        return table.append_column(
            _ROW, pyarrow.array(np.arange(table.num_rows, dtype=np.int32))
        )
    if not is_frozen:
        return table.drop_columns(
            [name for name in (_SIZE,) if name in table.column_names]
        )
    if content == "peaks" and record.get("kind") != MEASURED:
        peaks = load_frozen_peaks(track, part).to_peaks()
        offset = pyarrow.array(peaks.peak_offset, pyarrow.int32())
        for name in ("two_theta", "intensity"):
            values = pyarrow.array(getattr(peaks, name), pyarrow.float64())
            table = table.append_column(
                name, pyarrow.ListArray.from_arrays(offset, values)
            )
    return table


def _add_label(table: Any, classes: Sequence[int]) -> tuple[Any, Any]:
    """Add the position of each space group in a class list."""
    import datasets
    import pyarrow

    wrong = [number for number in classes if not 1 <= int(number) <= 230]
    if not len(classes) or wrong or len(set(classes)) != len(classes):
        raise SplitError(
            f"a class list holds different space groups, 1-230; {list(classes)!r:.60} "
            "does not"
        )
    position = np.full(231, -1, np.int64)
    position[list(classes)] = np.arange(len(classes))
    label = pyarrow.array(position[table["space_group"].to_numpy()])
    names = [str(number) for number in classes]
    return table.append_column("label", label), datasets.ClassLabel(names=names)


def _stream(loaded: Any) -> Any:
    """Make an iterable data set whose pieces workers can share."""
    pieces = max(1, min(_STREAM_PIECES, loaded.num_rows))
    return loaded.to_iterable_dataset(num_shards=pieces)


def _fingerprint(
    digest: str,
    part: str,
    content: str,
    classes: Sequence[int] | None,
    *,
    is_alone: bool = True,
) -> str:
    """Name what is loaded, so that the caches of datasets find it again."""
    if content == "peaks" and classes is None:
        return f"{digest[:32]}{part}"
    from hashlib import sha256

    asked = f"{digest} {part} {content} {None if classes is None else list(classes)}"
    if content == "labels" and not is_alone:
        asked += " of all"
    return sha256(asked.encode()).hexdigest()[:32]
