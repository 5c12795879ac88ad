import copy
import json

import pytest
from small_track import make_predictions, make_track

from pxrdbench.benchmark.scoring.evaluation_record import (
    EVALUATOR_VERSION,
    Evaluation,
    percent,
)
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.errors import EvaluationError


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    track = make_track()
    return score(make_predictions(track, provenance={"patterns seen": "5"}), track)


def test_an_evaluation_survives_its_json(evaluation, tmp_path):
    evaluation.write(tmp_path / "deep" / "evaluation.json")
    again = Evaluation.read(tmp_path / "deep" / "evaluation.json")
    assert again == evaluation
    assert again.to_json() == evaluation.to_json()
    assert not list(tmp_path.rglob("*.part"))


def test_the_json_holds_what_leaderboards_read(evaluation):
    record = json.loads(evaluation.to_json())
    assert set(record["metrics"]["top_1"]) == {"value", "low", "high"}
    assert set(record["metrics"]["crystal_system"]["cubic"]) == {"value", "low", "high"}
    for name in ("top_1", "top_5", "top_10"):
        estimate = record["metrics"][name]
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert record["versions"]["evaluator"] == EVALUATOR_VERSION
    assert set(record["versions"]) == {"evaluator", "pxrdbench", "track", "data"}
    assert record["track"]["name"] == "test/small"
    assert 0 <= record["baselines"][0]["comparisons"]["top_1"]["p_value"] <= 1


def change(path, value):
    def apply(record):
        *folders, last = path
        for name in folders:
            record = record[name]
        record[last] = value

    return apply


def remove(*path):
    def apply(record):
        *folders, last = path
        for name in folders:
            record = record[name]
        del record[last]

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("metrics"), "lacks .*metrics"),
        (remove("metrics", "top_1"), "top_1"),
        (remove("metrics", "crystal_system"), r"metrics.crystal_system"),
        (remove("model", "digest"), "digest"),
        (change(["extra"], 1), "unknown .*extra"),
        (change(["format"], "other"), "format is 'other'"),
        (change(["format_version"], 9), "format version 9"),
        (change(["metrics", "top_1", "value"], 2.0), "metrics.top_1"),
        (
            change(["metrics", "top_1"], {"value": 1.5, "low": 1.2, "high": 1.7}),
            "between 0 and 1",
        ),
        (
            change(["metrics", "ece"], {"value": -0.5, "low": -0.6, "high": 0.1}),
            "between 0 and 1",
        ),
        (change(["metrics", "crystal_system", "cubic"], 0.5), "cubic"),
        (change(["metrics", "top_5", "low"], float("nan")), "NaN"),
        (change(["baselines", 0, "comparisons", "top_1", "p_value"], 1.5), "p_value"),
        (
            change(["baselines", 0, "comparisons", "top_1", "p_value"], float("nan")),
            "NaN",
        ),
        (change(["baselines", 0, "comparisons", "top_1", "only_model"], -1), "count"),
        (change(["baselines", 0], []), "not an object"),
        (change(["confusion", 0, 0], 0.5), "no count"),
        (change(["confusion"], {}), "not a list"),
        (change(["by_peaks", 0, "mean"], "many"), "no number"),
        (change(["calibration", 0, "crystals"], None), "no count"),
        (change(["top_k", 0], None), r"top_k\[0\]"),
    ],
)
def test_wrong_evaluations_are_refused_with_the_place(
    evaluation, tmp_path, damage, message
):
    record = copy.deepcopy(json.loads(evaluation.to_json()))
    damage(record)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(record))
    with pytest.raises(EvaluationError, match=message) as caught:
        Evaluation.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"text"', "3"])
def test_other_texts_are_refused(text):
    with pytest.raises(EvaluationError):
        Evaluation.from_json(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="no evaluation file"):
        Evaluation.read(tmp_path / "none.json")


def test_rows_are_percent_with_one_decimal(evaluation):
    rows = evaluation.rows()
    names = [row[0] for row in rows]
    assert names[:4] == ["top-1", "top-5", "top-10", "crystal system"]
    assert "cubic" in names
    top_1 = evaluation.metrics["top_1"]
    assert rows[0] == (
        "top-1",
        percent(top_1.value),
        f"{percent(top_1.low)}–{percent(top_1.high)}",
        "60",
    )
    assert rows[4][0] == "top-1, always group 225"
