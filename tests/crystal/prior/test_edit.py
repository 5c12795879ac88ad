from dataclasses import replace

import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.generator.check import two_sample_distance
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.edit import bin_prior, merge_priors, restrict_prior
from pxrdbench.crystal.prior.prior import fit_prior, load_prior
from pxrdbench.crystal.prior.smoothing import smooth_prior
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import PriorError

N_CRYSTALS = 60 if config.DISABLE_JIT else 3000
needs_jit = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="thousands of draws need compiled kernels"
)


@pytest.fixture(scope="module")
def open_v0():
    return load_prior("open-v0")


@pytest.fixture(scope="module")
def crystals(open_v0):
    return list(draw_crystals(open_v0, 12, 0, N_CRYSTALS))


def fit(crystals, **options):
    batch = CrystalBatch.from_crystals(crystals)
    return fit_prior(batch, name="x", min_crystals=1, **options)[0]


@pytest.mark.parametrize("per_element", [False, True])
def test_merging_is_fitting_together(crystals, per_element):
    cut = len(crystals) // 3
    options = {"wyckoff_per_element": per_element}
    merged = merge_priors(
        fit(crystals[:cut], **options), fit(crystals[cut:], **options), name="x"
    )
    whole = fit(crystals, **options)
    for name, expected in whole._arrays().items():
        found = merged._arrays()[name]
        if found.dtype.kind == "f":
            # Points are kept in single precision.
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        else:
            assert np.array_equal(found, expected), name


def test_merging_keeps_what_must_not_be_lost(crystals):
    first, second = fit(crystals[:40]), fit(crystals[40:])
    secret = replace(second, restricted=True, split_digest="b", source="licensed")
    merged = merge_priors(replace(first, split_digest="a"), secret, name="both")
    assert merged.restricted
    assert merged.split_digest == "a+b"
    assert merged.source == "licensed"
    counts = np.arange(231)
    with_icsd = merge_priors(first, replace(second, icsd_crystals=counts), name="x")
    assert np.array_equal(with_icsd.icsd_crystals, counts)
    with pytest.raises(PriorError, match="different ICSD counts"):
        merge_priors(
            replace(first, icsd_crystals=counts + 1),
            replace(second, icsd_crystals=counts),
            name="x",
        )
    with pytest.raises(PriorError, match="as fitted"):
        merge_priors(
            first,
            smooth_prior(load_prior("open-v0"), (225,)),
            name="x",
        )
    with pytest.raises(PriorError, match="by element"):
        merge_priors(first, fit(crystals[:9], wyckoff_per_element=True), name="x")


def test_restricting_to_groups_with_enough_crystals(open_v0):
    prior = restrict_prior(open_v0, min_crystals=50)
    assert len(prior.space_groups) == (open_v0.n_crystals >= 50).sum() == 61
    assert prior.n_crystals.min() >= 50
    assert prior.min_crystals == 50
    assert prior.name == "open-v0-61-groups"
    row, old = prior.space_groups.index(225), open_v0.space_groups.index(225)
    assert np.array_equal(prior.element[row], open_v0.element[old])
    for name in ("volume_atomic", "volume_factor"):
        points = getattr(prior, name)[slice(*prior.volume_offset[row : row + 2])]
        before = getattr(open_v0, name)[slice(*open_v0.volume_offset[old : old + 2])]
        assert np.array_equal(points, before)
    assert prior.volume_offset[-1] == len(prior.volume_atomic)
    drawn = draw_crystals(prior, 1, 0, 50)
    assert set(drawn.space_group.tolist()) <= set(prior.space_groups)


def test_a_restricted_group_is_drawn_as_before(open_v0):
    """The only group left is drawn as in the whole prior but for one number."""
    alone = restrict_prior(open_v0, space_groups=[62])
    assert alone.space_groups == (62,)
    assert alone.wyckoff.sum() == open_v0.wyckoff[np.flatnonzero(alone.wyckoff)].sum()
    assert (draw_crystals(alone, 1, 0, 20).space_group == 62).all()
    assert restrict_prior(
        replace(open_v0, restricted=True), space_groups=[62]
    ).restricted
    with pytest.raises(PriorError, match="does not hold group 22, 24"):
        restrict_prior(open_v0, space_groups=[22, 24, 62])
    with pytest.raises(PriorError, match="the most crystals of a group are"):
        restrict_prior(open_v0, min_crystals=10**6)


def test_binning_hides_every_crystal(open_v0):
    prior = bin_prior(open_v0, fewest=10)
    assert prior.binned == 10
    assert prior.name == "open-v0-binned"
    values = prior.volume_atomic
    for start, stop in zip(prior.volume_offset, prior.volume_offset[1:], strict=False):
        # Ten or more crystals share each volume of atoms.
        assert np.unique(values[start:stop], return_counts=True)[1].min() >= 10
    # Factors lie on a lattice of the kernel's width, shared by all groups.
    width = open_v0.bandwidth[0]
    steps = prior.volume_factor / width
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    # No cell edge ratio or angle of a crystal is left, but for those that are fixed.
    for index in range(5):
        part = slice(*open_v0.shape_offset[index : index + 2])
        kernel = open_v0.shape_kernel[index]
        free = np.diag(kernel @ kernel.T) > 0
        before, after = open_v0.shape[part][:, free], prior.shape[part][:, free]
        assert len(np.unique(after)) < 0.1 * len(np.unique(before))
        # Sorted: the order of the crystals is lost.
        order = np.lexsort(prior.shape[part].T[::-1])
        assert np.array_equal(order, np.arange(len(order)))
    assert np.array_equal(
        np.sort(prior.n_crystals), np.sort(open_v0.n_crystals[open_v0.n_crystals >= 10])
    )


def test_the_licence_of_a_binned_prior_is_for_its_holder_to_say(tmp_path, open_v0):
    secret = replace(open_v0, restricted=True)
    assert bin_prior(secret).restricted
    assert not bin_prior(secret, restricted=False).restricted
    bin_prior(secret).save(tmp_path / "binned.npz")
    again = load_prior(tmp_path / "binned.npz")
    assert again.restricted
    assert again.binned == 10
    # Kernels repeat values at most; what compresses well says little.
    open_v0.save(tmp_path / "open.npz")
    size = (tmp_path / "binned.npz").stat().st_size
    assert size < 0.6 * (tmp_path / "open.npz").stat().st_size
    with pytest.raises(PriorError, match="fewest 1"):
        bin_prior(open_v0, fewest=1)


def test_smoothed_priors_can_be_binned(open_v0):
    prior = bin_prior(smooth_prior(open_v0))
    assert len(prior.space_groups) == 230
    assert prior.binned == 10


@needs_jit
def test_binned_priors_draw_much_the_same(open_v0):
    first = draw_crystals(open_v0, 2, 0, 20_000)
    second = draw_crystals(bin_prior(open_v0), 3, 0, 20_000)
    assert two_sample_distance(first.volume, second.volume) < 0.03
    tetragonal = (first.space_group >= 75) & (first.space_group <= 142)
    other = (second.space_group >= 75) & (second.space_group <= 142)
    ratios = first.lattice[tetragonal], second.lattice[other]
    assert two_sample_distance(*(r[:, 2] / r[:, 0] for r in ratios)) < 0.05
