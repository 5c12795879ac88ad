"""Files for other people's programs: one sample a row, patterns as 16-bit numbers.

    intensity = stored / 65535        (half a step: 8e-6 of the maximum)

Each writer makes one file of batches; equal batches give equal bytes (of one version
of the library that writes it).
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.export.card import Column
from pxrdbench.dataset.shards.manifest import ShardSpan

INTENSITY_SCALE = 65535

# Rows that a reader of Parquet takes into memory together: 17 MB.
_ROW_GROUP = 1024

_INDEX = Column("index", "int64", "number of the sample in its recipe")
_GROUP = Column("space_group", "int16", "International Tables, 1-230: the label")
_SIZE = Column("crystallite_size_nm", "float32", "size that broadens the lines [nm]")
_PATTERN = Column(
    "intensity",
    "binary",
    "pattern of little-endian uint16, 65535 for its maximum: "
    "`numpy.frombuffer(row['intensity'], '<u2') / 65535`",
)
_RANGE = (
    Column("measured_from", "int32", "first point of the grid that was measured"),
    Column("measured_to", "int32", "first point behind those measured"),
)


def export_columns(has_mask: bool, has_size: bool) -> tuple[Column, ...]:
    """Columns of a row, for the card."""
    columns = [_INDEX, _GROUP, *([_SIZE] if has_size else []), _PATTERN]
    return (*columns, *(_RANGE if has_mask else ()))


def quantise(batch: Batch) -> UInt16[np.ndarray, "batch points"]:
    """Patterns as whole numbers, 65535 for a maximum of one."""
    steps: UInt16[np.ndarray, "batch points"] = np.rint(
        batch.intensity * np.float32(INTENSITY_SCALE)
    ).astype("<u2")
    return steps


def write_parquet(path: Path, batches: Iterator[Batch]) -> None:
    """Write rows with the pattern as bytes: what readers get at fastest."""
    import pyarrow
    from pyarrow import parquet

    writer: Any = None
    try:
        for batch in batches:
            table = pyarrow.table(_arrow_columns(batch, pyarrow))
            if writer is None:
                # Dictionaries would hold every pattern a second time.
                writer = parquet.ParquetWriter(
                    path,
                    table.schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=["space_group"],
                    write_statistics=["index", "space_group"],
                )
            writer.write_table(table, row_group_size=_ROW_GROUP)
    finally:
        if writer is not None:
            writer.close()


def _arrow_columns(batch: Batch, pyarrow: Any) -> dict[str, Any]:
    patterns = quantise(batch)
    offsets = np.arange(len(batch) + 1, dtype=np.int32) * patterns.strides[0]
    columns = {
        "index": pyarrow.array(batch.index, pyarrow.int64()),
        "space_group": pyarrow.array(batch.space_group, pyarrow.int16()),
    }
    if (sizes := _sizes(batch)) is not None:
        columns["crystallite_size_nm"] = pyarrow.array(sizes, pyarrow.float32())
    columns["intensity"] = pyarrow.Array.from_buffers(
        pyarrow.binary(),
        len(batch),
        [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(patterns)],
    )
    for column, values in zip(_RANGE, _ranges(batch), strict=False):
        columns[column.name] = pyarrow.array(values, pyarrow.int32())
    return columns


def write_webdataset(path: Path, batches: Iterator[Batch]) -> None:
    """Write a tar with ``.npy`` and ``.json`` of each sample, as webdataset reads."""
    with path.open("wb") as file:
        for batch in batches:
            patterns, ranges = quantise(batch), _ranges(batch)
            sizes = _sizes(batch)
            for row in range(len(batch)):
                about: dict[str, float] = {
                    "index": int(batch.index[row]),
                    "space_group": int(batch.space_group[row]),
                    "intensity_scale": INTENSITY_SCALE,
                }
                if sizes is not None:
                    about["crystallite_size_nm"] = float(sizes[row])
                for column, values in zip(_RANGE, ranges, strict=False):
                    about[column.name] = int(values[row])
                key = f"{batch.index[row]:012d}"
                _add_member(file, f"{key}.json", json.dumps(about).encode())
                pattern = io.BytesIO()
                np.lib.format.write_array(pattern, patterns[row], version=(1, 0))
                _add_member(file, f"{key}.npy", pattern.getvalue())
        end = file.tell() + 2 * tarfile.BLOCKSIZE
        file.write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))


def _add_member(file: io.BufferedWriter, name: str, data: bytes) -> None:
    # No time, owner or mode of this run: the same samples are the same bytes.
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT) + data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def write_hdf5(path: Path, batches: Iterator[Batch], samples: int) -> None:
    """Write arrays that are mapped as they are: any row at the price of one read."""
    import h5py

    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        first = 0
        for batch in batches:
            arrays = _hdf5_arrays(batch)
            for name, values in arrays.items():
                if first == 0:
                    file.create_dataset(
                        name,
                        (samples, *values.shape[1:]),
                        values.dtype,
                        track_times=False,  # the same samples are the same bytes
                    )
                file[name][first : first + len(batch)] = values
            first += len(batch)
        file["intensity"].attrs["scale"] = INTENSITY_SCALE


def _hdf5_arrays(batch: Batch) -> dict[str, np.ndarray]:
    arrays = {
        "index": batch.index.astype("<i8"),
        "space_group": batch.space_group.astype("<i2"),
        "intensity": quantise(batch),
    }
    if (sizes := _sizes(batch)) is not None:
        arrays["crystallite_size_nm"] = sizes.astype("<f4")
    for column, values in zip(_RANGE, _ranges(batch), strict=False):
        arrays[column.name] = values.astype("<i4")
    return arrays


def write_hdf5_index(path: Path, pieces: Sequence[tuple[str, int]]) -> None:
    """Write a file in which the rows of all pieces lie behind each other.

    Args:
        path: Beside the pieces.
        pieces: Name and number of samples of each.
    """
    import h5py

    total = sum(samples for _, samples in pieces)
    with h5py.File(path.with_name(pieces[0][0]), "r") as first:
        kinds = {name: (data.shape[1:], data.dtype) for name, data in first.items()}
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        for name, (shape, dtype) in kinds.items():
            # As `h5py.VirtualLayout`, which has no word against times (h5py 3.16).
            choices = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            choices.set_layout(h5py.h5d.VIRTUAL)
            choices.set_obj_track_times(False)
            start = 0
            for piece, samples in pieces:
                rows = h5py.h5s.create_simple((total, *shape))
                rows.select_hyperslab((start, *(0 for _ in shape)), (samples, *shape))
                source = h5py.h5s.create_simple((samples, *shape))
                choices.set_virtual(rows, piece.encode(), name.encode(), source)
                start += samples
            space = h5py.h5s.create_simple((total, *shape))
            kind = h5py.h5t.py_create(dtype, logical=True)
            h5py.h5d.create(file.id, name.encode(), kind, space, choices)
        file["intensity"].attrs["scale"] = INTENSITY_SCALE


def piece_name(span: ShardSpan, ending: str) -> str:
    """Name of the file that a shard becomes."""
    return f"samples-{span.index:06d}{ending}"


def _sizes(batch: Batch) -> np.ndarray | None:
    """Crystallite sizes; None where widths are the measurement's."""
    sizes = batch.crystallite_size_nm
    return sizes if np.isfinite(sizes).all() else None


def _ranges(batch: Batch) -> tuple[np.ndarray, ...]:
    """First point measured, and first point behind; nothing if all were."""
    if batch.mask is None:
        return ()
    first = batch.mask.argmax(axis=1)
    last = batch.mask.shape[1] - batch.mask[:, ::-1].argmax(axis=1)
    return first, last
