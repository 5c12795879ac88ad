"""Write the rows of the reader without a network.

    OMP_NUM_THREADS=1 python leaderboards/make_reader.py --runs FOLDER

What FOLDER holds (`<track>/predictions.h5`) is not read again by the model.
"""

import argparse
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.leaderboard.maintained import vouch
from pxrdbench.benchmark.leaderboard.submission import metadata_template, submit
from pxrdbench.tracks.load import OPEN_TRACK, available_tracks

FOLDER = Path(__file__).parent
MODEL = "crystallographer:open"


def make_metadata(track: str) -> dict[str, Any]:
    """Describe the row on one track."""
    metadata = metadata_template() | {
        "name": "crystallographer",
        "title": "Crystallographer: cells, absences, frequencies; no network",
        "date": "2026-12-01",
        "authors": [{"name": "The pxrdbench developers"}],
        "description": "Lines, cells, least squares of intensities, likelihood of "
        "every extinction symbol, posterior under the frequencies of space groups and "
        "volumes of the statistics part of open/structure-type. Between groups of one "
        "symbol one linear model, fitted on statistics of 40,000 random crystals' "
        "intensities; nothing else is fitted, no pattern is seen.",
        "patterns_seen": 0,
        "compute": {
            "hardware": "one core, AMD EPYC; counting and the linear fit",
            "hours": 0.1,
        },
        "reproduce": [
            f"pxrdbench eval {MODEL} --track {track} --out my_eval",
            "pxrdbench submit my_eval/predictions.h5 --metadata crystallographer.json",
        ],
    }
    metadata["training_data"] = {
        "description": "Frequencies of groups and volumes of the statistics part of "
        "open/structure-type; 40,000 random crystals for the linear model",
        "sources": ["Materials Project, CC BY 4.0"],
        "saw_icsd": "no",
        "saw_rruff": "no",
        "saw_track_types": "no" if track == OPEN_TRACK else "yes",
    }
    return metadata


def main() -> None:
    """Evaluate on every installed track and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    runs = parser.parse_args().runs
    for track in available_tracks():
        out = runs / track.replace("/", "-")
        if not (out / "predictions.h5").is_file():
            evaluate(MODEL, track, out=out)
        row = submit(out / "predictions.h5", make_metadata(track), FOLDER, replace=True)
        vouch(FOLDER, row, "reproduced")


if __name__ == "__main__":
    main()
