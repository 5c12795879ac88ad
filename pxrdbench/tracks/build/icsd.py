"""Tracks of licensed crystals: ``icsd/random`` and ``icsd/structure-type``.

Whoever holds the licence builds them from an import (`sources.structure_import`), into
a folder that stays there. As in the reference work 70 % of the types are to learn from
and 30 % to be asked about; ``dev``, to tune on, is a twentieth of the types, out of the
70. A keyed hash of the type decides, so that a type keeps its part from release to
release of the data base; the space groups of the parts are then further apart than in
``open/structure-type``, where types are dealt, and the record says how far.

The type of an entry is the one that the data base names, else its prototype label, else
the entry is a type of its own. Three labels can be asked for (``labels`` of
`dataset.split.load_track`): the space group as given, as found in the coordinates, and
as found in crystals without partial occupancy.

References:
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: the 70:30 split.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SplitError
from pxrdbench.sources.labels.type_names import choose_type
from pxrdbench.sources.structures.load import load_import, load_import_record
from pxrdbench.tracks.assignment import PART_SHARES, deal_by_hash
from pxrdbench.tracks.frozen_peaks import FrozenPeaks
from pxrdbench.tracks.load import LABELS
from pxrdbench.tracks.public_form import make_public_form, write_public_form
from pxrdbench.tracks.store import (
    ATTRIBUTIONS,
    GRID,
    MARGIN,
    RADIATION,
    SIZE_RANGE_NM,
    TRACK_VERSION,
    Columns,
    assignment_digest,
    count_parts,
    find_distances,
    freeze_sizes,
    freeze_sound_peaks,
    package_versions,
    track_digest,
    write_columns,
    write_crystals,
)

KINDS = ("random", "structure-type")
RESTRICTED_LICENCE = "licensed crystals: not to be passed on"
_DESCRIPTIONS = {
    "structure-type": "whole structure types dealt by a keyed hash of the type: no "
    "type is in two parts",
    "random": "entries dealt one by one by a keyed hash of their names: most types "
    "that are asked about were learnt",
}
Progress = Callable[[int, int], None]


def build_icsd_tracks(
    folder: Path, out: Path, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Build both tracks of an import.

    Args:
        folder: Of the import.
        out: Folder for both, ``<kind>-random`` and ``<kind>-structure-type``; what
            lies there is replaced.
        progress: Is called with the crystals done and the crystals of the import.

    Returns:
        The records written. The tracks do not depend on the order of the entries.

    Raises:
        SourceError: If the folder holds no finished import.
        SplitError: If no entry can be used.
    """
    imported = load_import_record(folder)
    crystals, table = load_import(folder)
    columns, rows, left_out = _label_entries(table.to_pydict())
    if not len(rows):
        raise SplitError(f"no entry of {folder} has a space group; nothing to build")
    peaks, sound, failures = freeze_sound_peaks(crystals, rows, progress)
    left_out.update(failures)
    columns = {name: [values[i] for i in sound] for name, values in columns.items()}
    columns["crystallite_size_nm"] = freeze_sizes(columns["id"]).tolist()
    held = take_crystals(crystals, rows[sound])
    return [
        _write_track(out, kind, columns, (held, peaks), left_out, imported)
        for kind in KINDS
    ]


def _label_entries(
    table: Columns,
) -> tuple[Columns, np.ndarray, "Counter[str]"]:
    """Choose type and labels of each entry, ordered by id."""
    order = sorted(range(len(table["id"])), key=lambda row: str(table["id"][row]))
    columns: Columns = {name: [] for name in _COLUMNS}
    rows, left_out = [], Counter[str]()
    for row in order:
        given, found = table["space_group_given"][row], table["space_group_found"][row]
        if not given:
            left_out["no space group given"] += 1
            continue
        label, origin = choose_type(
            table["structure_type"][row], table["prototype"][row], table["id"][row]
        )
        rows.append(row)
        columns["id"].append(str(table["id"][row]))
        columns["space_group"].append(int(given))
        columns["space_group_found"].append(int(found))
        columns["structure_type"].append(label)
        columns["type_origin"].append(origin)
        columns["prototype"].append(table["prototype"][row] or "")
        columns["formula"].append(table["formula"][row] or "")
        columns["is_disordered"].append(bool(table["disordered"][row]))
    if len(set(columns["id"])) != len(columns["id"]):
        raise SplitError("two entries of the import have one id")
    return columns, np.array(rows, np.int64), left_out


_COLUMNS = (
    "id",
    "space_group",
    "space_group_found",
    "structure_type",
    "type_origin",
    "prototype",
    "formula",
    "is_disordered",
)


def _write_track(
    out: Path,
    kind: str,
    labelled: Columns,
    made: tuple[CrystalBatch, FrozenPeaks],
    left_out: Mapping[str, int],
    imported: Mapping[str, Any],
) -> dict[str, Any]:
    """Deal the entries, and write the files of one track."""
    crystals, peaks = made
    name = f"{imported['kind']}/{kind}"
    key = f"pxrdbench {name} 1"
    decides = labelled["structure_type" if kind == "structure-type" else "id"]
    columns = {**labelled, "part": deal_by_hash(decides, PART_SHARES, key)}
    parts = {
        part: peaks.take(_rows_of(columns["part"], part))
        for part in sorted(set(columns["part"]))
    }
    is_restricted = bool(imported["restricted"])
    record = {
        "name": name,
        "version": TRACK_VERSION,
        "restricted": is_restricted,
        "split_digest": assignment_digest(columns),
        "digest": track_digest(columns, parts),
        "description": f"Crystals of an import ({imported['kind']}), "
        f"{_DESCRIPTIONS[kind]}. Built where the licence is held.",
        "licence": RESTRICTED_LICENCE if is_restricted else "as the source's",
        "attributions": list(ATTRIBUTIONS.get(str(imported["kind"]), ())),
        "key": key,
        "shares": dict(PART_SHARES),
        "labels": list(LABELS),
        "parts": count_parts(columns),
        "frozen_parts": list(parts),
        "total_variation": find_distances(columns),
        "left_out": dict(sorted(left_out.items())),
        "types_from": dict(sorted(Counter(columns["type_origin"]).items())),
        "n_peaks": {part: len(lists.code) for part, lists in parts.items()},
        "radiation": RADIATION,
        "scattering": "default",
        "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
        "margin": MARGIN,
        "crystallite_size_nm": list(SIZE_RANGE_NM),
        "import_digest": imported["digest"],
        "symprec": imported["symprec"],
        "versions": package_versions(),
    }
    folder = out / name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    if is_restricted:
        mark_restricted(folder)
    write_columns(columns, folder / "table.parquet")
    streams = {
        f"{part}.{stream}": values
        for part, lists in parts.items()
        for stream, values in lists.to_streams().items()
    }
    np.savez(folder / "peaks.npz", allow_pickle=False, **streams)
    write_crystals(crystals, folder)
    write_public_form(make_public_form(columns, record), folder)
    # The record comes last: a folder without it is no track.
    write_record(record, folder)
    return record


def _rows_of(parts: Sequence[str], wanted: str) -> np.ndarray:
    return np.flatnonzero(np.array(parts) == wanted)


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """Write ``track.json``."""
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "track.json").write_text(text + "\n", "utf-8")


def mark_restricted(folder: Path) -> None:
    """Say that a folder must not be passed on, to people and to git."""
    (folder / "RESTRICTED.txt").write_text(
        "What lies behind this track must not be passed on. public.json may be: it "
        "holds counts and digests only.\n",
        encoding="utf-8",
    )
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
