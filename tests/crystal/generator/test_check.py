import numpy as np
import pytest
from numba import config

from pxrdbench.crystal.generator import check as generator_check
from pxrdbench.crystal.generator.check import check_labels, measure_rejection_shift
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.prior.smoothing import smooth_prior

needs_jit = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="thousands of draws need compiled kernels"
)


@needs_jit
@pytest.mark.parametrize("name", ["open-145", "all groups"])
def test_labels_are_true(name):
    """At spglib's tolerance of 1e-4; thousands more by measure_generator.py."""
    if name == "all groups":
        prior = smooth_prior(load_prior("open-v0"))
    else:
        prior = load_prior(name)
    told = []
    check = check_labels(
        prior.with_frequencies("uniform"),
        3,
        100,
        600,
        progress=lambda done, total: told.append((done, total)),
    )
    assert check.wrong == ()
    assert check.share_true == 1.0
    assert check.n_checked.sum() + check.n_given_up.sum() == 600
    assert check.n_given_up.sum() <= 3
    assert told[-1] == (600, 600)


def test_wrong_labels_are_named(monkeypatch):
    monkeypatch.setattr(
        generator_check,
        "find_group",
        lambda crystal, symprec: (crystal.space_group + 1, False),
    )
    check = check_labels(load_prior("open-v0"), 3, 7, 4)
    assert [w.index for w in check.wrong] == [7, 8, 9, 10]
    assert all(w.found == w.space_group + 1 for w in check.wrong)
    assert check.share_true == 0.0


@needs_jit
def test_the_shift_of_rejections():
    """Small cells are favoured a little; noise is what a set of this size sees."""
    prior = load_prior("open-v0")
    shift = measure_rejection_shift(prior, 1, 40_000)
    assert set(shift.distance) == {"element", "n_sites", "n_atoms", "volume"}
    assert shift.distance["volume"] > shift.noise["volume"]
    assert max(shift.distance.values()) < 0.03
    proposed, kept = shift.mean["volume"]
    assert kept < proposed
    assert shift.rejections.accepted.sum() == 40_000
    share = shift.share_rejected[prior.space_group]
    assert (share >= 0).all()
    assert (share < 1).all()
    assert np.isnan(shift.share_rejected[22])
    assert shift.mean_sites.shape == (2, 231)
    # Where hardly anything is thrown away, nothing moves.
    calm = prior.space_group[(share < 0.01) & (prior.n_crystals > 300)]
    before, after = shift.mean_volume[:, calm]
    np.testing.assert_allclose(before, after, rtol=0.15)
