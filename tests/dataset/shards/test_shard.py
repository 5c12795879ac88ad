"""A shard is written whole or not at all, and always as the same bytes."""

import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import ShardRecord, ShardSpan
from pxrdbench.dataset.shards.shard import (
    MEMBER_TYPES,
    ShardWriter,
    draw_block,
    read_block,
    write_shard,
)
from pxrdbench.errors import ShardError

SPAN = ShardSpan(index=2, first=1200, samples=600)


def write(recipe, folder, span=SPAN, **options):
    folder.mkdir(exist_ok=True)
    return list(write_shard(recipe, folder, span, **options))


def test_shard_is_the_same_bytes_every_time(recipe, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write(recipe, first)
    write(Recipe("open-v0", seed=7), second)
    for name in ("shard-000002.tar", "shard-000002.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    write(Recipe("open-v0", seed=8), second)
    name = "shard-000002.tar"
    assert (first / name).read_bytes() != (second / name).read_bytes()


def test_progress_ends_with_the_record(recipe, tmp_path):
    steps = write(recipe, tmp_path, block_samples=64)
    assert [step.samples for step in steps] == [256, 512, 600, 600]
    assert all(step.record is None for step in steps[:-1])
    record = steps[-1].record
    tar = tmp_path / "shard-000002.tar"
    assert (record.first, record.samples) == (1200, 600)
    assert record.bytes == tar.stat().st_size
    assert sum(record.space_group_counts.values()) == 600
    assert len(record.block_offset) == 600 // 64 + 2
    assert record == ShardRecord.from_json(tar.with_suffix(".json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shard-000002.json",
        "shard-000002.tar",
    ]


def test_any_tar_reader_finds_the_documented_members(recipe, tmp_path):
    write(recipe, tmp_path)
    with tarfile.open(tmp_path / "shard-000002.tar") as tar:
        infos = tar.getmembers()
        contents = {info.name: tar.extractfile(info).read() for info in infos}
    assert len(infos) == 3 * 6
    assert {(info.mtime, info.uid, info.mode) for info in infos} == {(0, 0, 0o644)}
    about = json.loads(contents["000000001456.json"])
    assert about["recipe"] == recipe.digest
    arrays = {
        name: np.frombuffer(contents[f"000000001456.{name}"], stored_as)
        for name, stored_as in MEMBER_TYPES.items()
    }
    block, _ = draw_block(recipe, 1456, 256)
    assert (about["first"], about["samples"]) == (1456, 256)
    assert np.array_equal(arrays["space_group"], block.space_group)
    assert np.array_equal(arrays["crystallite_size"], block.crystallite_size_nm)
    for name in ("two_theta", "intensity", "peak_count"):
        assert np.array_equal(arrays[name], block.peaks[name]), name
    assert about["peaks"] == arrays["peak_count"].sum() == len(arrays["two_theta"])


def test_webdataset_reads_the_shards(shards):
    webdataset = pytest.importorskip("webdataset")
    paths = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [
        f"{first:012d}" for first in (0, 256, 512, 600, 856, 1112)
    ]
    assert samples[0]["json"]["samples"] == 256
    groups = np.frombuffer(samples[0]["space_group"], MEMBER_TYPES["space_group"])
    assert len(groups) == 256
    assert groups.min() >= 1
    assert groups.max() <= 230


@pytest.mark.parametrize("reason", ["asked", "size"])
def test_given_up_shard_leaves_nothing(recipe, tmp_path, reason):
    limits = {"asked": {"should_stop": lambda: True}, "size": {"max_bytes": 1000}}
    steps = write(recipe, tmp_path, block_samples=64, **limits[reason])
    assert [step.stopped for step in steps] == [reason]
    assert steps[0].samples == 256
    assert not list(tmp_path.iterdir())


def test_writer_that_fails_leaves_nothing(recipe, tmp_path):
    block, _ = draw_block(recipe, 1200, 256)
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, SPAN, "digest") as writer:
        writer.add(block)
        assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_writer_takes_all_samples_in_order_only(recipe, tmp_path):
    block, _ = draw_block(recipe, 1200, 256)
    with ShardWriter(tmp_path, SPAN, "digest") as writer:
        writer.add(block)
        with pytest.raises(ShardError, match="goes on with sample 1456"):
            writer.add(block)
        with pytest.raises(ShardError, match="256 of 600"):
            writer.commit({})
    assert not list(tmp_path.iterdir())


def test_longer_shard_replaces_a_shorter_one(recipe, tmp_path):
    write(recipe, tmp_path, dataclasses.replace(SPAN, samples=100))
    short = (tmp_path / "shard-000002.tar").read_bytes()
    record = write(recipe, tmp_path)[-1].record
    assert (tmp_path / "shard-000002.tar").stat().st_size == record.bytes > len(short)
    assert ShardRecord.from_json((tmp_path / "shard-000002.json").read_text()) == record


def test_rows_of_a_block_are_its_samples(recipe):
    block, _ = draw_block(recipe, 0, 50)
    alone, _ = draw_block(recipe, 20, 5)
    rows = block.rows(20, 25)
    assert np.array_equal(rows.index, alone.index)
    for name, values in alone.peaks.items():
        assert np.array_equal(rows.peaks[name], values), name
    assert len(block.rows(0, 0)) == 0
    assert len(block.rows(0, 50).peaks["two_theta"]) == len(block.peaks["two_theta"])


def test_damaged_block_is_refused(recipe, tmp_path):
    record = write(recipe, tmp_path)[-1].record
    data = (tmp_path / "shard-000002.tar").read_bytes()[: record.block_offset[1]]
    assert len(read_block(data)) == 256
    for damaged in (data[:3000], b"\0" * 1024, b"no tar at all" * 100):
        with pytest.raises(ShardError, match="damaged"):
            read_block(damaged)


def test_readers_of_the_documentation_find_the_peaks(recipe, shards):
    """The lines of docs/formats.md that read a shard without pxrdbench."""
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(code.replace("shards/NAME", str(shards)), names)  # noqa: S102 - our own page
    peaks = recipe.peaks(3, 1)
    rows = names["peaks_of_sample_3"]
    relative = peaks.intensity / peaks.intensity.max()
    kept = relative >= 1e-6
    assert np.allclose(
        names["two_theta"][rows], peaks.two_theta[kept], rtol=0, atol=1e-7
    )
    assert np.allclose(names["intensity"][rows], relative[kept], rtol=1e-3, atol=3.1e-5)
    assert names["space_group"][3] == recipe.crystals(3, 1).space_group[0]
