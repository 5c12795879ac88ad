"""Index lists of Q = 1/d² with mlindex's analytical indexer, one line of JSON each.

It is run as a file by an interpreter that has mlindex, which may be another than ours,
so it imports nothing of ours. A line ``[Q, ...]`` comes in, a line ``{"seconds": CPU
time, "cells": [[lattice, M20, [a, b, c, alpha, beta, gamma]], ...]}`` goes out.
Extensions of cctbx must be loaded before numba, or the interpreter crashes (mlindex
0.1.3).
"""

import json
import sys
import time
from typing import Any

# Fixed as mlindex.command_line.run_analytical has it.
_GUESSES, _SEED, _CELLS = 10, 12345, 20


def _index(q: Any, lattices: list[str]) -> list[tuple[str, float, list[float]]]:
    from mlindex.command_line.run import _collect_results, _conventional_cell
    from mlindex.optimization.AnalyticOptimizer import AnalyticOptimizer
    from mlindex.optimization.MPOptimizer import LocalComm

    found: list[Any] = []
    for lattice in lattices:
        optimizer = AnalyticOptimizer(
            bravais_lattice=lattice,
            comm=LocalComm(n_ranks=1),
            n_peaks=q.size,
            n_ref_hkl_guess=_GUESSES,
            seed=_SEED,
        )
        optimizer.run(q2=q, zero_error=False, wavelength=None)
        found = _collect_results(optimizer, lattice, found)
    found = _conventional_cell(found)
    found.sort(key=lambda entry: -float(entry["M20"]))
    return [
        (entry["bravais_lattice"], float(entry["M20"]), _cell_of(entry))
        for entry in found[:_CELLS]
    ]


def _cell_of(entry: Any) -> list[float]:
    cell = [float(entry[k]) for k in ("a", "b", "c", "alpha", "beta", "gamma")]
    if entry["bravais_lattice"][0] == "h":
        # 0.1.3 calls the angle of 120 degrees alpha.
        cell[3:] = [90.0, 90.0, 120.0]
    return cell


def main() -> None:
    """Answer line by line until the input ends."""
    from cctbx import crystal, uctbx  # noqa: F401, I001 - before numba
    from cctbx.sgtbx.lattice_symmetry import metric_subgroups  # noqa: F401

    import numpy as np

    answers, sys.stdout = sys.stdout, sys.stderr  # whatever it prints is no answer
    lattices = sys.argv[1].split(",")
    for line in sys.stdin:
        q = np.array(json.loads(line), dtype=float)
        start = time.process_time()
        try:
            cells, error = _index(q, lattices), ""
        except Exception as failure:  # whatever it raises is an answer
            cells, error = [], repr(failure)
        seconds = time.process_time() - start
        answers.write(
            json.dumps({"seconds": seconds, "cells": cells, "error": error}) + "\n"
        )
        answers.flush()


if __name__ == "__main__":
    main()
