"""Files for Hugging Face: what their own library reads of them."""

import json
from pathlib import Path

import pytest

from pxrdbench.benchmark.leaderboard.hub_results import (
    eval_results_text,
    write_eval_results,
)
from pxrdbench.errors import EvaluationError

ROW = Path(__file__).parents[3] / "leaderboards/open-structure-type/class-order.json"


def test_a_row_becomes_an_entry_that_the_hubs_library_reads(tmp_path):
    import yaml

    hub = pytest.importorskip("huggingface_hub", minversion="1.5")
    row = tmp_path / "class-order.json"
    row.write_bytes(ROW.read_bytes())
    path = write_eval_results(row, "owner/pxrd")
    assert path.name == "class-order.eval_results.yaml"
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(path.read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id) == ("owner/pxrd", "open-structure-type")
    stored = json.loads(ROW.read_text("utf-8"))["evaluation"]["metrics"]["top_1"]
    assert entry.value == pytest.approx(100 * stored["value"])
    assert "95 % interval" in entry.notes


@pytest.mark.parametrize("name", ["", "pxrd", "a/b/c", "https://x/y", "a b/c"])
def test_what_is_no_data_set_of_the_hub_is_refused(name):
    with pytest.raises(EvaluationError, match="OWNER/NAME"):
        eval_results_text({}, name)
