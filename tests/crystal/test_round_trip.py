"""Real crystals to pymatgen and CIF and back: nothing may change.

``python tests/crystal/test_round_trip.py 5000`` does so with that many crystals of the
Materials Project and prints each one that does change.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.sources.cif.blocks import read_block
from pxrdbench.sources.databases.materials_project import make_structures, read_table

# Of the strongest peak, and degrees.
TOLERANCE = 1e-6
# What is below that of the strongest peak counts as absent: rounding makes such peaks.
FAINTEST = 1e-6


def compare(first, second):
    """What differs between two crystals, or nothing."""
    if first.space_group != second.space_group:
        return f"group {first.space_group} became {second.space_group}"
    if abs(second.volume / first.volume - 1.0) > TOLERANCE:
        return f"volume {first.volume} became {second.volume}"
    if positions(first) != positions(second):
        return f"sites {positions(first)} became {positions(second)}"
    both = CrystalBatch.from_crystals([first, second])
    peaks = simulate_peaks(both, precision="double")
    lists = []
    for index in range(2):
        part = slice(*peaks.peak_offset[index : index + 2])
        angle, intensity = peaks.two_theta[part], peaks.intensity[part]
        intensity = intensity / intensity.max()
        lists.append((angle[intensity > FAINTEST], intensity[intensity > FAINTEST]))
    return compare_peaks(*lists)


def compare_peaks(first, second):
    """Peaks side by side; close ones may have merged in one of the lists only."""
    angles = np.concatenate([first[0], second[0]])
    signed = np.concatenate([first[1], -second[1]])
    order = np.argsort(angles)
    angles, signed = angles[order], signed[order]
    cluster = np.concatenate([[0], np.cumsum(np.diff(angles) > 2e-5)])
    rest = np.abs(np.bincount(cluster, signed))
    # A peak at the edge of what counts as absent may be in one list alone.
    worst = rest.max()
    if worst > TOLERANCE + FAINTEST:
        where = angles[np.searchsorted(cluster, rest.argmax())]
        return f"a peak at {where:.4f} degrees differs by {worst:.2g}"
    return ""


def positions(crystal):
    """Elements with the site symmetry they sit on: origins may differ."""
    from pxrdbench.crystal.symmetry.tables import (
        find_wyckoff_index,
        load_symmetry_tables,
    )

    tables = load_symmetry_tables()
    rows = tables.position_rows(crystal.space_group)
    found = []
    for site in crystal.sites:
        row = rows[find_wyckoff_index(crystal.space_group, site.wyckoff_letter)]
        symmetry = "".join(sorted(tables.site_symmetry[row]))
        found.append((site.element, int(tables.multiplicity[row]), symmetry))
    return sorted(found)


def check_rows(table, with_cif):
    """Id and difference of each row that changes; the number of crystals."""
    changed, n_crystals = [], 0
    for name, structure in zip(
        table["id"].to_pylist(), make_structures(table), strict=True
    ):
        crystal = Crystal.from_pymatgen(structure)
        n_crystals += 1
        again = Crystal.from_pymatgen(crystal.to_pymatgen())
        difference = compare(crystal, again)
        if with_cif and not difference:
            outcome = read_block(crystal.to_cif(name))
            if isinstance(outcome, str):
                difference = f"CIF: {outcome}"
            else:
                difference = compare(crystal, outcome[1])
                difference = difference and f"CIF: {difference}"
        if difference:
            changed.append((name, difference))
    return changed, n_crystals


@pytest.mark.data
def test_real_crystals_come_back(test_data):
    table = read_table(test_data)
    rows = table.take(list(range(77, table.num_rows, 160)))
    assert len(set(rows["sg_symprec_0.01"].to_pylist())) > 40
    changed, n_crystals = check_rows(rows, with_cif=False)
    assert n_crystals > 140
    assert changed == []


@pytest.mark.data
def test_real_crystals_come_back_from_cif(test_data):
    table = read_table(test_data)
    changed, _ = check_rows(table.take(list(range(5, 23500, 500))), with_cif=True)
    assert changed == []


def main():
    count = int(sys.argv[1])
    table = read_table(Path(os.environ["PXRDBENCH_TEST_DATA"]))
    rows = table.take(np.linspace(0, table.num_rows - 1, count).astype(int).tolist())
    started = time.process_time()
    changed, n_crystals = check_rows(rows, with_cif="cif" in sys.argv)
    for name, difference in changed:
        print(name, difference)
    seconds = time.process_time() - started
    print(f"{n_crystals} crystals, {len(changed)} changed, {seconds:.0f} s")


if __name__ == "__main__":
    main()
