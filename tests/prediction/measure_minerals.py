"""Ten ideal minerals, simulated by pymatgen as a laboratory would measure them.

    python tests/prediction/measure_minerals.py --draws 10 [--reader] [--only quartz]

Right is the group or its mirror image; "same symbol" is said of the first answer where
only intensities tell it from the right one, and counted in the second sum.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers" / "physics"))
from laboratory_minerals import (
    GRID,
    MINERALS,
    laboratory_draw,
    lines_of,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(MINERALS))
    parser.add_argument("--prior", default="icsd")
    parser.add_argument("--reader", action="store_true", help="the reader alone")
    options = parser.parse_args()
    import pxrdbench as px
    from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

    tables = load_symmetry_tables()
    total, total_alike = 0, 0
    for name in options.only:
        group = MINERALS[name][0]
        angles, heights = lines_of(name)
        right, alike, notes, took = 0, 0, [], []
        for seed in range(options.draws):
            scan = laboratory_draw(angles, heights, seed)
            start = time.process_time()
            if options.reader:
                result = px.index_pattern(
                    GRID, scan, radiation="CuKa", prior=options.prior
                )
                first = result.space_groups[0] if result.space_groups else None
                cell = result.cells[0] if result.cells else None
            else:
                result = px.predict(GRID, scan, radiation="CuKa", prior=options.prior)
                first = result.candidates[0]
                cell = result.cells[0] if result.cells else None
            took.append(time.process_time() - start)
            enantiomorph = {154: 152, 92: 96}.get(group, group)
            is_right = first is not None and first.space_group in (group, enantiomorph)
            right += is_right
            alike += is_right or (
                first is not None
                and tables.extinction_group[first.space_group]
                == tables.extinction_group[group]
            )
            if not is_right:
                same = first is not None and int(
                    tables.extinction_group[first.space_group]
                ) == int(tables.extinction_group[group])
                notes.append(
                    f"{seed}: {first and first.space_group}"
                    f"{' same symbol' if same else ''} {cell and cell.bravais_lattice} "
                    f"V {cell and round(cell.volume, 1)}"
                )
        total += right >= 0.9 * options.draws
        total_alike += alike >= 0.9 * options.draws
        print(
            f"{name:13s} {group:3d} {right:2d} ({alike}) of {options.draws} "
            f"{np.median(took):.2f} s  {'; '.join(notes)}",
            flush=True,
        )
    print(
        f"minerals right in 9 of 10: {total} of {len(options.only)}; right, or of the "
        f"same absences: {total_alike}"
    )


if __name__ == "__main__":
    main()
