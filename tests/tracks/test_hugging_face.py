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
    made = renderer({"row": [3, 1], "id": ["a", "b"]})
    frozen = load_track(AFLOW_TRACK)
    assert np.array_equal(made["intensity"], frozen.take(np.array([3, 1])).intensity)
    assert made["id"] == ["a", "b"]
    assert "row" not in made


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
