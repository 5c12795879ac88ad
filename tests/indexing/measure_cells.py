"""Measure which cells are found: rates by crystal system, with intervals and CPU time.

    python tests/indexing/measure_cells.py clean [--part dev] [--count 400] [--seed 1]
    python tests/indexing/measure_cells.py perturbed [--error 0.02] [--zero 0.1] ...
    python tests/indexing/measure_cells.py rruff [--rest]

Beside mlindex: `pxrdbench bench --index`.

A cell is right where a unimodular mapping takes it onto the primitive lattice of the
crystal within 0.5 % and 0.5 degrees (`lattices.same_lattice`; RRUFF: 1 % and 1 degree,
as cells of minerals are stated, not measured on the same grain). Counted apart are
lattices that no line of the list tells from the right one: every line used is within
its tolerance of a line of theirs, they differ from the right one by a derivative
lattice of index 2, 3 or 4, and they predict no more lines. "twin" is their share.
True cells of ``open/structure-type`` are those of spglib at the first of symprec 0.1,
0.01 and 0.001 that gives the label of the track.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from pxrdbench.indexing.cells.find import find_cells
from pxrdbench.indexing.cells.lattices import (
    cell_parameters,
    inverse,
    metric,
    primitive_cell,
    reduced,
    same_lattice,
    transform,
)
from pxrdbench.indexing.cells.search import SUBLATTICES
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.indexing.lines.line_list import LineList

SYSTEMS = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)
LAST_GROUP = (2, 15, 74, 142, 167, 194, 230)


def interval(k, n):
    """95 % interval of Wilson (1927)."""
    z, p = 1.96, k / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def true_primitive(row, number):
    """Primitive cell of a row of mp_structures.parquet."""
    import gemmi
    import spglib

    cell = gemmi.UnitCell(*row.cell)
    frame = np.array(cell.orth.mat.tolist()).T
    fract = np.array(row.frac, dtype=float).reshape(-1, 3)
    atoms = [gemmi.Element(e).atomic_number for e in row.elements.split()]
    crystal = (frame, fract, atoms)
    for symprec in (0.1, 0.01, 0.001):
        found = spglib.get_symmetry_dataset(crystal, symprec=symprec)
        if found is not None and found.number == number:
            break
    else:
        symprec = 0.01
    basis = spglib.find_primitive(crystal, symprec=symprec)[0]
    return tuple(cell_parameters(basis @ basis.T))


def clean_lists(part, count, seed):
    """(system, name, true primitive cell, lines) of clean patterns."""
    import os

    import pyarrow.parquet as pq

    from pxrdbench.tracks.load import load_track

    track = load_track("open/structure-type", part)
    n = len(track.ids)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:count])
    folder = Path(os.environ["PXRDBENCH_TEST_DATA"])
    table = pq.read_table(folder / "structures/mp_structures.parquet").to_pandas()
    table = table.set_index("id")
    angles = track.grid.angles()
    for row in rows:
        number = int(track.space_group[row])
        system = SYSTEMS[int(np.searchsorted(LAST_GROUP, number))]
        name = track.ids[row]
        intensity = track.take(np.array([row])).intensity[0].astype(np.float64)
        try:
            lines = find_lines(angles, intensity)
        except ValueError:
            lines = None  # counts as not found
        yield system, name, true_primitive(table.loc[name], number), lines


def rruff_lists(rest):
    """The same of measured scans: every third one, or the others."""
    from measured_truth import load_named, space_group_of, stated_cell

    for i, (label, scan) in enumerate(load_named()):
        if (i % 3 == 0) == rest:
            continue
        letter = space_group_of(label).hm[0]
        if letter == "R" and float(label["gamma"]) != 120.0:
            letter = "P"
        lines = find_lines(scan[:, 0], scan[:, 1], "CuKa")
        true = primitive_cell(stated_cell(label), letter)
        yield label["crystal_system"], label["id"], true, lines


def perturb(lines, rng, error, zero, foreign, missing):
    """Errors, a zero shift, foreign and missing lines, as a scan has them."""
    n = len(lines)
    kept = rng.random(n) >= missing
    kept &= lines.intensity > 0.01 * lines.intensity.max()
    angle = lines.two_theta[kept] + rng.normal(0, error, kept.sum())
    angle += rng.uniform(-zero, zero)
    strength, width = lines.intensity[kept], lines.fwhm[kept]
    if foreign:
        last = angle.max() if len(angle) else 60.0
        angle = np.append(angle, rng.uniform(10.0, last, foreign))
        strength = np.append(strength, rng.uniform(0.02, 0.1, foreign))
        width = np.append(width, np.full(foreign, 0.15))
    order = np.argsort(angle)
    sigma = np.hypot(lines.two_theta_error.min(), error)
    return LineList(
        angle[order],
        np.full(len(angle), sigma),
        strength[order],
        width[order],
        np.full(len(angle), 20.0),
        lines.wavelength,
        lines.two_theta_range,
    )


def is_twin(true, cell):
    """Whether a cell is a derivative lattice (index 2, 3 or 4) that has all lines."""
    g = reduced(metric(np.array(true)))
    other = np.array(cell.primitive)
    if not (cell.hkl[: min(32, len(cell.hkl))] != 0).any(axis=1).all():
        return False
    steps = [*SUBLATTICES]
    for first in SUBLATTICES:
        for second in (np.eye(3), *SUBLATTICES[:7]):
            steps.append(second @ first)
    for basis in steps:
        for t in (basis, np.linalg.inv(basis)):
            moved = inverse(transform(t, inverse(g)))
            if abs(np.linalg.det(moved) ** 0.5 / cell.volume - 1) > 0.02:
                continue
            if same_lattice(cell_parameters(moved), other):
                return True
    return False


def measure(cases, tolerance, **options):
    ranks, twins, times, failures = defaultdict(list), defaultdict(int), [], []
    warm = False
    for system, name, true, lines in cases:
        if lines is None or len(lines) < 3:
            ranks[system].append(99)
            failures.append((system, name, "no lines"))
            continue
        if not warm:
            find_cells(lines, **options)
            warm = True
        start = time.process_time()
        cells = find_cells(lines, **options)
        times.append(time.process_time() - start)
        rank = 99
        for i, cell in enumerate(cells):
            if same_lattice(true, cell.primitive, *tolerance):
                rank = i
                break
        ranks[system].append(rank)
        if rank > 0:
            twin = bool(cells) and is_twin(true, cells[0])
            twins[system] += twin
            first = cells[0] if cells else None
            what = (
                "nothing found"
                if first is None
                else f"{first.bravais_lattice} {first.volume:.1f}"
            )
            volume = np.linalg.det(metric(np.array(true))) ** 0.5
            failures.append((system, name, f"{volume:.1f}", rank, what, twin))
    everything = [r for rs in ranks.values() for r in rs]
    for system in (*SYSTEMS, "all"):
        rs = everything if system == "all" else ranks[system]
        if not rs:
            continue
        n, r = len(rs), np.array(rs)
        first, five, twenty = ((r < m).sum() for m in (1, 5, 20))
        low, high = interval(first, n)
        low5, high5 = interval(five, n)
        twin = sum(twins.values()) if system == "all" else twins[system]
        print(
            f"{system:13s} n {n:4d}  first {100 * first / n:5.1f} "
            f"({100 * low:.1f}-{100 * high:.1f})  five {100 * five / n:5.1f} "
            f"({100 * low5:.1f}-{100 * high5:.1f})  twenty {100 * twenty / n:5.1f}  "
            f"twin first {100 * twin / n:4.1f}"
        )
    if times:
        t = 1e3 * np.array(times)
        print(
            f"CPU ms: median {np.median(t):.1f}, mean {t.mean():.1f}, "
            f"p95 {np.quantile(t, 0.95):.1f}, longest {t.max():.1f}"
        )
    for failure in failures:
        print("not first:", *failure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["clean", "perturbed", "rruff"])
    parser.add_argument("--part", default="dev")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--error", type=float, default=0.02)
    parser.add_argument("--zero", type=float, default=0.1)
    parser.add_argument("--foreign", type=int, default=2)
    parser.add_argument("--missing", type=float, default=0.1)
    parser.add_argument("--rest", action="store_true")
    parser.add_argument("--systems", default="")
    choice = parser.parse_args()
    if choice.what == "rruff":
        measure(rruff_lists(choice.rest), (0.01, 1.0))
        return
    cases = clean_lists(choice.part, choice.count, choice.seed)
    if choice.systems:
        wanted = choice.systems.split(",")
        cases = (case for case in cases if case[0] in wanted)
    if choice.what == "clean":
        measure(cases, (0.005, 0.5))
    else:
        rng = np.random.default_rng(choice.seed)
        numbers = (choice.error, choice.zero, choice.foreign, choice.missing)
        worse = (
            (s, n, t, None if x is None else perturb(x, rng, *numbers))
            for s, n, t, x in cases
        )
        measure(worse, (0.005, 0.5))


if __name__ == "__main__":
    main()
