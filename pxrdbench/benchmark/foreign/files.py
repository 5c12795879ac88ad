"""Files of models: what they are, found without opening them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

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
