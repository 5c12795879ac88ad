"""CIF files: what is read, what is kept, what is left out and why."""

import zipfile

import numpy as np
import pytest

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.errors import SourceError
from pxrdbench.sources.cif import files as cif
from pxrdbench.sources.cif.blocks import read_block, split_blocks
from pxrdbench.sources.cif.files import find_cifs, read_cifs
from pxrdbench.sources.guarded import Lost, run_guarded

CUBIC = (4.2, 4.2, 4.2, 90.0, 90.0, 90.0)
WUSTITE = Crystal(
    225,
    CUBIC,
    (
        Site("Fe", "a", (0.0, 0.0, 0.0), 0.6, 0.4, 2),
        Site("Mg", "a", (0.0, 0.0, 0.0), 0.3, 0.4, 2),
        Site("O", "b", (0.5, 0.5, 0.5), 1.0, 0.7, -2),
    ),
)
RUTILE = Crystal(
    136,
    (4.594, 4.594, 2.959, 90.0, 90.0, 90.0),
    (Site("Ti", "a", (0.0, 0.0, 0.0)), Site("O", "f", (0.305, 0.305, 0.0))),
)
# As people write them: uncertainties, U, a setting of its own, no operators.
MONOCLINIC = """
data_mine
_symmetry_space_group_name_H-M 'P 1 1 21/b'
_cell_length_a 5.12(1)
_cell_length_b 6.31(1)
_cell_length_c 7.5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 101.3
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Si1 0.1123(4) 0.2345(6) 0.3456(7) 0.0100(3)
O1 0.4123(4) 0.7345(6) 0.2456(7) ?
O2 0.7123(4) 0.5345(6) 0.0456(7) -0.01
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
O1 0.01 0.02 0.03 0 0 0
"""


def write_folder(path):
    """Six good crystals among what a folder of CIFs may hold."""
    (path / "deep").mkdir(parents=True)
    (path / "wustite.cif").write_text(WUSTITE.to_cif("w"))
    both = RUTILE.to_cif("one") + WUSTITE.to_cif("two")
    (path / "deep" / "both.CIF").write_text(both)
    (path / "mine.cif").write_text(MONOCLINIC)
    (path / "windows.cif").write_bytes(RUTILE.to_cif().replace("\n", "\r\n").encode())
    rutile = RUTILE.to_cif("r")
    (path / "no_cell.cif").write_text(rutile.replace("_cell_length_a", "_cell_x"))
    (path / "unknown.cif").write_text(rutile.replace("Ti1 Ti", "Xy1 Xy"))
    (path / "occupied.cif").write_text(
        rutile.replace(" 1 0\n", " 1 0\nFe1 Fe 2 a 0 0 0 0.8 0\n", 1)
    )
    (path / "question.cif").write_text(rutile.replace("0.305000000000", "?"))
    (path / "noise.cif").write_bytes(bytes(range(256)) * 40)
    (path / "empty.cif").write_text("")
    (path / "notes.txt").write_text(rutile)
    return path


REASONS = {
    "no_cell": "no cell",
    "unknown": "an unknown element",
    "occupied": "occupancies above one",
    "question": "a coordinate that is no number",
    "noise": "no atoms",
    "empty": "no atoms",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("cifs") / "folder")


@pytest.fixture(scope="module")
def read(folder):
    calls = []
    result = read_cifs(folder, workers=2, progress=lambda *call: calls.append(call))
    return *result, calls


def test_a_folder_is_read_whatever_lies_in_it(read):
    crystals, ids, report, calls = read
    assert ids == ("deep/both:one", "deep/both:two", "mine", "windows", "wustite")
    assert crystals.space_group.tolist() == [136, 225, 14, 136, 225]
    assert {name: text.split(":")[0] for name, text in report.failures} == REASONS
    assert report.reasons["no atoms"] == 2
    assert report.n_files == 10
    assert report.n_rows == 11
    assert report.n_read == len(crystals) == 5
    assert sum(report.readers.values()) == 5
    assert calls == [(done, 10) for done in range(1, 11)]
    assert all("\n" not in text for _, text in report.failures)


def test_occupancies_displacements_and_charges_are_kept(read):
    crystals, ids, _, _ = read
    found = crystals[ids.index("wustite")]
    assert found.lattice == pytest.approx(CUBIC)
    assert {(s.element, s.occupancy, s.charge) for s in found.sites} == {
        ("Fe", 0.6, 2),
        ("Mg", 0.3, 2),
        ("O", 1.0, -2),
    }
    assert {s.element: s.b_iso for s in found.sites} == pytest.approx(
        {"Fe": 0.4, "Mg": 0.4, "O": 0.7}
    )


def test_anisotropic_displacements_become_their_equivalent(read):
    crystals, ids, _, _ = read
    values = sorted(site.b_iso for site in crystals[ids.index("mine")].sites)
    # U = 1/3 (U11 a*² a² + U22 b*² b² + U33), a* = 1 / (a sin γ).
    sine = np.sin(np.radians(101.3))
    equivalent = 8 * np.pi**2 * ((0.01 + 0.02) / sine**2 + 0.03) / 3
    assert values == pytest.approx([0.0, 8 * np.pi**2 * 0.01, equivalent])


def test_both_parsers_find_the_same_crystal():
    """pymatgen's forgiving parser takes over where gemmi's finds no CIF."""
    for crystal in (WUSTITE, RUTILE):
        parser, found = read_block(crystal.to_cif())
        assert parser == "gemmi"
        broken = crystal.to_cif() + "_publ_section_title 'it's broken here\n"
        parser, other = read_block(broken)
        assert parser == "pymatgen"
        for one, two in zip(found.sites, other.sites, strict=True):
            assert one == two or one.fract == pytest.approx(two.fract, abs=1e-9)
        assert found.space_group == other.space_group == crystal.space_group


def test_a_reader_that_loses_symmetry_is_not_believed():
    """Three decimals of 1/3, and the atom is on a special position no more."""
    quartz = Crystal(
        154,
        (4.913, 4.913, 5.405, 90.0, 90.0, 120.0),
        (Site("Si", "a", (0.47, 0.0, 2 / 3)), Site("O", "c", (0.413, 0.267, 0.785))),
    )
    good = quartz.to_cif()
    rounded = good.replace("0.666666666667", "0.668")
    assert read_block(good)[1].space_group == 154
    outcome = read_block(rounded)
    # Either the atoms are merged (154) or the entry is refused; never group 145.
    assert isinstance(outcome, str) or outcome[1].space_group == 154


def test_a_group_that_nobody_understands_is_refused():
    text = MONOCLINIC.replace("P 1 1 21/b", "P nonsense")
    outcome = read_block(text)
    assert isinstance(outcome, str)
    assert outcome.startswith("the space group is not understood: ")


def test_blocks_are_cut_outside_of_text_fields():
    text = "# head\ndata_a\n_x 1\n_t\n;\ndata_no\n;\nDATA_b\n_y 2\n"
    blocks = split_blocks(text)
    assert [name for name, _ in blocks] == ["a", "b"]
    assert "data_no" in blocks[0][1]
    assert blocks[1][1] == "DATA_b\n_y 2\n"


def test_archives_are_read_in_place(tmp_path, folder, read):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        archive.writestr("../../outside.cif", RUTILE.to_cif("outside"))
        # 30 MB of blanks in 30 kB.
        archive.writestr("bomb.cif", b" " * 30_000_000)
    crystals, ids, report = read_cifs(path, workers=1)
    assert set(read[1]) <= set(ids)
    assert "../../outside" in ids
    assert not (tmp_path.parent.parent / "outside.cif").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["all.zip"]
    assert ("bomb", "the file is larger than 20 MB") in report.failures
    expected = dict(zip(read[1], read[0], strict=True))
    for name, crystal in zip(ids, crystals, strict=True):
        if name in expected:
            assert crystal == expected[name]


def test_names_stay_unique(tmp_path, monkeypatch):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x.cif").write_text(RUTILE.to_cif())
    monkeypatch.setattr(cif, "_PACK", 1)
    paths = [tmp_path / "a", tmp_path / "b" / "x.cif"]
    crystals, ids, _ = read_cifs(paths, workers=1)
    assert ids == ("x", "x:2")
    assert len(crystals) == 2
    assert crystals[0] == crystals[1]


def test_nothing_to_read(tmp_path):
    crystals, ids, report = read_cifs(tmp_path)
    assert (len(crystals), ids, report.n_rows, report.reasons) == (0, (), 0, {})


def test_what_is_no_place_for_cifs_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        find_cifs(tmp_path / "missing")
    text = tmp_path / "a.txt"
    text.write_text("x")
    with pytest.raises(SourceError, match="no folder, zip archive"):
        find_cifs(text)
    with pytest.raises(SourceError, match="0 workers"):
        write_folder(tmp_path / "f")
        read_cifs(tmp_path / "f", workers=0)


def misbehave(task):
    import os
    import time

    if task == "hang":
        time.sleep(60)
    if task == "die":
        os._exit(1)
    return task


def test_a_task_that_hangs_or_dies_costs_itself_only():
    tasks = ["a", "hang", "b", "die", "c"]
    results = list(run_guarded(misbehave, tasks, 2, time_limit=1.0, patience=1.0))
    assert results == [
        "a",
        Lost("it took longer than 1 s"),
        "b",
        Lost("the process that read it died"),
        "c",
    ]


@pytest.mark.data
def test_archives_of_hard_cases(test_data):
    """Every 8th of the shared archives; the whole takes half a minute."""
    tasks = [
        (file, member, 0.01)
        for name in ("amcsd", "cod_hard_cases", "tool_test_cifs", "iucr_powder_pdcif")
        for file, member, _ in find_cifs(test_data / "cifs" / f"{name}.zip")[::8]
    ]
    entries = [entry for task in tasks for entry in cif._read_place(task)]
    read = [outcome for _, outcome in entries if not isinstance(outcome, str)]
    assert len(entries) >= len(tasks) > 100
    assert len(read) > 0.8 * len(entries)
    CrystalBatch.from_crystals([crystal for _, crystal in read])
    assert sum(any(s.occupancy < 1 for s in c.sites) for _, c in read) > 10
    assert sum(any(s.b_iso > 0 for s in c.sites) for _, c in read) > 10
    reasons = [o.split(":")[0] for _, o in entries if isinstance(o, str)]
    assert "no valid CIF" not in reasons


@pytest.mark.data
def test_what_pymatgen_or_gemmi_read_by_themselves_is_read(test_data):
    """Every 25th; docs/measure_import.py compares all 936 blocks."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[3] / "docs" / "measure_import.py"
    spec = importlib.util.spec_from_file_location("measure_import", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = [
        row
        for name in script.ARCHIVES
        for place in find_cifs(test_data / "cifs" / f"{name}.zip")[::25]
        for row in script.judge(place)
    ]
    assert sum(row[1] or row[2] for row in rows) > 30
    assert [row for row in rows if (row[1] or row[2]) and row[3]] == []
