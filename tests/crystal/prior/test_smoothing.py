from dataclasses import replace

import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.generator.check import two_sample_distance
from pxrdbench.crystal.generator.draw import draw_crystals, draw_crystals_with_report
from pxrdbench.crystal.prior.prior import Smoothing, fit_prior, load_prior
from pxrdbench.crystal.prior.sampling_tables import sampling_tables
from pxrdbench.crystal.prior.smoothing import (
    WEIGHT_UNIT,
    cover_frequent_groups,
    most_frequent_groups,
    smooth_prior,
)
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.higher import characteristic_positions, fewest_atoms
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

TABLES = load_symmetry_tables()
needs_jit = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="tens of thousands of draws need compiled kernels"
)


@pytest.fixture(scope="module")
def open_v0():
    return load_prior("open-v0")


@pytest.fixture(scope="module")
def everything(open_v0):
    return smooth_prior(open_v0, name="all")


def position_slice(group):
    return slice(TABLES.position_offset[group], TABLES.position_offset[group + 1])


@needs_jit
def test_all_groups_can_be_drawn(everything):
    prior = everything.with_frequencies("uniform")
    assert prior.space_groups == tuple(range(1, 231))
    crystals, report = draw_crystals_with_report(prior, 2, 0, 10_000)
    crystals.check()
    assert (np.bincount(crystals.space_group, minlength=231)[1:] > 0).all()
    assert np.array_equal(
        report.accepted, np.bincount(crystals.space_group, minlength=231)
    )
    for frequencies in ("fitted", "icsd"):
        assert (everything.with_frequencies(frequencies).space_group_probability).all()


def test_positions_that_no_crystal_held_get_a_weight(open_v0, everything):
    assert (everything.wyckoff > 0).all()
    unseen = open_v0.wyckoff == 0
    for group in open_v0.space_groups:
        rows = position_slice(group)
        n_crystals = open_v0.n_crystals[open_v0.space_groups.index(group)]
        if n_crystals < everything.smoothing.enough_crystals:
            continue
        seen = ~unseen[rows]
        # A group with enough crystals keeps what it has seen, to the last crystal.
        expected = open_v0.wyckoff[rows][seen].astype(np.int64) * WEIGHT_UNIT
        assert np.array_equal(everything.wyckoff[rows][seen], expected)
        new = everything.wyckoff[rows][~seen].sum()
        assert new < 0.05 * everything.wyckoff[rows].sum()


def test_weights_of_unseen_positions_fall_with_multiplicity(open_v0, everything):
    """Median over groups with enough crystals, by multiplicity of the position."""
    enough = open_v0.n_crystals >= 50
    groups = open_v0.space_group[enough]
    of_group = np.repeat(np.arange(231), np.diff(TABLES.position_offset))
    unseen = np.isin(of_group, groups) & (open_v0.wyckoff == 0)
    primitive = TABLES.multiplicity // TABLES.n_centring[of_group]
    low = everything.wyckoff[unseen & (primitive <= 4)]
    high = everything.wyckoff[unseen & (primitive >= 24)]
    assert len(low) > 15
    assert len(high) > 5
    assert np.median(high) < 0.2 * np.median(low)


def test_groups_with_enough_crystals_keep_their_statistics(open_v0, everything):
    for row, group in enumerate(open_v0.space_groups):
        if open_v0.n_crystals[row] < 50:
            continue
        for name in ("element", "n_elements", "repetitions"):
            fitted = getattr(open_v0, name)[row].astype(np.int64) * WEIGHT_UNIT
            assert np.array_equal(getattr(everything, name)[group - 1], fitted)
        own = slice(*open_v0.volume_offset[row : row + 2])
        smoothed = slice(*everything.volume_offset[group - 1 : group + 1])
        for name in ("volume_atomic", "volume_factor"):
            before, after = getattr(open_v0, name)[own], getattr(everything, name)
            assert np.array_equal(before, after[smoothed])


def test_thin_groups_borrow_from_their_point_group():
    """Two crystals of 216 know rock salts only; 215 holds a hundred of another kind."""
    salts = [
        Crystal(
            216,
            (5.4 + 0.1 * i,) * 3 + (90.0,) * 3,
            (Site("Zn", "a", (0.0, 0.0, 0.0)), Site("S", "c", (0.25, 0.25, 0.25))),
        )
        for i in range(2)
    ]
    others = [
        Crystal(
            215,
            (4.0 + 0.01 * i,) * 3 + (90.0,) * 3,
            (Site("Cu", "a", (0.0, 0.0, 0.0)), Site("Br", "e", (0.2, 0.2, 0.2))),
        )
        for i in range(100)
    ]
    batch = CrystalBatch.from_crystals(salts + others)
    raw, _ = fit_prior(batch, name="x", min_crystals=1)
    prior = smooth_prior(raw, (215, 216), smoothing=Smoothing(50, 1.0))
    assert prior.n_crystals.tolist() == [100, 2]
    zinc, copper = prior.element[1, [30, 29]]
    # Two own crystals, and 48 of the point group.
    assert zinc == 2 * WEIGHT_UNIT
    assert copper == 48 * WEIGHT_UNIT
    assert prior.element[0, 30] == 0
    # 16e and 4e stand for the same class: three-fold axes with one freedom.
    rows = position_slice(216)
    general, axis = prior.wyckoff[rows][[-1, 4]]
    assert TABLES.degrees_of_freedom[rows][4] == 1
    assert axis == pytest.approx(48 * WEIGHT_UNIT, rel=1e-6)
    assert general < 0.2 * axis
    assert np.diff(prior.volume_offset).tolist() == [100, 50]
    # Borrowed cells are those of four times the primitive content.
    borrowed = prior.volume_atomic[100:].max() / raw.volume_atomic[:100].max()
    assert borrowed == pytest.approx(4.0, rel=1e-4)
    assert sampling_tables(prior).volume_atomic[0] == prior.volume_atomic[0]


def test_a_group_that_needs_a_rare_position_gets_it(everything):
    """Of Fd-3c only crystals that hold 96g or the general position can be."""
    rows = position_slice(228)
    assert characteristic_positions()[rows].tolist() == [False] * 6 + [True] * 2
    assert fewest_atoms()[[1, 225, 227, 228]].tolist() == [1, 4, 8, 96]
    weights = everything.wyckoff[rows]
    assert weights[-2:].sum() == pytest.approx(0.1 * weights.sum(), rel=0.2)


def test_a_lattice_type_with_few_cells_borrows_ratios():
    iron = Site("Fe", "e", (0.1, 0.2, 0.3))
    cells = [
        Crystal(14, (5.0, 6 + i / 9, 7 - i / 9, 90.0, 100.0 + i, 90.0), (iron,))
        for i in range(12)
    ]
    raw, _ = fit_prior(CrystalBatch.from_crystals(cells), name="x", min_crystals=1)
    prior = smooth_prior(raw, (62, 123, 14, 221), smoothing=Smoothing(10, 1.0))
    assert np.diff(prior.shape_offset).tolist() == [0, 12, 10, 10, 0, 0]
    crystals = draw_crystals(prior.with_frequencies("uniform"), 1, 0, 100)
    crystals.check()
    ratio = crystals.lattice[crystals.space_group == 62, 1:3]
    ratio /= crystals.lattice[crystals.space_group == 62, :1]
    assert len(np.unique(ratio)) > 10
    with pytest.raises(PriorError, match="shape of triclinic"):
        smooth_prior(raw, (2,))


def test_what_smoothing_keeps_and_refuses(tmp_path, open_v0, everything):
    assert not everything.restricted
    assert smooth_prior(replace(open_v0, restricted=True)).restricted
    assert everything.split_digest == open_v0.split_digest
    assert open_v0.smoothing is None
    everything.save(tmp_path / "all.npz")
    again = load_prior(tmp_path / "all.npz")
    assert again.smoothing == Smoothing()
    assert again.digest == everything.digest != open_v0.digest
    with pytest.raises(PriorError, match="smoothed already"):
        smooth_prior(everything)
    with pytest.raises(PriorError, match="no ICSD counts"):
        cover_frequent_groups(
            replace(open_v0, icsd_crystals=np.zeros(231, np.int64)), name="x"
        )
    with pytest.raises(PriorError, match="unseen_crystals > 0"):
        smooth_prior(open_v0, smoothing=Smoothing(50, 0.0))


@needs_jit
def test_positions_by_element_can_be_smoothed():
    batch = draw_crystals(load_prior("open-v0"), 6, 0, 3000)
    raw, _ = fit_prior(batch, name="x", min_crystals=1, wyckoff_per_element=True)
    prior = smooth_prior(raw, raw.space_groups)
    assert prior.wyckoff_element is not None
    crystals = draw_crystals(prior, 1, 0, 500)
    crystals.check()


@needs_jit
def test_smoothing_leaves_volumes_and_sites_as_they_are(open_v0):
    """The groups of open-v0, smoothed and not: thin ones move, the whole hardly."""
    same = smooth_prior(open_v0, open_v0.space_groups)
    first = draw_crystals(open_v0, 4, 0, 30_000)
    second = draw_crystals(same, 5, 0, 30_000)
    assert two_sample_distance(first.volume, second.volume) < 0.02
    sites = [np.diff(c.site_offset).astype(float) for c in (first, second)]
    assert two_sample_distance(*sites) < 0.02


def test_shipped_open_145(open_v0):
    prior = load_prior("open-145")
    counts = prior.icsd_crystals
    assert prior.name == "open-145"
    assert prior.space_groups == most_frequent_groups(counts, 145)
    assert counts[prior.space_group].min() == 49
    outside = np.setdiff1d(np.arange(1, 231), prior.space_group)
    assert counts[outside].max() <= 49
    assert prior.split_digest == open_v0.split_digest
    assert prior.smoothing == Smoothing()
    assert not prior.restricted
    assert prior.source.startswith(open_v0.source)
    assert "do not list theirs" in prior.source
    for group, count in zip(open_v0.space_groups, open_v0.n_crystals, strict=True):
        if group in prior.space_groups:
            assert prior.n_crystals[prior.space_groups.index(group)] == count
