"""Splits and tracks: what no part may share, and what is frozen."""

import json
from collections import Counter
from functools import cache

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.sources.databases.materials_project import (
    find_symmetries,
    make_structures,
    read_crystals,
    read_table,
    select_rows,
)
from pxrdbench.tracks import assignment as dealing
from pxrdbench.tracks.hugging_face import load_split
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    PART_SHARES,
    RANDOM_TRACK,
    TRACKS_FOLDER,
    available_tracks,
    deal_types,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
    split_digest,
    total_variation,
)
from pxrdbench.tracks.store import (
    assignment_digest,
    freeze_peaks,
    freeze_sizes,
    track_digest,
)

TRACKS = [
    *((t, p) for t in (OPEN_TRACK, RANDOM_TRACK) for p in ("dev", "test")),
    (CHRONOLOGICAL_TRACK, "test"),
    (AFLOW_TRACK, "test"),
]


@st.composite
def crystals(draw):
    """Space group and type of some crystals; the group is in the name of the type."""
    rows = st.tuples(st.integers(1, 3), st.integers(0, 6))
    drawn = draw(st.lists(rows, min_size=1, max_size=60))
    return [group for group, _ in drawn], [f"{group}-{kind}" for group, kind in drawn]


def deal_slowly(space_groups, structure_types):
    """Deal as the rule reads: one group at a time, the largest type to the neediest."""
    parts = {}
    for group in set(space_groups):
        sizes = Counter(
            kind
            for g, kind in zip(space_groups, structure_types, strict=True)
            if g == group
        )
        have = dict.fromkeys(PART_SHARES, 0)
        while sizes:
            largest = max(sizes.values())
            tied = [kind for kind in sizes if sizes[kind] == largest]
            kind = min(tied, key=lambda k: dealing.keyed_hash("pxrdbench 1", k))
            total = space_groups.count(group)
            deficit = {p: PART_SHARES[p] * total - 100 * have[p] for p in PART_SHARES}
            parts[kind] = max(deficit, key=deficit.get)
            have[parts[kind]] += sizes.pop(kind)
    return [parts[kind] for kind in structure_types]


# --- the rule ---


@given(crystals())
def test_dealing_follows_the_rule(drawn):
    assert deal_types(*drawn) == deal_slowly(*drawn)


@given(crystals(), st.randoms(use_true_random=False))
def test_dealing_does_not_depend_on_the_order_of_the_crystals(drawn, random):
    order = list(range(len(drawn[0])))
    random.shuffle(order)
    shuffled = deal_types([drawn[0][i] for i in order], [drawn[1][i] for i in order])
    dealt = deal_types(*drawn)
    assert shuffled == [dealt[i] for i in order]


@given(crystals())
def test_no_type_is_dealt_to_two_parts(drawn):
    parts = {}
    for kind, part in zip(drawn[1], deal_types(*drawn), strict=True):
        assert parts.setdefault(kind, part) == part


def test_a_key_breaks_ties_and_nothing_else():
    types = [f"type {number}" for number in range(40)]
    first = deal_types([1] * 40, types, key="one")
    second = deal_types([1] * 40, types, key="two")
    assert first != second
    assert Counter(first) == Counter(second) == Counter(statistics=26, dev=2, test=12)
    unequal = [label for number, label in enumerate(types) for _ in range(number)]
    groups = [1] * len(unequal)
    assert deal_types(groups, unequal, key="one") == deal_types(groups, unequal)


def test_a_type_in_two_groups_is_refused():
    with pytest.raises(SplitError, match="space groups 1 and 2"):
        deal_types([1, 2], ["a", "a"])


@given(st.lists(st.integers(1, 5), min_size=1), st.lists(st.integers(1, 5), min_size=1))
def test_total_variation_is_half_the_sum_of_differences(first, second):
    p = np.bincount(first, minlength=6) / len(first)
    q = np.bincount(second, minlength=6) / len(second)
    assert total_variation(first, second) == pytest.approx(np.abs(p - q).sum() / 2)


def test_total_variation_of_nothing_is_refused():
    with pytest.raises(SplitError, match="empty"):
        total_variation([], [1])


# --- open/structure-type ---


@cache
def read_rows():
    """Read the committed table without the code under test."""
    folder = TRACKS_FOLDER / "open-structure-type"
    return pyarrow.parquet.read_table(folder / "table.parquet").to_pylist()


def test_no_structure_type_is_in_two_parts():
    parts = {}
    for row in read_rows():
        parts.setdefault(row["structure_type"], set()).add(row["part"])
        assert int(row["structure_type"].split("_")[2]) == row["space_group"]
    assert {part for found in parts.values() for part in found} == set(PART_SHARES)
    assert all(len(found) == 1 for found in parts.values())


def test_the_committed_assignment_follows_the_rule():
    rows = read_rows()
    dealt = deal_types(
        [row["space_group"] for row in rows], [row["structure_type"] for row in rows]
    )
    assert dealt == [row["part"] for row in rows]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_parts_have_their_shares_and_alike_space_groups():
    rows = read_rows()
    counts = Counter(row["part"] for row in rows)
    for part, share in PART_SHARES.items():
        assert 100 * counts[part] / len(rows) == pytest.approx(share, abs=1.0)
    frequency = {
        part: np.bincount(
            [row["space_group"] for row in rows if row["part"] == part], minlength=231
        )
        / counts[part]
        for part in PART_SHARES
    }
    distance = {
        part: np.abs(frequency["statistics"] - frequency[part]).sum() / 2
        for part in ("dev", "test")
    }
    assert distance["test"] < 0.05
    assert distance["dev"] < 0.1
    recorded = load_record(OPEN_TRACK)["total_variation"]
    assert recorded["statistics test"] == pytest.approx(distance["test"], abs=1e-4)


def test_the_record_counts_what_is_there():
    rows, record = read_rows(), load_record(OPEN_TRACK)
    for part, counts in record["parts"].items():
        mine = [row for row in rows if row["part"] == part]
        assert counts == {
            "crystals": len(mine),
            "structure_types": len({row["structure_type"] for row in mine}),
            "space_groups": len({row["space_group"] for row in mine}),
        }
    left_out = (TRACKS_FOLDER / "open-structure-type" / "left_out.tsv").read_text()
    reasons = Counter(line.split("\t")[1] for line in left_out.splitlines()[1:])
    assert record["left_out"] == dict(reasons)
    assert len(record["attributions"]) == 4


@pytest.mark.data
def test_every_row_of_the_shared_table_is_kept_or_left_out(test_data):
    table = read_table(test_data)
    upstream = {
        row["id"]: row
        for row in table.select(
            ["id", "formula", "sg_symprec_0.1", "sg_symprec_0.01"]
        ).to_pylist()
    }
    rows = {row["id"]: row for row in read_rows()}
    left_out = TRACKS_FOLDER / "open-structure-type" / "left_out.tsv"
    missing = {line.split("\t")[0] for line in left_out.read_text().splitlines()[1:]}
    assert not missing & rows.keys()
    assert missing | rows.keys() == upstream.keys()
    for name, row in rows.items():
        assert row["space_group"] == upstream[name]["sg_symprec_0.01"]
        assert row["space_group"] == upstream[name]["sg_symprec_0.1"]
        assert row["formula"] == upstream[name]["formula"]


@pytest.mark.data
def test_labels_are_those_that_pymatgen_gives(test_data):
    names = load_table(OPEN_TRACK)["id"].to_pylist()[::1000]
    found = find_symmetries(select_rows(read_table(test_data), names), workers=1)
    rows = {row["id"]: row for row in read_rows()}
    assert [s.structure_type for s in found] == [
        rows[name]["structure_type"] for name in names
    ]
    assert all(symmetry.is_certain for symmetry in found)


# --- aflow/prototypes ---


def test_the_prototypes_are_all_there():
    table = load_table(AFLOW_TRACK).to_pylist()
    assert len(table) == 288
    assert len({row["space_group"] for row in table}) == 100
    assert {row["part"] for row in table} == {"test"}


def test_where_the_librarys_label_has_another_group_the_record_says_so():
    rows = load_table(AFLOW_TRACK).to_pylist()
    other = [
        row["id"] for row in rows if row["space_group"] != row["aflow_space_group"]
    ]
    notes = load_record(AFLOW_TRACK)["notes"]
    told = notes["other space group in the label of the library"]
    assert [line.rsplit(":", 1)[0] for line in told] == other
    assert len(other) == 3
    seen = {row["structure_type"] for row in read_rows() if row["part"] == "statistics"}
    for row in rows:
        assert row["is_type_in_statistics"] == (row["structure_type"] in seen)


# --- loading ---


def test_available_tracks():
    known = (AFLOW_TRACK, CHRONOLOGICAL_TRACK, RANDOM_TRACK, OPEN_TRACK)
    assert available_tracks() == known


def test_unknown_names_are_refused_with_those_known():
    with pytest.raises(SplitError, match="known are: aflow/prototypes, open/chrono"):
        load_split("icsd/random", "test")
    with pytest.raises(SplitError, match="it has dev, statistics, test"):
        load_split(OPEN_TRACK, "train")
    with pytest.raises(SplitError, match="are not frozen, only those of dev, test"):
        load_frozen_peaks(OPEN_TRACK, "statistics")
    with pytest.raises(SplitError, match="no track"):
        load_record("../tracks/aflow-prototypes")


@pytest.mark.parametrize("part", ["statistics", "dev", "test"])
def test_a_split_as_a_data_set(part):
    loaded = load_split(OPEN_TRACK, part)
    assert loaded.num_rows == load_record(OPEN_TRACK)["parts"][part]["crystals"]
    row = loaded[0]
    assert {"id", "space_group", "structure_type", "formula"} <= row.keys()
    assert loaded.features["space_group"].dtype == "int16"
    assert ("two_theta" in row) == (part != "statistics")
    if part != "statistics":
        frozen = load_track(OPEN_TRACK, part)
        assert (
            row["two_theta"] == frozen.peaks.two_theta[: len(row["two_theta"])].tolist()
        )
        assert max(row["intensity"]) == 1.0
        assert row["crystallite_size_nm"] == frozen.crystallite_size_nm[0]


def test_the_same_split_has_the_same_fingerprint():
    first, second = load_split(AFLOW_TRACK, "test"), load_split(AFLOW_TRACK, "test")
    assert first._fingerprint == second._fingerprint


@pytest.mark.parametrize(("track", "part"), TRACKS)
def test_a_part_is_a_batch_source(track, part):
    frozen = load_track(track, part)
    assert isinstance(frozen, BatchSource)
    assert len(frozen) == frozen.length == len(frozen.ids) == len(frozen.peaks)
    assert set(frozen.space_groups) == set(frozen.space_group.tolist())
    assert frozen.crystallite_size_nm.min() >= 20.0
    assert frozen.crystallite_size_nm.max() <= 100.0
    assert np.array_equal(frozen.crystallite_size_nm, freeze_sizes(frozen.ids))


def test_batches_do_not_depend_on_their_bounds():
    frozen = load_track(AFLOW_TRACK)
    whole = frozen.batch(0, len(frozen))
    assert whole.intensity.shape == (288, 8501)
    assert whole.intensity.dtype == np.float32
    assert whole.intensity.max(axis=1) == pytest.approx(np.ones(288))
    assert whole.ids == frozen.ids
    some = frozen.batch(100, 7)
    assert np.array_equal(some.intensity, whole.intensity[100:107])
    assert np.array_equal(some.space_group, frozen.space_group[100:107])
    assert some.index.tolist() == list(range(100, 107))


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (287, 2), (0, 0), (300, 1)])
def test_batches_outside_are_refused(start, count):
    with pytest.raises(SplitError, match="which has 288"):
        load_track(AFLOW_TRACK).batch(start, count)


@pytest.mark.parametrize("track", available_tracks())
def test_digests_name_what_is_frozen(track):
    record, table = load_record(track), load_table(track).to_pydict()
    peaks = {part: load_frozen_peaks(track, part) for part in record["frozen_parts"]}
    assert split_digest(track) == assignment_digest(table)
    assert record["digest"] == track_digest(table, peaks)
    table["part"][0] = "other"
    assert split_digest(track) != assignment_digest(table)


def test_files_fit_the_budget():
    sizes = {path: path.stat().st_size for path in TRACKS_FOLDER.rglob("*.*")}
    assert sum(sizes.values()) < 10_000_000
    for path in TRACKS_FOLDER.glob("*/track.json"):
        text = path.read_text("utf-8")
        again = json.dumps(
            json.loads(text), indent=1, sort_keys=True, ensure_ascii=False
        )
        assert text == again + "\n"


def assert_same_peaks(made, frozen, rows):
    """Compare fresh peaks to those of the frozen rows, to one step of the file."""
    frozen_offset = frozen.to_peaks().peak_offset
    made_offset = made.to_peaks().peak_offset
    for fresh, row in enumerate(rows):
        mine = slice(*made_offset[fresh : fresh + 2])
        kept = slice(*frozen_offset[row : row + 2])
        steps = made.position[mine].astype(int) - frozen.position[kept]
        assert np.abs(steps).max() <= 1
        steps = made.code[mine].astype(int) - frozen.code[kept]
        assert np.abs(steps).max() <= 1


@pytest.mark.data
def test_frozen_peaks_come_from_the_crystals(test_data):
    table = load_table(OPEN_TRACK, "test").to_pydict()
    rows = range(0, len(table["id"]), 700)
    names = [table["id"][row] for row in rows]
    crystals, _, _ = read_crystals(test_data, names, workers=1)
    assert crystals.space_group.tolist() == table["space_group"][::700]
    frozen = load_frozen_peaks(OPEN_TRACK, "test")
    assert_same_peaks(freeze_peaks(crystals), frozen, rows)


def test_frozen_peaks_come_from_the_prototypes():
    frozen, prototypes = load_track(AFLOW_TRACK), read_prototypes()
    rows = range(0, 288, 24)
    assert [prototypes[row].id for row in rows] == [frozen.ids[row] for row in rows]
    made = [Crystal.from_pymatgen(prototypes[row].structure) for row in rows]
    batch = CrystalBatch.from_crystals(made)
    assert batch.space_group.tolist() == frozen.space_group[::24].tolist()
    assert_same_peaks(freeze_peaks(batch), load_frozen_peaks(AFLOW_TRACK, "test"), rows)


def assert_patterns_are_pymatgens(frozen, rows, structures):
    """Compare to another simulator, which never sees our standard setting.

    Its form factors are others and it has no dispersion, so patterns are alike, not
    equal: over 149 space groups the cosine was 0.995 or more.
    """
    calculator = XRDCalculator(wavelength=1.5406)
    for row, structure in zip(rows, structures, strict=True):
        theirs = calculator.get_pattern(structure, two_theta_range=(3, 92))
        peaks = PeakBatch(
            two_theta=np.array(theirs.x),
            intensity=np.array(theirs.y),
            peak_offset=np.array([0, len(theirs.x)]),
        )
        size = frozen.crystallite_size_nm[row : row + 1]
        expected = render(peaks, frozen.grid, size)[0]
        pattern = frozen.batch(row, 1).intensity[0]
        norm = np.linalg.norm(expected) * np.linalg.norm(pattern)
        assert expected @ pattern / norm > 0.99, frozen.ids[row]


@pytest.mark.data
def test_patterns_of_crystals_are_those_of_another_simulator(test_data):
    frozen = load_track(OPEN_TRACK, "test")
    # One crystal of each of some groups, small ones: the other simulator is slow.
    rows = [int(np.flatnonzero(frozen.space_group == g)[0]) for g in (2, 14, 62, 166)]
    rows += [int(np.flatnonzero(frozen.space_group == g)[0]) for g in (194, 216, 225)]
    table = select_rows(read_table(test_data), [frozen.ids[row] for row in rows])
    assert_patterns_are_pymatgens(frozen, rows, make_structures(table))


def test_patterns_of_prototypes_are_those_of_another_simulator():
    frozen, prototypes = load_track(AFLOW_TRACK), read_prototypes()
    rows = [row for row in range(0, 288, 20) if len(prototypes[row].structure) < 20]
    structures = [prototypes[row].structure for row in rows]
    assert_patterns_are_pymatgens(frozen, rows, structures)


def test_rendering_a_track(benchmark):
    """Evaluation must not wait for its patterns."""
    frozen = load_track(AFLOW_TRACK)
    benchmark(frozen.batch, 0, 256)
