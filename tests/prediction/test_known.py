"""What is known of a sample: formulas, volumes, positions, priors."""

import json

import numpy as np
import pytest

from pxrdbench.errors import PatternError
from pxrdbench.prediction.known import make_known, parse_formula


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("CaCO3", {"Ca": 1, "C": 1, "O": 3}),
        ("KAl2(AlSi3O10)(OH)2", {"K": 1, "Al": 3, "Si": 3, "O": 12, "H": 2}),
        ("CuSO4.5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
        ("Ca(OH)2.Mg(OH)2", {"Ca": 1, "O": 4, "H": 4, "Mg": 1}),
        ("Fe0.95O", {"Fe": 0.95, "O": 1}),
        ("Si8O16", {"Si": 1, "O": 2}),
    ],
)
def test_formulas(text, counts):
    assert parse_formula(text) == pytest.approx(counts)


@pytest.mark.parametrize("text", ["", "Xx2", "Ca(", "Ca)", ".5", "2", "ca", "Fe2+"])
def test_what_is_no_formula_is_told(text):
    with pytest.raises(PatternError):
        parse_formula(text)


@pytest.mark.parametrize(
    ("formula", "group", "volume", "others"),
    [
        ("Mg3Al2(SiO4)3", 230, 11.459**3 / 2, ()),
        ("TiO2", 136, 62.4, ()),
        ("NaCl", 225, 5.64**3 / 4, (230, 227)),
        ("Al2O3", 167, 84.9, (230,)),
    ],
)
def test_a_group_holds_its_mineral(formula, group, volume, others):
    known = make_known(formula=formula)
    factor = known.holding(volume)
    assert factor[group] == 1.0
    for other in others:
        assert factor[other] < 1.0
    assert known.log_room(volume) > -4.0
    assert known.log_room(0.3 * known.formula_volume) < -4.0
    assert known.log_volume(0.3 * known.formula_volume) == -3.0


def test_units_that_are_rare_make_a_cell_unlikely():
    known = make_known(formula="SiO2")
    unit = known.formula_volume
    one, four, five = (known.log_volume(n * unit) for n in (1, 4, 5))
    assert one == 0.0
    assert -1.0 < four < 0.0
    # Five units, or four that are large: less than four.
    assert five < four - 0.9
    assert known.log_room(5 * unit) == 0.0


def test_priors_come_from_names_files_and_numbers(tmp_path):
    table, plain = tmp_path / "a.csv", tmp_path / "a.json"
    table.write_text("space_group,weight\n14,3\n62,1\n")
    plain.write_text(json.dumps({"14": 3, "62": 1}))
    shares = np.zeros(231)
    shares[[14, 62]] = 6, 2
    for prior in (table, str(plain), shares):
        known = make_known(prior=prior)
        assert known.prior[14] == pytest.approx(0.75)
        assert known.prior.sum() == pytest.approx(1.0)
    table.write_text("group,weight\n14,3\n")
    for bad in (table, np.ones(230), -shares, np.zeros(231)):
        with pytest.raises(PatternError, match="prior"):
            make_known(prior=bad)


@pytest.mark.parametrize(
    "known",
    [
        {"crystal_system": "rhombic"},
        {"cell": (1, 2, 3), "bravais_lattice": None},
        {"cell": (5, 5, 5, 90, 90, 90), "max_volume": 100.0},
        {"cell": (5, 5, 5, 10, 90, 200)},
        {"max_volume": -1.0},
        {"elements": "Fe", "formula": "FeO"},
        {"exclude": "0"},
        {"crystal_system": "cubic", "exclude": "cubic"},
        {"bravais_lattice": "cF"},
    ],
)
def test_what_cannot_be_is_refused(known):
    with pytest.raises(PatternError):
        make_known(**known)
