"""The kernel behind ``draw_crystals``: one crystal after the other, no objects."""

from typing import NamedTuple

import numpy as np
from numba import njit

from pxrdbench.crystal.generator.cell import draw_lattice, draw_volume_factor
from pxrdbench.crystal.prior.sampling_tables import SamplingTables
from pxrdbench.crystal.rng import (
    STATE_SIZE,
    STREAM_CRYSTAL,
    Integer,
    next_choice,
    next_uniform,
    seed_state,
)
from pxrdbench.crystal.symmetry.higher import (
    HigherSymmetry,
    KernelSymmetry,
    has_higher_symmetry,
)

# Why a draw was thrown away; rows of the report.
(
    ACCEPTED,
    TOO_MANY_SITES,
    ATOMS_TOO_LARGE,
    VOLUME_TOO_LARGE,
    EDGE_TOO_SHORT,
    HIGHER_SYMMETRY,
) = range(6)
N_REASONS = 6

# Collisions on positions without freedom before an element is given up, failures
# before the number of elements is drawn again, and smallest volume of an atom [Å³]:
# as in the reference implementation of Schopmans et al. (2023).
_MOST_COLLISIONS = 50
_MOST_FAILURES = 20
_SMALLEST_ATOM = 0.75
# A group that fails this often has no crystal that fits.
_MOST_TRIES = 100_000
# No conventional cell of a crystal has a shorter edge [Å] (beryllium: 2.29), and a
# much shorter one would leave a pattern without reflections.
_SHORTEST_EDGE = 2.0


class DrawOptions(NamedTuple):
    """What to draw, and what to throw away.

    Attributes:
        first: First crystal of the batch to draw.
        max_sites: Most sites of a crystal.
        max_volume: Of a conventional cell [Å³].
        is_paper: Whether the paper preset holds.
        is_naive: Whether to keep what would be thrown away, but for max_sites.
    """

    first: int
    max_sites: int
    max_volume: float
    is_paper: bool
    is_naive: bool


class TypeTemplate(NamedTuple):
    """Positions that all crystals hold, for crystals of one structure type.

    Attributes:
        row: Row of the space group in the prior's tables; -1 draws the group, the
            elements and positions.
        slot: Slot of each site: sites of one slot hold one element, others others.
        wyckoff: Wyckoff index of each site.
        element: Atomic number of each slot; 0 where it is to be drawn.
    """

    row: int
    slot: np.ndarray
    wyckoff: np.ndarray
    element: np.ndarray


@njit(cache=True, nogil=True)
def _draw_sites(
    state: np.ndarray,
    tables: SamplingTables,
    symmetry: KernelSymmetry,
    row: Integer,
    n_elements: Integer,
    options: DrawOptions,
    number: np.ndarray,
    wyckoff: np.ndarray,
) -> Integer:
    """Draw elements and their positions; the number of sites, or -1: too many."""
    space_group = tables.space_group[row]
    first = symmetry.position_offset[space_group]
    last = symmetry.position_offset[space_group + 1]
    n_sites = 0
    taken = np.uint64(0)
    drawn = np.zeros(128, np.bool_)
    for index in range(n_elements):
        element = next_choice(state, tables.element[row], 0, tables.element.shape[1])
        while drawn[element]:
            element = next_choice(
                state, tables.element[row], 0, tables.element.shape[1]
            )
        drawn[element] = True
        repetitions = 1 + next_choice(
            state, tables.repetitions[row], 0, tables.repetitions.shape[1]
        )
        if options.is_paper and index == n_elements - 1:
            repetitions = 1
        # An element that the group's crystals do not hold chooses as all others do.
        has_own = (
            tables.wyckoff_element.shape[0] > 0
            and tables.wyckoff_element[element, last - 1] > 0.0
        )
        for _ in range(repetitions):
            position = -1
            for _ in range(_MOST_COLLISIONS + 1):
                if has_own:
                    position = next_choice(
                        state, tables.wyckoff_element[element], first, last
                    )
                else:
                    position = next_choice(state, tables.wyckoff, first, last)
                bit = np.uint64(1) << np.uint64(position)
                if symmetry.degrees_of_freedom[first + position] > 0:
                    break
                if taken & bit == np.uint64(0):
                    taken |= bit
                    break
                position = -1
            if position < 0:
                break
            if n_sites == options.max_sites:
                return -1
            number[n_sites] = element
            wyckoff[n_sites] = position
            n_sites += 1
    return n_sites


@njit(cache=True, nogil=True)
def _fill_slots(
    state: np.ndarray,
    tables: SamplingTables,
    template: TypeTemplate,
    number: np.ndarray,
    wyckoff: np.ndarray,
) -> Integer:
    """Draw the elements of a structure type; the number of its sites."""
    drawn = np.zeros(128, np.bool_)
    held = np.zeros(len(template.element), np.int64)
    for slot in range(len(held)):
        held[slot] = template.element[slot]
        drawn[held[slot]] = True
    for slot in range(len(held)):
        if held[slot] > 0:
            continue
        weights = tables.element[template.row]
        element = next_choice(state, weights, 0, len(weights))
        while drawn[element]:
            element = next_choice(state, weights, 0, len(weights))
        drawn[element] = True
        held[slot] = element
    for site in range(len(template.slot)):
        number[site] = held[template.slot[site]]
        wyckoff[site] = template.wyckoff[site]
    return len(template.slot)


@njit(cache=True, nogil=True)
def place_site(
    state: np.ndarray, symmetry: KernelSymmetry, row: Integer, fract: np.ndarray
) -> None:
    """Draw the free coordinates of a position uniformly.

    Args:
        state: Of the generator.
        symmetry: Of all groups.
        row: Of the position, in the symmetry tables.
        fract: Filled: fractional coordinates on the position's first triplet.
    """
    point = np.zeros(3)
    for axis in range(3):
        if symmetry.uses_coordinate[row, axis]:
            point[axis] = next_uniform(state)
    for axis in range(3):
        fract[axis] = symmetry.first_translation[row, axis] + (
            symmetry.first_rotation[row, axis, 0] * point[0]
            + symmetry.first_rotation[row, axis, 1] * point[1]
            + symmetry.first_rotation[row, axis, 2] * point[2]
        )


@njit(cache=True, nogil=True)
def _draw_one(
    state: np.ndarray,
    tables: SamplingTables,
    symmetry: KernelSymmetry,
    higher: HigherSymmetry,
    row: Integer,
    options: DrawOptions,
    template: TypeTemplate,
    lattice: np.ndarray,
    fract: np.ndarray,
    number: np.ndarray,
    wyckoff: np.ndarray,
    report: np.ndarray,
) -> Integer:
    """Draw one crystal of a group; the number of its sites, or -1: none fits."""
    space_group = tables.space_group[row]
    first = symmetry.position_offset[space_group]
    n_elements = 0
    for attempt in range(_MOST_TRIES):
        if template.row >= 0:
            n_sites = _fill_slots(state, tables, template, number, wyckoff)
        else:
            if attempt % _MOST_FAILURES == 0:
                n_elements = 1 + next_choice(
                    state, tables.n_elements[row], 0, tables.n_elements.shape[1]
                )
            n_sites = _draw_sites(
                state, tables, symmetry, row, n_elements, options, number, wyckoff
            )
        if n_sites < 0:
            report[TOO_MANY_SITES, space_group] += 1
            continue
        is_strict = not options.is_naive
        if is_strict and has_higher_symmetry(
            space_group, number[:n_sites], wyckoff[:n_sites], symmetry, higher
        ):
            report[HIGHER_SYMMETRY, space_group] += 1
            continue
        n_atoms = 0.0
        atoms = 0.0
        for site in range(n_sites):
            multiplicity = symmetry.multiplicity[first + wyckoff[site]]
            n_atoms += multiplicity
            atoms += multiplicity * symmetry.atomic_volume[number[site]]
        most_atoms = tables.volume_atomic[tables.volume_offset[row + 1] - 1]
        if is_strict and atoms > most_atoms:
            report[ATOMS_TOO_LARGE, space_group] += 1
            continue
        volume = atoms * draw_volume_factor(state, tables, row, atoms)
        volume = max(volume, _SMALLEST_ATOM * n_atoms)
        if is_strict and volume > options.max_volume:
            report[VOLUME_TOO_LARGE, space_group] += 1
            continue
        kind = symmetry.lattice_type[space_group]
        draw_lattice(state, tables, kind, volume, options.is_paper, lattice)
        if is_strict and lattice[:3].min() < _SHORTEST_EDGE:
            report[EDGE_TOO_SHORT, space_group] += 1
            continue
        for site in range(n_sites):
            place_site(state, symmetry, first + wyckoff[site], fract[site])
        report[ACCEPTED, space_group] += 1
        return int(n_sites)
    return -1


@njit(cache=True, nogil=True)
def draw_block(
    tables: SamplingTables,
    symmetry: KernelSymmetry,
    higher: HigherSymmetry,
    key: tuple[Integer, Integer],
    options: DrawOptions,
    template: TypeTemplate,
    lattice: np.ndarray,
    space_group: np.ndarray,
    site_offset: np.ndarray,
    sites: tuple[np.ndarray, np.ndarray, np.ndarray],
    report: np.ndarray,
) -> Integer:
    """Draw crystals until all are done or the room for sites may not last.

    Args:
        tables: Of the prior.
        symmetry: Of all groups.
        higher: Occupations that give more symmetry.
        key: Seed, and index of the first sample of the batch.
        options: Where to begin, and what to throw away.
        template: The structure type of all crystals, if they have one.
        lattice: Filled: one row a crystal.
        space_group: Filled.
        site_offset: Filled after the first crystal drawn.
        sites: Fractional coordinates, atomic numbers and Wyckoff indices, filled
            from the first row on.
        report: Counts by reason and group, increased.

    Returns:
        The crystal to go on with; -1 - i where crystal i cannot be drawn.
    """
    seed, start = key
    fract, number, wyckoff = sites
    state = np.zeros(STATE_SIZE, np.uint64)
    used = 0
    for index in range(options.first, len(space_group)):
        if used + options.max_sites > len(number):
            return index
        seed_state(state, seed, STREAM_CRYSTAL, start + np.uint64(index), 0)
        row = template.row
        if row < 0:
            row = next_choice(state, tables.group, 0, len(tables.group))
        space_group[index] = tables.space_group[row]
        n_sites = _draw_one(
            state,
            tables,
            symmetry,
            higher,
            row,
            options,
            template,
            lattice[index],
            fract[used:],
            number[used:],
            wyckoff[used:],
            report,
        )
        if n_sites < 0:
            return -1 - index
        used += n_sites
        site_offset[index + 1] = site_offset[index] + n_sites
    return len(space_group)
