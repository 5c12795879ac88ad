"""Every reader of somebody's JSON takes it through the one strict reader."""

import ast
import json
from pathlib import Path

import pytest

from pxrdbench.benchmark.leaderboard.hub_results import write_eval_results
from pxrdbench.cli.split import build_compare
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PxrdbenchError
from pxrdbench.prediction.known import _read_prior_file
from pxrdbench.prediction.simulation.instrument import Instrument
from pxrdbench.sources.structures.parts import read_record
from pxrdbench.studies.leakage_report import load_report
from pxrdbench.studies.robustness import read_robustness
from pxrdbench.tracks.learnt import Learnt, sidecar_of

PACKAGE = Path(__file__).parents[1] / "pxrdbench"

# What a plain json.loads lets through, or answers with another error than ValueError.
BAD = {
    "no object": b"[1, 2]",
    "a name twice": b'{"format": 1, "format": 2}',
    "no number": b'{"format": NaN}',
    "beyond a float": b'{"format": 1e999}',
    "beyond 64 bits": b'{"format": 1' + b"0" * 400 + b"}",
    "nested": b'{"format": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "half of a character": b'{"format": "\\ud800"}',
    "no UTF-8": b'{"format": "\xff"}',
    "cut": b'{"format": ',
    "empty": b"",
    "another": b'{"format": "something else"}',
}

READERS = {
    "instrument": Instrument.read,
    "known prior": _read_prior_file,
    "learnt": Learnt._read,
    "robustness": read_robustness,
    "import": read_record,
    "recipe": lambda path: Recipe.from_json(path.read_bytes().decode()),
    "audit": lambda path: load_report(path.parent),
    "public forms": lambda path: build_compare(path, path),
    "row": lambda path: write_eval_results(path, "owner/name"),
}


# A record of an import is any object, a recipe is text already.
PAIRS = [
    (reader, what)
    for reader in READERS
    for what in BAD
    if (reader, what) not in {("import", "another"), ("recipe", "no UTF-8")}
]


@pytest.mark.parametrize(("reader", "what"), PAIRS)
def test_bad_json_is_one_sentence(reader, what, tmp_path):
    path = tmp_path / ("leakage.json" if reader == "audit" else "file.json")
    path.write_bytes(BAD[what])
    with pytest.raises(PxrdbenchError) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_instrument_is_read_as_written(tmp_path):
    one = Instrument(Radiation.parse("CuKa"), 0.02, -0.1, 0.01, -0.02, 0.02, 0.4, "Si")
    one.write(tmp_path / "one.json")
    assert Instrument.read(tmp_path / "one.json") == one


@pytest.mark.parametrize(
    "change",
    [
        {"zero": "0.1"},
        {"zero": True},
        {"zero": 1e9},
        {"w": None},
        {"lorentz_share": 1.5},
        {"lines": -1},
        {"lines": 2.5},
        {"standard": 5},
        {"unknown": 1},
        {"format": "pxrdbench instrument 2"},
        {"radiation": {"name": "x", "lines": []}},
        {"radiation": {"name": "x", "lines": [[1.5]]}},
        {"radiation": {"name": "x", "lines": [[-1.5, 1.0]]}},
        {"radiation": {"name": "x", "lines": [[1.5, 1.0]] * 101}},
        {"radiation": "CuKa"},
    ],
    ids=str,
)
def test_an_edited_instrument_is_refused(change, tmp_path):
    path = tmp_path / "one.json"
    Instrument(Radiation.parse("CuKa")).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PxrdbenchError, match="no instrument file of pxrdbench"):
        Instrument.read(path)


def test_what_was_learnt_is_read_as_written(tmp_path):
    learnt = Learnt.of(["a"], ["NaCl"], ["NaCl"], "here")
    learnt.write(tmp_path / "one.npz")
    assert Learnt._read(sidecar_of(tmp_path / "one.npz")) == learnt


# Files that this package made itself, or ships; lines of a process that we started.
OWN = {
    "benchmark/foreign/worker.py",  # our order, on a pipe
    "benchmark/leaderboard/checks.py",  # ships
    "benchmark/leaderboard/submission.py",  # a copy of what stands in memory
    "benchmark/row_check.py",  # our order, on a pipe
    "cli/evaluate.py",  # what stands in memory
    "dataset/export/write.py",  # an unfinished export of one's own
    "dataset/shards/meter.py",  # a reading that is none counts as silence
    "dataset/storage/object_store.py",  # a lock that is none counts as free
    "diffraction/scattering.py",  # ships
    "outside.py",  # the strict reader
    "prediction/calibration.py",  # ships
    "sources/databases/amcsd.py",  # a cell of a table, in a process that is guarded
    "speed/indexing.py",  # answers of an indexer that we started
    "speed/mlindex_worker.py",  # our order, on a pipe
    "speed/stream_picture.py",  # our own log
    "tracks/load.py",  # ships
}


def test_no_other_module_parses_json_by_itself():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "json.loads",
                "json.load",
            }:
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == OWN
