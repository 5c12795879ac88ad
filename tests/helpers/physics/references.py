"""The physics once more, slow and plain: whole cells, all reflections, full sums.

Nothing here calls a kernel of pxrdbench.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.structure import Crystal
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

# f of an element and its charge at (sin θ/λ)², complex with f″.
FormFactor = Callable[[str, int, np.ndarray], np.ndarray]


class Atoms(NamedTuple):
    """A whole conventional cell."""

    elements: list[str]
    charge: np.ndarray
    fract: np.ndarray
    occupancy: np.ndarray
    b_iso: np.ndarray


def fill_cell(crystal: Crystal) -> Atoms:
    """All images of all sites, by the operators of their positions' orbits."""
    tables = load_symmetry_tables()
    elements, rows = [], []
    for site in crystal.sites:
        row = tables.position_offset[crystal.space_group] + WYCKOFF_LETTERS.index(
            site.wyckoff_letter
        )
        orbit = slice(tables.orbit_offset[row], tables.orbit_offset[row + 1])
        rotation = tables.orbit_rotation[orbit].astype(float)
        images = rotation @ np.array(site.fract) + tables.orbit_translation[orbit] / 24
        for image in images:
            elements.append(site.element)
            rows.append([site.charge, *image, site.occupancy, site.b_iso])
    table = np.array(rows)
    return Atoms(elements, table[:, 0], table[:, 1:4], table[:, 4], table[:, 5])


def lattice_vectors(lattice: tuple[float, ...]) -> np.ndarray:
    """Rows a, b, c in Cartesian coordinates; a along x, b in the xy plane."""
    a, b, c = lattice[:3]
    alpha, beta, gamma = np.radians(lattice[3:])
    c_x = np.cos(beta)
    c_y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    return np.array(
        [
            [a, 0, 0],
            [b * np.cos(gamma), b * np.sin(gamma), 0],
            [c * c_x, c * c_y, c * np.sqrt(1 - c_x**2 - c_y**2)],
        ]
    )


def list_all_reflections(
    lattice: tuple[float, ...], wavelength: float, two_theta: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Every h k l in the range, Friedel mates included, and sin θ of each."""
    vectors = lattice_vectors(lattice)
    longest = 2 * np.sin(np.radians(two_theta[1] / 2)) / wavelength
    reach = np.floor(longest * np.linalg.norm(vectors, axis=1) + 1e-6).astype(int)
    hkl = np.stack(
        np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1
    ).reshape(-1, 3)
    hkl = hkl[hkl.any(axis=1)]
    sin_theta = np.linalg.norm(hkl @ np.linalg.inv(vectors).T, axis=1) * wavelength / 2
    low, high = np.sin(np.radians(np.array(two_theta) / 2))
    inside = (sin_theta >= low) & (sin_theta <= high)
    return hkl[inside], sin_theta[inside]


def sum_structure_factors(
    atoms: Atoms, hkl: np.ndarray, stol2: np.ndarray, form_factor: FormFactor
) -> np.ndarray:
    """F(hkl) over the whole cell."""
    total = np.zeros(len(hkl), complex)
    species = list(zip(atoms.elements, atoms.charge, atoms.b_iso, strict=True))
    for element, charge, b_iso in sorted(set(species)):
        mine = np.array([s == (element, charge, b_iso) for s in species])
        waves = np.exp(2j * np.pi * (hkl @ atoms.fract[mine].T)) @ atoms.occupancy[mine]
        f = form_factor(element, int(charge), stol2) * np.exp(-b_iso * stol2)
        total += f * waves
    return total


def simulate_reflections(
    crystal: Crystal,
    form_factor: FormFactor,
    wavelength: float = 1.5406,
    two_theta: tuple[float, float] = (5.0, 90.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Angles [degrees] and intensities of all reflections, none merged."""
    hkl, sin_theta = list_all_reflections(crystal.lattice, wavelength, two_theta)
    theta = np.arcsin(sin_theta)
    f = sum_structure_factors(
        fill_cell(crystal), hkl, (sin_theta / wavelength) ** 2, form_factor
    )
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    return np.degrees(2 * theta), np.abs(f) ** 2 * lorentz


def paper_form_factor(element: str, charge: int, stol2: np.ndarray) -> np.ndarray:
    """The formula of pymatgen with pymatgen's own table."""
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    a, b = np.array(ATOMIC_SCATTERING_PARAMS[element]).T
    return (
        ATOMIC_NUMBERS[element]
        - 41.78214 * stol2 * (a * np.exp(-np.outer(stol2, b))).sum(axis=1)
        + 0j
    )


def make_gemmi_form_factor(wavelength: float) -> FormFactor:
    """f0 of gemmi's table and f′ + i f″ at one wavelength.

    The sum of exponentials is taken here: gemmi's own is in single precision.
    """
    import gemmi

    def form_factor(element: str, charge: int, stol2: np.ndarray) -> np.ndarray:
        atom = gemmi.Element(element)
        gemmi.IT92_set_ignore_charge(False)
        table = gemmi.IT92_get_exact(atom, charge)
        gemmi.IT92_set_ignore_charge(True)
        real, imaginary = gemmi.cromer_liberman(
            atom.atomic_number, gemmi.hc / wavelength
        )
        a, b = np.array(table.a), np.array(table.b)
        f0 = (a * np.exp(-np.outer(stol2, b))).sum(axis=1) + table.c
        return f0 + real + 1j * imaginary

    return form_factor


def add_gaussians(
    two_theta: np.ndarray,
    intensity: np.ndarray,
    angles: np.ndarray,
    crystallite_size_nm: float,
    wavelength: float = 1.5406,
) -> np.ndarray:
    """Area-normalised Scherrer Gaussians on every point, scaled to maximum 1."""
    fwhm = np.degrees(
        0.9
        * wavelength
        / 10
        / (crystallite_size_nm * np.cos(np.radians(two_theta / 2)))
    )
    sigma = fwhm / np.sqrt(8 * np.log(2))
    pattern = np.zeros(len(angles))
    for x, area, s in zip(two_theta, intensity, sigma, strict=True):
        pattern += area / s * np.exp(-((angles - x) ** 2) / (2 * s**2))
    return pattern / pattern.max()


def add_pseudo_voigts(
    two_theta: np.ndarray,
    intensity: np.ndarray,
    angles: np.ndarray,
    gauss: np.ndarray,
    lorentz: np.ndarray,
) -> np.ndarray:
    """Thompson-Cox-Hastings profiles of given widths [degrees], scaled to maximum 1."""
    pattern = np.zeros(len(angles))
    for x, area, g, l in zip(two_theta, intensity, gauss, lorentz, strict=True):
        powers = [1, 2.69269, 2.42843, 4.47163, 0.07842, 1]
        h = sum(p * g ** (5 - i) * l**i for i, p in enumerate(powers)) ** 0.2
        eta = 1.36603 * l / h - 0.47719 * (l / h) ** 2 + 0.11116 * (l / h) ** 3
        d = angles - x
        pattern += area * eta * h / (2 * np.pi) / (d**2 + h**2 / 4)
        pattern += (
            area
            * (1 - eta)
            * np.sqrt(4 * np.log(2) / np.pi)
            / h
            * np.exp(-4 * np.log(2) * (d / h) ** 2)
        )
    return pattern / pattern.max()
