from dataclasses import fields, replace

import numpy as np
import pytest
from numba import config
from scipy import stats

from pxrdbench.crystal.generator.coordinate_model import (
    COORDINATE_MODELS,
    DistantCoordinates,
    UniformCoordinates,
    find_coordinate_model,
)
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

PRIOR = load_prior("open-v0")
TABLES = load_symmetry_tables()
COUNT = 20 if config.DISABLE_JIT else 1500
MODELS = [UniformCoordinates(), DistantCoordinates()]


@pytest.fixture(scope="module")
def drawn():
    return draw_crystals(PRIOR, 8, 0, COUNT)


def rows_of(crystals):
    group = np.repeat(crystals.space_group, np.diff(crystals.site_offset))
    return TABLES.position_offset[group] + crystals.wyckoff_index


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_only_coordinates_change(drawn, model):
    crystals = draw_crystals(PRIOR, 8, 0, COUNT, coordinates=model)
    crystals.check()
    for field in fields(crystals):
        same = np.array_equal(getattr(crystals, field.name), getattr(drawn, field.name))
        assert same == (field.name != "fract"), field.name


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_sites_lie_on_their_positions(drawn, model):
    fract = model.place(drawn, 1, 0)
    row = rows_of(drawn)
    projected = np.einsum("sij,sj->si", TABLES.first_rotation[row], fract)
    projected += TABLES.first_translation[row] / 24
    np.testing.assert_allclose(projected, fract, atol=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_crystal_depends_on_its_index_only(drawn, model):
    whole = draw_crystals(PRIOR, 8, 0, 20, coordinates=model)
    for index in (0, 7, 19):
        assert draw_crystals(PRIOR, 8, index, 1, coordinates=model)[0] == whole[index]
    assert not np.array_equal(model.place(drawn, 1, 0), model.place(drawn, 2, 0))
    assert not np.array_equal(model.place(drawn, 1, 0), model.place(drawn, 1, 1))


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="needs compiled kernels")
def test_uniform_is_uniform(drawn):
    fract = UniformCoordinates().place(drawn, 1, 0)
    row = rows_of(drawn)
    plain = (TABLES.first_rotation[row, 0] == [1, 0, 0]).all(axis=1)
    plain &= TABLES.first_translation[row, 0] == 0
    assert plain.sum() > 500
    assert stats.kstest(fract[plain, 0], "uniform").pvalue > 1e-4


def closest_ratio(crystal):
    """Smallest distance over the sum of radii, by pymatgen."""
    structure = crystal.to_pymatgen()
    radius = TABLES.atomic_radius[np.array(structure.atomic_numbers)]
    first, second, _, distance = structure.get_neighbor_list(6.0)
    return (distance / (radius[first] + radius[second])).min()


def test_distant_atoms_are_apart():
    model = DistantCoordinates(fraction=0.5, tries=30)
    sites = [Site(e, "e", (0.1, 0.1, 0.1)) for e in ("Ca", "Ti", "O", "O", "O")]
    crystal = Crystal(14, (5.4, 5.5, 9.4, 90.0, 125.0, 90.0), tuple(sites))
    batch = CrystalBatch.from_crystals([crystal] * 30)
    apart = replace(batch, fract=model.place(batch, 3, 0))
    uniform = replace(batch, fract=UniformCoordinates().place(batch, 3, 0))
    ratios = np.array([closest_ratio(c) for c in apart])
    plain = np.array([closest_ratio(c) for c in uniform])
    # The cell is full: not all find room, but most do, and hardly any by chance.
    assert (ratios >= 0.5).mean() > 0.8
    assert (plain >= 0.5).mean() < 0.2
    assert np.median(ratios) > 1.5 * np.median(plain)


def test_crowded_cells_keep_the_best():
    """One atom in a cell too small has itself for a neighbour; it stays anyhow."""
    tiny = Crystal(
        2, (2.0, 2.0, 2.0, 80.0, 85.0, 95.0), (Site("Cs", "i", (0.0, 0.0, 0.0)),)
    )
    fract = DistantCoordinates().place(CrystalBatch.from_crystals([tiny]), 1, 0)
    assert np.isfinite(fract).all()


def test_shared_sites_stay_together():
    sites = (
        Site("Mg", "e", (0.1, 0.2, 0.3), 0.5),
        Site("Fe", "e", (0.1, 0.2, 0.3), 0.5),
        Site("O", "e", (0.4, 0.2, 0.3)),
    )
    crystal = Crystal(14, (5.0, 6.0, 7.0, 90.0, 100.0, 90.0), sites)
    batch = CrystalBatch.from_crystals([crystal, crystal])
    for model in MODELS:
        fract = model.place(batch, 1, 0)
        assert np.array_equal(fract[0], fract[1])
        assert np.array_equal(fract[3], fract[4])
        assert not np.array_equal(fract[0], fract[3])
        assert not np.array_equal(fract[0], fract[2])


def test_names():
    assert tuple(COORDINATE_MODELS) == ("uniform", "distant")
    assert find_coordinate_model("distant") == DistantCoordinates()
    with pytest.raises(PriorError, match="known are uniform, distant"):
        find_coordinate_model("near")
    with pytest.raises(PriorError, match="0 < fraction <= 1"):
        DistantCoordinates(fraction=0.0)
