"""A digest of the rendered patterns of a track: what models really see.

Peak lists are frozen as whole numbers, patterns are rendered from them. On one kind of
processor and with one version of the libraries the bytes are always the same, so their
sha256 stands in ``patterns.json`` beside the track. Elsewhere the last bit of a float
may differ; so the mean pattern, in bins of one degree, stands there too, which every
machine must reproduce within ``TOLERANCE``.
"""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.errors import SplitError
from pxrdbench.outside import guard, read_strict_json
from pxrdbench.tracks.load import Part, load_record, load_track, track_folder

DIGEST_NAME = "patterns.json"
# A mean pattern of 8,501 points for each part.
_MOST_BYTES = 2**26
TOLERANCE = 2e-5  # of the maximum: what the profile promises (docs/physics.md)
_BATCH = 512


def digest_patterns(part: Part) -> dict[str, Any]:
    """Render all patterns of a part, and name them.

    Returns:
        ``sha256`` of the float32 values, little-endian, row by row, and
        ``mean_pattern``: their mean in each degree of the grid.
    """
    digest = hashlib.sha256()
    total = np.zeros(part.grid.points)
    for start in range(0, len(part), _BATCH):
        rendered = part.batch(start, min(_BATCH, len(part) - start)).intensity
        digest.update(rendered.astype("<f4").tobytes())
        total += rendered.sum(axis=0, dtype=np.float64)
    return {
        "sha256": digest.hexdigest(),
        "mean_pattern": _bin_degrees(total / len(part), part).round(8).tolist(),
    }


def _bin_degrees(
    pattern: Float64[np.ndarray, " points"], part: Part
) -> Float64[np.ndarray, " degrees"]:
    """Take the mean of a pattern within each degree."""
    degree = np.floor(part.grid.angles() - part.grid.start + 1e-9).astype(int)
    degree[-1] = degree[-2]  # the last angle belongs to the last degree
    sums = np.bincount(degree, weights=pattern)
    return np.asarray(sums / np.bincount(degree))


def describe_machine() -> dict[str, str]:
    """Name what the bytes of a rendered pattern depend on."""
    import llvmlite.binding

    return {
        "cpu": str(llvmlite.binding.get_host_cpu_name()),
        "system": platform.system(),
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
    }


def write_pattern_digests(track: str | Path) -> dict[str, Any]:
    """Write ``patterns.json`` beside a track."""
    record = load_record(track)
    digests = {
        "track": record["name"],
        "track_digest": record["digest"],
        "parts": {
            part: digest_patterns(load_track(track, part))
            for part in record["frozen_parts"]
        },
        "machine": describe_machine(),
    }
    text = json.dumps(digests, indent=1, sort_keys=True)
    (track_folder(track) / DIGEST_NAME).write_text(text + "\n", "utf-8")
    return digests


def check_patterns(track: str | Path, part: str) -> bool:
    """Render a part anew, and compare with what stands beside the track.

    Returns:
        Whether the bytes are the same, too.

    Raises:
        SplitError: If there is no digest, or a mean differs by more than
            ``TOLERANCE``.
    """
    path = track_folder(track) / DIGEST_NAME
    if not path.is_file():
        raise SplitError(f"no digest of patterns stands beside {track}")
    with guard(SplitError, f"{path} holds no digests of patterns"):
        known = read_strict_json(path, SplitError, _MOST_BYTES)["parts"].get(part)
    if known is None:
        raise SplitError(f"{path} says nothing of part {part!r}")
    made = digest_patterns(load_track(track, part))
    apart = np.abs(np.subtract(made["mean_pattern"], known["mean_pattern"])).max()
    if not apart <= TOLERANCE:
        raise SplitError(
            f"the patterns of {track} {part} differ by {apart:.1e} of their maximum "
            f"from those the track was published with; {TOLERANCE:g} are allowed"
        )
    return bool(made["sha256"] == known["sha256"])
