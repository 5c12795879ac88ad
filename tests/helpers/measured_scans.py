"""Scans as instruments would write them, made here from known crystals."""

import numpy as np
import torch

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import Broadening, render
from pxrdbench.learning.models.checkpoint import Checkpoint, save_checkpoint
from pxrdbench.learning.networks.registry import build_model

GROUPS = (2, 14, 15, 62, 136, 148, 166, 194, 221, 225, 227)
# So many counts at the strongest line, and at the background.
TOP, GROUND = 20_000.0, 400.0


def draw_crystals(count: int, seed: int = 3) -> CrystalBatch:
    return Recipe("open-v0", seed=seed).crystals(0, count)


def measure(
    crystals: CrystalBatch,
    radiation: str | Radiation,
    grid: TwoThetaGrid,
    *,
    noise: int | None = None,
    top: float = TOP,
    ground: float = GROUND,
):
    """One scan a row: the lines of the radiation, counts, a sloping background.

    The width of a line is that of one and the same sample: it is given in Δd/d.
    """
    peaks = simulate_peaks(crystals, radiation, (0.6, min(grid.stop + 2, 175.0)))
    strain = Broadening(strain=np.full(len(crystals), 0.0006))
    scans = render(peaks, grid, np.full(len(crystals), 60.0), broadening=strain)
    scans = scans.astype(np.float64) * top
    scans += ground * (1.0 + np.exp(-grid.angles() / (0.3 * grid.stop)))
    if noise is not None:
        scans = np.random.default_rng(noise).poisson(scans).astype(np.float64)
    return grid.angles(), scans


def write_model(path, measurement=()):
    """A checkpoint of weights that nobody trained: the same on every machine."""
    torch.manual_seed(0)
    grid = TwoThetaGrid()
    network = build_model("peak-network", len(GROUPS), grid=grid)
    save_checkpoint(
        path,
        Checkpoint(
            "peak-network",
            dict(network.state_dict()),
            GROUPS,
            grid,
            Radiation.parse("CuKa1"),
        ),
    )
    return path
