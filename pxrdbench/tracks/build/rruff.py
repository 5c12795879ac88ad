"""Tracks of measured minerals: ``rruff/all`` and ``rruff/clean``.

RRUFF states no open licence, so no pattern of it is shipped: its users download the
archives, and these tracks are built from them. Rules choose the patterns, no eye does:

- ``rruff/all``: every measurement that can be read, with a space group from its DIF
  file, and with the radiation of copper;
- ``rruff/clean``: of these, the identification is confirmed, the angles reach from 10
  to 70 degrees with steps of 0.05 degrees or less, and no other measurement has the
  very same counts.

Other grids are resampled, not dropped; angles that were not measured are zero, and the
mask says so. A tenth of the minerals, by a keyed hash of the name, is ``dev``. One
mineral has many patterns: intervals are taken over minerals.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.rruff import Kind, RruffEntry, read_rruff
from pxrdbench.sources.scans.read import resample
from pxrdbench.tracks.assignment import deal_by_hash
from pxrdbench.tracks.build.icsd import mark_restricted, write_record
from pxrdbench.tracks.load import MEASURED
from pxrdbench.tracks.public_form import make_public_form, write_public_form
from pxrdbench.tracks.store import (
    GRID,
    Columns,
    assignment_digest,
    package_versions,
    write_columns,
)

RULES_VERSION = 1
KINDS = ("all", "clean")
SHARES = {"test": 90, "dev": 10}
_STEPS = 65535  # of a stored pattern, from its lowest to its highest point
_COPPER = (1.53, 1.55)  # mean wavelength of any line of copper Kα [Å]
_DESCRIPTIONS = {
    "all": "Every readable powder pattern of RRUFF with a space group, measured with "
    "copper radiation, whatever its quality.",
    "clean": "Powder patterns of RRUFF that rules find sound: identification "
    "confirmed, 10 to 70 degrees, steps of at most 0.05 degrees, no duplicates.",
}
_ATTRIBUTIONS = (
    "RRUFF: Lafuente, Downs, Yang & Stone (2015), The power of databases: the RRUFF "
    "project, Highlights in Mineralogical Crystallography, 1-30",
)
_LICENCE = "RRUFF states none: not to be passed on"
# Reasons of the reader for which a pattern cannot be asked about at all.
_HOPELESS = ("cannot be read", "no DIF file", "space group symbol not understood")

Progress = Callable[[int, int], None]


def build_rruff_tracks(
    source: Path, out: Path, kind: Kind = "raw", progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Build both tracks from RRUFF's archives.

    Args:
        source: Folder that holds the archives of patterns and of DIF files.
        out: Folder for both, ``rruff-all`` and ``rruff-clean``; what lies there is
            replaced.
        kind: ``raw`` patterns, with their background, or ``processed`` ones.
        progress: Is called with the files done and the files there are.

    Returns:
        The records written.

    Raises:
        SourceError: If there are no patterns in the folder.
        SplitError: If none of them can be used.
    """
    entries, _ = read_rruff(source, kind, progress)
    reasons = find_reasons(entries)
    return [_write_track(out, name, kind, entries, reasons[name]) for name in KINDS]


def find_reasons(entries: Sequence[RruffEntry]) -> dict[str, list[str]]:
    """Say of each entry why it is not in a track; "" if it is."""
    every = [_find_flaw(entry) for entry in entries]
    clean = [flaw or entry.excluded for flaw, entry in zip(every, entries, strict=True)]
    first: dict[str, str] = {}
    for row in sorted(range(len(entries)), key=lambda row: entries[row].file_name):
        pattern = entries[row].pattern
        if clean[row] or pattern is None:
            continue
        counts = hashlib.sha256(pattern.intensity.astype("<f8").tobytes()).hexdigest()
        other = first.setdefault(counts, entries[row].file_name)
        if other != entries[row].file_name:
            clean[row] = f"same counts as another: {other}"
    return {"all": every, "clean": clean}


def _find_flaw(entry: RruffEntry) -> str:
    """Say why an entry cannot be asked about at all."""
    if entry.excluded.startswith(_HOPELESS):
        return entry.excluded
    pattern = entry.pattern
    if pattern is None or not entry.space_group:
        return "no pattern or no space group"
    if pattern.radiation is None:
        return "radiation not known"
    if not _COPPER[0] < pattern.radiation.wavelength < _COPPER[1]:
        return f"other radiation: {pattern.radiation.wavelength:.4f} angstrom"
    intensity, mask = resample(pattern.two_theta, pattern.intensity, GRID)
    if not mask.any() or np.ptp(intensity[mask]) <= 0.0:
        return "nothing measured between 5 and 90 degrees"
    return ""


def _write_track(
    out: Path,
    name: str,
    kind: Kind,
    entries: Sequence[RruffEntry],
    reasons: Sequence[str],
) -> dict[str, Any]:
    kept = [e for e, reason in zip(entries, reasons, strict=True) if not reason]
    if not kept:
        raise SplitError(
            f"none of {len(entries)} patterns is fit for rruff/{name}: "
            f"{dict(count_reasons(reasons))}"
        )
    kept.sort(key=_name_of)
    track, key = f"rruff/{name}", "pxrdbench rruff 1"
    severity = read_reference_list()
    columns: Columns = {
        "id": [_name_of(entry) for entry in kept],
        # One key for both tracks: what tunes one is not asked about in the other.
        "part": deal_by_hash([e.mineral.casefold() for e in kept], SHARES, key),
        "space_group": [entry.space_group for entry in kept],
        "structure_type": [entry.mineral for entry in kept],
        "formula": [_plain_formula(entry.chemistry) for entry in kept],
        "mineral": [entry.mineral for entry in kept],
        "rruff_id": [entry.rruff_id for entry in kept],
        "space_group_symbol": [entry.space_group_symbol for entry in kept],
        "informedxrd_severity": [
            severity.get((e.mineral.casefold(), e.rruff_id.split("-")[0]), "")
            for e in kept
        ],
    }
    arrays = _store_patterns(kept, columns["part"])
    patterns = hashlib.sha256()
    for stored in sorted(arrays):
        patterns.update(stored.encode() + arrays[stored].tobytes())
    split_digest = assignment_digest(columns)
    record = {
        "name": track,
        "kind": MEASURED,
        "version": RULES_VERSION,
        "restricted": True,
        "split_digest": split_digest,
        "digest": hashlib.sha256(
            f"{split_digest} {patterns.hexdigest()}".encode()
        ).hexdigest(),
        "description": _DESCRIPTIONS[name],
        "licence": _LICENCE,
        "attributions": list(_ATTRIBUTIONS),
        "key": key,
        "shares": SHARES,
        "patterns": kind,
        "parts": _count(columns),
        "frozen_parts": sorted(set(columns["part"])),
        "left_out": dict(count_reasons([reason for reason in reasons if reason])),
        "radiation": "CuKa",
        "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
        "versions": package_versions(),
    }
    folder = out / track.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    mark_restricted(folder)
    write_columns(columns, folder / "table.parquet")
    _write_left_out(entries, reasons, folder / "left_out.tsv")
    np.savez_compressed(folder / "patterns.npz", allow_pickle=False, **arrays)
    write_public_form(make_public_form(columns, record), folder)
    write_record(record, folder)
    return record


def _name_of(entry: RruffEntry) -> str:
    """Name a measurement: its file, without the ending that all have."""
    return entry.file_name.removesuffix(".txt")


def _plain_formula(chemistry: str) -> str:
    """Write RRUFF's ``Ca_3_(PO_4_)_2_`` without its marks of subscripts."""
    return re.sub(r"\^[^^]*\^", "", chemistry).replace("_", "")


def count_reasons(reasons: Sequence[str]) -> "Counter[str]":
    """Count reasons without their details, the most frequent first."""
    counted = Counter(reason.split(":")[0] for reason in reasons if reason)
    return Counter(dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))))


def _count(columns: Columns) -> dict[str, dict[str, int]]:
    """Count patterns, minerals and space groups of each part."""
    rows = list(
        zip(columns["part"], columns["mineral"], columns["space_group"], strict=True)
    )
    return {
        part: {
            "crystals": sum(row[0] == part for row in rows),
            "structure_types": len({row[1] for row in rows if row[0] == part}),
            "space_groups": len({row[2] for row in rows if row[0] == part}),
        }
        for part in sorted(set(columns["part"]))
    }


def _store_patterns(
    entries: Sequence[RruffEntry], parts: Sequence[str]
) -> dict[str, np.ndarray]:
    """Resample patterns onto the grid: steps of each, and where it was measured."""
    arrays: dict[str, np.ndarray] = {}
    for part in sorted(set(parts)):
        mine = [e for e, other in zip(entries, parts, strict=True) if other == part]
        made = [_resample(entry) for entry in mine]
        arrays[part] = np.array([steps for steps, _ in made], np.uint16)
        arrays[f"{part}.mask"] = np.packbits(
            np.array([mask for _, mask in made]), axis=1
        )
    return arrays


def _resample(
    entry: RruffEntry,
) -> tuple[UInt16[np.ndarray, " points"], Bool[np.ndarray, " points"]]:
    if entry.pattern is None:
        raise SplitError(f"{entry.file_name} holds no pattern")
    intensity, mask = resample(entry.pattern.two_theta, entry.pattern.intensity, GRID)
    return np.rint(_STEPS * _scale(intensity, mask)).astype(np.uint16), mask


def _scale(
    intensity: Float64[np.ndarray, " points"], mask: Bool[np.ndarray, " points"]
) -> Float64[np.ndarray, " points"]:
    """Put the lowest measured point at zero and the highest at one."""
    low, high = float(intensity[mask].min()), float(intensity[mask].max())
    return np.where(mask, (intensity - low) / (high - low), 0.0)


def _write_left_out(
    entries: Sequence[RruffEntry], reasons: Sequence[str], path: Path
) -> None:
    rows = sorted(
        (_name_of(entry), " ".join(reason.split()))
        for entry, reason in zip(entries, reasons, strict=True)
        if reason
    )
    lines = ["id\treason", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def read_reference_list() -> dict[tuple[str, str], str]:
    """Read a list of usable patterns that others made by fitting: mineral, id.

    Returns:
        ``usable_or_better`` or ``recoverable`` for each (mineral, RRUFF id).

    References:
        "Attention is not all you need" (2026), arXiv:2604.23811, repository
        scattering/paper-ai-diffraction (MIT), its list RRUFF-325: here the 258 that
        it names.
    """
    text = (
        files("pxrdbench.tracks.build")
        .joinpath("rruff_reference.csv")
        .read_text("utf-8")
    )
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return {(row[0].casefold(), row[1]): row[2] for row in rows[1:]}
