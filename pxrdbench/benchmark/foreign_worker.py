"""The process in which a stranger's model lives; started by ``SandboxedClassifier``.

Messages are led by their length (8 bytes, little endian); answers by a sign, ``+`` or
``-`` for an error's text, and their length.
"""

import ctypes
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

Predict = Callable[[Float32[np.ndarray, "batch points"]], np.ndarray]


def leave_network() -> bool:
    """Move this process into a network of its own without devices, if allowed.

    Must come before any thread is started.
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (AttributeError, OSError):  # not Linux
        return False
    flags = (_CLONE_NEWNET, _CLONE_NEWNET | _CLONE_NEWUSER)
    return any(unshare(flag) == 0 for flag in flags)


def limit_resources(memory_bytes: int) -> None:
    """Allow so much more memory than now, and no file to be written."""
    # Without /proc (not Linux) libraries count too: torch maps about 4 GiB.
    used = 4 * 2**30
    statm = Path("/proc/self/statm")
    if statm.is_file():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
    allowed = used + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_network(order: dict[str, Any]) -> Predict:
    """Open weights of a registered model."""
    import torch

    from pxrdbench.diffraction.pattern import TwoThetaGrid
    from pxrdbench.learning.checkpoint import predict_logits
    from pxrdbench.learning.registry import build_model

    start, stop, points = order["grid"]
    grid = TwoThetaGrid(start, stop, points)
    network = build_model(order["model"], order["n_classes"], grid=grid)
    from safetensors.torch import load_file

    limit_resources(order["memory_bytes"])
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
    return lambda intensity: predict_logits(network, intensity, grid)


def open_onnx(order: dict[str, Any]) -> Predict:
    """Open a graph that holds all its data and standard operators only."""
    import onnx
    import onnxruntime

    limit_resources(order["memory_bytes"])
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

    def predict(intensity: Float32[np.ndarray, "batch points"]) -> np.ndarray:
        patterns = intensity[:, None] if rank == 3 else intensity
        return np.asarray(session.run(None, {name: patterns})[0])

    return predict


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


def main() -> None:
    """Answer until the other side hangs up."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    # Whatever prints must not write into the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    order: dict[str, Any] = {}
    predict: Predict | None = None
    while head := source.read(8):
        message = source.read(int.from_bytes(head, "little"))
        try:
            if predict is None:
                order = json.loads(message)
                is_offline = leave_network()
                opener = open_onnx if order["kind"] == "onnx" else open_network
                predict = opener(order)
                answer = json.dumps({"is_offline": is_offline}).encode()
            else:
                points = order["grid"][2]
                patterns = np.frombuffer(message, "<f4").reshape(-1, points)
                logits = predict(patterns.astype(np.float32))
                answer = np.ascontiguousarray(logits, "<f4").tobytes()
            sign = b"+"
        except ImportError as error:
            sign, answer = b"-", f"{error}; pip install 'pxrdbench[foreign]'".encode()
        except MemoryError:
            sign, answer = b"-", b"it asks for more memory than it may have"
        except Exception as error:  # anything at all: the text goes to the user
            text = " ".join(str(error).split())[:400] or type(error).__name__
            sign, answer = b"-", text.encode()
        target.write(sign + len(answer).to_bytes(8, "little") + answer)
        target.flush()
        if predict is None:
            return


if __name__ == "__main__":
    main()
    sys.stdout = None  # nothing may be flushed into a closed pipe
