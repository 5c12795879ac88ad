"""The process in which a stranger's model lives; started by ``SandboxedClassifier``.

It is a watcher and what it watches, see `supervisor`. Messages are led by their length
(8 bytes, little endian); answers by a sign, ``+`` or ``-`` for an error's text, and
their length. The first message says what to open; only then are libraries imported,
once network and files have been given up.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pxrdbench.benchmark.foreign.confinement import (
    leave_network,
    limit_files,
    limit_resources,
)
from pxrdbench.benchmark.foreign.supervisor import (
    Allowance,
    drop_capabilities,
    separate_processes,
    supervise,
)
from pxrdbench.benchmark.foreign.system_calls import filter_system_calls

if TYPE_CHECKING:  # libraries start threads: see confinement
    import numpy as np
    from jaxtyping import Float32

    Patterns = Float32[np.ndarray, "batch channels points"]
    Predict = Callable[[Patterns], np.ndarray]
    Opened = tuple[Predict, str]

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# What own code may write in a folder that is thrown away: caches of compilers.
_OWN_FILE_BYTES = 2**28
# Address space that torch maps when it is imported.
_TORCH_BYTES = 4 * 2**30


def open_network(order: dict[str, Any]) -> "Opened":
    """Open weights of a registered model."""
    import torch

    from pxrdbench.diffraction.pattern import TwoThetaGrid
    from pxrdbench.learning.networks.registry import build_model

    start, stop, points = order["grid"]
    grid = TwoThetaGrid(start, stop, points)
    network = build_model(order["model"], order["n_classes"], grid=grid)
    from safetensors.torch import load_file

    limit_resources(order["memory_bytes"], 0, order["processor_seconds"])
    if order["kind"] == "safetensors":
        weights = load_file(order["path"])
    else:
        try:
            weights = torch.load(order["path"], map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(
                "it holds more than tensors, which could run code (torch.load with "
                "weights_only=True refuses it): save the state dict only, or export "
                "to ONNX with torch.onnx.export"
            ) from error
    if not isinstance(weights, dict):
        raise TypeError(f"it holds a {type(weights).__name__}, not a state dict")
    network.load_state_dict(weights)
    network.eval()

    def predict(
        patterns: "Float32[np.ndarray, 'batch channels points']",
    ) -> "np.ndarray":
        with torch.inference_mode():
            # A few at a time: layers of a deep network take megabytes a pattern.
            parts = [
                network(torch.tensor(patterns[start : start + 64]))
                for start in range(0, len(patterns), 64)
            ]
        return torch.cat(parts).float().numpy()

    return predict, ""


def open_onnx(order: dict[str, Any]) -> "Opened":
    """Open a graph that holds all its data and standard operators only."""
    import onnx
    import onnxruntime

    limit_resources(order["memory_bytes"], 0, order["processor_seconds"])
    content = Path(order["path"]).read_bytes()
    model = onnx.load_model_from_string(content)
    check_onnx(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise ValueError(
            f"it has {len(inputs)} inputs and {len(outputs)} outputs; it must turn one "
            "float32 input (batch, points) or (batch, 1, points) into logits"
        )
    rank = len(inputs[0].shape)
    name = inputs[0].name

    def predict(
        patterns: "Float32[np.ndarray, 'batch channels points']",
    ) -> "np.ndarray":
        import numpy as np

        given = patterns if rank == 3 else patterns[:, 0]
        return np.asarray(session.run(None, {name: given})[0])

    named = {entry.key: entry.value for entry in model.metadata_props}
    return predict, str(named.get(order["metadata_key"], ""))


def open_own_code(order: dict[str, Any]) -> "Opened":
    """Call the user's own ``module:factory``, with the weights if there are any."""
    sys.path.insert(0, order["folder"])
    name, _, attribute = order["factory"].partition(":")
    factory = importlib.import_module(name)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    spare = 0 if "torch" in sys.modules else _TORCH_BYTES
    limit_resources(
        order["memory_bytes"] + spare, _OWN_FILE_BYTES, order["processor_seconds"]
    )
    weights = order["path"]
    made: Any = factory(Path(weights)) if weights else factory()  # type: ignore[operator]
    missing = [n for n in ("space_groups", "grid", "predict") if not hasattr(made, n)]
    if missing:
        raise TypeError(
            f"what {order['factory']} returns is a {type(made).__name__} without "
            f"{', '.join(missing)}; a Classifier has space_groups, grid and predict"
        )
    grid, radiation = made.grid, getattr(made, "radiation", None)
    contract = {
        "space_groups": [int(number) for number in made.space_groups],
        "grid": {"start": grid.start, "stop": grid.stop, "points": grid.points},
        "scaling": str(getattr(made, "scaling", "maximum")),
        "mask": bool(getattr(made, "mask", False)),
    }
    if radiation is not None:
        lines = getattr(radiation, "lines", radiation)
        is_plain = isinstance(lines, str | float)
        contract["radiation"] = lines if is_plain else list(lines)

    def predict(
        patterns: "Float32[np.ndarray, 'batch channels points']",
    ) -> "np.ndarray":
        import numpy as np

        given = patterns if contract["mask"] else patterns[:, 0]
        return np.asarray(made.predict(given))

    return predict, json.dumps(contract)


def check_onnx(model: Any) -> None:
    """Refuse data in other files and operators that are not standard.

    Raises:
        ValueError: If there are any.
    """
    import onnx

    odd = {item.domain for item in model.opset_import} - _DOMAINS
    if odd:
        raise ValueError(f"it uses operators of {sorted(odd)}; only standard ones run")

    def walk(message: Any) -> None:
        if isinstance(message, onnx.TensorProto) and (
            message.data_location == onnx.TensorProto.EXTERNAL or message.external_data
        ):
            raise ValueError(
                f"the data of {message.name!r} lie in another file; save all data in "
                "the model itself"
            )
        for field, value in message.ListFields():
            if field.message_type is not None:
                repeated = not hasattr(value, "ListFields")
                for item in value if repeated else [value]:
                    walk(item)

    walk(model)


def _confine(order: dict[str, Any]) -> dict[str, bool]:
    """Give up what is not needed; say what could be given up.

    Raises:
        ValueError: If something could not, and a stranger's file is to be opened that
            nobody has said to open in spite of it.
    """
    given_up = {
        "is_offline": order["is_offline"],
        "is_separate": order["is_separate"],
        "is_confined": limit_files(order["readable"], [str(Path.cwd())]),
        "is_powerless": drop_capabilities(),
    }
    is_own = order["kind"] == "own code"
    given_up["is_filtered"] = filter_system_calls(may_start=is_own)
    missing = [_MEANINGS[name] for name, done in given_up.items() if not done]
    if missing and not is_own and not order["unconfined"]:
        raise ValueError(
            "this system cannot confine a stranger's file (it keeps "
            f"{', '.join(missing)}), so it was not opened; open it in spite of that "
            "with --unconfined"
        )
    return given_up


# What a process keeps that could not give it up.
_MEANINGS = {
    "is_offline": "the network",
    "is_separate": "sight of other processes",
    "is_confined": "all files of its user",
    "is_powerless": "what root may do",
    "is_filtered": "all system calls",
}


def _open(order: dict[str, Any]) -> "tuple[Predict, bytes]":
    """Give up what is not needed, then open the model."""
    given_up = _confine(order)
    openers = {"onnx": open_onnx, "own code": open_own_code}
    predict, contract = openers.get(order["kind"], open_network)(order)
    return predict, json.dumps({**given_up, "contract": contract}).encode()


def _predict(predict: "Predict", order: dict[str, Any], message: bytes) -> bytes:
    """Answer patterns, led by the number of channels, with logits."""
    import numpy as np

    channels = message[0]
    points = int.from_bytes(message[1:9], "little")
    patterns = np.frombuffer(message, "<f4", offset=9).reshape(-1, channels, points)
    logits = predict(patterns.astype(np.float32))
    return np.ascontiguousarray(logits, "<f4").tobytes()


def main() -> None:
    """Read what to open; then let a child that is watched open it and answer."""
    asker = int(sys.argv[1])
    die_with_parent_of(asker)
    head = os.read(0, 8)
    size = int.from_bytes(head, "little")
    content = bytearray()
    while len(content) < size and (piece := os.read(0, size - len(content))):
        content += piece
    if len(content) < size or not head:
        return
    order: dict[str, Any] = json.loads(content)
    order["is_offline"] = leave_network()
    order["is_separate"] = separate_processes()
    limit = Allowance(**order["allowance"])
    supervise(
        lambda: serve(order), asker, lambda: limit, is_separate=order["is_separate"]
    )


def die_with_parent_of(asker: int) -> None:
    """End at once if who asked has ended already; later the watcher sees it."""
    if os.getppid() != asker:
        os._exit(1)


def serve(order: dict[str, Any]) -> None:
    """Answer until the other side hangs up."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    # Whatever prints must not write into the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    predict: Predict | None = None
    while predict is None or (head := source.read(8)):
        try:
            if predict is None:
                predict, answer = _open(order)
            else:
                message = source.read(int.from_bytes(head, "little"))
                answer = _predict(predict, order, message)
            sign = b"+"
        except ImportError as error:
            sign, answer = b"-", _explain_import(error, order).encode()
        except MemoryError:
            sign, answer = b"-", b"it asks for more memory than it may have"
        except Exception as error:  # anything at all: the text goes to the user
            text = " ".join(str(error).split())[:400]
            name = type(error).__name__
            # Own code: the kind of error is half of what its author needs to know.
            if order.get("kind") == "own code" or not text:
                text = f"{name}: {text}" if text else name
            sign, answer = b"-", text.encode()
        target.write(sign + len(answer).to_bytes(8, "little") + answer)
        target.flush()
        if predict is None:
            return


def _explain_import(error: ImportError, order: dict[str, Any]) -> str:
    if order.get("kind") == "own code":
        return f"{error} (looked for in {order['folder']} and among installed packages)"
    return f"{error}; pip install 'pxrdbench[foreign]'"


if __name__ == "__main__":
    main()
    sys.stdout = None  # nothing may be flushed into a closed pipe
