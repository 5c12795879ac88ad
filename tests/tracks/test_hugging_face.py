"""Tracks as data sets: typed, lazy, the same however they are read."""

import time

import numpy as np
import pytest

from pxrdbench.errors import SplitError
from pxrdbench.tracks.hugging_face import PatternRenderer, load_split
from pxrdbench.tracks.load import AFLOW_TRACK, OPEN_TRACK, load_track


def test_patterns_are_rendered_when_asked_for():
    rows = load_split(AFLOW_TRACK, "test", "patterns")
    frozen = load_track(AFLOW_TRACK)
    batch = rows[100:107]
    assert np.array_equal(batch["intensity"], frozen.batch(100, 7).intensity)
    assert batch["intensity"].dtype == np.float32
    assert batch["id"] == list(frozen.ids[100:107])
    one = rows[5]
    assert np.array_equal(one["intensity"], frozen.batch(5, 1).intensity[0])


def test_patterns_follow_their_rows():
    frozen = load_track(AFLOW_TRACK)
    rows = load_split(AFLOW_TRACK, "test", "patterns").shuffle(seed=3)
    rows = rows.filter(lambda group: group > 100, input_columns="space_group")
    position = {name: row for row, name in enumerate(frozen.ids)}
    batch = rows[:20]
    for name, group, pattern in zip(
        batch["id"], batch["space_group"], batch["intensity"], strict=True
    ):
        row = position[name]
        assert group == frozen.space_group[row] > 100
        assert np.array_equal(pattern, frozen.batch(row, 1).intensity[0])


def test_class_lists_become_labels():
    classes = [225, 62, 194]
    rows = load_split(AFLOW_TRACK, "test", "labels", classes=classes)
    assert rows.features["label"].names == ["225", "62", "194"]
    for label, group in zip(rows["label"], rows["space_group"], strict=True):
        assert (label == -1) == (group not in classes)
        if label >= 0:
            assert classes[label] == group
    assert "two_theta" not in rows.column_names


@pytest.mark.parametrize("content", ["labels", "peaks", "patterns"])
def test_streams_give_the_same_rows(content):
    rows = load_split(AFLOW_TRACK, "test", content, classes=[225])
    stream = load_split(AFLOW_TRACK, "test", content, classes=[225], streaming=True)
    assert stream.features["label"].names == ["225"]
    count = 0
    for mine, theirs in zip(stream, rows, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert np.array_equal(value, theirs[name])
        count += 1
    assert count == 288
    if content == "patterns":
        assert stream.features["intensity"].length == 8501


def test_several_workers_get_each_row_once():
    from torch.utils.data import DataLoader

    stream = load_split(AFLOW_TRACK, "test", "patterns", streaming=True)
    stream = stream.select_columns(["id", "space_group", "intensity"])
    loader = DataLoader(stream, batch_size=32, num_workers=2)
    names = [name for batch in loader for name in batch["id"]]
    assert sorted(names) == sorted(load_track(AFLOW_TRACK).ids)


def test_a_renderer_may_be_sent_away():
    import copy

    renderer = copy.deepcopy(PatternRenderer(AFLOW_TRACK, "test"))
    made = renderer({"intensity": [3, 1], "id": ["a", "b"]})
    frozen = load_track(AFLOW_TRACK)
    assert np.array_equal(made["intensity"], frozen.take(np.array([3, 1])).intensity)
    assert made["id"] == ["a", "b"]


@pytest.mark.parametrize("kind", ["torch", "numpy", None])
def test_a_format_keeps_patterns_and_labels(kind):
    frozen = load_track(AFLOW_TRACK)
    rows = load_split(AFLOW_TRACK, "test", "patterns", classes=[225, 62])
    rows = rows.with_format(kind)
    one = np.asarray(rows[5]["intensity"])
    assert np.array_equal(one, frozen.batch(5, 1).intensity[0])
    assert int(rows[5]["label"]) in (-1, 0, 1)
    assert np.asarray(rows[:3]["intensity"]).shape == (3, 8501)
    if kind == "torch":
        assert rows[:3]["intensity"].shape == (3, 8501)
        assert str(rows[5]["intensity"].dtype) == "torch.float32"
    position = {name: row for row, name in enumerate(frozen.ids)}
    changed = [
        rows.select([7, 3, 9]).shuffle(seed=1).filter(lambda row: True),
        rows.select(range(20)).map(lambda row: {"more": int(row["space_group"])}),
    ]
    for few in changed:
        row = few[1]
        pattern = frozen.batch(position[row["id"]], 1).intensity[0]
        assert np.array_equal(np.asarray(row["intensity"]), pattern)


def test_a_map_may_change_patterns():
    frozen = load_track(AFLOW_TRACK).batch(0, 4).intensity
    rows = load_split(AFLOW_TRACK, "test", "patterns").select(range(4))
    for source in (rows, rows.with_format("numpy")):
        roots = source.map(lambda row: {"intensity": np.sqrt(row["intensity"])})
        found = np.asarray(roots.with_format("numpy")[:]["intensity"])
        assert found == pytest.approx(np.sqrt(frozen))


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_a_format_keeps_patterns_of_streams(kind):
    stream = load_split(
        AFLOW_TRACK, "test", "patterns", classes=[225], streaming=True
    ).with_format(kind)
    frozen = load_track(AFLOW_TRACK)
    for row, name in zip(stream.take(3), frozen.ids[:3], strict=True):
        assert row["id"] == name
        assert np.asarray(row["intensity"]).dtype == np.float32
        assert int(row["label"]) in (-1, 0)
    few = stream.filter(lambda row: int(row["space_group"]) > 100).map(
        lambda row: {"more": 1}
    )
    assert np.asarray(next(iter(few))["intensity"]).shape == (8501,)


def test_a_loader_of_torch_gets_batches_of_tensors():
    from torch.utils.data import DataLoader

    rows = load_split(AFLOW_TRACK, "test", "patterns", classes=[225]).with_format(
        "torch"
    )
    loader = DataLoader(rows.select_columns(["intensity", "label"]), batch_size=32)
    batch = next(iter(loader))
    assert batch["intensity"].shape == (32, 8501)
    assert str(batch["label"].dtype) == "torch.int64"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("labels", {"statistics", "dev", "test"}),
        ("peaks", {"dev", "test"}),
        ("patterns", {"dev", "test"}),
    ],
)
def test_a_track_is_a_dictionary_of_parts_with_equal_features(content, parts):
    whole = load_split(OPEN_TRACK, content=content, classes=[225])
    assert type(whole).__name__ == "DatasetDict"
    assert set(whole) == parts
    names = {tuple(part.features) for part in whole.values()}
    assert len(names) == 1
    streams = load_split(OPEN_TRACK, content=content, streaming=True)
    assert type(streams).__name__ == "IterableDatasetDict"
    if content == "labels":
        assert len({str(part.features) for part in whole.values()}) == 1


def test_a_copy_on_the_disk_renders_too(tmp_path):
    import datasets

    rows = load_split(AFLOW_TRACK, "test", "patterns").with_format("numpy")
    rows.save_to_disk(tmp_path / "copy")
    again = datasets.load_from_disk(tmp_path / "copy").with_format("numpy")
    assert np.array_equal(again[3]["intensity"], rows[3]["intensity"])


def test_what_is_asked_for_has_a_name_of_its_own():
    kinds = [{}, {"content": "labels"}, {"classes": [1]}, {"classes": [2]}]
    prints = [load_split(AFLOW_TRACK, "test", **kind)._fingerprint for kind in kinds]
    assert len(set(prints)) == 4


def test_what_cannot_be_is_refused():
    with pytest.raises(SplitError, match="content 'pictures'"):
        load_split(AFLOW_TRACK, "test", "pictures")
    with pytest.raises(SplitError, match="are not frozen"):
        load_split(OPEN_TRACK, "statistics", "patterns")
    for classes in ([], [0], [231], [2, 2]):
        with pytest.raises(SplitError, match="a class list holds"):
            load_split(AFLOW_TRACK, "test", classes=classes)
    with pytest.raises(SplitError, match="row 288 of aflow/prototypes test"):
        load_track(AFLOW_TRACK).take(np.array([288]))


def test_batches_come_fast_enough():
    """At least 8,000 patterns a second on one core; about 60,000 are usual."""
    rows = load_split(OPEN_TRACK, "test", "patterns")
    rows[:256]  # kernels and peak lists are at hand
    start = time.process_time()
    count = sum(len(batch["intensity"]) for batch in rows.iter(batch_size=256))
    rate = count / (time.process_time() - start)
    assert count == 6892
    assert rate > 8_000
