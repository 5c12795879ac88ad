import numpy as np
import pytest
from random_crystals import draw_crystal_on_all_positions
from references import (
    lattice_vectors,
    list_all_reflections,
    make_gemmi_form_factor,
    simulate_reflections,
)

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.diffraction.kernels.texture import MarchDollase
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import PatternError

TWO_THETA = (8.0, 50.0)


def march_dollase(crystal, hkl, axis, r):
    """Mean over all rotations of the group, each reflection on its own."""
    reciprocal = np.linalg.inv(lattice_vectors(crystal.lattice)).T
    rotations, _ = load_symmetry_tables().operators(crystal.space_group)
    images = np.array(axis) @ rotations @ reciprocal
    images /= np.linalg.norm(images, axis=1)[:, None]
    vectors = hkl @ reciprocal
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    cos2 = (vectors @ images.T) ** 2
    return ((r**2 * cos2 + (1 - cos2) / r) ** -1.5).mean(axis=1)


@pytest.mark.parametrize(
    "group", [1, 2, 5, 14, 62, 82, 99, 136, 146, 152, 167, 176, 194, 198, 216, 225]
)
def test_intensities_equal_the_full_sum(group):
    rng = np.random.default_rng(group)
    crystal = draw_crystal_on_all_positions(group, rng, 150.0)
    axis, r = rng.integers(-2, 3, 3), (0.4, 2.5)[group % 2]
    axis[2] += not axis.any()
    texture = MarchDollase(axis[None].astype(np.int16), np.array([r]))
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([crystal]),
        two_theta=TWO_THETA,
        precision="double",
        texture=texture,
    )
    hkl, _ = list_all_reflections(crystal.lattice, 1.5406, TWO_THETA)
    angles, intensity = simulate_reflections(
        crystal, make_gemmi_form_factor(1.5406), 1.5406, TWO_THETA
    )
    textured = intensity * march_dollase(crystal, hkl, axis, r)
    rows = np.abs(peaks.two_theta[:, None] - angles).argmin(axis=0)
    close = np.abs(peaks.two_theta[rows] - angles) < 1.1e-5
    total = np.bincount(rows[close], textured[close], minlength=len(peaks.two_theta))
    np.testing.assert_allclose(peaks.intensity, total, rtol=1e-9)
    plain = np.bincount(rows[close], intensity[close], minlength=len(total))
    assert np.abs(total / plain - 1).max() > 0.02


def test_no_texture_leaves_every_byte():
    rng = np.random.default_rng(3)
    batch = CrystalBatch.from_crystals(
        [draw_crystal_on_all_positions(62, rng) for _ in range(2)]
    )
    none = MarchDollase(np.array([[0, 0, 1], [1, 1, 1]], np.int16), np.ones(2))
    plain, textured = simulate_peaks(batch), simulate_peaks(batch, texture=none)
    assert plain.intensity.tobytes() == textured.intensity.tobytes()


def test_mean_over_orientations_is_one():
    cosines = (np.arange(200_000) + 0.5) / 200_000
    for r in (0.4, 0.8, 1.5):
        weights = (r**2 * cosines**2 + (1 - cosines**2) / r) ** -1.5
        assert weights.mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("axis", "r", "message"),
    [
        ([0, 0, 0], 0.8, r"crystal 0: the preferred axis is \(0 0 0\)"),
        ([0, 0, 1], 0.0, "crystal 0: March-Dollase r is 0.0"),
        ([0, 0, 1], np.nan, "crystal 0: March-Dollase r is nan"),
    ],
)
def test_impossible_texture_is_refused(axis, r, message):
    with pytest.raises(PatternError, match=message):
        MarchDollase(np.array([axis], np.int16), np.array([r]))


def test_one_texture_a_crystal_is_needed():
    rng = np.random.default_rng(3)
    batch = CrystalBatch.from_crystals([draw_crystal_on_all_positions(62, rng)])
    two = MarchDollase(np.ones((2, 3), np.int16), np.ones(2))
    with pytest.raises(PatternError, match="2 textures for 1 crystals"):
        simulate_peaks(batch, texture=two)
