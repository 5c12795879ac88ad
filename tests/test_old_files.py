"""What version 0.1.0 (commit 97d9048) wrote opens, and gives the same numbers.

The files were written by that commit, before the modules moved: a shard set of 128
samples, a prior fitted on the compounds of AFLOW's prototypes, a track built from some
of them in the layout of the ICSD. Its checkpoints are those of ``leaderboards/``, which
``tests/benchmark/test_published_rows.py`` scores again.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import pxrdbench as px
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.tracks.load import split_digest

FOLDER = Path(__file__).parent / "golden" / "v0.1.0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def assert_same_patterns(batch, name):
    assert batch.space_group.tolist() == EXPECTED[f"{name}_labels"]
    means = batch.intensity.mean(axis=1, dtype=np.float64)
    # Between processors a float32 sum differs in its last bits.
    assert means == pytest.approx(EXPECTED[f"{name}_means"], rel=1e-5)


def test_shards():
    shards = px.ShardSet(FOLDER / "shards")
    assert shards.card.digest == EXPECTED["recipe_digest"]
    assert verify_shards(FOLDER / "shards", sample=128).is_sound
    assert_same_patterns(shards.batch(0, 128), "shard")


def test_track():
    assert split_digest(FOLDER / "track") == EXPECTED["track_digest"]
    track = px.load_track(FOLDER / "track", "test")
    assert_same_patterns(track.batch(0, len(track)), "track")


def test_prior():
    prior = px.load_prior(FOLDER / "prior.npz")
    assert prior.digest == EXPECTED["prior_digest"]
    crystals = px.draw_crystals(prior, seed=3, start=0, count=50)
    assert crystals.space_group.tolist() == EXPECTED["prior_groups"]
    assert crystals.atomic_number.tolist() == EXPECTED["prior_atoms"]
