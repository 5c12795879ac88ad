"""Files of models: what they are and what they read, found without opening them."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pxrdbench.benchmark.strict_json import read_strict_json
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError

Kind = Literal["safetensors", "state dict", "onnx"]

_REMEDY = (
    "save a plain state dict (torch.save(model.state_dict(), …), or safetensors) of a "
    "registered model, or export to ONNX with torch.onnx.export"
)
_KINDS: Mapping[str, Kind] = {
    ".safetensors": "safetensors",
    ".pt": "state dict",
    ".pth": "state dict",
    ".onnx": "onnx",
}
MOST_BYTES = 2**31  # also the most that one ONNX file can hold
# Entries that only archives with code have: TorchScript, torch.export.
_CODE_ENTRIES = ("code", "constants.pkl", "models", "archive_format")


@dataclass(frozen=True)
class InputContract:
    """What a model reads and what its logits mean.

    Attributes:
        space_groups: Space group of each logit.
        grid: Angles of the patterns.
        radiation: What they are made with.
        model: Registered name of the architecture; "" for ONNX.
    """

    space_groups: tuple[int, ...]
    grid: TwoThetaGrid
    radiation: Radiation
    model: str = ""

    @classmethod
    def read(cls, path: Path | str) -> "InputContract":
        """Read the sidecar of a model.

        Raises:
            ModelError: If it is missing or wrong.
        """
        path = Path(path)
        try:
            record = read_strict_json(path)
            unknown = set(record) - {"space_groups", "grid", "radiation", "model"}
            if unknown:
                raise ModelError(f"{path} has the unknown {sorted(unknown)}")
            groups = tuple(int(number) for number in record["space_groups"])
            if not groups or len(set(groups)) != len(groups):
                raise ModelError(f"{path}: a class list is empty or repeats a group")
            if not all(1 <= number <= 230 for number in groups):
                raise ModelError(f"{path}: a class list has numbers outside 1-230")
            return cls(
                groups,
                TwoThetaGrid(**record["grid"]),
                Radiation.parse(record["radiation"]),
                str(record.get("model", "")),
            )
        except ModelError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"a model of another's making needs {path.name} beside it, with "
                f"space_groups, grid, radiation and model: {error}"
            ) from error


def find_kind(path: Path | str) -> Kind:
    """Tell what a model file is without reading what is in it.

    Raises:
        ModelError: If it is of no accepted kind, could run code, or is built to do
            harm; the message names the way out.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no model at {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(
            f"{path} has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read"
        )
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ModelError(f"{path} is none of {', '.join(_KINDS)}; {_REMEDY}")
    if kind == "state dict":
        _check_archive(path)
    return kind


def _check_archive(path: Path) -> None:
    """Refuse archives that torch.save does not write."""
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is no archive of torch.save; a bare pickle runs code when it is "
            f"read: {_REMEDY}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path} is a damaged archive: {error}") from error
    for entry in entries:
        parts = Path(entry.filename.replace("\\", "/")).parts
        if ".." in parts or entry.filename.startswith(("/", "\\")):
            raise ModelError(
                f"{path} holds {entry.filename!r}, which leaves its archive"
            )
        if parts[1:2] and parts[1] in _CODE_ENTRIES:
            raise ModelError(
                f"{path} holds {entry.filename!r}: TorchScript and torch.export "
                f"archives run code when they are read; {_REMEDY}"
            )
    # torch.save never compresses, so nothing may grow when it is read.
    total = sum(entry.file_size for entry in entries)
    if total > path.stat().st_size:
        raise ModelError(
            f"{path} would grow from {path.stat().st_size:,} to {total:,} bytes; "
            "torch.save does not compress"
        )
