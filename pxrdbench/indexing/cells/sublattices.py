"""Lattices of lower symmetry that a lattice's metric may stand for.

A crystal's lattice may by chance have more symmetry than the crystal: a monoclinic
crystal with β = 90° has an orthorhombic metric. For each Bravais lattice of a metric,
the table says which lower ones it holds and how their axes follow from its own.
"""

from fractions import Fraction
from functools import cache

import numpy as np
from jaxtyping import Float64

_H, _T = Fraction(1, 2), Fraction(1, 3)

# (higher, lower): new axes a', b', c' in the old ones. One of each kind that the
# symmetry of the higher lattice makes equivalent; orthorhombic to monoclinic all three.
_STEPS: tuple[tuple[str, str, tuple[tuple[Fraction | int, ...], ...]], ...] = (
    ("cP", "tP", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("cP", "hR", ((1, -1, 0), (0, 1, -1), (1, 1, 1))),
    ("cI", "tI", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("cI", "hR", ((-1, 1, 0), (0, -1, 1), (_H, _H, _H))),
    ("cF", "tI", ((_H, -_H, 0), (_H, _H, 0), (0, 0, 1))),
    ("cF", "hR", ((-_H, _H, 0), (0, -_H, _H), (1, 1, 1))),
    ("tP", "oP", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("tP", "oC", ((1, -1, 0), (1, 1, 0), (0, 0, 1))),
    ("tI", "oI", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("tI", "oF", ((1, -1, 0), (1, 1, 0), (0, 0, 1))),
    ("hP", "oC", ((1, 0, 0), (1, 2, 0), (0, 0, 1))),
    ("hR", "mC", ((_T, 2 * _T, 2 * _T), (1, 0, 0), (-_T, -2 * _T, _T))),
    ("oP", "mP", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("oP", "mP", ((0, 0, 1), (1, 0, 0), (0, 1, 0))),
    ("oP", "mP", ((0, 1, 0), (0, 0, 1), (1, 0, 0))),
    ("oC", "mC", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("oC", "mC", ((0, -1, 0), (1, 0, 0), (0, 0, 1))),
    ("oC", "mP", ((_H, -_H, 0), (0, 0, 1), (_H, _H, 0))),
    ("oI", "mC", ((1, 0, 1), (0, 1, 0), (0, 0, 1))),
    ("oI", "mC", ((1, 1, 0), (0, 0, 1), (0, 1, 0))),
    ("oI", "mC", ((0, 1, 1), (1, 0, 0), (0, 0, 1))),
    ("oF", "mC", ((1, 0, 0), (0, 1, 0), (_H, 0, _H))),
    ("oF", "mC", ((1, 0, 0), (0, 0, 1), (_H, _H, 0))),
    ("oF", "mC", ((0, 1, 0), (1, 0, 0), (0, _H, _H))),
    ("mP", "aP", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ("mC", "aP", ((_H, _H, 0), (0, 1, 0), (0, 0, 1))),
)  # fmt: skip


@cache
def lower_lattices(
    bravais_lattice: str,
) -> tuple[tuple[str, int, Float64[np.ndarray, "3 3"]], ...]:
    """Bravais lattices that a metric of the given one may stand for, itself first.

    Returns:
        Name; how many coincidences of the metric it takes; S of (a', b', c') =
        (a, b, c) S, so that h' = h S. Each lattice is reached by the shortest ways;
        ways of equal length are all kept.
    """
    found = [(bravais_lattice, 0, np.eye(3))]
    shortest = {bravais_lattice: 0}
    place = 0
    while place < len(found):
        name, depth, change = found[place]
        place += 1
        for higher, lower, rows in _STEPS:
            if higher != name or shortest.get(lower, depth + 1) < depth + 1:
                continue
            step = np.array([[float(x) for x in row] for row in rows]).T
            shortest[lower] = depth + 1
            whole = change @ step
            # A triclinic lattice forbids nothing, whatever its axes.
            if not any(
                n == lower and (n == "aP" or np.allclose(np.abs(c), np.abs(whole)))
                for n, _, c in found
            ):
                found.append((lower, depth + 1, whole))
    return tuple(found)
