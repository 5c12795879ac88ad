"""Real crystals to learn from: of a track, out of it or of its source, or an import."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SourceError
from pxrdbench.sources.databases.materials_project import read_crystals
from pxrdbench.sources.labels.type_names import choose_type
from pxrdbench.sources.structures.load import (
    is_import,
    load_import,
    load_import_record,
)
from pxrdbench.sources.structures.minerals import choose_minerals
from pxrdbench.tracks.load import load_crystals, load_record, load_table
from pxrdbench.tracks.store import ATTRIBUTIONS

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SourceCrystals:
    """Crystals as they were read.

    Attributes:
        crystals: In the standard setting.
        ids: Their names.
        restricted: Whether they are licensed.
        source: What to call them, with whom to cite.
        structure_type: Of each, where it is known.
        formula: Of each, where it is known.
        not_read: Crystals that could not be read, by reason.
    """

    crystals: CrystalBatch
    ids: tuple[str, ...]
    restricted: bool
    source: str
    structure_type: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()
    not_read: Mapping[str, int] = field(default_factory=dict)


def read_import(folder: str | Path, one_per_mineral: bool = False) -> SourceCrystals:
    """Read the crystals of an import.

    Args:
        folder: Of the import.
        one_per_mineral: Take one of each mineral that is named, see
            `choose_minerals`, instead of all.

    Raises:
        SourceError: If the folder holds no finished import, or names no mineral.
    """
    record = load_import_record(folder)
    crystals, table = load_import(folder)
    columns = table.to_pydict()
    ids = [str(name) for name in columns["id"]]
    types = [
        choose_type(given, prototype, name)[0]
        for given, prototype, name in zip(
            columns["structure_type"], columns["prototype"], ids, strict=True
        )
    ]
    source = f"import ({record['kind']}) {record['digest'][:12]}"
    not_taken: dict[str, int] = {}
    if one_per_mineral:
        names = columns.get("mineral", [""] * len(ids))
        chosen = choose_minerals(names, ids, crystals.space_group, crystals.volume)
        n_unnamed = sum(not name for name in names)
        not_taken = {
            "names no mineral": n_unnamed,
            "another entry stands for its mineral": (
                len(ids) - n_unnamed - len(chosen)
            ),
        }
        source = f"{len(chosen)} minerals, one entry each, of {source}"
        crystals = take_crystals(crystals, chosen)
        ids, types = [ids[row] for row in chosen], [types[row] for row in chosen]
        columns["formula"] = [columns["formula"][row] for row in chosen]
    return SourceCrystals(
        crystals,
        tuple(ids),
        bool(record["restricted"]),
        "; ".join([source, *ATTRIBUTIONS.get(str(record["kind"]), ())]),
        tuple(types),
        tuple(columns["formula"]),
        {reason: count for reason, count in not_taken.items() if count},
    )


def read_part_crystals(
    track: str | Path,
    part: str,
    data: str | Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SourceCrystals:
    """Read the crystals of a part of a track, out of it or what it was made of.

    Args:
        track: Its name or its folder.
        part: Part of it.
        data: Materials Project table, the folder that holds one, or an import; None
            for the crystals that the track carries.
        workers: Processes; as many as there are cores if None. An import needs none.
        progress: Is called with the crystals done and all of them.

    Raises:
        SplitError: If there is no such track or part, or it carries no crystals.
        SourceError: If the data cannot be read, or hold no crystal of the part.
    """
    record, table = load_record(track), load_table(track, part)
    wanted = table["id"].to_pylist()
    labels = {
        name: (kind, formula)
        for name, kind, formula in zip(
            wanted,
            table["structure_type"].to_pylist(),
            table["formula"].to_pylist(),
            strict=True,
        )
    }
    licensed = bool(record.get("restricted", False))
    source = "; ".join([f"{record['name']} {part}", *record["attributions"]])
    if data is None:
        return SourceCrystals(
            load_crystals(track, wanted),
            tuple(wanted),
            licensed,
            source,
            *_labels_of(wanted, labels),
        )
    if not is_import(data):
        crystals, ids, report = read_crystals(
            data, wanted, workers=workers, progress=progress
        )
        return SourceCrystals(
            crystals,
            ids,
            licensed,
            source,
            *_labels_of(ids, labels),
            report.reasons,
        )
    imported = read_import(data)
    names = set(wanted)
    rows = [row for row, name in enumerate(imported.ids) if name in names]
    if not rows:
        raise SourceError(f"{data} holds no crystal of {record['name']} {part}")
    ids = tuple(imported.ids[row] for row in rows)
    return SourceCrystals(
        take_crystals(imported.crystals, np.array(rows, np.int64)),
        ids,
        licensed or imported.restricted,
        f"{record['name']} {part} of {imported.source}",
        *_labels_of(ids, labels),
    )


def _labels_of(
    ids: Sequence[str], labels: Mapping[str, tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Types and formulas of crystals, as the track has them."""
    found = [labels[name] for name in ids]
    return tuple(kind for kind, _ in found), tuple(formula for _, formula in found)
