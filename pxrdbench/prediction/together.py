"""Groups that a powder pattern does not tell apart, and what would decide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import (
    SymmetryTables,
    crystal_system,
    load_symmetry_tables,
    space_group_symbol,
)

# Sets that are shown, and the share below which a group is not named in one.
_SETS = 5
_LEAST = 0.005


@dataclass(frozen=True)
class GroupSet:
    """Groups with the same absences.

    Attributes:
        extinction_symbol: Theirs, with the crystal family.
        space_groups: Those that are likely enough, the likeliest first.
        probability: Of all together.
        others: Groups of the same absences that are less likely.
        deciding: What would tell them apart; one sentence each.
    """

    extinction_symbol: str
    space_groups: tuple[int, ...]
    probability: float
    others: tuple[int, ...]
    deciding: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(f"{space_group_symbol(g)} ({g})" for g in self.space_groups)
        return f"{self.extinction_symbol}  {100 * self.probability:.0f} %: {names}"


def family(space_group: int) -> str:
    """Crystal family: trigonal and hexagonal groups have absences in common."""
    system = crystal_system(space_group)
    return "hexagonal" if system == "trigonal" else system


def indistinguishable(space_group: int) -> tuple[int, ...]:
    """All groups with the same absences as one, itself included."""
    tables = load_symmetry_tables()
    same = tables.extinction_group == tables.extinction_group[space_group]
    return tuple(int(g) for g in np.flatnonzero(same) if g)


def find_sets(groups: Float64[np.ndarray, " 231"]) -> tuple[GroupSet, ...]:
    """Gather groups by their absences, the likeliest set first.

    Args:
        groups: Probability of each group 0-230.
    """
    tables, symbols = load_symmetry_tables(), load_extinction_symbols()
    totals = np.bincount(tables.extinction_group[1:].astype(np.int64), groups[1:])
    found = []
    for key in np.argsort(-totals, kind="stable")[:_SETS]:
        members = 1 + np.flatnonzero(tables.extinction_group[1:] == key)
        order = members[np.argsort(-groups[members], kind="stable")]
        share = float(totals[key])
        if share < _LEAST:
            break
        least = _LEAST * share
        named = tuple(int(g) for g in order if groups[g] >= max(least, 1e-4))
        if not named:
            continue
        found.append(
            GroupSet(
                extinction_symbol=f"{symbols[named[0]]} ({family(named[0])})",
                space_groups=named,
                probability=share,
                others=tuple(int(g) for g in order if int(g) not in named),
                deciding=_deciding(named, tables),
            )
        )
    return tuple(found)


def _deciding(groups: Sequence[int], tables: SymmetryTables) -> tuple[str, ...]:
    """What tells groups of the same absences apart."""
    if len(groups) < 2:
        return ()
    told = []
    mirrored = [g for g in groups if tables.enantiomorph[g] in groups]
    if mirrored:
        names = " and ".join(space_group_symbol(g) for g in mirrored[:2])
        told.append(
            f"{names} are mirror images: no powder pattern decides, anomalous "
            "scattering of a single crystal does."
        )
    rest = [g for g in groups if not 0 < tables.enantiomorph[g] < g]
    if len({int(tables.laue_class[g]) for g in rest}) > 1:
        told.append(
            "They differ in Laue class: a single crystal, or electron diffraction, "
            "shows which lines that overlap here are equal."
        )
    if len({bool(tables.is_centrosymmetric[g]) for g in rest}) > 1:
        told.append(
            "They differ by a centre of symmetry: second-harmonic generation or "
            "piezoelectricity shows that it is missing, convergent-beam electron "
            "diffraction either way."
        )
    elif len(rest) > 1 and not told:
        told.append(
            "They differ in where their atoms may be: a structure that refines well "
            "decides."
        )
    return tuple(told)
