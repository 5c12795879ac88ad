"""Cells of known crystals from their lines, and lists that can't be indexed."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.find import (
    derivative_lattices,
    find_cells,
    find_cells_batch,
    refine_cell,
)
from pxrdbench.indexing.cells.lattices import primitive_cell, same_lattice
from pxrdbench.indexing.lines.line_list import LineList

WAVELENGTH = 1.5406
# Cells in the setting that is found: monoclinic with β ≥ 90 nearest to it.
KNOWN = {
    # name: (space group, Bravais lattice, cell, source)
    "halite": ("F m -3 m", "cF", (5.6402,) * 3 + (90, 90, 90)),
    "silicon": ("F d -3 m", "cF", (5.43102,) * 3 + (90, 90, 90)),
    "quartz": ("P 32 2 1", "hP", (4.9133, 4.9133, 5.4053, 90, 90, 120)),
    "rutile": ("P 42/m n m", "tP", (4.5937, 4.5937, 2.9587, 90, 90, 90)),
    "corundum": ("R -3 c", "hR", (4.7591, 4.7591, 12.9918, 90, 90, 120)),
    "spinel": ("F d -3 m", "cF", (8.0832,) * 3 + (90, 90, 90)),
    "pyrope": ("I a -3 d", "cI", (11.459,) * 3 + (90, 90, 90)),
    "bixbyite": ("I a -3", "cI", (9.4146,) * 3 + (90, 90, 90)),
    "anatase": ("I 41/a m d", "tI", (3.7845, 3.7845, 9.5143, 90, 90, 90)),
    "forsterite": ("P b n m", "oP", (4.7535, 5.9823, 10.1943, 90, 90, 90)),
    "baddeleyite": ("P 1 21/c 1", "mP", (5.1505, 5.2116, 5.3173, 90, 99.23, 90)),
    "diopside": ("C 1 2/c 1", "mC", (9.746, 8.899, 5.251, 90, 105.63, 90)),
    "kyanite": ("P -1", "aP", (7.1262, 7.8520, 5.5724, 89.99, 101.11, 106.03)),
}


def calculated_lines(cell, group, last=90.0, error=0.001, shift=0.0):
    """Every line that a space group allows, joined where closer than 0.02 degrees."""
    unit_cell = gemmi.UnitCell(*cell)
    space_group = gemmi.find_spacegroup_by_name(group)
    least_d = WAVELENGTH / 2 / np.sin(np.radians(last / 2))
    hkl = gemmi.make_miller_array(unit_cell, space_group, least_d, 0.0, True)
    hkl = hkl[~space_group.operations().systematic_absences(hkl)]
    q = np.sort(unit_cell.calculate_1_d2_array(hkl))
    angle = 2 * np.degrees(np.arcsin(WAVELENGTH / 2 * np.sqrt(q)))
    groups = np.split(angle, np.flatnonzero(np.diff(angle) > 0.02) + 1)
    return list_of([g.mean() + shift for g in groups], error)


def list_of(angle, error=0.001, noisy=False, first=5.0):
    angle = np.sort(np.asarray(angle, dtype=np.float64))
    n = len(angle)
    return LineList(
        angle,
        np.full(n, error),
        np.ones(n),
        np.full(n, 0.1),
        np.full(n, 30.0 if noisy else np.inf),
        WAVELENGTH,
        (first, 90.0),
    )


# Certificate of NIST SRM 640e (2015), silicon at 22.5 °C: 2θ for 1.5405929 Å.
SILICON_640E = (28.441, 47.300, 56.120, 69.126, 76.372, 88.025)


def test_the_certified_lines_of_silicon_are_indexed():
    lines = replace(list_of(SILICON_640E), wavelength=1.5405929)
    best = find_cells(lines)[0]
    assert best.bravais_lattice == "cF"
    assert best.conventional[0] == pytest.approx(5.431179, abs=2e-4)
    assert sorted(map(tuple, np.sort(abs(best.hkl), axis=1)))[0] == (0, 0, 4)


@pytest.mark.parametrize("name", KNOWN)
def test_known_crystals_are_indexed(name):
    group, lattice, cell = KNOWN[name]
    cell = (*cell[:3], *(float(v) for v in cell[3:]))
    if name == "forsterite":
        group, lines_cell = "P b n m", (4.7535, 10.1943, 5.9823, 90, 90, 90)
    else:
        lines_cell = cell
    lines = calculated_lines(lines_cell, group)
    first = find_cells(lines)[0]
    assert first.bravais_lattice == lattice
    assert same_lattice(primitive_cell(cell, lattice), first.primitive, 5e-4, 0.05)
    if lattice not in ("aP", "mP"):
        np.testing.assert_allclose(first.conventional, cell, rtol=5e-4)
    # Indices reproduce the lines.
    used = (first.hkl != 0).any(axis=1)
    assert used.mean() > 0.8  # joined lines lie between two
    unit_cell = gemmi.UnitCell(*first.conventional)
    q = unit_cell.calculate_1_d2_array(first.hkl[used].astype(np.int32))
    np.testing.assert_allclose(q, lines.inverse_d2[used], rtol=2e-3)
    assert first.zero_shift == 0.0
    assert first.m20 > 20.0


@pytest.mark.parametrize("name", ["rutile", "quartz", "pyrope", "anatase", "diopside"])
def test_a_zero_shift_is_found(name):
    group, lattice, cell = KNOWN[name]
    lines = calculated_lines(cell, group, error=0.005, shift=0.06)
    first = find_cells(lines, zero_shift=True)[0]
    assert same_lattice(primitive_cell(cell, lattice), first.primitive, 2e-3, 0.1)
    assert first.zero_shift == pytest.approx(0.06, abs=0.01)


def test_a_foreign_and_missing_lines_are_borne():
    group, lattice, cell = KNOWN["diopside"]
    angle = calculated_lines(cell, group).two_theta[:40]
    angle = np.append(np.delete(angle, [3, 9, 17]), 24.17)
    first = find_cells(list_of(angle))[0]
    assert same_lattice(primitive_cell(cell, lattice), first.primitive)
    foreign = int(np.searchsorted(np.sort(angle), 24.17))
    assert not first.hkl[foreign].any()


def test_a_body_centred_cell_is_primitive():
    """Of a cell whose lines all obey a centring the primitive lattice is given."""
    lines = calculated_lines((5.0, 6.1, 7.3, 90, 90, 90), "I m m m")
    first = find_cells(lines)[0]
    assert first.bravais_lattice == "oI"
    assert first.volume == pytest.approx(5.0 * 6.1 * 7.3 / 2, rel=1e-3)


def test_derivative_lattices_are_named():
    """Cubic, hexagonal and rhombohedral lattices have them (Mighell & Santoro 1975)."""
    assert [i for i, _ in derivative_lattices("cP")] == [2, 3]
    assert [i for i, _ in derivative_lattices("cI")] == [2, 3, 4]
    assert [i for i, _ in derivative_lattices("hP")] == [2]
    assert [i for i, _ in derivative_lattices("hR")] == [2]
    for lattice in ("tP", "tI", "oP", "mP", "aP"):
        assert derivative_lattices(lattice) == ()
    group, _, cell = KNOWN["pyrope"]
    first = find_cells(calculated_lines(cell, group))[0]
    assert any("1/4 of the volume" in text for text in first.ambiguities)


def test_options_narrow_the_search():
    group, _, cell = KNOWN["rutile"]
    lines = calculated_lines(cell, group)
    for found in find_cells(lines, crystal_system="orthorhombic"):
        assert found.bravais_lattice[0] == "o"
    assert all(c.volume < 40 for c in find_cells(lines, max_volume=40.0))
    assert len(find_cells(lines, n_cells=2)) <= 2


def test_a_judge_orders_the_cells_anew():
    group, _, cell = KNOWN["rutile"]
    lines = calculated_lines(cell, group)
    plain = find_cells(lines)
    assert len(plain) > 1
    judged = find_cells(lines, judge=lambda cells: [1000.0 * c.volume for c in cells])
    assert judged[0].volume == max(c.volume for c in plain)
    with pytest.raises(PatternError, match="judge"):
        find_cells(lines, judge=lambda _: [1.0])


@pytest.mark.parametrize("name", ["pyrope", "corundum", "forsterite", "diopside"])
def test_standard_errors_say_how_far_refined_cells_are_off(name):
    group, lattice, cell = KNOWN[name]
    cell = (4.7535, 10.1943, 5.9823, 90, 90, 90) if name == "forsterite" else cell
    exact = calculated_lines(cell, group, last=60.0)
    rng = np.random.default_rng(1)
    found = find_cells(exact)[0]
    assert found.bravais_lattice == lattice
    pulls = []
    for _ in range(30):
        moved = list_of(exact.two_theta + rng.normal(0, 0.002, len(exact)), 0.002)
        refined = refine_cell(found, moved, zero_shift=True)
        error = np.array(refined.error)
        free = error > 0
        true = np.array(refine_cell(found, exact).conventional)
        pulls.append(((np.array(refined.conventional) - true) / error)[free])
        assert refined.n_lines == (found.hkl != 0).any(axis=1).sum()
    # errors of joined lines are wider than stated, so scatter may exceed one a little
    assert 0.6 < np.std(pulls) < 1.5


def test_too_few_lines_do_not_refine_a_cell():
    group, _, cell = KNOWN["kyanite"]
    lines = calculated_lines(cell, group, last=40.0)
    found = find_cells(lines)[0]
    few = replace(found, hkl=np.where(np.arange(len(lines))[:, None] < 4, found.hkl, 0))
    with pytest.raises(PatternError, match="determine"):
        refine_cell(few, lines)


@pytest.mark.parametrize(
    "options",
    [
        {"max_volume": 0.0},
        {"max_volume": np.nan},
        {"n_cells": 0},
        {"crystal_system": "x"},
    ],
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(PatternError):
        find_cells(list_of([10.0, 20.0, 30.0]), **options)
    with pytest.raises(PatternError, match="finite"):
        find_cells(list_of([10.0, 20.0, np.nan]))


def test_equal_input_gives_equal_bytes_alone_and_in_a_batch():
    many = [calculated_lines(KNOWN[n][2], KNOWN[n][0]) for n in ("quartz", "kyanite")]
    rows, counts = find_cells_batch(many)
    again, counts_again = find_cells_batch(many)
    assert rows.tobytes() == again.tobytes()
    assert counts.tolist() == counts_again.tolist()
    for lines, row, count in zip(many, rows, counts, strict=True):
        cells = find_cells(lines)
        assert len(cells) == count
        assert [c.score for c in cells] == row[:count, 1].tolist()


def test_no_list_and_empty_lists():
    rows, counts = find_cells_batch([])
    assert rows.shape[0] == 0
    assert len(counts) == 0
    assert find_cells(list_of([])) == []
    assert find_cells(list_of([20.0])) == []
    assert find_cells(list_of([20.0, 30.0])) == []


@given(
    angle=st.lists(st.floats(0.05, 179.0), min_size=0, max_size=100),
    error=st.sampled_from([1e-5, 0.01, 0.5]),
    noisy=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_no_list_of_lines_is_too_odd(angle, error, noisy):
    for cell in find_cells(list_of(angle, error, noisy=noisy, first=0.01)):
        assert np.isfinite(cell.score)
        assert np.isfinite(cell.primitive).all()
        assert cell.volume > 0.0
        assert len(cell.hkl) == len(angle)


@pytest.mark.parametrize("value", [0.3, 30.0, 170.0])
def test_repeated_lines_do_not_hang(value):
    find_cells(list_of(np.full(100, value)))
    find_cells(list_of(value + 1e-7 * np.arange(60)))
