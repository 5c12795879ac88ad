import numpy as np
import pytest

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.polarization import Polarization
from pxrdbench.diffraction.radiation import NAMED_LINES
from pxrdbench.errors import PatternError

SILICON = CrystalBatch.from_crystals(
    [
        Crystal(
            227,
            (5.4312, 5.4312, 5.4312, 90, 90, 90),
            (Site("Si", "a", (1 / 8, 1 / 8, 1 / 8)),),
        )
    ]
)

# Bearden (1967), Rev. Mod. Phys. 39, 78, an older scale: 10 to 40 ppm away.
BEARDEN = {
    "Cr": (2.28970, 2.293606),
    "Fe": (1.936042, 1.939980),
    "Co": (1.788965, 1.792850),
    "Cu": (1.540562, 1.544390),
    "Mo": (0.709300, 0.713590),
    "Ag": (0.5594075, 0.563798),
}


def test_copper_is_what_it_was():
    assert Radiation.parse("CuKa1").lines == ((1.5406, 1.0),)
    assert Radiation.parse("CuKa").lines == ((1.540593, 2 / 3), (1.544427, 1 / 3))


@pytest.mark.parametrize("anode", BEARDEN)
def test_lines_agree_with_an_older_table(anode):
    assert {f"{anode}Ka", f"{anode}Ka1"} <= set(NAMED_LINES)
    doublet = Radiation.parse(f"{anode}Ka")
    for (wavelength, _), old in zip(doublet.lines, BEARDEN[anode], strict=True):
        assert wavelength == pytest.approx(old, rel=5e-5)
    assert [weight for _, weight in doublet.lines] == [2 / 3, 1 / 3]
    assert Radiation.parse(f"{anode}Ka1").wavelength == pytest.approx(
        BEARDEN[anode][0], rel=5e-5
    )


def test_energies_and_wavelengths_are_one_thing():
    # 12.398 keV is one ångström; copper's Kα1 has 8.0478 keV (Deslattes et al. 2003).
    assert Radiation.from_energy(12.39842).wavelength == pytest.approx(1, abs=1e-7)
    assert Radiation.parse("8.0478 keV").wavelength == pytest.approx(1.5406, abs=1e-4)
    assert Radiation.parse("17.4keV") == Radiation.from_energy(17.4)
    assert Radiation.parse("0.7 Å") == Radiation.parse("0.7") == Radiation.parse(0.7)
    assert Radiation.parse("MoKα") == Radiation.parse("MoKa")
    assert Radiation.parse(0.5).energy == pytest.approx(24.7968, abs=1e-4)


@pytest.mark.parametrize(
    ("radiation", "message"),
    [
        ("MoKb", "unknown radiation 'MoKb'; known are CuKa1, CuKa, MoKa1"),
        ("1.5.4 keV", "unknown radiation"),
        ("0 keV", "energy 0.0 keV; energies lie between"),
        ("1e9 keV", "energy 1000000000.0 keV"),
        (0.0, "wavelength 0.0 angstrom"),
        (float("inf"), "wavelength inf angstrom"),
        ("-1", "wavelength -1.0 angstrom"),
    ],
)
def test_impossible_radiation_is_refused(radiation, message):
    with pytest.raises(PatternError, match=message):
        Radiation.parse(radiation)


@pytest.mark.parametrize(
    ("polarization", "factor"),
    [
        (Polarization(), lambda c, m: 1 + c**2),
        (Polarization(0.5, 26.6), lambda c, m: 2 * (1 + m**2 * c**2) / (1 + m**2)),
        (Polarization(0.5, 27.3, "perfect"), lambda c, m: 2 * (1 + m * c**2) / (1 + m)),
        (Polarization(0.95), lambda c, m: 2 * (0.95 + 0.05 * c**2)),
        (Polarization(1.0), lambda c, m: 2 + 0 * c),
    ],
)
def test_polarization_follows_its_formula(polarization, factor):
    plain = simulate_peaks(SILICON, precision="double")
    peaks = simulate_peaks(SILICON, precision="double", polarization=polarization)
    c = np.cos(np.radians(plain.two_theta))
    m = np.cos(np.radians(polarization.monochromator_two_theta))
    np.testing.assert_allclose(
        peaks.intensity / plain.intensity, factor(c, m) / (1 + c**2), rtol=1e-12
    )


def test_a_tube_leaves_every_byte():
    plain = simulate_peaks(SILICON)
    tube = simulate_peaks(SILICON, polarization=Polarization())
    assert plain.intensity.tobytes() == tube.intensity.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma_fraction": 1.1}, "sigma_fraction is 1.1"),
        ({"sigma_fraction": float("nan")}, "sigma_fraction is nan"),
        ({"monochromator_two_theta": -1.0}, "monochromator_two_theta is -1.0"),
        ({"monochromator": "glass"}, "unknown monochromator 'glass'"),
    ],
)
def test_impossible_polarization_is_refused(arguments, message):
    with pytest.raises(PatternError, match=message):
        Polarization(**arguments)
