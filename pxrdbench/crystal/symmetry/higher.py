"""Whether a generic crystal has more symmetry than the group it was drawn in.

The symmetry of a crystal with generic coordinates in a generic cell depends only on
which Wyckoff positions its elements hold. ``higher_symmetry_build`` lists, once and
for all, the mappings that such a crystal may have beyond its group.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from numba import njit

from pxrdbench.crystal.rng import Integer
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    load_symmetry_tables,
)


class KernelSymmetry(NamedTuple):
    """What the kernel needs to know of groups, positions and elements."""

    position_offset: np.ndarray
    lattice_type: np.ndarray
    is_polar: np.ndarray
    multiplicity: np.ndarray
    degrees_of_freedom: np.ndarray
    first_rotation: np.ndarray
    first_translation: np.ndarray
    uses_coordinate: np.ndarray
    atomic_volume: np.ndarray


class HigherSymmetry(NamedTuple):
    """Which occupations give a crystal with more symmetry than its group.

    ``higher_symmetry_build`` derives these tables and says why they suffice.

    Attributes:
        mapping_offset: First extra mapping of each group.
        mapping: Positions, as bits, that a mapping carries each position to; 0 where
            no crystal with an atom there has the mapping.
        polar_one: Positions of polar groups that give more symmetry alone.
        polar_same: Positions, as bits, that do with one more orbit of the element.
        polar_other: The same, with an orbit of another element.
    """

    mapping_offset: np.ndarray
    mapping: np.ndarray
    polar_one: np.ndarray
    polar_same: np.ndarray
    polar_other: np.ndarray


@njit(cache=True, nogil=True)
def has_higher_symmetry(
    space_group: Integer,
    number: np.ndarray,
    wyckoff: np.ndarray,
    symmetry: KernelSymmetry,
    higher: HigherSymmetry,
) -> bool:
    """Whether generic crystals of an occupation have more than their group.

    They then belong to another group, or to the same with a smaller cell.

    Args:
        space_group: Number, 1-230.
        number: Atomic number of each site.
        wyckoff: Wyckoff index of each site; positions without freedom occur once.
        symmetry: Of all groups.
        higher: Extra mappings of all groups.
    """
    first = symmetry.position_offset[space_group]
    n_sites = len(number)
    if symmetry.is_polar[space_group] and n_sites == 1:
        return bool(higher.polar_one[first + wyckoff[0]])
    if symmetry.is_polar[space_group] and n_sites == 2:
        partners = higher.polar_other[first + wyckoff[0]]
        if number[0] == number[1]:
            partners = higher.polar_same[first + wyckoff[0]]
        return bool((partners >> np.uint32(wyckoff[1])) & np.uint32(1))
    for row in range(
        higher.mapping_offset[space_group], higher.mapping_offset[space_group + 1]
    ):
        is_mapped = True
        for site in range(n_sites):
            targets = higher.mapping[row, wyckoff[site]]
            # All positions that this one is carried to must hold its element.
            for other in range(n_sites):
                if number[other] == number[site]:
                    targets &= ~(np.uint32(1) << np.uint32(wyckoff[other]))
            if targets != 0 or higher.mapping[row, wyckoff[site]] == 0:
                is_mapped = False
                break
        if is_mapped:
            return True
    return False


@cache
def kernel_symmetry() -> KernelSymmetry:
    """Symmetry tables in the types that the kernel computes with."""
    tables = load_symmetry_tables()
    is_polar = np.zeros(231, np.bool_)
    for group in range(1, 231):
        # The mean of all operators projects on the directions that none of them turns.
        rotations, _ = tables.operators(group)
        is_polar[group] = rotations.astype(np.int64).sum(axis=0).any()
    radius = tables.atomic_radius
    return KernelSymmetry(
        position_offset=tables.position_offset.astype(np.int64),
        lattice_type=tables.lattice_type.astype(np.int64),
        is_polar=is_polar,
        multiplicity=tables.multiplicity.astype(np.float64),
        degrees_of_freedom=tables.degrees_of_freedom.astype(np.int64),
        first_rotation=tables.first_rotation.astype(np.float64),
        first_translation=tables.first_translation / TRANSLATION_DENOMINATOR,
        uses_coordinate=(tables.first_rotation != 0).any(axis=1),
        atomic_volume=4.0 / 3.0 * np.pi * radius**3,
    )


@cache
def load_higher_symmetry() -> HigherSymmetry:
    """Read which occupations give more symmetry, once."""
    path = Path(__file__).with_name("higher_symmetry.npz")
    with np.load(path, allow_pickle=False) as file:
        values = {name: file[name] for name in HigherSymmetry._fields}
    # Small integers would be widened with their sign in the kernel.
    values["mapping_offset"] = values["mapping_offset"].astype(np.int64)
    return HigherSymmetry(**values)


@cache
def characteristic_positions() -> Bool[np.ndarray, " 1731"]:
    """Whether atoms on a position alone have the symmetry of its group, and no more.

    A position with freedom is held three times: one or two orbits of a polar group can
    always be shifted onto a centre or mirror. The general position is characteristic
    in every group.
    """
    tables = load_symmetry_tables()
    groups = np.repeat(np.arange(231), np.diff(tables.position_offset))
    return np.array(
        [
            not has_higher_symmetry(
                int(group),
                np.ones(n_sites, np.int16),
                np.full(n_sites, row - tables.position_offset[group], np.int16),
                kernel_symmetry(),
                load_higher_symmetry(),
            )
            for row, (group, n_sites) in enumerate(
                zip(
                    groups,
                    np.where(tables.degrees_of_freedom > 0, 3, 1),
                    strict=True,
                )
            )
        ]
    )


def fewest_atoms() -> Int64[np.ndarray, " 231"]:
    """Smallest multiplicity of a characteristic position of each group; 1 for none."""
    tables = load_symmetry_tables()
    characteristic = characteristic_positions()
    fewest = np.ones(231, np.int64)
    for group in range(1, 231):
        rows = np.array(tables.position_rows(group))
        fewest[group] = tables.multiplicity[rows[characteristic[rows]]].min()
    return fewest
