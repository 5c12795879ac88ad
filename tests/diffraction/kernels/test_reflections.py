import numpy as np
import pytest
from random_crystals import TABLES, draw_lattice
from references import list_all_reflections

from pxrdbench.diffraction.kernels.reflections import (
    list_reflections,
    reciprocal_metric,
)

ALLOWED = [
    lambda h, k, l: np.full(h.shape, True),
    lambda h, k, l: (k + l) % 2 == 0,
    lambda h, k, l: (h + k) % 2 == 0,
    lambda h, k, l: (h + k + l) % 2 == 0,
    lambda h, k, l: (h % 2 == k % 2) & (k % 2 == l % 2),
    lambda h, k, l: (-h + k + l) % 3 == 0,
]


def list_unique(group, lattice, q_max, room=4096):
    arrays = [np.zeros(room, np.int32) for _ in range(4)]
    n = list_reflections(
        reciprocal_metric(np.array(lattice)),
        TABLES.laue_class[group],
        TABLES.centring[group],
        q_max,
        *arrays,
    )
    return n, np.array(arrays[:3]).T[:n], arrays[3][:n]


@pytest.mark.parametrize("system", range(7))
def test_each_orbit_is_listed_once_with_its_size(system):
    """Against orbits under the group's own operators, in all groups of a system."""
    rng = np.random.default_rng(system)
    wavelength = 1.5406
    for group in np.flatnonzero(TABLES.crystal_system[1:] == system) + 1:
        lattice = draw_lattice(group, rng, 700.0)
        everything, _ = list_all_reflections(lattice, wavelength, (1e-3, 45.0))
        h, k, l = everything.T
        allowed = ALLOWED[TABLES.centring[group]](h, k, l)
        expected = {tuple(r) for r in everything[allowed]}
        n, unique, multiplicity = list_unique(
            group, lattice, (2 * np.sin(np.radians(22.5)) / wavelength) ** 2
        )
        rotation = TABLES.operators(group)[0].astype(int)
        rotation = np.unique(np.concatenate([rotation, -rotation]), axis=0)
        seen = set()
        for hkl, m in zip(unique, multiplicity, strict=True):
            orbit = {tuple(r) for r in hkl @ rotation}
            assert len(orbit) == m, f"group {group}, {hkl}"
            assert not orbit & seen, f"group {group}, {hkl} is listed twice"
            seen |= orbit
        assert seen == expected, f"group {group}"
        assert n > 4


@pytest.mark.parametrize(
    "lattice",
    [
        (4.1, 5.2, 6.3, 71.0, 82.0, 95.0),
        (4.1, 5.2, 6.3, 90.0, 101.0, 90.0),
        (4.1, 4.1, 6.3, 90.0, 90.0, 120.0),
    ],
)
def test_reciprocal_metric_inverts_the_metric(lattice):
    g11, g22, g33, g12, g13, g23 = reciprocal_metric(np.array(lattice))
    a, b, c = lattice[:3]
    cos = np.cos(np.radians(lattice[3:]))
    metric = [
        [a * a, a * b * cos[2], a * c * cos[1]],
        [a * b * cos[2], b * b, b * c * cos[0]],
        [a * c * cos[1], b * c * cos[0], c * c],
    ]
    np.testing.assert_allclose(
        np.linalg.inv(metric),
        [[g11, g12, g13], [g12, g22, g23], [g13, g23, g33]],
        atol=1e-15,
    )


def test_too_little_room_gives_the_number_needed():
    lattice = (9.0, 9.0, 9.0, 90.0, 90.0, 90.0)
    needed, unique, _ = list_unique(221, lattice, 0.8)
    assert list_unique(221, lattice, 0.8, room=3)[0] == needed == len(unique) > 3


@pytest.mark.parametrize(
    "lattice",
    [
        (0.0, 5.0, 5.0, 90.0, 90.0, 90.0),
        (5.0, 5.0, 5.0, 60.0, 60.0, 121.0),
        (5.0, np.nan, 5.0, 90.0, 90.0, 90.0),
        (5.0, np.inf, 5.0, 90.0, 90.0, 90.0),
    ],
)
def test_impossible_cell_has_no_metric(lattice):
    assert reciprocal_metric(np.array(lattice))[0] == 0.0
