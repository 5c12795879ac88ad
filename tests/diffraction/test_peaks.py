from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_crystals import (
    assign_to_peaks,
    draw_crystal_on_all_positions,
    draw_lattice,
    draw_site,
)
from references import (
    make_gemmi_form_factor,
    paper_form_factor,
    simulate_reflections,
)

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import CrystalError, PatternError

SALT = Crystal(
    225,
    (5.64, 5.64, 5.64, 90.0, 90.0, 90.0),
    (Site("Na", "a", (0.0, 0.0, 0.0)), Site("Cl", "b", (0.5, 0.5, 0.5))),
)
FORM_FACTOR = {"paper": paper_form_factor, "default": make_gemmi_form_factor(1.5406)}
GROUPS = range(1, 231)


@pytest.fixture(scope="module")
def crystals():
    """Atoms on every position of every group."""
    rng = np.random.default_rng(2)
    return [draw_crystal_on_all_positions(group, rng) for group in GROUPS]


@pytest.fixture(scope="module")
def batch(crystals):
    return CrystalBatch.from_crystals(crystals)


@pytest.mark.parametrize(
    ("scattering", "groups"),
    [("paper", range(1, 231, 3)), ("default", range(1, 231))],
)
def test_all_positions_of_all_groups_equal_the_full_sum(
    crystals, batch, scattering, groups
):
    two_theta = (8.0, 55.0)
    double = simulate_peaks(batch, 1.5406, two_theta, scattering, "double")
    single = simulate_peaks(batch, 1.5406, two_theta, scattering, "single")
    cut = {"paper": 1e-5, "default": 1e-7}[scattering]
    for group in groups:
        crystal = crystals[group - 1]
        reference = simulate_reflections(
            crystal, FORM_FACTOR[scattering], 1.5406, two_theta
        )
        ours, total, lost = assign_to_peaks(double, group - 1, *reference)
        np.testing.assert_allclose(
            ours, total, rtol=1e-9, atol=1e-12 * total.max(), err_msg=f"group {group}"
        )
        assert lost <= cut * total.max(), f"group {group}"
        ours, total, lost = assign_to_peaks(single, group - 1, *reference)
        assert np.abs(ours - total).max() <= 2e-6 * total.max(), f"group {group}"


def test_comparison_would_notice_a_moved_atom(crystals, batch):
    """The full sum of a slightly wrong crystal is far outside the tolerance."""
    crystal = crystals[0]
    site = crystal.sites[0]
    moved = replace(site, fract=(site.fract[0] + 1e-4, *site.fract[1:]))
    wrong = replace(crystal, sites=(*crystal.sites[1:], moved), space_group=2)
    wrong = replace(wrong, sites=(replace(moved, wyckoff_letter="i"),))
    right = replace(wrong, sites=(replace(site, wyckoff_letter="i"),) * 1)
    other = Site("O", "i", (0.1, 0.2, 0.3))
    wrong = replace(wrong, sites=(*wrong.sites, other))
    right = replace(right, sites=(*right.sites, other))
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([right]), 1.5406, (8, 55), "paper", "double"
    )
    reference = simulate_reflections(wrong, paper_form_factor, 1.5406, (8, 55))
    ours, total, _ = assign_to_peaks(peaks, 0, *reference)
    assert np.abs(ours / total - 1).max() > 1e-4


def test_batch_boundaries_leave_every_byte(batch, crystals):
    whole = simulate_peaks(batch, hkl=True)
    parts = [
        simulate_peaks(CrystalBatch.from_crystals(crystals[i:j]), hkl=True)
        for i, j in ((0, 1), (1, 90), (90, 230))
    ]
    for name in ("two_theta", "intensity", "hkl"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert getattr(whole, name).tobytes() == joined.tobytes()


def test_many_reflections_outgrow_the_first_arrays():
    rng = np.random.default_rng(4)
    large = Crystal(
        1,
        draw_lattice(1, rng, 6000.0),
        tuple(draw_site(1, 0, rng, "Fe") for _ in range(3)),
    )
    batch = CrystalBatch.from_crystals([SALT, large, SALT])
    peaks = simulate_peaks(batch, hkl=True)
    alone = simulate_peaks(CrystalBatch.from_crystals([SALT]), hkl=True)
    n = len(alone.two_theta)
    assert np.diff(peaks.peak_offset)[1] > 3000
    assert peaks.intensity[-n:].tobytes() == alone.intensity.tobytes()
    assert peaks.hkl[:n].tobytes() == alone.hkl.tobytes()
    reference = simulate_reflections(large, make_gemmi_form_factor(1.5406))
    ours, total, lost = assign_to_peaks(peaks, 1, *reference)
    assert np.abs(ours - total).max() <= 2e-6 * total.max()
    assert lost <= 1e-7 * total.max()


@pytest.mark.parametrize("precision", ["single", "double"])
def test_salt_reflects_at_unmixed_indices_only(precision):
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([SALT]), precision=precision, hkl=True
    )
    assert peaks.hkl[:3].tolist() == [[1, 1, 1], [2, 0, 0], [2, 2, 0]]
    assert (np.ptp(peaks.hkl % 2, axis=1) == 0).all()
    d = 5.64 / np.sqrt((peaks.hkl.astype(float) ** 2).sum(axis=1))
    np.testing.assert_allclose(
        peaks.two_theta, 2 * np.degrees(np.arcsin(1.5406 / (2 * d))), atol=1e-11
    )
    assert peaks.wavelength == 1.5406


@pytest.mark.parametrize("two_theta", [(5, 90), (80, 100), (30, 170)])
def test_angles_hold_beyond_a_right_angle(two_theta):
    reference = simulate_reflections(SALT, paper_form_factor, 1.5406, two_theta)
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([SALT]), 1.5406, two_theta, "paper", "double"
    )
    assert peaks.two_theta.min() >= two_theta[0]
    assert peaks.two_theta.max() <= two_theta[1]
    ours, total, _ = assign_to_peaks(peaks, 0, *reference, within=1e-9)
    np.testing.assert_allclose(ours, total, rtol=1e-10)


def test_supercell_has_the_same_pattern():
    """Eight cells of salt, written as one without symmetry."""
    sites = []
    for site in SALT.sites:
        for shift in ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)):
            for cell in np.ndindex(2, 2, 2):
                point = (np.array(site.fract) + shift + cell) / 2
                sites.append(Site(site.element, "a", tuple(point.tolist())))
    supercell = Crystal(1, (11.28, 11.28, 11.28, 90.0, 90.0, 90.0), tuple(sites))
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([SALT, supercell]), precision="double"
    )
    n = peaks.peak_offset[1]
    np.testing.assert_allclose(peaks.two_theta[:n], peaks.two_theta[n:], atol=1e-9)
    # An eightfold cell holds eight times the atoms: 64 times the intensity, for each
    # of its reflections; only those of the small cell are not extinct.
    np.testing.assert_allclose(64 * peaks.intensity[:n], peaks.intensity[n:], rtol=1e-9)


@given(
    shift=st.tuples(*[st.floats(-2, 2, allow_nan=False)] * 3),
    whole=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_origin_of_the_cell_does_not_matter(shift, whole):
    rng = np.random.default_rng(7)
    lattice = draw_lattice(1, rng, 120.0)
    points = rng.random((4, 3))
    elements = ["O", "Fe", "U", "Fe"]

    def make(offset, first_cell):
        moved = points + offset
        moved[0] += first_cell
        return Crystal(
            1,
            lattice,
            tuple(
                Site(e, "a", tuple(x.tolist()))
                for e, x in zip(elements, moved, strict=True)
            ),
        )

    peaks = simulate_peaks(
        CrystalBatch.from_crystals([make(0, 0), make(shift, whole)]),
        precision="double",
    )
    first, second = np.split(peaks.intensity, [peaks.peak_offset[1]])
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-10 * first.max())


@given(factor=st.floats(0.6, 1.9))
def test_longer_waves_and_a_larger_cell_reflect_alike(factor):
    larger = replace(SALT, lattice=(*(5.64 * factor for _ in range(3)), 90, 90, 90))
    angles = [
        simulate_peaks(CrystalBatch.from_crystals([c]), w, scattering="paper").two_theta
        for c, w in ((SALT, 1.5406), (larger, 1.5406 * factor))
    ]
    shared = set(np.round(angles[0], 6)) & set(np.round(angles[1], 6))
    assert len(shared) >= min(len(a) for a in angles) - 1


def test_doublet_has_two_lines_of_each_reflection():
    batch = CrystalBatch.from_crystals([SALT, SALT])
    radiation = Radiation.parse("CuKa")
    peaks = simulate_peaks(batch, "CuKa", (20, 80), hkl=True)
    first = simulate_peaks(batch, radiation.lines[0][0], (20, 80))
    second = simulate_peaks(batch, radiation.lines[1][0], (20, 80))
    assert len(peaks.two_theta) == len(first.two_theta) + len(second.two_theta)
    half = peaks.peak_offset[1]
    assert (np.diff(peaks.two_theta[:half]) > 0).all()
    assert (peaks.hkl[:half:2] == peaks.hkl[1:half:2]).all()
    # f0 + f' differs a little between the lines, the weights 2:1 decide.
    np.testing.assert_allclose(
        peaks.intensity[:half:2] / peaks.intensity[1:half:2], 2, rtol=0.02
    )
    assert peaks.intensity[:half].tobytes() == peaks.intensity[half:].tobytes()
    assert peaks.wavelength == pytest.approx(1.541871, abs=1e-6)


def test_ions_scatter_as_ions():
    ionic = replace(
        SALT,
        sites=tuple(
            replace(site, charge=charge)
            for site, charge in zip(SALT.sites, (1, -1), strict=True)
        ),
    )
    batch = CrystalBatch.from_crystals([SALT, ionic])
    reference = simulate_reflections(ionic, FORM_FACTOR["default"])
    peaks = simulate_peaks(batch, precision="double")
    ours, total, _ = assign_to_peaks(peaks, 1, *reference)
    np.testing.assert_allclose(ours, total, rtol=1e-10)
    assert np.abs(ours / peaks.intensity[: len(ours)] - 1).max() > 1e-3
    paper = simulate_peaks(batch, scattering="paper")
    n = paper.peak_offset[1]
    assert paper.intensity[:n].tobytes() == paper.intensity[n:].tobytes()


def test_rounded_coordinates_are_put_on_their_position():
    def make(third):
        zinc = Site("Zn", "b", (third, 2 * third, 0.0))
        oxygen = Site("O", "b", (third, 2 * third, 0.3819))
        return Crystal(186, (3.25, 3.25, 5.207, 90, 90, 120), (zinc, oxygen))

    peaks = simulate_peaks(CrystalBatch.from_crystals([make(1 / 3), make(0.3333)]))
    exact, rounded = np.split(peaks.intensity, 2)
    assert exact.tobytes() == rounded.tobytes()


def test_species_sharing_a_site_add_up():
    def mixed(occupancy):
        sites = [Site("Fe", "a", (0, 0, 0), occupancy=occupancy)]
        if occupancy < 1:
            sites.append(Site("Fe", "a", (0, 0, 0), occupancy=1 - occupancy))
        return Crystal(229, (2.87, 2.87, 2.87, 90, 90, 90), tuple(sites))

    peaks = simulate_peaks(
        CrystalBatch.from_crystals([mixed(1.0), mixed(0.3)]), precision="double"
    )
    n = peaks.peak_offset[1]
    np.testing.assert_allclose(peaks.intensity[:n], peaks.intensity[n:], rtol=1e-12)


def test_empty_batch_has_no_peaks():
    peaks = simulate_peaks(CrystalBatch.from_crystals([]), hkl=True)
    assert len(peaks) == 0
    assert peaks.hkl.shape == (0, 3)


@pytest.mark.parametrize(
    ("field", "row", "value", "message"),
    [
        ("lattice", 1, (5.0, 5.0, 5.0, 60.0, 60.0, 121.0), "no cell has a, b, c"),
        ("lattice", 1, (np.nan, 5.0, 5.0, 90.0, 90.0, 90.0), "no cell has a, b, c"),
        ("space_group", 1, 231, "space group is 231; allowed is 1-230"),
        ("site_offset", 2, 2, "number of sites is 0"),
        ("wyckoff_index", 2, 26, "wyckoff_index is 26"),
        ("atomic_number", 2, 99, "atomic number is 99; allowed is 1-98"),
        ("fract", 3, (0.0, 0.0, np.nan), "coordinates"),
        ("occupancy", 3, 0.0, "occupancy is 0.0"),
        ("occupancy", 3, np.nan, "occupancy is nan"),
        ("b_iso", 2, -1.0, "b_iso is -1.0"),
    ],
)
def test_impossible_crystal_is_named(field, row, value, message):
    """Batches made from arrays, which nobody has checked before."""
    batch = CrystalBatch.from_crystals([SALT, SALT, SALT])
    values = getattr(batch, field).copy()
    values[row] = value
    with pytest.raises(CrystalError, match=message) as caught:
        simulate_peaks(replace(batch, **{field: values}))
    assert caught.value.index == 1
    assert "crystal 1" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radiation": 0.0}, "wavelength 0.0 angstrom"),
        ({"radiation": float("nan")}, "wavelength nan angstrom"),
        ({"radiation": "WKa"}, "unknown radiation 'WKa'"),
        ({"two_theta": (0.0, 90.0)}, "0 < low < high < 180"),
        ({"two_theta": (50.0, 40.0)}, "0 < low < high < 180"),
        ({"scattering": "xray"}, "unknown scattering"),
        ({"precision": "half"}, "unknown precision"),
        ({"two_theta": (5.0, 6.0)}, "crystal 0: no reflection between 5.0 and 6.0"),
    ],
)
def test_impossible_measurement_is_refused(arguments, message):
    with pytest.raises(PatternError, match=message):
        simulate_peaks(CrystalBatch.from_crystals([SALT]), **arguments)


def test_absurd_number_of_reflections_is_refused():
    huge = replace(SALT, space_group=1, lattice=(900.0, 900.0, 900.0, 90, 90, 90))
    huge = replace(huge, sites=(Site("Na", "a", (0, 0, 0)),))
    with pytest.raises(PatternError, match="crystal 0: over 20000000 reflections"):
        simulate_peaks(CrystalBatch.from_crystals([huge]), 0.5)
