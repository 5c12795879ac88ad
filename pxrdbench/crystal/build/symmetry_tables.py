"""Build ``symmetry_tables.npz``: ``python -m pxrdbench.crystal.build.symmetry_tables``.

pyxtal carries the Wyckoff positions of International Tables A in the standard
setting; only these facts are taken over. What follows from them (orbits, reduced
orbits, extinction groups) is derived here in integers: translations are counted
in units of 1/24, which holds every fraction that occurs.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS

TABLES_PATH = Path(__file__).parents[1] / "symmetry" / "symmetry_tables.npz"
DENOMINATOR = 24

# Rotation and translation (in 1/24) of an affine map of fractional coordinates.
_Map = tuple[np.ndarray, np.ndarray]

_CENTRING_CODES = {"P": 0, "A": 1, "C": 2, "I": 3, "F": 4, "R": 5}
_CENTRING_TRANSLATIONS = {
    "P": [(0, 0, 0)],
    "A": [(0, 0, 0), (0, 12, 12)],
    "C": [(0, 0, 0), (12, 12, 0)],
    "I": [(0, 0, 0), (12, 12, 12)],
    "F": [(0, 0, 0), (0, 12, 12), (12, 0, 12), (12, 12, 0)],
    # Obverse setting, International Tables A, table 2.1.1.2.
    "R": [(0, 0, 0), (16, 8, 8), (8, 16, 16)],
}
# First group of each crystal system, and of what ends the last.
_SYSTEM_STARTS = (1, 3, 16, 75, 143, 168, 195, 231)
_LATTICE_OF_SYSTEM = (0, 1, 2, 3, 4, 4, 5)
_ENANTIOMORPHS = (
    (76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154),
    (169, 170), (171, 172), (178, 179), (180, 181), (212, 213),
)  # fmt: skip
# Trigonal groups whose mirror or twofold axis stands on [1-10] and not on [100].
_LAUE_31M = {149, 151, 153, 157, 159, 162, 163}
_LAUE_OF_POINT_GROUP = {
    "1": 0, "-1": 0, "2": 1, "m": 1, "2/m": 1, "222": 2, "mm2": 2, "mmm": 2,
    "4": 3, "-4": 3, "4/m": 3, "422": 4, "4mm": 4, "-42m": 4, "4/mmm": 4,
    "3": 5, "-3": 5, "6": 8, "-6": 8, "6/m": 8, "622": 9, "6mm": 9, "-62m": 9,
    "6/mmm": 9, "23": 10, "m-3": 10, "432": 11, "-43m": 11, "m-3m": 11,
}  # fmt: skip


def _to_integers(operation: Any) -> _Map:
    """Rotation and translation [1/24] of a pymatgen symmetry operation."""
    matrix = np.asarray(operation.affine_matrix, np.float64)
    rotation = np.rint(matrix[:3, :3]).astype(np.int64)
    translation = np.rint(matrix[:3, 3] * DENOMINATOR).astype(np.int64)
    back = np.column_stack([rotation, translation / DENOMINATOR])
    if np.abs(back - matrix[:3]).max() > 1e-6:
        raise AssertionError(f"not a multiple of 1/24: {matrix}")
    return rotation, translation


def _key(rotation: np.ndarray, translation: np.ndarray) -> bytes:
    """Name of a map, the same for all maps that differ by a lattice translation."""
    wrapped = np.mod(translation, DENOMINATOR)
    return np.concatenate([rotation.ravel(), wrapped]).astype(np.int8).tobytes()


def _orbit(operators: list[_Map], first: _Map) -> list[_Map]:
    """Operators that carry a representative onto its images, one for each."""
    images: dict[bytes, _Map] = {}
    for rotation, translation in operators:
        key = _key(rotation @ first[0], rotation @ first[1] + translation)
        images.setdefault(key, (rotation, translation))
    return list(images.values())


def _reduce(
    orbit: list[_Map], first: _Map, shifts: np.ndarray, is_centrosymmetric: bool
) -> list[tuple[_Map, int]]:
    """Orbit modulo centring and inversion, each operator with its weight."""
    seen: set[bytes] = set()
    kept: list[tuple[_Map, int]] = []
    for rotation, translation in orbit:
        image = rotation @ first[0], rotation @ first[1] + translation
        if _key(*image) in seen:
            continue
        own = {_key(image[0], image[1] + shift) for shift in shifts}
        inverse = {_key(-image[0], -image[1] + shift) for shift in shifts}
        seen |= own
        weight = 1
        if is_centrosymmetric and not own & inverse:
            seen |= inverse
            weight = 2
        kept.append(((rotation, translation), weight))
    return kept


def _extinction_key(operators: list[_Map], number: int) -> tuple[int, str]:
    """Which reflections an operator extinguishes, whatever the axes are called."""
    axis = np.arange(-6, 7)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    absent = np.zeros(hkl.shape[:3], bool)
    for rotation, translation in operators:
        is_fixed = (hkl @ rotation == hkl).all(axis=-1)
        absent |= is_fixed & ((hkl @ translation) % DENOMINATOR != 0)
    family = _family(number)
    orders: list[tuple[int, int, int]] = [(0, 1, 2)]
    if family in (1, 2):
        orders = [(i, j, 3 - i - j) for i in range(3) for j in range(3) if i != j]
    digests = [
        hashlib.sha256(absent.transpose(order).tobytes()).hexdigest()
        for order in orders
    ]
    return family, min(digests)


def _family(number: int) -> int:
    """Crystal family: as the crystal system, trigonal counted as hexagonal."""
    system = _crystal_system(number)
    return 5 if system == 4 else system


def _crystal_system(number: int) -> int:
    return next(i for i in range(7) if number < _SYSTEM_STARTS[i + 1])


def _laue_class(number: int, point_group: str) -> int:
    if point_group in ("32", "3m", "-3m"):
        return 6 if number in _LAUE_31M else 7
    return _LAUE_OF_POINT_GROUP[point_group]


def _hall_number(number: int, operators: list[_Map]) -> int:
    """The one setting of spglib's list whose operators are these."""
    import spglib

    wanted = {_key(*operator) for operator in operators}
    found = []
    for hall in _halls_of_groups()[number]:
        symmetry = spglib.get_symmetry_from_database(hall)
        translations = np.rint(symmetry["translations"] * DENOMINATOR).astype(np.int64)
        keys = map(_key, symmetry["rotations"].astype(np.int64), translations)
        if set(keys) == wanted:
            found.append(hall)
    if len(found) != 1:
        raise AssertionError(f"group {number}: settings {found} of spglib agree")
    return found[0]


@cache
def _halls_of_groups() -> dict[int, list[int]]:
    """Settings of each group, numbered as spglib numbers them."""
    import spglib

    halls: dict[int, list[int]] = {}
    for hall in range(1, 531):
        halls.setdefault(spglib.get_spacegroup_type(hall).number, []).append(hall)
    return halls


def _element_radii() -> np.ndarray:
    """Mean of covalent and van der Waals radius [Å]; NaN where one is missing."""
    from pyxtal.database.element import Element

    radii = np.full(len(ELEMENT_SYMBOLS), np.nan)
    for number, symbol in enumerate(ELEMENT_SYMBOLS[1:], start=1):
        element = Element(symbol)
        if element.covalent_radius and element.vdw_radius:
            radii[number] = (element.covalent_radius + element.vdw_radius) / 2
    return radii


_GROUP_COLUMNS = (
    "centring",
    "n_centring",
    "is_centrosymmetric",
    "laue_class",
    "crystal_system",
    "lattice_type",
    "enantiomorph",
    "extinction_group",
    "hall_number",
    "symbol",
    "point_group",
)
_POSITION_COLUMNS = (
    "multiplicity",
    "degrees_of_freedom",
    "site_symmetry",
    "first_rotation",
    "first_translation",
)


class _Columns:
    """Rows of the tables as they are found, group by group."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Any]] = {name: [0] for name in _GROUP_COLUMNS}
        self.position_offset = [0, 0]
        self.positions: dict[str, list[Any]] = {name: [] for name in _POSITION_COLUMNS}
        self.orbit: list[_Map] = []
        self.orbit_offset = [0]
        self.reduced: list[tuple[_Map, int]] = []
        self.reduced_offset = [0]
        self.extinction_ids: dict[tuple[int, str], int] = {}

    def add_group(self, number: int) -> None:
        """Read one group from pyxtal."""
        from pyxtal.symmetry import Group

        group = Group(number)
        operators = [_to_integers(op) for op in group.Wyckoff_positions[0].ops]
        letter = group.symbol[0]
        shifts = np.array(_CENTRING_TRANSLATIONS[letter])
        keys = {_key(*operator) for operator in operators}
        unit = np.eye(3, dtype=np.int64)
        if not all(_key(unit, shift) in keys for shift in shifts):
            raise AssertionError(f"group {number}: centring {letter} is missing")
        # Every centrosymmetric group has an inversion at the origin in our setting.
        is_centrosymmetric = _key(-unit, np.zeros(3, np.int64)) in keys
        if is_centrosymmetric != any((r == -unit).all() for r, _ in operators):
            raise AssertionError(f"group {number}: no inversion at the origin")
        system = _crystal_system(number)
        partner = {a: b for pair in _ENANTIOMORPHS for a, b in (pair, pair[::-1])}
        extinction = _extinction_key(operators, number)
        for name, value in {
            "centring": _CENTRING_CODES[letter],
            "n_centring": len(shifts),
            "is_centrosymmetric": is_centrosymmetric,
            "laue_class": _laue_class(number, group.point_group),
            "crystal_system": system,
            "lattice_type": _LATTICE_OF_SYSTEM[system],
            "enantiomorph": partner.get(number, 0),
            "extinction_group": self.extinction_ids.setdefault(
                extinction, len(self.extinction_ids)
            ),
            "hall_number": _hall_number(number, operators),
            "symbol": group.symbol,
            "point_group": group.point_group,
        }.items():
            self.groups[name].append(value)
        for position in reversed(group.Wyckoff_positions):
            self._add_position(position, operators, shifts, is_centrosymmetric)
        self.position_offset.append(len(self.positions["multiplicity"]))

    def _add_position(
        self,
        position: Any,
        operators: list[_Map],
        shifts: np.ndarray,
        is_centrosymmetric: bool,
    ) -> None:
        first = _to_integers(position.ops[0])
        rotation, translation = first
        if (rotation @ rotation != rotation).any() or (rotation @ translation).any():
            raise AssertionError(f"{position.get_label()}: not idempotent: {first}")
        orbit = _orbit(operators, first)
        reduced = _reduce(orbit, first, shifts, is_centrosymmetric)
        if len(orbit) != position.multiplicity or (
            len(shifts) * sum(weight for _, weight in reduced) != len(orbit)
        ):
            raise AssertionError(f"{position.get_label()}: wrong multiplicity")
        expected = {_key(*_to_integers(op)) for op in position.ops}
        if expected != {_key(r @ first[0], r @ first[1] + t) for r, t in orbit}:
            raise AssertionError(f"{position.get_label()}: another orbit than pyxtal's")
        position.get_site_symmetry()
        self.positions["multiplicity"].append(position.multiplicity)
        self.positions["degrees_of_freedom"].append(np.trace(rotation))
        self.positions["site_symmetry"].append(position.site_symm)
        self.positions["first_rotation"].append(rotation)
        self.positions["first_translation"].append(translation)
        self.orbit += orbit
        self.orbit_offset.append(len(self.orbit))
        self.reduced += reduced
        self.reduced_offset.append(len(self.reduced))


def build_tables() -> dict[str, np.ndarray]:
    """Derive all tables from pyxtal; arrays as ``SymmetryTables`` names them."""
    columns = _Columns()
    for number in range(1, 231):
        columns.add_group(number)
    groups, positions = columns.groups, columns.positions
    small = dict.fromkeys(groups, np.int8) | {
        "is_centrosymmetric": np.bool_,
        "enantiomorph": np.int16,
        "extinction_group": np.int16,
        "hall_number": np.int16,
        "symbol": np.str_,
        "point_group": np.str_,
    }
    groups["symbol"][0] = groups["point_group"][0] = ""
    return {
        "position_offset": np.array(columns.position_offset, np.int32),
        **{name: np.array(groups[name], dtype) for name, dtype in small.items()},
        "multiplicity": np.array(positions["multiplicity"], np.int16),
        "degrees_of_freedom": np.array(positions["degrees_of_freedom"], np.int8),
        "site_symmetry": np.array(positions["site_symmetry"]),
        "first_rotation": np.array(positions["first_rotation"], np.int8),
        "first_translation": np.array(positions["first_translation"], np.int8),
        "orbit_offset": np.array(columns.orbit_offset, np.int32),
        "orbit_rotation": np.array([r for r, _ in columns.orbit], np.int8),
        "orbit_translation": np.array([t for _, t in columns.orbit], np.int8),
        "reduced_offset": np.array(columns.reduced_offset, np.int32),
        "reduced_rotation": np.array([m[0] for m, _ in columns.reduced], np.int8),
        "reduced_translation": np.array([m[1] for m, _ in columns.reduced], np.int8),
        "reduced_weight": np.array([w for _, w in columns.reduced], np.int8),
        "atomic_radius": _element_radii(),
    }


def main() -> None:
    """Write the tables beside this module."""
    np.savez_compressed(TABLES_PATH, **build_tables())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
