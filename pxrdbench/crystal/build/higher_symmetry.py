"""Build ``higher_symmetry.npz``: ``python -m pxrdbench.crystal.build.higher_symmetry``.

Which crystals have more symmetry than the group they are drawn in: another group, or
the same with a smaller cell? A mapping g that is no operation of the group G, but of
a generic crystal, permutes its points:

* An orbit with free coordinates goes onto itself, since others have coordinates of
  their own. Orbits without freedom may be exchanged where the element is the same.
* The rotation of g keeps the metric of every cell of the lattice type; its
  translation joins two points of such orbits.

So all g of a group can be listed, with what each does to each Wyckoff position. That
is done here in integers modulo a large multiple of 24, where generic coordinates are
random integers: no tolerance is needed.

In polar groups the origin is free along the polar directions, and a crystal of one
or two orbits may have an inversion or mirror that depends on their coordinates
(from three orbits on, it cannot). Those cases are few; spglib decides them.
"""

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.generator.check import find_group
from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    SymmetryTables,
    load_symmetry_tables,
)

PATH = Path(__file__).parents[1] / "symmetry" / "higher_symmetry.npz"
# Large enough that random integers below do not meet, small enough for M³ < 2^63.
_MODULUS = TRANSLATION_DENOMINATOR * 5000
_UNIT = _MODULUS // TRANSLATION_DENOMINATOR
MOST_POSITIONS = 27
# Cells that no more than their lattice type is true of.
GENERIC_CELLS = (
    (5.13, 6.47, 7.91, 81.3, 96.9, 108.7),
    (5.13, 6.47, 7.91, 90.0, 103.7, 90.0),
    (5.13, 6.47, 7.91, 90.0, 90.0, 90.0),
    (5.13, 5.13, 7.91, 90.0, 90.0, 90.0),
    (5.13, 5.13, 7.91, 90.0, 90.0, 120.0),
    (5.13, 5.13, 5.13, 90.0, 90.0, 90.0),
)


@cache
def _holohedry(lattice_type: int) -> list[np.ndarray]:
    """Rotations that keep the metric of every cell of a type."""
    a, b, c, alpha, beta, gamma = GENERIC_CELLS[lattice_type]
    cosines = np.cos(np.radians([gamma, beta, alpha]))
    metric = np.diag([a * a, b * b, c * c])
    for (i, j), cosine in zip(((0, 1), (0, 2), (1, 2)), cosines, strict=True):
        metric[i, j] = metric[j, i] = (a, b, c)[i] * (a, b, c)[j] * cosine
    found = []
    for entries in itertools.product((-1, 0, 1), repeat=9):
        rotation = np.array(entries).reshape(3, 3)
        if np.allclose(rotation.T @ metric @ rotation, metric, atol=1e-6):
            found.append(rotation)
    return found


class _Points:
    """Generic points of every position of a group, as integers."""

    def __init__(self, group: int, tables: SymmetryTables) -> None:
        rng = np.random.default_rng(group)
        rows = tables.position_rows(group)
        self.orbits = []
        for row in rows:
            first = tables.first_rotation[row].astype(np.int64)
            point = first @ rng.integers(1, _MODULUS, 3)
            point = point + tables.first_translation[row].astype(np.int64) * _UNIT
            part = slice(tables.orbit_offset[row], tables.orbit_offset[row + 1])
            turned = tables.orbit_rotation[part].astype(np.int64) @ point
            shift = tables.orbit_translation[part].astype(np.int64) * _UNIT
            self.orbits.append((turned + shift) % _MODULUS)
        self.is_free = tables.degrees_of_freedom[rows.start : rows.stop] > 0
        names = [_names(orbit) for orbit in self.orbits]
        owner = np.repeat(np.arange(len(rows)), [len(part) for part in names])
        order = np.argsort(np.concatenate(names))
        self.names = np.concatenate(names)[order]
        self.owner = owner[order]

    def image(self, rotation: np.ndarray, shift: np.ndarray, position: int) -> int:
        """Positions that a mapping carries one to, as bits; 0 if to none of them."""
        moved = (self.orbits[position] @ rotation.T + shift) % _MODULUS
        names = _names(moved)
        place = np.minimum(np.searchsorted(self.names, names), len(self.names) - 1)
        if (self.names[place] != names).any():
            return 0
        owners = np.unique(self.owner[place])
        if self.is_free[position] and (owners != position).any():
            return 0
        return int(sum(1 << int(owner) for owner in owners))

    def shifts(self, rotation: np.ndarray) -> np.ndarray:
        """Translations that could make a mapping of a rotation, in integers."""
        found = []
        both = list(zip(self.orbits, self.is_free, strict=True))
        fixed = [orbit for orbit, is_free in both if not is_free]
        for orbit, is_free in both:
            targets = orbit if is_free else np.concatenate(fixed)
            found.append((targets - rotation @ orbit[0]) % _MODULUS)
        shifts = np.unique(np.concatenate(found), axis=0)
        # All others depend on coordinates, and so fit one orbit only.
        kept: np.ndarray = shifts[(shifts % _UNIT == 0).all(axis=1)]
        return kept


def _names(points: np.ndarray) -> np.ndarray:
    """One integer for each point."""
    x, y, z = points.T
    name: np.ndarray = (x * _MODULUS + y) * _MODULUS + z
    return name


def list_mappings(group: int) -> np.ndarray:
    """What each extra mapping of a group does to each position, one row each.

    Entry w of a row holds the positions, as bits, that position w is carried to; 0
    says that the mapping is none of a crystal with an atom on w.
    """
    tables = load_symmetry_tables()
    points = _Points(group, tables)
    rotations, translations = tables.operators(group)
    own = {
        (r.tobytes(), (t % TRANSLATION_DENOMINATOR).tobytes())
        for r, t in zip(rotations, translations, strict=True)
    }
    polar = rotations.astype(np.int64).sum(axis=0)
    unique = np.unique(rotations.reshape(-1, 9), axis=0).reshape(-1, 3, 3)
    seen: set[bytes] = set()
    found: set[tuple[int, ...]] = set()
    for rotation in _holohedry(int(tables.lattice_type[group])):
        # Mappings g and h g, with h of the group, do the same to positions.
        if rotation.astype(np.int8).tobytes() in seen:
            continue
        seen |= {(r @ rotation).astype(np.int8).tobytes() for r in unique}
        # What turns a polar direction depends on coordinates: see the module's text.
        if (rotation @ polar != polar).any():
            continue
        for shift in points.shifts(rotation):
            units = (shift // _UNIT).astype(np.int8)
            if (rotation.astype(np.int8).tobytes(), units.tobytes()) in own:
                continue
            row = [points.image(rotation, shift, w) for w in range(len(points.orbits))]
            if any(row):
                found.add((*row, *[0] * (MOST_POSITIONS - len(row))))
    return np.array(sorted(found), np.uint32).reshape(-1, MOST_POSITIONS)


def generic_crystal(
    group: int, wyckoff: list[int], elements: list[str], rng: np.random.Generator
) -> Crystal:
    """A crystal with random coordinates in a cell that has nothing special.

    Coordinates keep away from 0 and 1/4, lest one be special by accident.
    """
    tables = load_symmetry_tables()
    first = tables.position_rows(group).start
    sites = []
    volume = 0.0
    for index, element in zip(wyckoff, elements, strict=True):
        rotation = tables.first_rotation[first + index].astype(np.float64)
        shift = tables.first_translation[first + index] / TRANSLATION_DENOMINATOR
        x, y, z = (rotation @ rng.uniform(0.03, 0.2, 3) + shift).tolist()
        sites.append(Site(element, WYCKOFF_LETTERS[index], (x, y, z)))
        volume += 20.0 * tables.multiplicity[first + index]
    cell = GENERIC_CELLS[tables.lattice_type[group]]
    scale = (volume / Crystal(group, cell, ()).volume) ** (1 / 3)
    a, b, c = (scale * length for length in cell[:3])
    return Crystal(group, (a, b, c, *cell[3:]), tuple(sites))


def _is_higher(group: int, wyckoff: list[int], elements: list[str]) -> bool:
    """Whether two crystals of an occupation both have more symmetry."""
    rng = np.random.default_rng([group, *wyckoff])
    found: list[bool] = []
    while len(found) < 2:
        crystal = generic_crystal(group, wyckoff, elements, rng)
        number, is_smaller = find_group(crystal)
        # spglib gives up on a few cells.
        found += [number != group or is_smaller] if number else []
    return all(found)


def small_polar_crystals() -> dict[str, np.ndarray]:
    """Crystals of one and two orbits in polar groups with more symmetry."""
    tables = load_symmetry_tables()
    n_rows = len(tables.multiplicity)
    one = np.zeros(n_rows, np.bool_)
    pairs = {"same": np.zeros(n_rows, np.uint32), "other": np.zeros(n_rows, np.uint32)}
    for group in range(1, 231):
        if not tables.operators(group)[0].astype(np.int64).sum(axis=0).any():
            continue
        rows = tables.position_rows(group)
        for w in range(len(rows)):
            one[rows[w]] = _is_higher(group, [w], ["Fe"])
            for v in range(w + 1):
                for name, elements in (("same", ["Fe", "Fe"]), ("other", ["Fe", "O"])):
                    if _is_higher(group, [w, v], elements):
                        pairs[name][rows[w]] |= np.uint32(1 << v)
                        pairs[name][rows[v]] |= np.uint32(1 << w)
    return {
        "polar_one": one,
        "polar_same": pairs["same"],
        "polar_other": pairs["other"],
    }


def build_tables() -> dict[str, np.ndarray]:
    """All tables, as ``HigherSymmetry`` names them."""
    mappings = [np.zeros((0, MOST_POSITIONS), np.uint32)]
    mappings += [list_mappings(group) for group in range(1, 231)]
    arrays: dict[str, Any] = {
        "mapping_offset": np.cumsum([0, *map(len, mappings)]).astype(np.int32),
        "mapping": np.concatenate(mappings),
    }
    return arrays | small_polar_crystals()


def main() -> None:
    """Write the tables beside this module."""
    np.savez_compressed(PATH, **build_tables())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
