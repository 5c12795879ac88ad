"""A source of small patterns that anyone can tell apart: one line a space group."""

import threading

import numpy as np

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid

SPACE_GROUPS = (2, 14, 62, 225)
SMALL_GRID = TwoThetaGrid(10.0, 40.0, 301)


class MemorySource(BatchSource):
    """Patterns with a line at a place that depends on the space group, and noise."""

    def __init__(
        self, length=None, *, space_groups=SPACE_GROUPS, grid=SMALL_GRID, block=None
    ):
        self.length = length
        self.space_groups = space_groups
        self.grid = grid
        self.radiation = Radiation.parse("CuKa1")
        self.calls = []
        self.lock = threading.Lock()
        if block is not None:
            self.block_samples = block

    def batch(self, start, count):
        with self.lock:
            self.calls.append((start, count))
        if self.length is not None:
            assert start >= 0
            assert start + count <= self.length
        index = np.arange(start, start + count)
        rows = [self._row(i) for i in index]
        return Batch(
            intensity=np.array([row for _, row in rows], np.float32),
            space_group=np.array([group for group, _ in rows], np.int16),
            crystallite_size_nm=np.full(count, 50.0),
            index=index,
        )

    def _row(self, index):
        rng = np.random.default_rng([7, int(index)])
        label = int(rng.integers(len(self.space_groups)))
        angles = self.grid.angles()
        row = np.zeros(len(angles))
        first = 15.0 + 3.0 * label
        for centre, height in ((first, 1.0), (rng.uniform(28, 38), rng.uniform(0, 1))):
            row += height * np.exp(-0.5 * ((angles - centre) / 0.2) ** 2)
        return self.space_groups[label], row / row.max()
