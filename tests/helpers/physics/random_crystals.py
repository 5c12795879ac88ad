"""Crystals with atoms on every position of a group, for comparison with references."""

import numpy as np

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

TABLES = load_symmetry_tables()


def draw_lattice(group, rng, volume):
    """A cell of the group's lattice type with a given volume [Å³]."""
    a, b, c = rng.uniform(0.8, 1.25, 3)
    alpha, beta, gamma = rng.uniform(75, 110, 3)
    lattice = {
        0: (a, b, c, alpha, beta, gamma),
        1: (a, b, c, 90, beta, 90),
        2: (a, b, c, 90, 90, 90),
        3: (a, a, c, 90, 90, 90),
        4: (a, a, c, 90, 90, 120),
        5: (a, a, a, 90, 90, 90),
    }[int(TABLES.lattice_type[group])]
    cos = np.cos(np.radians(lattice[3:]))
    unit = np.prod(lattice[:3]) * np.sqrt(1 - (cos**2).sum() + 2 * cos.prod())
    edge = (volume / unit) ** (1 / 3)
    return tuple(float(v) for v in (*(edge * np.array(lattice[:3])), *lattice[3:]))


def draw_site(group, index, rng, element, **values):
    """A site anywhere on the index-th position of a group."""
    row = TABLES.position_rows(group)[index]
    point = (
        TABLES.first_rotation[row] @ rng.random(3) + TABLES.first_translation[row] / 24
    )
    return Site(element, WYCKOFF_LETTERS[index], tuple(point.tolist()), **values)


def draw_crystal_on_all_positions(group, rng, volume=250.0):
    """One atom on each Wyckoff position; few elements, so that some share one."""
    palette = [ELEMENT_SYMBOLS[z] for z in rng.integers(3, 93, 4)]
    sites = [
        draw_site(
            group,
            index,
            rng,
            palette[rng.integers(4)],
            occupancy=float(rng.uniform(0.3, 1.0)),
            b_iso=float(rng.integers(0, 2)),
        )
        for index in range(len(TABLES.position_rows(group)))
    ]
    return Crystal(group, draw_lattice(group, rng, volume), tuple(sites))


def assign_to_peaks(peaks, index, angles, intensities, within=1.1e-5):
    """Sum reference reflections for each peak; also the strongest left over."""
    rows = slice(peaks.peak_offset[index], peaks.peak_offset[index + 1])
    ours = peaks.two_theta[rows]
    nearest = np.searchsorted((ours[1:] + ours[:-1]) / 2, angles)
    close = np.abs(ours[nearest] - angles) < within
    total = np.bincount(nearest[close], intensities[close], minlength=len(ours))
    lost = intensities[~close].max(initial=0.0)
    return peaks.intensity[rows], total, lost
