"""What each verb does and shows, once its options are parsed."""

import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from pxrdbench.cli.display import (
    accuracy_text,
    console,
    format_seconds,
    live_line,
    make_table,
    p_value_text,
)

# Guesses that look at no pattern.
_LABELS = {
    "most_frequent": "most frequent groups of the training",
    "hindsight": "most frequent groups of the track",
}

if TYPE_CHECKING:
    from pxrdbench.benchmark.intervals import Estimate
    from pxrdbench.benchmark.record import Evaluation
    from pxrdbench.dataset.progress import GenerateProgress, GenerateReport
    from pxrdbench.factory import GenerateConfig
    from pxrdbench.learning.train_config import (
        TrainConfig,
        TrainProgress,
        TrainReport,
    )


def run_generate(config: "GenerateConfig") -> "GenerateReport":
    """Write shards under a live line, then say what came of it."""
    from pxrdbench.dataset.plan import format_size
    from pxrdbench.factory import generate

    recipe = config.recipe
    console.print(
        f"recipe [bold]{recipe.digest[:12]}[/]: prior {recipe.card.prior_name}, "
        f"{len(recipe.space_groups)} space groups, {recipe.radiation.name}, "
        f"seed {recipe.card.seed} → {config.out}"
    )
    with live_line("generate") as line:

        def show(progress: "GenerateProgress") -> None:
            if progress.phase == "starting":
                line("compiling kernels, starting Ray …")
                return
            text = (
                f"{progress.samples:,} samples  "
                f"{progress.samples_per_second:,.0f}/s "
                f"({progress.samples_per_second_per_core:,.0f}/s a core)  "
                f"{format_size(progress.bytes)}"
            )
            if progress.is_rolling:
                text += f" of {format_size(progress.max_bytes)}, rolling"
            if progress.phase == "waiting":
                full = "for the consumer" if progress.workers else "for workers"
                text += f"  waiting {full}"
            left, fraction = progress.seconds_left, None
            if left is not None:
                text += f"  {format_seconds(left)} left ({progress.limit})"
                fraction = progress.seconds / max(progress.seconds + left, 1e-9)
            line(text, fraction)

        report = generate(config, show)
    console.print(
        f"{report.samples_new:,} samples in {format_seconds(report.seconds)}: "
        f"[bold]{report.samples_per_second:,.0f}/s[/] with {report.workers} "
        f"worker{'s' * (report.workers != 1)}, "
        f"{report.samples_per_second / max(report.workers, 1):,.0f}/s a core. "
        f"The set: {report.samples:,} samples, {report.shards} shards, "
        f"{format_size(report.bytes)}."
    )
    console.print(report.explanation)
    return report


def run_train(config: "TrainConfig") -> "TrainReport":
    """Train under a live line, then say what came of it."""
    from pxrdbench.learning.trainer import train

    with live_line("train") as line:
        line("compiling kernels, drawing held-out patterns …")

        def show(progress: "TrainProgress") -> None:
            line(
                f"{progress.patterns_seen:,} patterns  "
                f"{progress.patterns_per_second:,.0f}/s  loss {progress.loss:.3f}  "
                f"{accuracy_text(progress.accuracy)}  "
                f"waiting {100 * progress.waited:.0f} %",
                progress.fraction,
            )

        report = train(config, show)
    console.print(
        f"[bold]{config.model}[/], {report.n_parameters:,} parameters: "
        f"{report.patterns_seen:,} patterns in {format_seconds(report.seconds)}, "
        f"{report.patterns_per_second:,.0f}/s, "
        f"{100 * report.waited:.1f} % of the time waiting for data; one core makes "
        f"{report.made_per_core_second:,.0f} patterns/s"
    )
    console.print(f"held-out accuracy: {accuracy_text(report.accuracy)}")
    if report.is_interrupted:
        console.print("Stopped early; the same command with --resume goes on.")
    console.print(f"checkpoint: {report.checkpoint}")
    return report


def default_track(model: Path | str) -> str:
    """The track that stored predictions are of; for models the one of seconds."""
    from pxrdbench.benchmark.evaluation import DEFAULT_TRACK
    from pxrdbench.benchmark.predictions import Predictions

    path = Path(model)
    if path.suffix in {".h5", ".hdf5"} and path.is_file():
        return Predictions.read(path).track
    return DEFAULT_TRACK


def run_evaluate(
    model: Path | str,
    track: str,
    part: str = "test",
    out: Path | None = None,
    weights: Path | None = None,
) -> "Evaluation":
    """Score a model under a live line, then print the table."""
    from pxrdbench.benchmark.foreign_model import evaluate_file
    from pxrdbench.dataset.split import find_track, load_track

    # A folder that the user names may hold a track; a file may not name a folder.
    loaded = load_track(find_track(track), part)
    # Beside the model, or here where it is no file.
    beside = Path(weights or model).parent / "eval"
    folder = out or beside / loaded.name.replace("/", "-")
    seen: list[tuple[int, float]] = []
    with live_line("eval") as line:

        def show(done: int, total: int) -> None:
            seen.append((done, perf_counter()))
            line(f"{track}  {done:,} of {total:,} patterns", done / total)

        evaluation = evaluate_file(
            model, loaded, part, folder, weights=weights, on_progress=show
        )
    print_evaluation(evaluation)
    _print_speed(seen, Path(weights or model))
    console.print(f"report: {folder / 'report.html'}")
    return evaluation


def _print_speed(seen: list[tuple[int, float]], file: Path) -> None:
    """Say how fast and how large a model is; no part of its evaluation.

    The first batch warms up: it does not count.
    """
    from pxrdbench.dataset.plan import format_size

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


def run_submit(
    predictions: Path | None,
    metadata: Path | None,
    folder: Path,
    template: Path | None,
    check: Path | None,
    replace: bool,
) -> None:
    """Write a template, check a row, or make a row of predictions and metadata."""
    from pxrdbench.benchmark.submission import (
        check_submission,
        submit,
        write_template,
    )
    from pxrdbench.errors import EvaluationError

    if template is not None:
        console.print(f"fill in and submit with --metadata: {write_template(template)}")
    elif check is not None:
        row = check_submission(check, predictions)
        told = "recomputed from the predictions" if predictions else "consistent"
        console.print(f"[green]sound[/]: {row.name}, every number {told}")
    elif predictions is None or metadata is None:
        raise EvaluationError(
            "give PREDICTIONS and --metadata FILE (--template FILE writes one to fill "
            "in), or --check ROW"
        )
    else:
        path = submit(predictions, metadata, folder, replace=replace)
        console.print(f"row: {path}")


def run_leaderboard(folder: Path, out: Path | None) -> None:
    """Render the pages of all rows."""
    from pxrdbench.benchmark.leaderboard import render_leaderboards

    for page in render_leaderboards(folder, out):
        console.print(f"page: {page}")


def run_verify(folder: Path | str, samples: int) -> None:
    """Check shards and print what was found; exit status 1 if something is wrong."""
    from pxrdbench.dataset.plan import format_size
    from pxrdbench.dataset.verify import verify_shards

    with live_line("verify") as line:
        report = verify_shards(
            folder,
            sample=samples,
            on_progress=lambda done, total: line(
                f"{done} of {total} shards", done / max(total, 1)
            ),
        )
    console.print(
        f"{report.shards} shards, {report.samples:,} samples, "
        f"{format_size(report.bytes)}; {report.redrawn} samples drawn again, "
        f"{report.identical} of them identical to the byte"
    )
    for name in report.leftovers:
        console.print(f"left over: {name}")
    for problem in report.problems:
        console.print(f"[red]wrong[/]: {problem}")
    if not report.is_sound:
        sys.exit(1)
    console.print("[green]sound[/]")
