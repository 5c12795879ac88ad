"""Index lists of Q with mlindex's analytical indexer, by an interpreter that has it.

    python mlindex_worker.py lists.json answers.json [cF,cI,...]

It reads a list of lists of Q = 1/d² and writes, per list, the CPU time and its twenty
best cells by M20. Extensions of cctbx must be loaded before numba, or the interpreter
crashes (mlindex 0.1.3); so this file imports nothing of ours.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from cctbx import crystal, uctbx  # noqa: F401 - before numba
from cctbx.sgtbx.lattice_symmetry import metric_subgroups  # noqa: F401
from mlindex.command_line.run import _collect_results, _conventional_cell
from mlindex.optimization.AnalyticOptimizer import AnalyticOptimizer
from mlindex.optimization.MPOptimizer import LocalComm

HIGH = "cF,cI,cP,hP,hR,tI,tP"


def index(q, lattices):
    found = []
    for lattice in lattices:
        optimizer = AnalyticOptimizer(
            bravais_lattice=lattice,
            comm=LocalComm(n_ranks=1),
            n_peaks=q.size,
            n_ref_hkl_guess=10,  # as mlindex.command_line.run_analytical has it
            seed=12345,
        )
        optimizer.run(q2=q, zero_error=False, wavelength=None)
        found = _collect_results(optimizer, lattice, found)
    found = _conventional_cell(found)
    found.sort(key=lambda entry: -float(entry["M20"]))
    return [(e["bravais_lattice"], float(e["M20"]), cell_of(e)) for e in found[:20]]


def cell_of(entry):
    keys = ("a", "b", "c", "alpha", "beta", "gamma")
    cell = [float(entry[k]) for k in keys]
    if entry["bravais_lattice"][0] == "h":
        cell[3:] = [90.0, 90.0, 120.0]  # 0.1.3 calls the angle of 120 degrees alpha
    return cell


def main():
    lists = json.loads(Path(sys.argv[1]).read_text())
    lattices = (sys.argv[3] if len(sys.argv) > 3 else HIGH).split(",")
    index(np.array(lists[0][:20]), lattices)  # compile
    answers = []
    for values in lists:
        start = time.process_time()
        try:
            cells = index(np.array(values[:20]), lattices)
        except Exception as error:  # whatever it raises is an answer
            cells, message = [], repr(error)
            print(message, file=sys.stderr)
        answers.append({"seconds": time.process_time() - start, "cells": cells})
        print(len(answers), f"{answers[-1]['seconds']:.1f} s", flush=True)
        Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
