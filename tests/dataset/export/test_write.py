"""Exports open without pxrdbench, whole or not at all, and the same every time."""

import hashlib
import json
import shutil

import h5py
import numpy as np
import pytest
from small_sets import write_set

from pxrdbench.dataset.export import write as export_module
from pxrdbench.dataset.export.write import ENDINGS, ExportConfig, export_shards
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.diffraction.measurement.measurement import (
    Measurement,
    PartialRange,
    ZeroShift,
)
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ShardError

GRID = TwoThetaGrid(10.0, 60.0, 501)
HALF_STEP = 0.5 / 65535 + 1e-7


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two shards of 600 samples on a short grid."""
    recipe = Recipe("open-v0", seed=7, grid=GRID)
    return write_set(recipe, tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture(scope="module")
def exports(small, tmp_path_factory):
    """The set in every format."""
    root = tmp_path_factory.mktemp("exports")
    for name in ENDINGS:
        export_shards(ExportConfig(small, root / name, name))
    return root


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != ".lock"
    }


def check(rows, small):
    """Rows of (index, space_group, size, pattern) against the set."""
    expected = ShardSet(small).batch(0, 1200)
    index, group, size, pattern = (np.array(c) for c in zip(*rows, strict=True))
    assert np.array_equal(index, expected.index)
    assert np.array_equal(group, expected.space_group)
    assert np.allclose(size, expected.crystallite_size_nm, rtol=1e-6)
    assert np.abs(pattern / 65535 - expected.intensity).max() <= HALF_STEP


@pytest.mark.parametrize("streaming", [True, False])
def test_parquet_opens_with_datasets_alone(exports, small, tmp_path, streaming):
    import datasets

    rows = datasets.load_dataset(
        str(exports / "parquet"),
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path),
    )
    assert [f.dtype for f in rows.features.values()] == [
        "int64", "int16", "float32", "binary",
    ]  # fmt: skip
    check(
        [
            (
                row["index"],
                row["space_group"],
                row["crystallite_size_nm"],
                np.frombuffer(row["intensity"], "<u2"),
            )
            for row in rows
        ],
        small,
    )


def test_tars_open_with_webdataset_alone(exports, small):
    import webdataset

    files = [str(path) for path in sorted((exports / "webdataset").glob("*.tar"))]
    assert len(files) == 2
    rows = webdataset.WebDataset(files, shardshuffle=False).decode()
    check(
        [
            (
                row["json"]["index"],
                row["json"]["space_group"],
                row["json"]["crystallite_size_nm"],
                row["npy"],
            )
            for row in rows
        ],
        small,
    )


def test_tars_open_with_datasets_too(exports, tmp_path):
    import datasets

    rows = datasets.load_dataset(
        str(exports / "webdataset"), split="train", streaming=True
    )
    row = next(iter(rows))
    assert row["json"]["index"] == 0
    assert len(row["npy"]) == GRID.points


def test_hdf5_gives_any_row(exports, small):
    expected = ShardSet(small).batch(0, 1200)
    with h5py.File(exports / "hdf5" / "samples.h5") as file:
        for row in (1199, 3, 600, 599):
            assert file["space_group"][row] == expected.space_group[row]
            pattern = file["intensity"][row] / 65535
            assert np.abs(pattern - expected.intensity[row]).max() <= HALF_STEP
        assert file["intensity"].attrs["scale"] == 65535
        assert np.array_equal(file["index"][:], expected.index)
    with h5py.File(exports / "hdf5" / "samples-000001.h5") as file:
        assert file["index"][0] == 600
        assert file["intensity"].chunks is None  # mapped as it lies


@pytest.mark.parametrize("name", ENDINGS)
def test_the_same_shards_give_the_same_bytes(name, exports, small, tmp_path):
    export_shards(ExportConfig(small, tmp_path / "again", name))
    assert digests(tmp_path / "again") == digests(exports / name)


@pytest.mark.parametrize("name", ENDINGS)
def test_croissant_is_valid_and_leads_to_the_files(name, exports):
    import mlcroissant

    path = exports / name / "croissant.json"
    dataset = mlcroissant.Dataset(str(path))
    assert not dataset.metadata.ctx.issues.errors
    described = json.loads(path.read_text())["distribution"]
    files = {f["contentUrl"]: f["sha256"] for f in described if "contentUrl" in f}
    endings = {n: d for n, d in digests(exports / name).items() if n in files}
    assert files == endings
    assert len(files) == 2
    if name == "parquet":
        first = next(iter(dataset.records("default/train")))
        assert first["default/train/index"] == 0
        assert first["default/train/space_group"] in range(1, 231)


def test_an_interrupted_export_goes_on(small, exports, tmp_path, monkeypatch):
    out = tmp_path / "out"
    seen = []

    def stop(done, total):
        seen.append(done)
        if done > 600:
            raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "_ROWS", 256)
    with pytest.raises(KeyboardInterrupt):
        export_shards(ExportConfig(small, out), stop)
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock", "export.json", "samples-000000.parquet",
    ]  # fmt: skip
    (out / "samples-000001.parquet.0.part").write_bytes(b"of a run that was killed")
    monkeypatch.undo()
    report = export_shards(ExportConfig(small, out))
    assert (report.files, report.files_new, report.samples) == (2, 1, 1200)
    assert seen == sorted(seen)
    theirs = {n: d for n, d in digests(exports / "parquet").items() if "1." in n}
    ours = digests(out)
    assert theirs.items() <= ours.items()
    assert not any(n.endswith(".part") for n in ours)
    assert export_shards(ExportConfig(small, out)).files_new == 0


def test_a_set_that_has_grown_adds_files(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "set")
    (folder / "shard-000001.json").rename(tmp_path / "aside.json")
    out = tmp_path / "out"
    assert export_shards(ExportConfig(folder, out)).files == 1
    (tmp_path / "aside.json").rename(folder / "shard-000001.json")
    report = export_shards(ExportConfig(folder, out))
    assert (report.files, report.files_new) == (2, 1)


def test_a_part_of_the_samples(small, tmp_path):
    report = export_shards(ExportConfig(small, tmp_path, "hdf5", samples=650))
    assert (report.samples, report.files) == (650, 2)
    with h5py.File(tmp_path / "samples.h5") as file:
        assert file["index"][-1] == 649
    with pytest.raises(ShardError, match="made of other samples"):
        export_shards(ExportConfig(small, tmp_path, "hdf5", samples=700))


def test_another_export_is_not_mixed_in(small, tmp_path):
    export_shards(ExportConfig(small, tmp_path, samples=10))
    with pytest.raises(ShardError, match="another format"):
        export_shards(ExportConfig(small, tmp_path, "hdf5", samples=10))
    shifted = Measurement((ZeroShift(),))
    with pytest.raises(ShardError, match="another measurement"):
        export_shards(ExportConfig(small, tmp_path, samples=10, measurement=shifted))


def test_a_partial_range_says_what_was_measured(small, tmp_path):
    import pyarrow.parquet as pq

    partial = Measurement((PartialRange((10.0, 20.0), (40.0, 60.0)),))
    export_shards(ExportConfig(small, tmp_path, samples=40, measurement=partial))
    rows = pq.read_table(tmp_path / "samples-000000.parquet").to_pylist()
    mask = ShardSet(small, measurement=partial).batch(0, 40).mask
    for row, measured in zip(rows, mask, strict=True):
        expected = np.zeros(GRID.points, bool)
        expected[row["measured_from"] : row["measured_to"]] = True
        assert np.array_equal(expected, measured)


def test_a_reader_sees_nothing_of_what_is_not_there(small, tmp_path):
    with pytest.raises(ShardError, match="unknown format 'csv'"):
        ExportConfig(small, tmp_path, "csv")
    with pytest.raises(ShardError, match="holds 1,200 samples, 5,000 are wanted"):
        export_shards(ExportConfig(small, tmp_path, samples=5000))
    with pytest.raises(ShardError, match="no data set"):
        export_shards(ExportConfig(tmp_path / "nowhere", tmp_path))
    (tmp_path / "strange.parquet").touch()
    with pytest.raises(ShardError, match="another program"):
        export_shards(ExportConfig(small, tmp_path))


def test_a_damaged_shard_leaves_no_file(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "set")
    with (folder / "shard-000001.tar").open("r+b") as file:
        file.write(bytes(1000))
    with pytest.raises(ShardError, match=r"shard-000001\.tar cannot be read"):
        export_shards(ExportConfig(folder, tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {".lock", "export.json", "samples-000000.parquet"}


def test_a_full_disk_is_told_in_a_sentence(small, tmp_path, monkeypatch):
    import errno

    def write(path, batches):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_module, "write_parquet", write)
    with pytest.raises(ShardError, match=r"cannot be written \(No space left"):
        export_shards(ExportConfig(small, tmp_path))
    assert not list(tmp_path.glob("samples*"))


def test_restricted_samples_are_not_exported_by_mistake(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ShardSet,
        "card",
        property(lambda self: _restricted(self.manifest.card)),
    )
    with pytest.raises(ShardError, match="--allow-restricted"):
        export_shards(ExportConfig(small, tmp_path))
    export_shards(ExportConfig(small, tmp_path, samples=5, allow_restricted=True))
    text = (tmp_path / "README.md").read_text()
    assert "**Restricted.**" in text
    assert "cc-by" not in text


def _restricted(card: RecipeCard) -> RecipeCard:
    import dataclasses

    return dataclasses.replace(card, restricted=True)
