"""Twelve compounds, and their powder lines by other people's programs."""

import json
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np

from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

GOLDEN = Path(__file__).parents[2] / "golden"
# Groups with two origins in the International Tables: ours is the second.
_TWO_ORIGINS = {
    48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142,
    201, 203, 222, 224, 227, 228,
}  # fmt: skip
_RHOMBOHEDRAL = {146, 148, 155, 160, 161, 166, 167}


def _cubic(a):
    return (a, a, a, 90.0, 90.0, 90.0)


def _hexagonal(a, c):
    return (a, a, c, 90.0, 90.0, 120.0)


def _golden(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return Crystal(
        golden["space_group"],
        tuple(golden["lattice"]),
        tuple(Site(e, letter, tuple(x)) for e, letter, x in golden["sites"]),
    )


# Textbook structures; coordinates decide nothing here, as all programs get the same.
COMPOUNDS = {
    "NaCl": _golden("nacl"),
    "Si": _golden("si"),
    "LaB6": _golden("lab6"),
    "SiO2 quartz": _golden("quartz"),
    "TiO2 rutile": _golden("rutile"),
    "CeO2": Crystal(
        225,
        _cubic(5.4115),
        (Site("Ce", "a", (0, 0, 0)), Site("O", "c", (0.25, 0.25, 0.25))),
    ),
    "CaF2": Crystal(
        225,
        _cubic(5.4631),
        (Site("Ca", "a", (0, 0, 0)), Site("F", "c", (0.25, 0.25, 0.25))),
    ),
    "ZnO": Crystal(
        186,
        _hexagonal(3.2498, 5.2066),
        (
            Site("Zn", "b", (1 / 3, 2 / 3, 0.0)),
            Site("O", "b", (1 / 3, 2 / 3, 0.3821)),
        ),
    ),
    "Al2O3": Crystal(
        167,
        _hexagonal(4.759355, 12.99231),
        (Site("Al", "c", (0, 0, 0.35216)), Site("O", "e", (0.30624, 0, 0.25))),
    ),
    "Fe2O3": Crystal(
        167,
        _hexagonal(5.0356, 13.7489),
        (Site("Fe", "c", (0, 0, 0.3553)), Site("O", "e", (0.3059, 0, 0.25))),
    ),
    "Co3O4": Crystal(
        227,
        _cubic(8.084),
        (
            Site("Co", "a", (0.125, 0.125, 0.125)),
            Site("Co", "d", (0.5, 0.5, 0.5)),
            Site("O", "e", (0.2631, 0.2631, 0.2631)),
        ),
    ),
    "PbTiO3": Crystal(
        99,
        (3.9045, 3.9045, 4.1524, 90.0, 90.0, 90.0),
        (
            Site("Pb", "a", (0, 0, 0)),
            Site("Ti", "b", (0.5, 0.5, 0.5377)),
            Site("O", "b", (0.5, 0.5, 0.1118)),
            Site("O", "c", (0.5, 0, 0.6174)),
        ),
    ),
}


def cromer_liberman(element, wavelength):
    """f' and f'' of gemmi."""
    z = gemmi.Element(element).atomic_number
    return gemmi.cromer_liberman(z, gemmi.hc / wavelength)


def _ours(crystal, wavelength):
    return {s.element: cromer_liberman(s.element, wavelength) for s in crystal.sites}


def _lorentz(theta):
    return (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))


def _cctbx_symbol(group):
    if group in _TWO_ORIGINS:
        return f"{group}:2"
    return f"{group}:H" if group in _RHOMBOHEDRAL else str(group)


def cctbx_lines(crystals, wavelength, two_theta, *, own_tables):
    """Angle and intensity of every reflection of each crystal by cctbx.

    With its own tables (WK95, Sasaki) or with ours (IT92, Cromer-Liberman).
    """
    tasks = [
        {
            "lattice": crystal.lattice,
            "symbol": _cctbx_symbol(crystal.space_group),
            "sites": [
                (site.element, site.fract, site.occupancy, site.b_iso)
                for site in crystal.sites
            ],
            "wavelength": wavelength,
            "two_theta": two_theta,
            "table": "wk1995" if own_tables else "it1992",
            "dispersion": "sasaki"
            if own_tables
            else {
                s.element: cromer_liberman(s.element, wavelength) for s in crystal.sites
            },
        }
        for crystal in crystals
    ]
    return [(np.array(x), np.array(y)) for x, y in _ask_cctbx(tasks)]


def sasaki(elements, wavelength):
    """f' and f'' of each element by cctbx: Sasaki (1989), KEK Report 88-14."""
    return _ask_cctbx([{"elements": elements, "wavelength": wavelength}])[0]


def _ask_cctbx(tasks):
    worker = Path(__file__).with_name("cctbx_worker.py")
    answer = subprocess.run(
        [sys.executable, str(worker)],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)


def gemmi_lines(crystal, wavelength, two_theta):
    """The same by gemmi, its own operators and sums, f' + i f'' of Cromer-Liberman."""
    group = crystal.space_group
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*crystal.lattice)
    found = gemmi.find_spacegroup_by_name(
        gemmi.find_spacegroup_by_number(group).hm,
        prefer="2H" if group in _TWO_ORIGINS | _RHOMBOHEDRAL else "",
    )
    small.spacegroup = found
    for i, site in enumerate(crystal.sites):
        atom = gemmi.SmallStructure.Site()
        atom.label, atom.type_symbol = f"{site.element}{i}", site.element
        atom.element = gemmi.Element(site.element)
        atom.fract = gemmi.Fractional(*site.fract)
        atom.occ, atom.u_iso = site.occupancy, site.b_iso / (8 * np.pi**2)
        small.add_site(atom)
    small.setup_cell_images()
    d_min = wavelength / 2 / np.sin(np.radians(two_theta[1] / 2))
    hkl = gemmi.make_miller_array(small.cell, small.spacegroup, d_min * 0.9999)
    # A point on a special position counts once for each image: gemmi divides by none.
    tables = load_symmetry_tables()
    operations = len(list(found.operations()))
    for site, own in zip(small.sites, crystal.sites, strict=True):
        row = tables.position_rows(group)[ord(own.wyckoff_letter) - ord("a")]
        site.occ = own.occupancy * int(tables.multiplicity[row]) / operations
    totals = []
    for with_imaginary in (False, True):
        calculator = gemmi.StructureFactorCalculatorX(small.cell)
        for element in {site.element for site in crystal.sites}:
            real, imaginary = cromer_liberman(element, wavelength)
            calculator.addends.set(
                gemmi.Element(element), real + imaginary * with_imaginary
            )
        totals.append(
            np.array(
                [calculator.calculate_sf_from_small_structure(small, h) for h in hkl]
            )
        )
    # F is linear in the addend: the difference of the two sums is the sum of f''.
    p, q = totals[0], totals[1] - totals[0]
    operators = found.operations()
    multiplicity = np.array([_count_images(operators, h) for h in hkl.tolist()])
    theta = np.arcsin(
        np.array([wavelength / 2 / small.cell.calculate_d(h) for h in hkl.tolist()])
    )
    intensity = (np.abs(p) ** 2 + np.abs(q) ** 2) * multiplicity * _lorentz(theta)
    return np.degrees(2 * theta), intensity


def _count_images(operators, hkl):
    images = [tuple(op.apply_to_hkl(hkl)) for op in operators.sym_ops]
    return len({*images, *(tuple(-i for i in image) for image in images)})


def assign(peaks, index, angles, intensity):
    """Our intensities of one crystal, and the other program's for the same lines."""
    rows = slice(peaks.peak_offset[index], peaks.peak_offset[index + 1])
    ours = peaks.two_theta[rows]
    nearest = np.searchsorted((ours[1:] + ours[:-1]) / 2, angles)
    close = np.abs(ours[nearest] - angles) < 2e-5
    total = np.bincount(nearest[close], intensity[close], minlength=len(ours))
    return peaks.intensity[rows], total


def rp(ours, theirs):
    """Sum of differences [%] after scaling to the same sum."""
    ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    return 100 * np.abs(ours - theirs).sum()
