"""Extinction patterns against the operators of an independent program."""

import numpy as np
import pytest

from pxrdbench.errors import CrystalError
from pxrdbench.indexing.cells.sublattices import lower_lattices
from pxrdbench.indexing.groups.extinction import (
    BRAVAIS_LATTICES,
    allowed_by_centring,
    bravais_lattice_of,
    condition_masks,
    forbidden_lines,
    load_patterns,
)

BOX = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), axis=-1)
BOX = BOX.reshape(-1, 3)[np.any(BOX.reshape(-1, 3) != 0, axis=1)].astype(np.int64)


def absences(bravais_lattice, hkl):
    """Reflections x patterns, by the tables."""
    patterns = load_patterns(bravais_lattice)
    masks = condition_masks(hkl, patterns.rotation, patterns.translation)
    lines = np.arange(len(hkl))
    return patterns, forbidden_lines(masks, lines, len(hkl), patterns.condition_bits)


@pytest.mark.parametrize("bravais_lattice", BRAVAIS_LATTICES)
def test_absences_of_all_groups_and_settings_are_those_of_gemmi(bravais_lattice):
    gemmi = pytest.importorskip("gemmi")
    family, centring = bravais_lattice
    hkl = BOX[allowed_by_centring(BOX, centring)]
    patterns, forbidden = absences(bravais_lattice, hkl)
    families = {
        "triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t",
        "trigonal": "h", "hexagonal": "h", "cubic": "c",
    }  # fmt: skip
    seen = set()
    for setting in gemmi.spacegroup_table():
        name = setting.hm.split()
        if (
            families[setting.crystal_system_str()] != family
            or setting.hm[0] != centring
        ):
            continue
        if setting.ext == "R" or (family == "m" and name[1:] != ["1", name[2], "1"]):
            continue  # rhombohedral axes; another unique axis
        if bravais_lattice_of(setting.number) != bravais_lattice:
            continue
        absent = np.asarray(
            setting.operations().systematic_absences(hkl.astype(np.int32)), bool
        )
        match = np.flatnonzero(np.all(forbidden == absent[:, None], axis=0))
        assert len(match) == 1, setting.xhm()
        assert patterns.setting_share[match[0], setting.number] > 0.0
        seen.add((int(match[0]), setting.number))
    # Every pattern of every group is a setting that gemmi lists too; some settings of
    # tetragonal and cubic groups (C, F, second origins) are not on these axes.
    known = {
        (p, int(g))
        for g in patterns.space_groups
        for p in np.flatnonzero(patterns.setting_share[:, g])
    }
    assert seen == known


def test_all_groups_are_on_one_lattice_each():
    counted = np.zeros(231)
    for name in BRAVAIS_LATTICES:
        patterns = load_patterns(name)
        counted += patterns.setting_share.sum(axis=0)
        assert len(set(patterns.condition_bits.tolist())) == len(patterns)
    np.testing.assert_allclose(counted[1:], 1.0)


def test_a_pattern_that_implies_another_forbids_more():
    patterns, forbidden = absences("oP", BOX)
    for i in range(len(patterns)):
        for j in range(len(patterns)):
            implied = not np.any(forbidden[:, i] & ~forbidden[:, j])
            assert patterns.implies[i, j] == implied


@pytest.mark.parametrize("bravais_lattice", BRAVAIS_LATTICES)
def test_lower_lattices_hold_the_same_points(bravais_lattice):
    points = {"P": 1, "C": 2, "I": 2, "F": 4, "R": 3}
    hkl = BOX[allowed_by_centring(BOX, bravais_lattice[1])]
    for name, _, change in lower_lattices(bravais_lattice):
        moved = hkl @ change
        whole = np.rint(moved).astype(np.int64)
        np.testing.assert_allclose(moved, whole, atol=1e-9)
        assert allowed_by_centring(whole, name[1]).all()
        ratio = abs(np.linalg.det(change)) * points[bravais_lattice[1]]
        assert ratio == pytest.approx(points[name[1]])


def test_an_unknown_lattice_is_refused():
    with pytest.raises(CrystalError, match="no Bravais lattice 'oX'"):
        load_patterns("oX")
