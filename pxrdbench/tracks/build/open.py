"""Build the tracks of the package: ``python -m pxrdbench.tracks.build.open``.

    python -m pxrdbench.tracks.build.open --data DATA [--keep-assignment]
    python -m pxrdbench.tracks.build.open --data DATA --only-derived

DATA is the folder that holds ``structures/mp_structures.parquet``. The result depends
on that table and on the versions written to ``track.json`` only: not on the order of
the rows, the number of processes or the machine's clock. With ``--keep-assignment``
labels and parts stay as they lie there and only the patterns are frozen anew. With
``--only-derived`` the tracks that deal the same crystals anew are written from the
installed ``open/structure-type``, see `dataset.track_derived`.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.sources.databases.materials_project import (
    find_symmetries,
    read_crystals,
    read_table,
)
from pxrdbench.sources.labels.structure_type import (
    LOOSE_SYMPREC,
    SYMPREC,
    Symmetry,
    find_symmetry,
)
from pxrdbench.tracks.build.derived import build_derived_tracks
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    OPEN_TRACK,
    PART_SHARES,
    TRACKS_FOLDER,
    deal_types,
)
from pxrdbench.tracks.store import (
    Columns,
    freeze_sizes,
    read_columns,
    read_left_out,
    write_track,
)

OPEN_DESCRIPTION = (
    "Inorganic crystals of the Materials Project (DFT-relaxed), divided by canonical "
    "prototype label: no structure type is in two parts, and the space groups of the "
    "parts are about equally frequent. Priors see the part 'statistics' only."
)
AFLOW_DESCRIPTION = (
    "The real compounds of the AFLOW library of crystallographic prototypes that "
    "pymatgen carries. The space group is the one that spglib finds at symprec 0.01; "
    "where the library's label has another, aflow_space_group holds it. Many of these "
    "types are famous and occur in the statistics part of open/structure-type too: "
    "this track asks for famous structures, not for unseen structure types."
)
OPEN_ATTRIBUTIONS = (
    "Materials Project, CC BY 4.0: Jain et al. (2013), APL Mater. 1, 011002, "
    "doi:10.1063/1.4812323",
    "MP-20: Xie et al. (2021), arXiv:2110.06197",
    "MPTS-52: Baird & Sparks (2022), Materials Project Time Split Data, figshare, "
    "doi:10.6084/m9.figshare.19991516.v4",
    "3DSC: Sommer et al. (2023), Sci. Data 10, 816, doi:10.1038/s41597-023-02721-y",
)
AFLOW_ATTRIBUTIONS = (
    "AFLOW library of crystallographic prototypes: Mehl et al. (2017), Comput. Mater. "
    "Sci. 136, S1, doi:10.1016/j.commatsci.2017.01.017",
    "pymatgen, MIT: Ong et al. (2013), Comput. Mater. Sci. 68, 314, "
    "doi:10.1016/j.commatsci.2012.10.028",
)

_log = logging.getLogger(__name__)


def assign_parts(data: Path, workers: int | None = None) -> tuple[Columns, Columns]:
    """Label all rows of the table and deal their types to the parts.

    Args:
        data: Folder that holds ``structures/``, or the table itself.
        workers: Processes; as many as there are cores if None.

    Returns:
        Columns id, part, space_group, structure_type, formula of the rows kept, and
        id, reason of those left out, both ordered by id.

    Raises:
        SourceError: If the table cannot be read.
        SplitError: If it does not say which space groups others found in it.
    """
    table = read_table(data).sort_by("id")
    names = [f"sg_symprec_{symprec}" for symprec in (SYMPREC, LOOSE_SYMPREC)]
    if not set(names) <= set(table.column_names):
        raise SplitError(f"the table has no columns {', '.join(names)}")
    found = find_symmetries(table, workers, _progress("labels"))
    kept: Columns = {
        name: [] for name in ("id", "space_group", "structure_type", "formula")
    }
    left_out: Columns = {"id": [], "reason": []}
    for row, symmetry in zip(
        table.select(["id", "formula", *names]).to_pylist(), found, strict=True
    ):
        reason = _reason_against(symmetry, *(row[name] for name in names))
        if reason:
            left_out["id"].append(row["id"])
            left_out["reason"].append(reason)
            continue
        kept["id"].append(row["id"])
        kept["space_group"].append(symmetry.space_group)
        kept["structure_type"].append(symmetry.structure_type)
        kept["formula"].append(row["formula"])
    kept["part"] = deal_types(kept["space_group"], kept["structure_type"])
    return kept, left_out


def _reason_against(symmetry: Symmetry, upstream: int, loose_upstream: int) -> str:
    """Say why a row is left out, "" if it is kept.

    The table's own columns come from spglib without a tolerance of angles, the labels
    from pymatgen with one of 5 degrees; a group is certain where both agree.
    """
    if symmetry.failure:
        return "no prototype label"
    if not symmetry.is_certain or upstream != loose_upstream:
        return f"space group differs at symprec {SYMPREC} and {LOOSE_SYMPREC}"
    if symmetry.space_group != upstream:
        return "space group differs from the one in the table"
    return ""


def build_open_track(
    data: Path, out: Path, workers: int | None = None, keep_assignment: bool = False
) -> dict[str, Any]:
    """Write the track ``open/structure-type``.

    Args:
        data: Folder that holds ``structures/``, or the table itself.
        out: Folder of the track.
        workers: Processes; as many as there are cores if None.
        keep_assignment: Keep labels and parts that lie in ``out``.

    Returns:
        The record written to ``track.json``.
    """
    if keep_assignment:
        kept, left_out = read_columns(out / "table.parquet"), read_left_out(out)
    else:
        kept, left_out = assign_parts(data, workers)
    frozen_parts = ("dev", "test")
    wanted = [
        name
        for name, part in zip(kept["id"], kept["part"], strict=True)
        if part in frozen_parts
    ]
    crystals, ids, report = read_crystals(
        data, wanted, workers=workers, progress=_progress("crystals")
    )
    label = dict(zip(kept["id"], kept["space_group"], strict=True))
    for name, group in zip(ids, crystals.space_group.tolist(), strict=True):
        if group != label[name]:
            raise SplitError(
                f"{name}: label {label[name]}, but the crystal has {group}"
            )
    for name, _ in report.failures:
        row = kept["id"].index(name)
        for values in kept.values():
            del values[row]
        left_out["id"].append(name)
        left_out["reason"].append("cannot be brought into the standard setting")
    kept["crystallite_size_nm"] = [
        float(size) if part in frozen_parts else None
        for size, part in zip(freeze_sizes(kept["id"]), kept["part"], strict=True)
    ]
    return write_track(
        out,
        OPEN_TRACK,
        kept,
        {part: _take_part(crystals, ids, kept, part) for part in frozen_parts},
        left_out,
        description=OPEN_DESCRIPTION,
        attributions=list(OPEN_ATTRIBUTIONS),
        licence="CC-BY-4.0",
        shares=dict(PART_SHARES),
        notes={
            "crystals outside statistics whose mirrored type is in statistics": (
                _count_mirrored(kept)
            ),
        },
    )


def _count_mirrored(columns: Columns) -> int:
    """Count crystals in dev and test whose type has its mirror image in statistics.

    The two groups of an enantiomorphic pair cannot be told apart by powder diffraction,
    but they are two groups, and so such types are two.
    """
    partner = load_symmetry_tables().enantiomorph
    rows = list(zip(columns["structure_type"], columns["part"], strict=True))
    seen = {label for label, part in rows if part == "statistics"}
    count = 0
    for label, part in rows:
        mirrored = label.split("_")
        mirrored[2] = str(partner[int(mirrored[2])])
        count += part != "statistics" and "_".join(mirrored) in seen
    return count


def build_aflow_track(out: Path, open_folder: Path) -> dict[str, Any]:
    """Write the track ``aflow/prototypes``.

    Args:
        out: Folder of the track.
        open_folder: Folder of the track ``open/structure-type``, to count the types
            that both have.

    Returns:
        The record written to ``track.json``.
    """
    prototypes = read_prototypes()
    found = [find_symmetry(prototype.structure) for prototype in prototypes]
    failed = [p.id for p, s in zip(prototypes, found, strict=True) if s.failure]
    if failed:
        raise SplitError(f"no prototype label for {', '.join(failed)}")
    made = [Crystal.from_pymatgen(p.structure, symprec=SYMPREC) for p in prototypes]
    for prototype, symmetry, crystal in zip(prototypes, found, made, strict=True):
        if crystal.space_group != symmetry.space_group:
            raise SplitError(
                f"{prototype.id}: label {symmetry.space_group}, but the crystal has "
                f"{crystal.space_group}"
            )
    other = read_columns(open_folder / "table.parquet")
    seen = {
        label
        for label, part in zip(other["structure_type"], other["part"], strict=True)
        if part == "statistics"
    }
    columns: Columns = {
        "id": [p.id for p in prototypes],
        "part": ["test"] * len(prototypes),
        "space_group": [s.space_group for s in found],
        "structure_type": [s.structure_type for s in found],
        "formula": [p.formula for p in prototypes],
        "crystallite_size_nm": freeze_sizes([p.id for p in prototypes]).tolist(),
        "aflow_label": [p.aflow_label for p in prototypes],
        "aflow_space_group": [p.aflow_space_group for p in prototypes],
        "loose_space_group": [s.loose_space_group for s in found],
        "is_type_in_statistics": [s.structure_type in seen for s in found],
        "mineral": [p.mineral for p in prototypes],
        "strukturbericht": [p.strukturbericht for p in prototypes],
    }
    return write_track(
        out,
        AFLOW_TRACK,
        columns,
        {"test": CrystalBatch.from_crystals(made)},
        {"id": [], "reason": []},
        description=AFLOW_DESCRIPTION,
        attributions=list(AFLOW_ATTRIBUTIONS),
        licence="MIT",
        notes={
            "other space group in the label of the library": [
                f"{p.id}: {p.aflow_space_group} in the label, {s.space_group} found"
                for p, s in zip(prototypes, found, strict=True)
                if p.aflow_space_group != s.space_group
            ],
            f"other space group at symprec {LOOSE_SYMPREC}": [
                f"{p.id}: {s.space_group}, then {s.loose_space_group}"
                for p, s in zip(prototypes, found, strict=True)
                if not s.is_certain
            ],
            "crystals whose type is in open/structure-type statistics": sum(
                s.structure_type in seen for s in found
            ),
        },
    )


def _take_part(
    crystals: CrystalBatch, ids: Sequence[str], columns: Columns, part: str
) -> CrystalBatch:
    """Take the crystals of one part, in the order of the table."""
    position = {name: row for row, name in enumerate(ids)}
    rows = zip(columns["id"], columns["part"], strict=True)
    return CrystalBatch.from_crystals(
        [crystals[position[name]] for name, other in rows if other == part]
    )


def _progress(what: str) -> Callable[[int, int], None]:
    """Make a callback that writes a line for each 1,000 rows."""

    def report(done: int, total: int) -> None:
        if done % 1000 == 0 or done == total:
            _log.info("%s: %d of %d", what, done, total)

    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Build both tracks."""
    parser = argparse.ArgumentParser(description="Build the tracks of the package.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=TRACKS_FOLDER)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--keep-assignment", action="store_true")
    parser.add_argument("--only-derived", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.only_derived:
        for record in build_derived_tracks(
            options.data, options.workers, _progress("crystals")
        ):
            _log.info("%s: %s", record["name"], record["parts"])
        return
    open_folder = options.out / OPEN_TRACK.replace("/", "-")
    aflow_folder = options.out / AFLOW_TRACK.replace("/", "-")
    for record in (
        build_open_track(
            options.data, open_folder, options.workers, options.keep_assignment
        ),
        build_aflow_track(aflow_folder, open_folder),
    ):
        _log.info("%s: %s, %s", record["name"], record["parts"], record["left_out"])


if __name__ == "__main__":
    main()
