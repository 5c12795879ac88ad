"""Averages, parts of steps, fine-tuning, files kept, errors with a remedy."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from memory_source import SMALL_GRID, MemorySource
from trained import StopAfter, assert_same_weights, config, weights

from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import load_checkpoint, load_classifier
from pxrdbench.learning.tasks import TaskSet, class_names, find_numbers
from pxrdbench.learning.training.optimization import explain_out_of_memory, rate_factor
from pxrdbench.learning.training.trainer import fit

pytestmark = pytest.mark.usefixtures("tiny_model")

HELD_OUT = {"synthetic": MemorySource().batch(100_000, 60)}


@pytest.mark.parametrize("stop_at", [96, 320, 500])
def test_a_resumed_run_with_an_average_goes_on_bit_for_bit(tmp_path, stop_at):
    options = {"average": 0.98, "accumulate": 2, "schedule": "constant"}
    whole = fit(config(tmp_path / "whole", **options), MemorySource(), {})
    fit(config(tmp_path / "part", **options), StopAfter(stop_at, signal.SIGTERM), {})
    part = tmp_path / "part"
    rest = fit(config(part, resume=True, **options), MemorySource(), {})
    one, other = (load_checkpoint(r.checkpoint) for r in (whole, rest))
    assert_same_weights(one.state_dict, other.state_dict)
    assert_same_weights(one.training["weights"], other.training["weights"])
    for state in zip(
        one.training["optimizer"]["state"].values(),
        other.training["optimizer"]["state"].values(),
        strict=True,
    ):
        assert all(torch.equal(state[0][k], state[1][k]) for k in state[0])


def test_the_average_is_what_is_kept_and_evaluated(tmp_path):
    plain = fit(config(tmp_path / "1"), MemorySource(), HELD_OUT)
    report = fit(config(tmp_path / "2", average=0.9), MemorySource(), HELD_OUT)
    kept = load_checkpoint(report.checkpoint)
    assert_same_weights(weights(plain.checkpoint), kept.training["weights"])
    assert not torch.equal(
        kept.state_dict["layer.weight"], kept.training["weights"]["layer.weight"]
    )
    classifier = load_classifier(report.checkpoint)
    batch = HELD_OUT["synthetic"]
    best = classifier.predict(batch.intensity).argmax(1)
    found = np.array(classifier.space_groups)[best]
    assert np.mean(found == batch.space_group) == report.accuracy["synthetic_top_1"]


def test_parts_of_a_step_add_up_to_it(tmp_path):
    whole = fit(config(tmp_path / "1", patterns=96), MemorySource(), {})
    parts = fit(config(tmp_path / "2", patterns=96, accumulate=5), MemorySource(), {})
    for name, value in weights(whole.checkpoint).items():
        other = weights(parts.checkpoint)[name]
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)


def test_the_best_and_the_last_looks_are_kept(tmp_path):
    options = {"patterns": 6400, "evaluations": 5, "keep": 2, "batch_size": 16}
    report = fit(config(tmp_path, **options), MemorySource(), HELD_OUT)
    kept = sorted(tmp_path.glob("patterns-*.pt"))
    assert len(kept) == 2
    assert load_checkpoint(kept[-1]).patterns_seen == 6400
    best = load_classifier(tmp_path / "best.pt")
    batch = HELD_OUT["synthetic"]
    found = np.array(best.space_groups)[best.predict(batch.intensity).argmax(1)]
    assert np.mean(found == batch.space_group) >= report.accuracy["synthetic_top_1"]
    assert not best.checkpoint.training


def test_processor_time_ends_a_run(tmp_path):
    report = fit(
        config(tmp_path, patterns=None, cpu_minutes=0.5 / 60), MemorySource(), {}
    )
    assert 0.5 <= report.cpu_seconds < 3
    assert load_checkpoint(report.checkpoint).training["cpu_seconds"] >= 0.5


def test_fine_tuning_begins_with_the_weights_of_a_checkpoint(tmp_path):
    first = fit(config(tmp_path / "1", patterns=3200), MemorySource(), HELD_OUT)
    tuned = fit(
        config(
            tmp_path / "2",
            patterns=32,
            start_from=first.checkpoint,
            learning_rate=1e-9,
        ),
        MemorySource(),
        HELD_OUT,
    )
    assert tuned.accuracy == first.accuracy
    assert tuned.patterns_seen == 32


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (MemorySource(space_groups=(1, 2, 3, 4)), {}, "--classes 2,14,62,225"),
        (MemorySource(), {"model": "park-cnn-small"}, "give --model tiny"),
        (MemorySource(), {"tasks": ("space_group", "crystal_system")}, "same grid"),
    ],
)
def test_a_checkpoint_that_cannot_be_tuned_is_refused(
    tmp_path, source, options, message
):
    first = fit(config(tmp_path / "1", patterns=32), MemorySource(), {})
    if options.get("model"):
        source.grid = replace(SMALL_GRID, points=1001)
    with pytest.raises(ModelError, match=message):
        fit(config(tmp_path / "2", start_from=first.checkpoint, **options), source, {})


def test_memory_that_runs_out_is_told_with_a_remedy(tmp_path, monkeypatch):
    fit(config(tmp_path, patterns=64), MemorySource(), {})
    before = (tmp_path / "last.pt").read_bytes()

    def full(self, encoded):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")

    from tiny_network import TinyNetwork

    monkeypatch.setattr(TinyNetwork, "classify", full)
    with pytest.raises(ModelError, match="batch_size 16 with accumulate 2"):
        fit(config(tmp_path), MemorySource(), {})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert explain_out_of_memory(torch.OutOfMemoryError("CUDA"), 8) is not None
    assert explain_out_of_memory(RuntimeError("shapes differ"), 8) is None


def test_the_reference_halves_its_rate_three_times():
    epochs = np.arange(0, 2000)
    rates = [rate_factor("halving", 0, 0.0, int(e) * 130_500) for e in epochs]
    changes = np.flatnonzero(np.diff(rates)) + 1
    assert changes.tolist() == [499, 999, 1499, 1999]
    assert rates[0] == 1.0
    assert rates[1998] == 0.125


@pytest.mark.parametrize(
    "tasks",
    [
        ("crystal_system",),
        ("extinction_group",),
        ("space_group", "crystal_system", "extinction_group"),
    ],
)
def test_other_tasks_are_learnt_alone_or_together(tmp_path, tasks):
    report = fit(config(tmp_path, patterns=3200, tasks=tasks), MemorySource(), HELD_OUT)
    for task in tasks:
        name = "synthetic_top_1" if task == "space_group" else f"synthetic_{task}"
        assert report.accuracy[name] > 0.85
    checkpoint = load_checkpoint(report.checkpoint)
    assert checkpoint.tasks == tasks
    classifier = load_classifier(report.checkpoint)
    x = HELD_OUT["synthetic"].intensity
    assert classifier.predict_outputs(x).shape[1] == checkpoint.task_set.n_outputs
    if "space_group" in tasks:
        assert classifier.predict(x).shape == (60, 4)
    else:
        with pytest.raises(ModelError, match="does not predict space_group"):
            classifier.predict(x)


def test_numbers_need_a_source_that_knows_cells(tmp_path):
    with pytest.raises(ModelError, match="does not know the cells"):
        fit(config(tmp_path, tasks=("lattice",)), MemorySource(), {})


def test_tasks_deal_out_the_outputs():
    tasks = TaskSet(("space_group", "lattice", "crystal_system"), (2, 14, 62, 225))
    assert tasks.n_outputs == 4 + 6 + 7
    assert tasks.columns("crystal_system") == slice(10, 17)
    assert class_names("extinction_group", (16, 25, 47)) == class_names(
        "extinction_group", (16,)
    )
    for wrong in ((), ("space_group", "space_group"), ("colour",)):
        with pytest.raises(ModelError, match="task"):
            TaskSet(wrong, (2, 14))


def test_cells_and_sizes_are_learnt_from_a_recipe(tmp_path):
    from pxrdbench.dataset.recipes.recipe import Recipe

    recipe = Recipe("open-v0", seed=3)
    held_out = {"synthetic": recipe.batch(2**30, 64)}
    assert find_numbers(held_out["synthetic"]).shape == (64, 7)
    report = fit(
        config(
            tmp_path,
            model="peak-network",
            patterns=2560,
            batch_size=128,
            learning_rate=3e-3,
            tasks=("lattice", "crystallite_size"),
        ),
        recipe,
        held_out,
    )
    # The median guess of a length that knows nothing is off by about a third.
    assert report.accuracy["synthetic_lattice_error"] < 0.3
    assert report.accuracy["synthetic_crystallite_size_error"] < 0.6


@pytest.mark.parametrize(
    "options",
    [
        {"patterns": None, "minutes": 1.0, "cpu_minutes": 1.0},
        {"schedule": "steps"},
        {"optimizer": "sgd"},
        {"precision": "half"},
        {"average": 1.0},
        {"keep": -1},
        {"accumulate": 0},
    ],
)
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises(ModelError):
        config(tmp_path, **options)
