"""Crystals in Arrow tables, without loss: each number comes back as it was.

A row is a crystal. Sites are lists in columns of their own, in the order of the sites.
"""

from typing import Any

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import SourceError

# Columns that hold a value a site (three for fract), and their types.
_SITE_COLUMNS = {
    "fract": "float64",
    "atomic_number": "int16",
    "wyckoff_index": "int16",
    "occupancy": "float64",
    "b_iso": "float64",
    "charge": "int8",
}
_LATTICE = "lattice"
_GROUP = "space_group"
CRYSTAL_COLUMNS = (_GROUP, _LATTICE, *_SITE_COLUMNS)


def crystals_to_arrow(crystals: CrystalBatch) -> Any:
    """Put crystals into a ``pyarrow.Table``, one row each."""
    import pyarrow as pa

    offset = np.asarray(crystals.site_offset, np.int32)
    columns: dict[str, Any] = {
        _GROUP: pa.array(crystals.space_group, pa.int16()),
        _LATTICE: pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(crystals.lattice).ravel(), pa.float64()), 6
        ),
    }
    for name, kind in _SITE_COLUMNS.items():
        values = np.ascontiguousarray(getattr(crystals, name))
        width = 3 if name == "fract" else 1
        columns[name] = pa.ListArray.from_arrays(
            pa.array(offset * width, pa.int32()), pa.array(values.ravel(), type=kind)
        )
    return pa.table(columns)


def crystals_from_arrow(table: Any) -> CrystalBatch:
    """Make crystals from the columns that `crystals_to_arrow` writes.

    Args:
        table: A ``pyarrow.Table``; other columns do not matter.

    Raises:
        SourceError: If a column is missing, or the lists do not fit together.
        CrystalError: If a crystal cannot be.
    """
    missing = [name for name in CRYSTAL_COLUMNS if name not in table.column_names]
    if missing:
        raise SourceError(f"the table of crystals has no column {', '.join(missing)}")
    table = table.select(list(CRYSTAL_COLUMNS)).combine_chunks()
    flat: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for name, kind in _SITE_COLUMNS.items():
        column = _whole(table[name])
        flat[name] = np.array(column.flatten(), dtype=kind)
        counts[name] = np.diff(np.asarray(column.offsets)).astype(np.int64)
    counts["fract"] //= 3
    per_crystal = counts["occupancy"]
    if any(not np.array_equal(per_crystal, n) for n in counts.values()) or len(
        flat["fract"]
    ) != 3 * len(flat["occupancy"]):
        raise SourceError("the lists of sites in the table have unequal lengths")
    batch = CrystalBatch(
        lattice=np.array(_whole(table[_LATTICE]).flatten()).reshape(-1, 6),
        space_group=np.array(_whole(table[_GROUP]), np.int16),
        site_offset=np.concatenate([[0], np.cumsum(per_crystal)]).astype(np.int64),
        fract=flat.pop("fract").reshape(-1, 3),
        **flat,
    )
    batch.check()
    return batch


def _whole(column: Any) -> Any:
    """One array of a column."""
    import pyarrow as pa

    if column.num_chunks == 1:
        return column.chunk(0)
    if not column.num_chunks:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)
