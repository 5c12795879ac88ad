"""Names of structure types: what is one, and what must stay two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxrdbench.sources.labels.type_names import (
    canonical_structure_type,
    formula_and_group,
    merge_subtypes,
    type_and_formula,
)

ONE_TYPE = [
    ("Rutile-TiO2", "Rutile#TiO2", " rutile#TiO2 ", "RUTILE–TiO2", "Rutile # Ti O2"),
    ("Spinel-Al2MgO4", "Spinel#Al2MgO4", "'Spinel#Al2MgO4'"),
    ("Laves(2H)-MgZn2", "Laves (2H)#MgZn2", "laves( 2H )#MgZn2"),
    ("Half-Heusler-AlLiSi", "Half-Heusler#AlLiSi", "half-heusler - AlLiSi"),
    ("NaCl", "Na Cl", " NaCl\t"),
    ("Bixbyite#(MnFe)O3", "bixbyite-(MnFe)O3"),
    ("", "?", ".", " - ", "None", "nan"),
]


@pytest.mark.parametrize("names", ONE_TYPE, ids=lambda names: names[0] or "none")
def test_spellings_of_one_type_are_one(names):
    assert len({canonical_structure_type(name) for name in names}) == 1


def test_what_differs_stays_different():
    names = [
        "Co",
        "CO",
        "Rutile#TiO2",
        "Rutile#SnO2",
        "Anatase#TiO2",
        "TiO2",
        "ZnS(2H)",
    ]
    names += ["ZnS(3C)", "Perovskite#CaTiO3", "Perovskite#GdFeO3", "Cu(cF4)", "Cu"]
    assert len({canonical_structure_type(name) for name in names}) == len(names)


def test_the_canonical_form_shows_name_and_formula():
    assert canonical_structure_type("Corundum-Al2O3") == "corundum#Al2O3"
    assert canonical_structure_type("Zeolite LTA") == "zeolite lta"
    assert canonical_structure_type("Wurtzite-ZnS(2H)") == "wurtzite#ZnS(2H)"
    # No element: a word, not a formula.
    assert canonical_structure_type("Feldspar#Albite") == "feldspar-albite"


@given(st.text(max_size=40))
def test_a_canonical_name_is_its_own_canonical_name(text):
    name = canonical_structure_type(text)
    assert canonical_structure_type(name) == name


@given(st.sampled_from([name for names in ONE_TYPE for name in names]))
def test_coarser_levels_never_split_a_type(name):
    one = canonical_structure_type(name)
    assert merge_subtypes(one) == merge_subtypes(canonical_structure_type(one))


def test_coarser_levels():
    assert merge_subtypes("perovskite#CaTiO3") == merge_subtypes("perovskite#GdFeO3")
    assert merge_subtypes("rutile#TiO2") != merge_subtypes("anatase#TiO2")
    assert merge_subtypes("NaCl") == "NaCl"
    assert merge_subtypes("") == ""
    assert type_and_formula("NaCl", "KCl") != type_and_formula("NaCl", "NaCl")
    assert formula_and_group("AB", 225) != formula_and_group("AB", 221)
