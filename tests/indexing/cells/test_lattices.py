"""Lattices against gemmi, spglib and pymatgen, and against their own definitions."""

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from pxrdbench.errors import CrystalError
from pxrdbench.indexing.cells.lattices import (
    BRAVAIS_LATTICES,
    TWO_FOLDS,
    cell_parameters,
    lattices_of,
    metric,
    primitive_cell,
    reduce_cell,
    same_lattice,
    transform,
)

CONVENTIONAL = {
    "aP": (5.1, 6.3, 7.7, 83.0, 97.0, 105.0),
    "mP": (5.1, 6.3, 7.7, 90.0, 104.0, 90.0),
    "mC": (9.1, 6.3, 7.7, 90.0, 104.0, 90.0),
    "oP": (5.1, 6.3, 7.7, 90.0, 90.0, 90.0),
    "oC": (5.1, 7.3, 6.2, 90.0, 90.0, 90.0),
    "oI": (5.1, 6.3, 7.7, 90.0, 90.0, 90.0),
    "oF": (5.1, 6.3, 7.7, 90.0, 90.0, 90.0),
    "tP": (5.1, 5.1, 7.7, 90.0, 90.0, 90.0),
    "tI": (5.1, 5.1, 7.7, 90.0, 90.0, 90.0),
    "hR": (5.1, 5.1, 12.7, 90.0, 90.0, 120.0),
    "hP": (5.1, 5.1, 7.7, 90.0, 90.0, 120.0),
    "cP": (5.1, 5.1, 5.1, 90.0, 90.0, 90.0),
    "cI": (5.1, 5.1, 5.1, 90.0, 90.0, 90.0),
    "cF": (5.1, 5.1, 5.1, 90.0, 90.0, 90.0),
}


def random_cell(rng):
    while True:
        cell = np.concatenate([rng.uniform(3, 15, 3), rng.uniform(50, 130, 3)])
        if np.linalg.det(metric(cell)) > 0.05 * np.prod(cell[:3]) ** 2:
            return cell


def unimodular(rng):
    t = np.eye(3, dtype=np.int64)
    for _ in range(6):
        i, j = rng.permutation(3)[:2]
        t[i] += rng.integers(-2, 3) * t[j]
    return t


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_reduced_cell_does_not_depend_on_the_basis(seed):
    rng = np.random.default_rng(seed)
    cell = random_cell(rng)
    other = cell_parameters(transform(unimodular(rng), metric(cell)))
    np.testing.assert_allclose(reduce_cell(other), reduce_cell(cell), atol=1e-5)


def test_niggli_reduction_agrees_with_spglib_and_gemmi():
    rng = np.random.default_rng(0)
    for _ in range(100):
        cell = random_cell(rng)
        ours = np.array(reduce_cell(cell))
        basis = np.linalg.cholesky(metric(cell))
        theirs = spglib.niggli_reduce(basis, eps=1e-6)
        np.testing.assert_allclose(ours, cell_parameters(theirs @ theirs.T), atol=1e-4)
        vector = gemmi.GruberVector(gemmi.UnitCell(*cell), "P")
        vector.niggli_reduce(epsilon=1e-9)
        np.testing.assert_allclose(ours, vector.cell_parameters(), atol=1e-4)


def test_there_are_81_two_fold_rotations_of_reduced_cells():
    assert len(TWO_FOLDS) == 81  # Lebedev, Vagin & Murshudov (2006)


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_each_bravais_lattice_is_found_with_its_cell(lattice):
    rng = np.random.default_rng(3)
    conventional = CONVENTIONAL[lattice]
    primitive = primitive_cell(conventional, lattice)
    skewed = cell_parameters(transform(unimodular(rng), metric(np.array(primitive))))
    # a change far below the tolerance leaves it
    skewed = skewed * (1 + 1e-4 * rng.uniform(-1, 1, 6))
    first = lattices_of(skewed, 0.003)[0]
    assert first.bravais_lattice == lattice
    if lattice != "aP":
        np.testing.assert_allclose(first.conventional, conventional, rtol=2e-3)
    assert first.strain < 3e-3
    moved = transform(first.transformation, metric(skewed))
    np.testing.assert_allclose(cell_parameters(moved), first.conventional, rtol=1e-2)


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_primitive_cell_is_that_of_spglib(lattice):
    cell = CONVENTIONAL[lattice]
    points = {
        "P": [[0, 0, 0]],
        "C": [[0, 0, 0], [0.5, 0.5, 0]],
        "I": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "F": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
        "R": [[0, 0, 0], [2 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 2 / 3]],
    }[lattice[1]]
    basis = np.linalg.cholesky(metric(np.array(cell)))
    found = spglib.find_primitive((basis, points, [1] * len(points)), symprec=1e-4)[0]
    theirs = reduce_cell(cell_parameters(found @ found.T))
    np.testing.assert_allclose(primitive_cell(cell, lattice), theirs, atol=1e-5)


def test_a_monoclinic_cell_with_a_right_angle_can_be_orthorhombic_and_monoclinic():
    names = [c.bravais_lattice for c in lattices_of((5, 6, 7, 90, 90.1, 90))]
    assert names == ["oP", "mP", "mP", "mP", "aP"]


def test_strain_measures_how_far_a_metric_is_from_a_symmetry():
    choices = lattices_of((5.0, 5.02, 7.0, 90, 90, 90), 0.01)
    square = next(c for c in choices if c.bravais_lattice == "tP")
    # two lengths off by 0.2 % each, in opposite directions
    assert square.strain == pytest.approx(np.sqrt(2) * 0.002, rel=0.02)
    assert all(c.bravais_lattice != "tP" for c in lattices_of((5, 5.05, 7, 90, 90, 90)))


def test_beta_is_obtuse_and_the_transformation_right_handed():
    rng = np.random.default_rng(5)
    for lattice in BRAVAIS_LATTICES:
        primitive = primitive_cell(CONVENTIONAL[lattice], lattice)
        skewed = cell_parameters(
            transform(unimodular(rng), metric(np.array(primitive)))
        )
        for choice in lattices_of(skewed):
            if choice.bravais_lattice[0] == "m":
                assert choice.conventional[4] >= 90.0 - 1e-9
            det = round(np.linalg.det(choice.transformation))
            points = {"P": 1, "C": 2, "I": 2, "F": 4, "R": 3}
            handed = det if choice.bravais_lattice != "aP" else abs(det)
            assert handed == points[choice.bravais_lattice[1]]


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-4, 2e-3, 6e-3, 2e-2]))
@settings(max_examples=60, deadline=None)
def test_the_match_rule_is_that_of_pymatgen(seed, size):
    rng = np.random.default_rng(seed)
    cell = np.array(reduce_cell(random_cell(rng)))
    moved = cell * (1 + size * rng.uniform(-1, 1, 6))
    if np.linalg.det(metric(moved)) <= 0:
        return
    moved = cell_parameters(transform(unimodular(rng), metric(moved)))
    moved = np.array(reduce_cell(moved))
    true, candidate = Lattice.from_parameters(*cell), Lattice.from_parameters(*moved)
    # On the edge of the tolerances it is chance on which side one is.
    expected = {
        any(
            abs(abs(np.linalg.det(mapping[2])) - 1) < 1e-6
            for mapping in candidate.find_all_mappings(
                true, ltol=0.005 * edge, atol=0.5 * edge
            )
        )
        for edge in (0.98, 1.02)
    }
    assert same_lattice(cell, moved) in expected


def test_a_supercell_does_not_match():
    cell = (5.1, 6.3, 7.7, 83.0, 97.0, 105.0)
    assert same_lattice(cell, (5.1, 6.3, 7.7, 83.0, 97.0, 105.0))
    assert not same_lattice(cell, (10.2, 6.3, 7.7, 83.0, 97.0, 105.0))
    # both a long axis and a short one: hexagonal polytypes
    assert same_lattice((3.4, 3.4, 80.0, 90, 90, 120), (3.4, 3.4, 80.1, 90, 90, 120))


@pytest.mark.parametrize(
    "cell", [(1, 2, 3), (1, 1, 1, 90, 90, 200), (5, 5, 5, 10, 90, 170), (0,) * 6]
)
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises(CrystalError):
        reduce_cell(cell)
    with pytest.raises(CrystalError):
        lattices_of(cell)


def test_an_unknown_centring_is_refused():
    with pytest.raises(CrystalError, match="unknown centring"):
        primitive_cell((5, 5, 5, 90, 90, 90), "H")
