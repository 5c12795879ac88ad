"""Put the crystals into the packaged tracks.

    python -m pxrdbench.tracks.build.crystals --data DATA

DATA is the folder that holds ``structures/mp_structures.parquet``. Labels, parts and
frozen patterns stay as they lie there; a crystal whose space group is not its label is
refused. The tracks that deal the crystals of ``open/structure-type`` anew use its own.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.sources.labels.structure_type import SYMPREC
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    OPEN_TRACK,
    TRACKS_FOLDER,
    load_table,
)
from pxrdbench.tracks.store import write_crystals

_log = logging.getLogger(__name__)


def add_open_crystals(data: Path, folder: Path, workers: int | None = None) -> int:
    """Write the crystals of ``open/structure-type``; say how many.

    Raises:
        SourceError: If the table cannot be read.
        SplitError: If a crystal is not what the track says.
    """
    names = load_table(OPEN_TRACK)["id"].to_pylist()
    crystals, _, report = read_crystals(data, names, workers=workers)
    if report.failures:
        raise SplitError(f"{report.failures[0][0]}: {report.failures[0][1]}")
    return _write(OPEN_TRACK, crystals, folder)


def add_aflow_crystals(folder: Path) -> int:
    """Write the crystals of ``aflow/prototypes``; say how many.

    Raises:
        SplitError: If a crystal is not what the track says.
    """
    made = {p.id: p.structure for p in read_prototypes()}
    names = load_table(AFLOW_TRACK)["id"].to_pylist()
    crystals = [Crystal.from_pymatgen(made[name], symprec=SYMPREC) for name in names]
    return _write(AFLOW_TRACK, CrystalBatch.from_crystals(crystals), folder)


def _write(track: str, crystals: CrystalBatch, folder: Path) -> int:
    table = load_table(track)
    wrong = np.flatnonzero(table["space_group"].to_numpy() != crystals.space_group)
    if len(wrong):
        raise SplitError(
            f"{table['id'][int(wrong[0])]} is of another space group than in {track}"
        )
    write_crystals(crystals, folder)
    return len(crystals)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description="Pack the crystals of the tracks.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=TRACKS_FOLDER)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for track, count in (
        (
            OPEN_TRACK,
            add_open_crystals(
                options.data,
                options.out / OPEN_TRACK.replace("/", "-"),
                options.workers,
            ),
        ),
        (
            AFLOW_TRACK,
            add_aflow_crystals(options.out / AFLOW_TRACK.replace("/", "-")),
        ),
    ):
        _log.info("%s: %d crystals", track, count)


if __name__ == "__main__":
    main()
