from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config
from scipy import stats

from pxrdbench.crystal.generator.cell import draw_lattice, draw_volume_factor
from pxrdbench.crystal.generator.check import find_group
from pxrdbench.crystal.generator.draw import draw_crystals, draw_crystals_with_report
from pxrdbench.crystal.lattice import cell_volumes
from pxrdbench.crystal.prior.prior import fit_prior, load_prior
from pxrdbench.crystal.prior.sampling_tables import sampling_tables
from pxrdbench.crystal.rng import STATE_SIZE, STREAM_CRYSTAL, seed_state
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

PRIOR = load_prior("open-v0")
TABLES = load_symmetry_tables()
MANY = 20_000
needs_jit = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="tens of thousands of draws need compiled kernels"
)


@pytest.fixture(scope="module")
def drawn():
    return draw_crystals_with_report(PRIOR, 3, 0, MANY)


def site_groups(crystals):
    return np.repeat(crystals.space_group, np.diff(crystals.site_offset))


def same(first, second):
    return all(
        getattr(first, f.name).tobytes() == getattr(second, f.name).tobytes()
        for f in fields(first)
    )


@needs_jit
@given(start=st.integers(0, 900), count=st.integers(0, 100), preset=st.booleans())
def test_samples_do_not_depend_on_the_batch(start, count, preset):
    preset = ("default", "paper")[preset]
    whole = draw_crystals(PRIOR, 5, 0, 1000, preset=preset)
    part = draw_crystals(PRIOR, 5, start, count, preset=preset)
    stop = start + count
    sites = slice(whole.site_offset[start], whole.site_offset[stop])
    expected = CrystalBatch(
        whole.lattice[start:stop],
        whole.space_group[start:stop],
        whole.site_offset[start : stop + 1] - whole.site_offset[start],
        *(
            getattr(whole, name)[sites]
            for name in (
                "fract",
                "atomic_number",
                "wyckoff_index",
                "occupancy",
                "b_iso",
                "charge",
            )
        ),
    )
    assert same(part, expected)


def test_seeds_and_late_samples():
    assert same(draw_crystals(PRIOR, 5, 7, 9), draw_crystals(PRIOR, 5, 7, 9))
    assert not same(draw_crystals(PRIOR, 5, 7, 9), draw_crystals(PRIOR, 6, 7, 9))
    assert not same(draw_crystals(PRIOR, 5, 7, 9), draw_crystals(PRIOR, 5, 8, 9))
    late = draw_crystals(PRIOR, 2**64 - 1, 2**40, 3)
    assert same(draw_crystals(PRIOR, 2**64 - 1, 2**40 + 1, 1), batch_of(late, 1))
    with pytest.raises(ValueError, match="seed -1"):
        draw_crystals(PRIOR, -1, 0, 1)
    with pytest.raises(PriorError, match="known are default, paper"):
        draw_crystals(PRIOR, 1, 0, 1, preset="ours")


def batch_of(crystals, index):
    return CrystalBatch.from_crystals([crystals[index]])


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("frequencies", ["fitted", "uniform", "icsd"])
def test_crystals_can_be(preset, frequencies):
    prior = PRIOR.with_frequencies(frequencies)
    crystals = draw_crystals(
        prior, 11, 0, 30 if config.DISABLE_JIT else 3000, preset=preset
    )
    crystals.check()
    assert set(crystals.space_group.tolist()) <= set(prior.space_groups)
    assert np.diff(crystals.site_offset).max() <= prior.max_sites
    assert crystals.lattice[:, :3].min() >= 2.0
    if preset == "default":
        assert crystals.volume.max() <= prior.max_volume * (1 + 1e-12)


@needs_jit
def test_positions_were_seen_and_fixed_ones_occur_once(drawn):
    crystals = drawn[0]
    row = TABLES.position_offset[site_groups(crystals)] + crystals.wyckoff_index
    assert (PRIOR.wyckoff[row] > 0).all()
    owner = np.repeat(np.arange(MANY), np.diff(crystals.site_offset))
    fixed = TABLES.degrees_of_freedom[row] == 0
    held = np.column_stack([owner, row])[fixed]
    assert len(np.unique(held, axis=0)) == len(held)


@needs_jit
def test_group_frequencies_are_the_priors(drawn):
    """Rejections stay within the group: they must not move its frequency."""
    crystals, rejections = drawn
    assert rejections.accepted.sum() == MANY
    counts = np.bincount(crystals.space_group, minlength=231)
    assert np.array_equal(counts, rejections.accepted)
    expected = PRIOR.space_group_probability * MANY
    chi2 = ((counts[PRIOR.space_group] - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi2, len(expected) - 1) > 1e-4
    assert rejections.higher_symmetry.sum() > 0
    doubled = rejections + rejections
    assert doubled.atoms_too_large.sum() == 2 * rejections.atoms_too_large.sum()


@needs_jit
def test_repetitions(drawn):
    """As drawn by default; in the paper preset the last element holds one position."""
    crystals = drawn[0]
    alone = crystals.site_offset[1:] - crystals.site_offset[:-1]
    paper = draw_crystals(PRIOR, 3, 0, MANY, preset="paper")
    for index in range(2000):
        rows = slice(paper.site_offset[index], paper.site_offset[index + 1])
        numbers = paper.atomic_number[rows]
        assert (numbers == numbers[-1]).sum() == 1
    assert alone.mean() > np.diff(paper.site_offset).mean() + 0.3


def volume_prior():
    """A prior with one group, fourteen cells of given factors, cubic."""
    radius = float(TABLES.atomic_radius[26])
    atoms = 4 * 4 / 3 * np.pi * radius**3
    crystals = []
    for factor in np.linspace(0.8, 1.4, 14):
        a = (factor * atoms) ** (1 / 3)
        sites = (Site("Fe", "a", (0.0, 0.0, 0.0)),)
        crystals.append(Crystal(225, (a, a, a, 90.0, 90.0, 90.0), sites))
    return fit_prior(CrystalBatch.from_crystals(crystals), name="x", min_crystals=1)[0]


@needs_jit
def test_volume_factor_has_the_conditional_density():
    """Against the mixture of the definition, for several volumes of the atoms."""
    row = PRIOR.space_groups.index(225)
    start, stop = PRIOR.volume_offset[row : row + 2]
    atomic = PRIOR.volume_atomic[start:stop].astype(float)
    factor = PRIOR.volume_factor[start:stop].astype(float)
    h_factor, h_atomic = PRIOR.bandwidth
    state = np.zeros(STATE_SIZE, np.uint64)
    seed_state(state, np.uint64(1), STREAM_CRYSTAL, np.uint64(0), 0)
    gap = int(np.diff(atomic).argmax())
    for volume in (
        *np.percentile(atomic, [0, 20, 50, 99]),
        0.5 * (atomic[gap] + atomic[gap + 1]),
    ):
        weight = np.exp(-0.5 * ((volume - atomic) / h_atomic) ** 2)
        weight = weight / weight.sum()
        values = [
            draw_volume_factor(state, sampling_tables(PRIOR), row, volume)
            for _ in range(2000)
        ]

        def cumulative(x, weight=weight):
            above = (
                stats.norm.cdf((np.asarray(x)[:, None] - factor) / h_factor) @ weight
            )
            below_zero = stats.norm.cdf(-factor / h_factor) @ weight
            return (above - below_zero) / (1 - below_zero)

        assert stats.kstest(values, cumulative).pvalue > 1e-4


@needs_jit
def test_volume_is_the_drawn_one():
    """Cubic cells of one element: the factor can be read back from the volume."""
    prior = volume_prior()
    crystals = draw_crystals(prior, 1, 0, 4000)
    assert (crystals.lattice[:, 0] == crystals.lattice[:, 2]).all()
    radius = float(TABLES.atomic_radius[26])
    factor = crystals.volume / (16 / 3 * np.pi * radius**3)
    mean = prior.volume_factor.mean()
    spread = np.sqrt(prior.volume_factor.std() ** 2 + prior.bandwidth[0] ** 2)
    assert abs(factor.mean() - mean) < 4 * spread / np.sqrt(4000)
    assert factor.std() == pytest.approx(spread, rel=0.05)


@needs_jit
@pytest.mark.parametrize("kind", range(6))
def test_cells_have_the_volume_drawn(kind):
    """Of every lattice type, to twelve digits."""
    state = np.zeros(STATE_SIZE, np.uint64)
    seed_state(state, np.uint64(4), STREAM_CRYSTAL, np.uint64(kind), 0)
    lattice = np.empty((500, 6))
    volume = np.geomspace(10.0, 7000.0, 500)
    for row, wanted in zip(lattice, volume, strict=True):
        draw_lattice(state, sampling_tables(PRIOR), kind, wanted, False, row)
    np.testing.assert_allclose(cell_volumes(lattice), volume, rtol=1e-12)


@needs_jit
def test_limits():
    crystals, report = draw_crystals_with_report(
        PRIOR, 3, 0, 2000, max_volume=300.0, max_sites=4
    )
    assert crystals.volume.max() <= 300.0 * (1 + 1e-12)
    assert np.diff(crystals.site_offset).max() == 4
    assert report.volume_too_large.sum() > 100
    assert report.too_many_sites.sum() > 100
    wide = draw_crystals(PRIOR, 3, 0, 2000, max_volume=1e9, max_sites=500)
    assert wide.volume.max() > 300.0
    with pytest.raises(PriorError, match="max_volume > 0"):
        draw_crystals(PRIOR, 3, 0, 1, max_volume=0.0)
    with pytest.raises(PriorError, match="max_sites >= 1"):
        draw_crystals(PRIOR, 3, 0, 1, max_sites=0)


@needs_jit
def test_cells_have_the_symmetry_of_their_group_exactly(drawn):
    lattice, group = drawn[0].lattice, drawn[0].space_group
    a, b, c, alpha, beta, gamma = lattice.T
    uniaxial, cubic = group >= 75, group >= 195
    assert (a == b)[uniaxial].all()
    assert (a == c)[cubic].all()
    assert (alpha == 90)[group >= 3].all()
    assert (beta == 90)[group >= 16].all()
    hexagonal = (group >= 143) & ~cubic
    assert (gamma == np.where(hexagonal, 120.0, 90.0))[group >= 3].all()


@needs_jit
def test_free_coordinates_are_uniform(drawn):
    crystals = drawn[0]
    row = TABLES.position_offset[site_groups(crystals)] + crystals.wyckoff_index
    free = TABLES.first_rotation[row, 0, 0] == 1
    plain = free & (TABLES.first_rotation[row, 0, 1:] == 0).all(axis=1)
    plain &= TABLES.first_translation[row, 0] == 0
    assert plain.sum() > 1000
    assert stats.kstest(crystals.fract[plain, 0], "uniform").pvalue > 1e-4


@needs_jit
@pytest.mark.parametrize(
    ("frequencies", "preset"), [("fitted", "default"), ("uniform", "paper")]
)
def test_labels_are_true(frequencies, preset):
    """spglib finds the group that a crystal was drawn in."""
    prior = PRIOR.with_frequencies(frequencies)
    crystals = draw_crystals(prior, 101, 0, 450, preset=preset)
    row = TABLES.position_offset[site_groups(crystals)] + crystals.wyckoff_index
    owner = np.repeat(np.arange(450), np.diff(crystals.site_offset))
    n_atoms = np.bincount(owner, TABLES.multiplicity[row])
    checked = wrong = 0
    for index in np.flatnonzero(n_atoms <= 150):
        crystal = crystals[int(index)]
        found, is_smaller = find_group(crystal)
        checked += found > 0
        wrong += found not in (0, crystal.space_group) or is_smaller
    assert checked > 350
    assert wrong == 0


@needs_jit
def test_a_group_without_a_possible_crystal_says_so():
    """Two equal atoms in P1 always have an inversion between them."""
    cells = [
        Crystal(
            1,
            (4.0, 5.0, 6.0 + 0.1 * i, 80.0, 85.0, 95.0),
            (Site("Fe", "a", (0.0, 0.0, 0.0)), Site("Fe", "a", (0.4, 0.3, 0.2))),
        )
        for i in range(3)
    ]
    prior = fit_prior(CrystalBatch.from_crystals(cells), name="x", min_crystals=1)[0]
    with pytest.raises(PriorError, match="group 1 yields no crystal"):
        draw_crystals(prior, 1, 0, 1)
    small = replace(PRIOR, max_volume=1.0)
    with pytest.raises(PriorError, match="of at most 1 Å³"):
        draw_crystals(small, 1, 0, 1)
