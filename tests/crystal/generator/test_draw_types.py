import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.generator.check import find_group
from pxrdbench.crystal.generator.coordinate_model import DistantCoordinates
from pxrdbench.crystal.generator.draw import draw_crystals_of_type
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.errors import CrystalError, PriorError

PRIOR = load_prior("open-v0")
COUNT = 20 if config.DISABLE_JIT else 2000
PEROVSKITE = [(0, "a"), (1, "b"), ("O", "c")]
# Olivine: two equal elements on different positions, three of one element.
OLIVINE = [("M", "a"), ("M", "c"), (1, "c"), (2, "c"), (2, "c"), (2, "d")]


def as_rows(crystals, name):
    return getattr(crystals, name).reshape(len(crystals), -1)


def test_crystals_hold_the_positions_of_the_type():
    crystals, report = draw_crystals_of_type(PRIOR, 221, PEROVSKITE, 1, 0, COUNT)
    crystals.check()
    assert (crystals.space_group == 221).all()
    assert (as_rows(crystals, "wyckoff_index") == [0, 1, 2]).all()
    first, second, third = as_rows(crystals, "atomic_number").T
    assert (third == ATOMIC_NUMBERS["O"]).all()
    assert (first != second).all()
    assert (first != 8).all()
    assert (second != 8).all()
    assert len(np.unique(first)) > 5
    assert report.accepted[221] == len(crystals)
    known = np.flatnonzero(PRIOR.element[PRIOR.space_groups.index(221)])
    assert np.isin(first, known).all()


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="needs compiled kernels")
def test_elements_are_those_of_the_group():
    crystals, _ = draw_crystals_of_type(PRIOR, 225, [(0, "a"), (1, "b")], 5, 0, 40_000)
    weights = PRIOR.element[PRIOR.space_groups.index(225)].astype(float)
    counts = np.bincount(as_rows(crystals, "atomic_number")[:, 0], minlength=99)
    expected = weights / weights.sum()
    # Large atoms fill more than any crystal seen: the rest may move by little.
    assert 0.5 * np.abs(counts / counts.sum() - expected).sum() < 0.05


def test_slots_and_samples():
    sites = [(0 if slot == "M" else slot, letter) for slot, letter in OLIVINE]
    crystals, _ = draw_crystals_of_type(PRIOR, 62, sites, 9, 0, COUNT)
    numbers = as_rows(crystals, "atomic_number")
    assert (numbers[:, 0] == numbers[:, 1]).all()
    assert (numbers[:, 3] == numbers[:, 5]).all()
    assert (numbers[:, 0] != numbers[:, 2]).all()
    part, _ = draw_crystals_of_type(PRIOR, 62, sites, 9, 7, 5)
    assert part[0] == crystals[7]
    assert part[4] == crystals[11]
    for crystal in part:
        assert find_group(crystal) == (62, False)


def test_options_reach_the_cells():
    crystals, report = draw_crystals_of_type(
        PRIOR, 62, [(0, "c"), (1, "c")], 9, 0, 30, max_volume=120.0
    )
    assert crystals.volume.max() <= 120.0 * (1 + 1e-12)
    assert report.volume_too_large.sum() > 0
    plain, _ = draw_crystals_of_type(PRIOR, 62, [(0, "c"), (1, "c")], 9, 0, 30)
    apart, _ = draw_crystals_of_type(
        PRIOR, 62, [(0, "c"), (1, "c")], 9, 0, 30, coordinates=DistantCoordinates()
    )
    assert np.array_equal(plain.lattice, apart.lattice)
    assert not np.array_equal(plain.fract, apart.fract)


def test_what_is_no_type():
    def draw(group, sites):
        draw_crystals_of_type(PRIOR, group, sites, 1, 0, 1)

    with pytest.raises(PriorError, match="does not hold group 22;"):
        draw(22, [(0, "a")])
    with pytest.raises(PriorError, match="needs a site"):
        draw(225, [])
    with pytest.raises(PriorError, match="position a has no freedom"):
        draw(225, [(0, "a"), (1, "a")])
    with pytest.raises(PriorError, match="more symmetry than group 225: 0:a 0:b"):
        draw(225, [(0, "a"), (0, "b")])
    with pytest.raises(CrystalError, match="unknown element 'M'"):
        draw(62, OLIVINE)
    with pytest.raises(CrystalError, match="no Wyckoff position 'z'"):
        draw(225, [(0, "z")])
    with pytest.raises(PriorError, match="too few for 95 slots"):
        draw(14, [(slot, "e") for slot in range(95)])
