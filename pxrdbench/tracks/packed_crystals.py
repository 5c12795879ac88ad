"""The crystals of a track, packed as small as they get and without any loss.

Of a cell its free parameters are kept, of a site the element, the Wyckoff letter and
the free coordinates: the rest follows from the space group, to the last bit. Where it
does not (a CIF may place an atom a rounding beside its position), whole coordinates are
kept instead. Numbers stay float64: of patterns computed from float32 coordinates some
peaks round to other integers than those that are frozen.

23,193 crystals of the Materials Project take 1.5 MB.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.tables import (
    LATTICE_TYPES,
    TRANSLATION_DENOMINATOR,
    load_symmetry_tables,
)
from pxrdbench.errors import CrystalError, SplitError
from pxrdbench.tracks.frozen_peaks import deflate, inflate

# Free parameters a, b, c, alpha, beta, gamma of each lattice type; the others are as
# the source says: -1 an angle of 90 degrees, -2 one of 120, else equal to that column.
_CELLS: dict[str, tuple[int, int, int, int, int, int]] = {
    "triclinic": (0, 1, 2, 3, 4, 5),
    "monoclinic": (0, 1, 2, -1, 4, -1),
    "orthorhombic": (0, 1, 2, -1, -1, -1),
    "tetragonal": (0, 0, 2, -1, -1, -1),
    "hexagonal": (0, 0, 2, -1, -1, -2),
    "cubic": (0, 0, 0, -1, -1, -1),
}
_RIGHT, _OBTUSE = 90.0, 120.0
# Streams of whole numbers, and how wide they are.
_WHOLE = {"space_group": "<u2", "site_count": "<u4", "atomic_number": "u1"}
_WHOLE |= {"wyckoff_index": "u1"}
# Streams that most tracks have no use for, and what stands where they are absent.
_USUAL: dict[str, tuple[str, float]] = {
    "occupancy": ("<f8", 1.0),
    "b_iso": ("<f8", 0.0),
    "charge": ("i1", 0),
}


def pack_crystals(crystals: CrystalBatch) -> dict[str, np.ndarray]:
    """Pack crystals into streams for an npz file; `unpack_crystals` undoes it."""
    streams = {
        "space_group": deflate(crystals.space_group.astype("<u2")),
        "site_count": deflate(np.diff(crystals.site_offset).astype("<u4")),
        "atomic_number": deflate(crystals.atomic_number.astype("u1")),
        "wyckoff_index": deflate(crystals.wyckoff_index.astype("u1")),
    }
    for name, (kind, usual) in _USUAL.items():
        values = getattr(crystals, name)
        if (values != usual).any():
            streams[name] = deflate(values.astype(kind))
    columns = _cell_columns(crystals.space_group)
    free_cell = columns == np.arange(6)
    lattice = _fill_cells(np.where(free_cell, crystals.lattice, 0.0), columns)
    if _is_same(lattice, crystals.lattice):
        for column in range(6):
            values = crystals.lattice[free_cell[:, column], column]
            streams[f"cell_{column}"] = deflate(values)
    else:
        streams["whole_cells"] = deflate(crystals.lattice.ravel())
    rows = _position_rows(crystals.space_group, crystals)
    free = _free_coordinates(rows)
    fract = _place(np.where(free, crystals.fract, 0.0), rows)
    if _is_same(fract, crystals.fract):
        streams["free_fract"] = deflate(crystals.fract[free])
    else:
        streams["whole_fract"] = deflate(crystals.fract.ravel())
    return streams


def unpack_crystals(streams: Mapping[str, np.ndarray]) -> CrystalBatch:
    """Undo `pack_crystals`.

    Raises:
        SplitError: If streams are damaged or missing, or hold no crystals.
    """
    try:
        values: dict[str, Any] = {
            name: inflate(streams[name], np.dtype(kind))
            for name, kind in _WHOLE.items()
        }
        group = values["space_group"].astype(np.int16)
        if len(group) and not 1 <= int(group.min()) <= int(group.max()) <= 230:
            raise SplitError("the packed crystals are of no known space group")
        offset = np.concatenate([[0], np.cumsum(values["site_count"], dtype=np.int64)])
        n_sites = int(offset[-1])
        sites: dict[str, Any] = {
            "atomic_number": values["atomic_number"].astype(np.int16),
            "wyckoff_index": values["wyckoff_index"].astype(np.int16),
        }
        for name, (kind, usual) in _USUAL.items():
            sites[name] = (
                inflate(streams[name], np.dtype(kind))
                if name in streams
                else np.full(n_sites, usual, np.dtype(kind).type)
            )
        if any(len(array) != n_sites for array in sites.values()):
            raise SplitError("the streams of the packed crystals differ in length")
        lattice = _read_cells(streams, group)
        shell = CrystalBatch(lattice, group, offset, np.zeros((n_sites, 3)), **sites)
        rows = _position_rows(group, shell)
        batch = CrystalBatch(
            lattice, group, offset, _read_fract(streams, rows), **sites
        )
        batch.check()
    except (KeyError, ValueError, IndexError, CrystalError) as error:
        raise SplitError(f"the packed crystals are damaged: {error}") from error
    return batch


def _read_cells(
    streams: Mapping[str, np.ndarray], group: np.ndarray
) -> Float64[np.ndarray, "batch 6"]:
    if "whole_cells" in streams:
        return inflate(streams["whole_cells"], np.dtype("<f8")).reshape(-1, 6)
    columns = _cell_columns(group)
    lattice = np.zeros((len(group), 6))
    for column in range(6):
        lattice[columns[:, column] == column, column] = inflate(
            streams[f"cell_{column}"], np.dtype("<f8")
        )
    return _fill_cells(lattice, columns)


def _read_fract(
    streams: Mapping[str, np.ndarray], rows: np.ndarray
) -> Float64[np.ndarray, "sites 3"]:
    if "whole_fract" in streams:
        return inflate(streams["whole_fract"], np.dtype("<f8")).reshape(-1, 3)
    fract = np.zeros((len(rows), 3))
    fract[_free_coordinates(rows)] = inflate(streams["free_fract"], np.dtype("<f8"))
    return _place(fract, rows)


def _cell_columns(group: np.ndarray) -> Int64[np.ndarray, "batch 6"]:
    """Where each parameter of each cell comes from, see `_CELLS`."""
    table = np.array([_CELLS[name] for name in LATTICE_TYPES])
    found: np.ndarray = table[load_symmetry_tables().lattice_type[group]]
    return found


def _fill_cells(
    lattice: Float64[np.ndarray, "batch 6"], columns: Int64[np.ndarray, "batch 6"]
) -> Float64[np.ndarray, "batch 6"]:
    """Write the parameters that are not free."""
    filled = np.take_along_axis(lattice, np.maximum(columns, 0), axis=1)
    return np.where(columns == -1, _RIGHT, np.where(columns == -2, _OBTUSE, filled))


def _position_rows(
    group: np.ndarray, crystals: CrystalBatch
) -> Int64[np.ndarray, " sites"]:
    """Row of the symmetry tables of each site's position."""
    of_site = np.repeat(group, np.diff(crystals.site_offset))
    first = load_symmetry_tables().position_offset[of_site].astype(np.int64)
    rows: np.ndarray = first + crystals.wyckoff_index
    return rows


def _free_coordinates(rows: np.ndarray) -> Bool[np.ndarray, "sites 3"]:
    """Which coordinates the first triplet of a position leaves free."""
    free: np.ndarray = (load_symmetry_tables().first_rotation[rows] != 0).any(axis=1)
    return free


def _place(
    fract: Float64[np.ndarray, "sites 3"], rows: np.ndarray
) -> Float64[np.ndarray, "sites 3"]:
    """Put points on the first triplet of their positions."""
    tables = load_symmetry_tables()
    rotation = tables.first_rotation[rows].astype(np.float64)
    shift = tables.first_translation[rows] / TRANSLATION_DENOMINATOR
    placed: np.ndarray = np.einsum("nij,nj->ni", rotation, fract) + shift
    return placed


def _is_same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays have the same bits, but for the sign of zero."""
    return bool(np.array_equal(first, second))
