"""Crystals as CIF: what others read from it is the same crystal."""

import re

import gemmi
import numpy as np
import pytest
from pymatgen.core import Lattice, Species, Structure
from pymatgen.io.cif import CifParser

from pxrdbench.crystal.cif_writer import format_operator, write_cif
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import CrystalError

TABLES = load_symmetry_tables()
HEXAGONAL = (4.1, 4.1, 20.0, 90.0, 90.0, 120.0)
SPINEL_LIKE = Crystal(
    166,
    HEXAGONAL,
    (
        Site("Fe", "a", (0.0, 0.0, 0.0), 0.6, 0.4, 2),
        Site("Mg", "a", (0.0, 0.0, 0.0), 0.3, 0.4, 2),
        Site("O", "c", (0.0, 0.0, 0.251234567891), 1.0, 0.7, -2),
        Site("Fe", "c", (0.0, 0.0, 0.1), 1.0, 0.5),
    ),
)


def read_with_gemmi(text):
    return gemmi.make_small_structure_from_block(
        gemmi.cif.read_string(text).sole_block()
    )


def atoms_of_gemmi(small):
    """All atoms of the cell, as a pymatgen structure; ordered crystals only."""
    sites = small.get_all_unit_cell_sites()
    return Structure(
        Lattice.from_parameters(*small.cell.parameters),
        [Species(site.element.name, site.charge or None) for site in sites],
        [site.fract.tolist() for site in sites],
    )


def atoms_of_pymatgen(text):
    parser = CifParser.from_str(text, frac_tolerance=0.0)
    (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    return structure


def assert_same_peaks(first, second):
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([first, second]), precision="double"
    )
    half = int(peaks.peak_offset[1])
    top = peaks.intensity.max()
    strong = peaks.intensity > 1e-5 * top
    one, two = strong[:half], strong[half:]
    np.testing.assert_allclose(
        peaks.two_theta[:half][one], peaks.two_theta[half:][two], atol=1e-6
    )
    np.testing.assert_allclose(
        peaks.intensity[:half][one], peaks.intensity[half:][two], atol=1e-6 * top
    )


@pytest.mark.parametrize("index", range(40))
def test_drawn_crystals_are_read_back(index):
    crystal = draw_crystals(load_prior("open-v0"), 23, index, 1)[0]
    text = crystal.to_cif(f"crystal {index}")
    small = read_with_gemmi(text)
    assert small.spacegroup.number == crystal.space_group
    assert small.cell.parameters == pytest.approx(crystal.lattice, abs=1e-8)
    expanded = crystal.to_pymatgen()
    by_gemmi = small.get_all_unit_cell_sites()
    # Two atoms nearer than that are one to a reader: drawn crystals may hold such.
    if len(expanded) > 120 or not expanded.is_valid(0.5):
        return
    assert len(by_gemmi) == len(expanded)
    for structure in (atoms_of_pymatgen(text), atoms_of_gemmi(small)):
        assert structure.composition.element_composition == expanded.composition
        found = Crystal.from_pymatgen(structure, symprec=1e-4)
        assert found.space_group == crystal.space_group
        assert found.volume == pytest.approx(crystal.volume, rel=1e-8)
        assert_same_peaks(found, crystal)


def test_disorder_charges_and_displacements_are_read_back():
    text = SPINEL_LIKE.to_cif()
    structure = atoms_of_pymatgen(text)
    mixed = [site for site in structure if not site.is_ordered]
    assert len(mixed) == 3
    assert mixed[0].species.as_dict() == pytest.approx({"Fe2+": 0.6, "Mg2+": 0.3})
    small = read_with_gemmi(text)
    assert small.spacegroup.number == 166
    read = [
        (s.element.name, s.occ, round(s.u_iso * 8 * np.pi**2, 9), s.charge)
        for s in small.sites
    ]
    assert read == [
        (site.element, site.occupancy, site.b_iso, site.charge)
        for site in SPINEL_LIKE.sites
    ]
    assert small.sites[2].fract.z == pytest.approx(0.251234567891, abs=1e-12)


def test_the_text(tmp_path):
    lines = SPINEL_LIKE.to_cif("R-3m, a name").splitlines()
    assert lines[0] == "data_R-3m,_a_name"
    assert "_space_group_IT_number 166" in lines
    assert "_space_group_name_H-M_alt 'R -3 m :H'" in lines
    assert "_space_group_name_Hall '-R 3 2\"'" in lines
    assert "2 '-y,x-y,z'" in lines
    assert "_chemical_formula_sum 'Fe7.8 Mg0.9 O6'" in lines
    assert "Fe1 Fe2+ 3 a 0.000000000000 0.000000000000 0.000000000000 0.6 0.4" in lines
    assert sum(bool(re.match(r"\d+ '", line)) for line in lines) == 36
    assert max(map(len, lines)) < 80
    assert write_cif(SPINEL_LIKE, "").startswith("data_crystal\n")


@pytest.mark.parametrize("group", range(1, 231))
def test_names_and_operators_of_all_groups(group):
    """gemmi finds our setting by symbol, by Hall symbol and by the operators."""
    # One general position is all that a name needs; its cell must fit the group.
    cells = [
        (25.0, 26.0, 27.0, 80.0, 85.0, 95.0),
        (25.0, 26.0, 27.0, 90.0, 95.0, 90.0),
        (25.0, 26.0, 27.0, 90.0, 90.0, 90.0),
        (25.0, 25.0, 27.0, 90.0, 90.0, 90.0),
        (25.0, 25.0, 27.0, 90.0, 90.0, 120.0),
        (25.0, 25.0, 25.0, 90.0, 90.0, 90.0),
    ]
    letters = "abcdefghijklmnopqrstuvwxyzA"
    letter = letters[len(TABLES.position_rows(group)) - 1]
    site = Site("Si", letter, (0.0713, 0.1931, 0.4127))
    cell = cells[int(TABLES.lattice_type[group])]
    text = Crystal(group, cell, (site,)).to_cif()
    block = gemmi.cif.read_string(text).sole_block()
    listed = block.find_values("_space_group_symop_operation_xyz")
    operators = {gemmi.Op(value.strip("'")).wrap().triplet() for value in listed}
    assert len(operators) == len(listed) == len(TABLES.operators(group)[0])
    symbol = gemmi.cif.as_string(block.find_value("_space_group_name_H-M_alt"))
    by_symbol = gemmi.find_spacegroup_by_name(symbol)
    assert by_symbol.number == group
    assert {op.wrap().triplet() for op in by_symbol.operations()} == operators
    hall = gemmi.cif.as_string(block.find_value("_space_group_name_Hall"))
    assert {op.wrap().triplet() for op in gemmi.symops_from_hall(hall)} == operators
    assert len(read_with_gemmi(text).get_all_unit_cell_sites()) == len(operators)


def test_operators_as_text():
    rotation = np.array([[0, -1, 0], [1, -1, 0], [0, 0, -1]])
    assert format_operator(rotation, np.array([8, 0, -6])) == "-y+1/3,x-y,-z+3/4"
    assert format_operator(np.eye(3, dtype=int), np.array([24, 3, 20])) == (
        "x,y+1/8,z+5/6"
    )


def test_what_is_no_crystal_is_not_written():
    broken = Crystal(166, HEXAGONAL, (Site("Fe", "a", (0.1, 0.2, 0.3)),))
    with pytest.raises(CrystalError, match="first coordinate triplet"):
        broken.to_cif()
