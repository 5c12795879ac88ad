"""Parts of tracks as Hugging Face data sets: labels, peak lists or patterns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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
# Patterns rendered at once while streaming, and pieces that workers can share.
_STREAM_BATCH = 256
_STREAM_PIECES = 64


def load_split(
    track: str | Path,
    part: str,
    content: Content = "peaks",
    *,
    classes: Sequence[int] | None = None,
    streaming: bool = False,
) -> Any:
    """Load one part of a track as a Hugging Face data set.

    Args:
        track: Name of the track, see `available_tracks`, or the folder of a track
            that was built from licensed data.
        part: ``statistics`` (what priors may see), ``dev`` or ``test``.
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
        >>> rows[:4]["intensity"].shape
        (4, 8501)
        >>> rows.features["label"].names
        ['225', '62']
    """
    import datasets

    if content not in ("labels", "peaks", "patterns"):
        raise SplitError(
            f"content {content!r} is not known; it is labels, peaks or patterns"
        )
    table, record = make_split_table(track, part, content), load_record(track)
    features = dict(datasets.Features.from_arrow_schema(table.schema))
    if classes is not None:
        table, feature = _add_label(table, classes)
        features["label"] = feature
    loaded = datasets.Dataset(
        table.combine_chunks(),
        info=datasets.DatasetInfo(
            description=record["description"],
            citation="\n".join(record["attributions"]),
            license=record["licence"],
            features=datasets.Features(features),
            dataset_name=record["name"].replace("/", "-"),
            version=f"{record['version']}.0.0",
        ),
        split=datasets.NamedSplit(part),
        fingerprint=_fingerprint(record["digest"], part, content, classes),
    )
    if content == "patterns":
        render = PatternRenderer(track, part)
        if not streaming:
            return loaded.with_transform(render)
        points = load_record(track)["grid"]["points"]
        features.pop(_ROW)
        features["intensity"] = datasets.List(datasets.Value("float32"), length=points)
        return _stream(loaded).map(
            render,
            batched=True,
            batch_size=_STREAM_BATCH,
            remove_columns=[_ROW],
            features=datasets.Features(features),
        )
    return _stream(loaded) if streaming else loaded


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
        rendered: dict[str, Any] = {
            name: values for name, values in batch.items() if name != _ROW
        }
        if _ROW not in batch:  # only other columns are asked for, as filters do
            return rendered
        rows = np.asarray(batch[_ROW], np.int64)
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
            [name for name in ("crystallite_size_nm",) if name in table.column_names]
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
    digest: str, part: str, content: str, classes: Sequence[int] | None
) -> str:
    """Name what is loaded, so that the caches of datasets find it again."""
    if content == "peaks" and classes is None:
        return f"{digest[:32]}{part}"
    from hashlib import sha256

    asked = f"{digest} {part} {content} {None if classes is None else list(classes)}"
    return sha256(asked.encode()).hexdigest()[:32]
