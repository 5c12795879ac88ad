"""Cards and Croissant: what programs that are not ours make of them."""

import json

import mlcroissant
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pxrdbench.dataset.export.card import (
    Column,
    DataCard,
    DataConfig,
    describe_file,
    make_features,
    write_card,
)
from pxrdbench.dataset.export.croissant import write_croissant
from pxrdbench.errors import SplitError

COLUMNS = (
    Column("id", "string", "Name."),
    Column("space_group", "int64", "Label.", classes=("P1", "P-1", "P2")),
    Column("two_theta", "float64", "Angles 2θ [degrees].", is_list=True),
    Column("size", "float32", "Size | nm."),
)


def write_part(folder, name, ids):
    table = pyarrow.table(
        {
            "id": ids,
            "space_group": pyarrow.array([n % 3 for n in range(len(ids))], "int64"),
            "two_theta": [[10.0 + n, 20.0] for n in range(len(ids))],
            "size": pyarrow.array(np.arange(len(ids)), "float32"),
        }
    )
    path = folder / "data" / name
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(table, path)
    return f"data/{name}"


@pytest.fixture
def card(tmp_path):
    files = [
        describe_file(tmp_path, write_part(tmp_path, name, ids), split, len(ids))
        for name, split, ids in (
            ("test-0.parquet", "test", ["a", "b"]),
            ("test-1.parquet", "test", ["c"]),
            ("dev-0.parquet", "dev", ["d"]),
        )
    ]
    return DataCard(
        name="some-data",
        title="Some data",
        description="Rows to try things on.",
        licence="CC-BY-4.0",
        version="1.0.0",
        configs=(DataConfig("peaks", "Peak lists.", COLUMNS, tuple(files)),),
        attributions=("Someone (2020)",),
        released="2026-11-22",
        limitations=("It is small.",),
    )


def test_the_folder_opens_with_plain_datasets(card, tmp_path):
    import datasets

    write_card(tmp_path, card)
    loaded = datasets.load_dataset(
        str(tmp_path), cache_dir=str(tmp_path.parent / "cache")
    )
    assert {name: part["id"][:] for name, part in loaded.items()} == {
        "test": ["a", "b", "c"],
        "dev": ["d"],
    }
    assert loaded["test"].features == make_features(COLUMNS)
    assert loaded["test"].features["space_group"].names == ["P1", "P-1", "P2"]
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "license: cc-by-4.0" in text
    assert "Size \\| nm." in text


def test_croissant_is_valid_and_gives_every_record(card, tmp_path):
    path = write_croissant(tmp_path, card)
    dataset = mlcroissant.Dataset(path)
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    rows = list(dataset.records("peaks/test"))
    assert [row["peaks/test/id"] for row in rows] == [b"a", b"b", b"c"]
    assert rows[1]["peaks/test/two_theta"] == [11.0, 20.0]
    assert [row["peaks/dev/id"] for row in dataset.records("peaks/dev")] == [b"d"]


def test_a_changed_file_no_longer_fits_its_croissant(card, tmp_path):
    path = write_croissant(tmp_path, card)
    write_part(tmp_path, "dev-0.parquet", ["e"])
    with pytest.raises(Exception, match=r"data/dev-0\.parquet") as caught:
        list(mlcroissant.Dataset(path).records("peaks/dev"))
    assert "is not identical" in str(caught.value.__cause__)


def test_what_is_restricted_says_so(card, tmp_path):
    from dataclasses import replace

    write_card(tmp_path, replace(card, restricted=True))
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "license: other" in text
    assert "**Restricted.**" in text


def test_equal_cards_give_equal_bytes(card, tmp_path):
    for write in (write_card, write_croissant):
        first = write(tmp_path, card).read_bytes()
        assert write(tmp_path, card).read_bytes() == first


def test_an_archive_of_samples_needs_no_columns(card, tmp_path):
    (tmp_path / "shard.tar").write_bytes(b"\0" * 10240)
    file = describe_file(tmp_path, "shard.tar", "train", 500)
    bare = DataCard(
        "s", "S", "D.", "MIT", "1.0.0", (DataConfig("default", "Shards.", (), (file,)),)
    )
    written = json.loads(write_croissant(tmp_path, bare).read_text("utf-8"))
    assert [f["sha256"] for f in written["distribution"]] == [file.sha256]
    assert not mlcroissant.Dataset(tmp_path / "croissant.json").metadata.record_sets
    write_card(tmp_path, bare)


def test_bad_cards_are_refused(tmp_path):
    with pytest.raises(SplitError, match="'complex'; known are string"):
        Column("x", "complex", "")
    with pytest.raises(SplitError, match="there is no file"):
        describe_file(tmp_path, "nothing.parquet", "test", 0)
