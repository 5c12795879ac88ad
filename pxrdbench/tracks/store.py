"""The files of a track: patterns frozen, counted, named by digests and written.

`dataset.split` reads them.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import CrystalError, PatternError, SplitError
from pxrdbench.files import write_atomically
from pxrdbench.sources.labels.structure_type import LOOSE_SYMPREC, SYMPREC
from pxrdbench.tracks.assignment import total_variation
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.packed_crystals import pack_crystals

Columns = dict[str, list[Any]]

TRACK_VERSION = 1
RADIATION = "CuKa1"
CRYSTALS = "crystals.npz"
GRID = TwoThetaGrid()
MARGIN = 2.0  # degrees beyond the grid, from where tails still reach in
SIZE_RANGE_NM = (20.0, 100.0)  # Schopmans et al. (2023), Digital Discovery 2, 1414
SIZE_SEED = 20260101
# Simulated at once: bounds the memory, and lets progress be told.
_CHUNK = 500
# Whom to cite for crystals of an import, by its kind.
ATTRIBUTIONS = {
    "icsd": (
        "ICSD, FIZ Karlsruhe: Zagorac et al. (2019), J. Appl. Cryst. 52, 918, "
        "doi:10.1107/S160057671900997X",
    ),
    "cod": (
        "Crystallography Open Database: Grazulis et al. (2012), Nucleic Acids Res. 40, "
        "D420, doi:10.1093/nar/gkr900",
    ),
    "amcsd": (
        "American Mineralogist Crystal Structure Database: Downs & Hall-Wallace "
        "(2003), Am. Mineral. 88, 247",
    ),
}


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


def freeze_sound_peaks(
    crystals: CrystalBatch,
    rows: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FrozenPeaks, list[int], "Counter[str]"]:
    """Freeze the peaks of all crystals that can be simulated.

    Returns:
        The peak lists, which of the rows they belong to, and why others have none.
    """
    lists: list[FrozenPeaks] = []
    sound: list[int] = []
    failures: Counter[str] = Counter()
    for start in range(0, len(rows), _CHUNK):
        wanted = list(range(start, min(start + _CHUNK, len(rows))))
        while wanted:
            try:
                lists.append(freeze_peaks(take_crystals(crystals, rows[wanted])))
                sound += wanted
                break
            except (PatternError, CrystalError) as error:
                if error.index is None:
                    raise
                del wanted[error.index]
                failures[_reason(error)] += 1
        if progress is not None:
            progress(min(start + _CHUNK, len(rows)), len(rows))
    if not lists:
        raise SplitError("no crystal of the import can be simulated")
    return FrozenPeaks.join(lists), sound, failures


def _reason(error: PatternError | CrystalError) -> str:
    """Say in general why a crystal has no pattern."""
    if isinstance(error, CrystalError):
        return "the crystal cannot be simulated"
    return "too many reflections" if "over " in str(error) else "no reflection"


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


def write_crystals(crystals: CrystalBatch, folder: Path) -> None:
    """Write the crystals of a track, in the order of its table: by id."""
    # The streams are compressed already.
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **pack_crystals(crystals))
    write_atomically(folder / CRYSTALS, file.getvalue())


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
