"""Rules of splits, and the tracks that were dealt by them."""

from collections import Counter

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.materials_project import read_crystals, read_table
from pxrdbench.tracks.assignment import (
    PART_SHARES,
    deal_by_hash,
    deal_by_year,
    deal_rows,
    keyed_hash,
)
from pxrdbench.tracks.build.derived import (
    CHRONOLOGICAL_COUNTS,
    RANDOM_COUNTS,
    deal_chronological_track,
    deal_random_track,
)
from pxrdbench.tracks.load import (
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    TRACKS_FOLDER,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
)
from pxrdbench.tracks.store import freeze_peaks

NAMES = st.lists(st.text(max_size=8), min_size=3, max_size=40, unique=True)


@given(NAMES, st.randoms(use_true_random=False))
def test_rows_are_dealt_by_their_names_alone(names, random):
    dealt = dict(zip(names, deal_rows(names, {"a": 2, "b": 1}, "c", "k"), strict=True))
    assert Counter(dealt.values()) == Counter(a=2, b=1, c=len(names) - 3)
    random.shuffle(names)
    assert deal_rows(names, {"a": 2, "b": 1}, "c", "k") == [dealt[n] for n in names]
    first = sorted(names, key=lambda name: keyed_hash("k", name))
    assert [dealt[name] for name in first[:3]] == ["a", "a", "b"]


@given(NAMES, NAMES)
def test_a_label_keeps_its_part_when_others_come_and_go(first, second):
    alone = dict(zip(first, deal_by_hash(first), strict=True))
    together = dict(
        zip([*second, *first], deal_by_hash([*second, *first]), strict=True)
    )
    assert all(together[name] == part for name, part in alone.items())


def test_shares_are_those_asked_for():
    labels = [f"type {number}" for number in range(20_000)]
    counts = Counter(deal_by_hash(labels))
    for part, share in PART_SHARES.items():
        # Within four standard deviations.
        expected = 200 * share
        assert abs(counts[part] - expected) < 4 * np.sqrt(expected)
    assert deal_by_hash(labels) != deal_by_hash(labels, key="another")
    # A wider test part takes from the others and gives nothing back.
    wider = deal_by_hash(labels, {"statistics": 60, "dev": 5, "test": 35})
    for before, after in zip(deal_by_hash(labels), wider, strict=True):
        assert before != "test" or after == "test"


def test_years_are_dealt_in_their_order():
    years = [2000] * 5 + [2001] * 6 + [2002] * 7 + [0] * 2
    names = [str(number) for number in range(len(years))]
    parts = deal_by_year(years, names, {"dev": 2, "test": 3}, "k")
    of = {year: Counter(p for p, y in zip(parts, years, strict=True) if y == year)
          for year in (0, 2000, 2001, 2002)}  # fmt: skip
    assert of == {
        0: {"": 2},
        2000: {"statistics": 5},
        2001: {"dev": 2, "reserve": 4},
        2002: {"test": 3, "reserve": 4},
    }


def test_what_cannot_be_dealt_is_refused():
    with pytest.raises(SplitError, match="one name"):
        deal_rows(["a", "a"], {}, "x", "k")
    with pytest.raises(SplitError, match="2 crystals cannot give 3"):
        deal_rows(["a", "b"], {"x": 3}, "y", "k")
    with pytest.raises(SplitError, match="three years are needed"):
        deal_by_year([1999, 0, 2000], ["a", "b", "c"], {"dev": 1, "test": 1}, "k")


# --- open/random and open/chronological ---


def test_the_random_track_follows_its_rule():
    base = load_table(OPEN_TRACK).to_pydict()
    shuffled = np.random.default_rng(0).permutation(len(base["id"]))
    other = {name: [values[i] for i in shuffled] for name, values in base.items()}
    dealt = deal_random_track(other).columns["part"]
    part = dict(zip(other["id"], dealt, strict=True))
    table = load_table(RANDOM_TRACK)
    assert [part[name] for name in table["id"].to_pylist()] == table["part"].to_pylist()
    counts = Counter(table["part"].to_pylist())
    assert {name: counts[name] for name in RANDOM_COUNTS} == RANDOM_COUNTS
    assert counts["statistics"] == base["part"].count("statistics") == 15219
    assert table.num_rows == 23193


@pytest.mark.parametrize("track", [RANDOM_TRACK, CHRONOLOGICAL_TRACK])
def test_labels_are_those_of_the_base_track(track):
    base = {row["id"]: row for row in load_table(OPEN_TRACK).to_pylist()}
    for row in load_table(track).to_pylist():
        for name in ("space_group", "structure_type", "formula"):
            assert row[name] == base[row["id"]][name]
        is_frozen = row["part"] in ("dev", "test")
        assert (row["crystallite_size_nm"] is not None) == is_frozen
    assert load_record(track)["base_digest"] == load_record(OPEN_TRACK)["digest"]


@pytest.mark.parametrize("track", [RANDOM_TRACK, CHRONOLOGICAL_TRACK])
def test_shared_peaks_are_the_same_whole_numbers(track):
    base = {}
    for part in ("dev", "test"):
        frozen = load_frozen_peaks(OPEN_TRACK, part)
        ids = load_table(OPEN_TRACK, part)["id"].to_pylist()
        base |= {name: (frozen, row) for row, name in enumerate(ids)}
    mine, ids = load_frozen_peaks(track, "test"), load_track(track).ids
    shared = [row for row, name in enumerate(ids) if name in base]
    assert len(shared) > 250
    for row in shared[::9]:
        frozen, place = base[ids[row]]
        take = np.array([row]), np.array([place])
        assert mine.take(take[0]).to_bytes() == frozen.take(take[1]).to_bytes()


@pytest.mark.data
def test_years_of_the_chronological_track(test_data):
    table = read_table(test_data).select(["id", "year"]).to_pylist()
    year = {row["id"]: row["year"] for row in table}
    rows = load_table(CHRONOLOGICAL_TRACK).to_pylist()
    assert {row["id"]: row["year"] for row in rows} == {
        row["id"]: year[row["id"]] for row in load_table(OPEN_TRACK).to_pylist()
        if year[row["id"]]
    }  # fmt: skip
    allowed = {"dev": {2012}, "test": {2013}, "reserve": {2012, 2013}}
    for row in rows:
        years = allowed.get(row["part"], set(range(1997, 2012)))
        assert row["year"] in years
    counts = Counter(row["part"] for row in rows)
    assert {name: counts[name] for name in CHRONOLOGICAL_COUNTS} == (
        CHRONOLOGICAL_COUNTS
    )
    dealt = deal_chronological_track(load_table(OPEN_TRACK).to_pydict(), test_data)
    parts = [part for part in dealt.columns["part"] if part]
    assert parts == [row["part"] for row in rows]


@pytest.mark.data
def test_peaks_that_a_derived_track_adds_come_from_the_crystals(test_data):
    with np.load(TRACKS_FOLDER / "open-random" / "peaks.npz") as arrays:
        rows = arrays["more.row"][::150]
    base = pyarrow.parquet.read_table(
        TRACKS_FOLDER / "open-structure-type" / "table.parquet"
    )
    names = base["id"].take(rows.astype(int)).to_pylist()
    crystals, _, _ = read_crystals(test_data, names, workers=1)
    made = freeze_peaks(crystals)
    found = []
    for part in ("dev", "test"):
        ids = load_track(RANDOM_TRACK, part).ids
        frozen = load_frozen_peaks(RANDOM_TRACK, part)
        for fresh, name in enumerate(names):
            if name in ids:
                kept = frozen.take(np.array([ids.index(name)]))
                mine = made.take(np.array([fresh]))
                assert len(kept.code) == len(mine.code)
                steps = kept.position.astype(int) - mine.position
                assert np.abs(steps).max() <= 1
                found.append(name)
    assert sorted(found) == sorted(names)
