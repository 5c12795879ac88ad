"""Lines of a second phase beside those of a simple cell."""

import numpy as np
import pytest
from measured_scans import draw_crystals, measure

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.prediction.phase_check import find_foreign_lines, try_cells
from pxrdbench.prediction.prepare import ScanContract, prepare_scan
from pxrdbench.sources.scans.read import make_pattern

WAVELENGTH = 1.5406


def angles_of(*q_over_unit, a):
    """2θ of lines with given h² + k² + l² of a cubic cell."""
    q = np.array(q_over_unit) * (WAVELENGTH / (2 * a)) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(q[q < 1])))


SALT = angles_of(3, 4, 8, 11, 12, 16, 19, 20, 24, 27, a=5.64)
HEIGHTS = np.linspace(100, 30, len(SALT))


@pytest.mark.parametrize("shift", [0.0, 0.03, -0.03])
def test_one_cubic_phase_is_one_phase(shift):
    system, left = find_foreign_lines(SALT + shift, HEIGHTS)
    assert (system, len(left)) == ("", 0)
    assert try_cells(SALT, HEIGHTS).system == "cubic"
    assert try_cells(SALT, HEIGHTS).is_explained.all()


def test_lines_of_another_phase_are_named():
    foreign = np.array([23.1, 35.9, 39.5, 43.3])
    angles = np.concatenate([SALT, foreign])
    heights = np.concatenate([HEIGHTS, [50, 40, 45, 30]])
    order = np.argsort(angles)
    system, left = find_foreign_lines(angles[order], heights[order])
    assert system in {"cubic", "tetragonal"}  # a cube is a square prism, too
    assert len(left) >= 3
    assert set(left) <= set(foreign)


def test_second_spectral_lines_are_no_phase():
    ratio = 1.544427 / 1.540593
    second = np.degrees(2 * np.arcsin(np.sin(np.radians(SALT / 2)) * ratio))
    resolved = second - SALT > 0.15
    angles = np.concatenate([SALT, second[resolved]])
    heights = np.concatenate([HEIGHTS, 0.5 * HEIGHTS[resolved]])
    order = np.argsort(angles)
    assert find_foreign_lines(angles[order], heights[order], ratio)[0] == ""


def test_few_lines_tell_nothing():
    assert find_foreign_lines(np.zeros(0), np.zeros(0))[0] == ""
    assert find_foreign_lines(SALT[:5], HEIGHTS[:5])[0] == ""


@pytest.mark.parametrize(
    "angles",
    [
        # All at the low angles of clay: no cell with edges below 12 Å fits at all.
        np.linspace(5.1, 6.9, 7),
        # The strong ones there, weak ones far off.
        np.concatenate([np.linspace(5.1, 5.9, 7), np.linspace(70.0, 74.0, 5)]),
    ],
)
def test_lines_that_no_cell_can_explain_are_no_crash(angles):
    heights = np.linspace(100, 30, len(angles))
    assert find_foreign_lines(angles, heights) is not None


def test_single_crystals_of_any_symmetry_are_seldom_doubted():
    grid = TwoThetaGrid()
    contract = ScanContract(grid, Radiation.parse("CuKa"), True)
    angles, scans = measure(draw_crystals(40, seed=8), "CuKa", grid, noise=2)
    told = 0
    for scan in scans:
        pattern = make_pattern(angles, scan)
        prepared = prepare_scan(pattern, contract.radiation, contract)
        told += any(text.startswith("Several") for text in prepared.warnings)
    assert told <= 2


@pytest.mark.data
def test_a_measured_mixture_is_told(test_data):
    """Zincite and anatase: the hexagonal cell leaves anatase's lines."""
    import zipfile

    from pxrdbench.sources.scans.read import read_scan_bytes

    contract = ScanContract(TwoThetaGrid(), Radiation.parse("CuKa"), True)
    name = "precursor_mixture/TiO2_0p4009-ZnO_0p6010--8min.xrdml"
    with zipfile.ZipFile(test_data / "experimental/dara_xrdml.zip") as archive:
        (pattern,) = read_scan_bytes(archive.read(name), name)
    told = prepare_scan(pattern, pattern.radiation, contract).warnings
    (sentence,) = [text for text in told if text.startswith("Several phases")]
    assert "25.4, 37.9, 48.1" in sentence  # anatase 101, 004, 200
