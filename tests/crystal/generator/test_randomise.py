"""Crystals with coordinates or cells drawn anew: what changes and what must not."""

import numpy as np
import pytest
import spglib
from scipy import stats

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.generator.randomise import REASONS, randomise_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import (
    Crystal,
    CrystalBatch,
    Site,
    join_crystals,
    take_crystals,
)
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

PRIOR = load_prior("open-v0")
KEPT = ("space_group", "atomic_number", "wyckoff_index", "occupancy", "b_iso", "charge")


@pytest.fixture(scope="module")
def crystals():
    return draw_crystals(PRIOR, 5, 0, 2000)


def variants(crystals, seed=1, **options):
    return {
        (coordinates, lattice): randomise_crystals(
            crystals, PRIOR, seed, coordinates=coordinates, lattice=lattice, **options
        )
        for coordinates in (False, True)
        for lattice in (False, True)
    }


def test_all_variants_hold_the_same_crystals_and_share_what_they_draw(crystals):
    made = variants(crystals)
    plain, kept, reasons = made[False, False]
    assert len(kept) + sum(reasons.values()) == len(crystals)
    assert len(kept) > 0.9 * len(crystals)
    expected = take_crystals(crystals, kept)
    for (coordinates, lattice), (batch, index, why) in made.items():
        assert np.array_equal(index, kept)
        assert why == reasons
        for name in KEPT:
            assert np.array_equal(getattr(batch, name), getattr(expected, name))
        batch.check()
        assert np.array_equal(batch.lattice, made[False, lattice][0].lattice)
        assert np.array_equal(batch.fract, made[coordinates, False][0].fract)
    assert np.array_equal(plain.lattice, expected.lattice)
    assert np.array_equal(plain.fract, expected.fract)
    assert not (made[False, True][0].lattice[:, 0] == plain.lattice[:, 0]).any()


def test_only_free_coordinates_move(crystals):
    plain, _, _ = randomise_crystals(
        crystals, PRIOR, 1, coordinates=False, lattice=False
    )
    moved, _, _ = randomise_crystals(
        crystals, PRIOR, 1, coordinates=True, lattice=False
    )
    tables = load_symmetry_tables()
    group = np.repeat(plain.space_group, np.diff(plain.site_offset))
    row = tables.position_offset[group] + plain.wyckoff_index
    free = tables.degrees_of_freedom[row] > 0
    same = (moved.fract == plain.fract).all(axis=1)
    assert same[~free].all()
    assert not same[free].any()
    # A general position is anywhere in the cell with equal probability.
    anywhere = moved.fract[tables.degrees_of_freedom[row] == 3].ravel()
    assert stats.kstest(anywhere, "uniform").pvalue > 1e-3


def test_a_crystal_depends_on_seed_and_index_only(crystals):
    whole, kept, _ = randomise_crystals(
        crystals, PRIOR, 9, coordinates=True, lattice=True
    )
    parts = [
        randomise_crystals(
            take_crystals(crystals, np.arange(low, high)),
            PRIOR,
            9,
            coordinates=True,
            lattice=True,
            start=low,
        )
        for low, high in ((0, 1), (1, 700), (700, 2000))
    ]
    joined = join_crystals([part[0] for part in parts])
    assert joined.lattice.tobytes() == whole.lattice.tobytes()
    assert joined.fract.tobytes() == whole.fract.tobytes()
    assert np.array_equal(joined.site_offset, whole.site_offset)
    index = [part[1] + low for part, low in zip(parts, (0, 1, 700), strict=True)]
    assert np.array_equal(np.concatenate(index), kept)
    other, _, _ = randomise_crystals(
        crystals, PRIOR, 10, coordinates=True, lattice=True
    )
    assert other.fract.tobytes() != whole.fract.tobytes()


def test_volumes_follow_the_prior(crystals):
    """A drawn crystal's volume factor, drawn again, has the same distribution."""
    plain, _, _ = randomise_crystals(
        crystals, PRIOR, 3, coordinates=False, lattice=False
    )
    drawn, _, _ = randomise_crystals(
        crystals, PRIOR, 3, coordinates=False, lattice=True
    )
    assert stats.ks_2samp(plain.volume, drawn.volume).pvalue > 1e-3
    assert drawn.volume.max() <= PRIOR.max_volume * (1 + 1e-12)
    assert drawn.lattice[:, :3].min() >= 2.0


def test_the_group_stays_the_group(crystals):
    made, _, _ = randomise_crystals(
        take_crystals(crystals, np.arange(60)), PRIOR, 2, coordinates=True, lattice=True
    )
    for crystal in made:
        structure = crystal.to_pymatgen()
        numbers = [site.specie.Z for site in structure]
        cell = (structure.lattice.matrix, structure.frac_coords, numbers)
        found = spglib.get_symmetry_dataset(cell, symprec=1e-4)
        assert found.number == crystal.space_group


def test_another_coordinate_model_keeps_atoms_apart(crystals):
    few = take_crystals(crystals, np.arange(200))
    shortest = {}
    for model in ("uniform", "distant"):
        made, _, _ = randomise_crystals(
            few, PRIOR, 1, coordinates=True, lattice=False, coordinate_model=model
        )
        distances = []
        for crystal in made:
            structure = crystal.to_pymatgen()
            if 1 < len(structure) < 60:
                matrix = structure.distance_matrix + 100 * np.eye(len(structure))
                distances.append(matrix.min())
        shortest[model] = np.median(distances)
    assert shortest["distant"] > 1.1 * shortest["uniform"]


def test_species_on_one_point_stay_together():
    sites = (
        Site("Fe", "i", (0.1, 0.2, 0.3), 0.6, 0.4, 2),
        Site("O", "i", (0.5, 0.6, 0.7)),
        Site("Mg", "i", (0.1, 0.2, 0.3), 0.4, 0.4, 2),
    )
    crystal = Crystal(2, (5.0, 6.0, 7.0, 80.0, 85.0, 95.0), sites)
    batch = CrystalBatch.from_crystals([crystal])
    made, _, _ = randomise_crystals(batch, PRIOR, 1, coordinates=True, lattice=False)
    assert (made.fract[0] == made.fract[2]).all()
    assert (made.fract[0] != batch.fract[0]).all()
    assert (made.fract[0] != made.fract[1]).all()
    assert made.lattice.tolist() == batch.lattice.tolist()


def test_what_is_left_out_is_counted_by_reason():
    cubic = (30.0,) * 3 + (90.0,) * 3
    general = [Site("Cs", "l", (0.1 + 0.03 * i, 0.2, 0.3)) for i in range(20)]
    crystals = CrystalBatch.from_crystals(
        [
            Crystal(225, (5.6,) * 3 + (90.0,) * 3, (Site("Na", "a", (0.0,) * 3),)),
            Crystal(225, cubic, tuple(general)),
            Crystal(225, (5.6,) * 3 + (90.0,) * 3, (Site("Cf", "a", (0.0,) * 3),)),
            # No crystal of this group is in the prior.
            Crystal(208, (5.6,) * 3 + (90.0,) * 3, (Site("Na", "a", (0.0,) * 3),)),
        ]
    )
    for result in variants(crystals, seed=4).values():
        assert result[1].tolist() == [0]
        assert result[2] == {REASONS[1]: 1, REASONS[2]: 1, REASONS[3]: 1}
