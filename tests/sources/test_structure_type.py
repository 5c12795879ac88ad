"""Labels of structure types: what they see and what they must not see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from pxrdbench.errors import SourceError
from pxrdbench.sources.structure_type import (
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
