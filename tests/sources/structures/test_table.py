"""Crystals in tables: nothing is lost, whatever is cut out."""

import io
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SourceError
from pxrdbench.sources.structures.table import crystals_from_arrow, crystals_to_arrow


def equal(one: CrystalBatch, two: CrystalBatch) -> bool:
    return all(
        getattr(one, f.name).dtype == getattr(two, f.name).dtype
        and getattr(one, f.name).tobytes() == getattr(two, f.name).tobytes()
        and getattr(one, f.name).shape == getattr(two, f.name).shape
        for f in fields(CrystalBatch)
    )


@pytest.fixture(scope="module")
def crystals():
    return draw_crystals(load_prior("open-v0"), 3, 0, 200)


@settings(max_examples=30)
@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 60))
def test_every_bit_comes_back_from_parquet(crystals, start, count, group):
    rows = np.arange(start, min(start + count, 200))
    some = take_crystals(crystals, rows)
    file = io.BytesIO()
    pq.write_table(crystals_to_arrow(some), file, row_group_size=group)
    file.seek(0)
    assert equal(crystals_from_arrow(pq.read_table(file)), some)


def test_slices_and_filters_of_a_table(crystals):
    table = crystals_to_arrow(crystals)
    part = crystals_from_arrow(table.slice(20, 30))
    assert equal(part, take_crystals(crystals, np.arange(20, 50)))
    chosen = np.flatnonzero(crystals.space_group > 100)
    mask = pa.array(crystals.space_group > 100)
    found = crystals_from_arrow(table.filter(mask))
    assert equal(found, take_crystals(crystals, chosen))
    assert len(crystals_from_arrow(table.slice(0, 0))) == 0


def test_damaged_tables_are_refused(crystals):
    table = crystals_to_arrow(crystals)
    with pytest.raises(SourceError, match="no column b_iso"):
        crystals_from_arrow(table.drop_columns(["b_iso"]))
    shorter = pa.array([[1.0]] * len(crystals))
    broken = table.set_column(table.column_names.index("b_iso"), "b_iso", shorter)
    with pytest.raises(SourceError, match="unequal lengths"):
        crystals_from_arrow(broken)
