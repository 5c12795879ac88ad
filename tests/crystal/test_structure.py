from dataclasses import replace

import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.lattice import cell_volumes, lattice_matrix, symmetric_lattice
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.errors import CrystalError

SALT = Crystal(
    225,
    (5.64, 5.64, 5.64, 90.0, 90.0, 90.0),
    (Site("Na", "a", (0.0, 0.0, 0.0), charge=1), Site("Cl", "b", (0.5, 0.5, 0.5))),
)
QUARTZ = Crystal(
    154,
    (4.913, 4.913, 5.405, 90.0, 90.0, 120.0),
    (
        Site("Si", "a", (0.4697, 0.0, 2 / 3), b_iso=0.5),
        Site("O", "c", (0.4135, 0.2669, 0.7858), occupancy=0.9),
    ),
)


def test_symbols_are_in_order():
    assert len(ELEMENT_SYMBOLS) == 99
    assert [ELEMENT_SYMBOLS[z] for z in (1, 8, 26, 57, 82, 98)] == [
        "H",
        "O",
        "Fe",
        "La",
        "Pb",
        "Cf",
    ]


def test_batch_holds_what_went_in():
    batch = CrystalBatch.from_crystals([SALT, QUARTZ])
    assert len(batch) == 2
    assert list(batch) == [SALT, QUARTZ]
    assert batch[-1] == QUARTZ
    with pytest.raises(IndexError):
        batch[2]
    with pytest.raises(ValueError, match="read-only"):
        batch.fract[0, 0] = 1.0
    assert len(CrystalBatch.from_crystals([])) == 0


def test_volume_equals_the_determinant():
    rng = np.random.default_rng(0)
    cells = np.column_stack(
        [rng.uniform(2, 20, (200, 3)), rng.uniform(70, 110, (200, 3))]
    )
    determinants = [np.linalg.det(lattice_matrix(cell)) for cell in cells]
    np.testing.assert_allclose(cell_volumes(cells), determinants, rtol=1e-12)
    assert np.isnan(cell_volumes(np.array([[1.0, 1, 1, 10, 10, 90]]))).all()
    assert SALT.volume == pytest.approx(5.64**3, rel=1e-15)


def test_matrix_has_the_lengths_and_angles():
    matrix = lattice_matrix(np.array([3.0, 4.0, 5.0, 80.0, 95.0, 107.0]))
    lengths = np.linalg.norm(matrix, axis=1)
    unit = matrix / lengths[:, None]
    angles = np.degrees(
        np.arccos([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    )
    np.testing.assert_allclose(lengths, [3, 4, 5])
    np.testing.assert_allclose(angles, [80, 95, 107])


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (2, (3.0, 4.0, 5.0, 80.0, 95.0, 107.0)),
        (14, (3.0, 4.0, 5.0, 90.0, 95.0, 90.0)),
        (62, (3.0, 4.0, 5.0, 90.0, 90.0, 90.0)),
        (139, (3.5, 3.5, 5.0, 90.0, 90.0, 90.0)),
        (166, (3.5, 3.5, 5.0, 90.0, 90.0, 120.0)),
        (227, (4.0, 4.0, 4.0, 90.0, 90.0, 90.0)),
    ],
)
def test_symmetric_lattice(group, expected):
    found = symmetric_lattice(group, (3.0, 4.0, 5.0, 80.0, 95.0, 107.0))
    assert found == expected


def site(**changes):
    return replace(SALT, sites=(SALT.sites[0], replace(SALT.sites[1], **changes)))


def cell(*parameters):
    return replace(SALT, lattice=tuple(map(float, parameters)))


NAN = float("nan")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (replace(SALT, space_group=0), "numbers run from 1 to 230"),
        (replace(SALT, space_group=231), "numbers run from 1 to 230"),
        (replace(SALT, sites=()), "no sites"),
        (cell(NAN, 5, 5, 90, 90, 90), "no cell has"),
        (cell(-5, 5, 5, 90, 90, 90), "no cell has"),
        (cell(0.0, 5, 5, 90, 90, 90), "no cell has"),
        (
            Crystal(1, (5.0, 5.0, 5.0, 10.0, 10.0, 90.0), SALT.sites[:1]),
            "those of a parallelepiped",
        ),
        (cell(5, 5, 6, 90, 90, 90), "does not fit group 225"),
        (cell(5, 5, 5, 90, 90, 91), "does not fit group 225"),
        (site(element="Xx"), "unknown element 'Xx'"),
        (site(element=""), "unknown element ''"),
        (site(wyckoff_letter="?"), r"unknown Wyckoff letter '\?'"),
        (site(wyckoff_letter="ab"), "unknown Wyckoff letter 'ab'"),
        (site(wyckoff_letter="m"), "no Wyckoff position 'm'; its letters are abc"),
        (site(fract=(0.4, 0.5, 0.5)), r"is not on the first coordinate triplet"),
        (site(fract=(NAN, 0.5, 0.5)), "not finite"),
        (site(occupancy=0.0), r"not in \(0, 1\]"),
        (site(occupancy=1.5), r"not in \(0, 1\]"),
        (site(occupancy=NAN), r"not in \(0, 1\]"),
        (site(b_iso=float("inf")), "displacement B"),
    ],
)
def test_impossible_crystals_are_refused_by_index(bad, message):
    with pytest.raises(CrystalError, match=message) as caught:
        CrystalBatch.from_crystals([QUARTZ, SALT, bad, SALT])
    assert caught.value.index == 2
    assert "crystal 2" in str(caught.value)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="jaxtyping refuses them first")
def test_arrays_that_do_not_fit_are_refused():
    batch = CrystalBatch.from_crystals([SALT, QUARTZ])
    with pytest.raises(CrystalError, match="b_iso has the shape"):
        replace(batch, b_iso=np.zeros(3)).check()
    with pytest.raises(CrystalError, match="site_offset must rise"):
        replace(batch, site_offset=np.array([0, 2, 3])).check()
    with pytest.raises(CrystalError, match="number -1") as caught:
        replace(batch, wyckoff_index=np.array([0, 1, 0, -1], np.int16)).check()
    assert caught.value.index == 1
    with pytest.raises(CrystalError, match="1 to 98"):
        replace(batch, atomic_number=np.array([11, 0, 14, 8], np.int16)).check()
