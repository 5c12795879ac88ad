"""A track as a folder that others open: Parquet, data card, Croissant.

``datasets.load_dataset(folder)`` gives the parts that are evaluated on with their
frozen peak lists; ``datasets.load_dataset(folder, "crystals")`` the labels of all
parts. Neither needs this package.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pxrdbench.dataset.export.card import (
    Column,
    DataCard,
    DataConfig,
    DataFile,
    describe_file,
    write_card,
)
from pxrdbench.dataset.export.croissant import write_croissant
from pxrdbench.errors import SplitError
from pxrdbench.tracks.hugging_face import make_split_table
from pxrdbench.tracks.load import (
    MEASURED,
    available_tracks,
    load_record,
    load_table,
    track_folder,
)

# What the columns of tracks mean.
COLUMN_MEANINGS = {
    "id": "Name of the crystal in its source.",
    "part": "Part of the track.",
    "space_group": "Number in the International Tables, 1-230: what is asked for.",
    "structure_type": "Canonical prototype label: anonymous formula, Pearson symbol, "
    "space group, Wyckoff letters. Intervals are taken over these.",
    "formula": "Formula of the stored cell.",
    "crystallite_size_nm": "Size of the crystallites of the frozen pattern [nm], "
    "Scherrer constant 0.9.",
    "two_theta": "Angles 2θ of the frozen peaks [degrees], ascending.",
    "intensity": "Integrated intensities of the peaks; the strongest is 1.",
    "year": "Year in which the structure became known.",
    "aflow_label": "Label in the AFLOW library.",
    "aflow_space_group": "Space group in that label.",
    "loose_space_group": "Space group found at symprec 0.1.",
    "is_type_in_statistics": "Whether open/structure-type learns from this type.",
    "mineral": "Mineral or trivial name.",
    "strukturbericht": "Strukturbericht designation.",
}
_DTYPES = {"large_string": "string", "double": "float64", "float": "float32"}
USE_CASES = (
    "Testing models that name the space group of a powder pattern, with intervals over "
    "structure types.",
)
LIMITATIONS = (
    "Patterns are simulated: no instrument, no texture, no impurities.",
    "Crystals are relaxed by density functional theory and fully ordered.",
)
BIASES = (
    "What the Materials Project computed: small cells and oxides are frequent.",
    "Space groups are far from equally frequent; compare with guesses by frequency.",
)


def export_track(track: str, out: Path) -> DataCard:
    """Write a track as a folder of Parquet files with card and Croissant.

    Args:
        track: Name of a track.
        out: Folder, new or empty.

    Returns:
        The card.

    Raises:
        SplitError: If the track is unknown or restricted, or the folder holds files.
    """
    record = load_record(track)
    if track not in available_tracks() or record.get("kind") == MEASURED:
        raise SplitError(
            f"{record['name']} stays where it was built: what lies behind it is not "
            "ours to give away"
        )
    if out.exists() and any(out.iterdir()):
        raise SplitError(f"{out} is not empty; export into a new folder")
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "crystals").mkdir()
    evaluated = [
        _write_part(out, f"data/{part}.parquet", part, _peak_table(track, part))
        for part in record["frozen_parts"]
    ]
    every = [
        _write_part(out, f"crystals/{part}.parquet", part, _label_table(track, part))
        for part in record["parts"]
    ]
    card = make_track_card(record, tuple(evaluated), tuple(every), track)
    write_card(out, card)
    write_croissant(out, card)
    for name in ("track.json", "leakage.json", "patterns.json"):
        if (track_folder(track) / name).is_file():
            shutil.copy(track_folder(track) / name, out / name)
    return card


def _peak_table(track: str, part: str) -> Any:
    return make_split_table(track, part, "peaks")


def _label_table(track: str, part: str) -> Any:
    table = load_table(track, part).drop_columns(["part"])
    # Known of the evaluated parts only; those have a file of their own.
    return table.drop_columns(["crystallite_size_nm"])


def _write_part(out: Path, path: str, part: str, table: Any) -> DataFile:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, out / path, compression="zstd")
    return describe_file(out, path, part, table.num_rows)


def _columns(table: Any) -> tuple[Column, ...]:
    """Describe the columns of a table."""
    columns = []
    for field in table.schema:
        text = str(field.type)
        is_list = text.startswith("list<")
        dtype = str(field.type.value_type) if is_list else text
        columns.append(
            Column(
                field.name,
                _DTYPES.get(dtype, dtype),
                COLUMN_MEANINGS.get(field.name, field.name),
                is_list,
            )
        )
    return tuple(columns)


def make_track_card(
    record: dict[str, Any],
    evaluated: tuple[DataFile, ...],
    every: tuple[DataFile, ...],
    track: str,
) -> DataCard:
    """Say what is in an exported track."""
    first = record["frozen_parts"][0]
    configs = (
        DataConfig(
            "peaks",
            "The parts that are evaluated on, with their frozen peak lists.",
            _columns(_peak_table(track, first)),
            evaluated,
        ),
        DataConfig(
            "crystals",
            "All crystals and their labels.",
            _columns(_label_table(track, first)),
            every,
        ),
    )
    grid = record["grid"]
    return DataCard(
        name="pxrdbench-" + record["name"].replace("/", "-"),
        title=f"pxrdbench track {record['name']}",
        description=record["description"],
        licence=record["licence"],
        version=f"{record['version']}.0.0",
        configs=configs,
        attributions=tuple(record["attributions"]),
        keywords=("powder diffraction", "crystallography", "space group", "benchmark"),
        released=record.get("released", "2026-11-22"),
        collection=(
            f"Peaks of {record['radiation']} radiation, {grid['start']:g} to "
            f"{grid['stop']:g} degrees and a margin, simulated by pxrdbench "
            f"{record['versions'].get('pxrdbench', '')} and frozen as whole numbers."
        ),
        use_cases=USE_CASES,
        limitations=LIMITATIONS,
        biases=BIASES,
        body=_digests(record),
    )


def _digests(record: dict[str, Any]) -> str:
    """Write the names by which this very track is known."""
    lines = [
        "## Digests",
        "",
        f"- track: `{record['digest']}`",
        f"- assignment of crystals to parts: `{record['split_digest']}`",
        "",
        "What was left out: "
        + (
            json.dumps(record["left_out"], ensure_ascii=False)
            if record["left_out"]
            else "nothing"
        )
        + ".",
    ]
    return "\n".join(lines)
