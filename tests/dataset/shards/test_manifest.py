"""The manifest is the fold of the records, and files appear whole."""

import json
import shutil

import pytest

from pxrdbench.dataset.shards.manifest import (
    DATASET_FILE,
    Manifest,
    ShardRecord,
    ShardSpan,
)
from pxrdbench.errors import RecipeError, ShardError
from pxrdbench.files import write_atomically


def test_spans_tile_the_recipe():
    spans = [ShardSpan.of(index, 700, 3000) for index in range(5)]
    assert [span.first for span in spans] == [0, 700, 1400, 2100, 2800]
    assert [span.samples for span in spans] == [700, 700, 700, 700, 200]
    assert ShardSpan.of(9, 700, 3000).samples == 0
    assert spans[4].name == "shard-000004"


def test_manifest_adds_the_records_up(recipe, shards):
    manifest = Manifest.read(shards)
    assert manifest.card == recipe.card
    assert [record.name for record in manifest.records] == [
        "shard-000000",
        "shard-000001",
    ]
    assert manifest.samples == 1200
    assert manifest.bytes == sum(p.stat().st_size for p in shards.glob("*.tar"))
    counts = manifest.space_group_counts
    assert sum(counts.values()) == 1200
    assert list(counts) == sorted(counts)
    assert set(counts) <= set(recipe.space_groups)


def test_shard_without_its_tar_does_not_count(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    (folder / "shard-000000.tar").unlink()
    manifest = Manifest.read(folder)
    assert manifest.missing == ("shard-000000",)
    assert [record.index for record in manifest.records] == [1]
    tar = folder / "shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    assert Manifest.read(folder).records == ()


def test_folder_without_a_data_set_is_refused(tmp_path):
    with pytest.raises(ShardError, match="holds no data set"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layout_version": 99}, ShardError, "layout 99"),
        ({"recipe": {"schema_version": 0}}, RecipeError, "schema version 0"),
        ({"recipe": None}, RecipeError, "no recipe"),
        ({"shard_samples": None}, ShardError, "damaged"),
    ],
)
def test_foreign_description_is_refused(shards, tmp_path, change, error, message):
    folder = shutil.copytree(shards, tmp_path / "copy")
    path = folder / DATASET_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=message):
        Manifest.read(folder)


def test_record_of_another_recipe_is_refused(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "copy")
    path = folder / "shard-000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe": "f" * 64}))
    with pytest.raises(ShardError, match="belongs to the recipe ffff"):
        Manifest.read(folder)


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", '{"name": 1}'])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(ShardError, match="no record"):
        ShardRecord.from_json(text)


def test_atomic_write_replaces_or_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"lost")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
