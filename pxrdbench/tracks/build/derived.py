"""Tracks that deal the crystals of ``open/structure-type`` anew.

``open/random`` deals crystal by crystal, as most of the field did: types that were
learnt are asked about again. ``open/chronological`` learns from the past: the years in
which crystals became known (MPTS-52, 1997-2013). What a model loses on its way from the
first to ``open/structure-type`` is what it merely recognised.

Their labels and formulas are those of the table they come from; only parts, crystallite
sizes and the peak lists that are not frozen there already are files of their own. To
keep the package small the parts for tuning and testing are samples; the crystals left
over are in the part ``reserve``, from which nobody learns.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.materials_project import (
    read_crystals,
    read_table,
    select_rows,
)
from pxrdbench.tracks.assignment import deal_by_year, deal_rows
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.load import (
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    TRACKS_FOLDER,
    load_frozen_peaks,
    load_record,
    load_table,
)
from pxrdbench.tracks.store import (
    GRID,
    MARGIN,
    RADIATION,
    SIZE_RANGE_NM,
    TRACK_VERSION,
    Columns,
    assignment_digest,
    count_parts,
    find_distances,
    freeze_peaks,
    freeze_sizes,
    package_versions,
    track_digest,
)

FROZEN_PARTS = ("dev", "test")
RESERVE = "reserve"
RELEASED = "2026-11-22"
RANDOM_COUNTS = {"test": 1500, "dev": 250}
CHRONOLOGICAL_COUNTS = {"test": 800, "dev": 150}
RANDOM_DESCRIPTION = (
    "The crystals of open/structure-type, dealt one by one as if at random: most types "
    "that are asked about were learnt, so that recognition scores. As many crystals to "
    "learn from as there; compare the two, and never report this one alone."
)
CHRONOLOGICAL_DESCRIPTION = (
    "The crystals of open/structure-type whose year is known (MPTS-52, 1997-2013), "
    "dealt by it: statistics until 2011, dev from 2012, test from 2013. A type that "
    "was known before may come again: see the leakage report."
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DerivedTrack:
    """What makes a derived track.

    Attributes:
        name: Of the track.
        description: Some sentences.
        peaks_of: Tracks whose frozen peak lists it uses, itself last.
        shares: Crystals of the parts that are samples.
        columns: Part of each row of the base table (None: in no part), and columns
            of its own.
    """

    name: str
    description: str
    peaks_of: tuple[str, ...]
    shares: Mapping[str, int]
    columns: Mapping[str, Sequence[Any]]


def deal_random_track(base: Columns) -> DerivedTrack:
    """Deal all crystals by a hash of their names."""
    n_statistics = sum(part == "statistics" for part in base["part"])
    counts = {**RANDOM_COUNTS, "statistics": n_statistics}
    parts = deal_rows(base["id"], counts, RESERVE, f"pxrdbench {RANDOM_TRACK} 1")
    return DerivedTrack(
        RANDOM_TRACK,
        RANDOM_DESCRIPTION,
        (OPEN_TRACK, RANDOM_TRACK),
        RANDOM_COUNTS,
        {"part": parts},
    )


def deal_chronological_track(base: Columns, data: Path) -> DerivedTrack:
    """Deal the crystals whose year is known by that year.

    Raises:
        SourceError: If the table of crystals lacks an id, or the years.
    """
    table = read_table(data)
    if "year" not in table.column_names:
        raise SplitError(f"the table in {data} has no column year")
    years = [int(y) for y in select_rows(table, base["id"])["year"].to_pylist()]
    parts = deal_by_year(
        years, base["id"], CHRONOLOGICAL_COUNTS, f"pxrdbench {CHRONOLOGICAL_TRACK} 1"
    )
    return DerivedTrack(
        CHRONOLOGICAL_TRACK,
        CHRONOLOGICAL_DESCRIPTION,
        (OPEN_TRACK, RANDOM_TRACK, CHRONOLOGICAL_TRACK),
        CHRONOLOGICAL_COUNTS,
        {
            "part": [part or None for part in parts],
            "year": [year or None for year in years],
        },
    )


def build_derived_tracks(
    data: Path, workers: int | None = None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Write ``open/random`` and ``open/chronological`` into the package.

    Args:
        data: Folder that holds ``structures/``, or the table itself.
        workers: Processes; the result does not depend on it.
        progress: Is called with the crystals done and the crystals to simulate.

    Returns:
        The records written.
    """
    base: Columns = load_table(OPEN_TRACK).to_pydict()
    frozen = _FrozenLists.of_open_track()
    tracks = (deal_random_track(base), deal_chronological_track(base, data))
    records = []
    for track in tracks:
        wanted = [
            name
            for name, part in zip(base["id"], track.columns["part"], strict=True)
            if part in FROZEN_PARTS and name not in frozen.position
        ]
        crystals, ids, report = read_crystals(
            data, wanted, workers=workers, progress=progress
        )
        if report.failures:
            raise SplitError(f"{report.failures[0][0]}: {report.failures[0][1]}")
        _check_groups(crystals, ids, base)
        frozen.add(ids, freeze_peaks(crystals))
        out = TRACKS_FOLDER / track.name.replace("/", "-")
        records.append(_write_derived(out, track, base, frozen, ids))
    return records


class _FrozenLists:
    """All peak lists that are frozen so far."""

    def __init__(self, ids: Sequence[str], lists: FrozenPeaks) -> None:
        self.lists = lists
        self.position = {name: row for row, name in enumerate(ids)}

    @classmethod
    def of_open_track(cls) -> "_FrozenLists":
        parts = load_record(OPEN_TRACK)["frozen_parts"]
        ids = [n for p in parts for n in load_table(OPEN_TRACK, p)["id"].to_pylist()]
        return cls(
            ids, FrozenPeaks.join([load_frozen_peaks(OPEN_TRACK, p) for p in parts])
        )

    def add(self, ids: Sequence[str], lists: FrozenPeaks) -> None:
        for name in ids:
            self.position[name] = len(self.position)
        self.lists = FrozenPeaks.join([self.lists, lists])

    def take(self, ids: Sequence[str]) -> FrozenPeaks:
        return self.lists.take(np.array([self.position[n] for n in ids], np.int64))


def _check_groups(crystals: CrystalBatch, ids: Sequence[str], base: Columns) -> None:
    label = dict(zip(base["id"], base["space_group"], strict=True))
    for name, group in zip(ids, crystals.space_group.tolist(), strict=True):
        if group != label[name]:
            raise SplitError(f"{name}: label {label[name]}, the crystal has {group}")


def _write_derived(
    out: Path,
    track: DerivedTrack,
    base: Columns,
    frozen: _FrozenLists,
    added: Sequence[str],
) -> dict[str, Any]:
    """Write the three files of a derived track."""
    parts = track.columns["part"]
    sizes = [
        float(size) if part in FROZEN_PARTS else None
        for size, part in zip(freeze_sizes(base["id"]), parts, strict=True)
    ]
    own = {**track.columns, "crystallite_size_nm": sizes}
    kept: Columns = {
        name: [v for v, p in zip(values, parts, strict=True) if p is not None]
        for name, values in {**base, **own}.items()
    }
    rows = list(zip(kept["id"], kept["part"], strict=True))
    peaks = {
        part: frozen.take([name for name, other in rows if other == part])
        for part in FROZEN_PARTS
    }
    outside = len(base["id"]) - len(kept["id"])
    record = {
        "name": track.name,
        "version": TRACK_VERSION,
        "released": RELEASED,
        "base": OPEN_TRACK,
        "base_digest": load_record(OPEN_TRACK)["digest"],
        "peaks_of": list(track.peaks_of),
        "split_digest": assignment_digest(kept),
        "digest": track_digest(kept, peaks),
        "description": track.description,
        "licence": load_record(OPEN_TRACK)["licence"],
        "attributions": load_record(OPEN_TRACK)["attributions"],
        "shares": dict(track.shares),
        "parts": count_parts(kept),
        "frozen_parts": list(FROZEN_PARTS),
        "total_variation": find_distances(kept),
        "left_out": {"year not known": outside} if outside else {},
        "n_peaks": {part: len(lists.code) for part, lists in peaks.items()},
        "radiation": RADIATION,
        "scattering": "default",
        "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
        "margin": MARGIN,
        "crystallite_size_nm": list(SIZE_RANGE_NM),
        "versions": package_versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    _write_parts(own, out / "parts.parquet")
    _write_more(out / "peaks.npz", frozen, sorted(added), base)
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    (out / "track.json").write_text(text + "\n", "utf-8")
    return record


def _write_parts(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write what differs from the base table, row by row."""
    import pyarrow
    import pyarrow.parquet

    types = {"part": pyarrow.string(), "year": pyarrow.int16()}
    table = pyarrow.table(
        {
            name: pyarrow.array(values, types.get(name, pyarrow.float64()))
            for name, values in columns.items()
        }
    )
    pyarrow.parquet.write_table(table, path, compression="zstd", compression_level=19)


def _write_more(
    path: Path, frozen: _FrozenLists, added: Sequence[str], base: Columns
) -> None:
    """Write the peak lists that no other track has, and whose they are."""
    row_of = {name: row for row, name in enumerate(base["id"])}
    streams = frozen.take(added).to_streams()
    rows = np.array([row_of[name] for name in added], np.uint16)
    np.savez(
        path,
        allow_pickle=False,
        **{f"more.{key}": stream for key, stream in streams.items()},
        **{"more.row": rows},
    )
