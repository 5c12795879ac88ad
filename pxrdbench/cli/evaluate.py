"""The verb ``eval``."""

import json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import (
    console,
    live_line,
    make_table,
    p_value_text,
    print_json,
)
from pxrdbench.cli.options import JsonOption, known_parent

if TYPE_CHECKING:
    from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
    from pxrdbench.benchmark.scoring.intervals import Estimate


# Guesses that look at no pattern.
_LABELS = {
    "most_frequent": "most frequent groups of the training",
    "hindsight": "most frequent groups of the track",
}


def run_evaluate(
    model: Path | str,
    track: str | Path | None = None,
    part: str | None = None,
    out: Path | None = None,
    weights: Path | None = None,
    unconfined: bool = False,
) -> "Evaluation":
    """Evaluate a model under a live line, then print the table.

    Args:
        model: See `pxrdbench.evaluate`, as for the others.
        track: What to ask.
        part: Part of it.
        out: Folder of results; beside the model, by the track's name, if None.
        weights: For a name or ``module:factory``.
        unconfined: Whether to open a stranger's file where it cannot be confined.
    """
    from pxrdbench.benchmark.evaluation import evaluate, find_part
    from pxrdbench.benchmark.foreign.sandbox import SandboxLimits

    loaded = find_part(model, track, part)
    if out is None:
        place = Path(weights or model)
        # Beside the model, or here where it is no file.
        beside = place if place.is_dir() else place.parent
        out = beside / "eval" / loaded.name.replace("/", "-")
    seen: list[tuple[int, float]] = []
    with live_line("eval") as line:

        def show(done: int, total: int) -> None:
            seen.append((done, perf_counter()))
            line(f"{loaded.name}  {done:,} of {total:,} patterns", done / total)

        evaluation = evaluate(
            model,
            loaded,
            out=out,
            weights=weights,
            limits=SandboxLimits(unconfined=True) if unconfined else None,
            on_progress=show,
        )
    print_evaluation(evaluation)
    _print_speed(seen, Path(weights or model))
    console.print(f"report: {out / 'report.html'}")
    return evaluation


def _print_speed(seen: list[tuple[int, float]], file: Path) -> None:
    """Say how fast and how large a model is; no part of its evaluation.

    The first batch warms up: it does not count.
    """
    from pxrdbench.factory.limits import format_size

    parts = []
    if len(seen) > 1 and seen[-1][1] > seen[0][1]:
        rate = (seen[-1][0] - seen[0][0]) / (seen[-1][1] - seen[0][1])
        parts.append(f"{rate:,.0f} patterns/s on this machine as busy as it was")
    if file.is_file():
        parts.append(f"a file of {format_size(file.stat().st_size)}")
    if parts:
        console.print(f"speed and size: {', '.join(parts)}")


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print accuracies in percent with their 95 % intervals."""
    track, metrics = evaluation.track, evaluation.metrics
    table = make_table(
        f"{evaluation.model['name']} on {track['name']} {track['part']}: "
        f"{evaluation.counts['crystals']:,} crystals, "
        f"{evaluation.counts['covered']:,} in its {evaluation.model['classes']} groups",
        ("", "%", "95 % interval"),
    )

    def add(name: str, estimate: "Estimate") -> None:
        low, high = 100 * estimate.low, 100 * estimate.high
        table.add_row(name, f"{100 * estimate.value:.1f}", f"{low:.1f} – {high:.1f}")

    for key in ("top_1", "top_5", "top_10", "covered_top_1", "macro_top_1"):
        if key in metrics:
            add(key.replace("_", " ").replace("top ", "top-"), metrics[key])
    table.add_section()
    for system, estimate in evaluation.crystal_system.items():
        add(f"top-1, {system}", estimate)
    table.add_section()
    for baseline in evaluation.baselines:
        add(f"{_LABELS[baseline.name]}, top-1", baseline.metrics["top_1"])
        add(f"{_LABELS[baseline.name]}, top-5", baseline.metrics["top_5"])
    console.print(table)
    for baseline in evaluation.baselines:
        test = baseline.comparisons["top_1"]
        console.print(
            f"top-1 against {_LABELS[baseline.name]}: "
            f"{100 * test.difference.value:+.1f} points "
            f"({100 * test.difference.low:+.1f} to {100 * test.difference.high:+.1f}), "
            f"exact McNemar {p_value_text(test.p_value)}"
        )


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Checkpoint, run, state dict, ONNX, predictions (.h5), a model's "
            "name, or module:factory of your own code."
        ),
    ],
    track: Annotated[
        Optional[list[str]],
        typer.Option(
            help="May be given more than once. Stored predictions know theirs."
        ),
    ] = None,
    weights: Annotated[
        Optional[Path], typer.Option(help="For a name or module:factory.")
    ] = None,
    part: Annotated[
        Optional[str], typer.Option(help="Part of the track; test if left away.")
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option(
            help="Folder; beside the model if left away.", callback=known_parent
        ),
    ] = None,
    unconfined: Annotated[
        bool,
        typer.Option(
            "--unconfined",
            help="Open a stranger's file even where this system cannot confine it.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score a model on real crystals it has not seen, with 95 % intervals."""
    from pxrdbench.cli.evaluate import run_evaluate

    if not track or len(track) == 1:
        one = track[0] if track else None
        found = run_evaluate(model, one, part, out, weights, unconfined)
        if as_json:
            print_json(json.loads(found.to_json()))
        return
    from pxrdbench.tracks.load import load_record

    for name in track:
        folder = out and out / load_record(name)["name"].replace("/", "-")
        found = run_evaluate(model, name, part, folder, weights, unconfined)
        if as_json:
            print_json(json.loads(found.to_json()))
