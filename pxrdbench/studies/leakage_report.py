"""Leakage reports: the sources of this package, and what stands beside its tracks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.studies.leakage import AuditedSource, audit_pair
from pxrdbench.studies.search_match import ProfileSettings
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
    track_folder,
)
from pxrdbench.tracks.store import freeze_peaks

REPORT_NAME = "leakage.json"
REPORT_VERSION = 1
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


class KnownPeaks:
    """Peak lists of crystals by name, simulated from the table they come from.

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
        data: Path,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> "KnownPeaks":
        """Simulate crystals of the Materials Project as tracks freeze them.

        Raises:
            SourceError: If the table cannot be read or lacks a crystal.
            SplitError: If a crystal cannot be brought into the standard setting.
        """
        crystals, names, report = read_crystals(
            data, ids, workers=workers, progress=progress
        )
        if report.failures:
            raise SplitError(f"{report.failures[0][0]}: {report.failures[0][1]}")
        return cls(names, freeze_peaks(crystals))

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
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if report["track_digest"] != load_record(track)["digest"]:
        raise SplitError(f"the audit beside {track} is of another version of it")
    return report
