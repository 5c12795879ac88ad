"""RRUFF in the true layout of its downloads: both kinds, labels, exclusions."""

import shutil
import zipfile

import numpy as np
import pytest
from rruff_layout import write_archives, write_dif, write_xy

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import SourceError
from pxrdbench.sources.databases.rruff import read_dif, read_rruff
from pxrdbench.sources.scans.read import resample


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rruff")
    write_archives(folder)
    return folder


def test_reads_both_kinds_and_labels_them(archives):
    entries, reasons = read_rruff(archives)
    assert len(entries) == 16
    assert {entry.kind for entry in entries} == {"raw", "processed"}
    groups = {entry.mineral: entry.space_group for entry in entries}
    # Diopside's file is of measurement 2, its DIF file of measurement 1.
    assert (groups["Quartz"], groups["Albite"], groups["Diopside"]) == (154, 2, 15)
    assert groups["Nolabel"] == groups["Strange"] == 0
    assert sum(reasons.values()) == 16
    assert reasons == {
        "": 6,
        "cannot be read": 2,
        "does not cover 10 to 70 degrees": 2,
        "identification not confirmed": 2,
        "no DIF file, so no space group": 2,
        "space group symbol not understood": 2,
    }


def test_one_kind_and_what_a_header_says(archives):
    entries, _ = read_rruff(archives, kind="raw")
    assert len(entries) == 8
    quartz = next(entry for entry in entries if entry.mineral == "Quartz")
    assert quartz.rruff_id == "R040031-1"
    assert quartz.chemistry == "SiO_2_"
    assert len(quartz.pattern) == 8501
    assert quartz.pattern.two_theta[[0, -1]].tolist() == [5.0, 90.0]
    # 1.541838 is the mean of copper's doublet.
    assert quartz.pattern.radiation.name == "CuKa"
    assert "Süd-Norwegen" in quartz.pattern.metadata["LOCALITY"]
    # No wavelength of its own: that of its DIF file.
    albite = next(entry for entry in entries if entry.mineral == "Albite")
    assert albite.pattern.radiation.name == "CuKa"
    nolabel = next(entry for entry in entries if entry.mineral == "Nolabel")
    assert nolabel.pattern.radiation is None


def test_other_grids_are_resampled_not_dropped(archives):
    entries, _ = read_rruff(archives, kind="processed")
    grid = TwoThetaGrid()
    kept = {entry.mineral: entry for entry in entries if not entry.excluded}
    assert set(kept) == {"Quartz", "Albite", "Diopside"}
    albite, diopside = kept["Albite"].pattern, kept["Diopside"].pattern
    assert len(albite) == 4251
    intensity, mask = resample(albite.two_theta, albite.intensity, grid)
    assert mask.all()
    np.testing.assert_allclose(intensity[::2], albite.intensity, atol=1e-6)
    intensity, mask = resample(diopside.two_theta, diopside.intensity, grid)
    assert mask.sum() == 8001  # 5 to 85 degrees, and half a step
    assert not intensity[~mask].any()
    np.testing.assert_allclose(intensity[mask], diopside.intensity[200:], atol=1e-6)


def test_order_does_not_depend_on_where_files_are(archives, tmp_path):
    unpacked = tmp_path / "somewhere"
    for archive in ("XY_RAW", "DIF"):
        with zipfile.ZipFile(archives / f"{archive}.zip") as file:
            file.extractall(unpacked)
    shutil.copy(archives / "XY_RAW.zip", unpacked / "again.zip")
    names = [
        [e.file_name for e in read_rruff(f, "raw")[0]] for f in (archives, unpacked)
    ]
    assert names[0] == names[1] == sorted(names[0])
    parts = [archives / "DIF.zip", archives / "XY_RAW.zip"]
    assert [e.file_name for e in read_rruff(parts)[0]] == names[0]


def test_what_is_no_rruff_download_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no RRUFF patterns in"):
        read_rruff(tmp_path)
    with pytest.raises(SourceError, match="there is no folder"):
        read_rruff(tmp_path / "nowhere")
    (tmp_path / "XY_RAW.zip").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(SourceError, match="no whole zip archive"):
        read_rruff(tmp_path)


def test_progress_reaches_the_end(archives):
    seen = []
    read_rruff(archives, on_progress=lambda done, n: seen.append((done, n)))
    assert seen[-1] == (16, 16)


def test_a_dif_file_may_hold_rich_text_and_no_table():
    (record,) = read_dif(write_dif("Albite", "C-1").decode())
    assert (record.mineral, record.space_group, record.wavelength) == (
        "Albite",
        2,
        1.541838,
    )
    assert record.cell == (9.7481, 8.923, 5.2508, 90.0, 105.886, 90.0)
    assert record.two_theta.tolist() == [19.9, 29.88]
    assert record.intensity.tolist() == [3.12, 100.0]
    with pytest.raises(SourceError, match="SPACE GROUP"):
        read_dif("nothing")


@pytest.mark.data
def test_every_record_of_the_database_file_maps_to_its_group(test_data):
    """Groups by hand from International Tables, and from each record's reflections."""
    expected = {
        "C2/c": 15, "R-3c": 167, "C2/m": 12, "Pbnm": 62, "P2_1/c": 14, "Pbca": 61,
        "C-1": 2, "Fd3m": 227, "P6_3/m": 176, "P-1": 2, "P4_12_12": 92, "I2/m": 12,
        "R-3m": 166, "Amma": 63, "P3_221": 154, "C1": 1, "R-3": 148, "P2_1/n": 14,
        "Pnam": 62, "I-1": 2, "I2": 5, "Fm3m": 225, "F2/d": 15, "Pa3": 205,
    }  # fmt: skip
    path = test_data / "rruff/dif_samples/amcsd_difdata_multi_record.txt"
    records = read_dif(path.read_text())
    assert len(records) == 47
    assert len({record.code for record in records}) == 46  # one stands there twice
    for record in records:
        assert record.space_group == expected[record.space_group_symbol], record.code
        assert len(record.two_theta) > 5
        assert record.wavelength == 1.541838
    assert {record.space_group_symbol for record in records} == set(expected)


@pytest.mark.data
def test_the_true_dif_files(test_data):
    folder = test_data / "rruff/dif_samples"
    (first,) = read_dif(
        (folder / "Biphosphammite__R070206__DIF_sample.txt").read_text()
    )
    (second,) = read_dif((folder / "Diopside__R040009__DIF_sample.txt").read_text())
    assert (first.mineral, first.space_group) == ("Biphosphammite", 122)
    assert (second.mineral, second.space_group) == ("Diopside", 15)
    assert (len(first.two_theta), len(second.two_theta)) == (12, 8)
    assert second.cell == (9.7481, 8.923, 5.2508, 90.0, 105.886, 90.0)


def test_write_xy_is_the_layout_of_the_notes():
    lines = write_xy("Quartz", "R040031-1").decode("latin-1").split("\r\n")
    assert lines[0] == "##NAMES=Quartz"
    assert lines[-3] == "##END="
