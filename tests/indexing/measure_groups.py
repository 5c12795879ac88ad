"""How often the group is read where the cell is given; figures of issue 16.

    python tests/indexing/measure_groups.py clean dev --count 300
    python tests/indexing/measure_groups.py measured --third others

Clean: ``open/structure-type``; cells are those of the frozen crystals. Measured: the
named RRUFF patterns with the cell that is stated for them. Both ways the cell is
reduced to its primitive lattice, and the Bravais lattice is that of the metric.
Needs PXRDBENCH_TEST_DATA.
"""

import argparse
import csv
import os
import time
import warnings
from pathlib import Path

import numpy as np

from pxrdbench.crystal.symmetry.tables import (
    CENTRINGS,
    CRYSTAL_SYSTEMS,
    crystal_system,
    load_symmetry_tables,
)
from pxrdbench.indexing.cells.find import Cell, find_cells
from pxrdbench.indexing.cells.lattices import primitive_cell, same_lattice
from pxrdbench.indexing.groups.reading import read_groups
from pxrdbench.indexing.lines.find import find_lines

BRAVAIS = {
    2: "aP", 10: "mP", 12: "mC", 47: "oP", 65: "oC", 71: "oI", 69: "oF", 123: "tP",
    139: "tI", 191: "hP", 166: "hR", 221: "cP", 229: "cI", 225: "cF",
}  # fmt: skip
POINTS = {
    "P": [[0, 0, 0]],
    "A": [[0, 0, 0], [0, 0.5, 0.5]],
    "C": [[0, 0, 0], [0.5, 0.5, 0]],
    "I": [[0, 0, 0], [0.5, 0.5, 0.5]],
    "F": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "R": [[0, 0, 0], [2 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 2 / 3]],
}


def lattice_vectors(cell):
    import gemmi

    return np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T


def parameters(vectors):
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / lengths[:, None]
    angles = [
        np.degrees(np.arccos(np.clip(unit[i] @ unit[j], -1, 1)))
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    return tuple(float(x) for x in (*lengths, *angles))


def metric_cell(cell, centring, tolerance):
    """The lattice's own Bravais lattice, by spglib, which knows no atoms here."""
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = POINTS[centring]
        found = spglib.get_symmetry_dataset(
            (lattice_vectors(cell), points, [1] * len(points)),
            symprec=tolerance * min(cell[:3]),
        )
    if found is None or found.number not in BRAVAIS:
        return None
    return Cell(
        primitive=parameters(found.primitive_lattice)
        if hasattr(found, "primitive_lattice")
        else parameters(found.std_lattice),
        conventional=parameters(found.std_lattice),
        bravais_lattice=BRAVAIS[found.number],
        volume=float(abs(np.linalg.det(found.std_lattice)))
        / len(POINTS[BRAVAIS[found.number][1]]),
        m20=0.0,
        score=0.0,
        zero_shift=0.0,
        hkl=np.zeros((0, 3), np.int16),
    )


def clean_cases(part, count):
    """Angles, pattern, true cell and group of frozen crystals."""
    import pyarrow.parquet
    import spglib

    import pxrdbench as px

    data = Path(os.environ["PXRDBENCH_TEST_DATA"])
    table = pyarrow.parquet.read_table(
        data / "structures" / "mp_structures.parquet",
        columns=["id", "cell", "elements", "frac"],
    )
    row_of = {name: k for k, name in enumerate(table["id"].to_pylist())}
    track = px.load_track("open/structure-type", part)
    angles = np.linspace(5.0, 90.0, 8501)
    rows = np.arange(len(track.ids))
    if count < len(rows):
        rows = np.sort(np.random.default_rng(1).permutation(len(rows))[:count])
    tables = load_symmetry_tables()
    for row in rows:
        group = int(track.space_group[row])
        values = table.slice(row_of[track.ids[row]], 1).to_pylist()[0]
        names = values["elements"].split()
        kinds = {name: k for k, name in enumerate(dict.fromkeys(names))}
        sites = np.array(values["frac"], float).reshape(-1, 3)
        crystal = (lattice_vectors(values["cell"]), sites, [kinds[n] for n in names])
        found = None
        for tolerance in (0.1, 0.01, 0.05, 0.2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = spglib.get_symmetry_dataset(crystal, symprec=tolerance)
            if found is not None and found.number == group:
                break
        centring = CENTRINGS[int(tables.centring[group])]
        cell = metric_cell(parameters(found.std_lattice), centring, 1e-4)
        pattern = np.asarray(track.take(np.array([row])).intensity[0], float)
        yield angles, pattern, cell, group


def measured_cases(third, every=3):
    """The same of named RRUFF patterns; ``third``: choose, others or all."""
    import gemmi

    folder = Path(os.environ["PXRDBENCH_TEST_DATA"]) / "rruff"
    patterns = np.load(folder / "rruff_named_patterns.npz")
    with (folder / "rruff_named_labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    letters = {}
    for group in gemmi.spacegroup_table():
        if group.is_reference_setting():
            letters.setdefault(group.number, group.hm[0])
    for index, row in enumerate(rows):
        if (third == "choose" and index % every) or (
            third == "others" and index % every == 0
        ):
            continue
        group = int(row["space_group"])
        letter = letters[group]
        cell = gemmi.UnitCell(
            *[float(row[k]) for k in ("a", "b", "c", "alpha", "beta", "gamma")]
        )
        if letter == "R" and abs(cell.gamma - 120) > 1:
            letter = "P"
        # Names of axes are forgotten: the reduced cell of the lattice.
        reduced = gemmi.GruberVector(cell, letter)
        reduced.niggli_reduce()
        given = metric_cell(tuple(reduced.cell_parameters()), "P", 6e-3)
        scan = patterns[row["id"]].astype(float)
        yield scan[:, 0], scan[:, 1], given, group


def expected_calibration_error(confidence, right, bins=10):
    place = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    right = np.asarray(right, float)
    return sum(
        abs(right[place == b].mean() - np.asarray(confidence)[place == b].mean())
        * np.mean(place == b)
        for b in range(bins)
        if np.any(place == b)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["clean", "measured"])
    parser.add_argument("part", nargs="?", default="dev")
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--third", default="choose")
    parser.add_argument("--prior", default="")
    parser.add_argument(
        "--found", type=int, default=0, help="read so many found cells, not the true"
    )
    parser.add_argument("--wrong", action="store_true", help="list what is wrong")
    options = parser.parse_args()
    measured = options.kind == "measured"
    prior = options.prior or ("icsd" if measured else "open")
    cases = (
        measured_cases(options.third)
        if measured
        else clean_cases(options.part, options.count)
    )
    classes = load_symmetry_tables().extinction_group
    results, times, none, matched, systems = [], [], 0, [], []
    for number, (angles, pattern, cell, group) in enumerate(cases):
        radiation = "CuKa" if measured else "CuKa1"
        start = time.process_time()
        cells = [] if cell is None else [cell]
        if options.found:
            lines = find_lines(angles, pattern, radiation=radiation)
            cells = find_cells(lines, n_cells=options.found)
        found = read_groups(
            angles,
            pattern,
            cells,
            radiation=radiation,
            measured=measured,
            prior=prior,
            given=not options.found,
        )
        times.append(time.process_time() - start)
        probability = found.space_group_probability
        none += found.best_cell < 0
        if options.found and cell is not None:
            true = primitive_cell(cell.conventional, cell.bravais_lattice)
            tolerances = (0.01, 1.0) if measured else (0.005, 0.5)
            same = [same_lattice(true, c.primitive, *tolerances) for c in cells]
            best = found.best_cell
            matched.append((any(same[:1]), any(same[:5]), best >= 0 and same[best]))
            systems.append(crystal_system(group))
        order = np.argsort(-probability, kind="stable")
        symbols = np.bincount(classes[1:], probability[1:])
        best = int(symbols.argmax())
        results.append(
            (
                crystal_system(group),
                order[0] == group,
                group in order[:5],
                group in order[:10],
                best == classes[group],
                probability[order[0]],
                np.log(max(probability[group], 1e-6)),
                symbols[best],
            )
        )
        if options.wrong and best != classes[group]:
            print(
                number, group, cell and cell.bravais_lattice, "read", order[:3],
                f"residual {found.residual:.3f}",
            )  # fmt: skip
    if matched:
        high = ("cubic", "tetragonal", "hexagonal", "trigonal")
        for title, wanted in (
            *((system, (system,)) for system in CRYSTAL_SYSTEMS),
            ("of high symmetry", high),
            ("all", CRYSTAL_SYSTEMS),
        ):
            chosen = [m for m, s in zip(matched, systems, strict=True) if s in wanted]
            if chosen:
                first, five, heaviest = 100 * np.mean(chosen, axis=0)
                print(
                    f"cells, {title} ({len(chosen)}): first by lines {first:.1f}, of "
                    f"five {five:.1f}, heaviest of all {heaviest:.1f} %"
                )
    columns = list(zip(*results, strict=True))
    for system in (*CRYSTAL_SYSTEMS, "all"):
        chosen = [r for r in results if system in {"all", r[0]}]
        if chosen:
            top1, top5, top10, symbol = (
                100 * np.mean([r[k] for r in chosen]) for k in (1, 2, 3, 4)
            )
            print(
                f"{system:13s} {len(chosen):5d}  top-1 {top1:5.1f}  top-5 {top5:5.1f}  "
                f"top-10 {top10:5.1f}  extinction symbol {symbol:5.1f}"
            )
    print(
        f"prior {prior}; ECE of groups "
        f"{expected_calibration_error(columns[5], columns[1]):.3f}, of symbols "
        f"{expected_calibration_error(columns[7], columns[4]):.3f}; "
        f"mean log probability {np.mean(columns[6]):.3f}; without a cell {none}; CPU "
        f"median {1e3 * np.median(times):.1f} ms, mean {1e3 * np.mean(times[1:]):.1f}"
    )


if __name__ == "__main__":
    main()
