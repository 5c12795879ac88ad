"""What a data block means: rows, elements, settings, and what is not believed."""

import codecs

import gemmi
import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from pxrdbench.crystal.cif_reader.elements import (
    find_charge,
    find_element,
    read_formula,
)
from pxrdbench.crystal.cif_reader.read import read_block
from pxrdbench.crystal.cif_reader.settings import parse_operation, read_symbol
from pxrdbench.crystal.cif_reader.text import CifTags, decode_text
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.symbols import derive_monoclinic
from pxrdbench.errors import CrystalError
from pxrdbench.sources.cif.fields import find_symbol_group, read_fields

CUBIC = (4.2, 4.2, 4.2, 90.0, 90.0, 90.0)
HEAD = """data_x
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_{y}
_atom_site_fract_z
_atom_site_occupancy
{rows}
"""


def block(*rows, group="P 1", y="y"):
    return HEAD.format(group=group, y=y, rows="\n".join(rows))


def test_a_good_block_needs_no_remark():
    text = Crystal(225, CUBIC, (Site("Fe", "a", (0, 0, 0)),)).to_cif()
    read = read_block(text)
    assert (read.n_rows, read.left_out, read.notes) == (1, (), ())


def test_hydrogens_without_a_place_are_left_out_and_named():
    read = read_block(block("O1 0 0 0 1", "H1 ? ? ? 1", "D2 . . . 1"))
    assert read.left_out == ("H1", "D2")
    assert [site.element for site in read.crystal.sites] == ["O"]


def test_other_atoms_without_a_place_cost_the_entry():
    for label in ("O2", "Hg1", "Ho1", "Dy1"):
        failure = read_block(block("O1 0 0 0 1", f"{label} ? ? ? 1")).failure
        assert failure.startswith("a coordinate that is no number: ")


def test_fractions_occupancies_and_tags():
    crystal = read_block(block("Fe1 0 1/3 2/3 ?", "O1 .1 .2 .4 1", y="Y")).crystal
    assert {site.occupancy for site in crystal.sites} == {1.0}
    distance = np.diff([site.fract for site in crystal.sites], axis=0)[0] % 1.0
    assert distance == pytest.approx(np.array([0.1, 0.2 - 1 / 3, 0.4 - 2 / 3]) % 1.0)


def test_underscores_in_symbols():
    assert read_block(block("Fe1 .1 .2 .3 1", group="P2_1/n").replace(
        "_angle_beta 90", "_angle_beta 97")).crystal.space_group == 14  # fmt: skip


def test_an_atom_listed_with_its_images_is_there_once():
    rows = ("Fe1 .1 .2 .3 1", "Fe2 -.1 -.2 -.3 1", "O1 .5 .7 .9 1")
    read = read_block(block(*rows, group="P -1"))
    assert (read.reader, read.crystal.space_group) == ("gemmi", 2)
    assert [site.occupancy for site in read.crystal.sites] == [1.0, 1.0]
    assert "1 rows repeat an atom" in read.notes[0]
    other = read_block(block("Fe1 .1 .2 .3 1", "Mn2 -.1 -.2 -.3 1", group="P -1"))
    assert other.failure.startswith("occupancies above one: ")


def test_a_cell_a_little_off_its_group_is_read_at_a_wider_tolerance():
    rows = ("Fe1 .11 .21 .31 1", "O1 .51 .72 .93 1", "O2 .3 .1 .77 1")
    text = block(*rows, group="P 1 21/c 1").replace("_length_c 4.2", "_length_c 24.2")
    straight = read_block(text)
    assert (straight.crystal.space_group, straight.symprec) == (14, 0.01)
    skew = read_block(text.replace("alpha 90", "alpha 90.08"))
    assert (skew.crystal.space_group, skew.symprec) == (14, 0.1)


def test_elements_of_labels():
    assert find_element("Wat1") == find_element("OH2") == find_element("Ow") == "O"
    assert find_element("W1") == "W"
    assert find_element("Xy1", "Xy") == ""
    assert find_element("BeA", "AA") == "Be"


@pytest.mark.parametrize(
    ("label", "kind", "formula", "element"),
    [
        ("Fe57", "57Fe", "", "Fe"),
        ("O1", "18O", "", "O"),
        ("Fe1", ".", "", "Fe"),
        ("HOH", "", "", "O"),
        ("Wat", "", "", "O"),
        ("H2O1", "", "", "O"),
        ("Ho1", "", "", "Ho"),
        ("OW1", "", "Ca O", "O"),
        ("Os1", "", "Os O2", "Os"),
        ("Os1", "", "Ca O2", "O"),
        ("W1", "", "W O3", "W"),
        ("W1", "", "Ca O3", "O"),
        ("CA1", "", "C H4 O", "C"),
        ("CA1", "", "Ca O", "Ca"),
        ("CO(1)", "", "Co2 H5 C14 O6", "Co"),
        ("CL1", "", "", "Cl"),
        ("Va1", "Va", "", "Va"),
        ("V1", "V", "", "V"),
        ("D1", "D", "", "H"),
        ("Dw1", "", "", "H"),
        ("Dy1", "", "", "Dy"),
        ("T1", "", "K Al Si3 O8", ""),
        ("N1", "NH4", "", "N"),
    ],
)
def test_an_element_is_resolved_with_type_label_and_formula(
    label, kind, formula, element
):
    assert find_element(label, kind, read_formula(formula).keys()) == element


def test_what_may_be_two_elements_is_asked_for():
    for label, kind in (("T1", "(Si,Al)"), ("M1", "Fe/Mg"), ("CA1", "")):
        with pytest.raises(CrystalError, match="an unknown element"):
            find_element(label, kind)


def test_charges_and_formulas():
    charges = {"Fe3+": 3, "O2-": -2, "O-2": -2, "Na+": 1, "Cl-": -1, "Fe": 0, "O1": 0}
    assert {text: find_charge(text) for text in charges} == charges
    assert read_formula("Mg (O H)2") == {"Mg": 1.0, "O": 2.0, "H": 2.0}
    assert read_formula("Ca1.5 D2 O") == {"Ca": 1.5, "H": 2.0, "O": 1.0}
    assert read_formula("?") == read_formula("Xx2 O") == {}


def test_a_site_may_be_deuterium():
    site = Site("D", "a", (0.0, 0.0, 0.0))
    batch = CrystalBatch.from_crystals([Crystal(225, CUBIC, (site,))])
    assert batch[0].sites[0].element == "H"


def test_operations_with_rounded_thirds_and_with_slips():
    assert parse_operation("-y+0.667,x-y+.333,2/3+z") == parse_operation(
        "-y+2/3, x-y+1/3, z+2/3"
    )
    for text in ("x,y,x", "x,y", "x,y,q", "2x,y,z", "x,y,z+0.41"):
        assert parse_operation(text) is None


def test_encodings():
    text = "data_x\n_a 'Å −1'\n"
    for data in (
        text.encode(), codecs.BOM_UTF8 + text.encode(), text.encode("utf-16"),
        text.encode("utf-16-le"), text.replace("−", "-").encode("cp1252"),
        text.replace("\n", "\r\n").encode(), text.replace("\n", "\r").encode(),
    ):  # fmt: skip
        assert decode_text(data).replace("−", "-") == text.replace("−", "-")


def test_typographic_minus_and_an_absurd_displacement():
    text = block("Fe1 −0.1 .2 .3 1", "O1 .5 .7 .9 1")
    assert read_block(text).crystal is not None
    absurd = text.replace("_atom_site_occupancy", "_atom_site_B_iso_or_equiv")
    read = read_block(absurd.replace(".3 1", ".3 1.2").replace(".9 1", ".9 999"))
    assert sorted(site.b_iso for site in read.crystal.sites) == [0.0, 1.2]


def test_symbols_have_the_origins_and_axes_that_they_leave_open():
    hexagonal, rhombic = (5, 5, 13, 90, 90, 120), (5, 5, 5, 70, 70, 70)
    for symbol, cell, count in [
        ("F d -3 m", CUBIC, 2), ("F d -3 m Z", CUBIC, 1), ("F d -3 m :1", CUBIC, 1),
        ("F 41/d -3 2/m (origin choice 2)", CUBIC, 1), ("F d 3 m", CUBIC, 2),
        ("R -3 m", hexagonal, 1), ("R -3 m", rhombic, 1), ("R -3 m H", rhombic, 0),
        ("C m c e", CUBIC, 1), ("P 21/n", (5, 6, 7, 90, 100, 90), 1),
        ("P 2/m", (5, 6, 7, 90, 90, 100), 1), ("nonsense", CUBIC, 0),
    ]:  # fmt: skip
        assert len(read_symbol(symbol, cell).settings) == count, symbol


OBLIQUE_B = (5.0, 6.0, 7.0, 90.0, 100.0, 90.0)
OBLIQUE_C = (5.0, 6.0, 7.0, 90.0, 90.0, 100.0)


def test_derived_monoclinic_operations_are_those_of_gemmis_table():
    """Those with the origin at the inversion, or where the table puts it."""
    same = 0
    for group in gemmi.spacegroup_table():
        if 3 <= group.number <= 15:
            wanted = {op.triplet() for op in group.operations()}
            found = [{op.triplet() for op in o} for o in derive_monoclinic(group.hm)]
            assert wanted in found, group.hm
            same += 1
    assert same > 100


@pytest.mark.parametrize(
    ("symbol", "cell", "number"),
    [
        ("C2/a", OBLIQUE_B, 12), ("C2/a", OBLIQUE_C, 13), ("C 1 2/a 1", OBLIQUE_B, 12),
        ("C2(1)/a", OBLIQUE_B, 12), ("C2_1/c", OBLIQUE_B, 15), ("B2/b", OBLIQUE_C, 15),
        ("B2_1/d", OBLIQUE_B, 14), ("F2/d", OBLIQUE_B, 15), ("F2/m", OBLIQUE_B, 12),
        ("I2/b", OBLIQUE_C, 15), ("B2/b", OBLIQUE_B, 0), ("B21/d", OBLIQUE_C, 0),
    ],
)  # fmt: skip
def test_monoclinic_symbols_of_any_cell(symbol, cell, number):
    named = read_symbol(symbol, cell)
    assert [setting.number for setting in named.settings] == [number] * bool(number)


def test_a_cell_of_c2a_is_that_of_c2m_moved_by_a_quarter():
    rows = ("Fe1 .11 .05 .3 1", "O1 .25 .25 .8 1")
    moved = ("Fe1 .36 .30 .3 1", "O1 .5 .5 .8 1")
    one, two = (
        read_block(block(*r, group=g).replace("_beta 90", "_beta 97")).crystal
        for r, g in ((moved, "C2/m"), (rows, "C 1 2/a 1"))
    )
    assert (one.space_group, two.space_group) == (12, 12)
    assert StructureMatcher(scale=False).fit(one.to_pymatgen(), two.to_pymatgen())


def test_a_symbol_of_group_1_with_a_centring_has_its_other_half():
    rows = ("Fe1 .1 .2 .3 1", "O1 .7 .1 .4 1", "S1 .3 .45 .8 1")
    plain, centred = (
        read_block(block(*rows, group=group).replace("_beta 90", "_beta 97")).crystal
        for group in ("P 1", "C 1")
    )
    assert (plain.space_group, centred.space_group) == (1, 1)
    assert plain.volume == pytest.approx(2.0 * centred.volume)


def test_a_question_mark_is_no_group():
    read = read_block(block("Fe1 0 0 0 1", "O1 .5 .5 .5 1", group="?"))
    assert read.failure.startswith("the space group is not understood: the file has ?")


def test_what_a_block_says_of_itself():
    text = (
        block("O1 0 0 0 1", group="F d -3 m Z")
        + "_chemical_name_structure_type Rutile-TiO2\n_journal_year 1977\n"
        "_cod_database_code 1000041\n"
    )
    fields = read_fields(read_block(text).tags, text, "1000041")
    assert (fields.space_group, fields.structure_type) == (227, "rutile#TiO2")
    assert (fields.year, fields.codes) == (1977, (("COD", "1000041"),))
    assert not fields.is_licensed
    assert read_fields(CifTags(), "", "12345-ICSD").is_licensed
    broken = "data_x\n_publ_title 'it's broken\n_database_code_ICSD 99\n"
    assert read_fields(CifTags(), broken).is_licensed


def test_symbols_of_the_icsd():
    for symbol, number in [
        ("P 42/n m c Z", 137), ("P 42/n m c S", 137), ("R -3 m R", 166),
        ("R 3 H", 146), ("I 41/a m d Z", 141), ("P 21 3", 198), ("", 0),
    ]:  # fmt: skip
        assert find_symbol_group(symbol) == number
