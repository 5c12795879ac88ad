"""The 230 space groups as tables: Wyckoff positions, operators, classes.

All groups are in the standard setting (unique axis b, hexagonal axes for
rhombohedral groups, origin choice 2), so that every centrosymmetric group has an
inversion at the origin. ``symmetry_build`` makes the file that is read here.

Source: International Tables for Crystallography A, as carried by pyxtal
(Fredericks et al. 2021, Comput. Phys. Commun. 261, 107810).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int16, Int32

from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.errors import CrystalError
from pxrdbench.frozen import freeze_arrays

CRYSTAL_SYSTEMS: tuple[str, ...] = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)
LATTICE_TYPES: tuple[str, ...] = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "hexagonal",
    "cubic",
)
# Centring letters by code; C stands for the b-unique monoclinic C as well.
CENTRINGS = "PACIFR"
LAUE_CLASSES: tuple[str, ...] = (
    "-1",
    "2/m",
    "mmm",
    "4/m",
    "4/mmm",
    "-3",
    "-31m",
    "-3m1",
    "6/m",
    "6/mmm",
    "m-3",
    "m-3m",
)
# Translations are stored in units of 1/24, which holds every fraction that occurs.
TRANSLATION_DENOMINATOR = 24


@dataclass(frozen=True, eq=False)
class SymmetryTables:
    """Symmetry of all 230 groups and their 1731 Wyckoff positions.

    Arrays over groups have 231 rows, indexed by the number in the International
    Tables; row 0 is unused. The positions of group g are the rows
    ``position_offset[g]:position_offset[g + 1]`` of the arrays over positions,
    letter a first, the general position last. Operators act on columns of
    fractional coordinates: ``rotation @ xyz + translation / 24``.

    Attributes:
        position_offset: First position of each group.
        centring: 0 P, 1 A, 2 C, 3 I, 4 F, 5 R (obverse, hexagonal axes).
        n_centring: Lattice points in the conventional cell, 1-4.
        is_centrosymmetric: Whether an inversion stands at the origin.
        laue_class: Position in ``LAUE_CLASSES``; rhombohedral groups count as -3
            or -3m1.
        crystal_system: Position in ``CRYSTAL_SYSTEMS``.
        lattice_type: Position in ``LATTICE_TYPES``: free cell parameters.
        enantiomorph: The group's mirror image where it is another group, else 0.
        extinction_group: Groups of one number extinguish the same reflections, up
            to the names of the axes.
            The published table (97 groups here, 99 there) keeps apart groups 144,
            145, 151-154 and 171, 172, 180, 181, and 198 and 208, which no powder
            pattern can tell apart by its absences.
        hall_number: Number of this setting in spglib's list of 530.
        symbol: Hermann-Mauguin symbol, short.
        point_group: Hermann-Mauguin symbol, short.
        multiplicity: Images of a representative in the conventional cell.
        degrees_of_freedom: Free coordinates of a position, 0-3.
        site_symmetry: Oriented symbol.
        first_rotation: First coordinate triplet of a position, an idempotent map:
            it leaves those points where they are that lie on the position.
        first_translation: The same, in 1/24.
        orbit_offset: First orbit operator of each position.
        orbit_rotation: Operators that map a representative onto all its images in
            the conventional cell, one for each; the identity is the first.
        orbit_translation: The same, in 1/24.
        reduced_offset: First reduced operator of each position.
        reduced_rotation: Orbit operators modulo centring and, in centrosymmetric
            groups, inversion. For each h that the centring allows
            F(h) = n_centring Σ_k weight_k cos 2π h·x_k (centrosymmetric), or
            F(h) = n_centring Σ_k exp 2πi h·x_k (others, all weights 1).
        reduced_translation: The same, in 1/24.
        reduced_weight: 2 where the inverse image was left out, else 1.
        atomic_radius: Mean of covalent and van der Waals radius [Å] by atomic
            number; NaN where one is unknown.
    """

    position_offset: Int32[np.ndarray, " 232"]
    centring: Int8[np.ndarray, " 231"]
    n_centring: Int8[np.ndarray, " 231"]
    is_centrosymmetric: Bool[np.ndarray, " 231"]
    laue_class: Int8[np.ndarray, " 231"]
    crystal_system: Int8[np.ndarray, " 231"]
    lattice_type: Int8[np.ndarray, " 231"]
    enantiomorph: Int16[np.ndarray, " 231"]
    extinction_group: Int16[np.ndarray, " 231"]
    hall_number: Int16[np.ndarray, " 231"]
    symbol: tuple[str, ...]
    point_group: tuple[str, ...]
    multiplicity: Int16[np.ndarray, " positions"]
    degrees_of_freedom: Int8[np.ndarray, " positions"]
    site_symmetry: tuple[str, ...]
    first_rotation: Int8[np.ndarray, "positions 3 3"]
    first_translation: Int8[np.ndarray, "positions 3"]
    orbit_offset: Int32[np.ndarray, " positions_and_one"]
    orbit_rotation: Int8[np.ndarray, "images 3 3"]
    orbit_translation: Int8[np.ndarray, "images 3"]
    reduced_offset: Int32[np.ndarray, " positions_and_one"]
    reduced_rotation: Int8[np.ndarray, "reduced 3 3"]
    reduced_translation: Int8[np.ndarray, "reduced 3"]
    reduced_weight: Int8[np.ndarray, " reduced"]
    atomic_radius: Float64[np.ndarray, " elements"]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def position_rows(self, space_group: int) -> range:
        """Rows of the group's positions; a row is the first plus wyckoff_index."""
        check_space_group(space_group)
        return range(
            int(self.position_offset[space_group]),
            int(self.position_offset[space_group + 1]),
        )

    def operators(
        self, space_group: int
    ) -> tuple[Int8[np.ndarray, "operators 3 3"], Int8[np.ndarray, "operators 3"]]:
        """Rotations and translations [1/24] of a group, centring included."""
        general = self.position_rows(space_group)[-1]
        rows = slice(self.orbit_offset[general], self.orbit_offset[general + 1])
        return self.orbit_rotation[rows], self.orbit_translation[rows]


@cache
def load_symmetry_tables() -> SymmetryTables:
    """Read the tables that ship with the package, once."""
    path = Path(__file__).with_name("symmetry_tables.npz")
    with np.load(path, allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    for name in ("symbol", "point_group", "site_symmetry"):
        values[name] = tuple(values[name].tolist())
    return SymmetryTables(**values)


def check_space_group(space_group: int) -> None:
    """Refuse what is no space-group number.

    Raises:
        CrystalError: If the number is not one of 1-230.
    """
    if not 1 <= space_group <= 230:
        raise CrystalError(
            f"space group {space_group}; numbers run from 1 to 230 "
            "(International Tables A)"
        )


def space_group_symbol(space_group: int) -> str:
    """Short Hermann-Mauguin symbol of a group.

    Example:
        >>> space_group_symbol(225)
        'Fm-3m'
    """
    check_space_group(space_group)
    return load_symmetry_tables().symbol[space_group]


def crystal_system(space_group: int) -> str:
    """Name of a group's crystal system, one of ``CRYSTAL_SYSTEMS``.

    Example:
        >>> crystal_system(166)
        'trigonal'
    """
    check_space_group(space_group)
    return CRYSTAL_SYSTEMS[int(load_symmetry_tables().crystal_system[space_group])]


def find_wyckoff_index(space_group: int, letter: str) -> int:
    """Number of a Wyckoff letter in its group: 0 is a, the general one is last.

    Raises:
        CrystalError: If the group has no such position; it names the letters.
    """
    n_positions = len(load_symmetry_tables().position_rows(space_group))
    index = WYCKOFF_LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= index < n_positions:
        raise CrystalError(
            f"group {space_group} ({space_group_symbol(space_group)}) has no Wyckoff "
            f"position {letter!r}; its letters are {WYCKOFF_LETTERS[:n_positions]}"
        )
    return index
