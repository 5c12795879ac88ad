"""Tracks of measured minerals, from archives in the true layout with made-up counts."""

import shutil
import zipfile
from pathlib import Path

import pytest
from rruff_layout import write_archives, write_dif, write_xy

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.dataset.source import BatchSource
from pxrdbench.errors import SourceError, SplitError
from pxrdbench.studies.search_match import SearchMatch
from pxrdbench.tracks.build.rruff import build_rruff_tracks, read_reference_list
from pxrdbench.tracks.export import export_track
from pxrdbench.tracks.hugging_face import load_split
from pxrdbench.tracks.load import load_record, load_table, load_track


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rruff")
    write_archives(folder)
    # More minerals, so that both parts have some; one measurement twice.
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for number in range(24):
            name, rruff_id = f"Mineral{number}", f"R06{number:04d}-1"
            xy = write_xy(name, rruff_id, seed=10 + number)
            stem = f"{name}__{rruff_id}__Powder__"
            archive.writestr(f"{stem}Xray_Data_XY_RAW__{number}.txt", xy)
            group = "Fm-3m" if number % 2 else "Pnma"
            archive.writestr(f"{stem}DIF_File__{number}.txt", write_dif(name, group))
        again = "Mineral3__R060003-2__Powder__Xray_Data_XY_RAW__99.txt"
        archive.writestr(again, write_xy("Mineral3", "R060003-2", seed=13))
    return folder


@pytest.fixture(scope="module")
def built(archives, tmp_path_factory):
    out = tmp_path_factory.mktemp("tracks")
    build_rruff_tracks(archives, out)
    return out


def test_rules_choose_and_give_their_reasons(built):
    every, clean = (load_record(built / f"rruff-{k}") for k in ("all", "clean"))
    count = {
        r["name"]: sum(p["crystals"] for p in r["parts"].values())
        for r in (every, clean)
    }
    # Quartz, Albite, Diopside; then Maybe and Short, which are not clean.
    assert count == {"rruff/all": 3 + 2 + 25, "rruff/clean": 3 + 24}
    assert every["left_out"] == {
        "cannot be read": 1,
        "no DIF file, so no space group": 1,
        "space group symbol not understood": 1,
    }
    assert clean["left_out"] == every["left_out"] | {
        "does not cover 10 to 70 degrees": 1,
        "identification not confirmed": 1,
        "same counts as another": 1,
    }
    lines = (built / "rruff-clean" / "left_out.tsv").read_text().splitlines()
    assert len(lines) == 1 + sum(clean["left_out"].values())
    reason = next(line for line in lines if line.startswith("Mineral3__R060003-2"))
    assert "Mineral3__R060003-1" in reason


def test_a_mineral_is_in_one_part_of_both_tracks(built):
    parts = {}
    for kind in ("all", "clean"):
        for row in load_table(built / f"rruff-{kind}").to_pylist():
            parts.setdefault(row["mineral"], set()).add(row["part"])
            assert row["structure_type"] == row["mineral"]
    assert all(len(found) == 1 for found in parts.values())
    assert {part for found in parts.values() for part in found} == {"dev", "test"}


def test_patterns_are_resampled_and_masked(built):
    track = load_track(built / "rruff-clean", "test")
    other = load_track(built / "rruff-clean", "dev")
    assert isinstance(track, BatchSource)
    assert track.restricted
    by_name = {
        name: (part, row)
        for part in (track, other)
        for row, name in enumerate(part.ids)
    }
    for mineral, points in (("Quartz", 8501), ("Albite", 8501), ("Diopside", 8001)):
        part, row = next(v for n, v in by_name.items() if n.startswith(mineral))
        batch = part.batch(row, 1)
        assert batch.mask.sum() == points
        assert not batch.intensity[~batch.mask].any()
        assert batch.intensity.max() == 1.0
        assert batch.intensity[batch.mask].min() == 0.0
    groups = dict(
        zip(
            load_table(built / "rruff-all")["mineral"].to_pylist(),
            load_table(built / "rruff-all")["space_group"].to_pylist(),
            strict=True,
        )
    )
    assert (groups["Quartz"], groups["Albite"], groups["Mineral1"]) == (154, 2, 225)


def test_the_order_of_files_does_not_matter(built, archives, tmp_path):
    for archive in archives.glob("*.zip"):
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path / "z" / archive.stem[::-1])
    build_rruff_tracks(tmp_path / "z", tmp_path / "out")
    for kind in ("all", "clean"):
        for name in ("table.parquet", "track.json", "public.json", "left_out.tsv"):
            one, two = (f / f"rruff-{kind}" / name for f in (built, tmp_path / "out"))
            assert one.read_bytes() == two.read_bytes()


def test_a_model_is_scored_on_it_by_mineral(built, tmp_path):
    track = load_track(built / "rruff-all", "test")
    frozen = load_track("aflow/prototypes")
    match = SearchMatch(frozen.peaks, frozen.space_group)
    evaluation = evaluate(predict_track(match, track), track, out=tmp_path)
    assert evaluation.counts["crystals"] == len(track)
    assert evaluation.by_peaks == ()
    assert (tmp_path / "report.html").is_file()
    assert evaluation.counts["structure_types"] == len(set(track.structure_type))


def test_as_a_data_set(built):
    rows = load_split(built / "rruff-all", "test", "patterns")
    assert rows[:5]["intensity"].shape == (5, 8501)
    with pytest.raises(SplitError, match="stays where it was built"):
        export_track(built / "rruff-all", Path("out"))


def test_the_list_of_others_marks_its_patterns(archives, tmp_path):
    listed = read_reference_list()
    assert len(listed) == 258
    (mineral, rruff_id), severity = next(iter(listed.items()))
    shutil.copytree(archives, tmp_path / "z")
    name = mineral.capitalize()
    stem = f"{name}__{rruff_id}-1__Powder__"
    with zipfile.ZipFile(tmp_path / "z" / "listed.zip", "w") as archive:
        xy = write_xy(name, f"{rruff_id}-1", seed=99)
        archive.writestr(f"{stem}Xray_Data_XY_RAW__1.txt", xy)
        archive.writestr(f"{stem}DIF_File__1.txt", write_dif(name, "C2/m"))
    build_rruff_tracks(tmp_path / "z", tmp_path / "out")
    rows = load_table(tmp_path / "out" / "rruff-clean").to_pylist()
    marked = {
        row["mineral"]: row["informedxrd_severity"]
        for row in rows
        if row["informedxrd_severity"]
    }
    assert marked == {name: severity}


def test_nothing_to_build_from_is_said(tmp_path):
    with pytest.raises(SourceError, match="no RRUFF patterns"):
        build_rruff_tracks(tmp_path, tmp_path / "out")
