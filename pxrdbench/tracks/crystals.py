"""The crystals of a track, out of what they came from: tracks hold their peaks only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SourceError
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.sources.structures.load import (
    is_import,
    load_import,
    load_import_record,
)
from pxrdbench.tracks.load import load_record, load_table

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SourceCrystals:
    """Crystals as they were read.

    Attributes:
        crystals: In the standard setting.
        ids: Their names.
        restricted: Whether they are licensed.
        source: What to call them, with whom to cite.
        not_read: Crystals that could not be read, by reason.
    """

    crystals: CrystalBatch
    ids: tuple[str, ...]
    restricted: bool
    source: str
    not_read: Mapping[str, int] = field(default_factory=dict)


def read_import(folder: str | Path) -> SourceCrystals:
    """Read all crystals of an import.

    Raises:
        SourceError: If the folder holds no finished import.
    """
    record = load_import_record(folder)
    crystals, table = load_import(folder)
    return SourceCrystals(
        crystals,
        tuple(str(name) for name in table["id"].to_pylist()),
        bool(record["restricted"]),
        f"import ({record['kind']}) {record['digest'][:12]}",
    )


def read_part_crystals(
    track: str | Path,
    part: str,
    data: str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SourceCrystals:
    """Read the crystals of a part of a track from what the track was made of.

    Args:
        track: Its name or its folder.
        part: Part of it.
        data: Materials Project table, the folder that holds one, or an import.
        workers: Processes; as many as there are cores if None. An import needs none.
        progress: Is called with the crystals done and all of them.

    Raises:
        SplitError: If there is no such track or part.
        SourceError: If the data cannot be read, or hold no crystal of the part.
    """
    record = load_record(track)
    wanted = load_table(track, part)["id"].to_pylist()
    licensed = bool(record.get("restricted", False))
    if not is_import(data):
        crystals, ids, report = read_crystals(
            data, wanted, workers=workers, progress=progress
        )
        source = "; ".join([f"{record['name']} {part}", *record["attributions"]])
        return SourceCrystals(crystals, ids, licensed, source, report.reasons)
    imported = read_import(data)
    names = set(wanted)
    rows = [row for row, name in enumerate(imported.ids) if name in names]
    if not rows:
        raise SourceError(f"{data} holds no crystal of {record['name']} {part}")
    return SourceCrystals(
        take_crystals(imported.crystals, np.array(rows, np.int64)),
        tuple(imported.ids[row] for row in rows),
        licensed or imported.restricted,
        f"{record['name']} {part} of {imported.source}",
    )
