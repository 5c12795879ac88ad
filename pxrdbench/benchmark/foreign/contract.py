"""What a model reads and what its logits mean: said in its file, or beside it.

    {"space_groups": [2, 14, …], "grid": {"start": 5, "stop": 90, "points": 8501},
     "radiation": "CuKa1", "scaling": "maximum", "mask": false, "model": "resnet-10"}

It is JSON in ``<file>.json``; or the text ``pxrdbench`` among the metadata of a
safetensors file (``save_file(…, metadata={"pxrdbench": json.dumps(contract)})``) or of
an ONNX model (``metadata_props``). A file beside the model counts first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.outside import (
    DAMAGES,
    guard,
    one_line,
    parse_strict_json,
    read_strict_json,
)

METADATA_KEY = "pxrdbench"
Scaling = Literal["maximum", "square root", "sum", "standard"]
_SCALINGS = get_args(Scaling)
_KNOWN = {"space_groups", "grid", "radiation", "model", "scaling", "mask"}
# A header of a safetensors file is about 100 bytes a tensor.
_MOST_HEADER = 2**24


@dataclass(frozen=True)
class InputContract:
    """What a model reads and what its logits mean.

    Attributes:
        space_groups: Space group of each logit.
        grid: Angles of the patterns.
        radiation: What they are made with; None where own code does not say.
        model: Registered name of the architecture; "" for ONNX and own code.
        scaling: Of a pattern p with maximum 1: ``maximum`` leaves it, ``square root``
            takes √p, ``sum`` divides by Σ p, ``standard`` gives mean 0 and standard
            deviation 1.
        mask: Whether a second channel says which points were measured.
    """

    space_groups: tuple[int, ...]
    grid: TwoThetaGrid
    radiation: Radiation | None
    model: str = ""
    scaling: Scaling = "maximum"
    mask: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any], place: str) -> "InputContract":
        """Check what a record says.

        Raises:
            ModelError: With the place and what is wrong there.
        """
        if unknown := set(record) - _KNOWN:
            raise ModelError(f"{place} has the unknown {sorted(unknown)}")
        try:
            named = record["space_groups"]
            if not isinstance(named, list) or len(named) > 230:
                raise ValueError("space_groups is no list of at most 230 numbers")
            if not all(type(number) is int for number in named):
                raise ValueError("space_groups holds what is no whole number")
            groups = tuple(named)
            radiation = record.get("radiation")
            contract = cls(
                groups,
                _parse_grid(record["grid"]),
                None if radiation is None else _parse_radiation(radiation),
                str(record.get("model", "")),
                record.get("scaling", "maximum"),
                record.get("mask", False),
            )
        except KeyError as error:
            raise ModelError(f"{place} lacks {error}") from error
        except DAMAGES as error:
            raise ModelError(f"{place}: {one_line(str(error))}") from error
        if not groups or len(set(groups)) != len(groups):
            raise ModelError(f"{place}: a class list is empty or repeats a group")
        if not all(1 <= number <= 230 for number in groups):
            raise ModelError(f"{place}: a class list has numbers outside 1-230")
        if contract.scaling not in _SCALINGS:
            raise ModelError(
                f"{place}: scaling is {contract.scaling!r}; known are "
                f"{', '.join(_SCALINGS)}"
            )
        if not isinstance(contract.mask, bool):
            raise ModelError(f"{place}: mask is {contract.mask!r}; true or false")
        return contract

    @classmethod
    def read(cls, path: Path | str) -> "InputContract":
        """Read the sidecar of a model.

        Raises:
            ModelError: If it is missing or wrong.
        """
        path = Path(path)
        try:
            record = read_strict_json(path)
        except ValueError as error:
            raise ModelError(_missing(path.name, str(error))) from error
        return cls._without_default(record, str(path))

    @classmethod
    def parse(cls, text: str, place: str) -> "InputContract":
        """Read what stands in a model's own metadata.

        Raises:
            ModelError: If it is no JSON or wrong.
        """
        try:
            record = parse_strict_json(text, place)
        except ValueError as error:
            raise ModelError(str(error)) from error
        return cls._without_default(record, place)

    @classmethod
    def _without_default(cls, record: Mapping[str, Any], place: str) -> "InputContract":
        """A file says its radiation: nobody guesses copper."""
        contract = cls.from_record(record, place)
        if contract.radiation is None:
            raise ModelError(f"{place} lacks 'radiation', such as \"CuKa1\" or 1.5406")
        return contract

    def prepare(
        self,
        intensity: Float32[np.ndarray, "batch points"],
        mask: Bool[np.ndarray, "batch points"] | None = None,
    ) -> Float32[np.ndarray, "batch channels points"]:
        """Make of patterns with maximum 1 what the model reads."""
        patterns = scale_patterns(intensity, self.scaling)
        if not self.mask:
            return np.ascontiguousarray(patterns[:, None], np.float32)
        measured = np.ones(patterns.shape, bool) if mask is None else mask
        return np.stack([patterns, measured.astype(np.float32)], axis=1)


def scale_patterns(
    intensity: Float32[np.ndarray, "batch points"], scaling: Scaling
) -> Float32[np.ndarray, "batch points"]:
    """Scale patterns of maximum 1; one without any intensity stays zero."""
    if scaling == "square root":
        return np.asarray(np.sqrt(np.maximum(intensity, 0.0)), np.float32)
    if scaling == "sum":
        size = intensity.sum(axis=1, keepdims=True, dtype=np.float64)
        return np.asarray(intensity / np.where(size > 0.0, size, 1.0), np.float32)
    if scaling == "standard":
        wide = intensity.astype(np.float64)
        centred = wide - wide.mean(axis=1, keepdims=True)
        spread = wide.std(axis=1, keepdims=True)
        return np.asarray(centred / np.where(spread > 0.0, spread, 1.0), np.float32)
    return intensity


def find_contract(path: Path) -> InputContract | None:
    """Find the contract of a file: beside it, or in the header of safetensors.

    Returns:
        None where neither is there; an ONNX model may still hold one.

    Raises:
        ModelError: If what is there is wrong.
    """
    beside = Path(f"{path}.json")
    if beside.is_file():
        return InputContract.read(beside)
    if path.suffix.lower() != ".safetensors":
        return None
    text = _safetensors_metadata(path).get(METADATA_KEY)
    place = f"the metadata of {path}"
    return None if text is None else InputContract.parse(str(text), place)


def missing_contract(path: Path) -> ModelError:
    """Say what a model without a contract needs."""
    return ModelError(_missing(f"{path.name}.json", "it is not there"))


def _missing(name: str, reason: str) -> str:
    return (
        f"a model of another's making needs {name} beside it, or {METADATA_KEY!r} in "
        f"its metadata, with space_groups, grid, radiation and model: {reason}"
    )


def _safetensors_metadata(path: Path) -> dict[str, Any]:
    """Read the header, which is JSON led by its length (8 bytes)."""
    with guard(ModelError, f"{path} cannot be read"), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(_MOST_HEADER, path.stat().st_size):
            raise ModelError(f"the header of {path} claims {size:,} bytes")
        text = file.read(size)
    header = parse_strict_json(text, f"the header of {path}", ModelError)
    metadata = header.get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else {}


def _parse_grid(value: Mapping[str, Any]) -> TwoThetaGrid:
    """Read angles of which none is left to a default."""
    if set(value) != {"start", "stop", "points"}:
        raise ValueError(f"grid is {value}; it has start, stop and points")
    return TwoThetaGrid(**value)


def _parse_radiation(value: Any) -> Radiation:
    """Read a name, a wavelength [Å], or lines: wavelength [Å] and weight of each."""
    if isinstance(value, list | tuple):
        return Radiation(
            tuple((float(length), float(weight)) for length, weight in value)
        )
    return Radiation.parse(value)
