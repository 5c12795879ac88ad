"""The files of a track: patterns frozen, counted, named by digests and written.

`dataset.split` reads them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.sources.labels.structure_type import LOOSE_SYMPREC, SYMPREC
from pxrdbench.tracks.assignment import total_variation
from pxrdbench.tracks.frozen_peaks import FrozenPeaks

Columns = dict[str, list[Any]]

TRACK_VERSION = 1
RADIATION = "CuKa1"
GRID = TwoThetaGrid()
MARGIN = 2.0  # degrees beyond the grid, from where tails still reach in
SIZE_RANGE_NM = (20.0, 100.0)  # Schopmans et al. (2023), Digital Discovery 2, 1414
SIZE_SEED = 20260101


def freeze_sizes(ids: Sequence[str]) -> Float64[np.ndarray, " crystals"]:
    """Draw the crystallite size [nm] of each crystal from its id alone."""
    low, high = SIZE_RANGE_NM
    sizes = np.empty(len(ids))
    for row, name in enumerate(ids):
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        index = int.from_bytes(digest, "little") >> 1  # fits into a signed word
        uniform = draw_uniforms(SIZE_SEED, index, 1, STREAM_CRYSTALLITE_SIZE, 1)[0, 0]
        sizes[row] = low + (high - low) * uniform
    return np.round(sizes, 3)


def freeze_peaks(crystals: CrystalBatch) -> FrozenPeaks:
    """Simulate what a track evaluates on: peaks of the grid and a margin."""
    return FrozenPeaks.from_peaks(
        simulate_peaks(
            crystals,
            radiation=RADIATION,
            two_theta=(GRID.start - MARGIN, GRID.stop + MARGIN),
            precision="double",
        )
    )


def assignment_digest(columns: Mapping[str, Sequence[Any]]) -> str:
    """Name an assignment: sha256 over id, part, space group and type of each row."""
    names = ("id", "part", "space_group", "structure_type")
    rows = sorted(zip(*(columns[name] for name in names), strict=True))
    lines = ("\t".join(map(str, row)) + "\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def track_digest(
    columns: Mapping[str, Sequence[Any]], peaks: Mapping[str, FrozenPeaks]
) -> str:
    """Name all that a track freezes: sha256 over assignment, sizes and peaks."""
    digest = hashlib.sha256(assignment_digest(columns).encode())
    rows = sorted(zip(columns["id"], columns["crystallite_size_nm"], strict=True))
    digest.update(json.dumps([[name, size] for name, size in rows]).encode())
    digest.update(json.dumps([GRID.start, GRID.stop, GRID.points, RADIATION]).encode())
    for part in sorted(peaks):
        digest.update(part.encode() + peaks[part].to_bytes())
    return digest.hexdigest()


def write_track(
    out: Path,
    name: str,
    columns: Columns,
    crystals: Mapping[str, CrystalBatch],
    left_out: Columns,
    **record: Any,
) -> dict[str, Any]:
    """Freeze the patterns and write the three files of a track."""
    peaks = {part: freeze_peaks(batch) for part, batch in crystals.items()}
    streams = {
        f"{part}.{key}": stream
        for part, frozen in peaks.items()
        for key, stream in frozen.to_streams().items()
    }
    full_record = {
        "name": name,
        "version": TRACK_VERSION,
        "split_digest": assignment_digest(columns),
        "digest": track_digest(columns, peaks),
        "parts": count_parts(columns),
        "total_variation": find_distances(columns),
        "left_out": dict(sorted(Counter(left_out["reason"]).items())),
        "frozen_parts": sorted(crystals),
        "n_peaks": {part: len(frozen.code) for part, frozen in peaks.items()},
        "radiation": RADIATION,
        "scattering": "default",
        "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
        "margin": MARGIN,
        "crystallite_size_nm": list(SIZE_RANGE_NM),
        "symprec": SYMPREC,
        "loose_symprec": LOOSE_SYMPREC,
        "versions": package_versions(),
        **record,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_columns(columns, out / "table.parquet")
    (out / "left_out.tsv").unlink(missing_ok=True)
    if left_out["id"]:
        rows = sorted(zip(left_out["id"], left_out["reason"], strict=True))
        lines = ["id\treason", *("\t".join(row) for row in rows)]
        (out / "left_out.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    np.savez(out / "peaks.npz", allow_pickle=False, **streams)
    text = json.dumps(full_record, indent=1, sort_keys=True, ensure_ascii=False)
    (out / "track.json").write_text(text + "\n", "utf-8")
    return full_record


def count_parts(columns: Columns) -> dict[str, dict[str, int]]:
    """Count crystals, types and space groups of each part."""
    rows = list(
        zip(
            columns["part"],
            columns["structure_type"],
            columns["space_group"],
            strict=True,
        )
    )
    return {
        part: {
            "crystals": sum(row[0] == part for row in rows),
            "structure_types": len({row[1] for row in rows if row[0] == part}),
            "space_groups": len({row[2] for row in rows if row[0] == part}),
        }
        for part in sorted(set(columns["part"]))
    }


def find_distances(columns: Columns) -> dict[str, float]:
    """Measure how far apart the space groups of each two parts are."""
    groups: dict[str, list[int]] = {part: [] for part in sorted(set(columns["part"]))}
    for part, group in zip(columns["part"], columns["space_group"], strict=True):
        groups[part].append(group)
    return {
        f"{first} {second}": round(total_variation(groups[first], groups[second]), 4)
        for first, second in combinations(groups, 2)
    }


def package_versions() -> dict[str, str]:
    """Name the packages that the content of a track depends on."""
    packages = ("pxrdbench", "pymatgen", "pymatgen-core", "spglib", "gemmi", "numpy")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # pymatgen-core is apart since 2025 only
            continue
    return versions


def write_columns(columns: Columns, path: Path) -> None:
    """Write columns as Parquet, with narrow types."""
    import pyarrow
    import pyarrow.parquet

    types = {
        "space_group": pyarrow.int16(),
        "aflow_space_group": pyarrow.int16(),
        "loose_space_group": pyarrow.int16(),
        "space_group_found": pyarrow.int16(),
        "is_disordered": pyarrow.bool_(),
        "is_type_in_statistics": pyarrow.bool_(),
        "crystallite_size_nm": pyarrow.float64(),
    }
    first = ["id", "part", "space_group", "structure_type", "formula"]
    names = [*first, *(name for name in columns if name not in first)]
    table = pyarrow.table(
        {
            name: pyarrow.array(columns[name], types.get(name, pyarrow.string()))
            for name in names
        }
    ).sort_by("id")
    pyarrow.parquet.write_table(table, path, compression="zstd")


def read_columns(path: Path) -> Columns:
    """Read what `write_columns` wrote."""
    import pyarrow.parquet

    columns: Columns = pyarrow.parquet.read_table(path).to_pydict()
    return columns


def read_left_out(folder: Path) -> Columns:
    """Read the rows left out of a track; none if there is no such file."""
    path = folder / "left_out.tsv"
    lines = path.read_text("utf-8").splitlines()[1:] if path.exists() else []
    rows = [line.split("\t") for line in lines]
    return {"id": [row[0] for row in rows], "reason": [row[1] for row in rows]}
