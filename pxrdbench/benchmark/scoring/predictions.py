"""What a model said of every crystal of a track, kept so that it can be scored again.

Predictions come first and scores follow from them: any number can be recomputed
later, and a model that cannot be shared can still be judged.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Float64

from pxrdbench.errors import EvaluationError
from pxrdbench.files import atomic_path
from pxrdbench.outside import (
    MOST_JSON_BYTES,
    guard,
    one_line,
    parse_strict_json,
    take,
)

FORMAT = "pxrdbench.predictions"
FORMAT_VERSION = 1
_LEAST_LOGIT = float(np.finfo(np.float16).min)
# Above any track (230 groups, a million crystals), far below a memory limit.
_MOST_BYTES = 2**29
_MOST_ITEM = 256  # of an id
_FILTERS = frozenset({1, 2, 3})  # H5Zpublic.h: deflate, shuffle, Fletcher's checksum


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of one model for every crystal of one part of a track.

    Attributes:
        ids: Names of the crystals, in the order of the rows.
        logits: One row a crystal, its largest value shifted to 0 so that float16
            keeps what decides between the first candidates.
        space_groups: Class list: the space group of each column.
        track: Name of the track.
        part: Part of the track.
        track_version: Version of the track.
        track_digest: Digest of the track.
        model_name: What to call the model.
        model_digest: sha256 of the checkpoint, hex; "" for a model in memory.
        class_frequencies: Share of each class in what the model was trained on: the
            guess to beat. None if unknown.
        restricted: Whether licensed crystals went into the model; such predictions
            are not to be published.
        provenance: More about the model, as text by name.
    """

    ids: tuple[str, ...]
    logits: Float16[np.ndarray, "crystals classes"]
    space_groups: tuple[int, ...]
    track: str
    part: str
    track_version: str
    track_digest: str
    model_name: str = "model"
    model_digest: str = ""
    class_frequencies: Float64[np.ndarray, " classes"] | None = None
    restricted: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_classes()
        if self.logits.dtype != np.float16 or self.logits.ndim != 2:
            raise EvaluationError(
                f"logits are {self.logits.dtype} in {self.logits.ndim} dimensions; "
                "they must be float16, one row a crystal (see pack_logits)"
            )
        if self.logits.shape != (len(self.ids), len(self.space_groups)):
            raise EvaluationError(
                f"logits are {self.logits.shape}, but there are {len(self.ids)} "
                f"crystals and {len(self.space_groups)} classes"
            )
        if len(set(self.ids)) != len(self.ids):
            raise EvaluationError("an id stands twice; each crystal has one prediction")
        if not np.isfinite(self.logits).all():
            row = int(np.flatnonzero(~np.isfinite(self.logits).all(axis=1))[0])
            raise EvaluationError(
                f"the logits of crystal {self.ids[row]!r} are not all finite"
            )
        self.logits.flags.writeable = False

    def _check_classes(self) -> None:
        classes = self.space_groups
        if not classes or len(set(classes)) != len(classes):
            raise EvaluationError("a class list is empty or names a group twice")
        if not all(1 <= number <= 230 for number in classes):
            wrong = next(number for number in classes if not 1 <= number <= 230)
            raise EvaluationError(f"space group {wrong} in the class list; 1-230 exist")
        shares = self.class_frequencies
        if shares is None:
            return
        if shares.shape != (len(classes),) or not (
            np.isfinite(shares).all() and (shares >= 0.0).all() and shares.sum() > 0.0
        ):
            raise EvaluationError(
                "class frequencies must be one finite number, 0 or more, a class"
            )
        shares.flags.writeable = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """sha256 of everything that scores depend on, hex."""
        header = json.dumps(self._header(), sort_keys=True, ensure_ascii=False)
        result = hashlib.sha256(header.encode())
        result.update(json.dumps(self.ids, ensure_ascii=False).encode())
        result.update(self.logits.astype("<f2").tobytes())
        if self.class_frequencies is not None:
            result.update(self.class_frequencies.astype("<f8").tobytes())
        return result.hexdigest()

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "track": self.track,
            "part": self.part,
            "track_version": self.track_version,
            "track_digest": self.track_digest,
            "model_name": self.model_name,
            "model_digest": self.model_digest,
            "restricted": self.restricted,
            "space_groups": list(self.space_groups),
            "provenance": dict(sorted(self.provenance.items())),
        }

    def write(self, path: Path | str) -> None:
        """Write to HDF5; equal predictions give equal bytes.

        Datasets: ``id`` (UTF-8, fixed length), ``logits`` (float16, crystals x
        classes), ``space_group`` (int16, of each column), ``class_frequency``
        (float64, if known). The attribute ``header`` is JSON.
        """
        # Imported here: h5py takes 0.2 s, which a command's help need not wait for.
        import h5py

        names = np.array([name.encode() for name in self.ids], dtype=np.bytes_)
        columns: dict[str, np.ndarray] = {
            "id": names,
            "logits": self.logits.astype("<f2"),
            "space_group": np.array(self.space_groups, "<i2"),
        }
        if self.class_frequencies is not None:
            columns["class_frequency"] = self.class_frequencies.astype("<f8")
        with atomic_path(path) as part, h5py.File(part, "w") as file:
            header = json.dumps(self._header(), sort_keys=True, ensure_ascii=False)
            file.attrs["header"] = np.bytes_(header.encode())
            for name, column in columns.items():
                # Time stamps would make equal predictions differ.
                file.create_dataset(
                    name,
                    data=column,
                    compression="gzip",
                    shuffle=True,
                    track_times=False,
                )

    @classmethod
    def read(cls, path: Path | str) -> "Predictions":
        """Read predictions from HDF5.

        Raises:
            EvaluationError: If the file is not one that ``write`` makes.
        """
        import h5py

        path = Path(path)
        if not path.is_file():
            raise EvaluationError(f"there is no predictions file {path}")
        with guard(EvaluationError, f"{path} cannot be read as predictions"):
            with h5py.File(path, "r") as file:
                header = _read_header(file, path)
                if header.get("format") != FORMAT:
                    raise EvaluationError(f"{path} holds no pxrdbench predictions")
                if header.get("format_version") != FORMAT_VERSION:
                    raise EvaluationError(
                        f"{path} is of format version "
                        f"{header.get('format_version')!r}; this pxrdbench reads "
                        f"version {FORMAT_VERSION}"
                    )
                names = _read_column(file, "id", "S")
                logits = _read_column(file, "logits", "f", 230)
                has_shares = "class_frequency" in file
                shares = (
                    _read_column(file, "class_frequency", "f") if has_shares else None
                )
            return cls(
                ids=tuple(name.decode() for name in names.tolist()),
                logits=logits,
                space_groups=tuple(_read_classes(header)),
                track=str(header["track"]),
                part=str(header["part"]),
                track_version=str(header["track_version"]),
                track_digest=str(header["track_digest"]),
                model_name=str(header["model_name"]),
                model_digest=str(header["model_digest"]),
                class_frequencies=shares,
                restricted=bool(header["restricted"]),
                provenance={str(k): str(v) for k, v in header["provenance"].items()},
            )


def pack_logits(
    logits: Float[np.ndarray, "crystals classes"],
) -> Float16[np.ndarray, "crystals classes"]:
    """Shift each row's largest logit to 0 and store as float16.

    Softmax does not see the shift; float16 is finest near 0, where the candidates
    are that compete. Minus infinity (a class ruled out) becomes the least float16.

    Raises:
        EvaluationError: If a logit is NaN or a row has no finite largest value; it
            names the row.
    """
    largest = logits.max(axis=1, keepdims=True)  # NaN if the row holds one
    if not np.isfinite(largest).all():
        row = int(np.flatnonzero(~np.isfinite(largest[:, 0]))[0])
        raise EvaluationError(
            f"row {row} of the logits holds NaN or infinity; the model has diverged"
        )
    shifted = logits.astype(np.float64) - largest
    return np.asarray(np.maximum(shifted, _LEAST_LOGIT).astype(np.float16))


def _read_header(file: Any, path: Path) -> dict[str, Any]:
    """Read the attribute ``header``, whose size is looked at before it is read."""
    attribute = file.attrs.get_id("header")
    if attribute.get_storage_size() > MOST_JSON_BYTES or attribute.shape != ():
        raise EvaluationError(f"the header of {path} has an absurd size")
    if attribute.dtype.kind not in "SO":
        raise EvaluationError(f"the header of {path} is no text")
    value = file.attrs["header"]
    text = value if isinstance(value, str) else bytes(value)
    return parse_strict_json(text, f"the header of {path}")


def _read_classes(header: Mapping[str, Any]) -> list[int]:
    groups = take(header, "space_groups", list)
    if len(groups) > 230 or not all(type(number) is int for number in groups):
        raise ValueError("space_groups is no class list")
    return [int(number) for number in groups]


def _read_column(
    file: Any, name: str, kind: str, most_columns: int | None = None
) -> Any:
    """Read a dataset that lies in this very file and is not absurdly large.

    Args:
        file: The HDF5 file.
        name: Of the dataset.
        kind: Of its numbers, a letter of numpy.
        most_columns: Where it has two dimensions.
    """
    import h5py

    link = file.get(name, getlink=True)
    column = file[name] if isinstance(link, h5py.HardLink) else None
    # External and virtual storage would read other files of this machine.
    if (
        not isinstance(column, h5py.Dataset)
        or column.is_virtual
        or column.external is not None
    ):
        raise EvaluationError(f"{name!r} is no dataset stored in the file itself")
    dtype, shape = column.dtype, column.shape
    if dtype.kind != kind or dtype.itemsize > _MOST_ITEM or shape is None:
        raise EvaluationError(f"{name!r} holds {one_line(str(dtype), 60)}")
    wanted = 1 if most_columns is None else 2
    if len(shape) != wanted or (most_columns is not None and shape[1] > most_columns):
        raise EvaluationError(f"{name!r} has the shape {shape}")
    # A chunk is unpacked whole, whatever part of it is asked for.
    size = math.prod(shape) * dtype.itemsize
    chunk = math.prod(column.chunks or (0,)) * dtype.itemsize
    if max(size, chunk) > _MOST_BYTES:
        raise EvaluationError(
            f"{name!r} would take {max(size, chunk):,} bytes; at most "
            f"{_MOST_BYTES:,} are read"
        )
    # Other filters are libraries that HDF5 would look for and load.
    pipeline = column.id.get_create_plist()
    filters = {pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())}
    if filters - _FILTERS:
        raise EvaluationError(f"{name!r} is packed by filters {sorted(filters)}")
    return column[()]
