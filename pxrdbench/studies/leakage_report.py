"""Leakage reports: the sources of this package, and what stands beside its tracks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import SplitError
from pxrdbench.outside import read_strict_json
from pxrdbench.studies.leakage import AuditedSource, audit_pair
from pxrdbench.studies.search_match import ProfileSettings
from pxrdbench.tracks.crystals import read_import
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    load_crystals,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
    track_folder,
)
from pxrdbench.tracks.store import freeze_peaks, freeze_sound_peaks

REPORT_NAME = "leakage.json"
# Whole tracks have thousands of groups of duplicates.
_MOST_BYTES = 2**26
REPORT_VERSION = 1
# Simulated at once: bounds the memory, and lets progress be told.
_CHUNK = 1000
# What models learn from. The priors of this package have seen the first.
TRAINING_PARTS = (
    (OPEN_TRACK, "statistics"),
    (RANDOM_TRACK, "statistics"),
    (CHRONOLOGICAL_TRACK, "statistics"),
    (AFLOW_TRACK, "test"),
)


def load_source(
    track: str | Path, part: str, peaks: "KnownPeaks | None" = None
) -> AuditedSource:
    """Take a part of a track as something that a model may have learnt from.

    Args:
        track: Name of the track, or its folder.
        part: Its part.
        peaks: Peak lists of crystals that are not frozen; without them the source has
            none, unless all of the part are frozen.

    Raises:
        SplitError: If the track or part is unknown.
    """
    table, record = load_table(track, part).to_pydict(), load_record(track)
    lists: PeakBatch | None = None
    if part in record["frozen_parts"]:
        lists = load_frozen_peaks(track, part).to_peaks()
    elif peaks is not None:
        lists = peaks.take(table["id"]).to_peaks()
    return AuditedSource(
        name=f"{record['name']} {part}",
        ids=tuple(table["id"]),
        space_group=np.array(table["space_group"], np.int16),
        structure_type=tuple(table["structure_type"]),
        formula=tuple(table["formula"]),
        peaks=lists,
    )


def load_import_source(folder: str | Path) -> tuple[AuditedSource, dict[str, int]]:
    """Take the crystals of an import as something that a model may have learnt from.

    Returns:
        The source, with peak lists, and how many entries have no pattern, by reason.

    Raises:
        SourceError: If the folder holds no finished import.
    """
    read = read_import(folder)
    lists, sound, left_out = freeze_sound_peaks(
        read.crystals, np.arange(len(read.ids), dtype=np.int64)
    )
    source = AuditedSource(
        name=read.source.partition(";")[0],
        ids=tuple(read.ids[row] for row in sound),
        space_group=read.crystals.space_group[sound],
        structure_type=tuple(read.structure_type[row] for row in sound),
        formula=tuple(read.formula[row] for row in sound),
        peaks=lists.to_peaks(),
    )
    return source, left_out


class KnownPeaks:
    """Peak lists of crystals by name, simulated from the crystals of a track.

    Args:
        ids: Names of the crystals.
        lists: Their peak lists.
    """

    def __init__(self, ids: Sequence[str], lists: FrozenPeaks) -> None:
        if len(ids) != len(lists.peak_count):
            raise SplitError(f"{len(ids)} names for {len(lists.peak_count)} peak lists")
        self.ids = tuple(ids)
        self.lists = lists
        self._position = {name: row for row, name in enumerate(ids)}

    @classmethod
    def simulate(
        cls,
        ids: Sequence[str],
        progress: Callable[[int, int], None] | None = None,
    ) -> "KnownPeaks":
        """Simulate crystals of ``open/structure-type`` as tracks freeze them.

        Raises:
            SplitError: If a crystal is not of that track.
        """
        lists = []
        for start in range(0, len(ids), _CHUNK):
            some = ids[start : start + _CHUNK]
            lists.append(freeze_peaks(load_crystals(OPEN_TRACK, some)))
            if progress is not None:
                progress(start + len(some), len(ids))
        return cls(ids, FrozenPeaks.join(lists))

    @classmethod
    def of_crystals(cls, ids: Sequence[str], crystals: CrystalBatch) -> "KnownPeaks":
        """Simulate any crystals in the same way.

        Raises:
            PatternError: If a crystal has no reflection; it holds the ``index``.
        """
        return cls(ids, freeze_peaks(crystals))

    def take(self, ids: Sequence[str]) -> FrozenPeaks:
        """Take the lists of some crystals.

        Raises:
            SplitError: If one is not there.
        """
        missing = [name for name in ids if name not in self._position]
        if missing:
            raise SplitError(f"no peak list of {missing[0]!r} is at hand")
        rows = [self._position[name] for name in ids]
        return self.lists.take(np.array(rows, np.int64))

    def write(self, path: Path) -> None:
        """Keep the lists for another audit."""
        np.savez(
            path,
            allow_pickle=False,
            ids=np.array(self.ids),
            **self.lists.to_streams(),
        )

    @classmethod
    def read(cls, path: Path) -> "KnownPeaks":
        """Read what ``write`` kept."""
        with np.load(path, allow_pickle=False) as arrays:
            streams = {name: arrays[name] for name in arrays.files}
        ids = [str(name) for name in streams.pop("ids")]
        return cls(ids, FrozenPeaks.from_streams(streams))


def audit_track(
    track: str | Path, sources: Sequence[AuditedSource], part: str = "test"
) -> dict[str, Any]:
    """Audit a part of a track against every source.

    Returns:
        What stands beside the track as ``leakage.json``.
    """
    loaded = load_track(track, part)
    formula = load_table(track, part)["formula"].to_pylist()
    settings = ProfileSettings()
    return {
        "version": REPORT_VERSION,
        "track": loaded.name,
        "track_version": loaded.version,
        "track_digest": loaded.digest,
        "part": part,
        "search_match": {
            name: getattr(settings, name) for name in settings.__dataclass_fields__
        },
        "pairs": [
            audit_pair(source, loaded, formula, settings)
            for source in sources
            # Whoever learns from what is asked about needs no audit.
            if source.name != f"{loaded.name} {part}"
        ],
    }


def write_report(report: dict[str, Any], folder: Path) -> Path:
    """Write an audit beside its track."""
    path = folder / REPORT_NAME
    text = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
    return path


def load_report(track: str | Path) -> dict[str, Any]:
    """Read the audit that stands beside a track.

    Raises:
        SplitError: If there is none, or it is of another version of the track.
    """
    path = track_folder(track) / REPORT_NAME
    if not path.is_file():
        raise SplitError(
            f"no audit stands beside {track}; `pxrdbench split audit` makes one"
        )
    report = read_strict_json(path, SplitError, _MOST_BYTES)
    if report.get("track_digest") != load_record(track)["digest"]:
        raise SplitError(f"the audit beside {track} is of another version of it")
    return report
