"""Space groups of simulated patterns whose cell is known, and what must not matter."""

import numpy as np
import pytest

import pxrdbench as px
from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.find import Cell
from pxrdbench.indexing.cells.lattices import primitive_cell
from pxrdbench.indexing.groups.absences import absence_evidence
from pxrdbench.indexing.groups.intensities import model_clean
from pxrdbench.indexing.groups.posterior import (
    PRIORS,
    group_prior,
    symbol_probability,
    volume_ratio,
)
from pxrdbench.indexing.groups.reading import group_features, read_groups

ANGLES = np.linspace(5.0, 90.0, 8501)


def cell_of(conventional, bravais_lattice, score=0.0):
    primitive = primitive_cell(conventional, bravais_lattice)
    return Cell(
        primitive=primitive, conventional=conventional,
        bravais_lattice=bravais_lattice, volume=0.0, m20=0.0, score=score,
        zero_shift=0.0, hkl=np.zeros((0, 3), np.int16),
    )  # fmt: skip


# Sources: Wyckoff, Crystal Structures (1963), but quartz: Levien, Prewitt & Weidner
# (1980), Am. Mineral. 65, 920; pyrope: Novak & Gibbs (1971), ibid. 56, 791;
# bixbyite: Geller (1971), Acta Cryst. B27, 821; rutile: Baur & Khan (1971), ibid. 2133.
CRYSTALS = {
    "rocksalt": (225, (5.64, 5.64, 5.64, 90.0, 90.0, 90.0), "cF",
                 [("Na", "a", (0, 0, 0)), ("Cl", "b", (0.5, 0.5, 0.5))]),
    "silicon": (227, (5.431, 5.431, 5.431, 90.0, 90.0, 90.0), "cF",
                [("Si", "a", (0.125, 0.125, 0.125))]),
    "rutile": (136, (4.594, 4.594, 2.959, 90.0, 90.0, 90.0), "tP",
               [("Ti", "a", (0, 0, 0)), ("O", "f", (0.3048, 0.3048, 0))]),
    "quartz": (152, (4.916, 4.916, 5.405, 90.0, 90.0, 120.0), "hP",
               [("Si", "a", (0.4697, 0, 1 / 3)), ("O", "c", (0.4135, 0.2669, 0.1191))]),
    "corundum": (167, (4.759, 4.759, 12.991, 90.0, 90.0, 120.0), "hR",
                 [("Al", "c", (0, 0, 0.3522)), ("O", "e", (0.3063, 0, 0.25))]),
    "pyrope": (230, (11.459, 11.459, 11.459, 90.0, 90.0, 90.0), "cI",
               [("Mg", "c", (0.125, 0, 0.25)), ("Al", "a", (0, 0, 0)),
                ("Si", "d", (0.375, 0, 0.25)), ("O", "h", (0.0328, 0.0502, 0.6534))]),
    "bixbyite": (206, (9.412, 9.412, 9.412, 90.0, 90.0, 90.0), "cI",
                 [("Mn", "b", (0.25, 0.25, 0.25)), ("Mn", "d", (0.2847, 0, 0.25)),
                  ("O", "e", (0.128, 0.147, 0.416))]),
    "spinel": (227, (8.083, 8.083, 8.083, 90.0, 90.0, 90.0), "cF",
               [("Mg", "a", (0.125, 0.125, 0.125)), ("Al", "d", (0.5, 0.5, 0.5)),
                ("O", "e", (0.2624, 0.2624, 0.2624))]),
}  # fmt: skip


def pattern_of(name, size=50.0):
    group, lattice, bravais_lattice, sites = CRYSTALS[name]
    crystal = px.Crystal(
        group, list(lattice), [px.Site(e, w, list(x)) for e, w, x in sites]
    )
    peaks = px.simulate_peaks(px.CrystalBatch.from_crystals([crystal]))
    pattern = px.render(peaks, px.TwoThetaGrid(5.0, 90.0, 8501), [size])[0]
    return pattern.astype(np.float64), lattice, bravais_lattice, group


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_of_textbooks_are_read(name):
    pattern, lattice, bravais_lattice, group = pattern_of(name)
    cells = [cell_of(lattice, bravais_lattice)]
    found = read_groups(ANGLES, pattern, cells, given=True)
    assert group in found.space_groups[:5]
    assert found.residual < 1e-3
    assert found.space_group_probability.sum() == pytest.approx(1.0)
    best = found.extinction_symbol_probability.argmax()
    names, own = symbol_probability(np.eye(231)[group])
    assert names[best] == names[own.argmax()]


def test_scale_and_a_second_run_change_nothing():
    pattern, lattice, bravais_lattice, _ = pattern_of("rutile")
    cell = cell_of(lattice, bravais_lattice)
    first = read_groups(ANGLES, pattern, [cell])
    again = read_groups(ANGLES, pattern, [cell])
    scaled = read_groups(ANGLES, 1e4 * pattern, [cell])
    assert (
        first.space_group_probability.tobytes()
        == again.space_group_probability.tobytes()
    )
    np.testing.assert_allclose(
        first.space_group_probability, scaled.space_group_probability, atol=1e-6
    )


def test_the_cell_whose_lines_are_the_pattern_s_weighs_most():
    pattern, lattice, bravais_lattice, _ = pattern_of("rutile")
    wrong = cell_of((5.9, 5.9, 4.1, 90.0, 90.0, 90.0), "tP")
    found = read_groups(ANGLES, pattern, [wrong, cell_of(lattice, bravais_lattice)])
    assert found.best_cell == 1
    assert found.cell_weight[1] > 0.98
    alone = read_groups(ANGLES, pattern, [wrong])
    assert alone.no_cell_probability > 0.5


def test_without_cells_nothing_is_known():
    pattern, *_ = pattern_of("silicon")
    found = read_groups(ANGLES, pattern, [])
    assert found.no_cell_probability == 1.0
    assert found.best_cell == -1
    assert found.space_groups == ()


@pytest.mark.parametrize("name", PRIORS)
def test_priors_are_distributions(name):
    prior = group_prior(name)
    assert prior[0] == 0.0
    assert np.all(prior[1:] > 0.0)
    assert prior.sum() == pytest.approx(1.0)
    # Volumes share a distribution out anew: its mean is one.
    assert (prior * volume_ratio(120.0, prior)).sum() == pytest.approx(1.0)


def test_an_unknown_prior_is_refused():
    with pytest.raises(PatternError, match="icsd, open, uniform"):
        group_prior("minerals of my garden")


def test_evidence_grows_with_what_is_not_seen_and_falls_with_what_is():
    thresholds = np.array([1e-3, 1e-2, 0.1, 1.0, 30.0])
    shares = np.array([0.02, 0.09, 0.27, 0.68, 0.999])
    strength = np.array([0.0, 0.0, 0.0, 0.5, 3.0])
    error = np.array([1.0, 0.1, 0.01, 0.01, 0.01])
    evidence, cost = absence_evidence(
        strength, error, thresholds, shares, 0.01, 1.0, 0.03
    )
    assert 0.0 < evidence[0] < evidence[1] < evidence[2]
    assert evidence[3] == pytest.approx(np.log(0.01), abs=0.01)
    assert evidence[4] == pytest.approx(np.log(0.01), abs=0.01)
    np.testing.assert_array_equal(cost[3:], 0.0)
    unknown, _ = absence_evidence(
        np.array([0.0]), np.array([np.inf]), thresholds, shares, 0.01, 1.0, 0.03
    )
    assert unknown[0] == 0.0


def test_features_are_finite_and_zero_without_a_cell():
    pattern, lattice, bravais_lattice, _ = pattern_of("quartz")
    model = model_clean(ANGLES, pattern)
    features = group_features(model, cell_of(lattice, bravais_lattice))
    none = group_features(model, None)
    assert np.all(np.isfinite(features))
    assert features[-1] == 1.0
    assert features.shape == none.shape
    assert not none.any()
