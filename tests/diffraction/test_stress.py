"""Large crystals and wide ranges: right, and done in milliseconds."""

import time

import numpy as np
import pytest
from numba import config
from peak_clusters import compare_clusters
from random_crystals import TABLES, draw_lattice, draw_site

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="large cells need compiled kernels"
)


def draw_large(group, n_sites, volume, seed):
    """Sites on the general position of a group."""
    rng = np.random.default_rng(seed)
    elements = ["O", "Si", "Fe", "Ba", "U"]
    index = -1 + len(TABLES.position_rows(group))
    sites = tuple(
        draw_site(group, index, rng, elements[rng.integers(5)]) for _ in range(n_sites)
    )
    return Crystal(group, draw_lattice(group, rng, volume), sites)


def pymatgen_peaks(crystal):
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    pattern = XRDCalculator(wavelength=1.5406).get_pattern(
        crystal.to_pymatgen(), scaled=False, two_theta_range=(5, 90)
    )
    return np.asarray(pattern.x), np.asarray(pattern.y)


@pytest.mark.parametrize(
    ("group", "n_sites", "volume"), [(1, 99, 6500.0), (2, 49, 3000.0), (14, 24, 6500.0)]
)
def test_large_cells_agree_with_pymatgen(group, n_sites, volume):
    crystal = draw_large(group, n_sites, volume, group)
    batch = CrystalBatch.from_crystals([crystal])
    exact = simulate_peaks(batch, 1.5406, scattering="paper", precision="double")
    deviation, distance, splits = compare_clusters(
        crystal, exact.two_theta, exact.intensity, *pymatgen_peaks(crystal)
    )
    assert len(exact.two_theta) > 1500
    assert deviation < 1e-8
    assert distance < 1e-9
    assert len(splits) < 100
    simulate_peaks(batch)
    times = []
    for _ in range(3):
        start = time.process_time()
        simulate_peaks(batch)
        times.append(time.process_time() - start)
    assert min(times) < 0.1


def test_short_waves_and_wide_ranges_hold():
    """Tens of thousands of reflections of one crystal: silver, hard X-rays."""
    crystal = draw_large(2, 20, 2000.0, 7)
    batch = CrystalBatch.from_crystals([crystal])
    peaks = simulate_peaks(batch, "AgKa1", (1.0, 120.0))
    assert len(peaks.two_theta) > 50_000
    assert (np.diff(peaks.two_theta) > 0).all()
    assert np.isfinite(peaks.intensity).all()
    short = simulate_peaks(batch, "120 keV", (0.5, 10.0))
    assert len(short.two_theta) > 1000
