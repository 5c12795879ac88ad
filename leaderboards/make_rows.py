"""Train what is compared, evaluate it and write its rows.

    OMP_NUM_THREADS=1 python leaderboards/make_rows.py --data DATA --runs FOLDER
        [--only NAME]

DATA holds ``structures/mp_structures.parquet``. The commands that a row names are the
commands that are run here. What FOLDER holds is not done again: delete a run there to
repeat it. Predictions and checkpoints of some rows are kept beside them.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recognisers import RECOGNISERS

from pxrdbench.benchmark.leaderboard.maintained import vouch
from pxrdbench.benchmark.leaderboard.submission import (
    metadata_template,
    row_path,
    submit,
)
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.learning.loading.real_crystals import open_real_crystals
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.models.release import release_checkpoint
from pxrdbench.tracks.load import load_track

FOLDER = Path(__file__).parent
CHECKPOINTS = FOLDER / "checkpoints"
TYPES, RANDOM = "open/structure-type", "open/random"
YEARS, FAMOUS = "open/chronological", "aflow/prototypes"
TRACKS = (TYPES, RANDOM, YEARS, FAMOUS)
# Whoever learns from real crystals learns from those of the track that judges; the
# famous structures have none to learn from.
LEARNT_FROM = {TYPES: TYPES, RANDOM: RANDOM, YEARS: YEARS, FAMOUS: TYPES}
SYNTHETIC = "Synthetic crystals of the prior open-v0, seed 0, default preset"
SOURCES = {
    "synthetic": ["open-v0, fitted on the statistics part of open/structure-type"],
    "real": ["Materials Project, CC BY 4.0"],
}
HARDWARE = "processor time of one core, AMD EPYC (Zen 4)"
THIS = "OMP_NUM_THREADS=1 python leaderboards/make_rows.py --data DATA --runs runs"
# Crystals on which the temperature of a kept checkpoint is fitted.
HELD_OUT = (2**42, 1024)


@dataclass(frozen=True)
class Network:
    """A network, and how it was trained.

    Attributes:
        name: Name of the rows.
        title: For people.
        model: Name in the registry.
        options: Further options of `pxrdbench train`.
        learns: ``synthetic`` crystals, or the ``real`` ones of a track.
        text: What it is.
        tracks: Where it is judged.
        keeps_predictions: Tracks whose predictions are kept beside the row.
        keeps_checkpoint: Whether a copy in half precision is kept.
    """

    name: str
    title: str
    model: str
    options: str
    learns: str
    text: str
    tracks: tuple[str, ...] = TRACKS
    keeps_predictions: tuple[str, ...] = ()
    keeps_checkpoint: bool = False

    def command(self, learnt: str) -> str:
        """What trains it on synthetic crystals or those of a track."""
        out = f"--out runs/{self.run(learnt)}"
        if self.learns == "synthetic":
            source = "--online"
        else:
            source = f"--source track:{learnt}/statistics --data DATA"
        start = f"pxrdbench train --model {self.model} {source}"
        return f"{start} {self.options} --seed 0 {out}"

    def run(self, learnt: str) -> str:
        """Name of the folder of a training run."""
        of = "" if self.learns == "synthetic" else "-" + learnt.replace("/", "-")
        return self.name + of


LIGHT = "A light network over the peaks that it finds in the rendered pattern"
PARK = (
    "The convolutional network of Park et al. (2017), the reference work's medium size"
)
ON_REAL = ", trained on the real crystals that the track gives to learn from"
ON_SYNTHETIC = ", trained on an endless stream of synthetic crystals"
NETWORKS = (
    Network(
        "peak-network-wide-2h",
        "peak-network-wide, two hours of one core, synthetic",
        "peak-network-wide",
        "--cpu-minutes 120 --average 0.9995 --evaluations 48 --threads 1 "
        "--loader-workers 1",
        "synthetic",
        LIGHT
        + ", with more peaks and layers"
        + ON_SYNTHETIC
        + ". Stopped and resumed once on the way.",
        keeps_predictions=TRACKS,
    ),
    Network(
        "peak-network-light-synthetic",
        "peak-network-light, 2 M synthetic patterns",
        "peak-network-light",
        "--patterns 2000000 --average 0.999 --threads 1 --loader-workers 0",
        "synthetic",
        LIGHT + ON_SYNTHETIC + ".",
        keeps_predictions=(FAMOUS,),
        keeps_checkpoint=True,
    ),
    Network(
        "peak-network-light-real",
        "peak-network-light, real crystals",
        "peak-network-light",
        "--patterns 300000 --threads 1 --loader-workers 0",
        "real",
        LIGHT + ON_REAL + ".",
        keeps_predictions=(FAMOUS,),
        keeps_checkpoint=True,
    ),
    Network(
        "peak-network-real",
        "peak-network, real crystals",
        "peak-network",
        "--patterns 300000 --threads 1 --loader-workers 0",
        "real",
        LIGHT + ON_REAL + ".",
        keeps_predictions=(TYPES,),
    ),
    Network(
        "park-cnn-medium-synthetic",
        "parkCNN medium, 30 k synthetic patterns",
        "park-cnn-medium",
        "--patterns 30000 --threads 1 --loader-workers 0",
        "synthetic",
        PARK + ON_SYNTHETIC + "; minutes of a CPU where the paper took days of a GPU.",
        (TYPES, RANDOM, FAMOUS),
    ),
    Network(
        "park-cnn-medium-real",
        "parkCNN medium, 30 k patterns of real crystals",
        "park-cnn-medium-dropout",
        "--patterns 30000 --threads 1 --loader-workers 0",
        "real",
        PARK + ON_REAL + "; minutes of a CPU where the paper took days of a GPU.",
        (TYPES, RANDOM, FAMOUS),
    ),
)


def describe(
    name: str, title: str, text: str, learns: str, track: str, trained_on: str
) -> dict[str, Any]:
    """Give the metadata that all rows share."""
    metadata = metadata_template() | {
        "name": name,
        "title": title,
        "kind": "model",
        "date": "2026-11-23",
        "authors": [{"name": "The pxrdbench developers"}],
        "description": text,
    }
    metadata["training_data"] = {
        "description": trained_on,
        "sources": SOURCES[learns],
        "saw_icsd": "no",
        "saw_rruff": "no",
        # open-v0 counted types of the statistics part of open/structure-type, which
        # relatives of everything else asked about lie in: see leakage.json.
        "saw_track_types": "no" if track == TYPES else "yes",
    }
    return metadata


def hours_of(seconds: float) -> dict[str, Any]:
    """What learning took."""
    return {"hardware": HARDWARE, "hours": round(seconds / 3600, 4)}


def run_command(command: str, data: Path, runs: Path) -> None:
    """Run what a row names, with the folders of this machine put in."""
    words = shlex.split(command)
    if words[0] != "pxrdbench":
        raise SystemExit(f"not a command of ours: {command}")
    words = [word.replace("runs/", f"{runs}/", 1) for word in words[1:]]
    words = [str(data) if word == "DATA" else word for word in words]
    sys.stdout.write(f"$ {command}\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "pxrdbench.cli", *words], check=True)


def add_network(arm: Network, data: Path, runs: Path) -> None:
    """Train a network where it is not yet, and write its rows."""
    for track in arm.tracks:
        learnt = LEARNT_FROM[track]
        run = runs / arm.run(learnt)
        train = arm.command(learnt)
        if not (run / "last.pt").is_file():
            run_command(train, data, runs)
        name = arm.run(learnt)
        folder = f"runs/{name}/{track.replace('/', '-')}"
        judge = f"pxrdbench eval runs/{name}/last.pt --track {track} --out {folder}"
        predictions = runs / folder.removeprefix("runs/") / "predictions.h5"
        if not predictions.is_file():
            run_command(judge, data, runs)
        checkpoint = load_checkpoint(run / "last.pt")
        trained_on = (
            SYNTHETIC
            if arm.learns == "synthetic"
            else f"Patterns of the crystals of {learnt} statistics"
        )
        metadata = describe(
            arm.name, arm.title, arm.text, arm.learns, track, trained_on
        ) | {
            "patterns_seen": checkpoint.patterns_seen,
            "parameters": sum(v.numel() for v in checkpoint.state_dict.values()),
            "compute": hours_of(checkpoint.training["cpu_seconds"]),
            "seeds": [0],
            "reproduce": [train, judge],
        }
        row = submit(
            predictions, metadata, FOLDER, replace=True, keep_predictions=False
        )
        vouch(FOLDER, row, "reproduced")
        sys.stdout.write(f"{row}\n")
        if track in arm.keeps_predictions:
            shutil.copyfile(predictions, row.with_suffix(".h5"))
    if arm.keeps_checkpoint:
        keep_checkpoint(arm, runs)


def keep_checkpoint(arm: Network, runs: Path) -> None:
    """Keep a network in half precision, calibrated, with its card beside it."""
    CHECKPOINTS.mkdir(exist_ok=True)
    out = CHECKPOINTS / f"{arm.name}.pt"
    trained = runs / arm.run(TYPES) / "last.pt"
    held_out = Recipe("open-v0", seed=0).batch(*HELD_OUT)
    released = release_checkpoint(trained, out, [held_out])
    hours = load_checkpoint(trained).training["cpu_seconds"] / 3600
    card = f"""# {arm.name}

{arm.text}

- Reads patterns of {released.radiation.name}, {released.grid.start:g} to
  {released.grid.stop:g} degrees in {released.grid.points} points, maximum 1, no noise;
  answers with {len(released.space_groups)} space groups.
- {sum(v.numel() for v in released.state_dict.values()):,} parameters in half precision,
  temperature {released.temperature:.3f} (fitted on {HELD_OUT[1]} synthetic crystals).
- Trained on {released.patterns_seen:,} patterns in {hours:.2f} hours of processor time.
- For measured scans take `pxrdbench predict`: this model has seen neither noise nor
  background. Groups outside its class list are always missed.
- Licence: MIT, as the code; its crystals' statistics are of the Materials Project
  (CC BY 4.0).

    {arm.command(TYPES)}
    pxrdbench eval leaderboards/checkpoints/{out.name} --track {TYPES}

Accuracy in percent, 95 % intervals over structure types, of the same weights in single
precision:

| track | top-1 | top-5 | top-10 |
|---|---|---|---|
{accuracy_table(arm)}
"""
    out.with_suffix(".md").write_text(card, encoding="utf-8")


def accuracy_table(arm: Network) -> str:
    """Rows of the card: the tracks that the kept weights were judged on."""
    rows = []
    for track in arm.tracks:
        if arm.run(LEARNT_FROM[track]) != arm.run(TYPES):
            continue
        record = json.loads(row_path(FOLDER, track, arm.name).read_text("utf-8"))
        cells = [track]
        for top in ("top_1", "top_5", "top_10"):
            found = record["evaluation"]["metrics"][top]
            value, low, high = (100 * found[key] for key in ("value", "low", "high"))
            cells.append(f"{value:.1f} ({low:.1f} to {high:.1f})")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def add_recognisers(names: list[str], data: Path, runs: Path) -> None:
    """Let each learn from the crystals of each track, and write its rows."""
    for learnt in dict.fromkeys(LEARNT_FROM.values()):
        source, _ = open_real_crystals(f"track:{learnt}/statistics", data, None, 0)
        trained_on = f"Patterns of the crystals of {learnt} statistics"
        for name in names:
            arm = RECOGNISERS[name]
            answer, seconds = arm.learn(source, learnt, runs)
            for track in (t for t, of in LEARNT_FROM.items() if of == learnt):
                metadata = describe(
                    name, arm.title, arm.text, "real", track, trained_on
                ) | {
                    "patterns_seen": source.length,
                    "parameters": arm.parameters,
                    "compute": hours_of(seconds),
                    "seeds": [0] if arm.parameters is None else [],
                    "reproduce": [f"{THIS} --only {name}"],
                }
                out = runs / "predictions.h5"
                answer(load_track(track)).write(out)
                row = submit(
                    out, metadata, FOLDER, replace=True, keep_predictions=False
                )
                vouch(FOLDER, row, "reproduced")
                sys.stdout.write(f"{row}\n")


def main() -> None:
    """Write the rows asked for."""
    networks = {arm.name: arm for arm in NETWORKS}
    names = [*RECOGNISERS, *networks]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", choices=names, action="append")
    given = parser.parse_args()
    data, runs = given.data.resolve(), given.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    asked = given.only or names
    recognisers = [name for name in asked if name in RECOGNISERS]
    if recognisers:
        add_recognisers(recognisers, data, runs)
    for name in asked:
        if name in networks:
            add_network(networks[name], data, runs)


if __name__ == "__main__":
    main()
