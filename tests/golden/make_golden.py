"""Write the peaks of well-known crystals as pymatgen computes them.

Run ``python tests/golden/make_golden.py`` from the repository's root; the version of
pymatgen is kept in each file. The structures are textbook ones (Wyckoff 1963, Crystal
Structures), as space group, cell and asymmetric unit.
"""

import json
from importlib.metadata import version
from pathlib import Path

from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

WAVELENGTH = 1.5406
# Name: group, cell, sites of element, Wyckoff letter and coordinates.
CRYSTALS = {
    "si": (227, (5.4307,) * 3 + (90,) * 3, [("Si", "a", (0.125, 0.125, 0.125))]),
    "nacl": (
        225,
        (5.6402,) * 3 + (90,) * 3,
        [("Na", "a", (0, 0, 0)), ("Cl", "b", (0.5, 0.5, 0.5))],
    ),
    "lab6": (
        221,
        (4.1569,) * 3 + (90,) * 3,
        [("La", "a", (0, 0, 0)), ("B", "f", (0.19975, 0.5, 0.5))],
    ),
    "quartz": (
        154,
        (4.9134, 4.9134, 5.4052, 90, 90, 120),
        [("Si", "a", (0.4697, 0, 2 / 3)), ("O", "c", (0.4133, 0.2672, 0.7855))],
    ),
    "rutile": (
        136,
        (4.5937, 4.5937, 2.9587, 90, 90, 90),
        [("Ti", "a", (0, 0, 0)), ("O", "f", (0.3053, 0.3053, 0))],
    ),
}


def main() -> None:
    for name, (group, cell, sites) in CRYSTALS.items():
        elements, _, points = zip(*sites, strict=True)
        lattice = Lattice.from_parameters(*cell)
        # pymatgen has Fd-3m in origin choice 1, and our coordinates are choice 2.
        shift = 0.125 if group == 227 else 0.0
        points = [[x - shift for x in point] for point in points]
        structure = Structure.from_spacegroup(group, lattice, elements, points)
        pattern = XRDCalculator(wavelength=WAVELENGTH).get_pattern(
            structure, scaled=False, two_theta_range=(5, 90)
        )
        golden = {
            "made_by": f"pymatgen {version('pymatgen')}",
            "wavelength": WAVELENGTH,
            "space_group": group,
            "lattice": cell,
            "sites": sites,
            "atoms_in_cell": len(structure),
            "two_theta": pattern.x.tolist(),
            "intensity": pattern.y.tolist(),
        }
        path = Path(__file__).with_name(f"{name}.json")
        path.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
