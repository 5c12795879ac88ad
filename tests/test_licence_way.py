"""The licence holder's whole way by verbs, on free crystals in the ICSD's layout."""

import json

import numpy as np
import pytest
from icsd_layout import write_export
from submission_metadata import METADATA
from typer.testing import CliRunner

from pxrdbench.benchmark.evaluation import Evaluation
from pxrdbench.cli import app
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.tracks.load import OPEN_TRACK, load_record, load_table, load_track

GROUPS, PER_GROUP, LEAST = 16, 10, 3
TRACK = "icsd-structure-type-paper"
LEARNT = METADATA["training_data"] | {"description": "Crystals of an export."}
METADATA = METADATA | {"training_data": LEARNT}


def pxrdbench(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An export of sixteen groups, imported, and the paper's track of it."""
    folder = tmp_path_factory.mktemp("licence")
    part = load_track(OPEN_TRACK, "statistics")
    crystals = part.crystals
    n_sites = np.diff(crystals.site_offset)
    groups, counts = np.unique(crystals.space_group, return_counts=True)
    entries = {}
    for group in groups[np.argsort(-counts, kind="stable")][:GROUPS]:
        rows = np.flatnonzero((crystals.space_group == group) & (n_sites <= 8))
        # Spread over the types, so that both parts get some.
        for row in rows[np.linspace(0, len(rows) - 1, PER_GROUP).astype(int)]:
            name = 100_000 + len(entries)
            entries[name] = crystals[int(row)], part.structure_type[row]
    write_export(folder / "export", entries)
    pxrdbench(
        "import", "icsd", folder / "export", "--out", folder / "imported",
        "--workers", 1,
    )  # fmt: skip
    pxrdbench(
        "split", "build", "icsd", folder / "imported", "--out", folder, "--paper",
        "--min-crystals", LEAST,
    )  # fmt: skip
    return folder


def train(place, name, *options):
    pxrdbench(
        "train", "--patterns", 16, "--batch-size", 8, "--evaluations", 0, "--out",
        place / name, *options,
    )  # fmt: skip
    return place / name / "last.pt"


@pytest.fixture(scope="module")
def fitted(place):
    said = pxrdbench(
        "prior", "fit", "--track", place / TRACK, "--min-crystals", LEAST, "--out",
        place / "mine.npz",
    )  # fmt: skip
    assert "restricted" in said and "learnt from everything" not in said
    return place / "mine.npz"


def test_the_protocol_is_that_of_the_paper(place, fitted):
    record = load_record(place / TRACK)
    assert (record["scattering"], record["margin"]) == ("paper", 0.0)
    assert set(record["parts"]) == {"statistics", "test"}
    types = {
        part: set(load_table(place / TRACK, part)["structure_type"].to_pylist())
        for part in record["parts"]
    }
    assert types["statistics"] and types["test"]
    assert not types["statistics"] & types["test"]
    prior = load_prior(fitted)
    assert len(prior.space_groups) >= 12 and prior.restricted
    learnt = load_track(place / TRACK, "statistics")
    assert prior.learnt["crystals"] == len(learnt)
    asked = load_track(place / TRACK, "test")
    assert set(asked.space_group.tolist()) <= set(prior.space_groups)


@pytest.mark.parametrize("preset", ["park-medium-types", "park-big"])
def test_from_the_export_to_a_row(place, fitted, preset):
    model = train(
        place, preset, "--preset", f"schopmans2023/{preset}", "--prior", fitted,
        "--track", place / TRACK,
    )  # fmt: skip
    checkpoint = load_checkpoint(model)
    assert checkpoint.physics == "paper" and checkpoint.restricted
    assert checkpoint.protocol.startswith(f"schopmans2023/{preset} (changed: ")
    said = pxrdbench("eval", model, "--track", place / TRACK, "--out", model.parent)
    assert "has seen the test part" not in said and "0 of " in said
    evaluation = Evaluation.from_json((model.parent / "evaluation.json").read_text())
    provenance = evaluation.model["provenance"]
    assert provenance["has seen the test part"] == "no"
    assert provenance["physics of the track"] == "paper"
    assert provenance["types learnt from"] == "0"
    metadata = model.parent / "metadata.json"
    claim = {"name": preset, "reproduce": [f"train --preset schopmans2023/{preset}"]}
    metadata.write_text(json.dumps(METADATA | claim))
    said = pxrdbench(
        "submit", model.parent / "predictions.h5", "--metadata", metadata, "--folder",
        place / "rows", "--track", place / TRACK,
    )  # fmt: skip
    assert "row:" in said and "no rank" not in said


def test_the_leaky_order_ends_without_a_rank(place):
    said = pxrdbench(
        "prior", "fit", place / "imported", "--min-crystals", LEAST, "--out",
        place / "leaky.npz",
    )  # fmt: skip
    assert "learnt from everything" in said
    model = train(
        place, "leaky", "--preset", "schopmans2023/park-big", "--prior",
        place / "leaky.npz", "--track", place / TRACK,
    )  # fmt: skip
    said = pxrdbench("eval", model, "--track", place / TRACK, "--out", model.parent)
    n_types = len(set(load_track(place / TRACK).structure_type))
    assert f"has seen the test part ({n_types} structure types of it)" in said
    metadata = model.parent / "metadata.json"
    metadata.write_text(json.dumps(METADATA | {"name": "leaky"}))
    said = pxrdbench(
        "submit", model.parent / "predictions.h5", "--metadata", metadata, "--folder",
        place / "rows", "--track", place / TRACK,
    )  # fmt: skip
    assert "no rank" in said
    # Without its sidecar nothing tells, and that is said.
    (model.parent / "run.learnt.json").unlink()
    said = pxrdbench("eval", model, "--track", place / TRACK, "--out", model.parent)
    assert "learnt from: unknown" in said
