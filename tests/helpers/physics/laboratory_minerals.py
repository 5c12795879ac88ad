"""Ideal minerals as a laboratory would measure them: lines of pymatgen, draws of ours.

Structures are the published ones, sources beside them; each draw adds the K-alpha
doublet, widths of an instrument and a size, a background, Poisson noise and a small
zero shift.
"""

from functools import cache

import numpy as np

GRID = np.arange(10.0, 90.0, 0.02)
K_ALPHA = ((1.540593, 1.0), (1.544414, 0.5))

# name: group, cell, sites; International Tables' standard settings, origin choice 2.
MINERALS = {
    # Levien, Prewitt & Weidner (1980), Am. Mineral. 65, 920
    "quartz": (154, (4.916, 4.916, 5.4054, 90, 90, 120),
               [("Si", (0.4697, 0, 2 / 3)), ("O", (0.4133, 0.2672, 0.7858))]),
    # Novak & Gibbs (1971), Am. Mineral. 56, 791
    "pyrope": (230, (11.459,) * 3 + (90,) * 3,
               [("Al", (0, 0, 0)), ("Mg", (0.125, 0, 0.25)), ("Si", (0.375, 0, 0.25)),
                ("O", (0.0328, 0.0502, 0.6534))]),
    # Peacor (1973), Z. Kristallogr. 138, 274
    "cristobalite": (92, (4.9709, 4.9709, 6.9278, 90, 90, 90),
                     [("Si", (0.3003, 0.3003, 0)), ("O", (0.2392, 0.1044, 0.1787))]),
    # Wyckoff (1963), Crystal Structures, and all that follow but zircon
    "bixbyite": (206, (9.4146,) * 3 + (90,) * 3,
                 [("Mn", (0, 0, 0)), ("Mn", (0.2847, 0, 0.25)),
                  ("O", (0.1287, 0.1468, 0.4165))]),
    "spinel": (227, (8.0806,) * 3 + (90,) * 3,
               [("Mg", (0.125,) * 3), ("Al", (0.5,) * 3), ("O", (0.2624,) * 3)]),
    "rutile": (136, (4.5937, 4.5937, 2.9587, 90, 90, 90),
               [("Ti", (0, 0, 0)), ("O", (0.3053, 0.3053, 0))]),
    "calcite": (167, (4.9896, 4.9896, 17.061, 90, 90, 120),
                [("Ca", (0, 0, 0)), ("C", (0, 0, 0.25)), ("O", (0.2567, 0, 0.25))]),
    "corundum": (167, (4.7589, 4.7589, 12.9919, 90, 90, 120),
                 [("Al", (0, 0, 0.3522)), ("O", (0.3063, 0, 0.25))]),
    # Hazen & Finger (1979), Am. Mineral. 64, 196
    "zircon": (141, (6.6042, 6.6042, 5.9796, 90, 90, 90),
               [("Zr", (0, 0.75, 0.125)), ("Si", (0, 0.25, 0.375)),
                ("O", (0, 0.0660, 0.1951))]),
    "halite": (225, (5.6402,) * 3 + (90,) * 3,
               [("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5))]),
}  # fmt: skip


def structure(name):
    from pymatgen.core import Lattice, Structure

    group, cell, sites = MINERALS[name]
    return Structure.from_spacegroup(
        group, Lattice.from_parameters(*cell), *zip(*sites, strict=True)
    )


@cache
def lines_of(name):
    """Angles of the first wavelength and intensities, by pymatgen."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    found = XRDCalculator(wavelength=K_ALPHA[0][0]).get_pattern(
        structure(name), two_theta_range=(5, 95)
    )
    return np.array(found.x), np.array(found.y)


def laboratory_draw(angles, heights, seed):
    """One scan of a laboratory diffractometer."""
    random = np.random.default_rng(seed)
    zero = random.uniform(-0.05, 0.05)
    fwhm0, size = random.uniform(0.06, 0.12), random.uniform(40.0, 200.0)
    eta = random.uniform(0.3, 0.8)
    scan = np.zeros(len(GRID))
    for wavelength, share in K_ALPHA:
        sine = np.sin(np.radians(angles / 2)) * wavelength / K_ALPHA[0][0]
        at = 2 * np.degrees(np.arcsin(sine.clip(max=0.9999)))
        width = fwhm0 + np.degrees(
            0.9 * wavelength / (10 * size) / np.cos(np.radians(at / 2))
        )
        for place, height, w in zip(at + zero, share * heights, width, strict=True):
            x = (GRID - place) / (w / 2)
            shape = eta / (1 + x * x) * 2 / np.pi / w + (1 - eta) * np.exp(
                -np.log(2) * x * x
            ) * 2 / w * np.sqrt(np.log(2) / np.pi)
            scan += height * shape
    top = random.uniform(3e3, 3e4)
    scan *= top / scan.max()
    t = (GRID - GRID[0]) / np.ptp(GRID)
    ground = top * random.uniform(0.01, 0.05)
    scan += ground * (1 + random.uniform(0, 2) * np.exp(-6 * t))
    return random.poisson(scan).astype(float)
