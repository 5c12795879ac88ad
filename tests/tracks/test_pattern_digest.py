"""Rendered patterns are those the tracks were published with."""

import json

import numpy as np
import pytest

from pxrdbench.errors import SplitError
from pxrdbench.tracks.load import (
    TRACKS_FOLDER,
    available_tracks,
    load_record,
    load_track,
)
from pxrdbench.tracks.pattern_digest import (
    check_patterns,
    describe_machine,
    digest_patterns,
)


@pytest.mark.parametrize("track", available_tracks())
def test_patterns_are_those_of_the_digest(track):
    record = load_record(track)
    path = TRACKS_FOLDER / track.replace("/", "-") / "patterns.json"
    known = json.loads(path.read_text())
    assert known["track_digest"] == record["digest"]
    assert list(known["parts"]) == sorted(record["frozen_parts"])
    for part in record["frozen_parts"]:
        check_patterns(track, part)  # raises where a mean is not the same
    assert set(describe_machine()) == set(known["machine"])


def test_the_mean_pattern_is_the_mean():
    part = load_track("aflow/prototypes")
    made = digest_patterns(part)
    patterns = part.batch(0, len(part)).intensity.astype(np.float64)
    assert len(made["mean_pattern"]) == 85
    first = patterns[:, :100].mean()
    last = patterns[:, 8400:].mean()
    assert made["mean_pattern"][0] == pytest.approx(first, abs=1e-8)
    assert made["mean_pattern"][-1] == pytest.approx(last, abs=1e-8)


def test_other_patterns_are_seen(tmp_path):
    folder = tmp_path / "track"
    folder.mkdir()
    source = TRACKS_FOLDER / "aflow-prototypes"
    for name in ("track.json", "table.parquet", "peaks.npz"):
        (folder / name).write_bytes((source / name).read_bytes())
    with pytest.raises(SplitError, match="no digest of patterns"):
        check_patterns(folder, "test")
    known = json.loads((source / "patterns.json").read_text())
    known["parts"]["test"]["mean_pattern"][40] += 3e-5
    (folder / "patterns.json").write_text(json.dumps(known))
    with pytest.raises(SplitError, match="differ by 3"):
        check_patterns(folder, "test")
    with pytest.raises(SplitError, match="nothing of part 'dev'"):
        check_patterns(folder, "dev")
