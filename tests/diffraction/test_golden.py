import json
from pathlib import Path

import numpy as np
import pytest

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.peaks import simulate_peaks

GOLDEN = Path(__file__).parents[1] / "golden"


def read_golden(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    crystal = Crystal(
        golden["space_group"],
        tuple(golden["lattice"]),
        tuple(Site(e, letter, tuple(x)) for e, letter, x in golden["sites"]),
    )
    return CrystalBatch.from_crystals([crystal]), golden


@pytest.mark.parametrize("name", ["si", "nacl", "lab6", "quartz", "rutile"])
def test_peaks_are_pymatgens(name):
    batch, golden = read_golden(name)
    peaks = simulate_peaks(
        batch, golden["wavelength"], scattering="paper", precision="double"
    )
    np.testing.assert_allclose(peaks.two_theta, golden["two_theta"], atol=1e-9)
    np.testing.assert_allclose(peaks.intensity, golden["intensity"], rtol=1e-8)
    single = simulate_peaks(batch, golden["wavelength"], scattering="paper")
    np.testing.assert_allclose(
        single.intensity, golden["intensity"], atol=2e-6 * max(golden["intensity"])
    )


def test_strongest_line_of_silicon_is_at_28_44_degrees():
    # SRM 640: 111 at 28.44 degrees with Cu Kα1.
    batch, _ = read_golden("si")
    peaks = simulate_peaks(batch, hkl=True)
    strongest = peaks.intensity.argmax()
    assert peaks.hkl[strongest].tolist() == [1, 1, 1]
    assert peaks.two_theta[strongest] == pytest.approx(28.44, abs=0.01)
