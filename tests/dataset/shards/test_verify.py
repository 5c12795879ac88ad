"""Verification finds what is wrong, and nothing else."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.dataset.shards.manifest import Manifest, ShardRecord
from pxrdbench.dataset.shards.shard import Block, ShardWriter, read_block
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.errors import RecipeError


@pytest.fixture
def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def rewrite(folder, change):
    """Write the first shard anew with a block that is not the recipe's."""
    manifest = Manifest.read(folder)
    record = manifest.records[0]
    data = (folder / "shard-000000.tar").read_bytes()
    spans = zip(record.block_offset[:-1], record.block_offset[1:], strict=True)
    blocks = [read_block(data[first:last]) for first, last in spans]
    from pxrdbench.dataset.shards.manifest import ShardSpan

    span = ShardSpan.of(0, manifest.shard_samples)
    with ShardWriter(folder, span, manifest.card.digest) as writer:
        for block in blocks:
            writer.add(change(block))
        writer.commit({})


def with_peaks(block, **arrays):
    return Block(
        block.index, block.space_group, block.crystallite_size_nm, block.peaks | arrays
    )


def test_sound_set_is_sound(shards):
    steps = []
    report = verify_shards(
        shards, sample=500, on_progress=lambda *step: steps.append(step)
    )
    assert report.is_sound
    assert (report.shards, report.samples) == (2, 1200)
    assert report.redrawn == report.identical == 256 + 88 + 88
    assert report.leftovers == ()
    assert steps == [(1, 2), (2, 2)]


def test_changed_byte_is_found(copy):
    tar = copy / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    report = verify_shards(copy, sample=0)
    assert not report.is_sound
    assert report.redrawn == 0
    assert ["shard-000001" in p and "changed" in p for p in report.problems] == [True]


def test_lost_shard_is_found(copy):
    (copy / "shard-000000.tar").unlink()
    report = verify_shards(copy, sample=0)
    assert report.problems == (
        "shard-000000: there is a record, but no tar of that size",
    )


def test_leftovers_are_no_problem(copy):
    (copy / "shard-000007.tar").write_bytes(b"")
    (copy / "shard-000001.tar.abc.part").write_bytes(b"")
    report = verify_shards(copy, sample=0)
    assert report.is_sound
    assert report.leftovers == ("shard-000001.tar.abc.part", "shard-000007.tar")


def test_other_peaks_are_found_in_a_shard_with_a_true_checksum(copy):
    def move(block):
        two_theta = block.peaks["two_theta"].copy()
        two_theta[10] += 2
        return with_peaks(block, two_theta=two_theta)

    rewrite(copy, move)
    report = verify_shards(copy, sample=1200)
    assert report.redrawn == 1200
    assert report.identical == 1200 - 3
    assert len(report.problems) == 3
    assert all("other peaks" in problem for problem in report.problems)


def test_last_unit_may_differ(copy):
    """On another processor a number may round to the neighbouring unit."""

    def nudge(block):
        code = block.peaks["intensity"]
        return with_peaks(block, intensity=np.where(code > 100, code - 1, code))

    rewrite(copy, nudge)
    report = verify_shards(copy, sample=1200)
    assert report.is_sound
    assert report.identical == 600


def test_weakest_peak_may_be_missing(copy):
    def drop(block):
        codes = block.peaks["intensity"].copy()
        first = int(block.peaks["peak_count"][0])
        weakest = int(np.argmin(codes[:first]))
        counts = block.peaks["peak_count"].copy()
        counts[0] -= 1
        return with_peaks(
            block,
            two_theta=np.delete(block.peaks["two_theta"], weakest),
            intensity=np.delete(codes, weakest),
            peak_count=counts,
        )

    rewrite(copy, drop)
    # None of these weakest peaks is at the floor, so the loss is seen.
    assert len(verify_shards(copy, sample=600).problems) >= 1


@pytest.mark.parametrize("field", ["space_group", "crystallite_size_nm"])
def test_other_labels_are_found(copy, field):
    def change(block):
        values = {
            "index": block.index,
            "space_group": block.space_group,
            "crystallite_size_nm": block.crystallite_size_nm,
            "peaks": block.peaks,
        }
        values[field] = np.roll(values[field], 1)
        return Block(**values)

    rewrite(copy, change)
    report = verify_shards(copy, sample=1)
    assert not report.is_sound
    assert "other" in report.problems[0]


def test_record_that_does_not_add_up_is_found(copy):
    path = copy / "shard-000001.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"first": 5}))
    assert "do not belong to shard-000001" in verify_shards(copy, sample=0).problems[0]
    path.write_text(json.dumps(record | {"space_group_counts": {"1": 3}}))
    assert "do not add up" in verify_shards(copy, sample=0).problems[0]


def test_record_sum_is_that_of_any_tool(shards):
    record = ShardRecord.from_json((shards / "shard-000000.json").read_text())
    data = (shards / "shard-000000.tar").read_bytes()
    assert hashlib.sha256(data).hexdigest() == record.sha256


def test_other_prior_is_refused(shards):
    from dataclasses import replace

    other = replace(load_prior("open-v0"), name="another")
    with pytest.raises(RecipeError, match="prior"):
        verify_shards(shards, prior=other)
