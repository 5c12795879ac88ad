"""Trained models on disk: tensors and plain values, nothing that runs when read.

A checkpoint is what ``torch.save`` makes of a dictionary and opens with
``torch.load(path, weights_only=True)``:

    format             "pxrdbench-checkpoint"
    schema_version     1
    model              name in the registry
    state_dict         weights by name
    space_groups       class list: space group of each logit
    grid               start, stop, points
    radiation          name and lines (wavelength [Å], weight)
    recipe_digest      of the recipe that it learnt from ("" if it was none)
    prior_digest       of the prior behind that recipe
    restricted         whether that prior comes from licensed crystals
    patterns_seen      number of patterns it was trained on
    versions           of pxrdbench, torch and numpy
    training           what a run needs to go on; may be missing

and, missing in files of older versions,

    tasks              what its outputs are, see ``pxrdbench.learning.tasks``
    mask               whether a second channel says what was measured
    class_frequencies  share of each group of the class list in training; () unknown
    temperature        divides the logits, so that probabilities are calibrated
    measurement        names of what instrument and sample added in training
    physics            ``default``, or ``paper``: no dispersion, no thermal motion
    protocol           name of the published run that was followed; "" for none
    learnt             counts and whole digests of the crystals learnt from

Weights may be stored in half precision; they are used in single.
"""

import hashlib
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import nn

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.files import atomic_path
from pxrdbench.learning.models.find import find_checkpoint
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.learning.tasks import TaskSet
from pxrdbench.outside import guard

FORMAT = "pxrdbench-checkpoint"
SCHEMA_VERSION = 1

# Patterns that a network reads at once in `predict`: 2 MB a layer of one channel.
_PREDICT_BATCH = 64


def find_versions() -> dict[str, str]:
    """Versions of what makes a checkpoint."""
    versions = {"torch": str(torch.__version__), "numpy": np.__version__}
    try:
        versions["pxrdbench"] = version("pxrdbench")
    except PackageNotFoundError:  # run from a source tree
        versions["pxrdbench"] = "unknown"
    return versions


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds; the fields are those of the file.

    Attributes:
        model: Name in the registry.
        state_dict: Weights by name.
        space_groups: Class list: space group of each logit.
        grid: Angles of the patterns that it reads.
        radiation: What those patterns are made with.
        recipe_digest: Of the recipe that it learnt from; empty if it was none.
        prior_digest: Of the prior behind that recipe.
        restricted: Whether that prior comes from licensed crystals.
        patterns_seen: Number of patterns it was trained on.
        versions: Of pxrdbench, torch and numpy, by name.
        training: What a run needs to go on: optimiser, position, time.
        tasks: What its outputs are.
        mask: Whether a second channel says what was measured.
        class_frequencies: Share of each group of the class list in training; empty
            if not known.
        temperature: Divides the logits, so that probabilities are calibrated.
        measurement: Names of what instrument and sample added in training.
        physics: ``default`` or ``paper``; empty if not known.
        protocol: Name of the published run that was followed; empty for none.
        learnt: Counts and whole digests of the crystals learnt from, see
            ``tracks.learnt``; empty if not known.
    """

    model: str
    state_dict: dict[str, torch.Tensor]
    space_groups: tuple[int, ...]
    grid: TwoThetaGrid
    radiation: Radiation
    recipe_digest: str = ""
    prior_digest: str = ""
    restricted: bool = False
    patterns_seen: int = 0
    versions: dict[str, str] = field(default_factory=find_versions)
    training: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("space_group",)
    mask: bool = False
    class_frequencies: tuple[float, ...] = ()
    temperature: float = 1.0
    measurement: tuple[str, ...] = ()
    physics: str = ""
    protocol: str = ""
    learnt: dict[str, Any] = field(default_factory=dict)

    @property
    def task_set(self) -> TaskSet:
        """The tasks, and where their outputs are."""
        return TaskSet(self.tasks, self.space_groups)

    def build(self) -> nn.Module:
        """Build the network and give it its weights.

        Raises:
            ModelError: If the weights do not fit the model of this name.
        """
        network = build_model(
            self.model, self.task_set.n_outputs, grid=self.grid, mask=self.mask
        )
        try:
            network.load_state_dict(self.state_dict)
        except RuntimeError as error:
            raise ModelError(
                f"the weights do not fit the model {self.model!r} of this version: "
                f"{error}"
            ) from error
        return network


def save_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Where to; an older file there is replaced in one step.
        checkpoint: What to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid, radiation = checkpoint.grid, checkpoint.radiation
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "model": checkpoint.model,
        "state_dict": dict(checkpoint.state_dict),
        "space_groups": [int(group) for group in checkpoint.space_groups],
        "grid": {"start": grid.start, "stop": grid.stop, "points": grid.points},
        "radiation": {
            "name": radiation.name,
            "lines": [[float(w), float(weight)] for w, weight in radiation.lines],
        },
        "recipe_digest": checkpoint.recipe_digest,
        "prior_digest": checkpoint.prior_digest,
        "restricted": checkpoint.restricted,
        "patterns_seen": checkpoint.patterns_seen,
        "versions": checkpoint.versions,
        "training": checkpoint.training,
        "tasks": list(checkpoint.tasks),
        "mask": checkpoint.mask,
        "class_frequencies": [float(share) for share in checkpoint.class_frequencies],
        "temperature": float(checkpoint.temperature),
        "measurement": list(checkpoint.measurement),
        "physics": checkpoint.physics,
        "protocol": checkpoint.protocol,
        "learnt": dict(checkpoint.learnt),
    }
    with atomic_path(path) as part, part.open("wb") as file:
        torch.save(content, file)


def load_checkpoint(model: Path | str) -> Checkpoint:
    """Read a checkpoint without running anything that is in it.

    Args:
        model: File, folder of a run, or the name of a model that ships.

    Raises:
        ModelError: If there is no such file, or it is not a tensors-only checkpoint
            of this format.
    """
    path = find_checkpoint(model)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds on foreign files
        raise ModelError(
            f"{path} is not a tensors-only checkpoint (torch.load with "
            "weights_only=True refuses it), and nothing else is opened, since other "
            "formats can run code; save it again with "
            "pxrdbench.learning.models.checkpoint.save_checkpoint"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(
            f"{path} holds tensors but is no pxrdbench checkpoint; write it with "
            "pxrdbench.learning.models.checkpoint.save_checkpoint"
        )
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ModelError(
            f"{path} has schema version {content.get('schema_version')}; this version "
            f"of pxrdbench reads {SCHEMA_VERSION}"
        )
    with guard(ModelError, f"{path} is a damaged checkpoint"):
        radiation, groups = content["radiation"], content["space_groups"]
        # A view of one number can claim any length, which a tuple would then take.
        for name in ("space_groups", "class_frequencies", "tasks", "measurement"):
            value = content.get(name, ())
            if not isinstance(value, list | tuple) or len(value) > 1000:
                raise ValueError(f"{name} is no list of at most 1000 entries")
        if not all(type(g) is int and 1 <= g <= 230 for g in groups):
            raise ValueError("space_groups holds what is none")
        return Checkpoint(
            model=content["model"],
            state_dict=content["state_dict"],
            space_groups=tuple(content["space_groups"]),
            grid=TwoThetaGrid(**content["grid"]),
            radiation=Radiation(
                tuple((line[0], line[1]) for line in radiation["lines"]),
                radiation["name"],
            ),
            recipe_digest=content["recipe_digest"],
            prior_digest=content["prior_digest"],
            restricted=content["restricted"],
            patterns_seen=content["patterns_seen"],
            versions=content["versions"],
            training=content["training"],
            tasks=tuple(content.get("tasks", ("space_group",))),
            mask=bool(content.get("mask", False)),
            class_frequencies=tuple(content.get("class_frequencies", ())),
            temperature=float(content.get("temperature", 1.0)),
            measurement=tuple(content.get("measurement", ())),
            physics=str(content.get("physics", "")),
            protocol=str(content.get("protocol", "")),
            learnt=dict(content.get("learnt", {})),
        )


class CheckpointClassifier:
    """A trained model behind the ``Classifier`` protocol: numpy in, logits out.

    Attributes:
        checkpoint: What was read, without the state of the training run.
        digest: SHA-256 of the file.
        place: The file; None for none.
    """

    def __init__(
        self, checkpoint: Checkpoint, digest: str = "", place: Path | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.place = place
        self.digest = digest
        self._network = checkpoint.build().eval()
        self._tasks = checkpoint.task_set

    @property
    def space_groups(self) -> tuple[int, ...]:
        """The class list: space group of each logit."""
        return self.checkpoint.space_groups

    @property
    def grid(self) -> TwoThetaGrid:
        """Angles of the patterns that it reads."""
        return self.checkpoint.grid

    @property
    def takes_mask(self) -> bool:
        """Whether ``predict`` reads what was measured."""
        return self.checkpoint.mask

    def predict(
        self,
        intensity: Float32[np.ndarray, "batch points"],
        mask: Bool[np.ndarray, "batch points"] | None = None,
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logits of patterns with a maximum of one, calibrated.

        Args:
            intensity: The patterns; zero where nothing was measured.
            mask: Points that were measured; all if left away. Only networks with a
                second channel read it.

        Raises:
            ModelError: If the patterns are not on the model's grid, or the model does
                not predict space groups.
        """
        outputs = self.predict_outputs(intensity, mask)
        logits = outputs[:, self._tasks.columns("space_group")]
        return logits / np.float32(self.checkpoint.temperature)

    def predict_outputs(
        self,
        intensity: Float32[np.ndarray, "batch points"],
        mask: Bool[np.ndarray, "batch points"] | None = None,
    ) -> Float32[np.ndarray, "batch outputs"]:
        """Outputs of all tasks, side by side; ``checkpoint.task_set`` deals them out.

        Raises:
            ModelError: If the patterns are not on the model's grid.
        """
        if self.checkpoint.mask and mask is None:
            mask = np.ones(intensity.shape, np.bool_)
        return predict_logits(
            self._network,
            intensity,
            self.grid,
            mask if self.checkpoint.mask else None,
        )


def predict_logits(
    network: nn.Module,
    intensity: Float32[np.ndarray, "batch points"],
    grid: TwoThetaGrid,
    mask: Bool[np.ndarray, "batch points"] | None = None,
) -> Float32[np.ndarray, "batch classes"]:
    """Run a network over patterns, some at a time, where its weights are.

    Args:
        network: In evaluation mode.
        intensity: The patterns.
        grid: Angles that the network reads.
        mask: A second channel for networks that have one.

    Raises:
        ModelError: If the patterns are not on the grid.
    """
    if intensity.ndim != 2 or intensity.shape[1] != grid.points:
        raise ModelError(
            f"patterns of shape {intensity.shape}; the model reads (batch, "
            f"{grid.points}) from {grid.start:g} to {grid.stop:g} degrees"
        )
    weight = next(network.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device

    def channels(start: int) -> torch.Tensor:
        rows = slice(start, start + _PREDICT_BATCH)
        x = torch.tensor(intensity[rows])[:, None]
        if mask is not None:
            x = torch.cat([x, torch.tensor(mask[rows])[:, None].to(x.dtype)], 1)
        return x.to(device)

    with torch.inference_mode():
        logits = [
            network(channels(start)).float().cpu()
            # At least once, so that no patterns give logits of the right width.
            for start in range(0, max(len(intensity), 1), _PREDICT_BATCH)
        ]
    result: np.ndarray = torch.cat(logits).numpy()
    return result


def load_classifier(model: Path | str) -> CheckpointClassifier:
    """Read a trained model, ready to predict.

    Args:
        model: File, folder of a run, or the name of a model that ships.

    Raises:
        ModelError: If the file is no tensors-only checkpoint, or does not fit.
    """
    path = find_checkpoint(model)
    checkpoint = load_checkpoint(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoint.training.clear()  # the optimiser is twice the size of the weights
    return CheckpointClassifier(checkpoint, digest, path)
