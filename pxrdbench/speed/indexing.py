"""Our indexer beside mlindex's analytical one: rate found and CPU time, interleaved.

Both are given the first 20 lines of the same clean patterns, in turn. A cell is right
where a unimodular mapping takes it onto the crystal's primitive lattice within 0.5 %
and 0.5 degrees (`lattices.same_lattice`); derivative lattices are wrong for both.

References:
    mlindex, github.com/lbl-camera/MLIndex (PyPI, MIT).
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.symmetry.tables import (
    CENTRINGS,
    crystal_system,
    load_symmetry_tables,
)
from pxrdbench.errors import CrystalError, PatternError
from pxrdbench.indexing.cells.find import find_cells
from pxrdbench.indexing.cells.lattices import (
    BRAVAIS_LATTICES,
    primitive_cell,
    same_lattice,
)
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.indexing.lines.line_list import LineList
from pxrdbench.tracks.load import load_track
from pxrdbench.tracks.part import require_crystals

TRACK, PART = "open/structure-type", "dev"
LINES = 20  # what mlindex takes
# The lattices that its analytical indexer has; those of low symmetry need its networks.
LATTICES = ("cF", "cI", "cP", "hP", "hR", "tI", "tP")
_SYSTEMS = ("tetragonal", "trigonal", "hexagonal", "cubic")
_WORST = 10**6

Progress = Callable[[int, int], None]
Answer = Callable[[LineList], tuple[float, list[tuple[float, ...]]]]


@dataclass(frozen=True, eq=False)
class IndexingCase:
    """A crystal's lines and its lattice.

    Attributes:
        name: Of the crystal.
        primitive: Primitive cell: a, b, c [Å], α, β, γ [degrees].
        lines: The first lines of its clean pattern.
    """

    name: str
    primitive: tuple[float, ...]
    lines: LineList


def draw_cases(count: int, seed: int = 1) -> list[IndexingCase]:
    """Take crystals of high symmetry with 5 lines or more from ``dev`` of the track.

    Args:
        count: How many.
        seed: Which.

    Raises:
        PatternError: If there are not so many.
    """
    track = require_crystals(load_track(TRACK, PART), "a benchmark of indexers")
    crystals = track.crystals
    centring = load_symmetry_tables().centring
    angles = track.grid.angles()
    cases: list[IndexingCase] = []
    for row in np.random.default_rng(seed).permutation(len(track.ids)):
        group = int(track.space_group[row])
        if crystal_system(group) not in _SYSTEMS:
            continue
        pattern = track.take(np.array([row])).intensity[0].astype(np.float64)
        lines = find_lines(angles, pattern)
        if len(lines) < 5:
            continue
        letter = CENTRINGS[int(centring[group])]
        cell = tuple(float(v) for v in crystals.lattice[row])
        cases.append(
            IndexingCase(track.ids[row], primitive_cell(cell, letter), _first(lines))
        )
        if len(cases) == count:
            return cases
    raise PatternError(f"{TRACK} {PART} has {len(cases)} such crystals, not {count}")


def _first(lines: LineList) -> LineList:
    """The first lines of a list."""
    return LineList(
        lines.two_theta[:LINES],
        lines.two_theta_error[:LINES],
        lines.intensity[:LINES],
        lines.fwhm[:LINES],
        lines.significance[:LINES],
        lines.wavelength,
        lines.two_theta_range,
    )


def benchmark_indexing(
    count: int = 30,
    *,
    interpreter: str | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Index the same lines by both programs, one pattern after the other.

    Args:
        count: Patterns.
        interpreter: A Python that has mlindex and cctbx; this one if None.
        on_progress: Is called with patterns done and all of them.

    Returns:
        ``patterns``, ``track``, ``rule``, ``programs``: for each its rate first, among
        five and twenty, CPU seconds a pattern (median, mean) and errors; and
        ``times_faster``: the ratio of CPU times, median of patterns and of sums.

    Raises:
        PatternError: If that interpreter has no mlindex.
    """
    cases = draw_cases(count)
    python = interpreter or sys.executable
    worker = _Mlindex(python)
    try:
        # Both compile before they are timed.
        _ours(cases[0].lines)
        worker.answer(cases[0].lines)
        programs: dict[str, Answer] = {"pxrdbench": _ours, "mlindex": worker.answer}
        ranks: dict[str, list[int]] = {name: [] for name in programs}
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for done, case in enumerate(cases):
            # Whoever comes first finds caches cold: they take turns.
            order = list(programs) if done % 2 == 0 else list(programs)[::-1]
            for name in order:
                spent, cells = programs[name](case.lines)
                ranks[name].append(_rank(case.primitive, cells))
                seconds[name].append(spent)
            if on_progress is not None:
                on_progress(done + 1, len(cases))
    finally:
        worker.close()
    ratio = np.array(seconds["mlindex"]) / np.maximum(seconds["pxrdbench"], 1e-9)
    return {
        "patterns": len(cases),
        "track": f"{TRACK} {PART}",
        "systems": list(_SYSTEMS),
        "lines": LINES,
        "rule": "primitive lattice within 0.5 % and 0.5 degrees",
        "programs": {
            name: {
                "first": float(np.mean(np.array(ranks[name]) < 1)),
                "five": float(np.mean(np.array(ranks[name]) < 5)),
                "twenty": float(np.mean(np.array(ranks[name]) < 20)),
                "cpu_seconds_median": float(np.median(seconds[name])),
                "cpu_seconds_mean": float(np.mean(seconds[name])),
            }
            for name in programs
        },
        "mlindex_version": worker.version,
        "mlindex_errors": worker.errors,
        "only_pxrdbench": sum(
            ours < 1 <= theirs
            for ours, theirs in zip(ranks["pxrdbench"], ranks["mlindex"], strict=True)
        ),
        "only_mlindex": sum(
            theirs < 1 <= ours
            for ours, theirs in zip(ranks["pxrdbench"], ranks["mlindex"], strict=True)
        ),
        "times_faster": {
            "median": float(np.median(ratio)),
            "of_sums": float(sum(seconds["mlindex"]) / sum(seconds["pxrdbench"])),
        },
    }


def _ours(lines: LineList) -> tuple[float, list[tuple[float, ...]]]:
    start = time.process_time()
    cells = find_cells(lines)
    return time.process_time() - start, [cell.primitive for cell in cells]


def _rank(primitive: tuple[float, ...], cells: Sequence[tuple[float, ...]]) -> int:
    for rank, cell in enumerate(cells):
        if same_lattice(primitive, cell):
            return rank
    return _WORST


class _Mlindex:
    """The other program, in a process of its own that answers line by line."""

    def __init__(self, python: str) -> None:
        ask = "import importlib.metadata as m; print(m.version('mlindex'))"
        try:
            found = subprocess.run(
                [python, "-c", ask], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise PatternError(f"{python} cannot be run: {error.strerror}") from error
        if found.returncode:
            raise PatternError(
                f"{python} has no mlindex: `pip install mlindex cctbx-base`, into an "
                "environment of its own if you like (--interpreter)"
            )
        self.version = found.stdout.strip()
        self.errors = 0
        worker = Path(__file__).with_name("mlindex_worker.py")
        self._process = subprocess.Popen(
            [python, str(worker), ",".join(LATTICES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def answer(self, lines: LineList) -> tuple[float, list[tuple[float, ...]]]:
        """CPU seconds and primitive cells, best first."""
        if self._process.stdin is None or self._process.stdout is None:
            raise PatternError("mlindex has no pipes")
        try:
            self._process.stdin.write(json.dumps(lines.inverse_d2.tolist()) + "\n")
            self._process.stdin.flush()
            text = self._process.stdout.readline()
        except OSError:
            text = ""
        if not text:
            raise PatternError("mlindex ended without an answer (cctbx missing?)")
        found = json.loads(text)
        self.errors += bool(found["error"])
        cells = []
        for lattice, _, cell in found["cells"]:
            if lattice in BRAVAIS_LATTICES and np.isfinite(cell).all():
                try:
                    cells.append(tuple(primitive_cell(tuple(cell), lattice)))
                except CrystalError:
                    continue  # no lattice
        return float(found["seconds"]), cells

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait(timeout=30)
