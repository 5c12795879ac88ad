"""The American Mineralogist database: a small one of its schema, and the whole.

The whole one is read where the extra `amcsd` is installed; CI has the small one.
"""

import base64
import hashlib
import json
import sqlite3

import numpy as np
import pytest
from typer.testing import CliRunner

from pxrdbench.cli.app import app
from pxrdbench.crystal.cif_reader.read import read_block
from pxrdbench.errors import SourceError
from pxrdbench.sources.databases import amcsd

# As in larixite 2026.1.0: lists of numbers are base64 of int32 in units of 1/4,000,000,
# with 2 for "?" and 3 for "."; "0" is no list.
SCHEMA = """
create table spacegroups (id integer primary key,
    hm_notation varchar(16) not null unique, symmetry_xyz text not null, category text);
create table minerals (id integer not null primary key, name text not null unique);
create table publications (id integer not null primary key, journalname text not null,
    volume text, year integer not null, page_first text, page_last text);
create table cif (id integer not null primary key, mineral_id integer,
    spacegroup_id integer, publication_id integer, formula text, compound text,
    pub_title text, formula_title text, a text, b text, c text, alpha text, beta text,
    gamma text, cell_volume text, crystal_density text, atoms_sites text, atoms_x text,
    atoms_y text, atoms_z text, atoms_occupancy text, atoms_u_iso text,
    atoms_aniso_label text, atoms_aniso_u11 text, atoms_aniso_u22 text,
    atoms_aniso_u33 text, atoms_aniso_u12 text, atoms_aniso_u13 text,
    atoms_aniso_u23 text, qdat text, amcsd_url text);
"""
SIGNS = [(a, b, c) for a in ("", "-") for b in ("", "-") for c in ("", "-")]


def pack(*numbers):
    whole = np.rint(np.array(numbers) * 4e6).astype("<i4")
    return base64.b64encode(whole.tobytes()).decode()


def all_of(letters):
    """Operations of F m m m with the axes in all three orders that a cube has."""
    operations = []
    for a, b, c in SIGNS:
        for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)):
            for shift in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
                parts = [
                    f"{s}{letters[o]}" for s, o in zip((a, b, c), order, strict=True)
                ]
                operations.append(",".join(
                    ("1/2+" + p if m else p).replace("+-", "-")
                    for p, m in zip(parts, shift, strict=True)
                ))  # fmt: skip
    return operations


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "amcsd_cif1.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.execute(
        "insert into spacegroups values (1, 'F m -3 m', ?, 'None')",
        [json.dumps(all_of("xyz"))],
    )
    connection.execute(
        "insert into spacegroups values (2, 'P -1', ?, 'None')",
        [json.dumps(["x,y,z", "-x,-y,-z"])],
    )
    connection.execute("insert into minerals values (1, 'Halite'), (2, '<missing>')")
    connection.execute(
        "insert into publications values (1, 'Am. Mineral.', '1', 1913, '1', '2')"
    )
    halite = ["Na Cl", "5.64", "5.64", "5.64", "90", "90", "90", "179.406",
              json.dumps(["Na", "Cl"]), pack(0, 0.5), pack(0, 0.5), pack(0, 0.5),
              "0", pack(2.0, 0.01), "<missing>", *["0"] * 6]  # fmt: skip
    oblique = ["Fe2 S", "4.0", "5.0", "6.0", "80", "95", "100", "114.5",
               json.dumps(["Fe", "S"]), pack(0.1, 0.6), pack(0.2, 0.7),
               pack(0.3, 0.1), pack(2.0, 0.5), pack(2.0, 3.0),
               json.dumps(["Fe"]), *[pack(0.01)] * 3, *[pack(0.0)] * 3]  # fmt: skip
    wrong = ["Na3 Cl", *halite[1:]]
    marks = ", ".join("?" * 26)
    names = ", ".join(("id", "mineral_id", "spacegroup_id", "publication_id",
                       *amcsd._COLUMNS[1:]))  # fmt: skip
    for head, row in (((12, 1, 1, 1), halite), ((34, 2, 2, 1), oblique),
                      ((56, 1, 1, 1), wrong)):  # fmt: skip
        connection.execute(
            f"insert into cif ({names}) values ({marks[: 3 * (4 + len(row)) - 2]})",  # noqa: S608
            [*head, *row],
        )
    connection.commit()
    connection.close()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(amcsd, "DATABASE_SHA256", digest)
    return path


def test_entries_are_cifs_with_what_stands_for_unknown(database):
    halite, oblique, wrong = amcsd.read_amcsd(database)
    assert (halite.code, halite.mineral, halite.year) == ("0000012", "Halite", 1913)
    assert (oblique.code, oblique.mineral) == ("0000034", "")
    crystal = read_block(halite.cif).crystal
    assert (crystal.space_group, round(crystal.lattice[0], 9)) == (225, 5.64)
    # U = 2 stands for "?"; the other is kept.
    assert {s.element: round(s.b_iso, 3) for s in crystal.sites} == {
        "Na": 0.0, "Cl": 0.79,
    }  # fmt: skip
    read = read_block(oblique.cif)
    assert read.crystal.space_group == 2
    occupancy = {s.element: s.occupancy for s in read.crystal.sites}
    assert occupancy == {"Fe": 1.0, "S": 0.5}
    assert read_block(wrong.cif).failure.startswith("it contradicts its formula")


def test_another_database_is_not_opened(database, monkeypatch):
    monkeypatch.setattr(amcsd, "DATABASE_SHA256", "0" * 64)
    with pytest.raises(SourceError, match="install that version"):
        next(amcsd.read_amcsd(database))


def test_a_database_without_tables_is_told(tmp_path, monkeypatch):
    path = tmp_path / "amcsd_cif1.db"
    path.write_bytes(b"not a database" * 100)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(amcsd, "DATABASE_SHA256", digest)
    with pytest.raises(SourceError, match="cannot be read"):
        next(amcsd.read_amcsd(path))


def test_import_keeps_account_of_each_entry(database, tmp_path, monkeypatch):
    for place in ("databases.amcsd", "structures.load"):
        monkeypatch.setattr(f"pxrdbench.sources.{place}.find_amcsd", lambda: database)
    out = tmp_path / "imports"
    result = CliRunner().invoke(
        app, ["import", "amcsd", "--out", str(out), "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    account = json.loads((out / "import.json").read_text())
    rejected = (out / "rejected.csv").read_text()
    assert "contradicts its formula" in rejected
    assert str(account).count("amcsd")


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(amcsd.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r'pip install "pxrdbench\[amcsd\]"'):
        amcsd.find_amcsd()


def test_the_whole_database_where_it_is_installed():
    try:
        path = amcsd.find_amcsd()
    except SourceError:
        pytest.skip("the extra amcsd is not installed; the small database stands in")
    entries = list(amcsd.read_amcsd(path))
    assert len(entries) == 9275
    assert sum(not entry.mineral for entry in entries) == 3836
