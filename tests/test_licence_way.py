"""The licence holder's whole way by verbs, on free crystals in the ICSD's layout."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from icsd_layout import write_export
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from submission_metadata import METADATA
from typer.testing import CliRunner

from pxrdbench.benchmark.evaluation import Evaluation
from pxrdbench.cli import app
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.profile import render
from pxrdbench.learning.loading.real_crystals import RealChoices, open_real_crystals
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.sources.structures.load import load_import
from pxrdbench.tracks.learnt import Learnt
from pxrdbench.tracks.load import OPEN_TRACK, load_record, load_table, load_track
from pxrdbench.tracks.part import take_peaks

GROUPS, PER_GROUP, LEAST = 18, 9, 3
B_ISO = 1.7
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
        # Spread over the types, so that both parts get some; two of each at most.
        labels = np.array([part.structure_type[row] for row in rows])
        _, first = np.unique(labels, return_index=True)
        rows = np.concatenate([rows[first], np.delete(rows, first)])
        for row in rows[:PER_GROUP]:
            name = 100_000 + len(entries)
            crystal = crystals[int(row)]
            sites = tuple(replace(site, b_iso=B_ISO) for site in crystal.sites)
            entries[name] = (
                replace(crystal, sites=sites), part.structure_type[row],
            )  # fmt: skip
    write_export(folder / "export", entries, with_table=True)
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
    assert len(prior.space_groups) >= 15 and prior.restricted
    learnt = load_track(place / TRACK, "statistics")
    assert prior.learnt["crystals"] == len(learnt)
    asked = load_track(place / TRACK, "test")
    assert set(asked.space_group.tolist()) <= set(prior.space_groups)


def test_the_track_its_training_and_pymatgen_have_one_physics(place):
    """Displacements of the CIFs act in none of them."""
    frozen = load_track(place / TRACK, "test")
    source, said = open_real_crystals(
        f"import:{place / 'imported'}", None, None, 1,
        RealChoices(physics="paper", fixed_sizes=2),
    )  # fmt: skip
    assert said["physics"] == "paper"
    at = np.array([source.ids.index(name) for name in frozen.ids])
    size = frozen.crystallite_size_nm
    trained_on = render(take_peaks(source.peaks, at), frozen.grid, size)
    judged = frozen.take(np.arange(len(frozen))).intensity
    rp = np.abs(trained_on - judged).sum(axis=1) / judged.sum(axis=1)
    # What is left is the rounding of frozen peaks.
    assert rp.max() < 5e-4, rp.max()
    crystals, _ = load_import(place / "imported")
    assert {site.b_iso for site in crystals[0].sites} == {B_ISO}
    for row in np.argsort(source.crystals.volume)[::40]:
        file = next((place / "export").rglob(f"*{source.ids[row]}.cif"))
        theirs = XRDCalculator(1.5406).get_pattern(
            Structure.from_file(file), two_theta_range=(5.0, 90.0)
        )
        peaks = take_peaks(source.peaks, np.array([row]))
        edges = [-np.inf, *[(a + b) / 2 for a, b in pairwise(theirs.x)], np.inf]
        ours = np.histogram(peaks.two_theta, edges, weights=peaks.intensity)[0]
        ours *= 100.0 / ours.max()
        np.testing.assert_allclose(ours, theirs.y, rtol=0.0, atol=1e-6)


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


def test_shards_know_what_their_prior_was_fitted_on(place, fitted):
    pxrdbench(
        "generate", "--prior", fitted, "--samples", 32, "--workers", 1, "--out",
        place / "shards",
    )  # fmt: skip
    (kept,) = (place / "shards").glob("prior-*.npz")
    learnt = Learnt.read(kept, load_prior(fitted).learnt)
    assert len(learnt.crystals) == len(load_track(place / TRACK, "statistics"))
    model = train(
        place, "drawn", "--shards", place / "shards", "--model", "park-cnn-small"
    )
    said = pxrdbench("eval", model, "--track", place / TRACK, "--out", model.parent)
    assert "unknown" not in said and "has seen the test part" not in said
    evaluation = Evaluation.from_json((model.parent / "evaluation.json").read_text())
    provenance = evaluation.model["provenance"]
    assert provenance["types learnt from"] == "0"
    assert provenance["has seen the test part"] == "no"


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
