"""Powder lines by cctbx, in a process of its own: JSON in, JSON out.

cctbx 2025.11 crashes on import once numba's LLVM is loaded in the same process.
"""

import json
import sys

import numpy as np
from cctbx import crystal as symmetry
from cctbx import miller, xray
from cctbx.array_family import flex
from cctbx.eltbx import sasaki


def lines(task):
    """Angle and intensity of every reflection, Friedel mates apart."""
    wavelength, (_, high) = task["wavelength"], task["two_theta"]
    structure = xray.structure(
        crystal_symmetry=symmetry.symmetry(
            unit_cell=task["lattice"], space_group_symbol=task["symbol"]
        ),
        scatterers=flex.xray_scatterer(
            [
                xray.scatterer(
                    label=f"{element}{i}",
                    scattering_type=element,
                    site=tuple(site),
                    occupancy=occupancy,
                    b=b_iso,
                )
                for i, (element, site, occupancy, b_iso) in enumerate(task["sites"])
            ]
        ),
    )
    structure.scattering_type_registry(table=task["table"])
    for scatterer in structure.scatterers():
        element = scatterer.scattering_type
        if task["dispersion"] == "sasaki":
            value = sasaki.table(element).at_angstrom(wavelength)
            scatterer.fp, scatterer.fdp = value.fp(), value.fdp()
        else:
            scatterer.fp, scatterer.fdp = task["dispersion"][element]
        scatterer.flags.set_use_fp_fdp(True)
    d_min = wavelength / 2 / np.sin(np.radians(high / 2))
    indices = miller.build_set(structure, anomalous_flag=True, d_min=d_min * 0.9999)
    squares = (
        indices.structure_factors_from_scatterers(structure, algorithm="direct")
        .f_calc()
        .as_intensity_array()
    )
    multiplicity = np.array(list(squares.multiplicities().data()), float)
    sine = wavelength / 2 / np.array(list(squares.d_spacings().data()))
    theta = np.arcsin(sine)
    lorentz = (1 + np.cos(2 * theta) ** 2) / (sine**2 * np.cos(theta))
    intensity = np.array(list(squares.data())) * multiplicity * lorentz
    return np.degrees(2 * theta).tolist(), intensity.tolist()


def answer(task):
    """Lines of a crystal, or f' and f'' of elements."""
    if "elements" in task:
        tables = [
            sasaki.table(e).at_angstrom(task["wavelength"]) for e in task["elements"]
        ]
        return [(value.fp(), value.fdp()) for value in tables]
    return lines(task)


if __name__ == "__main__":
    json.dump([answer(task) for task in json.load(sys.stdin)], sys.stdout)
