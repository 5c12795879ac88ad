"""The table of crystals: reading, failing, and the same result with any workers."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from pymatgen.core import Lattice, Structure

from pxrdbench.errors import SourceError
from pxrdbench.sources.account import ReadReport
from pxrdbench.sources.databases.materials_project import (
    find_symmetries,
    make_structures,
    read_crystals,
    read_table,
    select_rows,
)

SALTS = [("Li", "F", 4.03), ("Na", "Cl", 5.64), ("K", "Br", 6.60), ("Mg", "O", 4.21)]


def write_table(path: Path, n: int, broken: tuple[int, ...] = ()) -> Path:
    """Write rock salts as primitive cells; broken rows have two atoms in one place."""
    structures = []
    for row in range(n):
        first, second, a = SALTS[row % len(SALTS)]
        cell = Lattice.from_parameters(
            *[(a + 0.001 * row) / np.sqrt(2)] * 3, 60, 60, 60
        )
        second, apart = (first, 1e-5) if row in broken else (second, 0.5)
        structures.append(Structure(cell, [first, second], [[0] * 3, [apart] * 3]))
    table = pyarrow.table(
        {
            "id": [f"x-{row}" for row in range(n)],
            "formula": [s.formula for s in structures],
            "cell": [list(s.lattice.parameters) for s in structures],
            "elements": [
                " ".join(site.specie.symbol for site in s) for s in structures
            ],
            "frac": [s.frac_coords.ravel().tolist() for s in structures],
        }
    )
    pyarrow.parquet.write_table(table, path)
    return path


def test_structures_are_those_stored(tmp_path):
    table = read_table(write_table(tmp_path / "t.parquet", 4))
    structures = list(make_structures(table))
    assert [s.reduced_formula for s in structures] == ["LiF", "NaCl", "KBr", "MgO"]
    assert structures[1].volume == pytest.approx((5.641**3) / 4)


def test_crystals_come_in_the_standard_setting_and_the_order_asked_for(tmp_path):
    path = write_table(tmp_path / "t.parquet", 4)
    crystals, ids, report = read_crystals(path, ["x-3", "x-0"], workers=1)
    assert ids == ("x-3", "x-0")
    assert crystals.space_group.tolist() == [225, 225]
    assert crystals.lattice[0] == pytest.approx([4.213] * 3 + [90.0] * 3)
    assert sorted(site.element for site in crystals[0].sites) == ["Mg", "O"]
    assert report == ReadReport(n_rows=2)
    assert report.n_read == 2


def test_a_bad_row_costs_itself_only(tmp_path):
    path = write_table(tmp_path / "t.parquet", 6, broken=(1, 4))
    crystals, ids, report = read_crystals(path, workers=1)
    assert ids == ("x-0", "x-2", "x-3", "x-5")
    assert len(crystals) == report.n_read == 4
    assert [name for name, _ in report.failures] == ["x-1", "x-4"]
    assert sum(report.reasons.values()) == 2
    found = find_symmetries(read_table(path), workers=1)
    assert [symmetry.space_group for symmetry in found] == [225, 0, 225, 225, 0, 225]


def test_reasons_are_counted_without_their_numbers():
    failures = (
        ("a", "angle 12.5 too small"),
        ("b", "angle -3 too small"),
        ("c", "odd"),
    )
    report = ReadReport(5, failures)
    assert report.reasons == {"angle # too small": 2, "odd": 1}
    assert report.n_read == 2


def test_the_number_of_processes_changes_nothing(tmp_path):
    path = write_table(tmp_path / "t.parquet", 120, broken=(7, 111))
    progress = []
    alone, ids, report = read_crystals(path, workers=1)
    other, other_ids, other_report = read_crystals(
        path, workers=2, progress=lambda *call: progress.append(call)
    )
    assert progress[-1] == (120, 120)
    assert ids == other_ids
    assert report == other_report
    assert np.array_equal(alone.lattice, other.lattice)
    assert np.array_equal(alone.fract, other.fract)
    assert np.array_equal(alone.wyckoff_index, other.wyckoff_index)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_table(tmp_path / "missing.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("no parquet")
    with pytest.raises(SourceError, match="cannot be read"):
        read_table(text)
    other = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), other)
    with pytest.raises(SourceError, match="no column formula, cell"):
        read_table(other)


def test_a_repeated_id_is_refused(tmp_path):
    path = write_table(tmp_path / "t.parquet", 2)
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(pyarrow.concat_tables([table, table]), path)
    with pytest.raises(SourceError, match="4 rows, 2 ids"):
        read_table(path)


def test_unknown_ids_are_named(tmp_path):
    table = read_table(write_table(tmp_path / "t.parquet", 2))
    with pytest.raises(SourceError, match="2 ids are not in the table: y, z"):
        select_rows(table, ["x-0", "y", "z"])


@pytest.mark.data
def test_the_shared_table(test_data):
    table = read_table(test_data)
    assert table.num_rows == 23501
    rows = table.take(list(range(0, table.num_rows, 1000)))
    found = find_symmetries(rows, workers=1)
    for symmetry, upstream in zip(
        found, rows["sg_symprec_0.01"].to_pylist(), strict=True
    ):
        assert symmetry.space_group == upstream
    crystals, ids, report = read_crystals(test_data, rows["id"].to_pylist(), workers=1)
    assert not report.failures
    assert list(ids) == rows["id"].to_pylist()
    assert crystals.space_group.tolist() == rows["sg_symprec_0.01"].to_pylist()
