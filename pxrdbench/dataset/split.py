"""Named tracks: real crystals in parts, with frozen patterns to evaluate on.

A track is a folder below ``tracks/`` of this package:

- ``table.parquet``: one row a crystal: id, part, space group, structure type, formula,
  crystallite size of its frozen pattern;
- ``peaks.npz``: frozen peak lists of the parts that are evaluated on;
- ``track.json``: counts, versions, digests, attributions, what was left out and why.

They are written by ``python -m pxrdbench.dataset.track_build`` and never changed under
the same version.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int16

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.frozen_peaks import FrozenPeaks
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import SplitError

TRACKS_FOLDER = Path(__file__).parent / "tracks"
OPEN_TRACK = "open/structure-type"
AFLOW_TRACK = "aflow/prototypes"

# What priors may see, what one tunes on, what is reported: percent of the crystals.
PART_SHARES: Mapping[str, int] = {"statistics": 65, "dev": 5, "test": 30}


def deal_types(
    space_groups: Sequence[int],
    structure_types: Sequence[str],
    shares: Mapping[str, int] = PART_SHARES,
    key: str = "pxrdbench 1",
) -> list[str]:
    """Deal whole structure types to the parts of a split.

    Within each space group the largest type comes first, and each goes to the part
    that lacks most crystals of its share; equal sizes come in the order of a keyed
    hash of the label. A bare hash of the types would leave the space groups of two
    parts 0.2-0.3 apart in total variation, because a few types are huge.

    Args:
        space_groups: Of each crystal.
        structure_types: Label of each crystal, see `sources.structure_type`.
        shares: Parts, and how the crystals should be shared out among them.
        key: Another key breaks ties otherwise.

    Returns:
        The part of each crystal. It does not depend on the order of the crystals.

    Raises:
        SplitError: If a type is found in two space groups.

    Example:
        >>> deal_types([2, 2, 2, 1], ["b", "b", "a", "c"], {"x": 6, "y": 4})
        ['x', 'x', 'y', 'x']
    """
    sizes = Counter(structure_types)
    group_of: dict[str, int] = {}
    for group, label in zip(space_groups, structure_types, strict=True):
        if group_of.setdefault(label, int(group)) != group:
            raise SplitError(
                f"structure type {label!r} is found in space groups "
                f"{group_of[label]} and {group}; a type lies in one"
            )
    types_of: defaultdict[int, list[str]] = defaultdict(list)
    for label, group in group_of.items():
        types_of[group].append(label)
    part_of: dict[str, str] = {}
    for labels in types_of.values():
        total = sum(sizes[label] for label in labels)
        # In whole numbers, crystals times the sum of the shares: ties stay ties.
        lacking = {part: share * total for part, share in shares.items()}
        for label in sorted(labels, key=lambda x: (-sizes[x], _keyed_hash(key, x))):
            part = max(lacking, key=lambda name: lacking[name])
            lacking[part] -= sizes[label] * sum(shares.values())
            part_of[label] = part
    return [part_of[label] for label in structure_types]


def _keyed_hash(key: str, text: str) -> bytes:
    """Order texts in a way that nobody chose."""
    return hashlib.blake2b(text.encode(), key=key.encode(), digest_size=16).digest()


def total_variation(first: Sequence[int], second: Sequence[int]) -> float:
    """Measure how far apart the frequencies of two sets of labels are.

        Σ_x |p(x) − q(x)| / 2

    Returns:
        0 for equal frequencies, 1 where no label is in both.

    Example:
        >>> total_variation([1, 1, 2, 2], [1, 1, 1, 2])
        0.25
    """
    if not len(first) or not len(second):
        raise SplitError("the total variation of an empty part is not defined")
    p, q = Counter(first), Counter(second)
    return 0.5 * sum(
        abs(p[x] / len(first) - q[x] / len(second)) for x in sorted(p.keys() | q.keys())
    )


def available_tracks() -> tuple[str, ...]:
    """List the tracks of this installation."""
    records = TRACKS_FOLDER.glob("*/track.json")
    return tuple(
        sorted(json.loads(path.read_text("utf-8"))["name"] for path in records)
    )


def track_folder(track: str) -> Path:
    """Find the folder of a track.

    Raises:
        SplitError: If there is no such track; it lists those there are.
    """
    folder = TRACKS_FOLDER / track.replace("/", "-")
    if track not in available_tracks() or not folder.is_dir():
        known = ", ".join(available_tracks()) or "none"
        raise SplitError(f"there is no track {track!r}; known are: {known}")
    return folder


def load_record(track: str) -> dict[str, Any]:
    """Read what is written about a track: counts, versions, digests, attributions.

    Raises:
        SplitError: If there is no such track.
    """
    text = (track_folder(track) / "track.json").read_text("utf-8")
    record: dict[str, Any] = json.loads(text)
    return record


def split_digest(track: str) -> str:
    """Name the assignment of crystals to parts: what a prior records.

    Raises:
        SplitError: If there is no such track.
    """
    return str(load_record(track)["split_digest"])


def load_table(track: str, part: str | None = None) -> Any:
    """Read the rows of a track as a ``pyarrow.Table``, ordered by id.

    Args:
        track: Name of the track.
        part: One part of it; all parts if None.

    Raises:
        SplitError: If the track or the part is unknown.
    """
    import pyarrow.compute
    import pyarrow.parquet

    folder, record = track_folder(track), load_record(track)
    table = pyarrow.parquet.read_table(folder / "table.parquet")
    if part is None:
        return table
    if part not in record["parts"]:
        raise SplitError(
            f"track {track!r} has no part {part!r}; it has {', '.join(record['parts'])}"
        )
    return table.filter(pyarrow.compute.equal(table["part"], part))


def load_split(track: str, part: str) -> Any:
    """Load one part of a track as a Hugging Face data set.

    Args:
        track: Name of the track, see `available_tracks`.
        part: ``statistics`` (what priors may see), ``dev`` or ``test``.

    Returns:
        A ``datasets.Dataset`` with columns ``id`` (of the source, unprefixed),
        ``space_group``, ``structure_type``, ``formula``, … Where the patterns of the
        part are frozen also ``crystallite_size_nm`` [nm] and the peaks: ``two_theta``
        [degrees] and ``intensity`` (the strongest is 1).

    Raises:
        SplitError: If the track or the part is unknown.
    """
    import datasets
    import pyarrow

    table, record = load_table(track, part).drop_columns(["part"]), load_record(track)
    if part in record["frozen_parts"]:
        peaks = load_frozen_peaks(track, part).to_peaks()
        offset = pyarrow.array(peaks.peak_offset, pyarrow.int32())
        for name in ("two_theta", "intensity"):
            values = pyarrow.array(getattr(peaks, name), pyarrow.float64())
            table = table.append_column(
                name, pyarrow.ListArray.from_arrays(offset, values)
            )
    else:
        table = table.drop_columns(["crystallite_size_nm"])
    return datasets.Dataset(
        table.combine_chunks(),
        info=datasets.DatasetInfo(
            description=record["description"],
            citation="\n".join(record["attributions"]),
            license=record["licence"],
            features=datasets.Features.from_arrow_schema(table.schema),
            dataset_name=track.replace("/", "-"),
            version=f"{record['version']}.0.0",
        ),
        split=datasets.NamedSplit(part),
        fingerprint=f"{record['digest'][:32]}{part}",
    )


@dataclass(frozen=True, eq=False)
class TrackPart:
    """One part of a track with its frozen patterns: a batch source.

    Attributes:
        name: Name of the track.
        part: Name of the part.
        version: Version of the track.
        digest: sha256 over everything the track freezes, hexadecimal.
        ids: Names of the crystals.
        space_group: Number in the International Tables, 1-230.
        structure_type: Canonical prototype label: crystals of one are no independent
            witnesses.
        crystallite_size_nm: Size that broadens each pattern [nm].
        peaks: Frozen peak lists; they reach beyond the grid so that tails come in.
        grid: Angles of the patterns.
        radiation: What the patterns are made with.
    """

    name: str
    part: str
    version: int
    digest: str
    ids: tuple[str, ...]
    space_group: Int16[np.ndarray, " crystals"]
    structure_type: tuple[str, ...]
    crystallite_size_nm: Float64[np.ndarray, " crystals"]
    peaks: PeakBatch
    grid: TwoThetaGrid
    radiation: Radiation

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Number of crystals."""
        return len(self)

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that occur, ascending."""
        return tuple(np.unique(self.space_group).tolist())

    def batch(self, start: int, count: int) -> Batch:
        """Render the patterns of crystals start to start + count.

        Raises:
            SplitError: If the range leaves the part.
        """
        stop = start + count
        if not 0 <= start < stop <= len(self):
            raise SplitError(
                f"crystals {start} to {stop} of {self.name} {self.part}, which has "
                f"{len(self)}"
            )
        rows = slice(start, stop)
        first, last = self.peaks.peak_offset[start], self.peaks.peak_offset[stop]
        peaks = PeakBatch(
            two_theta=self.peaks.two_theta[first:last],
            intensity=self.peaks.intensity[first:last],
            peak_offset=self.peaks.peak_offset[start : stop + 1] - first,
            wavelength=self.peaks.wavelength,
        )
        size = self.crystallite_size_nm[rows]
        return Batch(
            intensity=render(peaks, self.grid, size),
            space_group=self.space_group[rows],
            crystallite_size_nm=size,
            index=np.arange(start, stop, dtype=np.int64),
            ids=self.ids[rows],
        )


@lru_cache(maxsize=4)
def load_track(track: str, part: str = "test") -> TrackPart:
    """Load one part of a track with its frozen patterns.

    Args:
        track: Name of the track, see `available_tracks`.
        part: A part whose patterns are frozen, ``test`` or ``dev``.

    Raises:
        SplitError: If the track or part is unknown, or has no frozen patterns.
    """
    table, record = load_table(track, part), load_record(track)
    grid = record["grid"]
    return TrackPart(
        name=track,
        part=part,
        version=int(record["version"]),
        digest=str(record["digest"]),
        ids=tuple(table["id"].to_pylist()),
        space_group=table["space_group"].to_numpy().astype(np.int16),
        structure_type=tuple(table["structure_type"].to_pylist()),
        crystallite_size_nm=table["crystallite_size_nm"].to_numpy().astype(np.float64),
        peaks=load_frozen_peaks(track, part).to_peaks(),
        grid=TwoThetaGrid(grid["start"], grid["stop"], grid["points"]),
        radiation=Radiation.parse(record["radiation"]),
    )


def load_frozen_peaks(track: str, part: str) -> FrozenPeaks:
    """Read the frozen peak lists of a part.

    Raises:
        SplitError: If the track is unknown, or the patterns are not frozen.
    """
    folder, frozen_parts = track_folder(track), load_record(track)["frozen_parts"]
    if part not in frozen_parts:
        raise SplitError(
            f"the patterns of {track} {part} are not frozen, only those of "
            f"{', '.join(frozen_parts)}; load_split gives its crystals"
        )
    with np.load(folder / "peaks.npz", allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name.startswith(f"{part}.")]
        return FrozenPeaks.from_streams(
            {name.removeprefix(f"{part}."): arrays[name] for name in names}
        )
