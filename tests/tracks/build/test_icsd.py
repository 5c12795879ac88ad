"""Tracks of licensed crystals, proven on crystals that are free."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
from icsd_layout import write_export

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.crystal.structure import Crystal
from pxrdbench.errors import SourceError, SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.sources.structures.load import import_structures
from pxrdbench.studies.leakage import audit_pair
from pxrdbench.studies.leakage_report import load_source
from pxrdbench.studies.search_match import SearchMatch, predict_search_match
from pxrdbench.tracks.assignment import PART_SHARES, deal_by_hash
from pxrdbench.tracks.build.icsd import build_icsd_tracks
from pxrdbench.tracks.export import export_track
from pxrdbench.tracks.hugging_face import load_split
from pxrdbench.tracks.load import (
    OPEN_TRACK,
    find_track,
    load_record,
    load_table,
    load_track,
)
from pxrdbench.tracks.public_form import compare_public_forms

NAMES = ("icsd-random", "icsd-structure-type")
FILES = ("table.parquet", "peaks.npz", "track.json", "public.json")


@pytest.fixture(scope="module")
def entries():
    """Famous compounds, half of them with the name of their type; some disordered."""
    made = {}
    for number, prototype in enumerate(read_prototypes()[::8]):
        crystal = Crystal.from_pymatgen(prototype.structure)
        if number % 7 == 3:  # a tenth of one site is missing
            first, *others = crystal.sites
            crystal = replace(crystal, sites=(replace(first, occupancy=0.9), *others))
        label = prototype.mineral.split(",")[0] if number % 2 else ""
        made[9_000_000 + number] = (crystal, label.replace("'", ""))
    return made


def build(entries, folder, workers=1):
    export = write_export(folder / "export", entries)
    import_structures("icsd", export, folder / "import", workers=workers)
    build_icsd_tracks(folder / "import", folder / "tracks")
    return folder / "tracks"


@pytest.fixture(scope="module")
def built(entries, tmp_path_factory):
    return build(entries, tmp_path_factory.mktemp("icsd"))


def test_types_stay_together_and_the_hash_decides(built, entries):
    rows = pyarrow.parquet.read_table(built / NAMES[1] / "table.parquet").to_pylist()
    assert len(rows) == len(entries)
    parts = {}
    for row in rows:
        parts.setdefault(row["structure_type"], set()).add(row["part"])
    assert all(len(found) == 1 for found in parts.values())
    key = "pxrdbench icsd/structure-type 1"
    dealt = deal_by_hash([row["structure_type"] for row in rows], PART_SHARES, key)
    assert dealt == [row["part"] for row in rows]
    assert {row["type_origin"] for row in rows} >= {"given", "prototype"}
    assert {part for found in parts.values() for part in found} <= set(PART_SHARES)


def test_files_do_not_depend_on_order_or_workers(built, entries, tmp_path):
    order = np.random.default_rng(1).permutation(list(entries))
    shuffled = {int(code): entries[int(code)] for code in order}
    again = build(shuffled, tmp_path, workers=2)
    for name in NAMES:
        for file in FILES[:2]:
            assert (again / name / file).read_bytes() == (
                built / name / file
            ).read_bytes()
        forms = [
            json.loads((folder / name / "public.json").read_text())
            for folder in (built, again)
        ]
        assert compare_public_forms(*forms) == []


def test_labels_as_given_as_found_and_without_partial_occupancy(built, tmp_path):
    tracks = tmp_path
    shutil.copytree(built / NAMES[0], tracks / NAMES[0])
    table = pyarrow.parquet.read_table(tracks / NAMES[0] / "table.parquet")
    # An entry whose given group is not the one found, as in one of a hundred.
    groups = table["space_group"].to_pylist()
    rows = [i for i, part in enumerate(table["part"].to_pylist()) if part != "dev"]
    groups[rows[0]] = 1
    changed = table.set_column(
        table.column_names.index("space_group"),
        table.schema.field("space_group"),
        pyarrow.array(groups, pyarrow.int16()),
    )
    pyarrow.parquet.write_table(changed, tracks / NAMES[0] / "table.parquet")
    part = table["part"][rows[0]].as_py()
    given, found, ordered = (
        load_track(tracks / NAMES[0], part, labels=name)
        for name in ("given", "found", "ordered")
    )
    name = table["id"][rows[0]].as_py()
    place = given.ids.index(name)
    assert given.space_group[place] == 1
    assert found.space_group[found.ids.index(name)] != 1
    assert found.ids == given.ids
    disordered = {
        r["id"] for r in load_table(tracks / NAMES[0]).to_pylist() if r["is_disordered"]
    }
    assert disordered
    assert set(ordered.ids) == set(given.ids) - disordered
    assert len({given.digest, found.digest, ordered.digest}) == 3
    kept = np.array([given.ids.index(i) for i in ordered.ids])
    assert np.array_equal(
        ordered.take(np.arange(len(kept))).intensity, given.take(kept).intensity
    )
    with pytest.raises(SplitError, match="has no labels 'guessed'"):
        load_track(tracks / NAMES[0], part, labels="guessed")
    with pytest.raises(SplitError, match="has no labels 'found'"):
        load_track(OPEN_TRACK, "dev", labels="found")


def test_what_is_licensed_says_so_and_stays(built, tmp_path):
    for name in NAMES:
        folder = built / name
        assert load_record(folder)["restricted"]
        assert load_track(folder, "test").restricted
        assert (folder / ".gitignore").read_text() == "*\n"
        public = (folder / "public.json").read_text()
        for row in load_table(folder).to_pylist():
            assert row["id"] not in public
            assert row["structure_type"] not in public
        with pytest.raises(SplitError, match="stays where it was built"):
            export_track(folder, tmp_path / "out")


def test_public_forms_tell_what_differs(built):
    form = json.loads((built / NAMES[1] / "public.json").read_text())
    other = json.loads(json.dumps(form))
    other["parts"]["test"]["crystals"] += 1
    other["parts"]["test"]["digest"] = "0"
    found = compare_public_forms(form, other)
    assert len(found) == 1
    assert found[0].startswith("part test: ")
    assert found[0].endswith("the types are the same")
    other["key"] = "another"
    assert compare_public_forms(form, other)[0].startswith("key: ")


def test_a_built_track_is_a_track(built):
    folder = built / NAMES[0]
    assert find_track(str(folder)) == folder
    test = load_track(folder, "test")
    source = load_source(folder, "statistics")
    known = SearchMatch(source.peaks, source.space_group)
    predictions = predict_search_match(test, known, source="x", restricted=True)
    assert predictions.restricted
    evaluation = evaluate(predictions, test)
    assert evaluation.counts["crystals"] == len(test)
    formula = load_table(folder, "test")["formula"].to_pylist()
    pair = audit_pair(source, test, formula)
    assert pair["shared_crystals"] == 0
    rows = load_split(folder, "statistics", "patterns", classes=[225, 62])
    assert rows[:3]["intensity"].shape == (3, 8501)


def test_the_verbs(built, tmp_path):
    from typer.testing import CliRunner

    from pxrdbench.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        return result.exit_code, " ".join(result.output.split())

    imported = built.parent / "import"
    code, told = run("split", "build", "icsd", imported, "--out", tmp_path)
    assert code == 0
    assert "icsd/structure-type" in told
    forms = [folder / NAMES[1] / "public.json" for folder in (built, tmp_path)]
    code, told = run("split", "build", "compare", *forms)
    assert (code, told.startswith("the same: ")) == (0, True)
    other = built / NAMES[0] / "public.json"
    code, told = run("split", "build", "compare", forms[0], other)
    assert (code, told.startswith("track: ")) == (1, True)
    code, told = run("split", "show", tmp_path / NAMES[0])
    assert "licensed crystals: not to be passed on" in told


def test_an_import_is_needed(tmp_path):
    with pytest.raises(SourceError, match="no finished import"):
        build_icsd_tracks(tmp_path, tmp_path / "out")
    with pytest.raises(SplitError, match=r"holds no track\.json"):
        load_track(tmp_path, "test")


@pytest.mark.data
def test_fixtures_and_crystals_of_the_materials_project(test_data, tmp_path):
    names = load_table(OPEN_TRACK)["id"].to_pylist()[::600]
    crystals, ids, _ = read_crystals(test_data, names, workers=1)
    entries = {
        100_000 + n: (crystals[n], "" if n % 3 else f"Type{n % 7}#NaCl")
        for n in range(len(ids))
    }
    shutil.copytree(test_data / "icsd_layout", tmp_path / "export" / "fixtures")
    tracks = build(entries, tmp_path)
    record = load_record(tracks / NAMES[1])
    counts = {part: number["crystals"] for part, number in record["parts"].items()}
    assert sum(counts.values()) == len(names) + 7
    assert counts["statistics"] > counts["test"]
    rows = {row["id"]: row for row in load_table(tracks / NAMES[1]).to_pylist()}
    label = dict(zip(map(str, entries), crystals.space_group.tolist(), strict=True))
    for name, group in label.items():
        assert rows[name]["space_group"] == rows[name]["space_group_found"] == group
    # Rutile stands in the table with one sign and in the file with another.
    types = {name: row["structure_type"] for name, row in rows.items()}
    assert types["9900002"].casefold().startswith("rutile")
    assert types["9900005"] == types["9900007"] == "CdI2"
    assert rows["9900005"]["part"] == rows["9900007"]["part"]
    # Magnetite has two kinds of iron on one site, the alloy two metals.
    mixed = [name for name, row in rows.items() if row["is_disordered"]]
    assert mixed == ["9900003", "9900006"]
    assert record["left_out"] == {}
