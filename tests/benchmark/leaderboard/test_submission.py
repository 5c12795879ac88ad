import copy
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from small_track import make_predictions, make_track
from submission_metadata import METADATA

from pxrdbench.benchmark.leaderboard.checks import find_schema_faults, load_schema
from pxrdbench.benchmark.leaderboard.submission import (
    check_submission,
    find_faults,
    metadata_template,
    pack_bits,
    pack_submission,
    read_submission,
    row_path,
    submit,
    to_text,
    unpack_bits,
    write_template,
)
from pxrdbench.errors import EvaluationError

ROOT = Path(__file__).parents[3]
METADATA["training_data"]["description"] = "Synthetic crystals."


@pytest.fixture(scope="module")
def track():
    return make_track(60)


@pytest.fixture(scope="module")
def stored(track, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "predictions.h5"
    make_predictions(track).write(path)
    return path


@pytest.fixture(scope="module")
def record(track, stored):
    return pack_submission(stored, METADATA, track)


def write(record, folder) -> Path:
    path = row_path(folder, "test/small", record["metadata"]["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(record))
    return path


def broken(record, place, value):
    """A copy of the record with one entry replaced, or dropped."""
    changed = copy.deepcopy(record)
    *parents, last = place
    inner = changed
    for name in parents:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return changed


def test_a_submission_passes_with_and_without_its_predictions(track, stored, tmp_path):
    path = submit(stored, METADATA, tmp_path, track=track)
    assert path == tmp_path / "test-small" / "mine.json"
    assert find_faults(path, stored, track=track) == []
    submission = check_submission(path, track=track)
    assert submission.name == read_submission(path).name == "mine"
    hits = submission.hits(1)
    assert hits.mean() == pytest.approx(submission.evaluation.metrics["top_1"].value)


def test_equal_predictions_give_equal_files(track, stored, tmp_path):
    one = submit(stored, METADATA, tmp_path / "one", track=track)
    two = submit(stored, METADATA, tmp_path / "two", track=track)
    assert one.read_bytes() == two.read_bytes()


def test_a_row_is_replaced_on_purpose_only(track, stored, tmp_path):
    submit(stored, METADATA, tmp_path, track=track)
    with pytest.raises(EvaluationError, match="exists"):
        submit(stored, METADATA, tmp_path, track=track)
    submit(stored, METADATA, tmp_path, track=track, replace=True)


def test_every_fault_of_the_structure_is_listed_at_once(record, track, tmp_path):
    bad = broken(record, ("metadata", "authors"), [])
    bad["metadata"]["tier"] = "best"
    bad["metadata"]["links"]["code"] = "http://plain.example"
    bad["metadata"]["unknown"] = 1
    del bad["metadata"]["seeds"]
    bad["evaluation"]["metrics"]["top_1"]["value"] = 1.5
    bad["evaluation"]["extra"] = {}
    bad["predictions"]["sha256"] = "no digest"
    with pytest.raises(EvaluationError, match="has 8 faults") as caught:
        check_submission(write(bad, tmp_path), track=track)
    for place in (
        "metadata.authors",
        "metadata.tier",
        "metadata.links.code",
        "'unknown' was unexpected",
        "'seeds' is a required property",
        "evaluation.metrics.top_1.value",
        "'extra' was unexpected",
        "predictions.sha256",
    ):
        assert place in str(caught.value)


def test_faults_beyond_the_structure_are_listed_at_once(record, track, tmp_path):
    bad = broken(record, ("metadata", "date"), "2026-02-30")
    bad["metadata"]["tier"] = "reproduced"
    bad["metadata"]["links"]["weights"] = "https://example.org/w"
    bad["predictions"]["digest"] = "0" * 64
    bad["evaluation"]["confusion"][0][0] += 1
    faults = find_faults(write(bad, tmp_path / "elsewhere"), track=track)
    for place in (
        "metadata.date",
        "metadata.reproduce",
        "metadata.licences.weights",
        "predictions.digest",
        "evaluation.confusion",
    ):
        assert any(fault.startswith(place) for fault in faults), (place, faults)


@pytest.mark.parametrize(
    ("place", "change", "named"),
    [
        (("metrics", "top_1", "low"), -0.01, "metrics.top_1.low"),
        (("metrics", "top_5", "high"), 0.004, "metrics.top_5.high"),
        (("metrics", "crystal_system", "cubic", "low"), -0.02, "crystal_system.cubic"),
        (("space_groups", "225", "correct"), 1, "space_groups.225"),
    ],
)
def test_outcomes_alone_find_beautified_numbers(
    record, track, tmp_path, place, change, named
):
    value = record["evaluation"]
    for name in place:
        value = value[name]
    bad = broken(record, ("evaluation", *place), value + change)
    assert any(
        named in fault for fault in find_faults(write(bad, tmp_path), track=track)
    )


@pytest.mark.parametrize(
    "place",
    [
        ("metrics", "macro_accuracy", "value"),
        ("metrics", "nll", "low"),
        ("baselines", 0, "metrics", "top_1", "value"),
        ("calibration", 0, "mean"),
        ("by_peaks", 0, "top_1", "high"),
    ],
)
def test_predictions_find_any_other_number(record, track, stored, tmp_path, place):
    value = record["evaluation"]
    for name in place:
        value = value[name]
    bad = broken(record, ("evaluation", *place), value + 1e-4)
    faults = find_faults(write(bad, tmp_path), stored, track=track)
    wanted = "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in place)
    assert any(fault.startswith(f"evaluation{wanted}: ") for fault in faults), faults


def test_predictions_of_another_model_are_found(record, track, tmp_path):
    other = tmp_path / "other.h5"
    make_predictions(track, model_name="another").write(other)
    faults = find_faults(write(record, tmp_path), other, track=track)
    assert {fault.split(":")[0] for fault in faults} >= {
        "predictions.digest",
        "predictions.sha256",
        "evaluation.model.name",
    }


def test_licensed_crystals_are_refused(track, record, tmp_path):
    path = tmp_path / "licensed.h5"
    make_predictions(track, restricted=True).write(path)
    with pytest.raises(EvaluationError, match="licensed crystals"):
        pack_submission(path, METADATA | {"tier": "predictions only"}, track)
    bad = broken(record, ("evaluation", "model", "restricted"), True)
    assert not find_schema_faults(bad)
    faults = find_faults(write(bad, tmp_path), track=track)
    assert len(faults) == 1 and "self-scored and says nothing" in faults[0]


def test_a_licence_holder_scores_herself(track, tmp_path):
    path = tmp_path / "licensed.h5"
    make_predictions(track, restricted=True).write(path)
    row = submit(path, METADATA, tmp_path / "rows", track=track)
    assert read_submission(row).outcomes is None
    assert not find_faults(row, path, track=track)


def test_a_claim_of_the_paper_needs_its_physics(track, tmp_path):
    claim = METADATA | {"reproduce": ["train --preset schopmans2023/park-big"]}
    made = make_predictions(track)
    for learnt, of_track, fault in (
        ("default", "paper", "physics learnt with is default"),
        ("paper", "default", "physics of the track is default"),
        ("paper", "paper", None),
    ):
        said = {"physics learnt with": learnt, "physics of the track": of_track}
        path = tmp_path / "predictions.h5"
        replace(made, provenance=said).write(path)
        if fault is None:
            pack_submission(path, claim, track)
            continue
        with pytest.raises(EvaluationError, match=fault):
            pack_submission(path, claim, track)


def test_other_versions_are_named(record, track, tmp_path):
    bad = broken(record, ("evaluation", "track", "version"), "2")
    bad["evaluation"]["versions"] |= {"track": "2", "evaluator": "0"}
    faults = find_faults(write(bad, tmp_path), track=track)
    assert len(faults) == 2
    assert "evaluation.track.version: '2', installed is '1'" in faults
    assert find_faults(write(bad, tmp_path))[-1].startswith("evaluation.track: test")


def test_a_row_lies_where_it_says(record, track, tmp_path):
    path = tmp_path / "test-small" / "other.json"
    path.parent.mkdir()
    path.write_text(to_text(record))
    assert find_faults(path, track=track) == [
        "file: test-small/other.json should be test-small/mine.json"
    ]


def test_a_name_cannot_leave_the_folder(track, stored, tmp_path):
    for name in ("../up", "a/b", ".hidden", "Upper", "x" * 80):
        with pytest.raises(EvaluationError, match=r"metadata\.name"):
            submit(stored, METADATA | {"name": name}, tmp_path, track=track)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "no JSON number"),
        ("[]", "not an object"),
        ("[" * 100_000, "no strict JSON"),
        ("{" + " " * 3_000_000 + "}", "at most"),
    ],
)
def test_json_of_strangers_is_read_strictly(tmp_path, text, reason):
    path = tmp_path / "row.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=reason):
        find_faults(path)


def test_empty_metadata_name_all_that_is_missing(track, stored, tmp_path):
    with pytest.raises(EvaluationError) as caught:
        submit(stored, metadata_template(), tmp_path, track=track)
    for name in ("name", "title", "date", "authors[0].name", "compute.hardware"):
        assert f"metadata.{name}: " in str(caught.value)


def test_a_template_is_filled_in_and_never_overwritten(track, stored, tmp_path):
    path = write_template(tmp_path / "mine.json")
    filled = json.loads(path.read_text()) | METADATA
    path.write_text(json.dumps(filled))
    with pytest.raises(EvaluationError, match="exists"):
        write_template(path)
    row = submit(stored, path, tmp_path, track=track)
    assert check_submission(row, stored, track=track).metadata == METADATA


def test_flags_survive_and_wrong_ones_are_refused():
    for count in (1, 7, 8, 9, 288):
        flags = np.random.Generator(np.random.PCG64(count)).random(count) < 0.5
        assert (unpack_bits(pack_bits(flags), count) == flags).all()
    with pytest.raises(EvaluationError, match="1 bytes of flags; 9 crystals take 2"):
        unpack_bits(pack_bits(np.ones(8, bool)), 9)
    with pytest.raises(EvaluationError, match="beyond the 7"):
        unpack_bits(pack_bits(np.ones(8, bool)), 7)
    with pytest.raises(EvaluationError, match="base64"):
        unpack_bits("!!!!", 8)


def test_the_published_schema_is_the_one_that_checks():
    text = (ROOT / "leaderboards" / "schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == load_schema()
    jsonschema.Draft202012Validator.check_schema(load_schema())


def test_every_object_of_the_schema_is_closed():
    def walk(node, place):
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert "additionalProperties" in node, place
            for name, inner in node.items():
                walk(inner, f"{place}.{name}")

    walk(load_schema(), "schema")


PUBLISHED = sorted((ROOT / "leaderboards").glob("*/*.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: "/".join(path.parts[-2:]))
def test_published_rows_are_sound(path):
    assert find_faults(path) == []
