"""Imports: nothing lost, everything accounted for, the same whoever does the work."""

import csv
import gzip
import json
import shutil
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from pxrdbench.crystal.structure import Crystal, Site
from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.files import find_licensed
from pxrdbench.sources.structures import load as structure_import
from pxrdbench.sources.structures.entry import (
    CifTask,
    ImportEntry,
    ImportFailure,
    run_task,
)
from pxrdbench.sources.structures.filters import PAPER_FILTERS, ImportFilters
from pxrdbench.sources.structures.load import (
    import_structures,
    load_import,
    load_import_record,
)
from pxrdbench.sources.structures.plan import plan_import

CUBIC = (4.2, 4.2, 4.2, 90.0, 90.0, 90.0)
ROCK_SALT = Crystal(
    225, CUBIC, (Site("Na", "a", (0, 0, 0)), Site("Cl", "b", (0.5, 0.5, 0.5)))
)
WUSTITE = Crystal(
    225, CUBIC, (Site("Fe", "a", (0, 0, 0), 0.9), Site("O", "b", (0.5, 0.5, 0.5)))
)
RUTILE = Crystal(
    136,
    (4.594, 4.594, 2.959, 90.0, 90.0, 90.0),
    (Site("Ti", "a", (0.0, 0.0, 0.0)), Site("O", "f", (0.305, 0.305, 0.0))),
)


def icsd_cif(code, crystal, structure_type="", first_line="#(C) 2019 by FIZ Karlsruhe"):
    text = crystal.to_cif(f"{code}-ICSD")
    extra = (
        f"_database_code_ICSD {code}\n_chemical_name_structure_type {structure_type}"
    )
    head, _, rest = text[text.index("data_") :].partition("\n")
    extra = extra if structure_type else extra.split("\n", maxsplit=1)[0]
    return f"{first_line}\n{head}\n{extra}\n{rest}"


def write_export(folder):
    """Six entries, of which one cannot be read and one is there twice."""
    (folder / "cif").mkdir(parents=True)
    files = {
        "b/5": icsd_cif(5, ROCK_SALT, "NaCl"),
        "cif/1": icsd_cif(1, ROCK_SALT, "NaCl", "(C) 2022 by FIZ Karlsruhe"),
        "cif/2": icsd_cif(2, RUTILE, "Rutile-TiO2").replace("\n", "\r\n"),
        "cif/3": icsd_cif(3, WUSTITE),
        "cif/4": icsd_cif(4, ROCK_SALT).replace("_cell_length_a", "_cell_x"),
        "cif/a5": icsd_cif(5, ROCK_SALT, "NaCl"),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.cif").write_bytes(text.encode())
    (folder / "table.csv").write_text(
        "a line\nStructureType,CollectionCode\n"
        "Rutile#TiO2,2\nFluorite#CaF2,3\nNaCl,77\n"
    )
    return folder


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("icsd") / "export")


@pytest.fixture(scope="module")
def imported(export, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "icsd"
    calls = []
    report = import_structures(
        "icsd",
        export,
        out,
        workers=2,
        part_entries=2,
        on_progress=lambda *call: calls.append(call),
    )
    return report, out, calls


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Spare the start of processes, seconds each, but for `imported` above."""

    def apply(function, tasks, *_args, **_options):
        return map(function, tasks)

    monkeypatch.setattr(structure_import, "run_guarded", apply)


def rejected(out):
    with (out / "rejected.csv").open(newline="") as file:
        return [tuple(row.values())[:4] for row in csv.DictReader(file)]


def test_every_entry_is_accounted_for(imported):
    report, out, calls = imported
    assert (report.n_files, report.n_entries) == (6, 6)
    assert (report.n_read, report.n_kept) == (5, 4)
    assert report.not_read == {"no cell": 1}
    assert report.dropped == {"the entry is there already": 1}
    assert rejected(out) == [
        ("5", "cif/a5", "filter", "the entry is there already"),
        ("4", "cif/4", "read", "no cell"),
        ("77", "", "table", "in the table, but there is no CIF"),
    ]
    assert [call[:2] for call in calls] == [(done, 6) for done in range(7)]
    assert report.n_entries == report.n_read + sum(report.not_read.values())
    assert report.n_read == report.n_kept + sum(report.dropped.values())


def test_what_is_known_of_each_entry(imported):
    report, out, _ = imported
    crystals, table = load_import(out)
    rows = {row["id"]: row for row in table.to_pylist()}
    assert list(rows) == ["5", "1", "2", "3"]
    assert [rows[i]["structure_type"] for i in rows] == [
        "NaCl", "NaCl", "rutile#TiO2", "fluorite#CaF2",
    ]  # fmt: skip
    assert [rows[i]["prototype"] for i in rows] == [
        "AB_cF8_225_a_b", "AB_cF8_225_a_b", "AB2_tP6_136_a_f", "AB_cF8_225_a_b",
    ]  # fmt: skip
    assert [rows[i]["disordered"] for i in rows] == [False, False, False, True]
    assert rows["2"]["formula"] == "TiO2"
    assert rows["2"]["anonymous_formula"] == "AB2"
    assert rows["2"]["volume"] == pytest.approx(4.594**2 * 2.959)
    assert {r["space_group_given"] for r in rows.values()} == {136, 225}
    assert all(r["space_group_given"] == r["space_group_found"] for r in rows.values())
    assert all(r["n_sites"] == 2 for r in rows.values())
    assert crystals.space_group.tolist() == [225, 225, 136, 225]
    assert report.n_groups == 2
    assert report.n_types == 3


def test_an_icsd_import_is_restricted_and_says_so(imported):
    report, out, _ = imported
    assert report.restricted
    assert load_import_record(out)["restricted"] is True
    assert (out / ".gitignore").read_text() == "*\n"
    assert "must not" not in (out / "import.json").read_text()
    assert "licence" in (out / "RESTRICTED.txt").read_text()


def test_icsd_files_under_another_name_are_restricted_too(export, tmp_path):
    report = import_structures("cif", export / "cif", tmp_path / "o", workers=1)
    assert report.restricted
    assert (tmp_path / "o" / ".gitignore").is_file()


def test_icsd_entries_are_told_from_those_of_open_databases(export, tmp_path):
    assert find_licensed(export) == "b/5"
    assert find_licensed(export / "cif" / "2.cif") == "2"
    quoted = icsd_cif(7, ROCK_SALT).replace("7-ICSD", "1000041")
    (tmp_path / "a.cif").write_text(f"{quoted}\n_cod_database_code 1000041\n")
    (tmp_path / "b.cif").write_text(ROCK_SALT.to_cif())
    assert find_licensed(tmp_path) == ""


def test_the_result_depends_on_nothing_but_the_files(export, imported, tmp_path):
    """Other numbers of processes and other order on disk: the same bytes."""
    _, out, _ = imported
    copy = tmp_path / "copy"
    for file in sorted(export.rglob("*.*"), reverse=True):
        target = copy / file.relative_to(export)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    import_structures("icsd", copy, tmp_path / "one", workers=1, part_entries=2)
    for name in ("crystals.parquet", "rejected.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (out / name).read_bytes()


def test_a_run_that_was_stopped_goes_on(export, imported, tmp_path):
    _, out, _ = imported
    target = tmp_path / "stopped"

    def stop(done, total, cpu):
        if done == 5:
            raise KeyboardInterrupt

    options = {"workers": 1, "part_entries": 2}
    with pytest.raises(KeyboardInterrupt):
        import_structures("icsd", export, target, on_progress=stop, **options)
    with pytest.raises(SourceError, match="no finished import"):
        load_import(target)
    # Half a table, as a power cut leaves it: its record was not written.
    (target / "parts" / "part-000002.parquet").write_bytes(b"half")
    calls = []
    import_structures(
        "icsd", export, target, on_progress=lambda *c: calls.append(c), **options
    )
    assert calls[0][:2] == (4, 6)
    same = (target / "crystals.parquet").read_bytes()
    assert same == (out / "crystals.parquet").read_bytes()


def test_other_filters_read_nothing_anew(export, imported, tmp_path):
    shutil.copytree(imported[1], tmp_path / "o")
    calls = []
    report = import_structures(
        "icsd",
        export,
        tmp_path / "o",
        part_entries=2,
        filters=ImportFilters(max_volume=70.0, ordered=True, min_crystals=1),
        on_progress=lambda *c: calls.append(c),
    )
    assert calls == [(6, 6, 0.0)]
    assert report.dropped == {
        "volume above 70 Å³": 3,
        "the entry is there already": 1,
    }
    assert load_import(tmp_path / "o")[1]["id"].to_pylist() == ["2"]


def test_filters_of_the_paper():
    row = {
        "volume": 7000.0,
        "n_sites": 100,
        "disordered": True,
        "space_group_given": 1,
        "space_group_found": 2,
    }
    assert PAPER_FILTERS.find_reason(row) == ""
    assert PAPER_FILTERS.find_reason(row | {"volume": 7000.1}) == "volume above 7000 Å³"
    assert PAPER_FILTERS.find_reason(row | {"n_sites": 101}) == "more than 100 sites"
    assert PAPER_FILTERS.find_thin_groups({1: 49, 2: 50}) == {1}
    assert ImportFilters(ordered=True).find_reason(row) == "disordered"
    assert "given" in ImportFilters(same_group=True).find_reason(row)
    with pytest.raises(SourceError, match="max_sites -1"):
        ImportFilters(max_sites=-1)


def test_a_damaged_table_is_refused(imported, tmp_path):
    shutil.copytree(imported[1], tmp_path / "o")
    path = tmp_path / "o" / "crystals.parquet"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SourceError, match="run the import again"):
        load_import(tmp_path / "o")
    (tmp_path / "o" / "import.json").write_text("{")
    with pytest.raises(SourceError, match="is no strict JSON"):
        load_import(tmp_path / "o")


def test_a_folder_of_other_things_is_left_alone(export, imported, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(SourceError, match="no empty folder"):
        import_structures("icsd", export, tmp_path)
    with pytest.raises(SourceError, match=r"holds an import \(icsd\)"):
        import_structures("cif", export, imported[1])
    with pytest.raises(SourceError, match="no such file"):
        import_structures("cif", tmp_path / "missing", tmp_path / "x")
    with pytest.raises(SourceError, match="no kind of source"):
        import_structures("csd", export, tmp_path / "x")
    with pytest.raises(SourceError, match=r"no \.cif file"):
        import_structures("cif", tmp_path, tmp_path / "x")
    assert (tmp_path / "thesis.tex").read_text() == "do not touch"


def test_archives_within_folders_and_large_files_are_planned(tmp_path):
    many = "".join(ROCK_SALT.to_cif(f"b{n}") for n in range(45))
    padded = f"#{'x' * 600_000}\n{many}"
    (tmp_path / "many.cif").write_text(padded)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/one.cif", ROCK_SALT.to_cif())
        archive.writestr("notes.txt", "x")
    parts = plan_import("cif", tmp_path, 0.01)
    assert [name for part in parts for name in part.names] == ["many"] * 3 + ["x/one"]
    tasks = [task for part in parts for task in part.tasks]
    assert [(task.first, task.last) for task in tasks[:3]] == [
        (0, 20), (20, 40), (40, 60),
    ]  # fmt: skip
    outcomes = run_task(tasks[2]).outcomes
    assert [entry.block for entry in outcomes] == [f"b{n}" for n in range(40, 45)]
    assert isinstance(outcomes[0], ImportEntry)
    lost = run_task(CifTask(str(tmp_path / "gone.cif"), "", 0.01)).outcomes
    assert isinstance(lost[0], ImportFailure)


def test_tables_of_cifs(tmp_path):
    """MP-20 and its like: one row a crystal, its CIF in a column."""
    path = tmp_path / "train.csv.gz"
    with gzip.open(path, "wt", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "material_id", "cif", "spacegroup.number", "year"])
        table.writerow([0, "mp-1", ROCK_SALT.to_cif(), 225, 1999])
        table.writerow([1, "mp-2", "nonsense", 12, ""])
    report = import_structures("mp", path, tmp_path / "out", workers=1)
    assert (report.n_read, report.not_read) == (1, {"the row is no crystal": 1})
    assert not report.restricted
    _, found = load_import(tmp_path / "out")
    (row,) = found.to_pylist()
    assert (row["id"], row["year"], row["space_group_given"]) == ("mp-1", 1999, 225)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="no column of CIFs"):
        plan_import("mp", tmp_path / "bad.csv", 0.01)


def test_the_verb_and_a_prior_fitted_on_it(export, imported, tmp_path):
    from pxrdbench.cli.app import app
    from pxrdbench.crystal.prior.prior import load_prior

    shutil.copytree(imported[1], tmp_path / "o")
    # Parts of 2 were written above; the verb's parts are larger, so it reads anew.
    run = CliRunner().invoke(
        app,
        ["import", "icsd", str(export), "--out", str(tmp_path / "o"), "--workers", "1"],
    )
    assert run.exit_code == 0, run.output
    assert "restricted" in run.output
    assert "not read — no cell" in run.output
    fit = ["prior", "fit", str(tmp_path / "o"), "--out", str(tmp_path / "p.npz")]
    run = CliRunner().invoke(app, [*fit, "--min-crystals", "1"])
    assert run.exit_code == 0, run.output
    prior = load_prior(tmp_path / "p.npz")
    assert prior.restricted
    assert "import (icsd)" in prior.source


def test_a_prior_sees_the_statistics_part_of_an_import_only(tmp_path):
    from pxrdbench.cli.app import app
    from pxrdbench.crystal.prior.prior import load_prior
    from pxrdbench.tracks.load import load_table, split_digest

    track = "open/structure-type"
    names = [
        load_table(track, part)["id"][0].as_py() for part in ("statistics", "test")
    ]
    rows = [f'{name},"{ROCK_SALT.to_cif()}"\n' for name in names]
    (tmp_path / "t.csv").write_text("material_id,cif\n" + "".join(rows))
    import_structures("mp", tmp_path / "t.csv", tmp_path / "o")
    fit = ["prior", "fit", str(tmp_path / "o"), "--out", str(tmp_path / "p.npz")]
    fit += ["--min-crystals", "1", "--track", track]
    run = CliRunner().invoke(app, fit)
    assert run.exit_code == 0, run.output
    assert "fitted on 1 of 1 crystals" in run.output
    prior = load_prior(tmp_path / "p.npz")
    assert not prior.restricted
    assert prior.split_digest == split_digest(track)


@pytest.mark.data
def test_the_icsd_fixtures_lose_no_entry(test_data, tmp_path):
    report = import_structures(
        "icsd", test_data / "icsd_layout", tmp_path / "o", workers=1
    )
    assert report.n_entries == report.n_read == report.n_kept == 7
    crystals, table = load_import(tmp_path / "o")
    rows = {row["id"]: row for row in table.to_pylist()}
    assert set(rows) == {f"990000{n}" for n in range(1, 8)}
    assert {i: r["left_out"] for i, r in rows.items() if r["left_out"]} == {
        "9900007": "H1"
    }
    groups = [225, 136, 227, 167, 164, 225, 164]
    assert [r["space_group_given"] for r in rows.values()] == groups
    assert crystals.space_group.tolist() == groups
    assert [i for i, r in rows.items() if r["disordered"]] == ["9900003", "9900006"]
    assert rows["9900002"]["structure_type"] == "rutile#TiO2"
    assert rows["9900006"]["structure_type"] == ""
    assert rows["9900006"]["prototype"] == "A_cF4_225_a"
    record = json.loads((tmp_path / "o" / "import.json").read_text())
    assert record["restricted"] is True
    assert record["notes"]["hydrogens or dummies without a place left out"] == 1
    # The magnesium hydroxides are one crystal, but for the hydrogen.
    whole, bare = crystals[4], crystals[6]
    assert {s.element for s in whole.sites} - {s.element for s in bare.sites} == {"H"}
    assert np.allclose(whole.lattice, bare.lattice)
