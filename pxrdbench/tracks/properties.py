"""Volume and number of sites of a track's crystals, by which errors are told apart.

They stand in the track's table (columns ``volume`` and ``n_sites``) or, for tracks
frozen before the table had them, in ``properties.parquet`` beside it. No pattern, split
or digest depends on them.

    python -m pxrdbench.tracks.properties DATA_FOLDER    # writes that file
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.errors import SplitError
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    OPEN_TRACK,
    available_tracks,
    load_record,
    load_table,
    track_folder,
)

FILE_NAME = "properties.parquet"
_COLUMNS = ("volume", "n_sites")
_OF = b"ids sha256"  # of the ids whose properties a file holds


@dataclass(frozen=True, eq=False)
class CrystalProperties:
    """What is known of the crystals of a part beside their patterns.

    Attributes:
        volume: Of the conventional cell [Å³].
        n_sites: Atoms in the asymmetric unit.
    """

    volume: Float64[np.ndarray, " crystals"]
    n_sites: Int64[np.ndarray, " crystals"]


def load_properties(track: str, ids: tuple[str, ...]) -> CrystalProperties | None:
    """Look up properties of crystals by id.

    Returns:
        None where the track is not installed, or does not know them of every crystal.
    """
    if track not in available_tracks():
        return None
    table = load_table(track)
    names = table["id"].to_pylist()
    if not set(_COLUMNS) <= set(table.column_names):
        # A track that deals the crystals of another has their properties from there.
        base = str(load_record(track).get("base", track))
        names = load_table(base)["id"].to_pylist()
        table = _read_file(track_folder(base) / FILE_NAME, names)
        if table is None:
            return None
    row = {name: index for index, name in enumerate(names)}
    if not all(name in row for name in ids):
        return None
    rows = np.array([row[name] for name in ids], np.int64)
    volume = table["volume"].to_numpy().astype(np.float64)[rows]
    n_sites = table["n_sites"].to_numpy().astype(np.float64)[rows]
    if not (np.isfinite(volume).all() and np.isfinite(n_sites).all()):
        return None
    return CrystalProperties(volume, n_sites.astype(np.int64))


def _read_file(path: Path, ids: list[str]) -> Any:
    """Read the columns beside a table; None if they are not there or of other rows."""
    import pyarrow.parquet

    if not path.is_file():
        return None
    table = pyarrow.parquet.read_table(path)
    written = (table.schema.metadata or {}).get(_OF, b"").decode()
    return table if written == _digest(ids) else None


def _digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def write_properties(track: str, rows: dict[str, tuple[float, int]]) -> Path:
    """Write volume [Å³] and sites beside a track's table, in the order of its rows.

    Volumes have four digits: they decide into which bin a crystal falls.

    Raises:
        SplitError: If a crystal of the track is missing.
    """
    import pyarrow
    import pyarrow.parquet

    ids = load_table(track)["id"].to_pylist()
    missing = [name for name in ids if name not in rows]
    if missing:
        raise SplitError(f"{len(missing)} crystals of {track} lack: {missing[:3]}")
    volumes = [float(f"{rows[name][0]:.4g}") for name in ids]
    sites = [rows[name][1] for name in ids]
    table = pyarrow.table(
        {
            "volume": pyarrow.array(volumes, pyarrow.float32()),
            "n_sites": pyarrow.array(sites, pyarrow.int16()),
        }
    ).replace_schema_metadata({_OF: _digest(ids)})
    path = track_folder(track) / FILE_NAME
    pyarrow.parquet.write_table(table, path, compression="zstd", compression_level=19)
    return path


def _materials_project_rows(folder: Path) -> dict[str, tuple[float, int]]:
    import pyarrow.parquet

    from pxrdbench.sources.databases.materials_project import TABLE_PATH

    columns = ["id", "volume_conv", "n_asym"]
    table = pyarrow.parquet.read_table(folder / TABLE_PATH, columns=columns)
    lists = [table[name].to_pylist() for name in columns]
    return {name: (volume, sites) for name, volume, sites in zip(*lists, strict=True)}


def _aflow_rows(symprec: float) -> dict[str, tuple[float, int]]:
    from spglib import get_symmetry_dataset

    from pxrdbench.sources.databases.aflow import read_prototypes

    rows = {}
    for prototype in read_prototypes():
        made: Any = prototype.structure
        cell = (made.lattice.matrix, made.frac_coords, made.atomic_numbers)
        found = get_symmetry_dataset(cell, symprec=symprec)
        volume = abs(float(np.linalg.det(found.std_lattice)))
        rows[prototype.id] = (volume, len(set(found.equivalent_atoms.tolist())))
    return rows


def main() -> None:
    """Write the properties of the tracks that were frozen without them."""
    folder = Path(sys.argv[1])
    write_properties(OPEN_TRACK, _materials_project_rows(folder))
    write_properties(AFLOW_TRACK, _aflow_rows(load_record(AFLOW_TRACK)["symprec"]))


if __name__ == "__main__":
    main()
