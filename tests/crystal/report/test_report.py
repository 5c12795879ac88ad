"""What is said and drawn of a prior: distances, and figures that show something."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.report.cell_pictures import symbol_text
from pxrdbench.crystal.report.figures import draw_prior_figures
from pxrdbench.crystal.report.report import (
    DESCRIPTORS,
    compare_crystals,
    compare_priors,
    compare_to_crystals,
    describe_crystals,
    kolmogorov_smirnov,
    represented_crystals,
    wasserstein,
)
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site, take_crystals
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

PRIOR = load_prior("open-v0")
SAMPLES = st.lists(st.floats(-100, 100).map(lambda x: round(x, 1)), min_size=1)


@pytest.fixture(scope="module")
def drawn():
    return draw_crystals(PRIOR, 3, 0, 3000)


@given(first=SAMPLES, second=SAMPLES)
def test_distances_are_those_of_scipy(first, second):
    one, two = np.array(first), np.array(second)
    expected = stats.ks_2samp(one, two, method="asymp").statistic
    assert kolmogorov_smirnov(one, two) == pytest.approx(expected, abs=1e-12)
    expected = stats.wasserstein_distance(one, two)
    assert wasserstein(one, two) == pytest.approx(expected, abs=1e-9)


def test_descriptors_of_a_known_crystal():
    """Wüstite with magnesium: the mixed position is one site with two elements."""
    crystal = Crystal(
        225,
        (4.2,) * 3 + (90.0,) * 3,
        (
            Site("Fe", "a", (0.0,) * 3, 0.6),
            Site("Mg", "a", (0.0,) * 3, 0.3),
            Site("O", "b", (0.5,) * 3),
        ),
    )
    iron_only = Crystal(229, (2.87,) * 3 + (90.0,) * 3, (Site("Fe", "a", (0.0,) * 3),))
    values = describe_crystals(CrystalBatch.from_crystals([crystal, iron_only]))
    assert values.n_sites.tolist() == [2, 1]
    assert values.n_elements.tolist() == [3, 1]
    radius = load_symmetry_tables().atomic_radius[[26, 12, 8]]
    atoms = 4 * 4 / 3 * np.pi * (radius**3 * [0.6, 0.3, 1.0]).sum()
    assert values.density_factor[0] == pytest.approx(4.2**3 / atoms)
    assert values.volume == pytest.approx([4.2**3, 2.87**3])


def test_equal_sets_are_not_apart(drawn):
    same = compare_crystals(drawn, drawn)
    assert same.space_group_distance == 0.0
    assert all(d.kolmogorov_smirnov == d.wasserstein == 0 for d in
               same.descriptors.values())  # fmt: skip
    other = compare_crystals(drawn, draw_crystals(PRIOR, 4, 0, 3000))
    assert 0 < other.space_group_distance < 1.5 * other.space_group_noise
    for name in DESCRIPTORS:
        distance = other.descriptors[name]
        assert distance.kolmogorov_smirnov < 1.5 * distance.noise


def test_larger_cells_are_seen(drawn):
    lattice = drawn.lattice * np.array([1.1, 1.1, 1.1, 1.0, 1.0, 1.0])
    stretched = CrystalBatch(
        lattice=lattice,
        **{
            name: getattr(drawn, name)
            for name in CrystalBatch.__dataclass_fields__
            if name != "lattice"
        },
    )
    found = compare_crystals(drawn, stretched).descriptors
    assert found["density_factor"].kolmogorov_smirnov > 0.3
    factor = found["volume"].median_second / found["volume"].median_first
    assert factor == pytest.approx(1.1**3)
    assert found["n_sites"].kolmogorov_smirnov == 0.0


def test_a_prior_beside_crystals_and_another(drawn):
    outside = Crystal(208, (5.6,) * 3 + (90.0,) * 3, (Site("Na", "a", (0.0,) * 3),))
    large = Crystal(1, (30.0,) * 3 + (90.0,) * 3, (Site("Na", "a", (0.0,) * 3),))
    real = CrystalBatch.from_crystals([*drawn, outside, large])
    assert len(represented_crystals(PRIOR, real)) == len(drawn)
    found = compare_to_crystals(PRIOR, real, count=3000)
    assert (found.n_first, found.n_second, found.n_outside) == (3000, 3000, 2)
    uniform = PRIOR.with_frequencies("uniform")
    assert compare_priors(PRIOR, uniform, count=3000).space_group_distance > 0.4
    with pytest.raises(PriorError, match="at least one"):
        compare_to_crystals(PRIOR, CrystalBatch.from_crystals([outside]), count=10)


def test_symbols_are_typeset():
    assert symbol_text(227) == r"$Fd\bar{3}m$"
    assert symbol_text(14) == "$P2_1/c$"
    assert symbol_text(2) == r"$P\bar{1}$"


@pytest.mark.parametrize("with_real", [True, False])
def test_figures(tmp_path, drawn, with_real):
    real = take_crystals(drawn, np.arange(1500)) if with_real else None
    files = draw_prior_figures(
        PRIOR, real, tmp_path / "f", count=3000, file_format="svg"
    )
    assert [file.name for file in files] == [
        "space-groups.svg",
        "distributions.svg",
        "cells.svg",
    ]
    texts = [file.read_text() for file in files]
    assert all(text.count("<path") > 50 for text in texts)
    # Balls are circles, thousands of curves; the real row is there or not.
    assert texts[2].count("clip-path") > (600 if with_real else 300)


def test_figures_of_an_unknown_format(tmp_path):
    with pytest.raises(PriorError, match="known are png, svg, pdf"):
        draw_prior_figures(PRIOR, None, tmp_path, file_format="gif")
