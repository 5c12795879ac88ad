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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.prior.statistics import Gatherer
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SplitError
from pxrdbench.sources.labels.type_names import choose_type
from pxrdbench.sources.structures.load import load_import, load_import_record
from pxrdbench.tracks.assignment import PART_SHARES, deal_by_hash, deal_exactly
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
_PAPER_SHARES = {"statistics": 70, "test": 30}
_DESCRIPTIONS = {
    "structure-type": "whole structure types dealt by a keyed hash of the type: no "
    "type is in two parts",
    "random": "entries dealt one by one by a keyed hash of their names: most types "
    "that are asked about were learnt",
}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PaperProtocol:
    """How the reference work divides, filters and simulates its crystals.

    Exactly 70 % of the types (or entries) are to learn from and 30 % to be asked about;
    then crystals above the limits go, and groups with too few valid crystals in the
    part to learn from. Patterns know no dispersion, no thermal motion and no tails of
    peaks beyond their ends.

    Attributes:
        min_crystals: Fewest valid crystals of a group, as found, in ``statistics``: up
            to the limits, of elements with radii.
        max_volume: Largest conventional cell [Å³].
        max_sites: Most rows of the atom table.

    References:
        Schopmans et al. (2023), Digital Discovery 2, 1414.
    """

    min_crystals: int = 50
    max_volume: float = 7000.0
    max_sites: int = 100


def build_icsd_tracks(
    folder: Path,
    out: Path,
    progress: Progress | None = None,
    paper: PaperProtocol | None = None,
) -> list[dict[str, Any]]:
    """Build both tracks of an import.

    Args:
        folder: Of the import.
        out: Folder for both, ``<kind>-random`` and ``<kind>-structure-type``, with
            ``-paper`` behind where asked for; what lies there is replaced.
        progress: Is called with the crystals done and the crystals of the import.
        paper: Divide, filter and simulate as the reference work does.

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
    peaks, sound, failures = freeze_sound_peaks(
        crystals, rows, progress, "default" if paper is None else "paper"
    )
    left_out.update(failures)
    columns = {name: [values[i] for i in sound] for name, values in columns.items()}
    columns["crystallite_size_nm"] = freeze_sizes(columns["id"]).tolist()
    n_sites = table["n_sites"].to_numpy()[rows[sound]]
    made = take_crystals(crystals, rows[sound]), peaks
    records = []
    for kind in KINDS:
        name, key = _name_track(imported["kind"], kind, paper)
        decides = columns["structure_type" if kind == "structure-type" else "id"]
        if paper is None:
            parts = deal_by_hash(decides, PART_SHARES, key)
            kept, why = np.arange(len(parts)), Counter[str]()
        else:
            parts = deal_exactly(decides, key=key)
            kept, why = _apply_limits(made[0], columns, n_sites, parts, paper)
        dealt = {**columns, "part": parts}
        records.append(
            _write_track(
                out,
                (name, kind, key),
                {column: [values[i] for i in kept] for column, values in dealt.items()},
                (take_crystals(made[0], kept), peaks.take(kept)),
                left_out + why,
                imported,
                paper,
            )
        )
    return records


def _name_track(source: str, kind: str, paper: PaperProtocol | None) -> tuple[str, str]:
    """Name of a track, and the key by which it is dealt."""
    name = f"{source}/{kind}" + ("" if paper is None else "-paper")
    return name, f"pxrdbench {name} 1"


def _apply_limits(
    crystals: CrystalBatch,
    columns: Columns,
    n_sites: np.ndarray,
    parts: Sequence[str],
    paper: PaperProtocol,
) -> tuple[np.ndarray, "Counter[str]"]:
    """Choose the rows that meet the paper's limits and are of a represented group.

    Raises:
        SplitError: If no group has enough valid crystals; it names the most.
    """
    is_large = crystals.volume > paper.max_volume
    is_long = n_sites > paper.max_sites
    fits = ~is_large & ~is_long
    learns = np.array(parts) == "statistics"
    rows = np.flatnonzero(fits & learns)
    gatherer = Gatherer(paper.max_volume, paper.max_sites)
    gatherer.add(take_crystals(crystals, rows))
    counts = np.bincount(gatherer.finish().space_group, minlength=231)
    represented = counts >= paper.min_crystals
    if not represented.any():
        raise SplitError(
            f"no space group has {paper.min_crystals} valid crystals in the part "
            f"'statistics'; the most are {counts.max()}: give a lower --min-crystals"
        )
    given = np.array(columns["space_group"])
    # What is learnt goes by the group found, what is asked by the group given.
    known = represented[np.where(learns, crystals.space_group, given)]
    why = {
        f"cell above {paper.max_volume:g} Å³": is_large,
        f"more than {paper.max_sites} rows of atoms": ~is_large & is_long,
        f"group with fewer than {paper.min_crystals} valid crystals in statistics": (
            fits & ~known
        ),
    }
    left = Counter({reason: int(rows.sum()) for reason, rows in why.items()})
    return np.flatnonzero(fits & known), +left


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
    named: tuple[str, str, str],
    columns: Columns,
    made: tuple[CrystalBatch, FrozenPeaks],
    left_out: Mapping[str, int],
    imported: Mapping[str, Any],
    paper: PaperProtocol | None,
) -> dict[str, Any]:
    """Write the files of one track."""
    (crystals, peaks), (name, kind, key) = made, named
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
        "shares": dict(PART_SHARES if paper is None else _PAPER_SHARES),
        "labels": list(LABELS),
        "parts": count_parts(columns),
        "frozen_parts": list(parts),
        "total_variation": find_distances(columns),
        "left_out": dict(sorted(left_out.items())),
        "types_from": dict(sorted(Counter(columns["type_origin"]).items())),
        "n_peaks": {part: len(lists.code) for part, lists in parts.items()},
        "radiation": RADIATION,
        "scattering": "default" if paper is None else "paper",
        "protocol": "" if paper is None else "schopmans2023",
        "thermal_motion": "as the entries say" if paper is None else "none (B = 0)",
        "min_crystals": 0 if paper is None else paper.min_crystals,
        "grid": {"start": GRID.start, "stop": GRID.stop, "points": GRID.points},
        "margin": MARGIN if paper is None else 0.0,
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
