"""Intensities of 300 experimental minerals against pymatgen and gemmi.

    python tests/diffraction/measure_minerals.py [COUNT]    # needs the extra amcsd

Entries of the American Mineralogist database at equal distances; those with more than
400 atoms in the cell are passed over, for pymatgen takes minutes for one. Lines between
5 and 90 degrees at 1.5406 Å, each compared where it has 0.1 % of the strongest:

paper    our intensities with pymatgen's form factors against pymatgen itself
gemmi    our default ones (IT 6.1.1.4, Cromer-Liberman, B by site) against gemmi's sums
default  our default ones against pymatgen, as R = Σ|I - I'| / Σ I [%]; and what is left
         of it once dispersion and displacements are left out (gemmi's sums without
         addends and B): then the tables of form factors alone differ

A line that deviates by more than 1 % is printed with its crystal.
"""

# ruff: noqa: E402 - the tests are no package; their helpers are found by path

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np

HELPERS = Path(__file__).parents[1] / "helpers" / "physics"
sys.path.insert(0, str(HELPERS))

import other_programs
from other_programs import assign, gemmi_lines, rp
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from pxrdbench.crystal.cif_reader.read import read_block
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import PxrdbenchError
from pxrdbench.sources.databases.amcsd import read_amcsd

WAVELENGTH, RANGE, WEAKEST, MOST_ATOMS = 1.5406, (5.0, 90.0), 1e-3, 400


def deviation(ours, theirs):
    """Largest relative difference of lines that have 0.1 % of the strongest."""
    strong = ours > WEAKEST * ours.max()
    return float(np.abs(theirs[strong] / ours[strong] - 1.0).max())


def bare(crystal, **changes):
    return replace(
        crystal, sites=tuple(replace(site, **changes) for site in crystal.sites)
    )


def pymatgen_lines(crystal):
    pattern = XRDCalculator(wavelength=WAVELENGTH).get_pattern(
        crystal.to_pymatgen(), scaled=False, two_theta_range=RANGE
    )
    return np.array(pattern.x), np.array(pattern.y)


def without_dispersion(crystal):
    known = other_programs.cromer_liberman
    other_programs.cromer_liberman = lambda element, wavelength: (0.0, 0.0)
    try:
        return gemmi_lines(crystal, WAVELENGTH, RANGE)
    finally:
        other_programs.cromer_liberman = known


def compare(crystal):
    """Deviations against pymatgen and gemmi, R of the defaults, R of the tables."""
    neutral = bare(crystal, charge=0)
    still = bare(neutral, b_iso=0.0)
    batch = CrystalBatch.from_crystals([still])
    paper = simulate_peaks(batch, WAVELENGTH, RANGE, "paper", "double")
    theirs = assign(paper, 0, *pymatgen_lines(still))
    default = simulate_peaks(
        CrystalBatch.from_crystals([neutral]), WAVELENGTH, RANGE, precision="double"
    )
    of_gemmi = assign(default, 0, *gemmi_lines(neutral, WAVELENGTH, RANGE))
    plain = simulate_peaks(batch, WAVELENGTH, RANGE, precision="double")
    ours, of_pymatgen = assign(plain, 0, *pymatgen_lines(still))
    _, static = assign(plain, 0, *without_dispersion(still))
    return (
        deviation(*theirs), deviation(*of_gemmi), rp(ours, of_pymatgen),
        rp(static, of_pymatgen),
    )  # fmt: skip


def main(count=300):
    warnings.simplefilter("ignore")
    gemmi.set_leak_warnings(False)
    entries = list(read_amcsd())
    rows = []
    # More than are wanted, for some are refused or large.
    for place in np.linspace(0, len(entries) - 1, int(1.6 * count)).astype(int):
        entry = entries[place]
        crystal = read_block(entry.cif).crystal
        if crystal is None or len(crystal.to_pymatgen()) > MOST_ATOMS:
            continue
        try:
            row = compare(crystal)
        except PxrdbenchError as error:
            print(entry.code, entry.mineral, "not compared:", error)
            continue
        elements = "".join(sorted({site.element for site in crystal.sites}))
        name = f"{entry.code} {entry.mineral} {elements} {crystal.space_group}"
        rows.append(row)
        if max(row[:2]) > 0.01 or row[3] > 1.0:
            print(f"{name}: paper {row[0]:.1e} gemmi {row[1]:.1e} R {row[2]:.2f} % "
                  f"tables alone {row[3]:.2f} %")  # fmt: skip
        if len(rows) == count:
            break
    table = np.array(rows)
    print(len(rows), "compared")
    for name, column, limit in (("paper", 0, 0.01), ("gemmi", 1, 0.01),
                                ("R", 2, 1.0), ("tables alone", 3, 1.0)):  # fmt: skip
        values = table[:, column]
        print(f"{name}: median {np.median(values):.2g}, largest {values.max():.2g}, "
              f"above the limit of 1 % {int((values > limit).sum())}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
