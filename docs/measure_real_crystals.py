"""Compare with pymatgen on real crystals: ``python docs/measure_real_crystals.py``.

Takes some minutes and PXRDBENCH_TEST_DATA; its result, docs/real_crystals.json, is read
by docs/make_validation.py.
"""

# ruff: noqa: E402 - the tests are no package; their helpers are found by path

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS / "helpers" / "physics"))

from peak_clusters import compare_clusters

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import PxrdbenchError

OUT = Path(__file__).with_name("real_crystals.json")
WAVELENGTH, SYMPREC = 1.5406, 1e-4
# Rows are taken at equal distances over the whole table.
WANTED, LONGEST_SECONDS = 2000, 470.0


def read_structure(row: dict) -> "Structure":  # noqa: F821
    """The stored cell, all atoms written out."""
    from pymatgen.core import Lattice, Structure

    return Structure(
        Lattice.from_parameters(*row["cell"]),
        row["elements"].split(),
        np.reshape(row["frac"], (-1, 3)),
    )


def main() -> None:
    """Run until enough crystals are compared, or time is up."""
    from pyarrow import parquet
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    folder = Path(os.environ["PXRDBENCH_TEST_DATA"])
    table = parquet.read_table(
        folder / "structures" / "mp_structures.parquet",
        columns=["id", "cell", "elements", "frac"],
    )
    picked = np.linspace(0, table.num_rows - 1, WANTED).astype(int)
    # In an order of its own, so that a run cut short has a fair sample too.
    picked = np.random.default_rng(0).permutation(picked)
    calculator = XRDCalculator(wavelength=WAVELENGTH)
    start, seconds = time.time(), []
    results, failures = [], []
    for number, index in enumerate(picked):
        if time.time() - start > LONGEST_SECONDS:
            break
        row = table.slice(int(index), 1).to_pylist()[0]
        try:
            crystal = Crystal.from_pymatgen(read_structure(row), SYMPREC)
            batch = CrystalBatch.from_crystals([crystal])
            begun = time.process_time()
            peaks = simulate_peaks(
                batch, WAVELENGTH, scattering="paper", precision="double"
            )
            seconds.append(time.process_time() - begun)
        except PxrdbenchError as error:
            failures.append((row["id"], str(error)))
            continue
        pattern = calculator.get_pattern(
            crystal.to_pymatgen(), scaled=False, two_theta_range=(5, 90)
        )
        deviation, distance, splits = compare_clusters(
            crystal,
            peaks.two_theta,
            peaks.intensity,
            np.asarray(pattern.x),
            np.asarray(pattern.y),
        )
        results.append((row["id"], deviation, distance, len(pattern.x), splits))
        if number % 200 == 0:
            print(number, round(time.time() - start), flush=True)  # noqa: T201
    deviations = np.array([r[1] for r in results])
    worst = np.argsort(-deviations)[:10]
    summary = {
        "crystals": len(results),
        "peaks": int(sum(r[3] for r in results)),
        "bin_edge_splits": [(r[0], angle) for r in results for angle in r[4]],
        "within_1e-8": int((deviations <= 1e-8).sum()),
        "largest_relative_deviation": float(deviations.max()),
        "largest_distance_degrees": float(max(r[2] for r in results)),
        "quantiles": {
            str(q): float(np.quantile(deviations, q)) for q in (0.5, 0.99, 0.999)
        },
        "worst": [(*results[i][:4], len(results[i][4])) for i in worst],
        "failures": failures,
        "milliseconds_median_and_slowest": [
            1e3 * float(np.median(seconds)),
            1e3 * max(seconds[1:]),
        ],
        "symprec": SYMPREC,
    }
    OUT.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    json.dump(summary, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
