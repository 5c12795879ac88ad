"""What comes from outside is bounded and read one way."""

import io
import json
import zipfile

import numpy as np
import pytest

from pxrdbench.errors import EvaluationError, PxrdbenchError, ShardError
from pxrdbench.outside import (
    DAMAGES,
    check_array,
    guard,
    one_line,
    parse_strict_json,
    read_arrays,
    read_strict_json,
)

HOSTILE = [
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"a": ' + "[" * 40 + "]" * 40 + "}",
    '{"a": 1' + "0" * 400 + "}",
    '{"a": 1' + "0" * 100_000 + "}",
    '{"a": 18446744073709551616}',
    '{"a": 1e999}',
    '{"a": -1e999}',
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": "\\ud800"}',
    '{"\\udfff": 1}',
    '{"a": [["x\\udc00"]]}',
    '{"a": 1, "a": 2}',
    "[]",
    "1",
    "",
    "\ufeff{}",
    b"\xff\xfe{}",
    b'{"a": "\xed\xa0\x80"}',
    '{"a": "\x00"}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json(text):
    with pytest.raises(EvaluationError, match="mine"):
        parse_strict_json(text, "mine")


def test_honest_json():
    text = '{"a": 18446744073709551615, "ü": "\\ud83d\\ude00"}'
    assert parse_strict_json(text, "mine")["ü"] == "\N{GRINNING FACE}"


def test_files_are_bounded(tmp_path):
    (tmp_path / "large").write_text(" " * 3_000_000)
    (tmp_path / "folder").mkdir()
    for name in ("large", "folder", "none"):
        with pytest.raises(ShardError):
            read_strict_json(tmp_path / name, ShardError)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_sentence(damage):
    arguments = ("utf-8", b"", 0, 1, "x") if damage is UnicodeDecodeError else ("x\ny",)
    with pytest.raises(ShardError) as caught, guard(ShardError, "mine"):
        raise damage(*arguments)
    assert "\n" not in str(caught.value)


def test_own_errors_and_interrupts_stay():
    for error in (EvaluationError, KeyboardInterrupt):
        with pytest.raises(error), guard(ShardError, "mine"):
            raise error("x")


def test_a_terminal_is_not_acted_upon():
    shown = one_line("a\x1b[2J\x07\u202eb\nc" + "d" * 10_000)
    assert shown.isprintable()
    assert len(shown) == 300


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.0, np.nan]),
        np.array([1.0, np.inf]),
        np.array([-1.0, 1.0]),
        np.array([1, 2]),
        np.array([1.0, 2.0], ">f8"),
        np.array([[1.0, 2.0]]),
        np.array([1.0]),
        [1.0, 2.0],
    ],
)
def test_arrays(array):
    check_array("a", np.array([0.5, 2.0]), "f", (2,), 0.0, 2.0)
    with pytest.raises(ValueError):
        check_array("a", array, "f", (2,), 0.0, 2.0)


def test_arrays_are_those_of_numpy(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array("about"),
        "empty": np.zeros((0, 4)),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz", 10_000)
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[n], arrays[n]) for n in arrays)
    with pytest.raises(ValueError, match="at most"):
        read_arrays(tmp_path / "a.npz", 100)


def test_entry_twice_or_packed_otherwise():
    for method, names in (
        (zipfile.ZIP_LZMA, ["a.npy"]),
        (zipfile.ZIP_BZIP2, ["a.npy"]),
        (zipfile.ZIP_STORED, ["a.npy", "a.npy"]),
    ):
        file, array = io.BytesIO(), io.BytesIO()
        np.save(array, np.zeros(5))
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in names:
                archive.writestr(name, array.getvalue())
        file.seek(0)
        with pytest.raises(ValueError):
            read_arrays(file, 10_000)


def test_json_round_trip_of_numbers():
    record = {"a": [0, -1, 2**63, 0.1, 1e-320]}
    assert parse_strict_json(json.dumps(record), "mine") == record


def test_errors_are_ours():
    with pytest.raises(PxrdbenchError):
        parse_strict_json("{", "mine")
