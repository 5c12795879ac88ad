import json
from pathlib import Path

import pytest

from pxrdbench.benchmark.leaderboard.seeds import SEEDS_FILE, load_seed_spreads
from pxrdbench.errors import EvaluationError

ROOT = Path(__file__).parents[3]


def test_a_name_of_its_own_narrows_no_interval():
    spreads = load_seed_spreads(ROOT / "leaderboards")
    measured = spreads.measured["peak-network"]
    # Student's t of two degrees of freedom: three runs.
    assert measured.half_width == pytest.approx(4.303 * measured.deviation)
    assert spreads.half_width("class-order", is_reproduced=True) == 0.0
    for name, is_reproduced in (("class-order", False), ("unknown", True)):
        found = spreads.half_width(name, is_reproduced=is_reproduced)
        assert found == pytest.approx(0.0136, abs=1e-4)


def test_the_spread_is_that_of_the_stored_comparison():
    results = json.loads((ROOT / "docs" / "results.json").read_text())
    spread = results["comparisons"]["2"]["metrics"]["top_1"]["seed_spread"]
    measured = load_seed_spreads(ROOT / "leaderboards").measured["peak-network"]
    assert measured.deviation == max(spread)
    assert measured.runs == len(results["seeds"])


def test_without_a_file_nothing_is_known_and_a_damaged_one_is_refused(tmp_path):
    assert load_seed_spreads(tmp_path).half_width("any", is_reproduced=False) == 0.0
    for text in ("[]", "{", '{"measured": {"a": {"deviation": -1}}}'):
        (tmp_path / SEEDS_FILE).write_text(text)
        with pytest.raises(EvaluationError, match=SEEDS_FILE):
            load_seed_spreads(tmp_path)
