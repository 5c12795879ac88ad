"""Forward passes against plain numpy, overfitting, exports, forests, mixtures."""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_source import MemorySource
from numpy.lib.stride_tricks import sliding_window_view

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.learning.loading.mixture import MixedRecipes
from pxrdbench.learning.loading.real_crystals import open_real_crystals
from pxrdbench.learning.models.checkpoint import (
    Checkpoint,
    load_classifier,
    save_checkpoint,
)
from pxrdbench.learning.models.onnx_export import (
    OnnxReport,
    _refuse_other,
    export_onnx,
)
from pxrdbench.learning.models.release import cross_entropy, fit_temperature
from pxrdbench.learning.networks.peak_forest import PeakForest, peak_features
from pxrdbench.learning.networks.peak_network import find_peaks
from pxrdbench.learning.networks.registry import (
    available_models,
    build_model,
    find_model,
)
from pxrdbench.learning.networks.scan_features import ScanFeatures
from pxrdbench.learning.training.class_list import parse_class_list
from pxrdbench.learning.training.config import TrainConfig
from pxrdbench.learning.training.experiments import (
    EXPERIMENTS,
    find_experiment,
    measure_step_rate,
)
from pxrdbench.learning.training.request import TrainRequest
from pxrdbench.learning.training.trainer import fit
from pxrdbench.tracks.load import load_track

GRID = TwoThetaGrid(5.0, 90.0, 2126)


# --- an independent forward pass: numpy only, written from the specification ---------


def same(x, kernel, stride, value=0.0):
    """Pad channels (c, n) as TensorFlow's "same" does."""
    n = x.shape[1]
    missing = max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
    left = missing // 2
    return np.pad(x, ((0, 0), (left, missing - left)), constant_values=value)


def conv(x, weight, bias=None, stride=1):
    windows = sliding_window_view(same(x, weight.shape[2], stride), weight.shape[2], 1)
    y = np.einsum("cnk,ock->on", windows[:, ::stride], weight, optimize=True)
    return y if bias is None else y + bias[:, None]


def group_norm(x, scale, offset):
    parts = x.reshape(32, -1)
    parts = parts - parts.mean(1, keepdims=True)
    parts = parts / np.sqrt((parts**2).mean(1, keepdims=True) + 1e-3)
    return parts.reshape(x.shape) * scale[:, None] + offset[:, None]


def numpy_weights(network):
    return {k: v.double().numpy() for k, v in network.state_dict().items()}


def park(w, x):
    for i, (stride, pool, step) in enumerate(((5, 3, 2), (5, 3, 3), (2, 3, 3))):
        name = f"features.{3 * i}"
        x = np.maximum(conv(x, w[f"{name}.weight"], w[f"{name}.bias"], stride), 0)
        x = sliding_window_view(x, pool, 1)[:, ::step].mean(-1)
    x = x.reshape(-1)
    for i in (0, 2, 4):
        x = w[f"head.{i}.weight"] @ x + w[f"head.{i}.bias"]
        x = np.maximum(x, 0) if i < 4 else x
    return x


def resnet(w, x, blocks, kernels):
    def unit(x, name, stride=1):
        y = conv(x, w[f"{name}.0.weight"], stride=stride)
        return group_norm(y, w[f"{name}.1.weight"], w[f"{name}.1.bias"])

    x = np.maximum(unit(np.sqrt(np.maximum(x, 0)), "features.0", 2), 0)
    x = sliding_window_view(same(x, 3, 2, -np.inf), 3, 1)[:, ::2].max(-1)
    place = 3
    for stage, n in enumerate(blocks):
        for block in range(n):
            stride = 4 if stage and not block else 1
            name = f"features.{place}"
            y = x
            for i, kernel in enumerate(kernels):
                first_nine = kernel == 9 and 9 not in kernels[:i]
                y = unit(y, f"{name}.residual.{2 * i}", stride if first_nine else 1)
                y = np.maximum(y, 0) if i + 1 < len(kernels) else y
            x = unit(x, f"{name}.shortcut", stride) if not block else x
            x = np.maximum(x + y, 0)
            place += 1
    x = w["head.0.weight"] @ x.reshape(-1) + w["head.0.bias"]
    return w["head.1.weight"] @ x + w["head.1.bias"]


@pytest.mark.parametrize(
    ("name", "points", "plain"),
    [
        ("park-cnn-small", 1203, park),
        ("resnet-10", 403, lambda w, x: resnet(w, x, (1, 1, 1, 1), (9, 9))),
        ("resnet-50", 203, lambda w, x: resnet(w, x, (3, 4, 6, 3), (1, 9, 1))),
    ],
)
def test_the_forward_pass_is_that_of_plain_numpy(name, points, plain):
    torch.manual_seed(0)
    network = build_model(name, 5, points).eval()
    for module in network.modules():  # scales of one hide a wrong order
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    x = np.random.default_rng(1).random((1, points))
    with torch.no_grad():
        found = network.double()(torch.tensor(x)[None])[0].numpy()
    np.testing.assert_allclose(found, plain(numpy_weights(network), x), rtol=1e-9)


def test_a_mask_is_a_second_channel():
    network = build_model("resnet-10", 4, 403, mask=True)
    assert network(torch.rand(2, 2, 403)).shape == (2, 4)
    with pytest.raises(ModelError, match="no channel for a mask"):
        build_model("peak-network", 4, mask=True)


# --- what the better networks look at ------------------------------------------------


@pytest.fixture(scope="module")
def patterns():
    return Recipe("open-v0", seed=4, grid=GRID).batch(0, 24)


def test_peaks_do_not_depend_on_a_background_or_a_scale(patterns):
    features = ScanFeatures(GRID)
    x = torch.tensor(patterns.intensity)[:, None]
    ramp = torch.linspace(0.4, 0.1, GRID.points)
    plain, raised = features(x), features(0.6 * x + 0.3 * ramp)
    n = features.n_peaks
    is_high = plain[:, 2 * n : 3 * n] > 0.05
    here, there = (f[:, :n] + f[:, n : 2 * n] for f in (plain, raised))
    # Small peaks may drown or appear, so that the numbers of the others change.
    moved = (here[:, :, None] - there[:, None]).abs().amin(2)[is_high]
    assert len(moved) > 100
    assert float((moved < 5e-3).float().mean()) > 0.9


def test_ratios_do_not_depend_on_the_size_of_the_cell():
    grid = TwoThetaGrid(5.0, 90.0, 8501)
    features = ScanFeatures(grid)
    angles = np.deg2rad(grid.angles())
    rows = []
    for scale in (1.0, 1.3):
        q = scale * 0.04 * np.array([1.0, 2.0, 3.0, 4.0, 5.0])
        centres = 2 * np.arcsin(np.sqrt(q))
        log_q, log_c = np.log(np.sin(angles / 2) ** 2)[:, None], np.log(q)
        rows.append(np.exp(-0.5 * ((log_q - log_c) / 0.004) ** 2).sum(1))
        assert centres[-1] < angles[-1]
    x = torch.tensor(np.array(rows), dtype=torch.float32)[:, None]
    n_sums = features.sizes[-1]
    found = features(x / x.amax(2, keepdim=True))
    ratios, sums = found[:, -2 * n_sums : -n_sums], found[:, -n_sums:]
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(ratios[:1], ratios[1:]) > 0.9
    assert cosine(sums[:1], sums[1:]) < 0.8


def test_unmeasured_ends_are_no_peaks(patterns):
    features = ScanFeatures(GRID)
    x = patterns.intensity * 0.8 + 0.2
    x[:, :300] = 0
    x[:, -400:] = 0
    found = features(torch.tensor(x, dtype=torch.float32)[:, None])
    n = features.n_peaks
    angle = found[:, :n] + found[:, n : 2 * n]
    there = angle[angle > 0]
    first, last = GRID.angles()[300], GRID.angles()[-400]
    assert there.min() > first - 0.1
    assert there.max() < last + 0.1


def test_positions_in_double_precision_are_those_in_single(patterns):
    x = torch.tensor(patterns.intensity)
    one, two = find_peaks(x, GRID, 20), find_peaks(x, GRID, 20, double=True)
    assert two.dtype == torch.float64
    torch.testing.assert_close(one, two.float(), rtol=1e-5, atol=1e-4)


# --- learning ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("model", ["scan-network", "peak-network-wide"])
def test_256_patterns_are_learnt_by_heart(tmp_path, model):
    recipe = Recipe("open-v0", seed=9, grid=GRID)
    batch = recipe.batch(0, 256)

    class Few(MemorySource):
        def batch(self, start, count):
            rows = np.arange(start, start + count) % 256
            return replace(
                batch,
                intensity=batch.intensity[rows],
                space_group=batch.space_group[rows],
                crystallite_size_nm=batch.crystallite_size_nm[rows],
                index=rows,
                crystals=None,
            )

    source = Few(256, space_groups=recipe.space_groups, grid=GRID)
    report = fit(
        TrainConfig(
            model=model,
            out=tmp_path,
            patterns=64 * 256,
            batch_size=256,
            threads=1,
            loader_workers=0,
            learning_rate=2e-3,
            evaluations=0,
        ),
        source,
        {"synthetic": batch},
    )
    assert report.accuracy["synthetic_top_1"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"compile": True}])
def test_other_ways_to_compute_learn_too(tmp_path, tiny_model, options):
    report = fit(
        TrainConfig(
            model=tiny_model,
            out=tmp_path,
            patterns=3200,
            batch_size=32,
            threads=1,
            **options,
        ),
        MemorySource(),
        {"synthetic": MemorySource().batch(100_000, 60)},
    )
    assert report.accuracy["synthetic_top_1"] > 0.85


def test_recipes_take_turns():
    recipe = Recipe("open-v0", seed=2, grid=GRID)
    mixed = MixedRecipes.from_names(recipe, ("clean", "laboratory-partial"), 8)
    clean, partial = mixed.batch(16, 8), mixed.batch(8, 8)
    np.testing.assert_array_equal(clean.intensity, recipe.batch(16, 8).intensity)
    assert clean.mask is None
    assert partial.mask is not None
    assert not partial.mask.all()
    np.testing.assert_array_equal(partial.space_group, recipe.batch(8, 8).space_group)
    assert mixed.digest != MixedRecipes.from_names(recipe, ("clean",), 8).digest
    both = mixed.batch(4, 8)
    np.testing.assert_array_equal(both.index, np.arange(4, 12))
    np.testing.assert_array_equal(both.intensity[:4], mixed.batch(4, 4).intensity)
    np.testing.assert_array_equal(both.intensity[4:], mixed.batch(8, 4).intensity)
    assert both.mask[:4].all()
    assert not both.mask[4:].all()
    assert len(both.crystals) == 8


# --- what goes out -------------------------------------------------------------------


# The others of a family differ in depth and width alone; all 19 were exported by hand
# (`python tests/learning/networks/test_networks.py`).
EXPORTED = ("peak-network-light", "scan-network", "park-cnn-small", "resnet-10")


def export_untrained(folder, model, n_patterns):
    torch.manual_seed(0)
    groups = tuple(range(1, 31))
    network = build_model(model, len(groups), grid=GRID)
    path = folder / "model.pt"
    state = network.state_dict()
    radiation = Recipe("open-v0").radiation
    save_checkpoint(
        path, Checkpoint(model, state, groups, GRID, radiation, temperature=1.7)
    )
    return export_onnx(path, folder / "model.onnx", n_patterns)


@pytest.mark.parametrize("model", EXPORTED)
def test_an_exported_model_says_the_same(tmp_path, model):
    pytest.importorskip("onnxscript")
    report = export_untrained(tmp_path, model, 40)
    assert report.relative < 1e-3
    assert report.n_other_guesses == 0
    assert report.accuracy == report.accuracy_onnx
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.pt"]


@pytest.mark.parametrize(
    ("changes", "tolerance", "message"),
    [
        ({"n_other_guesses": 2}, 0.01, "another one for 2 of 1000"),
        ({"difference": 0.048}, 0.01, "1.2e-02 of their spread, more than 0.01"),
        ({"difference": float("nan")}, 0.01, "more than 0.01"),
        ({"difference": 0.05}, 0.02, ""),
        ({"n_other_guesses": 1, "difference": 3e-3}, 0.01, ""),
    ],
)
def test_an_export_is_judged_by_its_guesses_and_the_spread(changes, tolerance, message):
    told = {"path": Path("m.onnx"), "n_bytes": 1, "n_patterns": 1000,
            "difference": 0.0, "spread": 4.0, "n_other_guesses": 0,
            "accuracy": 0.5, "accuracy_onnx": 0.5}  # fmt: skip
    report = OnnxReport(**{**told, **changes})
    if not message:
        _refuse_other(report, tolerance)
        return
    with pytest.raises(ModelError, match=message):
        _refuse_other(report, tolerance)


def test_a_temperature_calibrates():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    label = np.array([rng.choice(5, p=row / row.sum()) for row in p.astype(float)])
    assert fit_temperature(3 * logits, label) == pytest.approx(3.0, rel=0.15)
    assert cross_entropy(logits, label) < cross_entropy(3 * logits, label)


def test_a_forest_is_kept_without_a_pickle(tmp_path):
    source = Recipe("open-v0", seed=6, grid=GRID)
    batch = source.batch(0, 300)
    assert peak_features(batch.intensity, GRID).shape == (300, 138)
    forest = PeakForest.fit(
        batch.intensity, batch.space_group, GRID, source.radiation, n_trees=12
    )
    own = np.array(forest.space_groups)[forest.predict(batch.intensity).argmax(1)]
    assert np.mean(own == batch.space_group) > 0.8
    forest.save(tmp_path / "forest.npz")
    again = PeakForest.load(tmp_path / "forest.npz")
    np.testing.assert_array_equal(
        again.predict(batch.intensity), forest.predict(batch.intensity)
    )
    assert again.space_groups == forest.space_groups
    with pytest.raises(ModelError, match="forest reads"):
        forest.predict(batch.intensity[:, :100])
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="holds no forest"):
        PeakForest.load(tmp_path / "no.npz")


def test_a_forest_gives_the_shares_of_scikit_learn():
    from sklearn.ensemble import RandomForestClassifier

    source = Recipe("open-v0", seed=6, grid=GRID)
    batch = source.batch(0, 200)
    forest = PeakForest.fit(
        batch.intensity, batch.space_group, GRID, source.radiation, n_trees=5, seed=3
    )
    features = peak_features(batch.intensity, GRID)
    first = int(np.random.default_rng(3).integers(2**31, size=5)[0])
    theirs = RandomForestClassifier(5, random_state=first)
    theirs.fit(features, batch.space_group)
    other = peak_features(source.batch(500, 50).intensity, GRID)
    np.testing.assert_allclose(
        forest._shares(other), theirs.predict_proba(other), atol=1e-3
    )


# --- published runs, class lists, real crystals --------------------------------------


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_published_run_can_be_started(tmp_path, name):
    experiment = find_experiment(name)
    assert find_model(experiment.model)
    source = "import:somewhere" if experiment.is_real else None
    asked = TrainRequest(preset=name, source=source, out=tmp_path)
    config = replace(asked, patterns=10).to_config()
    assert config.patterns == 10
    assert config.optimizer == "adam"
    assert (config.batch_size, config.learning_rate) in ((870, 1e-3), (145, 1e-4))
    whole = asked.to_config()
    assert whole.patterns in (None, 130_500_000, 261_000_000)


def test_a_step_is_timed_before_a_run_begins():
    assert measure_step_rate("park-cnn-small", 145, GRID, seconds=0.05) > 1
    with pytest.raises(ModelError, match="schopmans2023/resnet-101"):
        find_experiment("schopmans2023/resnet-102")


def test_class_lists():
    assert len(parse_class_list("open-145", ())) == 145
    assert parse_class_list("all", ()) == tuple(range(1, 231))
    assert parse_class_list("source", (2, 14)) == (2, 14)
    for wrong in ("0,4", "2,2", "cubic", ""):
        with pytest.raises(ModelError, match="class list"):
            parse_class_list(wrong, ())
    assert {"park-cnn-big-dropout", "resnet-50-plain"} <= set(available_models())


def test_only_the_statistics_part_may_be_learnt_from(tmp_path):
    for name, message in (
        ("track:open/structure-type/test", "there to judge"),
        ("shards", "is no source"),
    ):
        with pytest.raises(ModelError, match=message):
            open_real_crystals(name, None, None, 0)


def test_real_crystals_have_the_patterns_of_their_track(monkeypatch):
    """The source renders crystals of ``dev`` to what the track froze."""
    from pxrdbench.tracks import crystals as track_crystals
    from pxrdbench.tracks.load import load_table

    part = load_track("open/structure-type", "dev")
    some = load_table("open/structure-type", "dev").slice(0, 4)
    monkeypatch.setattr(track_crystals, "load_table", lambda *_: some)
    source, about = open_real_crystals(
        "track:open/structure-type/statistics", None, None, 3
    )
    order = [part.ids.index(name) for name in source.ids]
    assert about["restricted"] is False
    assert sum(about["shares"].values()) == pytest.approx(1.0)
    sizes = part.crystallite_size_nm[order]
    monkeypatch.setattr(type(source), "sizes", lambda *_: sizes)
    batch = source.batch(0, 4)
    expected = np.stack([part.batch(row, 1).intensity[0] for row in order])
    np.testing.assert_allclose(batch.intensity, expected, atol=2e-3)
    assert batch.crystals is not None
    again = source.with_epoch(1)
    assert again.epoch == 1


def test_the_shipped_model_reads_a_scan():
    from pxrdbench.learning.models.release import shipped_model

    path = shipped_model("lab-v0")
    assert path.stat().st_size <= 8_000_000
    classifier = load_classifier(path)
    recipe = Recipe("open-v0", seed=77, grid=classifier.grid, measurement="laboratory")
    batch = recipe.batch(0, 200)
    best = np.argsort(-classifier.predict(batch.intensity), axis=1)[:, :5]
    groups = np.array(classifier.space_groups)[best]
    assert np.mean((groups == batch.space_group[:, None]).any(1)) > 0.4
    with pytest.raises(ModelError, match="shipped are: lab-v0"):
        shipped_model("lab-v9")


if __name__ == "__main__":
    for name in sys.argv[1:] or available_models():
        with tempfile.TemporaryDirectory() as place:
            made = export_untrained(Path(place), name, 40)
        print(f"{name}: {made.relative:.1e} of the spread, "
              f"{made.n_other_guesses} other guesses")  # fmt: skip
