"""What is set right before a CIF is read, and what must not be touched."""

from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.sources.cif.blocks import read_block, read_repaired
from pxrdbench.sources.cif.fields import find_symbol_group, read_fields
from pxrdbench.sources.cif.repair import find_element, repair_block

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


def test_a_good_block_is_not_touched():
    text = Crystal(225, CUBIC, (Site("Fe", "a", (0, 0, 0)),)).to_cif()
    repaired = repair_block(text)
    assert (repaired.text, repaired.n_rows, repaired.left_out) == (text, 1, ())


def test_hydrogens_without_a_place_are_left_out_and_named():
    repaired = repair_block(block("O1 0 0 0 1", "H1 ? ? ? 1", "D2 . . . 1"))
    assert repaired.left_out == ("H1", "D2")
    read = read_repaired(repaired)
    assert [site.element for site in read.crystal.sites] == ["O"]


def test_other_atoms_without_a_place_cost_the_entry():
    for label in ("O2", "Hg1", "Ho1", "Dy1"):
        outcome = read_block(block("O1 0 0 0 1", f"{label} ? ? ? 1"))
        assert outcome.startswith("a coordinate that is no number: ")


def test_fractions_occupancies_and_tags():
    text = block("Fe1 0 1/3 2/3 ?", y="Y")
    crystal = read_block(text)[1]
    assert crystal.sites[0].occupancy == 1.0
    assert "0.3333333333" in repair_block(text).text


def test_underscores_in_symbols():
    assert read_block(block("Fe1 .1 .2 .3 1", group="P2_1/n").replace(
        "_angle_beta 90", "_angle_beta 97"))[1].space_group == 14  # fmt: skip


def test_an_atom_listed_with_its_images_is_there_once():
    rows = ("Fe1 .1 .2 .3 1", "Fe2 -.1 -.2 -.3 1", "O1 .5 .7 .9 1")
    reader, crystal = read_block(block(*rows, group="P -1"))
    assert (reader, crystal.space_group) == ("gemmi", 2)
    assert [site.occupancy for site in crystal.sites] == [1.0, 1.0]
    other = read_block(block("Fe1 .1 .2 .3 1", "Mn2 -.1 -.2 -.3 1", group="P -1"))
    assert other.startswith("occupancies above one: ")


def test_a_cell_a_little_off_its_group_is_read_at_a_wider_tolerance():
    rows = ("Fe1 .11 .21 .31 1", "O1 .51 .72 .93 1", "O2 .3 .1 .77 1")
    text = block(*rows, group="P 1 21/c 1").replace("_length_c 4.2", "_length_c 24.2")
    straight = read_repaired(repair_block(text))
    assert (straight.crystal.space_group, straight.symprec) == (14, 0.01)
    skew = read_repaired(repair_block(text.replace("alpha 90", "alpha 90.08")))
    assert (skew.crystal.space_group, skew.symprec) == (14, 0.1)


def test_elements_of_labels():
    assert find_element("Wat1") == find_element("OH2") == find_element("Ow") == "O"
    assert find_element("W1") == "W"
    assert find_element("Xy1", "Xy") == ""
    assert find_element("BeA", "AA") == "Be"


def test_what_a_block_says_of_itself():
    repaired = repair_block(
        block("O1 0 0 0 1", group="F d -3 m Z")
        + "_chemical_name_structure_type Rutile-TiO2\n_journal_year 1977\n"
        "_cod_database_code 1000041\n"
    )
    fields = read_fields(repaired.block, "1000041")
    assert (fields.space_group, fields.structure_type) == (227, "rutile#TiO2")
    assert (fields.year, fields.codes) == (1977, (("COD", "1000041"),))
    assert not fields.is_licensed
    assert read_fields(None, "12345-ICSD").is_licensed


def test_symbols_of_the_icsd():
    for symbol, number in [
        ("P 42/n m c Z", 137), ("P 42/n m c S", 137), ("R -3 m R", 166),
        ("R 3 H", 146), ("I 41/a m d Z", 141), ("P 21 3", 198), ("", 0),
    ]:  # fmt: skip
        assert find_symbol_group(symbol) == number
