"""Models of other makes: found by file or by name, opened where they can do no harm.

Accepted are

- files that hold numbers or a graph of known operations: ``.safetensors`` and plain
  state dicts (``.pt``, ``.pth``) of a registered model, and ``.onnx``; what they read
  says their ``InputContract``. Whatever runs code when it is read (pickled modules,
  TorchScript, ``torch.export`` archives) is refused;
- the name of a registered model with ``weights``;
- the user's own code, ``module:factory``, which is called with the path of the weights
  and returns a ``Classifier``; or a name that an installed package gives such a
  factory, as an entry point of the group ``pxrdbench.classifiers``.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from pxrdbench.benchmark.foreign.contract import find_contract, missing_contract
from pxrdbench.benchmark.foreign.files import find_kind
from pxrdbench.benchmark.foreign.sandbox import SandboxedClassifier, SandboxLimits
from pxrdbench.benchmark.scoring.predict import (
    ModelDescription,
    describe_model,
)
from pxrdbench.errors import ModelError, OptionError
from pxrdbench.learning.models.crystallographer import NAME, Crystallographer
from pxrdbench.learning.models.find import available_checkpoints, find_checkpoint

if TYPE_CHECKING:  # imports torch, which this process may not need
    from pxrdbench.learning.networks.registry import Classifier

__all__ = ["SandboxLimits", "SandboxedClassifier", "open_model"]

CLASSIFIERS_GROUP = "pxrdbench.classifiers"
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def describe_sandboxed(
    opened: SandboxedClassifier,
    model: Path | str,
    weights: Path | str | None,
    name: str | None,
) -> ModelDescription:
    """Write down what was opened, and how."""
    contract = opened.contract
    file = Path(weights if weights is not None else model)
    provenance = {
        "architecture": contract.model or "as exported",
        "opened as": opened.kind,
        "scaling": contract.scaling,
        "without network": "yes" if opened.is_offline else "no",
        "files hidden": "yes" if opened.is_confined else "no",
        "processes apart": "yes" if opened.is_separate else "no",
        "system calls filtered": "yes" if opened.is_filtered else "no",
    }
    if opened.kind == "own code":
        provenance["opened as"] = f"the user's own code, {opened.factory}"
        provenance["architecture"] = "own code"
        provenance |= _code_digest(opened.factory, opened.code_folder)
        if contract.radiation is None:
            provenance["radiation"] = "not said; the track's was taken"
    default = opened.factory.partition(":")[0] if opened.factory else file.stem
    return ModelDescription(
        name=name or default,
        digest=hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "",
        radiation=contract.radiation,
        provenance=provenance,
    )


@contextmanager
def opened_model(
    model: "Path | str | Classifier",
    limits: SandboxLimits | None = None,
    *,
    weights: Path | str | None = None,
    name: str | None = None,
) -> "Iterator[tuple[Classifier, ModelDescription]]":
    """Open a model and describe it; end its process afterwards, if it has one.

    Args:
        model: As for `open_model`; or a classifier, which is open already.
        limits: What a model in its own process may use.
        weights: What a name or ``module:factory`` is given.
        name: What to call it.

    Raises:
        ModelError: If it cannot be found or opened safely.
        OptionError: If a classifier is given weights or limits.
    """
    if not isinstance(model, str | Path):
        if weights is not None or limits is not None:
            raise OptionError(
                "weights and limits cannot act on a classifier, which is open already"
            )
        yield model, describe_model(model, name)
        return
    opened = open_model(model, limits, weights=weights)
    if not isinstance(opened, SandboxedClassifier):
        yield opened, describe_model(opened, name)
        return
    with opened:
        yield opened, describe_sandboxed(opened, model, weights, name)


def open_model(
    model: Path | str,
    limits: SandboxLimits | None = None,
    *,
    weights: Path | str | None = None,
) -> "Classifier":
    """Open one of our own checkpoints, or another model in its own process.

    Args:
        model: A file, the folder of a run, ``module:factory``, or a name, as
            ``crystallographer`` or ``crystallographer:open``, which reads without a
            network, with a prior's frequencies.
        limits: What a model in its own process may use.
        weights: What a name or ``module:factory`` is given.

    Returns:
        A ``Classifier``; close a ``SandboxedClassifier`` when done.

    Raises:
        ModelError: If it cannot be found or opened safely.
        OptionError: If weights or unconfined cannot act on the model.
    """
    opened = _open_any(model, limits, weights=weights)
    if limits is not None and limits.unconfined:
        if not isinstance(opened, SandboxedClassifier):
            raise OptionError(
                f"unconfined (--unconfined) cannot act on {model}, which runs nothing "
                "of a stranger's"
            )
        if opened.kind == "own code":
            opened.close()
            raise OptionError(
                f"unconfined (--unconfined) cannot act on {model}: own code is run "
                "with as much confinement as there is, in any case"
            )
    return opened


def _open_any(
    model: Path | str,
    limits: SandboxLimits | None,
    *,
    weights: Path | str | None,
) -> "Classifier":
    path, text = Path(model), str(model)
    name, _, prior = text.partition(":")
    if name == NAME and not path.exists():
        if weights is not None:
            raise OptionError(f"weights (--weights) cannot act on {NAME}: it has none")
        return Crystallographer(prior or "icsd")
    if path.is_dir() or text in available_checkpoints():
        path = find_checkpoint(model)
    if path.exists():
        if weights is not None:
            raise OptionError(
                f"weights (--weights) cannot act on the file {path}: they go with a "
                "name or module:factory"
            )
        return _open_file(path, limits)
    if weights is not None and not Path(weights).exists():
        raise ModelError(f"there are no weights at {weights}")
    if _FACTORY.fullmatch(text):
        return SandboxedClassifier(weights, limits=limits, factory=text)
    for point in entry_points(group=CLASSIFIERS_GROUP):
        if point.name == text:
            return SandboxedClassifier(weights, limits=limits, factory=point.value)
    return _open_by_name(text, weights, limits)


def _open_file(path: Path, limits: SandboxLimits | None) -> "Classifier":
    kind = find_kind(path)
    if kind == "state dict" and not Path(f"{path}.json").is_file():
        from pxrdbench.learning.models.checkpoint import load_classifier

        return load_classifier(path)
    return SandboxedClassifier(path, limits=limits)


def _open_by_name(
    name: str, weights: Path | str | None, limits: SandboxLimits | None
) -> SandboxedClassifier:
    """Open weights of a registered model."""
    looks_like_file = Path(name).suffix != "" or "/" in name
    if looks_like_file:
        raise ModelError(f"there is no model at {name}")
    from pxrdbench.learning.networks.registry import available_models

    if name not in available_models():
        ready = sorted(point.name for point in entry_points(group=CLASSIFIERS_GROUP))
        raise ModelError(
            f"{name!r} is no file, no module:factory, and no known name: "
            f"{', '.join((*available_models(), *ready))}"
        )
    if weights is None:
        raise ModelError(f"{name} is an architecture; give its weights too (--weights)")
    contract = find_contract(Path(weights))
    if contract is None:
        raise missing_contract(Path(weights))
    if contract.model not in {"", name}:
        raise ModelError(
            f"{weights} says that its model is {contract.model!r}, not {name!r}"
        )
    return SandboxedClassifier(weights, replace(contract, model=name), limits)


def _code_digest(factory: str, folder: str) -> dict[str, str]:
    """Name the very code: sha256 of the file that holds the factory.

    Found by its name: looking a module up would run the packages around it here.
    """
    parts = factory.partition(":")[0].split(".")
    module = Path(folder, *parts)
    places = [module.with_suffix(".py"), module / "__init__.py"]
    if (found := importlib.util.find_spec(parts[0])) is not None and found.origin:
        root = Path(found.origin)
        inner = root.parent.joinpath(*parts[1:])
        places += [inner.with_suffix(".py"), inner / "__init__.py"]
        places += [root] if len(parts) == 1 else []
    for place in places:
        if place.is_file():
            return {"code digest": hashlib.sha256(place.read_bytes()).hexdigest()}
    return {}
