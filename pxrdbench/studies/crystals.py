"""The crystals of a track, out of it or from the source that they came from.

A source is the folder or table of Materials Project crystals (see
``sources.materials_project``), or a folder that ``pxrdbench import`` wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import EvaluationError
from pxrdbench.studies.robustness import hash_order
from pxrdbench.tracks.load import Part, TrackPart
from pxrdbench.tracks.part import require_crystals

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class StudyCrystals:
    """Crystals with what a study needs to know of them.

    Attributes:
        crystals: In the standard setting.
        ids: Their names.
        structure_type: Crystals of one are no independent witnesses.
        crystallite_size_nm: Size that broadens each pattern [nm].
    """

    crystals: CrystalBatch
    ids: tuple[str, ...]
    structure_type: tuple[str, ...]
    crystallite_size_nm: Float64[np.ndarray, " crystals"]

    def __len__(self) -> int:
        return len(self.ids)


def load_real_crystals(
    source: Path | str | None,
    track: Part,
    count: int | None = None,
    *,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> StudyCrystals:
    """Read crystals of a track, its own or from where they came from.

    Args:
        source: Table or folder of Materials Project crystals, or of an import; None
            for those that the track carries.
        track: Whose crystals; those of the source that it lacks are left out.
        count: At most so many, chosen by a hash of their ids; all if None.
        workers: Processes; as many as there are cores if None.
        on_progress: Called with crystals read and crystals in total.

    Raises:
        EvaluationError: If the source holds none of the track's crystals.
        SourceError: If the source cannot be read.
        SplitError: If the track's patterns were measured, or it carries no crystals.
    """
    track = require_crystals(track, "this study")
    if source is None:
        order = sorted(range(len(track)), key=lambda i: hash_order(track.ids[i]))
        own = np.array(sorted(order[:count]), np.int64)
        return StudyCrystals(
            take_crystals(track.crystals, own),
            tuple(track.ids[i] for i in own),
            tuple(track.structure_type[i] for i in own),
            track.crystallite_size_nm[own],
        )
    path = Path(source)
    if (path / "crystals.parquet").is_file():
        crystals, names = _read_import(path)
    else:
        crystals, names = _read_materials_project(
            path, track, count, workers, on_progress
        )
    place = {name: i for i, name in enumerate(names)}
    rows = [i for i, name in enumerate(track.ids) if name in place]
    rows = sorted(rows, key=lambda i: hash_order(track.ids[i]))[:count]
    rows.sort()
    if not rows:
        raise EvaluationError(
            f"{source} holds no crystal of {track.name} {track.part}; it must be the "
            "source that the track was made from"
        )
    taken = np.array([place[track.ids[i]] for i in rows], np.int64)
    batch = take_crystals(crystals, taken)
    wrong = batch.space_group != track.space_group[rows]
    if wrong.any():
        first = track.ids[rows[int(np.argmax(wrong))]]
        raise EvaluationError(
            f"{int(wrong.sum())} of {len(rows)} crystals of {source} are of another "
            f"space group than in {track.name}, {first} first; their symmetry was "
            "searched for with another tolerance"
        )
    return StudyCrystals(
        batch,
        tuple(track.ids[i] for i in rows),
        tuple(track.structure_type[i] for i in rows),
        track.crystallite_size_nm[rows],
    )


def _read_import(folder: Path) -> tuple[CrystalBatch, list[str]]:
    from pxrdbench.sources.structures.load import load_import

    crystals, table = load_import(folder)
    return crystals, [str(name) for name in table["id"].to_pylist()]


def _read_materials_project(
    path: Path,
    track: TrackPart,
    count: int | None,
    workers: int | None,
    on_progress: Progress | None,
) -> tuple[CrystalBatch, list[str]]:
    from pxrdbench.sources.databases.materials_project import read_crystals, read_table

    known = set(read_table(path)["id"].to_pylist())
    ids = sorted((name for name in track.ids if name in known), key=hash_order)
    if not ids:
        return CrystalBatch.from_crystals([]), []
    crystals, names, _ = read_crystals(
        path, ids[:count], workers=workers, progress=on_progress
    )
    return crystals, list(names)
