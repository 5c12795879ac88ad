"""Labels of structure types: what they see and what they must not see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.errors import SourceError
from pxrdbench.sources.labels.structure_type import (
    crystal_prototype,
    find_space_group,
    find_symmetry,
    label_space_group,
    prototype_label,
)


def rock_salt(first: str = "Na", second: str = "Cl", a: float = 5.64) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def perovskite(a: str, b: str, x: str, length: float = 3.9) -> Structure:
    return Structure.from_spacegroup(
        "Pm-3m",
        Lattice.cubic(length),
        [a, b, x],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0]],
    )


def test_known_labels():
    diamond = Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(3.57), ["C"], [[0, 0, 0]]
    )
    assert prototype_label(rock_salt()) == "AB_cF8_225_a_b"
    assert prototype_label(perovskite("Sr", "Ti", "O")) == "ABC3_cP5_221_a_b_c"
    assert prototype_label(diamond) == "A_cF8_227_a"


def test_label_is_blind_to_the_alphabet_of_the_elements():
    names = [
        ("Sr", "Ti", "O"),
        ("Ti", "Sr", "O"),
        ("Ba", "Zr", "Ag"),
        ("Zr", "Ba", "I"),
    ]
    labels = {prototype_label(perovskite(*elements)) for elements in names}
    assert labels == {"ABC3_cP5_221_a_b_c"}


def test_label_is_blind_to_the_cell():
    cell = rock_salt()
    for other in (
        cell.get_primitive_structure(),
        cell.get_reduced_structure(),
        cell.make_supercell([2, 1, 1], in_place=False),
    ):
        assert prototype_label(other) == prototype_label(cell)


@settings(max_examples=10)
@given(
    shift=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_label_is_blind_to_origin_and_order_of_the_sites(shift, seed):
    cell = perovskite("Sr", "Ti", "O")
    moved = cell.copy().translate_sites(range(len(cell)), shift, frac_coords=True)
    order = np.random.default_rng(seed).permutation(len(moved))
    shuffled = Structure.from_sites([moved[int(site)] for site in order])
    assert prototype_label(shuffled) == "ABC3_cP5_221_a_b_c"


def test_label_sees_a_broken_symmetry_at_its_tolerance_only():
    cell = perovskite("Pb", "Ti", "O")
    cell.translate_sites([1], [0, 0, 0.05 / 3.9], frac_coords=True)
    found = find_symmetry(cell)
    assert found.space_group == 99
    assert found.loose_space_group == 221
    assert not found.is_certain
    assert label_space_group(found.structure_type) == 99


def test_certain_symmetry():
    found = find_symmetry(rock_salt())
    assert found.is_certain
    assert found.failure == ""


def test_atoms_on_top_of_each_other_give_no_label():
    broken = Structure(Lattice.cubic(4.0), ["Na", "Na"], [[0, 0, 0], [0, 0, 1e-5]])
    with pytest.raises(SourceError, match="no prototype label"):
        prototype_label(broken)
    found = find_symmetry(broken)
    assert found.space_group == 0
    assert not found.is_certain
    assert found.failure
    assert find_space_group(broken, 0.01) == 0


@pytest.mark.parametrize("text", ["", "AB_cF8_225", "AB_cF8_231_a_b", "AB_cF8_x_a_b"])
def test_no_label(text):
    with pytest.raises(SourceError, match="no prototype label"):
        label_space_group(text)


def of_crystal(structure: Structure) -> str:
    return crystal_prototype(Crystal.from_pymatgen(structure))


@settings(max_examples=10)
@given(st.permutations(["Sr", "Ti", "O"]), st.integers(0, 3))
def test_label_of_an_asymmetric_unit_is_that_of_the_structure(elements, n_swaps):
    structure = perovskite(*elements)
    # Equal counts of atoms are where the order of the elements would show.
    for number in range(n_swaps):
        structure.replace(number + 1, "Na")
    assert of_crystal(structure) == prototype_label(structure)


def test_mixed_and_partly_empty_sites_are_one_kind():
    mixed = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), [{"Fe": 0.5, "Mg": 0.4}, "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
    )  # fmt: skip
    assert of_crystal(mixed) == of_crystal(rock_salt())
    charged = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert of_crystal(charged) == of_crystal(rock_salt())


def test_more_kinds_of_atoms_than_letters_have_no_label():
    names = "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co"
    sites = tuple(
        Site(name, "a", (0.01 * number, 0.02 * number, 0.03))
        for number, name in enumerate(names.split())
    )
    many = Crystal(1, (9.0, 9.1, 9.2, 80.0, 85.0, 88.0), sites)
    with pytest.raises(SourceError, match="27 kinds of atoms"):
        crystal_prototype(many)
    few = Crystal(1, many.lattice, sites[:12])
    # Twelve kinds of one count: half a billion orders, and no wait.
    assert crystal_prototype(few) == f"ABCDEFGHIJKL_aP12_1_{'_'.join('a' * 12)}"


@pytest.mark.data
def test_labels_of_real_crystals_are_those_of_pymatgen(test_data):
    from pxrdbench.sources.databases.materials_project import (
        make_structures,
        read_table,
    )

    table = read_table(test_data)
    table = table.take(list(range(11, table.num_rows, 470)))
    for name, structure in zip(
        table["id"].to_pylist(), make_structures(table), strict=True
    ):
        assert of_crystal(structure) == prototype_label(structure), name
