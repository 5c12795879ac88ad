import csv
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from memory_source import MemorySource
from trained import StopAfter, assert_same_weights, config, weights

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import load_checkpoint, load_classifier
from pxrdbench.learning.training.progress import top_k_accuracy
from pxrdbench.learning.training.run import learning_rate_factor
from pxrdbench.learning.training.trainer import fit, train

pytestmark = pytest.mark.usefixtures("tiny_model")

HELD_OUT = {"synthetic": MemorySource().batch(100_000, 60)}


def test_a_network_learns_what_there_is_to_learn(tmp_path):
    report = fit(config(tmp_path, patterns=3200), MemorySource(), HELD_OUT)
    assert report.patterns_seen == 3200
    assert report.accuracy["synthetic_top_1"] > 0.9
    assert not report.is_interrupted
    assert report.checkpoint == tmp_path / "last.pt"
    classifier = load_classifier(report.checkpoint)
    batch = HELD_OUT["synthetic"]
    best = classifier.predict(batch.intensity).argmax(1)
    found = np.array(classifier.space_groups)[best]
    assert np.mean(found == batch.space_group) == report.accuracy["synthetic_top_1"]
    assert report.n_parameters == sum(
        p.numel() for p in classifier.checkpoint.build().parameters()
    )


def test_the_same_run_gives_the_same_weights_and_another_seed_others(tmp_path):
    first = fit(config(tmp_path / "1"), MemorySource(), {})
    second = fit(config(tmp_path / "2", loader_workers=2), MemorySource(), {})
    third = fit(config(tmp_path / "3", seed=1), MemorySource(), {})
    assert_same_weights(weights(first.checkpoint), weights(second.checkpoint))
    one, other = weights(first.checkpoint), weights(third.checkpoint)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(tmp_path, signum):
    whole = fit(config(tmp_path / "whole"), MemorySource(), {})
    part = fit(config(tmp_path / "part"), StopAfter(320, signum), {})
    assert part.is_interrupted
    assert 0 < part.patterns_seen < 640
    rest = fit(config(tmp_path / "part", resume=True), MemorySource(), {})
    assert rest.patterns_seen == 640
    assert rest.seconds > part.seconds
    assert_same_weights(weights(whole.checkpoint), weights(rest.checkpoint))


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threads = torch.get_num_threads()
    fit(config(tmp_path, patterns=64), MemorySource(), {})
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert torch.get_num_threads() == threads


def test_a_run_in_another_thread_needs_no_signals(tmp_path):
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(
            fit(config(tmp_path, patterns=64), MemorySource(), {})
        )
    )
    thread.start()
    thread.join()
    assert reports[0].patterns_seen == 64


def test_minutes_are_kept(tmp_path):
    started = time.perf_counter()
    report = fit(
        config(tmp_path, patterns=None, minutes=1 / 60), MemorySource(), HELD_OUT
    )
    assert time.perf_counter() - started < 4
    assert report.seconds == pytest.approx(1.0, abs=0.5)
    assert report.patterns_seen > 0
    rate = load_checkpoint(report.checkpoint).training["optimizer"]["param_groups"][0]
    assert rate["lr"] < 0.1 * 2e-2  # the schedule came to its end


def test_the_log_and_the_progress_tell_the_same(tmp_path):
    told = []
    fit(
        config(tmp_path, patterns=6400, evaluations=4),
        MemorySource(),
        HELD_OUT,
        on_progress=told.append,
    )
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert int(rows[-1]["patterns_seen"]) == told[-1].patterns_seen == 6400
    assert float(rows[-1]["synthetic_top_1"]) == pytest.approx(
        told[-1].accuracy["synthetic_top_1"], abs=1e-4
    )
    assert told[-1].fraction == 1.0
    assert all(np.isfinite(progress.loss) for progress in told)
    assert told[-1].loss < told[0].loss
    assert 0 <= told[-1].waited <= 1
    assert told[-1].patterns_per_second > 0


def test_the_log_goes_on_with_the_run(tmp_path):
    fit(config(tmp_path), StopAfter(320), HELD_OUT)
    before = (tmp_path / "log.csv").read_text()
    fit(config(tmp_path, resume=True), MemorySource(), HELD_OUT)
    after = (tmp_path / "log.csv").read_text()
    assert after.startswith(before)
    assert after.count("patterns_seen") == 1
    fit(config(tmp_path), MemorySource(), HELD_OUT)
    assert not (tmp_path / "log.csv").read_text().startswith(before)


@pytest.mark.parametrize(
    ("source", "options", "provenance", "message"),
    [
        (MemorySource(space_groups=(1, 2, 3, 4)), {}, {}, "space_groups"),
        (MemorySource(), {"model": "resnet-10"}, {}, "its model is tiny"),
        (MemorySource(), {}, {"recipe_digest": "other"}, "recipe_digest"),
    ],
)
def test_a_checkpoint_of_something_else_is_not_gone_on_from(
    tmp_path, source, options, provenance, message
):
    fit(config(tmp_path, patterns=32), MemorySource(), {})
    with pytest.raises(ModelError, match=message):
        fit(
            config(tmp_path, resume=True, **options),
            source,
            {},
            provenance=provenance,
        )


def test_a_run_that_diverges_says_so_and_keeps_the_checkpoint(tmp_path):
    class Broken(MemorySource):
        def batch(self, start, count):
            batch = super().batch(start, count)
            return replace(batch, intensity=batch.intensity * np.float32("nan"))

    fit(config(tmp_path, patterns=64), MemorySource(), {})
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ModelError, match=r"diverged; try a learning rate below 0\.02"):
        fit(config(tmp_path), Broken(), {})
    assert (tmp_path / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        {"minutes": 1.0, "patterns": 10},
        {"patterns": 0},
        {"patterns": None, "minutes": -1.0},
        {"learning_rate": 0.0},
    ],
)
def test_a_config_that_contradicts_itself_is_refused(tmp_path, options):
    with pytest.raises(ModelError):
        config(tmp_path, **options)


def test_the_rate_rises_then_falls():
    whole = [learning_rate_factor(step, step / 10_000) for step in range(10_001)]
    top = int(np.argmax(whole))
    assert top < 500
    assert np.all(np.diff(whole[: top + 1]) > 0)
    assert np.all(np.diff(whole[top:]) <= 0)
    assert whole[-1] == pytest.approx(0.01)
    # A slow network takes few steps: the rate must rise within the run all the same.
    assert max(learning_rate_factor(step, step / 50) for step in range(51)) > 0.9


def test_unknown_groups_count_as_wrong():
    logits = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1]])
    space_group = np.array([14, 2, 225])
    assert top_k_accuracy(logits, space_group, (2, 14), 1) == pytest.approx(2 / 3)
    assert top_k_accuracy(logits, space_group, (2, 14), 2) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def recipe():
    return Recipe("open-v0", seed=5)


@pytest.fixture(scope="module")
def shards(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    Manifest(recipe.card, 200, 64).write(folder)
    for index in range(2):
        span = ShardSpan.of(index, 200)
        assert list(write_shard(recipe, folder, span, block_samples=64))
    return folder


@pytest.mark.parametrize("online", [True, False])
def test_shards_and_a_recipe_can_be_learnt_from(tmp_path, recipe, request, online):
    where = {"recipe": recipe}
    if not online:
        where = {"shards": request.getfixturevalue("shards")}
    report = train(
        config(
            tmp_path,
            model="peak-network",
            patterns=600,
            batch_size=100,
            held_out=40,
            **where,
        )
    )
    assert report.patterns_seen == 600
    assert set(report.accuracy) == {
        f"{name}_top_{k}" for name in ("synthetic", "real") for k in (1, 5)
    }
    checkpoint = load_checkpoint(report.checkpoint)
    assert checkpoint.space_groups == recipe.space_groups
    assert checkpoint.recipe_digest == recipe.digest
    assert checkpoint.prior_digest == recipe.prior.digest
    assert checkpoint.restricted is False
    assert checkpoint.grid == recipe.grid
    assert checkpoint.radiation == recipe.radiation


def test_training_needs_exactly_one_source(tmp_path, recipe):
    with pytest.raises(ModelError, match="either a folder of shards or a recipe"):
        train(config(tmp_path))
    with pytest.raises(ModelError, match="either a folder of shards or a recipe"):
        train(config(tmp_path, recipe=recipe, shards=tmp_path))
