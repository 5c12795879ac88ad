"""Crystals of the Materials Project, from the table ``mp_structures.parquet``.

The table holds DFT-relaxed, fully ordered crystals as they are stored upstream: mostly
primitive cells written in P1. Their symmetry is found here, with spglib.

References:
    Jain et al. (2013), APL Mater. 1, 011002 (the Materials Project); Xie et al. (2021),
    arXiv:2110.06197 (MP-20); Baird & Sparks (2022), figshare 19991516 (MPTS-52);
    Sommer et al. (2023), Sci. Data 10, 816 (3DSC).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.errors import SourceError
from pxrdbench.sources.account import Progress, ReadReport
from pxrdbench.sources.guarded import map_chunks
from pxrdbench.sources.labels.structure_type import SYMPREC, Symmetry, find_symmetry

TABLE_PATH = Path("structures") / "mp_structures.parquet"
_COLUMNS = ("id", "formula", "cell", "elements", "frac")

_NUMBER = re.compile(r"-?\d[\d.e+-]*")


def read_table(path: str | Path) -> Any:
    """Read the table of crystals.

    Args:
        path: The Parquet file, or a folder that holds ``structures/``.

    Returns:
        A ``pyarrow.Table``, one row a crystal, with unique ids.

    Raises:
        SourceError: If the file is missing, is no such table or repeats an id.
    """
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    path = Path(path)
    path = path / TABLE_PATH if path.is_dir() else path
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise SourceError(
            f"{path} has no column {', '.join(missing)}; a table of crystals holds "
            f"{', '.join(_COLUMNS)}"
        )
    distinct = pyarrow.compute.count_distinct(table["id"]).as_py()
    if distinct != table.num_rows:
        raise SourceError(f"{path} holds {table.num_rows} rows, {distinct} ids")
    return table


def select_rows(table: Any, ids: Sequence[str]) -> Any:
    """Take the rows with these ids, in their order.

    Raises:
        SourceError: If an id is not in the table; it names the first five.
    """
    position = {name: row for row, name in enumerate(table["id"].to_pylist())}
    unknown = [name for name in ids if name not in position]
    if unknown:
        raise SourceError(
            f"{len(unknown)} ids are not in the table: {', '.join(unknown[:5])}"
            f"{', …' if len(unknown) > 5 else ''}"
        )
    return table.take([position[name] for name in ids])


def make_structures(table: Any) -> Iterator[Any]:
    """Make a ``pymatgen.core.Structure`` of each row, as it is stored."""
    from pymatgen.core import Lattice, Structure

    for row in table.select(["cell", "elements", "frac"]).to_pylist():
        yield Structure(
            Lattice.from_parameters(*row["cell"]),
            row["elements"].split(),
            np.array(row["frac"], np.float64).reshape(-1, 3),
        )


def read_crystals(
    path: str | Path,
    ids: Sequence[str] | None = None,
    symprec: float = SYMPREC,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[CrystalBatch, tuple[str, ...], ReadReport]:
    """Read crystals and bring them into the standard setting.

    Args:
        path: The Parquet file, or a folder that holds ``structures/``.
        ids: Rows to read, in this order; all rows of the table if None.
        symprec: Tolerance of the search for symmetry [Å].
        workers: Processes; as many as there are cores if None. The result does not
            depend on it.
        progress: Is called with the rows done and the rows asked for.

    Returns:
        Crystals, their ids, and what failed.

    Raises:
        SourceError: If the table cannot be read or does not know an id.
    """
    table = read_table(path)
    if ids is not None:
        table = select_rows(table, ids)
    made = map_chunks(_make_crystals, _cut(table, symprec), workers, progress)
    crystals: list[Crystal] = []
    names: list[str] = []
    failures: list[tuple[str, str]] = []
    for name, crystal in zip(table["id"].to_pylist(), made, strict=True):
        if isinstance(crystal, Crystal):
            crystals.append(crystal)
            names.append(name)
        else:
            failures.append((name, crystal))
    report = ReadReport(table.num_rows, tuple(failures))
    return CrystalBatch.from_crystals(crystals), tuple(names), report


def find_symmetries(
    table: Any, workers: int | None = None, progress: Progress | None = None
) -> list[Symmetry]:
    """Find type and space group of each row of a table.

    Args:
        table: What `read_table` gives, or rows of it.
        workers: Processes; as many as there are cores if None.
        progress: Is called with the rows done and the rows of the table.
    """
    return map_chunks(_find_chunk, _cut(table), workers, progress)


# Small enough for a smooth progress line, large enough to pay for the sending.
_CHUNK_ROWS = 100


def _cut(table: Any, *arguments: float) -> list[tuple[Any, ...]]:
    """Cut a table into chunks; each with its number of rows and the arguments."""
    starts = range(0, table.num_rows, _CHUNK_ROWS)
    table = table.select(list(_COLUMNS))
    chunks = [table.slice(start, _CHUNK_ROWS).combine_chunks() for start in starts]
    return [(chunk, *arguments) for chunk in chunks]


def _make_crystals(table: Any, symprec: float) -> list[Crystal | str]:
    """Make the crystals of a chunk; a message in place of one that fails."""
    made: list[Crystal | str] = []
    for structure in make_structures(table):
        try:
            made.append(Crystal.from_pymatgen(structure, symprec=symprec))
        except Exception as error:  # one bad row must not cost the others
            made.append(f"{type(error).__name__}: {error}")
    return made


def _find_chunk(table: Any) -> list[Symmetry]:
    return [find_symmetry(structure) for structure in make_structures(table)]
