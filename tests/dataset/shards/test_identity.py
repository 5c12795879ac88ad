"""A shard is what its name, its record and its set say together, or it is refused."""

import io
import json
import shutil
import tarfile
import zlib

import numpy as np
import pytest

from pxrdbench.dataset.shards.manifest import (
    DATASET_FILE,
    Manifest,
    ShardRecord,
    ShardWarning,
)
from pxrdbench.dataset.shards.rolling import END_FILE, RollingSet
from pxrdbench.dataset.shards.shard import MEMBER_TYPES, read_block
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.errors import PxrdbenchError, ShardError

FIRST, SECOND = "shard-000000", "shard-000001"


@pytest.fixture
def folder(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def assert_refused(folder, match=""):
    with pytest.raises(ShardError, match=match):
        opened = ShardSet(folder)
        opened.batch(0, len(opened))
    assert not verify_shards(folder, sample=0).is_sound


@pytest.mark.parametrize(
    "name",
    [
        "shard-000000 (1).json",  # 12,000 samples of 9,000, and `verify` was content
        "shard-0000000.json",
        "shard-00000.json",
        "shard-000002.json",
        "shard-000000.sync-conflict.json",
        "shard-٠٠٠٠٠٢.json",
        "shard-.json",
    ],
)
def test_copied_record(folder, name):
    shutil.copy(folder / f"{FIRST}.json", folder / name)
    assert_refused(folder)


def test_copied_shard(folder):
    for ending in ("json", "tar"):
        shutil.copy(folder / f"{FIRST}.{ending}", folder / f"shard-000002.{ending}")
    edit(folder / "shard-000002.json", name="shard-000002", index=2)
    assert_refused(folder)
    edit(folder / "shard-000002.json", first=1200)
    assert_refused(folder, "not where it should be")


@pytest.mark.parametrize(
    "values",
    [
        {"block_samples": 0},
        {"block_samples": -256},
        {"block_samples": 10**9},
        {"block_samples": True},
        {"block_samples": 256.0},
        {"block_samples": "256"},
        {"block_samples": 100},
        {"shard_samples": 0},
        {"shard_samples": 3},
        {"shard_samples": 10**15},
        {"layout_version": True},
        {"layout_version": [2]},
        {"recipe_digest": "0" * 64},
    ],
)
def test_layout(folder, values):
    edit(folder / DATASET_FILE, **values)
    with pytest.raises(PxrdbenchError):
        ShardSet(folder).batch(0, 5)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 10**5, b'{"a":1,"a":1}'])
def test_description_that_is_none(folder, text):
    (folder / DATASET_FILE).write_bytes(text)
    with pytest.raises(ShardError):
        Manifest.read(folder)
    (folder / DATASET_FILE).unlink()
    shutil.copy(folder / f"{FIRST}.json", folder / DATASET_FILE)
    with pytest.raises(PxrdbenchError):
        Manifest.read(folder)


RECORDS = [
    {"samples": 0},
    {"samples": 601},
    {"samples": 10**30},
    {"samples": 599},
    {"first": 1},
    {"index": -1},
    {"index": 1},
    {"index": 10**18},
    {"name": "../shard-000000"},
    {"name": "shard-000001"},
    {"bytes": -1},
    {"block_offset": []},
    {"block_offset": [0, 0, 0, 0]},
    {"block_offset": [0, 10**9, 10**12, 10**15]},
    {"block_offset": [0, -5, 10, 20]},
    {"block_offset": [0, 1.5, 2, 3]},
    {"block_offset": {"0": 1}},
    {"block_crc32": [0, 0, 0]},
    {"block_crc32": [0]},
    {"block_crc32": ["a", "b", "c"]},
    {"space_group_counts": {}},
    {"space_group_counts": {"0": 600}},
    {"space_group_counts": {"231": 600}},
    {"space_group_counts": {"1": 700, "2": -100}},
    {"space_group_counts": {"x": 600}},
    {"space_group_counts": {"1": 600.0}},
    {"sha256": 5},
    {"retired": "no"},
    {"unknown": 1},
    {"made_with": None},
]


@pytest.mark.parametrize("values", RECORDS, ids=range(len(RECORDS)))
def test_record(folder, values):
    edit(folder / f"{FIRST}.json", **values)
    assert_refused(folder)


def test_every_flipped_byte_of_a_block_is_an_error_when_it_is_read(folder):
    """50 of 60 flips were served without a word."""
    rng = np.random.default_rng(7)
    tar, served = folder / f"{SECOND}.tar", 0
    whole = tar.read_bytes()
    last = ShardRecord.from_json((folder / f"{SECOND}.json").read_text()).block_offset[
        -1
    ]
    for place in rng.integers(last, size=60).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        tar.write_bytes(damaged)
        for reader in (ShardSet(folder), RollingSet(folder, patience=0.1)):
            try:
                for start in (600, 856, 1112):
                    reader.batch(start, 8)
                served += 1
            except ShardError as error:
                assert "changed" in str(error)
    assert served == 0


def test_flips_of_older_sets_never_reach_a_kernel_unchecked(folder):
    for name in (FIRST, SECOND):
        path = folder / f"{name}.json"
        record = json.loads(path.read_text())
        del record["block_crc32"]
        path.write_text(json.dumps(record))
    edit(folder / DATASET_FILE, layout_version=1)
    assert len(ShardSet(folder)) == 1200
    assert verify_shards(folder, sample=0).is_sound
    whole, rng = (folder / f"{FIRST}.tar").read_bytes(), np.random.default_rng(3)
    for place in rng.integers(3000, size=40).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 0x80
        (folder / f"{FIRST}.tar").write_bytes(damaged)
        try:
            batch = ShardSet(folder).batch(0, 256)
        except ShardError:
            continue
        assert ((batch.space_group >= 1) & (batch.space_group <= 230)).all()


def make_block(shards, change):
    """A block with other contents, as a tar of its own, and as bytes of members."""
    record = ShardRecord.from_json((shards / f"{FIRST}.json").read_text())
    data = (shards / f"{FIRST}.tar").read_bytes()[: record.block_offset[1]]
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        members = {i.name.partition(".")[2]: tar.extractfile(i).read() for i in tar}
    arrays = {n: np.frombuffer(members[n], t).copy() for n, t in MEMBER_TYPES.items()}
    about = json.loads(members["json"])
    change(about, arrays)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (
            ("json", json.dumps(about).encode()),
            *((n, a.tobytes()) for n, a in arrays.items()),
        ):
            info = tarfile.TarInfo(f"000000000000.{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        end = tar.offset
    return file.getvalue()[:end]


def put(name, place, value):
    def change(about, arrays):
        arrays[name][place] = value

    return change


BLOCKS = [
    put("space_group", 3, 0),
    put("space_group", 3, 231),
    put("space_group", 3, 65535),
    put("crystallite_size", 3, np.nan),
    put("crystallite_size", 3, -1.0),
    put("peak_count", 3, 2**32 - 1),
    put("peak_count", slice(None), 0),
    put("two_theta", 3, 2**32 - 1),
    put("two_theta", 3, 0),
    lambda about, arrays: about.update(first=-1),
    lambda about, arrays: about.update(first=2**63),
    lambda about, arrays: about.update(first=True),
    lambda about, arrays: about.update(first="0"),
    lambda about, arrays: about.update(samples=255),
    lambda about, arrays: about.update(peaks=1),
    lambda about, arrays: about.update(wavelength=0.0),
    lambda about, arrays: about.update(wavelength="1"),
    lambda about, arrays: about.update(wavelength=1e300),
    lambda about, arrays: about.update(recipe="0"),
    lambda about, arrays: arrays.pop("intensity"),
    lambda about, arrays: arrays.update(intensity=arrays["intensity"][:-1]),
    lambda about, arrays: arrays.update(space_group=arrays["space_group"][:0]),
]


@pytest.mark.parametrize("change", BLOCKS, ids=range(len(BLOCKS)))
def test_block_of_a_stranger(shards, folder, change):
    """A stranger writes the checksums too."""
    digest = ShardRecord.from_json((shards / f"{FIRST}.json").read_text()).recipe
    assert len(read_block(make_block(shards, lambda *_: None), digest)) == 256
    data = make_block(shards, change)
    with pytest.raises(ShardError):
        read_block(data, digest)
    edit(folder / f"{FIRST}.json", block_crc32=[zlib.crc32(data), 0, 0])
    with pytest.raises(ShardError):
        ShardSet(folder).batch(0, 1)


def test_a_gap_is_said(folder):
    for ending in ("json", "tar"):
        (folder / f"{FIRST}.{ending}").unlink()
    with pytest.warns(ShardWarning, match="shard-000000 is not there: 600 samples"):
        ShardSet(folder)
    with pytest.warns(ShardWarning, match="shard-000000 is not there"):
        assert verify_shards(
            folder, sample=0
        ).is_sound  # a run that can be gone on with
    (folder / END_FILE).write_text('{"samples": 1200}')
    problem = verify_shards(folder, sample=0).problems[0]
    assert problem.startswith("shard-000000: it is not there")


def test_the_last_shard_that_is_missing_is_said(folder):
    (folder / END_FILE).write_text('{"samples": 1200}')
    assert len(ShardSet(folder)) == 1200
    for ending in ("json", "tar"):
        (folder / f"{SECOND}.{ending}").unlink()
    with pytest.warns(ShardWarning, match="written with 1,200 samples: 600 samples"):
        ShardSet(folder)
    assert "600 are there" in verify_shards(folder, sample=0).problems[0]


@pytest.mark.parametrize("text", ["", "[]", '{"samples": -1}', '{"samples": "1"}'])
def test_end_that_is_none(folder, text):
    (folder / END_FILE).write_text(text)
    with pytest.raises(ShardError, match="damaged"):
        ShardSet(folder)


def test_a_gap_of_any_size_takes_no_time(folder):
    for ending in ("json", "tar"):
        (folder / f"{FIRST}.{ending}").unlink()
        path = folder / f"{SECOND}.{ending}"
        path.rename(folder / f"shard-99999999.{ending}")
    index = 99999999
    record = {"name": f"shard-{index}", "index": index, "first": 600 * index}
    edit(folder / f"shard-{index}.json", **record)
    with pytest.warns(ShardWarning, match="and 999 more"):
        ShardSet(folder)
