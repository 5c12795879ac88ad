"""Measured minerals against textbook structures, for docs/make_validation.py.

Patterns of RRUFF, background taken off by those who published this part of them. Per
pattern a few numbers of sample and instrument are fitted (cell, zero, widths, one B,
scale, a straight background); coordinates are those of the textbook, and no intensity
is fitted. Only numbers leave this file, no pattern does.
"""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import Broadening, render


def carbonate(metal: str, a: float, c: float, x: float) -> Crystal:
    """The calcite structure (Effenberger et al. 1981, Z. Kristallogr. 156, 233)."""
    return Crystal(
        167,
        (a, a, c, 90.0, 90.0, 120.0),
        (
            Site(metal, "b", (0.0, 0.0, 0.0)),
            Site("C", "a", (0.0, 0.0, 0.25)),
            Site("O", "e", (x, 0.0, 0.25)),
        ),
    )


def cubic(group: int, a: float, *sites: Site) -> Crystal:
    """A cubic crystal."""
    return Crystal(group, (a, a, a, 90.0, 90.0, 90.0), sites)


# Wyckoff's "Crystal Structures" (2nd ed.) where nothing else is said.
MINERALS = {
    "R070534": (
        "halite NaCl",
        cubic(225, 5.640, Site("Na", "a", (0, 0, 0)), Site("Cl", "b", (0.5, 0.5, 0.5))),
    ),
    "R050045": (
        "fluorite CaF2",
        cubic(225, 5.463, Site("Ca", "a", (0, 0, 0)), Site("F", "c", (0.25,) * 3)),
    ),
    "R130003": (
        "thorianite ThO2",
        cubic(225, 5.595, Site("Th", "a", (0, 0, 0)), Site("O", "c", (0.25,) * 3)),
    ),
    "R050140": (
        "sphalerite ZnS",
        cubic(216, 5.409, Site("Zn", "a", (0, 0, 0)), Site("S", "c", (0.25,) * 3)),
    ),
    "R060939": (
        "altaite PbTe",
        cubic(225, 6.454, Site("Pb", "a", (0, 0, 0)), Site("Te", "b", (0.5,) * 3)),
    ),
    "R070279": ("gold Au", cubic(225, 4.078, Site("Au", "a", (0, 0, 0)))),
    "R100133": (
        "spinel MgAl2O4",
        cubic(
            227,
            8.083,
            Site("Mg", "a", (0.125,) * 3),
            Site("Al", "d", (0.5,) * 3),
            Site("O", "e", (0.2624,) * 3),
        ),
    ),
    "R100131": (
        "corundum Al2O3",
        Crystal(
            167,
            (4.759, 4.759, 12.992, 90.0, 90.0, 120.0),
            (Site("Al", "c", (0, 0, 0.35216)), Site("O", "e", (0.30624, 0, 0.25))),
        ),
    ),
    "R050300": (
        "hematite Fe2O3",
        Crystal(
            167,
            (5.036, 5.036, 13.749, 90.0, 90.0, 120.0),
            (Site("Fe", "c", (0, 0, 0.3553)), Site("O", "e", (0.3059, 0, 0.25))),
        ),
    ),
    "R050676": ("magnesite MgCO3", carbonate("Mg", 4.633, 15.013, 0.2778)),
    "R040133": ("rhodochrosite MnCO3", carbonate("Mn", 4.768, 15.635, 0.2695)),
    "R050262": ("siderite FeCO3", carbonate("Fe", 4.692, 15.380, 0.2743)),
    "R040035": ("smithsonite ZnCO3", carbonate("Zn", 4.653, 15.026, 0.2764)),
}


def read_patterns() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Angles and counts of the minerals, where the shared data are at hand."""
    folder = os.environ.get("PXRDBENCH_TEST_DATA")
    path = Path(folder or "") / "rruff" / "xred_rruff90_csv.zip"
    if not folder or not path.is_file():
        return {}
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            key = Path(name).stem
            if key in MINERALS:
                text = io.StringIO(archive.read(name).decode("utf-8"))
                table = np.loadtxt(text, delimiter=",", skiprows=1)
                found[key] = (table[:, 0], table[:, 1])
    return found


class Fit:
    """One measured pattern and the numbers that describe sample and instrument."""

    def __init__(
        self, crystal: Crystal, angles: np.ndarray, counts: np.ndarray, radiation: str
    ) -> None:
        """Take the pattern; cubic cells have one free edge, others two."""
        self.crystal, self.counts, self.radiation = crystal, counts, radiation
        self.grid = TwoThetaGrid(float(angles[0]), float(angles[-1]), len(angles))
        self.is_cubic = crystal.space_group > 194
        line = np.linspace(-1.0, 1.0, len(angles))
        self.background = np.stack([np.ones_like(line), line])

    def pattern(self, numbers: np.ndarray) -> np.ndarray:
        """Profile for cell strains, zero, log widths u, w, y, and B."""
        strain_a, strain_c, zero, u, w, y, b = numbers
        a, _, c, *angles = self.crystal.lattice
        a, c = a * (1 + strain_a / 100), c * (1 + strain_c / 100)
        lattice = (a, a, a if self.is_cubic else c, *angles)
        sites = tuple(replace(site, b_iso=abs(b)) for site in self.crystal.sites)
        batch = CrystalBatch.from_crystals(
            [replace(self.crystal, lattice=lattice, sites=sites)]
        )
        peaks = simulate_peaks(batch, self.radiation, (8.0, 82.0), precision="double")
        moved = PeakBatch(
            peaks.two_theta + zero,
            peaks.intensity,
            peaks.peak_offset,
            wavelength=peaks.wavelength,
        )
        widths = Broadening(u=np.exp(u), w=np.exp(w), y=np.exp(y))
        return render(moved, self.grid, broadening=widths)[0].astype(float)

    def calculated(self, numbers: np.ndarray) -> np.ndarray:
        """Pattern times its best scale, and a straight line."""
        weight = 1.0 / np.sqrt(np.maximum(self.counts, self.counts.max() * 1e-3))
        columns = np.vstack([self.pattern(numbers), self.background])
        best, *_ = np.linalg.lstsq((columns * weight).T, self.counts * weight)
        return best @ columns

    def residual(self, numbers: np.ndarray) -> np.ndarray:
        """What counting noise would leave, roughly."""
        weight = 1.0 / np.sqrt(np.maximum(self.counts, self.counts.max() * 1e-3))
        return (self.calculated(numbers) - self.counts) * weight

    def solve(self) -> tuple[float, float, np.ndarray]:
        """Rp [%] over the pattern, correlation, and the fitted numbers."""
        numbers = np.array([0.0, 0.0, 0.0, -5.0, -4.5, -3.0, 0.5])
        low = np.array([-1.5, -1.5, -0.3, -12.0, -9.0, -9.0, 0.0])
        high = np.array([1.5, 1.5, 0.3, 0.0, -0.5, 0.0, 4.0])
        # Steps of the derivatives are 2 % of these: single precision is that coarse.
        unit = np.array([0.1, 0.1, 0.05, 0.5, 0.5, 0.5, 0.5])
        # First the size of the cell alone, with wide lines, so that lines find each
        # other; then everything, from wide to narrow.
        sizes = np.linspace(-1.2, 1.2, 49)
        trials = [numbers + np.array([s, s, 0, 0, 1.5, 0, 0]) for s in sizes]
        costs = [(self.residual(trial) ** 2).sum() for trial in trials]
        numbers[:2] = sizes[int(np.argmin(costs))]
        for width in (-3.0, -4.5):
            numbers[4] = width
            base = np.clip(numbers, low + 1e-3, high - 1e-3)
            free = least_squares(
                lambda t, base=base: self.residual(base + unit * (t - 1.0)),
                np.ones(7),
                bounds=((low - base) / unit + 1.0, (high - base) / unit + 1.0),
                diff_step=0.02,
                max_nfev=40,
            )
            numbers = base + unit * (free.x - 1.0)
        calculated = self.calculated(numbers)
        rp = 100 * np.abs(calculated - self.counts).sum() / self.counts.sum()
        return rp, float(np.corrcoef(calculated, self.counts)[0, 1]), numbers


def measured_rows() -> list[list[str]]:
    """A row of the report for each mineral; empty without the shared data."""
    rows = []
    patterns = read_patterns()
    for key, (name, crystal) in MINERALS.items():
        if key not in patterns:
            continue
        # Some of the patterns have had Kα2 taken off, as it seems: the better one.
        fits = {
            radiation: Fit(crystal, *patterns[key], radiation)
            for radiation in ("CuKa", "CuKa1")
        }
        solved = {radiation: fit.solve() for radiation, fit in fits.items()}
        radiation = max(solved, key=lambda name: solved[name][1])
        fit, (rp, correlation, numbers) = fits[radiation], solved[radiation]
        a = crystal.lattice[0] * (1 + numbers[0] / 100)
        c = crystal.lattice[2] * (1 + numbers[1] / 100)
        cell = f"{a:.4f}" if fit.is_cubic else f"{a:.4f}, {c:.3f}"
        rows.append(
            [name, key, radiation, cell, f"{abs(numbers[6]):.1f}", f"{rp:.1f} %",
             f"{correlation:.4f}"]
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    for row in measured_rows():
        print(row, flush=True)  # noqa: T201 - a script
