import numpy as np
import pytest

from pxrdbench.crystal.build.higher_symmetry import generic_crystal, list_mappings
from pxrdbench.crystal.generator.check import find_group
from pxrdbench.crystal.symmetry.higher import (
    has_higher_symmetry,
    kernel_symmetry,
    load_higher_symmetry,
)
from pxrdbench.crystal.symmetry.tables import find_wyckoff_index, load_symmetry_tables

NUMBERS = {"Fe": 26, "O": 8, "Na": 11}


def is_higher(group, occupation):
    """What the tables say of an occupation like "Fe:a Fe:b O:c"."""
    pairs = [pair.split(":") for pair in occupation.split()]
    return has_higher_symmetry(
        group,
        np.array([NUMBERS[element] for element, _ in pairs], np.int16),
        np.array([find_wyckoff_index(group, x) for _, x in pairs], np.int16),
        kernel_symmetry(),
        load_higher_symmetry(),
    )


@pytest.mark.parametrize(
    ("group", "occupation", "expected"),
    [
        (225, "Fe:a O:b", False),  # rock salt
        (225, "Fe:a Fe:b", True),  # primitive cubic
        (216, "Fe:a O:c", False),  # zinc blende
        (216, "Fe:a Fe:c", True),  # diamond
        (216, "Fe:a Fe:c O:e", False),
        (227, "Fe:a", False),  # diamond, in its own group
        (221, "Fe:a O:b", False),  # caesium chloride
        (221, "Fe:a Fe:b", True),  # body-centred
        (221, "Fe:a Fe:b O:c", False),
        (1, "Fe:a", True),
        (1, "Fe:a Fe:a", True),  # an inversion halfway
        (1, "Fe:a O:a", False),
        (1, "Fe:a Fe:a Fe:a", False),
        (2, "Fe:i", False),
        (2, "Fe:a Fe:b", True),  # a finer lattice
        (2, "Fe:a O:b", False),
        (166, "Fe:a Fe:b", True),  # the same group, half the cell
        (2, "Fe:a Fe:b O:i", False),
    ],
)
def test_known_crystals(group, occupation, expected):
    assert is_higher(group, occupation) == expected


@pytest.mark.parametrize("group", range(1, 231))
def test_spglib_agrees(group):
    """Small crystals on special positions, where most of the trouble is."""
    rng = np.random.default_rng(group)
    n_positions = len(load_symmetry_tables().position_rows(group))
    checked = 0
    while checked < 4:
        n_sites = int(rng.integers(1, 5))
        # Low indices are special positions; those without freedom occur once.
        wyckoff = np.unique((rng.random(n_sites) ** 2 * n_positions).astype(int))
        elements = rng.choice(["Fe", "O"], len(wyckoff)).tolist()
        crystal = generic_crystal(group, wyckoff.tolist(), elements, rng)
        number, is_smaller = find_group(crystal, symprec=1e-5)
        # spglib gives up on a few.
        if not number:
            continue
        found = has_higher_symmetry(
            group,
            np.array([NUMBERS[element] for element in elements], np.int16),
            wyckoff.astype(np.int16),
            kernel_symmetry(),
            load_higher_symmetry(),
        )
        expected = number != group or is_smaller
        assert found == expected, (wyckoff, elements, number)
        checked += 1


@pytest.mark.parametrize("group", [16, 47, 99, 166, 225])
def test_tables_are_what_the_build_makes(group):
    tables = load_higher_symmetry()
    rows = slice(tables.mapping_offset[group], tables.mapping_offset[group + 1])
    assert np.array_equal(list_mappings(group), tables.mapping[rows])
