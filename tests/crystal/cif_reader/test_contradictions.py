"""What a data block says of itself and does not agree with, or does not say at all.

Kinds after public bug reports and invented ones; each is read rightly or refused, and
what was taken for granted is said in the notes.
"""

import gemmi
import pytest

from pxrdbench.crystal.cif_reader.elements import (
    find_charge,
    find_element,
    read_formula,
)
from pxrdbench.crystal.cif_reader.read import read_block
from pxrdbench.crystal.cif_reader.settings import parse_operation, read_symbol
from pxrdbench.errors import CrystalError

ROWS = ("Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5")
ALL_ROWS = (
    *ROWS, "Na2 Na 0 .5 .5", "Na3 Na .5 0 .5", "Na4 Na .5 .5 0", "Cl2 Cl .5 0 0",
    "Cl3 Cl 0 .5 0", "Cl4 Cl 0 0 .5",
)  # fmt: skip
SALT = "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4"
SYMBOL = "_symmetry_space_group_name_H-M 'F m -3 m'"
COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")


def salt(*more, rows=ROWS, columns=COLUMNS, operations=()):
    lines = ["data_x"]
    lines += [f"_cell_length_{axis} 5.64" for axis in "abc"]
    lines += [f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma")]
    lines += more
    if operations:
        lines += [
            "loop_",
            "_symmetry_equiv_pos_as_xyz",
            *(f"'{o}'" for o in operations),
        ]
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns), *rows, ""]
    return "\n".join(lines)


def operations_of(symbol):
    group = gemmi.find_spacegroup_by_name(symbol)
    return [operation.triplet() for operation in group.operations()]


def outcome(text):
    """Atoms of the cell and group, or the reason of the refusal."""
    read = read_block(text)
    if read.crystal is None:
        return read.failure.split(":")[0]
    structure = read.crystal.to_pymatgen()
    return structure.composition.formula.replace(" ", ""), read.crystal.space_group


WHOLE = ("Na4Cl4", 225)
UNTOLD = "the symmetry is not told"
CASES = {
    # Nothing is said: P1 only where formula and Z, or the density, show it.
    "nothing": (salt(), UNTOLD),
    "nothing, all atoms": (salt(rows=ALL_ROWS), UNTOLD),
    "nothing, formula alone": (salt("_chemical_formula_sum 'Na Cl'"), UNTOLD),
    "nothing, Z is off": (salt(SALT), "it contradicts its formula"),
    "nothing, all atoms and Z": (salt(SALT, rows=ALL_ROWS), WHOLE),
    "nothing, all atoms and density": (
        salt("_chemical_formula_sum 'Na Cl'", "_exptl_crystal_density_diffrn 2.16",
             rows=ALL_ROWS), WHOLE,
    ),
    "a crystal system is no group": (
        salt("_symmetry_cell_setting cubic"), UNTOLD,
    ),
    "a tag that no dictionary has": (
        salt("_symmetry_space_group_name_hm 'F m -3 m'"), UNTOLD,
    ),
    # What is said, but not true.
    "P 1 alone, Z is off": (
        salt(SALT, "_symmetry_space_group_name_H-M 'P 1'"),
        "it contradicts its formula",
    ),
    "x, y, z alone, Z is off": (
        salt(SALT, operations=["x,y,z"]), "it contradicts its formula",
    ),
    "P 1 with the number of another": (
        salt("_symmetry_space_group_name_H-M 'P 1'", "_symmetry_Int_Tables_number 225"),
        "the setting is not told",
    ),
    "the density tells that atoms are missing": (
        salt("_symmetry_space_group_name_H-M 'P 1'",
             "_exptl_crystal_density_diffrn 2.16"),
        "it contradicts its formula",
    ),
    # Two that contradict each other.
    "two symbols": (
        salt(SYMBOL, "_space_group_name_H-M_alt 'P m -3 m'"), "the setting is not told",
    ),
    "two symbols and Z": (
        salt(SYMBOL, "_space_group_name_H-M_alt 'P m -3 m'", SALT), WHOLE,
    ),
    "Hall and symbol": (
        salt(SYMBOL, "_symmetry_space_group_name_Hall '-P 4 2 3'"),
        "the setting is not told",
    ),
    "Hall and symbol and Z": (
        salt(SYMBOL, SALT, "_symmetry_space_group_name_Hall '-P 4 2 3'"), WHOLE,
    ),
    "a symbol under Hall's tag": (
        salt("_symmetry_space_group_name_Hall 'F m -3 m'"), WHOLE,
    ),
    "nonsense under Hall's tag": (
        salt("_symmetry_space_group_name_Hall 'blah'"),
        "the space group is not understood",
    ),
    "the formula of the cell beside Z": (
        salt(SYMBOL, "_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4"),
        WHOLE,
    ),
    "a cell length twice": (
        salt(SYMBOL, "_cell_length_a 6.64"), "no valid CIF",
    ),
    "the same twice": (salt(SYMBOL, "_cell_length_a 5.64"), WHOLE),
    "two atom tables": (
        salt(SYMBOL) + salt(rows=("K1 K .25 .25 .25",)).split("gamma 90\n")[1],
        "no valid CIF",
    ),
    "names with dots, as newer dictionaries have them": (
        salt(SYMBOL).replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site.")
        .replace("_symmetry_s", "_symmetry.s"), WHOLE,
    ),
    "operations with numbers": (
        salt(SYMBOL, operations=[
            f"{n} {o}" for n, o in enumerate(operations_of("F m -3 m"), 1)
        ]), WHOLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_contradictions_are_resolved_or_refused(case):
    text, wanted = CASES[case]
    assert outcome(text) == wanted


def test_a_reading_as_p1_that_nothing_states_is_said():
    (note,) = read_block(salt(SALT, rows=ALL_ROWS)).notes
    assert note.startswith("no symmetry is stated")
    assert read_block(salt(operations=["x,y,z"], rows=ALL_ROWS)).notes == ()


def test_stated_multiplicities_choose_the_origin():
    """Diamond by its number: 8 atoms with the second origin, 16 with the first."""
    columns = (*COLUMNS, "symmetry_multiplicity")
    texts = [
        salt("_symmetry_Int_Tables_number 227", rows=(row,), columns=columns)
        for row in ("C1 C .125 .125 .125 8", "C1 C .125 .125 .125 16",
                    "C1 C .125 .125 .125 ?")
    ]  # fmt: skip
    assert [outcome(text) for text in texts] == [
        ("C8", 227), ("C16", 227), "the setting is not told",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "kind", "formula", "element"),
    [
        ("Du1", "Du", "", "Va"), ("X1", "Bq", "", "Va"), ("Lp1", "", "", "Va"),
        ("A1", "Iron", "", "Fe"), ("Copper1", "", "", "Cu"), ("Tin", "", "", "Sn"),
        ("Nitrogen", "", "", "N"), ("Sodium_1", "", "", "Na"),
        ("Site1", "", "", ""), ("Cation", "", "", ""), ("Oct1", "", "", ""),
        ("Tet", "", "", ""), ("octahedral", "", "", ""),
        ("C1", "Cval", "", "C"), ("Si1", "Siva", "", "Si"),
        ("O1", "OD", "", "O"), ("O1", "D2O", "", "O"), ("O-H", "", "", "O"),
        ("OSi1", "", "", "O"), ("NaAm", "", "", "Na"), ("NaAm", "", "Na Al O3", "Na"),
        ("FeB", "", "", "Fe"), ("Fe_B", "", "", "Fe"), ("Fe1", "FeIII", "", "Fe"),
        ("Fe1", "Fe_pv", "", "Fe"), ("Sn1", "SN", "", "Sn"), ("A1", "Natom", "", ""),
    ],
)  # fmt: skip
def test_elements_dummies_and_words(label, kind, formula, element):
    assert find_element(label, kind, read_formula(formula).keys()) == element


@pytest.mark.parametrize(
    ("label", "kind"),
    [("A1", "ZnMn"), ("A1", "Zn0.5Mn0.5"), ("A1", "Zn:Mn"), ("A1", "Zn_Mn"),
     ("A1", "CN"), ("A1", "SO4"), ("A1", "CO3"), ("AlSi", ""), ("Fe-Mg1", ""),
     ("M1", "(Zn0.5Mn0.5)")],
)  # fmt: skip
def test_several_elements_on_one_row_are_refused(label, kind):
    with pytest.raises(CrystalError, match="a mixture whose shares are not given"):
        find_element(label, kind)


def test_an_element_on_the_position_of_another():
    assert find_element("GeGa1", is_partial=True) == "Ge"
    columns = (*COLUMNS, "occupancy")
    rows = ("Ga1 . 0 0 0 .67", "GeGa1 . 0 0 0 .33", "O1 O .5 .5 .5 1")
    text = salt(SYMBOL, rows=rows, columns=columns)
    crystal = read_block(text).crystal
    assert {(s.element, s.occupancy) for s in crystal.sites} == {
        ("Ga", 0.67), ("Ge", 0.33), ("O", 1.0),
    }  # fmt: skip
    assert outcome(text.replace(".33", "1")) == "an unknown element"


def test_a_charge_is_that_of_an_element():
    charges = {"NH4+": 0, "Zn-Mn": 0, "OH-": -1, "Zr4+": 4, "O.2-": 0}
    assert {text: find_charge(text) for text in charges} == charges


def test_operations_as_people_write_them():
    wanted = parse_operation("-x,1/2-y,z+1/2")
    for text in ("2 -x,1/2-y,1/2+z", "12) -x, 1/2+-y, z+.5", "(2) -X,1/2-Y,Z+1/2"):
        assert parse_operation(text) == wanted, text
    assert parse_operation("2 x,y") is None


def test_symbols_as_journals_and_pages_write_them():
    cell = (5.0, 6.0, 7.0, 90.0, 100.0, 90.0)
    for text in ("P2~1~/c", "P 2<sub>1</sub>/c", "P 2sub1/c", "P 2_{1}/c"):
        assert read_symbol(text, cell).number == 14, text
    cubic = (5.0, 5.0, 5.0, 90.0, 90.0, 90.0)
    for text in (r"F m $\bar{3}$ m", r"Fm\bar3m", "F 4/m 3bar 2/m", "Fm3-m"):
        assert read_symbol(text, cubic).number == 225, text
