import json
from dataclasses import replace

import numpy as np
import pytest

from pxrdbench.errors import SplitError
from pxrdbench.tracks import new_types
from pxrdbench.tracks.load import available_tracks, load_table, load_track


@pytest.mark.parametrize("name", available_tracks())
def test_new_types_occur_in_no_part_that_is_learnt_from(name):
    part = load_track(name, "test")
    new = new_types.find_new_types(part)
    labels = np.array(part.structure_type, dtype=object)
    others = set(load_table("open/structure-type", "statistics")["structure_type"])
    others |= set(load_table("open/structure-type", "dev")["structure_type"])
    others = {label.as_py() for label in others}
    table = load_table(name).to_pylist()
    others |= {row["structure_type"] for row in table if row["part"] != "test"}
    assert others.isdisjoint(labels[new])
    assert set(labels[~new]) <= others
    assert new.sum() > 50


def test_the_lists_are_those_that_were_fixed():
    fixed = json.loads(new_types.NEW_TYPES.read_text("utf-8"))
    assert new_types.describe_new_types() == fixed


def test_another_list_is_refused(monkeypatch):
    part = load_track("open/random", "test")
    real = new_types._new_labels("open/random")
    monkeypatch.setattr(new_types, "_new_labels", lambda _: real - {min(real)})
    with pytest.raises(SplitError, match="are not the 101"):
        new_types.find_new_types(part)


def test_where_no_list_was_fixed_there_is_none(tmp_path):
    part = load_track("open/random", "test")
    assert new_types.find_new_types(load_track("open/random", "dev")) is None
    assert new_types.find_new_types(replace(part, place=tmp_path)) is None
