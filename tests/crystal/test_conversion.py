import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Element, Lattice, Species, Structure

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.errors import CrystalError


def is_same(first, second):
    """Whether two structures are one crystal: same atoms, same distances."""
    matcher = StructureMatcher(scale=False, ltol=1e-3, stol=1e-3, angle_tol=0.05)
    return matcher.fit(first, second)


@pytest.fixture(scope="module")
def silicon():
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    both = np.concatenate([corners, corners + 0.25])
    return Structure(Lattice.cubic(5.431), ["Si"] * 8, both)


def test_origin_choice_two(silicon):
    """Diamond stands on 8a (1/8, 1/8, 1/8) then, not on the origin."""
    for structure in (silicon, silicon.get_primitive_structure()):
        crystal = Crystal.from_pymatgen(structure)
        assert crystal.space_group == 227
        assert crystal.lattice == pytest.approx((5.431,) * 3 + (90.0,) * 3)
        (site,) = crystal.sites
        assert site.wyckoff_letter in "ab"
        assert site.fract in ((0.125,) * 3, (0.375,) * 3)
        assert len(crystal.to_pymatgen()) == 8
        assert is_same(crystal.to_pymatgen(), silicon)


@settings(max_examples=25)
@given(index=st.integers(0, 10**6), data=st.data())
def test_any_cell_gives_the_crystal_back(index, data):
    """A drawn crystal, moved, turned, cut to its primitive cell or repeated."""
    crystal = draw_crystals(load_prior("open-v0"), 17, index, 1)[0]
    structure = crystal.to_pymatgen()
    if len(structure) > 60 or not structure.is_valid(0.1):
        return
    shift = data.draw(st.tuples(*[st.floats(0, 1)] * 3))
    other = structure.copy()
    other.translate_sites(list(range(len(other))), shift)
    if data.draw(st.booleans()):
        other = Structure(
            Lattice(other.lattice.matrix @ rotation(data.draw(st.floats(0, 6)))),
            other.species,
            other.frac_coords,
        )
    if data.draw(st.booleans()):
        other = other.get_primitive_structure(tolerance=1e-3)
    elif data.draw(st.booleans()):
        other = other.make_supercell([1, 2, 1], in_place=False)
    found = Crystal.from_pymatgen(other, symprec=1e-3)
    assert found.space_group == crystal.space_group
    assert found.volume == pytest.approx(crystal.volume, rel=1e-6)
    assert len(found.to_pymatgen()) == len(structure)
    assert sorted(s.element for s in found.sites) == sorted(
        s.element for s in crystal.sites
    )
    assert distances(found.to_pymatgen()) == pytest.approx(
        distances(structure), abs=2e-3
    )
    CrystalBatch.from_crystals([found])


def rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return about_x @ about_z


def distances(structure):
    """The shortest distances between atoms, with the charges of both ends."""
    numbers = np.array([site.specie.Z for site in structure])
    matrix = structure.distance_matrix
    i, j = np.triu_indices(len(structure), 1)
    pairs = np.round(matrix[i, j], 6) + 100.0 * numbers[i] * numbers[j]
    return np.sort(pairs)


def test_disorder_charges_and_displacements_survive():
    structure = Structure(
        Lattice.cubic(4.2),
        [{Species("Fe", 2): 0.6, Species("Mg", 2): 0.3}, {Species("O", -2): 1.0}],
        [[0.25, 0, 0], [0.75, 0.5, 0.5]],
        site_properties={"b_iso": [0.4, 0.7]},
    )
    crystal = Crystal.from_pymatgen(structure)
    assert crystal.space_group == 221
    assert {(s.element, s.occupancy, s.b_iso, s.charge) for s in crystal.sites} == {
        ("Fe", 0.6, 0.4, 2),
        ("Mg", 0.3, 0.4, 2),
        ("O", 1.0, 0.7, -2),
    }
    iron, magnesium, oxygen = sorted(crystal.sites, key=lambda site: site.element)
    assert iron.fract == magnesium.fract
    assert iron.wyckoff_letter == magnesium.wyckoff_letter != oxygen.wyckoff_letter
    again = crystal.to_pymatgen()
    assert len(again) == 2
    assert Crystal.from_pymatgen(again) == crystal


def test_other_occupancy_is_another_species():
    lattice = Lattice.cubic(4.0)
    mixed = Structure(
        lattice, [{"Fe": 0.5, "Ni": 0.5}, {"Fe": 0.6, "Ni": 0.4}], [[0] * 3, [0.5] * 3]
    )
    assert Crystal.from_pymatgen(mixed).space_group == 221
    equal = Structure(lattice, [{"Fe": 0.5, "Ni": 0.5}] * 2, [[0] * 3, [0.5] * 3])
    assert Crystal.from_pymatgen(equal).space_group == 229


def test_deuterium_is_hydrogen_and_mean_charges_are_none():
    structure = Structure(
        Lattice.cubic(4.0), [Element("D"), Species("Fe", 2.67)], [[0] * 3, [0.5] * 3]
    )
    crystal = Crystal.from_pymatgen(structure)
    assert {(site.element, site.charge) for site in crystal.sites} == {
        ("H", 0),
        ("Fe", 0),
    }


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Structure(Lattice.cubic(3), [], []), "no sites"),
        (Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]]), "H to Cf"),
        (
            Structure(Lattice.cubic(3), ["Fe"], [[0, float("nan"), 0]]),
            "not finite",
        ),
        (
            Structure(Lattice.cubic(3), ["Fe", "Fe"], [[0] * 3, [0] * 3]),
            "no symmetry",
        ),
    ],
)
def test_what_is_no_crystal_is_refused(structure, message):
    with pytest.raises(CrystalError, match=message):
        Crystal.from_pymatgen(structure)


def test_unknown_letter_does_not_expand():
    cell = (3.0, 3.0, 3.0, 80.0, 80.0, 80.0)
    crystal = Crystal(1, cell, (Site("H", "z", (0.0, 0.0, 0.0)),))
    with pytest.raises(CrystalError, match="no Wyckoff position 'z'"):
        crystal.to_pymatgen()


@pytest.mark.data
def test_real_crystals(test_data):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(test_data / "structures/mp_structures.parquet")
    # One crystal of each group, then some more: every setting is met.
    table = table[
        (table.n_sites < 40) & (table["sg_symprec_0.01"] == table["sg_symprec_0.1"])
    ]
    chosen = pandas.concat(
        [table.groupby("sg_symprec_0.01").head(1), table.sample(20, random_state=1)]
    )
    for row in chosen.itertuples(index=False):
        structure = Structure(
            Lattice.from_parameters(*map(float, row.cell)),
            row.elements.split(),
            np.asarray(row.frac, float).reshape(-1, 3),
        )
        crystal = Crystal.from_pymatgen(structure)
        expanded = crystal.to_pymatgen()
        assert crystal.space_group == row[table.columns.get_loc("sg_symprec_0.01")]
        assert len(expanded) == row.n_conv
        # spglib makes the cell exact: it moves atoms and axes by up to symprec.
        assert crystal.volume == pytest.approx(row.volume_conv, rel=2e-3)
        matcher = StructureMatcher(scale=False, ltol=0.01, stol=0.02, angle_tol=0.5)
        assert matcher.fit(structure, expanded), row.id


@pytest.mark.data
def test_frozen_crystals_expand_to_their_whole_cells(test_data):
    """The asymmetric units come from pyxtal in our setting, the cells as well."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(test_data / "corpus/frozen_400.parquet")
    for row in table.itertuples(index=False):
        cell = tuple(map(float, row.cell))
        structure = Structure(
            Lattice.from_parameters(*cell),
            row.elements.split(),
            np.reshape(row.frac, (-1, 3)),
        )
        if len(structure) > 150:
            continue
        crystal = Crystal.from_pymatgen(structure, symprec=1e-4)
        # Drawn without a check: some have more symmetry, and smaller cells.
        if crystal.space_group == row.space_group:
            assert len(crystal.to_pymatgen()) == len(structure)
            multiplicity = sorted(row.asym_multiplicity)
            found = sorted(
                len(Crystal(crystal.space_group, crystal.lattice, (s,)).to_pymatgen())
                for s in crystal.sites
            )
            assert found == multiplicity
