"""Agreement with gemmi and, where it is installed, cctbx: dispersion included."""

import importlib.util

import numpy as np
import pytest
from other_programs import COMPOUNDS, assign, cctbx_lines, gemmi_lines, rp

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.peaks import simulate_peaks

WAVELENGTH, TWO_THETA = 1.5406, (5.0, 90.0)
# Importing it here would crash: cctbx and LLVM do not share a process.
needs_cctbx = pytest.mark.skipif(
    importlib.util.find_spec("cctbx") is None,
    reason="cctbx is not installed: pip install cctbx-base",
)


@pytest.fixture(scope="module")
def batch():
    return CrystalBatch.from_crystals(list(COMPOUNDS.values()))


@pytest.fixture(scope="module")
def peaks(batch):
    return simulate_peaks(batch, WAVELENGTH, TWO_THETA, precision="double")


@pytest.fixture(scope="module")
def without_dispersion(batch):
    return simulate_peaks(batch, WAVELENGTH, TWO_THETA, "paper", "double")


def deviation(ours, theirs):
    strong = theirs > 1e-6 * theirs.max()
    return np.abs(ours / theirs - 1)[strong].max()


@pytest.mark.parametrize("name", COMPOUNDS)
def test_same_tables_give_gemmis_lines(name, peaks):
    index = list(COMPOUNDS).index(name)
    lines = gemmi_lines(COMPOUNDS[name], WAVELENGTH, TWO_THETA)
    ours, theirs = assign(peaks, index, *lines)
    # gemmi adds f0 up in single precision: 1e-7 of the strongest line.
    assert np.abs(ours - theirs).max() < 1e-6 * theirs.max()
    assert deviation(ours, theirs) < 5e-6


@needs_cctbx
def test_same_tables_give_cctbxs_lines(peaks):
    answers = cctbx_lines(COMPOUNDS.values(), WAVELENGTH, TWO_THETA, own_tables=False)
    for index, (name, lines) in enumerate(zip(COMPOUNDS, answers, strict=True)):
        assert deviation(*assign(peaks, index, *lines)) < 1e-6, name


@needs_cctbx
def test_own_tables_of_cctbx_differ_little(peaks, without_dispersion):
    answers = cctbx_lines(COMPOUNDS.values(), WAVELENGTH, TWO_THETA, own_tables=True)
    for index, (name, lines) in enumerate(zip(COMPOUNDS, answers, strict=True)):
        ours = rp(*assign(peaks, index, *lines))
        plain = rp(*assign(without_dispersion, index, *lines))
        assert ours < (0.8 if name == "PbTiO3" else 0.5), name
        closer = {"Co3O4": 10, "Fe2O3": 10, "PbTiO3": 5}.get(name, 2)
        assert plain > closer * ours, name
