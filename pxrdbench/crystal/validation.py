"""Whether a batch of crystals can be: cells, groups, positions, numbers."""

from typing import NoReturn

import numpy as np
from jaxtyping import Bool

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.lattice import cell_volumes, symmetric_lattice
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    load_symmetry_tables,
    space_group_symbol,
)
from pxrdbench.errors import CrystalError

# How far a cell may be from what its group asks: rounding of published cells.
_LENGTH_TOLERANCE = 1e-3
_ANGLE_TOLERANCE = 0.05
# How far a representative may be from its position, in fractional coordinates:
# published coordinates such as 0.3333 have four digits.
_POSITION_TOLERANCE = 2e-3


def check_crystals(crystals: CrystalBatch) -> None:
    """Refuse crystals that cannot be.

    Raises:
        CrystalError: It names the first crystal at fault, its value and the bound.
    """
    _check_shapes(crystals)
    _check_cells(crystals)
    _check_sites(crystals)
    _check_positions(crystals)


def _fail(crystals: CrystalBatch, sites: Bool[np.ndarray, " sites"], why: str) -> None:
    """Raise for the first crystal with a site at fault, if there is one."""
    if sites.any():
        site = int(sites.argmax())
        _raise(int(np.searchsorted(crystals.site_offset, site, "right")) - 1, why, site)


def _raise(index: int, why: str, site: int | None = None) -> NoReturn:
    where = "" if site is None else f" (row {site} of the sites)"
    raise CrystalError(f"crystal {index}{where}: {why}", index=index)


def _check_shapes(crystals: CrystalBatch) -> None:
    count, n_sites = len(crystals.space_group), len(crystals.atomic_number)
    offset = crystals.site_offset
    wanted = {
        "lattice": (count, 6),
        "site_offset": (count + 1,),
        "fract": (n_sites, 3),
        "wyckoff_index": (n_sites,),
        "occupancy": (n_sites,),
        "b_iso": (n_sites,),
        "charge": (n_sites,),
    }
    for name, shape in wanted.items():
        if getattr(crystals, name).shape != shape:
            found = getattr(crystals, name).shape
            raise CrystalError(f"{name} has the shape {found}; it must be {shape}")
    if offset[0] != 0 or offset[-1] != n_sites or (np.diff(offset) < 0).any():
        raise CrystalError("site_offset must rise from 0 to the number of sites")
    empty = np.diff(offset) == 0
    if empty.any():
        _raise(int(empty.argmax()), "it has no sites")


def _check_cells(crystals: CrystalBatch) -> None:
    group = crystals.space_group
    bad = (group < 1) | (group > 230)
    if bad.any():
        index = int(bad.argmax())
        _raise(index, f"space group {group[index]}; numbers run from 1 to 230")
    lattice = crystals.lattice
    with np.errstate(invalid="ignore"):
        bad = ~((lattice[:, :3] > 0.0).all(axis=1) & np.isfinite(lattice).all(axis=1))
        # Four angles close a cell only if the volume is real.
        flat = ~(cell_volumes(lattice) > 1e-6 * lattice[:, :3].prod(axis=1))
    for index in np.flatnonzero(bad | flat)[:1]:
        cell = ", ".join(f"{value:g}" for value in lattice[index])
        _raise(
            int(index),
            f"no cell has a, b, c, alpha, beta, gamma = {cell}; lengths must be finite "
            "and above 0, angles those of a parallelepiped",
        )
    # Compared with the cell that the group's metric allows, one for a type.
    for index, (number, cell) in enumerate(
        zip(group.tolist(), lattice.tolist(), strict=True)
    ):
        fitting = np.array(symmetric_lattice(number, tuple(cell)))
        off = np.abs(fitting - cell)
        if (off[:3] > _LENGTH_TOLERANCE * fitting[:3]).any() or (
            off[3:] > _ANGLE_TOLERANCE
        ).any():
            shown = ", ".join(f"{value:g}" for value in cell)
            _raise(
                index,
                f"the cell {shown} does not fit group {number} "
                f"({space_group_symbol(number)}) in the standard setting",
            )


def _check_sites(crystals: CrystalBatch) -> None:
    known = len(ELEMENT_SYMBOLS) - 1
    numbers = crystals.atomic_number
    _fail(
        crystals,
        (numbers < 1) | (numbers > known),
        f"an atomic number is not one of 1 to {known}",
    )
    with np.errstate(invalid="ignore"):
        _fail(
            crystals,
            ~((crystals.occupancy > 0.0) & (crystals.occupancy <= 1.0)),
            "an occupancy is not in (0, 1]",
        )
        _fail(
            crystals,
            ~(np.abs(crystals.b_iso) < 1e3),
            "a displacement B is not finite or beyond 1000 Å²",
        )
        _fail(
            crystals,
            ~(np.abs(crystals.fract) < 1e6).all(axis=1),
            "a fractional coordinate is not finite or beyond 1e6",
        )


def _check_positions(crystals: CrystalBatch) -> None:
    tables = load_symmetry_tables()
    group = np.repeat(crystals.space_group, np.diff(crystals.site_offset))
    n_positions = np.diff(tables.position_offset)[group]
    index = crystals.wyckoff_index
    bad = (index < 0) | (index >= n_positions)
    if bad.any():
        site = int(bad.argmax())
        letters = WYCKOFF_LETTERS[: n_positions[site]]
        shown = (
            repr(WYCKOFF_LETTERS[index[site]])
            if 0 <= index[site] < len(WYCKOFF_LETTERS)
            else f"number {index[site]}"
        )
        _fail(
            crystals,
            bad,
            f"group {group[site]} has no Wyckoff position {shown}; its letters are "
            f"{letters}",
        )
    row = tables.position_offset[group] + index
    first = tables.first_rotation[row].astype(np.float64)
    shift = tables.first_translation[row] / TRANSLATION_DENOMINATOR
    image = np.einsum("nij,nj->ni", first, crystals.fract) + shift
    bad = (np.abs(image - crystals.fract) > _POSITION_TOLERANCE).any(axis=1)
    if bad.any():
        site = int(bad.argmax())
        x, y, z = crystals.fract[site]
        _fail(
            crystals,
            bad,
            f"({x:g}, {y:g}, {z:g}) is not on the first coordinate triplet of position "
            f"{WYCKOFF_LETTERS[index[site]]} of group {group[site]}; "
            f"({', '.join(f'{value:g}' for value in image[site])}) is",
        )
