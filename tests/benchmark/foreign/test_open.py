import hashlib
import json
import socket
import subprocess
import sys
import time
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from small_track import CLASSES, GRID, make_track

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.foreign import open as foreign_model
from pxrdbench.benchmark.foreign.files import find_kind
from pxrdbench.benchmark.foreign.open import (
    SandboxedClassifier,
    SandboxLimits,
    open_model,
)
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import predict_logits
from pxrdbench.learning.networks.registry import build_model

LIMITS = SandboxLimits(memory_bytes=2**29, answer_seconds=60.0)
CONTRACT = {
    "space_groups": list(CLASSES),
    "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
    "radiation": "CuKa1",
    "model": "peak-network",
}


class Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def with_sidecar(path: Path, **changes) -> Path:
    Path(f"{path}.json").write_text(json.dumps(CONTRACT | changes))
    return path


def make_onnx(path: Path, nodes, initializers=(), domains=()) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", GRID.points])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(initializers),
    )
    opsets = [
        helper.make_opsetid("", 17),
        *(helper.make_opsetid(d, 1) for d in domains),
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return with_sidecar(path, model="")


@pytest.fixture(scope="module")
def track():
    return make_track(30)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("peak-network", len(CLASSES), grid=GRID).eval()


def test_honest_weights_score_as_they_do_at_home(track, network, tmp_path):
    intensity = track.batch(0, 30).intensity
    wanted = predict_logits(network, intensity, GRID)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    torch.save(network.state_dict(), tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        model = open_model(with_sidecar(tmp_path / name), LIMITS)
        with model:
            assert np.allclose(model.predict(intensity), wanted, atol=1e-4)
            assert model.space_groups == CLASSES


def test_an_honest_onnx_scores_on_a_track(track, tmp_path):
    weights = np.random.Generator(np.random.PCG64(0)).normal(
        0, 1, (GRID.points, len(CLASSES))
    )
    tensor = numpy_helper.from_array(weights.astype(np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = make_onnx(tmp_path / "a.onnx", [node], [tensor])
    with SandboxedClassifier(path, limits=LIMITS) as model:
        intensity = track.batch(0, 30).intensity
        assert np.allclose(model.predict(intensity), intensity @ weights, atol=1e-3)
    steps = []
    evaluation = evaluate(
        path,
        track,
        out=tmp_path / "out",
        limits=LIMITS,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (30, 30)
    assert evaluation.model["name"] == "a"
    assert evaluation.model["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    stored = evaluate(tmp_path / "out" / "predictions.h5", track)
    assert stored == evaluation


def refuse(path, match, limits=LIMITS):
    with pytest.raises(ModelError, match=match) as caught:
        open_model(path, limits).close()
    assert "\n" not in str(caught.value)


def test_a_pickle_gets_nowhere(tmp_path):
    mark = tmp_path / "mark"
    torch.save({"w": Harm(mark)}, tmp_path / "zip.pt")
    refuse(with_sidecar(tmp_path / "zip.pt"), "could run code.*ONNX")
    torch.save(
        {"w": Harm(mark)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False
    )
    refuse(with_sidecar(tmp_path / "old.pt"), "bare pickle.*ONNX")
    assert not mark.exists()
    # The test can fail: an unguarded load makes the file.
    torch.load(tmp_path / "zip.pt", weights_only=False)
    assert mark.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_archives_with_code_are_refused(network, tmp_path):
    script = torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3))
    script.save(tmp_path / "script.pt")
    refuse(with_sidecar(tmp_path / "script.pt"), "TorchScript.*ONNX")
    exported = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(1, 3),))
    torch.export.save(exported, tmp_path / "exported.pt2")
    refuse(tmp_path / "exported.pt2", "none of .safetensors")
    (tmp_path / "exported.pt2").rename(tmp_path / "exported.pt")
    refuse(with_sidecar(tmp_path / "exported.pt"), r"torch\.export.*ONNX")


def test_a_doctored_export_gets_nowhere(tmp_path):
    """An archive as torch.export writes it, with a pickle that makes a file."""
    mark = tmp_path / "mark"
    torch.save({"w": Harm(mark)}, tmp_path / "inner.pt")
    with zipfile.ZipFile(tmp_path / "inner.pt") as inner:
        pickled = inner.read("inner/data.pkl")
    for number, entry in enumerate(("models/model.json", "constants.pkl", "data.pkl")):
        path = tmp_path / f"doctored{number}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/archive_format" if number < 2 else "a/version", b"pt2")
            archive.writestr(f"a/{entry}", pickled)
        with pytest.raises(ModelError) as caught:
            evaluate(with_sidecar(path), "aflow/prototypes", limits=LIMITS)
        assert "\n" not in str(caught.value)
        # Neither by name, with the file as weights.
        with pytest.raises(ModelError):
            open_model("peak-network", LIMITS, weights=path)
    assert not mark.exists()


def test_bombs_and_ways_out_of_an_archive_are_refused(tmp_path):
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(50_000_000))
    refuse(with_sidecar(bomb), "would grow from .* to 50,000,000 bytes")
    for number, name in enumerate(("../up", "a/../../up", "/etc/up", "a\\..\\up")):
        path = tmp_path / f"out{number}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"")
        refuse(with_sidecar(path), "leaves its archive")


def test_data_elsewhere_and_foreign_operators_are_refused(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * GRID.points * len(CLASSES)))
    tensor = TensorProto(
        name="w",
        data_type=TensorProto.FLOAT,
        dims=[GRID.points, len(CLASSES)],
        data_location=TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value=str(secret))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = make_onnx(tmp_path / "external.onnx", [node], [tensor])
    refuse(path, "'w' lie in another file")
    inner = helper.make_node("Constant", [], ["w"], value=tensor)
    path = make_onnx(tmp_path / "hidden.onnx", [inner, node])
    refuse(path, "'w' lie in another file")
    odd = helper.make_node("Run", ["x"], ["y"], domain="evil.ops")
    path = make_onnx(tmp_path / "odd.onnx", [odd], domains=["evil.ops"])
    refuse(path, "evil.ops")
    (tmp_path / "junk.onnx").write_bytes(b"\xff" * 100)
    refuse(with_sidecar(tmp_path / "junk.onnx"), "junk.onnx: ")


def test_a_model_that_takes_all_memory_is_stopped(track, tmp_path):
    shape = numpy_helper.from_array(np.array([2**17, 2**17], np.int64), "s")
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["total"], keepdims=1),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    path = make_onnx(tmp_path / "big.onnx", nodes, [shape])
    start = time.monotonic()
    with (
        pytest.raises(ModelError, match=r"allocat|memory|GiB") as caught,
        SandboxedClassifier(path, limits=LIMITS) as model,
    ):
        model.predict(track.batch(0, 2).intensity)
    assert time.monotonic() - start < 50
    assert "\n" not in str(caught.value)


def test_a_model_that_never_returns_is_stopped(track, tmp_path):
    true = helper.make_node("Constant", [], ["go"], value=_bool(True))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c_out"]),
            helper.make_node("Identity", ["v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    path = make_onnx(tmp_path / "loop.onnx", [true, loop])
    limits = SandboxLimits(2**29, answer_seconds=6.0)
    start = time.monotonic()
    with (
        pytest.raises(ModelError, match="no answer within 6 s"),
        SandboxedClassifier(path, limits=limits) as model,
    ):
        model.predict(track.batch(0, 2).intensity)
    assert time.monotonic() - start < 40


def _bool(value: bool) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value), "go")


def test_the_process_can_write_no_file_and_reach_no_network(tmp_path):
    code = (
        "import socket, sys\n"
        "from pxrdbench.benchmark.foreign.worker import *\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "offline = leave_network()\n"
        "limit_resources(2**28)\n"
        "try:\n"
        "    socket.create_connection(server.getsockname(), timeout=5)\n"
        "    print('connected', offline)\n"
        "except OSError:\n"
        "    print('alone', offline)\n"
        "try:\n"
        "    with open(sys.argv[1], 'w') as file:\n"
        "        file.write('x' * 10)\n"
        "    print('wrote')\n"
        "except OSError:\n"
        "    print('wrote nothing')\n"
        "try:\n"
        "    bytearray(2**30)\n"
        "    print('took')\n"
        "except MemoryError:\n"
        "    print('took nothing')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    network, wrote, took = result.stdout.splitlines()
    # Where the system does not let a process leave the network, that is said.
    assert network in {"alone True", "connected False"}
    assert (wrote, took) == ("wrote nothing", "took nothing")


def test_what_the_model_reads_must_be_said(network, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(network.state_dict(), path)
    refuse(path, r"needs a\.safetensors\.json beside it")
    refuse(with_sidecar(path, model=""), "name their registered model")
    refuse(with_sidecar(path, extra=1), "unknown")
    refuse(with_sidecar(path, space_groups=[0]), "outside 1-230")
    refuse(with_sidecar(path, model="no-such-model"), "unknown model 'no-such-model'")
    refuse(with_sidecar(path, space_groups=[1, 2, 3]), "size mismatch")
    with pytest.raises(ModelError, match="no model at"):
        find_kind(tmp_path / "none.onnx")


OWN_CODE = """
import os, socket, subprocess
from pathlib import Path
import numpy as np
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid

class Model:
    space_groups = (225, 62, 14, 2, 194, 76, 78)
    grid = TwoThetaGrid(5.0, 90.0, 1701)
    radiation = Radiation.parse("CuKa1")

    def __init__(self, path):
        self.weights = np.fromfile(path, "<f4").reshape(1701, 7)

    def predict(self, intensity):
        return intensity @ self.weights

class Nosy(Model):
    def predict(self, intensity):
        said = []
        for place in os.environ.get("NONE", "").split() + [SECRET, "/etc/passwd"]:
            try:
                said.append(Path(place).read_text())
            except OSError:
                said.append("")
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=3)
            said.append("connected")
        except OSError:
            said.append("")
        try:
            Path(SECRET).with_name("mark").write_text("x")
            said.append("wrote")
        except OSError:
            said.append("")
        raise RuntimeError("it found " + "|".join(said))

class Bare:
    space_groups = (1, 2)

def make(weights):
    return Model(weights)

def nosy(weights):
    return Nosy(weights)

def bare(weights=None):
    return Bare()

def broken(weights=None):
    return 1 / 0
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    weights = np.random.Generator(np.random.PCG64(0)).normal(0, 1, (GRID.points, 7))
    weights.astype("<f4").tofile(tmp_path / "w.bin")
    return tmp_path


def test_own_code_is_scored_and_named_as_such(own_code, track):
    Path("mine.py").write_text(OWN_CODE)
    weights = own_code / "w.bin"
    evaluation = evaluate(
        "mine:make", track, weights=weights, out=own_code / "out", limits=LIMITS
    )
    provenance = evaluation.model["provenance"]
    assert evaluation.model["name"] == "mine"
    assert provenance["opened as"] == "the user's own code, mine:make"
    code = hashlib.sha256(Path("mine.py").read_bytes()).hexdigest()
    assert provenance["code digest"] == code
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert evaluation.model["digest"] == digest
    intensity = track.batch(0, len(track)).intensity
    wanted = intensity @ np.fromfile(weights, "<f4").reshape(GRID.points, 7)
    stored = Predictions.read(own_code / "out" / "predictions.h5").logits
    assert np.array_equal(stored.argmax(axis=1), wanted.argmax(axis=1))


def test_own_code_sees_and_reaches_nothing_else(own_code, track):
    """What the record says of network and files is what the code meets."""
    secret = own_code / "secret.txt"
    secret.write_text("hidden-word")
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    code = f"SECRET, PORT = {str(secret)!r}, {port}\n" + OWN_CODE
    Path("mine.py").write_text(code)
    with (
        server,
        SandboxedClassifier(
            own_code / "w.bin", factory="mine:nosy", limits=LIMITS
        ) as model,
    ):
        with pytest.raises(ModelError, match="RuntimeError: it found") as caught:
            model.predict(track.batch(0, 2).intensity)
        is_offline, is_confined = model.is_offline, model.is_confined
    found = str(caught.value)
    assert ("hidden-word" in found) == (not is_confined)
    assert ("connected" in found) == (not is_offline and not is_confined)
    assert (own_code / "mark").exists() == (not is_confined)


def test_what_is_wrong_with_own_code_is_said(own_code):
    Path("mine.py").write_text(OWN_CODE)
    for factory, match in (
        ("mine:bare", "a Bare without grid, predict"),
        ("mine:broken", "ZeroDivisionError: division by zero"),
        ("mine:gone", "AttributeError: .*gone"),
        ("absent:make", "No module named 'absent' .looked for in"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            open_model(factory, LIMITS)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no weights at"):
        open_model("mine:make", LIMITS, weights="gone.bin")


def test_a_registered_name_takes_weights(track, network, tmp_path):
    intensity = track.batch(0, 5).intensity
    said = {k: v for k, v in CONTRACT.items() if k != "model"}
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path, metadata={"pxrdbench": json.dumps(said)})
    with open_model("peak-network", LIMITS, weights=path) as model:
        wanted = predict_logits(network, intensity, GRID)
        assert np.allclose(model.predict(intensity), wanted, atol=1e-4)
    with pytest.raises(ModelError, match="give its weights too"):
        open_model("peak-network", LIMITS)
    with pytest.raises(ModelError, match="no known name: peak-network"):
        open_model("no-such", LIMITS)
    with pytest.raises(ModelError, match="says that its model is 'peak-network'"):
        other = with_sidecar(tmp_path / "w.safetensors")
        open_model("resnet-10", LIMITS, weights=other)


def test_an_entry_point_is_opened_as_own_code(own_code, track, monkeypatch):
    Path("mine.py").write_text(OWN_CODE)
    point = EntryPoint("my-model", "mine:make", foreign_model.CLASSIFIERS_GROUP)

    def points(group):
        return [point] if group == foreign_model.CLASSIFIERS_GROUP else []

    monkeypatch.setattr(foreign_model, "entry_points", points)
    with open_model("my-model", LIMITS, weights=own_code / "w.bin") as model:
        assert model.predict(track.batch(0, 3).intensity).shape == (3, 7)


def test_an_onnx_model_may_hold_its_contract_and_scaling(track, tmp_path):
    weights = np.random.Generator(np.random.PCG64(0)).normal(
        0, 1, (GRID.points, len(CLASSES))
    )
    tensor = numpy_helper.from_array(weights.astype(np.float32), "w")
    path = make_onnx(
        tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor]
    )
    Path(f"{path}.json").unlink()
    refuse(path, r"needs a\.onnx\.json beside it")
    model = onnx.load(path)
    said = CONTRACT | {"model": "", "scaling": "square root"}
    entry = model.metadata_props.add()
    entry.key, entry.value = "pxrdbench", json.dumps(said)
    path.write_bytes(model.SerializeToString())
    with SandboxedClassifier(path, limits=LIMITS) as opened:
        intensity = track.batch(0, 30).intensity
        wanted = np.sqrt(intensity) @ weights
        assert np.allclose(opened.predict(intensity), wanted, atol=1e-3)
        assert opened.contract.scaling == "square root"
