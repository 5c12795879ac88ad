from dataclasses import replace

import numpy as np
import pytest

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import (
    Prior,
    available_priors,
    fit_prior,
    load_prior,
)
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError


def cubic(a, *sites):
    return Crystal(225, (a, a, a, 90.0, 90.0, 90.0), sites)


SALT = cubic(5.64, Site("Na", "a", (0.0, 0.0, 0.0)), Site("Cl", "b", (0.5, 0.5, 0.5)))
FLUORITE = cubic(
    5.46, Site("Ca", "a", (0.0, 0.0, 0.0)), Site("F", "c", (0.25, 0.25, 0.25))
)
# One position with two elements, another with the second of them.
MIXED = cubic(
    4.2,
    Site("Mg", "a", (0.0, 0.0, 0.0), 0.5),
    Site("Fe", "a", (0.0, 0.0, 0.0), 0.5),
    Site("Fe", "b", (0.5, 0.5, 0.5)),
)
ZINC = Crystal(
    194, (2.66, 2.66, 4.95, 90.0, 90.0, 120.0), (Site("Zn", "c", (1 / 3, 2 / 3, 0.25)),)
)
CRYSTALS = CrystalBatch.from_crystals([SALT, FLUORITE, MIXED, SALT, ZINC])


@pytest.fixture(scope="module")
def open_v0():
    return load_prior("open-v0")


@pytest.fixture(scope="module")
def small():
    icsd = np.arange(231)
    return fit_prior(CRYSTALS, name="small", min_crystals=4, frequencies_icsd=icsd)[0]


def test_counts(small):
    assert small.space_groups == (225,)
    assert small.n_crystals.tolist() == [4]
    elements = {z: n for z, n in enumerate(small.element[0].tolist()) if n}
    expected = {"Na": 2, "Cl": 2, "Ca": 1, "F": 1, "Mg": 1, "Fe": 1}
    assert elements == {ATOMIC_NUMBERS[e]: n for e, n in expected.items()}
    assert small.n_elements.tolist() == [[0, 4]]
    # Iron holds two positions in one crystal, all others one.
    assert small.repetitions.tolist() == [[7, 1]]
    first = load_symmetry_tables().position_offset[225]
    assert small.wyckoff[first : first + 3].tolist() == [4, 3, 1]
    assert small.wyckoff.sum() == 8


def test_volumes(small):
    radius = load_symmetry_tables().atomic_radius

    def atoms(**held):
        return sum(
            n * 4 / 3 * np.pi * radius[ATOMIC_NUMBERS[e]] ** 3 for e, n in held.items()
        )

    expected = sorted(
        [
            (atoms(Na=4, Cl=4), 5.64**3),
            (atoms(Na=4, Cl=4), 5.64**3),
            (atoms(Ca=4, F=8), 5.46**3),
            (atoms(Mg=2, Fe=6), 4.2**3),
        ]
    )
    np.testing.assert_allclose(small.volume_atomic, [v for v, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(
        small.volume_factor, [volume / v for v, volume in expected], rtol=1e-6
    )
    assert small.volume_offset.tolist() == [0, 4]


def test_shapes_of_all_groups_teach_their_lattice_type(small):
    """Group 194 is not represented, but its cell is a hexagonal one."""
    assert np.diff(small.shape_offset).tolist() == [0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(
        small.shape, [[0, np.log(4.95 / 2.66), 90, 90, 120]], rtol=1e-6
    )


def test_report_says_what_was_left():
    large = replace(SALT, lattice=(20.0, 20.0, 20.0, 90.0, 90.0, 90.0))
    heavy = cubic(6.0, Site("Cf", "a", (0.0, 0.0, 0.0)))
    batch = CrystalBatch.from_crystals([SALT] * 3 + [large, heavy, ZINC, MIXED])
    prior, report = fit_prior(batch, name="x", min_crystals=3, max_sites=2)
    assert report.n_crystals == 7
    assert report.n_fitted == 3
    assert report.left_out == {
        "cell above 7000 Å³": 1,
        "more than 2 sites": 1,
        "an element without radius": 1,
    }
    assert report.unrepresented == {194: 1}
    assert prior.n_crystals.tolist() == [3]


def test_one_pass_over_batches_is_the_fit_of_all(tmp_path):
    """The prior does not depend on how crystals arrive, and progress is told."""
    seen = []
    batches = (
        CrystalBatch.from_crystals(list(part))
        for part in ([SALT], [FLUORITE, MIXED], [], [SALT, ZINC])
    )
    first, report = fit_prior(batches, name="x", min_crystals=1, progress=seen.append)
    second, expected = fit_prior(CRYSTALS, name="x", min_crystals=1)
    assert first.digest == second.digest
    assert report == expected
    assert seen == [1, 3, 3, 5]


def test_positions_by_element(tmp_path):
    own, _ = fit_prior(CRYSTALS, name="x", min_crystals=4, wyckoff_per_element=True)
    first = load_symmetry_tables().position_offset[225]
    held = {
        (w, z): n
        for w in range(3)
        for z, n in enumerate(own.wyckoff_element[first + w].tolist())
        if n
    }
    expected = {("a", "Na"): 2, ("b", "Cl"): 2, ("a", "Ca"): 1, ("c", "F"): 1}
    expected |= {("a", "Mg"): 1, ("a", "Fe"): 1, ("b", "Fe"): 1}
    assert held == {
        ("abc".index(w), ATOMIC_NUMBERS[e]): n for (w, e), n in expected.items()
    }
    # Of group 194, which is not represented, nothing is kept.
    assert own.wyckoff_element.sum() == 9
    own.save(tmp_path / "own.npz")
    again = load_prior(tmp_path / "own.npz")
    assert again.digest == own.digest
    assert np.array_equal(again.wyckoff_element, own.wyckoff_element)
    # Sodium was seen on a only; without the choice by element it goes anywhere.
    count = 60
    drawn = draw_crystals(own, 1, 0, count)
    sodium = drawn.atomic_number == ATOMIC_NUMBERS["Na"]
    assert sodium.sum() > 10
    alone = (
        np.diff(drawn.site_offset)[
            np.repeat(np.arange(count), np.diff(drawn.site_offset))
        ]
        == 2
    )
    assert (drawn.wyckoff_index[sodium & alone] == 0).all()
    free = draw_crystals(replace(own, wyckoff_element=None), 1, 0, count)
    assert (free.wyckoff_index[free.atomic_number == ATOMIC_NUMBERS["Na"]] > 0).any()


def test_nothing_to_represent():
    with pytest.raises(PriorError, match="no space group has 5 crystals"):
        fit_prior(CRYSTALS, name="x", min_crystals=5)


def test_order_of_crystals_does_not_matter(tmp_path):
    backwards = CrystalBatch.from_crystals(list(CRYSTALS)[::-1])
    first, _ = fit_prior(CRYSTALS, name="x", min_crystals=1)
    second, _ = fit_prior(backwards, name="x", min_crystals=1)
    assert first.n_crystals.tolist() == second.n_crystals.tolist() == [1, 4]
    assert np.array_equal(first.element, second.element)
    assert np.array_equal(first.volume_factor, second.volume_factor)


def test_file_and_digest(tmp_path, small):
    small.save(tmp_path / "a.npz")
    again = load_prior(tmp_path / "a.npz")
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert again.digest == small.digest
    assert len(small.digest) == 64
    assert replace(small, name="other").digest != small.digest
    wyckoff = small.wyckoff.copy()
    wyckoff[0] += 1
    assert replace(small, wyckoff=wyckoff).digest != small.digest
    with pytest.raises(ValueError, match="read-only"):
        again.wyckoff[0] = 1


def test_frequencies(small):
    both, _ = fit_prior(
        CRYSTALS, name="x", min_crystals=1, frequencies_icsd=np.arange(231)
    )
    np.testing.assert_allclose(both.space_group_probability, [0.2, 0.8])
    icsd = both.with_frequencies("icsd")
    np.testing.assert_allclose(icsd.space_group_probability, np.array([194, 225]) / 419)
    uniform = both.with_frequencies("uniform")
    np.testing.assert_allclose(uniform.space_group_probability, [0.5, 0.5])
    assert uniform.digest == both.digest
    assert uniform.with_frequencies("fitted").frequencies == "fitted"
    with pytest.raises(PriorError, match="known are fitted, icsd, uniform"):
        both.with_frequencies("cod")
    bare, _ = fit_prior(CRYSTALS, name="x", min_crystals=1)
    with pytest.raises(PriorError, match="no ICSD counts"):
        bare.with_frequencies("icsd")


def test_unknown_and_damaged_files(tmp_path, small):
    with pytest.raises(PriorError, match="shipped are minerals, open-145, open-v0"):
        load_prior("closed-v0")
    with pytest.raises(PriorError, match="no such prior"):
        Prior.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no prior")
    with pytest.raises(PriorError, match="is no prior"):
        load_prior(tmp_path / "text.npz")
    small.save(tmp_path / "a.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-300])
    with pytest.raises(PriorError, match="is no prior"):
        load_prior(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(PriorError, match="is no prior"):
        load_prior(tmp_path / "other.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    text = (
        arrays["header"].tobytes().replace(b'schema_version": 1', b'schema_version": 9')
    )
    arrays["header"] = np.frombuffer(text, np.uint8)
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(PriorError, match="version 9; this pxrdbench reads 1"):
        load_prior(tmp_path / "new.npz")


def test_shipped_prior(open_v0):
    assert available_priors() == ("minerals", "open-145", "open-v0")
    assert open_v0.name == "open-v0"
    assert not open_v0.restricted
    assert open_v0.min_crystals == 20
    assert len(open_v0.space_groups) > 90
    assert (open_v0.n_crystals >= 20).all()
    assert (open_v0.element.sum(axis=1) >= open_v0.n_crystals).all()
    assert (open_v0.n_elements.sum(axis=1) == open_v0.n_crystals).all()
    assert "CC BY" in open_v0.source
    assert open_v0.volume_factor.min() > 0
    for start, stop in zip(
        open_v0.volume_offset, open_v0.volume_offset[1:], strict=False
    ):
        assert (np.diff(open_v0.volume_atomic[start:stop]) >= 0).all()
    assert load_prior(open_v0) is open_v0


def test_shipped_prior_saw_the_statistics_part_only(open_v0):
    from pxrdbench.tracks.load import load_table, split_digest

    assert open_v0.split_digest == split_digest("open/structure-type")
    rows = load_table("open/structure-type", "statistics")
    groups = np.bincount(rows["space_group"].to_numpy(), minlength=231)
    fitted = np.zeros(231, int)
    fitted[open_v0.space_group] = open_v0.n_crystals
    # A few cells are too large; no group has more than the part holds.
    assert (fitted <= groups).all()
    assert fitted.sum() > 0.99 * groups[open_v0.space_group].sum()


@pytest.mark.data
def test_shipped_icsd_counts(open_v0, test_data):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(test_data / "stats/sg_frequency.csv")
    column = table.set_index("space_group")["icsd_filtered_info_2025_v3"]
    assert open_v0.icsd_crystals[1:].tolist() == column.loc[1:230].tolist()


def test_minerals_weigh_one_each():
    """Named entries of AMCSD as the wheel larixite carries it: 1,697 minerals."""
    minerals = load_prior("minerals")
    assert not minerals.restricted
    assert "American Mineralogist" in minerals.source
    assert int(minerals.n_crystals.sum()) == 1694
    shares = dict(
        zip(minerals.space_groups, minerals.space_group_probability, strict=True)
    )
    assert max(shares, key=shares.get) == 62 and min(minerals.n_crystals) >= 1
    drawn = draw_crystals(minerals, 5, 0, 200)
    assert set(drawn.space_group.tolist()) <= set(minerals.space_groups)
