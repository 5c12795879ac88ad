"""Exported tracks open with programs that know nothing of this package."""

import json

import mlcroissant
import numpy as np
import pytest

from pxrdbench.errors import SplitError
from pxrdbench.tracks.export import export_track
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    CHRONOLOGICAL_TRACK,
    available_tracks,
    load_record,
    load_track,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "track"
    export_track(CHRONOLOGICAL_TRACK, folder)
    return folder


def test_it_opens_with_plain_datasets(exported, tmp_path):
    import datasets

    loaded = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    frozen = load_track(CHRONOLOGICAL_TRACK, "test")
    assert loaded["test"]["id"][:] == list(frozen.ids)
    row, stop = loaded["test"][3], frozen.peaks.peak_offset
    assert row["two_theta"] == frozen.peaks.two_theta[stop[3] : stop[4]].tolist()
    assert row["crystallite_size_nm"] == frozen.crystallite_size_nm[3]
    every = datasets.load_dataset(str(exported), "crystals", cache_dir=str(tmp_path))
    counts = load_record(CHRONOLOGICAL_TRACK)["parts"]
    assert {part: rows.num_rows for part, rows in every.items()} == {
        part: count["crystals"] for part, count in counts.items()
    }


@pytest.mark.parametrize("track", available_tracks())
def test_every_track_has_a_valid_croissant(track, tmp_path):
    export_track(track, tmp_path / "out")
    dataset = mlcroissant.Dataset(tmp_path / "out" / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert described["citeAs"] == "; ".join(load_record(track)["attributions"])


def test_croissant_gives_the_rows(exported):
    dataset = mlcroissant.Dataset(exported / "croissant.json")
    rows = list(dataset.records("peaks/dev"))
    frozen = load_track(CHRONOLOGICAL_TRACK, "dev")
    assert [r["peaks/dev/id"].decode() for r in rows] == list(frozen.ids)
    groups = [int(row["peaks/dev/space_group"]) for row in rows]
    assert np.array_equal(groups, frozen.space_group)


def test_an_export_is_the_same_each_time(exported, tmp_path):
    export_track(CHRONOLOGICAL_TRACK, tmp_path / "again")
    files = [p.relative_to(exported) for p in exported.rglob("*") if p.is_file()]
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (
            exported / name
        ).read_bytes()


def test_nothing_is_overwritten(exported):
    with pytest.raises(SplitError, match="is not empty"):
        export_track(AFLOW_TRACK, exported)
