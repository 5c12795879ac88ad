import json
import math

import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.rng import STREAM_MEASUREMENT, draw_uniforms
from pxrdbench.diffraction.kernels.pseudo_voigt import _fill_pseudo_voigts
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import (
    EFFECTS,
    MEASUREMENTS,
    AmorphousHumps,
    CoarserSteps,
    CountingNoise,
    GaussianNoise,
    ImpurityPattern,
    ImpurityPhases,
    InstrumentProfile,
    LatticeStrain,
    Measurement,
    PartialRange,
    PhasePool,
    PolynomialBackground,
    ProcessBackground,
    SampleDisplacement,
    SpectralLines,
    SpuriousPeaks,
    Texture,
    ThermalMotion,
    ZeroShift,
    load_measurement,
)
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import PatternError

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="noise on whole scans needs compiled kernels"
)
GRID = TwoThetaGrid()
SAMPLES = Samples(seed=3, start=100, count=24)


@pytest.fixture(scope="module")
def crystals():
    return draw_crystals(load_prior("open-v0"), 3, 100, 24)


@pytest.fixture(scope="module")
def peaks(crystals):
    return simulate_peaks(crystals, two_theta=(3.0, 92.0))


@pytest.fixture(scope="module")
def pool():
    return PhasePool.from_crystals(draw_crystals(load_prior("open-v0"), 3, 1 << 50, 16))


def cut_peaks(peaks, rows):
    bounds = peaks.peak_offset[rows.start], peaks.peak_offset[rows.stop]
    return PeakBatch(
        peaks.two_theta[slice(*bounds)],
        peaks.intensity[slice(*bounds)],
        peaks.peak_offset[rows.start : rows.stop + 1] - bounds[0],
        wavelength=peaks.wavelength,
    )


def flat(n, height=0.0):
    return np.full((n, GRID.points), height, np.float32)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_batch_boundaries_leave_every_byte(name, crystals, pool):
    measurement = load_measurement(name)
    lists = list(crystals)
    whole = measurement.simulate(crystals, SAMPLES, pool=pool)
    scans = measurement.render(whole, GRID, SAMPLES, 40.0, pool=pool)
    for start, stop in ((0, 1), (1, 9), (9, 24)):
        part = Samples(3, 100 + start, stop - start)
        drawn = measurement.simulate(
            type(crystals).from_crystals(lists[start:stop]), part, pool=pool
        )
        first, last = whole.peak_offset[start], whole.peak_offset[stop]
        assert drawn.intensity.tobytes() == whole.intensity[first:last].tobytes()
        assert drawn.two_theta.tobytes() == whole.two_theta[first:last].tobytes()
        again = measurement.render(drawn, GRID, part, 40.0, pool=pool)
        assert again.intensity.tobytes() == scans.intensity[start:stop].tobytes()


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_scans_lie_between_zero_and_one(name, crystals, pool):
    measurement = load_measurement(name)
    drawn = measurement.simulate(crystals, SAMPLES, pool=pool)
    scans = measurement.render(drawn, GRID, SAMPLES, 40.0, pool=pool).intensity
    assert scans.dtype == np.float32
    assert np.isfinite(scans).all()
    assert (scans.max(axis=1) == 1.0).all()
    assert scans.min() >= 0.0
    other = measurement.render(
        drawn, GRID, Samples(4, 100, 24), 40.0, pool=pool
    ).intensity
    assert (np.abs(scans - other).max(axis=1) > 1e-3).all()


def test_no_effect_is_the_plain_pattern(crystals, peaks):
    nothing = Measurement()
    drawn = nothing.simulate(crystals, SAMPLES, two_theta=(3.0, 92.0))
    assert drawn.intensity.tobytes() == peaks.intensity.tobytes()
    scans = nothing.render(peaks, GRID, SAMPLES, 40.0)
    assert scans.intensity.tobytes() == render(peaks, GRID, 40.0).tobytes()
    assert scans.is_measured is None


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_json_brings_a_measurement_back(name):
    measurement = load_measurement(name)
    text = json.dumps(measurement.to_dict())
    assert Measurement.from_dict(json.loads(text)) == measurement


def test_order_of_effects_does_not_matter():
    one, two = ZeroShift(), CountingNoise()
    assert Measurement((one, two)) == Measurement((two, one))


def test_every_effect_says_where_and_when_it_acts():
    ranks = [effect.rank for effect in EFFECTS.values()]
    assert len(set(ranks)) == len(ranks)
    for effect in EFFECTS.values():
        assert effect.acts_on in {"crystals", "peaks", "patterns"}
        assert effect.acts_when in {"drawn", "rendered"}
        # What changes crystals cannot be done to a stored list of peaks.
        assert effect.acts_on != "crystals" or effect.acts_when == "drawn"
        assert effect.acts_on != "patterns" or effect.acts_when == "rendered"
    drawn = load_measurement("laboratory").drawn_effects
    assert {type(effect).__name__ for effect in drawn} == {
        "LatticeStrain", "ThermalMotion", "Texture", "ImpurityPhases",
    }  # fmt: skip


def test_lattice_strain_keeps_the_symmetry(crystals):
    strain = LatticeStrain((0.01, 0.01), (-0.002, 0.002), (-0.5, 0.5))
    strained = strain.apply(crystals, SAMPLES)
    strained.check()
    ratio = strained.lattice[:, :3] / crystals.lattice[:, :3]
    assert (np.abs(ratio - 1.01) < 0.0021).all()
    assert np.ptp(ratio) > 0.002
    for before, after, group in zip(
        crystals.lattice, strained.lattice, crystals.space_group, strict=True
    ):
        if group > 142:
            assert after[0] == after[1]
        if group > 194:
            assert after[0] == after[2]
        if group > 15:
            assert (after[3:] == before[3:]).all()


def test_thermal_motion_weakens_lines_as_it_should(crystals, peaks):
    b = 1.25
    still = simulate_peaks(crystals, precision="double")
    moving = simulate_peaks(
        ThermalMotion((b, b), (1.0, 1.0)).apply(crystals, SAMPLES), precision="double"
    )
    stol2 = (np.sin(np.radians(still.two_theta / 2)) / 1.5406) ** 2
    expected = still.intensity * np.exp(-2 * b * stol2)
    # Weakened lines may fall below the cut: compare the first crystal, all lines kept.
    for i in range(len(crystals)):
        own = slice(still.peak_offset[i], still.peak_offset[i + 1])
        new = slice(moving.peak_offset[i], moving.peak_offset[i + 1])
        if own.stop - own.start == new.stop - new.start:
            np.testing.assert_allclose(moving.intensity[new], expected[own], rtol=1e-9)
            break
    else:
        pytest.fail("no crystal keeps all its lines")


def test_impurity_weights_are_weight_fractions(crystals, pool):
    """Lines of the mixture against the two phases scaled by hand."""
    phases = ImpurityPhases((1, 1), (0.3, 0.3))
    plain = simulate_peaks(crystals)
    mixed = Measurement((phases,)).simulate(crystals, SAMPLES, pool=pool)
    row = int(phases.uniforms(SAMPLES, 3)[0, 2] * len(pool))
    foreign = slice(pool.peaks.peak_offset[row], pool.peaks.peak_offset[row + 1])
    own = slice(0, plain.peak_offset[1])
    structure = crystals[0].to_pymatgen()
    own_scale = 0.7 / (float(structure.composition.weight) * structure.volume)
    expected = np.concatenate(
        [
            plain.intensity[own] * own_scale,
            pool.peaks.intensity[foreign] * 0.3 / pool.mass_times_volume[row],
        ]
    )
    angles = np.concatenate([plain.two_theta[own], pool.peaks.two_theta[foreign]])
    got = slice(0, mixed.peak_offset[1])
    order = np.argsort(angles, kind="stable")
    np.testing.assert_array_equal(mixed.two_theta[got], angles[order])
    # Standard atomic weights of gemmi and pymatgen differ by up to 1e-4.
    np.testing.assert_allclose(mixed.intensity[got], expected[order], rtol=3e-4)


def test_spectral_lines_stand_where_d_puts_them(crystals, peaks):
    lines = SpectralLines().apply(peaks, SAMPLES, GRID)
    exact = simulate_peaks(crystals, "CuKa", (3.1, 91.5))
    inside = (lines.two_theta > 3.1) & (lines.two_theta < 91.5)
    assert inside.sum() == pytest.approx(len(exact.two_theta), abs=6)
    strong = exact.intensity > 1e-4 * exact.intensity.max()
    nearest = np.abs(lines.two_theta[:, None] - exact.two_theta[strong]).argmin(axis=0)
    np.testing.assert_allclose(
        lines.two_theta[nearest], exact.two_theta[strong], atol=2e-5
    )
    assert lines.intensity.sum() == pytest.approx(peaks.intensity.sum(), rel=1e-12)


def test_paper_lines_are_not_shifted(peaks):
    """The reference takes 1.541838 for the peaks' wavelength; we do not."""
    lines = load_measurement("rruff-paper").get(SpectralLines)
    alone = PeakBatch(np.array([40.0]), np.ones(1), np.array([0, 1]))
    first = lines.apply(alone, Samples(0, 0, 1), GRID).two_theta
    # 1.54056 Å is 0.00004 below 1.5406: 0.001 degrees, not 0.035.
    assert first[0] == pytest.approx(40.0, abs=0.0015)
    assert first[1] == pytest.approx(40.102, abs=0.002)
    with pytest.raises(PatternError, match="within 5 %"):
        SpectralLines(((0.7093, 1.0),)).apply(alone, Samples(0, 0, 1), GRID)


def test_shifts_follow_their_formulae():
    angles = np.array([20.0, 60.0, 100.0])
    peaks = PeakBatch(angles, np.ones(3), np.array([0, 3]))
    one = Samples(0, 0, 1)
    moved = ZeroShift((0.02, 0.02)).apply(peaks, one, GRID).two_theta
    np.testing.assert_allclose(moved - angles, 0.02, atol=1e-12)
    moved = SampleDisplacement((0.1, 0.1), 200.0).apply(peaks, one, GRID).two_theta
    expected = np.degrees(-2 * 0.1 / 200 * np.cos(np.radians(angles / 2)))
    np.testing.assert_allclose(moved - angles, expected, atol=1e-12)


def test_spurious_peaks_are_added_in_order(peaks):
    effect = SpuriousPeaks((1, 4), (0.01, 0.1))
    more = effect.apply(peaks, SAMPLES, GRID)
    added = np.diff(more.peak_offset) - np.diff(peaks.peak_offset)
    assert added.min() >= 1
    assert added.max() <= 4
    assert len(set(added)) > 1
    for first, last in zip(more.peak_offset, more.peak_offset[1:], strict=False):
        assert (np.diff(more.two_theta[first:last]) >= 0).all()


def test_process_has_the_kernel_it_claims():
    """Covariance at the knots over many draws, against exp(−d²/2l²)."""
    from pxrdbench.diffraction.kernels.background import wave_variances

    for length in (3.0, 8.0, 20.0):
        variances = np.zeros(400)
        n = wave_variances(length / 85.0, variances)
        d = np.linspace(0, 85, 60)
        k = np.arange(n)
        kernel = np.cos(2 * np.pi * np.outer(d, k) / (3 * 85.0)) @ variances[:n]
        np.testing.assert_allclose(kernel, np.exp(-(d**2) / 2 / length**2), atol=1e-7)


def test_process_background_is_a_spline_of_stated_height():
    from scipy.interpolate import CubicSpline

    samples = Samples(1, 0, 400)
    background = ProcessBackground()
    drawn = background.apply(flat(400), samples, GRID).astype(np.float64)
    assert drawn.min(axis=1) == pytest.approx(0.0, abs=1e-7)
    mean = drawn.mean(axis=1)
    assert mean.max() <= 150 / 8501 * 1.0001
    # Mean of a half-normal of standard deviation 75/8501 cut at two of them.
    assert mean.mean() == pytest.approx(75 / 8501 * 0.7227, rel=0.1)
    knots = np.linspace(0, 8500, 60)
    empty = np.zeros((400, 60), np.float32)
    smooth = background.apply(empty, samples, TwoThetaGrid(5, 90, 60))
    spline = CubicSpline(knots, smooth[0], bc_type="natural")(np.arange(8501))
    spline -= spline.min()
    np.testing.assert_allclose(
        drawn[0] / mean[0], spline / spline.mean(), atol=2e-4 * drawn[0].max() / mean[0]
    )


def test_gaussian_noise_has_the_stated_spread():
    samples = Samples(5, 0, 40)
    both = GaussianNoise((0.01, 0.01), (0.05, 0.05)).apply(flat(40, 0.5), samples, GRID)
    expected = np.sqrt(0.01**2 + 0.25 * 0.05**2 + 0.01**2 * 0.05**2)
    assert both.mean() == pytest.approx(0.5, abs=3e-4)
    assert both.std() == pytest.approx(expected, rel=0.01)
    noise = (both - 0.5).ravel() / expected
    assert (noise**4).mean() == pytest.approx(3.0, abs=0.05)
    assert np.abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
    assert len(np.unique(noise[:8501])) > 8000


@pytest.mark.parametrize("mean", [0.02, 0.9, 4.0, 15.0, 17.0, 60.0, 1000.0])
def test_counts_are_poisson_numbers(mean):
    from scipy.stats import poisson

    samples = Samples(6, 0, 30)
    level = 2000.0
    scans = CountingNoise((level, level)).apply(flat(30, mean / level), samples, GRID)
    counts = np.rint(scans.astype(np.float64) * level).ravel()
    assert np.abs(scans.ravel() * level - counts).max() < 1e-2
    n = len(counts)
    assert counts.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / n))
    assert counts.var() == pytest.approx(mean, rel=0.02 + 5 * np.sqrt(1 / mean / n))
    values = np.arange(poisson.ppf(0.001, mean), poisson.ppf(0.999, mean) + 1)
    found = np.searchsorted(np.sort(counts), values, side="right") / n
    np.testing.assert_allclose(found, poisson.cdf(values, mean), atol=0.006)


def test_few_counts_are_those_of_one_after_another():
    """Counted many at once: the same numbers, from the same random numbers."""
    effect, one = CountingNoise((100.0, 100.0)), Samples(5, 7, 1)
    means = np.linspace(0.0, 15.9, 1001).astype(np.float32) * (np.arange(1001) % 3)
    means = np.where(means < 16.0, means, np.float32(0.01))
    scan = effect.apply((means / np.float32(100.0))[None].copy(), one, GRID)[0]
    behind = effect.first_block() + 1 + -(-1001 // 8)
    uniforms = iter(draw_uniforms(5, 7, 1, STREAM_MEASUREMENT, 1001, behind)[0])
    for intensity, found in zip(means / np.float32(100.0), scan, strict=True):
        mean, count = float(intensity) * 100.0, 0
        if mean > 0.0:
            uniform, probability = next(uniforms), math.exp(-mean)
            total = probability
            while uniform > total:
                count += 1
                probability *= mean / count
                total += probability
        assert found == np.float32(count / 100.0)


def test_humps_are_gaussians_to_the_last_digit():
    humps = AmorphousHumps((2, 2), (15, 35), (4, 12), (0.005, 0.2))
    uniforms = humps.uniforms(SAMPLES, 7)[:, 1:].reshape(24, 3, 2)
    centre, fwhm = 15 + 20 * uniforms[:, 0], 4 + 8 * uniforms[:, 1]
    height = 0.005 * 40.0 ** uniforms[:, 2]
    expected = np.zeros((24, GRID.points), np.float32)
    for n in range(2):
        d = GRID.start + GRID.step * np.arange(GRID.points) - centre[:, n, None]
        narrow = 4.0 * math.log(2.0) / fwhm[:, n, None] ** 2
        expected += (height[:, n, None] * np.exp(-narrow * d * d)).astype(np.float32)
    assert np.allclose(humps.apply(flat(24), SAMPLES, GRID), expected, 2e-7, 1e-12)


def test_widths_of_voigt_functions_are_exact():
    """Thompson, Cox and Hastings (1987) in numpy, widths over eight decades."""
    random = np.random.default_rng(0)
    g, lorentz = 10.0 ** random.uniform(-6, 2, (2, 4000))
    lorentz[::7] = 0.0
    gauss2, width = (g**2).astype(np.float32), lorentz.astype(np.float32)
    g, lorentz = np.sqrt(gauss2.astype(float)), width.astype(float)
    coefficients = (1.0, 2.69269, 2.42843, 4.47163, 0.07842, 1.0)
    fwhm = sum(c * g ** (5 - n) * lorentz**n for n, c in enumerate(coefficients)) ** 0.2
    ratio = lorentz / fwhm
    share = 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3
    _fill_pseudo_voigts(gauss2, width, np.float32(100.0))
    assert np.allclose(gauss2, 100.0 * fwhm, 2e-7, 0.0)
    assert np.allclose(width, share, 2e-7, 1e-30)


def test_backgrounds_have_their_heights():
    samples = Samples(7, 0, 20)
    polynomial = PolynomialBackground((0.1, 0.1)).apply(flat(20), samples, GRID)
    np.testing.assert_allclose(polynomial.max(axis=1), 0.1, rtol=1e-5)
    np.testing.assert_allclose(polynomial.min(axis=1), 0.0, atol=1e-7)
    humps = AmorphousHumps((1, 1), (25, 25), (8, 8), (0.2, 0.2))
    drawn = humps.apply(flat(20), samples, GRID)[0]
    assert drawn.max() == pytest.approx(0.2, rel=1e-6)
    half = GRID.angles()[drawn >= 0.1]
    assert half[0] == pytest.approx(21.0, abs=0.011)
    assert half[-1] == pytest.approx(29.0, abs=0.011)


def test_coarser_steps_join_points_by_lines():
    rng = np.random.default_rng(0)
    noisy = rng.random((1, GRID.points)).astype(np.float32)
    coarse = CoarserSteps((4, 4)).apply(noisy, Samples(0, 0, 1), GRID)[0]
    np.testing.assert_array_equal(coarse[::4], noisy[0, ::4])
    np.testing.assert_allclose(coarse[2:-2:4], (noisy[0, :-4:4] + noisy[0, 4::4]) / 2)


def test_partial_range_is_zero_beyond(peaks):
    effects = (PartialRange((10, 10), (70, 70)), GaussianNoise())
    scans = Measurement(effects, subtract_minimum=True).render(
        peaks, GRID, SAMPLES, 40.0
    )
    angles = GRID.angles()
    outside = (angles < 9.994) | (angles > 70.006)
    part = ~scans.is_measured.all(axis=1)
    assert part.sum() > 15
    assert (scans.intensity[part][:, outside] == 0.0).all()
    assert scans.is_measured[part][:, ~outside].all()
    assert (scans.intensity.max(axis=1) == 1.0).all()
    assert not scans.intensity.flags.writeable


def test_impurity_pattern_is_mixed_by_height(peaks, pool):
    plain = render(peaks, GRID, 40.0)
    effect = ImpurityPattern((0.05, 0.05))
    scans = Measurement((effect,)).render(peaks, GRID, SAMPLES, 40.0, pool=pool)
    rows = effect.pick(SAMPLES, pool)
    foreign = render(pool.peaks, GRID, 40.0)[rows]
    expected = 0.95 * plain + 0.05 * foreign
    expected /= expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(scans.intensity, expected, atol=2e-4)


def test_texture_changes_intensities_only(crystals):
    textured = Measurement((Texture((0.5, 0.5)),)).simulate(crystals, SAMPLES)
    plain = simulate_peaks(crystals)
    ours = np.isin(np.round(textured.two_theta, 4), np.round(plain.two_theta, 4))
    assert ours.mean() > 0.99
    assert textured.intensity.sum() != plain.intensity.sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ZeroShift((1.0, 0.0)), "ZeroShift degrees runs from 1.0 to 0.0"),
        (lambda: ZeroShift((np.nan, 0.0)), "ZeroShift degrees runs from nan"),
        (lambda: CountingNoise((0.0, 10.0)), "CountingNoise counts runs from 0.0"),
        (lambda: Texture((0.0, 1.0)), "Texture r runs from 0.0"),
        (lambda: ThermalMotion((-1.0, 1.0)), "ThermalMotion b_iso runs from -1.0"),
        (lambda: ImpurityPhases((0, 4), (0.0, 0.3)), "leave nothing of the main phase"),
        (lambda: InstrumentProfile(v=(-1.0, 0.0)), "squared width"),
        (lambda: PartialRange((5, 60), (50, 90)), "starts must lie below stops"),
        (lambda: SpectralLines(((1.54, 0.5),)), "weights add up to 1"),
        (lambda: SampleDisplacement(radius_mm=0.0), "radius_mm is 0.0"),
        (lambda: ProcessBackground(knots=2), "knots is 2"),
        (lambda: PolynomialBackground(order=0), "order is 0"),
        (lambda: Measurement((ZeroShift(), ZeroShift())), "ZeroShift occurs 2 times"),
        (lambda: load_measurement("perfect"), "unknown measurement 'perfect'"),
        (
            lambda: Measurement.from_dict(
                {"name": "", "subtract_minimum": False, "effects": [{"effect": "Rain"}]}
            ),
            "unknown effect",
        ),
    ],
)
def test_impossible_effects_are_refused(make, message):
    with pytest.raises(PatternError, match=message):
        make()


def test_what_is_missing_is_named(crystals, peaks):
    paper = load_measurement("rruff-paper")
    assert paper.needs_pool
    assert not load_measurement("rruff-paper-pure").needs_pool
    with pytest.raises(PatternError, match="'rruff-paper' adds impurities"):
        paper.render(peaks, GRID, SAMPLES)
    with pytest.raises(PatternError, match="3 samples, but 24"):
        paper.render(peaks, GRID, Samples(0, 0, 3))
    with pytest.raises(PatternError, match="3 samples, but 24"):
        paper.simulate(crystals, Samples(0, 0, 3))
