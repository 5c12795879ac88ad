"""Somebody's row is read where nothing can be had."""

import json
import shutil
from pathlib import Path

import pytest

from pxrdbench.benchmark import row_check
from pxrdbench.benchmark.row_check import check_row
from pxrdbench.errors import EvaluationError

FOLDER = Path(__file__).parents[2] / "leaderboards"
ROW = FOLDER / "aflow-prototypes" / "random-forest.json"
WITH_PREDICTIONS = FOLDER / "aflow-prototypes" / "peak-network-light-real.json"


def test_what_was_recomputed_is_said():
    name, told = check_row(ROW)
    assert name == "random-forest"
    assert told.startswith("top-1, top-5, top-10")
    assert "as claimed" in told
    assert check_row(WITH_PREDICTIONS)[1] == (
        "every number recomputed from the predictions"
    )


@pytest.mark.parametrize(
    "content", [b"\x89HDF\r\n\x1a\n" + bytes(500), b"", b"x" * 999]
)
def test_faults_come_back(tmp_path, content):
    place = tmp_path / "aflow-prototypes"
    place.mkdir()
    row = Path(shutil.copy(ROW, place))
    row.with_suffix(".h5").write_bytes(content)
    with pytest.raises(EvaluationError, match="1 fault"):
        check_row(row)
    row.write_bytes(content)
    with pytest.raises(EvaluationError, match="random-forest"):
        check_row(row)


@pytest.mark.parametrize(
    "missing", ["limit_files", "drop_capabilities", "filter_system_calls", "apart"]
)
def test_without_confinement_nothing_is_read(monkeypatch, missing):
    for name in ("limit_files", "drop_capabilities", "filter_system_calls"):
        done = name != missing
        monkeypatch.setattr(row_check, name, lambda *_, done=done, **__: done)
    monkeypatch.setattr(row_check, "limit_resources", lambda *_: None)
    order = {"row": str(ROW), "predictions": None, "unconfined": False}
    with pytest.raises(ValueError, match="--unconfined"):
        row_check._check(order, missing != "apart")
    found = row_check._check(order | {"unconfined": True}, missing != "apart")
    assert json.dumps(found)
