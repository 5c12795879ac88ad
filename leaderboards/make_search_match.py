"""Write the rows of search-match: `python leaderboards/make_search_match.py DATA`.

DATA is the folder that holds ``structures/mp_structures.parquet``: the crystals to
recognise are not in the package, only those to be asked about. A second argument names
a file that keeps their simulated peak lists for the next time.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.leakage_report import KnownPeaks, load_source
from pxrdbench.benchmark.search_match import SearchMatch, predict_search_match
from pxrdbench.benchmark.submission import metadata_template, submit
from pxrdbench.dataset.split import (
    AFLOW_TRACK,
    OPEN_TRACK,
    available_tracks,
    load_table,
    load_track,
)

FOLDER = Path(__file__).parent
NAME = "search-match-1"


def make_metadata(source: str, known: int, track: str) -> dict[str, Any]:
    """Describe a row that recognises and learns nothing."""
    metadata = metadata_template() | {
        "name": NAME,
        "title": "Search-match, nearest neighbour",
        "kind": "model",
        "tier": "reproduced",
        "date": "2026-11-22",
        "authors": [{"name": "The pxrdbench developers"}],
        "description": "Names the space group of the most similar known pattern "
        "(cosine of coarse profiles of the peak lists). It learns nothing about "
        "symmetry: what it scores is recognition.",
        "patterns_seen": known,
        "parameters": 0,
        "compute": {"hardware": "one core", "hours": 0.01},
        "reproduce": ["python leaderboards/make_search_match.py DATA"],
    }
    is_split_by_type = track == OPEN_TRACK
    metadata["training_data"] = {
        "description": f"Patterns of {source}, kept as they are",
        "sources": ["Materials Project, CC BY 4.0"],
        "saw_icsd": "no",
        "saw_rruff": "no",
        "saw_track_types": "no" if is_split_by_type else "yes",
    }
    return metadata


def main() -> None:
    """Write one row for every installed track."""
    data = Path(sys.argv[1])
    cache = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if cache is not None and cache.is_file():
        peaks = KnownPeaks.read(cache)
    else:
        peaks = KnownPeaks.simulate(load_table(OPEN_TRACK)["id"].to_pylist(), data)
        if cache is not None:
            peaks.write(cache)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "predictions.h5"
        for name in available_tracks():
            learnt = OPEN_TRACK if name == AFLOW_TRACK else name
            source = load_source(learnt, "statistics", peaks)
            known = SearchMatch(source.peaks, source.space_group)
            predictions = predict_search_match(
                load_track(name), known, source=source.name
            )
            predictions.write(path)
            metadata = make_metadata(source.name, len(known), name)
            submit(path, metadata, FOLDER, replace=True)


if __name__ == "__main__":
    main()
