"""The comparison of indexers, with a stand-in for the other program."""

import sys
from pathlib import Path

import pytest

from pxrdbench.errors import PatternError
from pxrdbench.speed.indexing import benchmark_indexing, draw_cases

# Answers as the worker does: a cell that is no crystal's and one that is no cell.
STAND_IN = f"""#!{sys.executable}
import json, sys
if sys.argv[1] == "-c":
    print("0.0")
else:
    assert "cF" in sys.argv[2]
    for line in sys.stdin:
        assert 5 <= len(json.loads(line)) <= 20
        cells = [["cP", 9.0, [1.0, 1.0, 1.0, 90, 90, 90]], ["aP", 1.0, [0.0] * 6]]
        print(json.dumps({{"seconds": 2.0, "cells": cells, "error": ""}}), flush=True)
"""


def test_cases_are_the_crystals_of_the_track() -> None:
    first, second = draw_cases(4), draw_cases(4)
    assert [case.name for case in first] == [case.name for case in second]
    assert all(5 <= len(case.lines) <= 20 for case in first)


def test_both_are_asked_in_turn_and_judged_by_one_rule(tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    told: list[tuple[int, int]] = []
    result = benchmark_indexing(
        4, interpreter=str(stand_in), on_progress=lambda *now: told.append(now)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    ours, theirs = result["programs"]["pxrdbench"], result["programs"]["mlindex"]
    assert ours["first"] >= 0.75
    assert theirs["first"] == theirs["twenty"] == 0.0
    assert theirs["cpu_seconds_median"] == 2.0
    assert result["only_pxrdbench"] == round(4 * ours["first"])
    assert result["times_faster"]["median"] > 1.0


def test_an_interpreter_without_it_is_said() -> None:
    with pytest.raises(PatternError, match="has no mlindex"):
        benchmark_indexing(1, interpreter=sys.executable)
    with pytest.raises(PatternError, match="cannot be run"):
        benchmark_indexing(1, interpreter="/nowhere/python")
