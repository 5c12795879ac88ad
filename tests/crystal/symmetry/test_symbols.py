"""Symbols of all settings, against gemmi's table, spglib and cctbx's operators."""

import gemmi
import numpy as np
import pytest
import spglib

from pxrdbench.crystal.symmetry import symbols as space_group_symbols
from pxrdbench.crystal.symmetry.symbols import find_space_group

BY_HAND = {
    "C-1": 2, "A -1": 2, "F-1": 2, "P1": 1, "C1": 1, "P2_1": 4, "P2_1/n": 14,
    "P21/n": 14, "P 1 21/a 1": 14, "B2/b": 15, "I2/a": 15, "F2/d": 15, "F2/m": 12,
    "Bb": 9, "B2_1/d": 14, "Pbnm": 62, "Pmnb": 62, "Pcmn": 62, "Amma": 63, "Bmmb": 63,
    "Ccmm": 63, "Cmca": 64, "Cmce": 64, "Abma": 64, "P2_12_12_1": 19, "I-42d": 122,
    "F-4d2": 122, "C-42m": 115, "F4_1/ddm": 141, "I4_1/amd": 141, "P4_12_12": 92,
    "P3_221": 154, "P3_121": 152, "P3_112": 151, "R-3m": 166, "R-3c": 167,
    "P6_3/mmc": 194, "P6(3)/m": 176, "Fd3m": 227, "Fm3m": 225, "Pa3": 205,
    "Ia3d": 230, "I-43d": 220, "I43d": 220, "F43m": 216, "F-43m": 216, "Pn3m": 224,
    "P2_13": 198, "*P2_1/c": 14, "Fd-3m:1": 227, "P2_1/c \\par": 14, "p21/c": 14,
}  # fmt: skip


@pytest.mark.parametrize(("symbol", "group"), BY_HAND.items())
def test_symbols_by_hand(symbol, group):
    assert find_space_group(symbol) == group


@pytest.mark.parametrize("symbol", ["", "?", "xyz", "Q2", "P", "P9", "P2/", "1" * 90])
def test_what_is_no_symbol_is_unknown(symbol):
    assert find_space_group(symbol) == 0


def test_all_of_gemmis_table_in_four_spellings():
    for group in gemmi.spacegroup_table():
        parts = group.hm.split()
        for text in (
            group.hm,
            "".join(parts),
            # 2_1 and so on as most databases write it.
            "".join(
                p if p[0] == "-" or len(p) < 2 or not p[:2].isdigit()
                else f"{p[0]}_{p[1:]}"
                for p in parts
            ),
            "*" + group.hm.lower().capitalize(),
        ):  # fmt: skip
            if text == "".join(parts) and gemmi.find_spacegroup_by_name(text) is None:
                continue
            assert find_space_group(text) in {group.number}, (text, group.hm)


def test_derived_monoclinic_groups_are_those_of_gemmis_table():
    checked = 0
    for group in gemmi.spacegroup_table():
        if 3 <= group.number <= 15:
            derived = space_group_symbols._derive_monoclinic(group.hm)
            assert derived == group.number, group.hm
            checked += 1
    assert checked > 100


def test_an_axis_decides_short_symbols():
    """C2/a with unique axis b has a plain mirror halfway up; with c it is P2/c."""
    assert find_space_group("C2/a", "b") == 12
    assert find_space_group("C2/a", "c") == 13
    assert find_space_group("C 1 1 2/a") == 13


@pytest.mark.parametrize(
    ("symbol", "group"), [*space_group_symbols._TETRAGONAL.items()]
)
def test_multiple_tetragonal_cells_have_the_elements_of_their_symbols(symbol, group):
    """The group in the cell (a+b, b-a, c) has what a symbol says in second place."""
    operations = gemmi.find_spacegroup_by_number(group).operations()
    operations.change_basis_forward(gemmi.Op("1/2*x+1/2*y,-1/2*x+1/2*y,z"))
    turns = {tuple(np.array(op.rot).ravel() // 24) for op in operations}
    found = spglib.get_spacegroup_type_from_symmetry(
        np.array([op.rot for op in operations]) // 24,
        np.array([op.tran for op in operations]) / 24.0,
    )
    assert found.number == group
    centring = {tuple(vector) for vector in operations.cen_ops}
    assert (12, 12, 0) in centring  # C, and with I of the small cell F
    assert ((0, 12, 12) in centring) == (symbol[0] == "F")
    parts = space_group_symbols._PART.findall(symbol[1:].replace("21", "2_1"))
    if symbol[1:3] != "-4" or len(parts) != 3:
        return
    along_a, mirror_a = (1, 0, 0, 0, -1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (along_a in turns) == (parts[1][0] == "2")
    assert (mirror_a in turns) == (parts[1][0] != "2")


@pytest.mark.data
def test_symbols_of_real_files_against_their_operators(test_data):
    """AMCSD's own symbols; the group comes from the listed operators, by spglib."""
    import zipfile

    checked = 0
    with zipfile.ZipFile(test_data / "cifs/amcsd.zip") as archive:
        for name in archive.namelist():
            if not name.endswith(".cif"):
                continue
            block = gemmi.cif.read_string(archive.read(name).decode("latin-1"))[0]
            texts = [
                text.strip("'\"")
                for tag in ("_space_group_symop_operation_xyz",
                            "_symmetry_equiv_pos_as_xyz")
                for text in block.find_values(tag)
            ]  # fmt: skip
            symbol = block.find_value("_symmetry_space_group_name_H-M") or ""
            if not texts or not symbol.strip("'? "):
                continue
            operations = list(gemmi.GroupOps([gemmi.Op(text) for text in texts]))
            found = spglib.get_spacegroup_type_from_symmetry(
                np.array([op.rot for op in operations]) // 24,
                np.array([op.tran for op in operations]) / 24.0,
            )
            assert find_space_group(symbol) == found.number, (name, symbol)
            checked += 1
    assert checked > 250
