"""Other people's simulators, for comparisons of time and of results.

Each is imported only when asked for, and left out where it is not installed. What they
compute is not the same; ``computes`` says what, and every one does at least the angles
and intensities of all lines of one crystal between two angles.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.speed.corpus import Corpus

WAVELENGTH, TWO_THETA = 1.5406, (5.0, 90.0)

# Angles 2θ [degrees] and intensities.
Lines = tuple[Float64[np.ndarray, " lines"], Float64[np.ndarray, " lines"]]


@dataclass(frozen=True)
class Simulator:
    """A program that computes the lines of one crystal of a corpus.

    Attributes:
        name: Of the package, as its version is asked for.
        computes: What it does, in a few words.
        scattering: Which of our tables are nearest to its own.
        every: It is so slow that only each so-many-th crystal is given to it.
        prepare: Makes its own crystal; not timed.
        compute: The lines of what ``prepare`` returned; timed.
    """

    name: str
    computes: str
    scattering: Literal["paper", "default"]
    every: int
    prepare: Callable[[Corpus, int], Any]
    compute: Callable[[Any], Lines]

    def timed(self, corpus: Corpus, index: int) -> tuple[float, Lines]:
        """CPU seconds and lines of one crystal."""
        prepared = self.prepare(corpus, index)
        start = time.process_time()
        lines = self.compute(prepared)
        return time.process_time() - start, lines


def find_simulators() -> tuple[Simulator, ...]:
    """Those that are installed here; pymatgen is the first."""
    return tuple(s for s in _SIMULATORS if importlib.util.find_spec(s.name) is not None)


def _pymatgen_structure(corpus: Corpus, index: int) -> Any:
    from pymatgen.core import Lattice, Structure

    lattice, elements, fract = corpus.cells[index]
    return Structure(Lattice.from_parameters(*lattice), elements, fract)


def _pymatgen_lines(structure: Any) -> Lines:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    calculator = XRDCalculator(wavelength=WAVELENGTH)
    pattern = calculator.get_pattern(structure, scaled=False, two_theta_range=TWO_THETA)
    return np.asarray(pattern.x), np.asarray(pattern.y)


def _gemmi_structure(corpus: Corpus, index: int) -> Any:
    import gemmi

    crystal = corpus.crystals[index]
    number = crystal.space_group
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*crystal.lattice)
    # Origin choice 2 and hexagonal axes, where there is a choice.
    small.spacegroup = gemmi.find_spacegroup_by_name(
        gemmi.find_spacegroup_by_number(number).hm, prefer="2H"
    )
    tables = load_symmetry_tables()
    n_operations = len(list(small.spacegroup.operations()))
    for label, own in enumerate(crystal.sites):
        site = gemmi.SmallStructure.Site()
        site.label, site.type_symbol = f"{own.element}{label}", own.element
        site.element = gemmi.Element(own.element)
        site.fract = gemmi.Fractional(*own.fract)
        # gemmi adds one image for each operation, whatever the position.
        row = tables.position_rows(number)[WYCKOFF_LETTERS.index(own.wyckoff_letter)]
        site.occ = own.occupancy * int(tables.multiplicity[row]) / n_operations
        site.u_iso = own.b_iso / (8.0 * np.pi**2)
        small.add_site(site)
    small.setup_cell_images()
    return small


def _gemmi_lines(small: Any) -> Lines:
    """The mean of |F(h)|² and |F(−h)|² from two sums, with f′ and with f′ + f″."""
    import gemmi

    operations = small.spacegroup.operations()
    d_min = WAVELENGTH / 2.0 / np.sin(np.radians(0.5 * TWO_THETA[1]))
    hkl = gemmi.make_miller_array(small.cell, small.spacegroup, d_min)
    sums = []
    for with_imaginary in (0.0, 1.0):
        calculator = gemmi.StructureFactorCalculatorX(small.cell)
        for z in {site.element.atomic_number for site in small.sites}:
            real, imaginary = gemmi.cromer_liberman(z, gemmi.hc / WAVELENGTH)
            calculator.addends.set(gemmi.Element(z), real + with_imaginary * imaginary)
        sums.append(
            np.array(
                [calculator.calculate_sf_from_small_structure(small, h) for h in hkl]
            )
        )
    # F is linear in the addend: the difference of the two sums is that of f″.
    square = np.abs(sums[0]) ** 2 + np.abs(sums[1] - sums[0]) ** 2
    n_rotations = len(list(operations.sym_ops))
    multiplicity = np.array(
        [
            n_rotations
            / operations.epsilon_factor_without_centering(h)
            * (1 if operations.is_reflection_centric(h) else 2)
            for h in hkl.tolist()
        ]
    )
    theta = np.arcsin(0.5 * WAVELENGTH * np.sqrt(small.cell.calculate_1_d2_array(hkl)))
    lorentz = (1.0 + np.cos(2.0 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    return np.degrees(2.0 * theta), multiplicity * square * lorentz


def _xrayutilities_crystal(corpus: Corpus, index: int) -> Any:
    import xrayutilities

    xrayutilities.config.NTHREADS = 1
    lattice, elements, fract = corpus.cells[index]
    cell = xrayutilities.materials.SGLattice(
        1,
        *lattice,
        atoms=list(elements),
        pos=[("1a", tuple(point)) for point in fract],
    )
    return xrayutilities.materials.Crystal(f"crystal_{index}", cell)


def _xrayutilities_lines(crystal: Any) -> Lines:
    import xrayutilities

    powder = xrayutilities.simpack.PowderDiffraction(
        crystal, wl=WAVELENGTH, enable_simulation=False, tt_cutoff=TWO_THETA[1]
    )
    lines = list(powder.data.values())
    angles = np.array([2.0 * line["ang"] for line in lines])
    return angles, np.array([line["r"] for line in lines])


_SIMULATORS = (
    Simulator(
        "pymatgen",
        "every reflection over every atom of the cell, NumPy; no dispersion",
        "paper",
        1,
        _pymatgen_structure,
        _pymatgen_lines,
    ),
    Simulator(
        "gemmi",
        "unique reflections, two sums in C++ called one by one; our tables",
        "default",
        1,
        _gemmi_structure,
        _gemmi_lines,
    ),
    Simulator(
        "xrayutilities",
        "whole cell in P1, and an object for the profile of each line; own tables",
        "default",
        20,
        _xrayutilities_crystal,
        _xrayutilities_lines,
    ),
)
