"""Named tracks: real crystals in parts, with frozen patterns to evaluate on.

A track is a folder below ``tracks/`` of this package, or one that the user built from
licensed data (`dataset.track_icsd`, `dataset.track_rruff`):

- ``table.parquet``: one row a crystal: id, part, space group, structure type, formula,
  crystallite size of its frozen pattern;
- ``peaks.npz``: frozen peak lists of the parts that are evaluated on;
- ``crystals.npz``: all crystals, row by row of the table (`packed_crystals`);
- ``track.json``: counts, versions, digests, attributions, what was left out and why.

A track that deals the crystals of another one anew says so (``base`` in its record): it
holds ``parts.parquet``, the columns that differ, row by row of the other's table, and
only those peak lists that the tracks named in ``peaks_of`` lack.

They are written by ``python -m pxrdbench.tracks.build.open`` and never changed under
the same version.
"""

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import SplitError
from pxrdbench.outside import check_array, guard, read_arrays, read_strict_json
from pxrdbench.tracks.assignment import PART_SHARES, deal_types, total_variation
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.packed_crystals import unpack_crystals
from pxrdbench.tracks.part import MeasuredPart, Part, TrackPart
from pxrdbench.tracks.store import CRYSTALS, freeze_peaks, freeze_sizes

__all__ = [
    "AFLOW_TRACK",
    "CHRONOLOGICAL_TRACK",
    "LABELS",
    "OPEN_TRACK",
    "PART_SHARES",
    "RANDOM_TRACK",
    "TRACKS_FOLDER",
    "MeasuredPart",
    "Part",
    "TrackPart",
    "available_tracks",
    "check_track_name",
    "deal_types",
    "find_track",
    "holds_crystals",
    "load_crystals",
    "load_frozen_peaks",
    "load_part",
    "load_record",
    "load_table",
    "load_track",
    "split_digest",
    "total_variation",
    "track_folder",
]

TRACKS_FOLDER = Path(__file__).parent / "packaged"
OPEN_TRACK = "open/structure-type"
RANDOM_TRACK = "open/random"
CHRONOLOGICAL_TRACK = "open/chronological"
AFLOW_TRACK = "aflow/prototypes"

# What a track of licensed crystals may be asked with, see `dataset.track_icsd`.
LABELS = ("given", "found", "ordered")

_INSIDE = "*/track.json"
# Largest record and largest file of arrays of a track: patterns of all RRUFF take 1 GB.
_MOST_RECORD = 16 * 2**20
_MOST_BYTES = 4 * 2**30
_MOST_ROWS = 20_000_000

# Kind in the record of a track whose patterns were measured.
MEASURED = "measured"


def available_tracks() -> tuple[str, ...]:
    """List the tracks of this installation."""
    records = TRACKS_FOLDER.glob("*/track.json")
    return tuple(
        sorted(json.loads(path.read_text("utf-8"))["name"] for path in records)
    )


def find_track(track: str | Path) -> str | Path:
    """Tell the name of a track from the folder of one: the one place that does.

    Args:
        track: Name of a track of this installation, or the folder of one that somebody
            built: relative or absolute, as text or as a path. Text that is a name is
            never a folder; a path is one first.

    Returns:
        The name, or the whole path of the folder.

    Raises:
        SplitError: If there is no such track; it lists those there are.

    Example:
        >>> find_track("open/random")
        'open/random'
    """
    known = available_tracks()
    if isinstance(track, str) and track in known:
        return track
    folder = Path(track)
    if (folder / "track.json").is_file():
        return folder.resolve()
    if str(folder) in known:
        return str(folder)
    if folder.is_dir():
        inside = ", ".join(sorted(path.parent.name for path in folder.glob(_INSIDE)))
        raise SplitError(
            f"{track} is no track: it holds no track.json"
            + (f"; the tracks in it are {inside}" if inside else "")
        )
    raise SplitError(
        f"there is no track {str(track)!r}; known are: {', '.join(known) or 'none'}. "
        "Tracks of licensed data (icsd/…, rruff/…) are built with `pxrdbench split "
        "build` and opened by their folder"
    )


def check_track_name(track: str) -> str:
    """Take the name of a track from a file, which must not choose a folder.

    Raises:
        SplitError: If no track of this installation has the name.
    """
    if track not in available_tracks():
        raise SplitError(
            f"there is no track {track!r}; known are: "
            f"{', '.join(available_tracks()) or 'none'}. Tracks of licensed data "
            "(icsd/…, rruff/…) are built with `pxrdbench split build` and opened by "
            "their folder"
        )
    return track


def track_folder(track: str | Path) -> Path:
    """Find the folder of a track.

    Args:
        track: Its name or its folder, see `find_track`.

    Raises:
        SplitError: If there is no such track; it lists those there are.
    """
    found = find_track(track)
    return found if isinstance(found, Path) else TRACKS_FOLDER / found.replace("/", "-")


def load_record(track: str | Path) -> dict[str, Any]:
    """Read what is written about a track: counts, versions, digests, attributions.

    Raises:
        SplitError: If there is no such track.
    """
    path = track_folder(track) / "track.json"
    return read_strict_json(path, SplitError, _MOST_RECORD)


def split_digest(track: str | Path) -> str:
    """Name the assignment of crystals to parts: what a prior records.

    Raises:
        SplitError: If there is no such track.
    """
    return str(load_record(track)["split_digest"])


def load_table(track: str | Path, part: str | None = None) -> Any:
    """Read the rows of a track as a ``pyarrow.Table``, ordered by id.

    Args:
        track: Name of the track, or its folder.
        part: One part of it; all parts if None.

    Raises:
        SplitError: If the track or the part is unknown.
    """
    import pyarrow.compute

    record, table = load_record(track), _read_table(track)
    if part is None:
        return table
    if part not in record["parts"]:
        raise SplitError(
            f"track {record['name']!r} has no part {part!r}; it has "
            f"{', '.join(record['parts'])}"
        )
    return table.filter(pyarrow.compute.equal(table["part"], part))


def _read_table(track: str | Path) -> Any:
    """Read all rows, those of a derived track out of two files."""
    import pyarrow.compute

    folder, record = track_folder(track), load_record(track)
    if "base" not in record:
        return _read_parquet(folder / "table.parquet")
    base = _read_parquet(
        track_folder(check_track_name(record["base"])) / "table.parquet"
    )
    own = _read_parquet(folder / "parts.parquet")
    if own.num_rows != base.num_rows:
        raise SplitError(
            f"{record['name']} deals {own.num_rows} rows, but {record['base']} has "
            f"{base.num_rows}: the files are not of one release"
        )
    for name in own.column_names:
        if name in base.column_names:
            base = base.set_column(
                base.column_names.index(name), own.field(name), own[name]
            )
        else:
            base = base.append_column(own.field(name), own[name])
    # A crystal that the rule says nothing about is in no part.
    return base.filter(pyarrow.compute.is_valid(base["part"])).combine_chunks()


def _read_parquet(path: Path) -> Any:
    """Read a table whose own words about its size are believed only within bounds."""
    import pyarrow.parquet

    with guard(SplitError, f"{path} is damaged"), path.open("rb") as handle:
        file = pyarrow.parquet.ParquetFile(handle)
        about = file.metadata
        size = sum(
            about.row_group(i).total_byte_size for i in range(file.num_row_groups)
        )
        if about.num_rows > _MOST_ROWS or size > _MOST_BYTES:
            raise ValueError(f"it would have {about.num_rows:,} rows, {size:,} bytes")
        return file.read()


def load_track(track: str | Path, part: str = "test", labels: str = "given") -> Part:
    """Load one part of a track with its patterns.

    Patterns of a part to learn from are not frozen: they are simulated from its
    crystals as those of the other parts were.

    Args:
        track: Name of the track, see `available_tracks`, or the folder of a track
            that was built from licensed data; see `find_track`.
        part: ``test``, ``dev`` or ``statistics``.
        labels: Where a track has several space groups of one crystal: the one that
            the data base gives, the one ``found`` in the coordinates, or the one found
            of ``ordered`` crystals alone, without partial occupancy.

    Returns:
        A `TrackPart`, or a `MeasuredPart` where the patterns were measured.

    Raises:
        SplitError: If the track or part is unknown, or has neither frozen patterns
            nor crystals.
    """
    found = find_track(track)
    changed = (track_folder(found) / "track.json").stat().st_mtime_ns
    return _load_track(found, part, labels, changed)


@lru_cache(maxsize=8)
def _load_track(track: str | Path, part: str, labels: str, _changed: int) -> Part:
    """Load a part, once for each state of its track."""
    table, record = load_table(track, part), load_record(track)
    if record.get("kind") == MEASURED:
        return _load_measured(track, part, table, record)
    ids = table["id"].to_pylist()
    with guard(SplitError, f"the table of {record['name']} is damaged"):
        sizes = table["crystallite_size_nm"].to_numpy().astype(np.float64)
    if part in record["frozen_parts"]:
        peaks = load_frozen_peaks(track, part)
    else:
        peaks, sizes = freeze_peaks(load_crystals(track, ids)), freeze_sizes(ids)
    digest = str(record["digest"])
    if len(peaks.peak_count) != table.num_rows:
        raise SplitError(
            f"{record['name']} {part} has {table.num_rows} crystals and "
            f"{len(peaks.peak_count)} peak lists"
        )
    if labels != "given":
        table, rows = _choose_labels(table, record, labels)
        peaks, sizes = peaks.take(rows), sizes[rows]
        digest = f"{digest}:{labels}"
    grid = record["grid"]
    with guard(SplitError, f"the table of {record['name']} is damaged"):
        groups = table["space_group"].to_numpy()
        check_array("space_group", groups, "iu", (len(table),), 1, 230)
        check_array("crystallite_size_nm", sizes, "f", (len(table),), 1e-3, 1e6)
    return TrackPart(
        name=record["name"],
        part=part,
        version=int(record["version"]),
        digest=digest,
        ids=tuple(table["id"].to_pylist()),
        space_group=groups.astype(np.int16),
        structure_type=tuple(table["structure_type"].to_pylist()),
        crystallite_size_nm=sizes,
        peaks=peaks.to_peaks(),
        read_crystals=partial(load_crystals, track),
        grid=TwoThetaGrid(grid["start"], grid["stop"], grid["points"]),
        radiation=Radiation.parse(record["radiation"]),
        restricted=bool(record.get("restricted", False)),
    )


def _choose_labels(
    table: Any, record: dict[str, Any], labels: str
) -> tuple[Any, np.ndarray]:
    """Put other space groups in; give the rows that have one."""
    if labels not in record.get("labels", ["given"]):
        raise SplitError(
            f"{record['name']} has no labels {labels!r}; it has "
            f"{', '.join(record.get('labels', ['given']))}"
        )
    found = table["space_group_found"].to_numpy()
    wanted = found > 0
    if labels == "ordered":
        wanted &= ~table["is_disordered"].to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(wanted)
    table = table.take(rows)
    position = table.column_names.index("space_group")
    return table.set_column(position, "space_group", table["space_group_found"]), rows


def _load_measured(
    track: str | Path, part: str, table: Any, record: dict[str, Any]
) -> MeasuredPart:
    """Read the patterns of a part that were measured."""
    path, grid = track_folder(track) / "patterns.npz", record["grid"]
    with guard(SplitError, f"{path} is damaged"):
        arrays = read_arrays(path, _MOST_BYTES)
        if part not in arrays:
            raise SplitError(f"{record['name']} holds no patterns of part {part!r}")
        rows, points = table.num_rows, int(grid["points"])
        steps = check_array(part, arrays[part], "u", (rows, points))
        name = f"{part}.mask"
        packed = check_array(name, arrays[name], "u", (rows, -(-points // 8)))
    return MeasuredPart(
        name=record["name"],
        part=part,
        version=int(record["version"]),
        digest=str(record["digest"]),
        ids=tuple(table["id"].to_pylist()),
        space_group=table["space_group"].to_numpy().astype(np.int16),
        structure_type=tuple(table["mineral"].to_pylist()),
        intensity=steps.astype(np.float32) / np.float32(np.iinfo(steps.dtype).max),
        mask=np.unpackbits(packed, axis=1, count=grid["points"]).astype(bool),
        grid=TwoThetaGrid(grid["start"], grid["stop"], grid["points"]),
        radiation=Radiation.parse(record["radiation"]),
        restricted=True,
    )


def holds_crystals(track: str | Path) -> bool:
    """Whether a track carries its crystals: those of before, and measured ones, do not.

    Raises:
        SplitError: If there is no such track.
    """
    return (_crystal_folder(track) / CRYSTALS).is_file()


def load_crystals(track: str | Path, ids: Sequence[str]) -> CrystalBatch:
    """Take crystals of a track by their ids.

    Args:
        track: Its name or its folder.
        ids: Of crystals of any of its parts, in the order wanted.

    Raises:
        SplitError: If there is no such track or crystal, or the track carries none.
    """
    folder = _crystal_folder(track)
    path = folder / CRYSTALS
    if not path.is_file():
        raise SplitError(
            f"{load_record(track)['name']} carries no crystals; a track that was built "
            "from an import gets them when `pxrdbench split build` builds it anew"
        )
    crystals, position = _unpack(folder, path.stat().st_mtime_ns)
    missing = [name for name in ids if name not in position]
    if missing:
        raise SplitError(f"{load_record(track)['name']} has no crystal {missing[0]!r}")
    return take_crystals(crystals, np.array([position[n] for n in ids], np.int64))


def _crystal_folder(track: str | Path) -> Path:
    """Folder of the crystals: a track that deals others' crystals has none itself."""
    base = load_record(track).get("base")
    return track_folder(track if base is None else check_track_name(base))


@lru_cache(maxsize=2)
def _unpack(folder: Path, _changed: int) -> tuple[CrystalBatch, dict[str, int]]:
    """Read the crystals of a folder, and where each of them is."""
    import pyarrow.parquet

    with np.load(folder / CRYSTALS, allow_pickle=False) as arrays:
        crystals = unpack_crystals({name: arrays[name] for name in arrays.files})
    names = pyarrow.parquet.read_table(folder / "table.parquet", columns=["id"])["id"]
    if len(names) != len(crystals):
        raise SplitError(
            f"{folder / CRYSTALS} holds {len(crystals)} crystals, the table beside it "
            f"{len(names)} rows: the files are not of one release"
        )
    return crystals, {name: row for row, name in enumerate(names.to_pylist())}


def load_part(track: str | Path | Part, part: str = "test") -> Part:
    """Load a part by the name or folder of its track, or take it as it is.

    Raises:
        SplitError: If there is no such track or part.
    """
    return track if isinstance(track, Part) else load_track(track, part)


def load_frozen_peaks(track: str | Path, part: str) -> FrozenPeaks:
    """Read the frozen peak lists of a part.

    Raises:
        SplitError: If the track is unknown, or the patterns are not frozen.
    """
    record = load_record(track)
    if part not in record["frozen_parts"]:
        raise SplitError(
            f"the patterns of {record['name']} {part} are not frozen, only those of "
            f"{', '.join(record['frozen_parts'])}; load_split gives its crystals"
        )
    if "base" not in record:
        return _read_peaks(track_folder(track) / "peaks.npz", part)
    wanted = load_table(track, part)["id"].to_pylist()
    lists, position = _gather_peaks(find_track(track))
    missing = [name for name in wanted if name not in position]
    if missing:
        raise SplitError(f"{record['name']} lacks the peaks of {missing[0]!r}")
    return lists.take(np.array([position[name] for name in wanted], np.int64))


@lru_cache(maxsize=1)
def _gather_peaks(track: str | Path) -> tuple[FrozenPeaks, dict[str, int]]:
    """Read the frozen peaks of a derived track and of those that it names."""
    record = load_record(track)
    lists: list[FrozenPeaks] = []
    names: list[str] = []
    for other in map(check_track_name, record["peaks_of"]):
        folder, theirs = track_folder(other), load_record(other)
        if "base" in theirs:
            lists.append(_read_peaks(folder / "peaks.npz", "more"))
            names += _names_of_more(folder, check_track_name(theirs["base"]))
        else:
            for part in theirs["frozen_parts"]:
                lists.append(_read_peaks(folder / "peaks.npz", part))
                names += load_table(other, part)["id"].to_pylist()
    return FrozenPeaks.join(lists), {name: row for row, name in enumerate(names)}


def _names_of_more(folder: Path, base: str) -> list[str]:
    """Name the crystals whose peaks a derived track adds: rows of the other's table."""
    path = folder / "peaks.npz"
    with guard(SplitError, f"{path} is damaged"):
        rows = check_array(
            "more.row", read_arrays(path, _MOST_BYTES)["more.row"], "iu", (None,), 0
        )
    return [str(name) for name in load_table(base)["id"].take(rows).to_pylist()]


def _read_peaks(path: Path, part: str) -> FrozenPeaks:
    with guard(SplitError, f"{path} is damaged"):
        arrays = read_arrays(path, _MOST_BYTES)
        return FrozenPeaks.from_streams(
            {
                name.removeprefix(f"{part}."): array
                for name, array in arrays.items()
                if name.startswith(f"{part}.")
            }
        )
