"""Bruker's RAW of version 3, whose files begin with ``RAW1.01``.

Offsets [bytes], little-endian; checked against the same scans written as UXD and as xy
by other programs (the samples that the tests name):

    file    12  number of ranges (int32)      608 anode (4 characters)
           616  mean wavelength [Å] (float64)  624 Kα1   632 Kα2   648 Kα2/Kα1
           712  first range
    range    0  length of its header (int32)    4  number of points (int32)
            16  first angle 2θ (float64)      176  step [degrees] (float64)
           192  seconds a step (float32)
           256  length of the records between header and counts (int32)
    counts      float32 each, behind header and records
"""

import struct

import numpy as np

from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    make_doublet,
    make_pattern,
)

_FIRST_RANGE = 712
_MAX_RANGES = 1000


def read_bruker_raw(data: bytes, name: str) -> tuple[MeasuredPattern, ...]:
    """Read every range of a file that begins with ``RAW1.01``.

    Raises:
        SourceError: If the file ends too early, or a range is no scan over 2θ.
    """
    try:
        (n_ranges,) = struct.unpack_from("<i", data, 12)
        first, second = struct.unpack_from("<2d", data, 624)
        (ratio,) = struct.unpack_from("<d", data, 648)
        anode = data[608:612].split(b"\0")[0].decode("ascii", "replace").strip()
        radiation = make_doublet(first, second, ratio, anode)
        scans, offset = [], _FIRST_RANGE
        if not 0 < n_ranges <= _MAX_RANGES:
            raise SourceError(f"{name}: {n_ranges} ranges in a RAW file")
        for number in range(1, n_ranges + 1):
            header, count = struct.unpack_from("<2i", data, offset)
            (start,) = struct.unpack_from("<d", data, offset + 16)
            (step,) = struct.unpack_from("<d", data, offset + 176)
            (seconds,) = struct.unpack_from("<f", data, offset + 192)
            (records,) = struct.unpack_from("<i", data, offset + 256)
            if header < 0 or records < 0 or not 0 < count <= MAX_POINTS:
                raise SourceError(f"{name}: range {number} is damaged")
            counts = np.frombuffer(data, "<f4", count, offset + header + records)
            offset += header + records + 4 * count
            own_name = name if n_ranges == 1 else f"{name} (range {number})"
            angles = start + step * np.arange(count)
            scans.append(
                make_pattern(
                    angles, counts, radiation, None, own_name, {"anode": anode},
                    counting_time=float(seconds) if seconds < 1e6 else None,
                )
            )  # fmt: skip
    except (struct.error, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{name}: the RAW file ends too early or is damaged"
        ) from None
    return tuple(scans)
