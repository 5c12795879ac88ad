"""Leakage: counted as sets count, and true of the tracks that are shipped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition
from small_track import make_track

from pxrdbench.errors import EvaluationError, SplitError
from pxrdbench.studies.leakage import (
    AuditedSource,
    audit_pair,
    compare_recognition,
    find_recognised,
    reduce_formula,
)
from pxrdbench.studies.leakage_report import (
    KnownPeaks,
    audit_track,
    load_report,
    load_source,
    write_report,
)
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    TRACKS_FOLDER,
    available_tracks,
    load_record,
    load_table,
    load_track,
)

ELEMENTS = st.sampled_from(["H", "O", "Na", "Cl", "Ti", "Fe", "B", "C", "Co"])


def as_source(track, name="some", peaks=True):
    return AuditedSource(
        name=name,
        ids=track.ids,
        space_group=track.space_group,
        structure_type=track.structure_type,
        formula=tuple(f"C{1 + row % 40}O" for row in range(len(track))),
        peaks=track.peaks if peaks else None,
    )


@given(st.lists(st.tuples(ELEMENTS, st.integers(1, 12)), min_size=1, max_size=5))
def test_formulas_are_reduced_as_pymatgen_does(amounts):
    text = " ".join(f"{element}{number}" for element, number in amounts)
    reduced = reduce_formula(text)
    theirs = Composition(text).fractional_composition
    assert Composition(reduced).fractional_composition.almost_equals(theirs)
    amounts = Composition(reduced).get_el_amt_dict().values()
    assert math.gcd(*map(int, amounts)) == 1
    assert reduce_formula(reduced) == reduced
    shuffled = " ".join(reversed(text.split()))
    assert reduce_formula(shuffled) == reduced


def test_brackets_and_shares():
    assert reduce_formula("Ca3(PO4)2") == "Ca3O8P2"
    assert reduce_formula("K2[Fe(C N)6]") == "C6FeK2N6"
    assert reduce_formula("Cu0.25Au0.75") == "Au750Cu250"
    for text in ("x", "(NaCl", "Na)Cl", "", "Na0"):
        assert reduce_formula(text) == text


@pytest.mark.data
def test_every_formula_of_the_tracks_is_understood(test_data):
    for text in sorted(set(load_table(OPEN_TRACK)["formula"].to_pylist()))[::5]:
        mine = Composition(reduce_formula(text)).fractional_composition
        assert mine.almost_equals(Composition(text).fractional_composition)


def test_an_audit_counts_what_both_have():
    track = make_track(60, seed=0)
    known = make_track(90, seed=3)
    known = replace(known, ids=(*track.ids[:7], *(f"k{n}" for n in range(83))))
    source = as_source(known)
    formula = ["C2 O2", "N"] * 30
    result = audit_pair(source, track, formula)
    types = set(known.structure_type)
    assert result["shared_crystals"] == 7
    assert result["shared_types"] == len(types & set(track.structure_type))
    assert result["crystals_of_shared_types"] == sum(
        label in types for label in track.structure_type
    )
    assert result["shared_formulas"] == 1
    assert result["crystals_of_shared_formulas"] == 30
    right = find_recognised(source, track)
    match = result["search_match"]
    assert match["all"]["value"] == pytest.approx(right.mean(), abs=1e-6)
    assert match["all"]["low"] <= match["all"]["value"] <= match["all"]["high"]
    without = audit_pair(replace(source, peaks=None), track, formula)
    assert "search_match" not in without
    with pytest.raises(EvaluationError, match="no peak lists of some"):
        find_recognised(replace(source, peaks=None), track)


def test_whoever_learnt_all_recognises_all():
    track = make_track(60, seed=0)
    result = audit_pair(as_source(track), track, ["CO"] * 60)
    assert result["shared_crystals"] == 60
    assert result["search_match"]["all"]["value"] == 1.0
    assert result["search_match"]["new_types"] is None


def test_the_loss_is_paired_and_covers_the_truth():
    first, second = make_track(4000, seed=1), make_track(4000, seed=5)
    generator = np.random.default_rng(0)
    right = generator.random(4000) < 0.5, generator.random(4000) < 0.2
    result = compare_recognition((first, right[0]), (second, right[1]), replicates=500)
    assert result["first"]["accuracy"] == pytest.approx(right[0].mean(), abs=1e-6)
    assert result["loss"]["low"] < 0.6 < result["loss"]["high"]
    same = compare_recognition((first, right[0]), (first, right[0]), replicates=50)
    assert same["loss"] == {"value": 0.0, "low": 0.0, "high": 0.0}


# --- the reports beside the tracks ---


@pytest.mark.parametrize("track", available_tracks())
def test_every_track_has_a_report_of_every_source(track):
    report = load_report(track)
    sources = {f"{t} statistics" for t in available_tracks() if t.startswith("open/")}
    own = set() if track != AFLOW_TRACK else {f"{AFLOW_TRACK} test"}
    assert {pair["source"] for pair in report["pairs"]} == (
        sources | {f"{AFLOW_TRACK} test"}
    ) - own
    for pair in report["pairs"]:
        assert pair["search_match"]["all"] is not None
        table = load_table(pair["source"].rsplit(" ", 1)[0])
        rows = [
            row
            for row in table.to_pylist()
            if row["part"] == pair["source"].rsplit(" ", 1)[1]
        ]
        asked = load_table(track, "test").to_pylist()
        ids, types = {r["id"] for r in rows}, {r["structure_type"] for r in rows}
        assert pair["source_crystals"] == len(rows)
        assert pair["shared_crystals"] == sum(r["id"] in ids for r in asked)
        assert pair["crystals_of_shared_types"] == sum(
            r["structure_type"] in types for r in asked
        )


def test_no_crystal_and_no_type_of_the_split_by_type_is_learnt():
    pairs = {pair["source"]: pair for pair in load_report(OPEN_TRACK)["pairs"]}
    own = pairs[f"{OPEN_TRACK} statistics"]
    assert own["shared_crystals"] == own["crystals_of_shared_types"] == 0
    assert pairs[f"{RANDOM_TRACK} statistics"]["shared_crystals"] > 0


def test_recognition_falls_by_a_third_from_random_to_structure_type():
    own = {
        name: next(
            pair["search_match"]["all"]
            for pair in load_report(name)["pairs"]
            if pair["source"] == f"{name} statistics"
        )
        for name in (RANDOM_TRACK, OPEN_TRACK)
    }
    assert own[OPEN_TRACK]["high"] < own[RANDOM_TRACK]["low"] * 2 / 3


def test_the_source_that_is_shipped_gives_what_the_reports_say():
    source = load_source(AFLOW_TRACK, "test")
    report = load_report(RANDOM_TRACK)
    made = audit_track(RANDOM_TRACK, [source])
    expected = next(p for p in report["pairs"] if p["source"] == source.name)
    assert made["pairs"] == [expected]
    assert made["search_match"] == report["search_match"]


@pytest.mark.data
def test_simulated_peaks_of_what_is_learnt_are_those_of_the_report(test_data):
    """The nearest neighbours of a few, among some crystals simulated anew."""
    table = load_table(OPEN_TRACK, "statistics").to_pylist()[::500]
    names = [row["id"] for row in table]
    known = KnownPeaks.simulate(names)
    assert known.ids == tuple(names)
    assert (
        known.take(names[::2]).to_bytes()
        == known.lists.take(np.arange(0, len(names), 2)).to_bytes()
    )
    with pytest.raises(SplitError, match="no peak list of 'x'"):
        known.take(["x"])


def test_peak_lists_are_kept(tmp_path):
    from pxrdbench.tracks.load import load_frozen_peaks

    known = KnownPeaks(
        load_track(AFLOW_TRACK).ids, load_frozen_peaks(AFLOW_TRACK, "test")
    )
    known.write(tmp_path / "known.npz")
    again = KnownPeaks.read(tmp_path / "known.npz")
    assert again.ids == known.ids
    assert again.lists.to_bytes() == known.lists.to_bytes()


def test_a_report_of_another_version_is_refused(tmp_path):
    folder = tmp_path / "track"
    folder.mkdir()
    for name in ("track.json", "table.parquet", "peaks.npz"):
        source = TRACKS_FOLDER / "aflow-prototypes" / name
        (folder / name).write_bytes(source.read_bytes())
    with pytest.raises(SplitError, match="no audit stands beside"):
        load_report(folder)
    report = audit_track(folder, [])
    write_report(report, folder)
    assert load_report(folder) == report
    record = load_record(folder) | {"digest": "0" * 64}
    (folder / "track.json").write_text(json.dumps(record))
    with pytest.raises(SplitError, match="another version"):
        load_report(folder)
