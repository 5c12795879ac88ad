"""`px.evaluate` and `pxrdbench eval` take the same things and give equal numbers."""

import json
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from small_track import CLASSES, GRID, FixedClassifier

import pxrdbench as px
from pxrdbench.benchmark.foreign import open as foreign_model
from pxrdbench.benchmark.scoring.predict import predict_track
from pxrdbench.cli import main
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.errors import OptionError
from pxrdbench.learning.models.checkpoint import (
    Checkpoint,
    load_classifier,
    save_checkpoint,
)
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.studies.randomisation import study_randomisation
from pxrdbench.studies.robustness import measure_robustness

TRACK = "aflow/prototypes"
CONTRACT = {
    "space_groups": list(CLASSES),
    "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
    "radiation": "CuKa1",
    "model": "peak-network",
}
OWN_CODE = """
import numpy as np
from pxrdbench.diffraction.pattern import TwoThetaGrid

class Mine:
    space_groups = (225, 62, 14, 2, 194, 76, 78)
    grid = TwoThetaGrid(5.0, 90.0, 1701)

    def __init__(self, weights):
        self.weights = np.fromfile(weights, "<f4").reshape(1701, 7)

    def predict(self, intensity):
        return (intensity @ self.weights).astype(np.float32)

def make(weights=None):
    return Mine(weights)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same network in every form, and the same matrix in two."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = build_model("peak-network", len(CLASSES), grid=GRID).eval()
    weights = network.state_dict()
    known = Checkpoint(
        "peak-network", dict(weights), CLASSES, GRID, Radiation.parse("CuKa1")
    )
    (folder / "run").mkdir()
    save_checkpoint(folder / "run" / "last.pt", known)
    save_file(weights, folder / "a.safetensors")
    torch.save(weights, folder / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        (folder / f"{name}.json").write_text(json.dumps(CONTRACT))
    matrix = np.random.Generator(np.random.PCG64(0)).normal(0, 1, (GRID.points, 7))
    matrix.astype("<f4").tofile(folder / "w.bin")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", GRID.points])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(matrix.astype(np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, str(folder / "a.onnx"))
    (folder / "a.onnx.json").write_text(json.dumps({**CONTRACT, "model": ""}))
    (folder / "mine.py").write_text(OWN_CODE)
    part = px.load_track(TRACK)
    predict_track(FixedClassifier(), part).write(folder / "p.h5")
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    point = EntryPoint("my-model", "mine:make", foreign_model.CLASSIFIERS_GROUP)
    monkeypatch.setattr(
        foreign_model,
        "entry_points",
        lambda group: [point] if group == foreign_model.CLASSIFIERS_GROUP else [],
    )
    # Figures are no numbers.
    monkeypatch.setattr(
        "pxrdbench.benchmark.report.page.write_report", lambda *a, **k: None
    )
    yield folder
    shutil.rmtree("out", ignore_errors=True)


KINDS = {
    "checkpoint": ("run/last.pt", None),
    "run": ("run", None),
    "safetensors": ("a.safetensors", None),
    "state dict": ("a.pt", None),
    "ONNX": ("a.onnx", None),
    "own code": ("mine:make", "w.bin"),
    "entry point": ("my-model", "w.bin"),
    "registered name": ("peak-network", "a.safetensors"),
    "stored predictions": ("p.h5", None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_verb_and_the_function_are_one_deed(kind, here, monkeypatch):
    model, weights = KINDS[kind]
    command = ["eval", model, "--track", TRACK, "--out", "out"]
    monkeypatch.setattr(
        "sys.argv",
        ["pxrdbench", *command, *(["--weights", weights] if weights else [])],
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    found = px.evaluate(model, TRACK, weights=weights)
    assert json.loads(Path("out/evaluation.json").read_text()) == json.loads(
        found.to_json()
    )
    if kind in ("checkpoint", "safetensors"):
        # A network is the same network in whatever file.
        home = px.evaluate(load_classifier("run"), TRACK)
        assert home.metrics == found.metrics


def test_what_cannot_act_on_a_model_is_refused(here):
    for model, options in (
        ("p.h5", {"weights": "w.bin"}),
        ("p.h5", {"model_name": "mine"}),
        (FixedClassifier(), {"weights": "w.bin"}),
        ("run", {"weights": "w.bin"}),
    ):
        with pytest.raises(OptionError, match="cannot act on"):
            px.evaluate(model, TRACK, **options)


def test_studies_open_what_evaluate_opens(here):
    one = measure_robustness("run", TRACK, count=6, effects=["zero-shift"], part="test")
    other = measure_robustness(
        load_classifier("run/last.pt"),
        px.load_track(TRACK),
        count=6,
        effects=["zero-shift"],
    )
    assert one == other
    with pytest.raises(OptionError, match="cannot act on"):
        study_randomisation("run", None, "open-v0", weights="w.bin")
