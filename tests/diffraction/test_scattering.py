import gemmi
import numpy as np
import pytest
from references import make_gemmi_form_factor, paper_form_factor

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.diffraction.scattering import find_species, load_scattering_table
from pxrdbench.errors import PatternError

STOL2 = np.linspace(0.0, 0.4, 9)


@pytest.mark.parametrize("element", ["H", "O", "Si", "Fe", "La", "U", "Cf"])
def test_paper_form_factors_are_pymatgens(element):
    table = load_scattering_table("paper", 1.5406)
    ours = table.form_factor(ELEMENT_SYMBOLS.index(element), STOL2)
    np.testing.assert_allclose(
        ours, paper_form_factor(element, 0, STOL2).real, rtol=1e-13
    )


def test_paper_has_no_dispersion():
    assert not load_scattering_table("paper", 1.5406).imaginary.any()


@pytest.mark.parametrize("element", ["H", "O", "Si", "Fe", "La", "U", "Cf"])
@pytest.mark.parametrize("wavelength", [0.7107, 1.5406])
def test_default_form_factors_are_gemmis(element, wavelength):
    table = load_scattering_table("default", wavelength)
    species = ELEMENT_SYMBOLS.index(element)
    expected = make_gemmi_form_factor(wavelength)(element, 0, STOL2)
    np.testing.assert_allclose(
        table.form_factor(species, STOL2), expected.real, rtol=1e-12
    )
    assert table.imaginary[species] == expected.imag[0]
    atom = gemmi.Element(element)
    f0 = [atom.it92.calculate_sf(s) for s in STOL2]
    shift = gemmi.cromer_liberman(atom.atomic_number, gemmi.hc / wavelength)[0]
    np.testing.assert_allclose(  # gemmi sums in single precision
        table.form_factor(species, STOL2) - shift, f0, rtol=1e-6
    )


def test_iron_at_copper_k_alpha():
    # f' = -1.13, f'' = 3.20 electrons: Cromer & Liberman (1970), J. Chem. Phys. 53.
    table = load_scattering_table("default", 1.5406)
    neutral = gemmi.Element("Fe").it92
    f0 = sum(neutral.a) + neutral.c
    assert table.form_factor(26, np.zeros(1))[0] - f0 == pytest.approx(-1.13, abs=0.03)
    assert table.imaginary[26] == pytest.approx(3.20, abs=0.03)


def test_ions_have_their_electrons():
    ions = ((26, 3), (8, -2), (11, 1))
    table = load_scattering_table("default", 0.7107, ions)
    for row, (z, charge) in enumerate(ions, start=99):
        electrons = table.form_factor(row, np.zeros(1)) - table.form_factor(
            z, np.zeros(1)
        )
        # f' is the same for atom and ion and drops out.
        assert electrons[0] == pytest.approx(-charge, abs=0.05)


@pytest.mark.parametrize(
    ("ion", "stand_in"), [((8, -3), (8, -2)), ((25, 7), (25, 4)), ((7, -3), (7, 0))]
)
def test_unpublished_ion_has_the_nearest_published_curve(ion, stand_in):
    table = load_scattering_table("default", 1.5406, (ion, stand_in))
    np.testing.assert_array_equal(table.amplitude[99], table.amplitude[100])


def test_look_up_leaves_gemmis_switch_alone():
    before = gemmi.IT92_get_ignore_charge()
    load_scattering_table("default", 1.1111, ((26, 2),))
    assert gemmi.IT92_get_ignore_charge() == before


def test_ions_follow_the_neutral_atoms():
    species, ions = find_species(np.array([8, 26, 8, 26]), np.array([-2, 3, 0, 3]))
    assert ions == ((8, -2), (26, 3))
    assert species.tolist() == [99, 100, 8, 100]


def test_unknown_mode_is_refused():
    with pytest.raises(PatternError, match="unknown scattering 'xray'; known are"):
        load_scattering_table("xray", 1.5406)
