import json

import numpy as np
import pytest
from minerals import MINERALS

import pxrdbench as px
from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.lattices import primitive_cell, same_lattice

GRID = px.TwoThetaGrid()
# Groups that no powder pattern tells from the right one by absences and frequencies
# alone: the first answer may be another of them.
LATTICES = {
    "halite": "cF",
    "silicon": "cF",
    "quartz": "hP",
    "rutile": "tP",
    "corundum": "hR",
    "spinel": "cF",
    "pyrope": "cI",
    "bixbyite": "cI",
}


def pattern_of(name):
    crystals = px.CrystalBatch.from_crystals([MINERALS[name]])
    peaks = px.simulate_peaks(crystals, radiation="CuKa1")
    return px.render(peaks, GRID, crystallite_size_nm=np.array([60.0]))[0]


@pytest.mark.parametrize("name", LATTICES)
def test_minerals_are_read(name):
    crystal, lattice = MINERALS[name], LATTICES[name]
    found = px.index_pattern(GRID.angles(), pattern_of(name).astype(float), "CuKa1")
    best = found.cells[0]
    assert best.bravais_lattice == lattice
    assert same_lattice(primitive_cell(crystal.lattice, lattice), best.primitive)
    assert np.allclose(best.conventional, crystal.lattice, rtol=2e-4)
    symbol = found.extinction_symbols[0]
    assert crystal.space_group in symbol.space_groups
    assert symbol.probability > 0.5
    total = sum(one.probability for one in found.space_groups)
    assert total + found.no_cell_probability == pytest.approx(1.0, abs=1e-4)


def test_lines_alone_give_cells_and_no_groups():
    lines = px.find_lines(GRID.angles(), pattern_of("rutile").astype(float), "CuKa1")
    found = px.index_lines(lines)
    assert found.cells[0].bravais_lattice == "tP"
    assert found.space_groups == ()
    assert found.cell_probability.sum() == pytest.approx(1.0)


def test_a_stated_cell_is_fitted_and_its_centring_found():
    off = [v * 1.002 for v in MINERALS["corundum"].lattice[:3]]
    found = px.index_pattern(
        GRID.angles(), pattern_of("corundum").astype(float), "CuKa1",
        cell=(*off, 90, 90, 120),
    )  # fmt: skip
    assert found.cells[0].bravais_lattice == "hR"
    assert 167 in found.extinction_symbols[0].space_groups


def scan_of(name, seed):
    """A doublet over a background, with noise and a small zero shift."""
    crystals = px.CrystalBatch.from_crystals([MINERALS[name]])
    peaks = px.simulate_peaks(crystals, radiation="CuKa")
    clean = px.render(peaks, GRID, crystallite_size_nm=np.array([50.0]))[0]
    random = np.random.default_rng(seed)
    shifted = np.interp(GRID.angles() - 0.03, GRID.angles(), clean.astype(float))
    return random.poisson(4000.0 * shifted + 60.0).astype(float)


@pytest.mark.parametrize("name", ["halite", "rutile", "corundum", "pyrope", "quartz"])
def test_centring_of_a_stated_cell_is_found_in_a_scan(name):
    """P is found, too: what a centring forbids must be absent, not only weak."""
    found = px.index_pattern(
        GRID.angles(), scan_of(name, 1), "CuKa", cell=MINERALS[name].lattice
    )
    assert found.cells[0].bravais_lattice == LATTICES[name]
    assert found.cell_probability[0] > 0.5


@pytest.mark.parametrize("name", ["quartz", "corundum", "rutile", "pyrope"])
def test_cells_of_scans_are_found_and_are_no_multiples(name):
    crystal = MINERALS[name]
    found = px.index_pattern(GRID.angles(), scan_of(name, 2), "CuKa")
    true = primitive_cell(crystal.lattice, LATTICES[name])
    assert same_lattice(true, found.cells[0].primitive)
    copies = [
        one
        for one in found.cells[1:]
        if one.bravais_lattice == found.cells[0].bravais_lattice
        and same_lattice(true, one.primitive)
    ]
    assert copies == []


def test_uneven_angles_are_put_on_even_steps():
    even = GRID.angles()
    sine = np.sin(np.radians(even / 2))  # even steps of Q
    uneven = 2 * np.degrees(np.arcsin(np.linspace(sine[0], sine[-1], 9000)))
    uneven = uneven.clip(even[0], even[-1])
    pattern = np.interp(uneven, even, pattern_of("rutile"))
    found = px.index_pattern(uneven, pattern, "CuKa1")
    assert found.cells[0].bravais_lattice == "tP"
    assert found.cells[0].conventional[0] == pytest.approx(4.5937, rel=5e-4)


def test_files_that_a_refinement_begins_with(tmp_path):
    found = px.index_pattern(GRID.angles(), pattern_of("rutile").astype(float), "CuKa1")
    found.write_cif(tmp_path / "cell.cif", "rutile scan")
    found.write_hkl(tmp_path / "lines.hkl")
    import gemmi

    block = gemmi.cif.read(str(tmp_path / "cell.cif")).sole_block()
    assert float(block.find_value("_cell_length_a")) == pytest.approx(4.5937, abs=2e-3)
    rows = np.loadtxt(tmp_path / "lines.hkl")
    strongest = rows[rows[:, 6].argmax()]
    assert sorted(np.abs(strongest[:3])) == [0, 1, 1]  # 110 of rutile
    assert strongest[4] == pytest.approx(3.248, abs=2e-3)
    assert json.loads(found.to_json())["cells"][0]["bravais_lattice"] == "tP"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": (1, 2, 3)}, "six numbers"),
        ({"cell": (5, 5, 5, 90, 90, 300)}, "no lattice"),
        ({"bravais_lattice": "cF"}, "give cell"),
        ({"cell": (5, 5, 5, 90, 90, 90), "max_volume": 100}, "leave them away"),
        ({"cell": (5, 5, 5, 90, 90, 90), "bravais_lattice": "xX"}, "unknown Bravais"),
        ({"crystal_system": "cubical"}, "crystal system"),
        ({"max_volume": -1.0}, "max_volume"),
        ({"prior": "no-such"}, "prior"),
        ({"prior": np.zeros(231)}, "prior"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, words):
    with pytest.raises(PatternError, match=words):
        px.index_pattern(GRID.angles(), pattern_of("halite").astype(float), **options)
