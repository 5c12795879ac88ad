"""The verbs of learning: train, models, export-model."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import (
    accuracy_text,
    console,
    format_seconds,
    live_line,
    print_json,
)
from pxrdbench.cli.options import (
    CoordinatesOption,
    Frequencies,
    FrequenciesOption,
    JsonOption,
    MaxVolumeOption,
    MeasurementOption,
    OutOption,
    PriorOption,
    RadiationOption,
    SeedOption,
    TypeOption,
    given,
)

if TYPE_CHECKING:
    from pxrdbench.learning.training.config import (
        TrainConfig,
        TrainProgress,
        TrainReport,
    )
    from pxrdbench.learning.training.experiments import Experiment

# Who starts the trainer first waits so long for a set of shards to appear [s].
PATIENCE = 20.0


def train(
    context: typer.Context,
    model: Annotated[
        Optional[str], typer.Option(help="Name of a model; see `pxrdbench models`.")
    ] = None,
    shards: Annotated[
        Optional[str], typer.Option(help="Folder of shards, or s3://…")
    ] = None,
    consumer: Annotated[
        Optional[str],
        typer.Option(help="Of a rolling set with several: which one reads."),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Draw patterns while training.")
    ] = False,
    source: Annotated[
        Optional[str],
        typer.Option(help="Real crystals: track:NAME/statistics, import:FOLDER."),
    ] = None,
    data: Annotated[
        Optional[Path], typer.Option(help="Folder of a track's own crystals.")
    ] = None,
    minutes: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    patterns: Annotated[Optional[int], typer.Option(min=1)] = None,
    cpu_minutes: Annotated[
        Optional[float], typer.Option(min=0.0, help="Length in processor time.")
    ] = None,
    out: OutOption = Path("runs/last"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT/last.pt.")
    ] = False,
    start_from: Annotated[
        Optional[str],
        typer.Option("--from", help="Fine-tune: weights of this checkpoint first."),
    ] = None,
    batch_size: Annotated[Optional[int], typer.Option(min=1)] = None,
    learning_rate: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    optimizer: Annotated[str, typer.Option(help="adamw or adam.")] = "adamw",
    schedule: Annotated[
        str, typer.Option(help="Of the rate: cosine, constant, halving.")
    ] = "cosine",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    compile: Annotated[
        bool, typer.Option("--compile", help="Through torch.compile.")
    ] = False,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts of a step, to need less memory.")
    ] = 1,
    average: Annotated[
        Optional[float], typer.Option(help="Decay of averaged weights, as 0.9995.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="source, open-145, all, or numbers with commas.")
    ] = "source",
    tasks: Annotated[
        str, typer.Option(help="With commas: space_group, crystal_system, lattice, …")
    ] = "space_group",
    mask: Annotated[
        bool, typer.Option("--mask", help="A second channel: what was measured.")
    ] = False,
    mixture: Annotated[
        Optional[str],
        typer.Option(help="Measurements in turn: clean,rruff-paper,laboratory."),
    ] = None,
    grid: Annotated[
        Optional[str], typer.Option(help="START:STOP:POINTS, as 5:90:4251.")
    ] = None,
    keep: Annotated[
        int, typer.Option(min=0, help="Checkpoints to keep beside last and best.")
    ] = 0,
    evaluations: Annotated[
        int, typer.Option(min=0, help="Looks at held-out patterns.")
    ] = 8,
    tensorboard: Annotated[bool, typer.Option("--tensorboard")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    threads: Annotated[
        Optional[int], typer.Option(min=1, help="Threads of torch.")
    ] = None,
    loader_workers: Annotated[
        Optional[int], typer.Option(min=0, help="Threads that make patterns.")
    ] = None,
    seed: SeedOption = 0,
    prior: PriorOption = "open-v0",
    preset: Annotated[
        str,
        typer.Option(
            help="Physics: default, paper; or a published run: schopmans2023/resnet-50."
        ),
    ] = "default",
    frequencies: FrequenciesOption = Frequencies.fitted,
    radiation: RadiationOption = "CuKa1",
    measurement: MeasurementOption = None,
    max_volume: MaxVolumeOption = None,
    coordinates: CoordinatesOption = None,
    structure_type: TypeOption = None,
    track: Annotated[
        Optional[str],
        typer.Option(
            help="Of a published run on real crystals: learn from its statistics; its "
            "dev, if any, is looked at."
        ),
    ] = None,
) -> None:
    """Train a model on shards, on patterns drawn meanwhile, or on real crystals.

    Several GPUs: torchrun --master-addr 127.0.0.1 --nproc-per-node N -m pxrdbench.cli
    train …
    """
    from pxrdbench.learning.training.request import TrainRequest

    request = TrainRequest(**given(context))
    config = request.to_config()
    if config.shards is not None:
        config = replace(config, patience=PATIENCE)
    if request.experiment is not None:
        config = _announce(config, request.preset or "", request.experiment)
    _say_where_it_begins(config)
    run_train(config)


def _say_where_it_begins(config: "TrainConfig") -> None:
    """Tell what ``--resume`` and ``--from`` come to, where there is a choice."""
    last = config.out / "last.pt"
    if config.resume and not last.is_file():
        console.print(f"{config.out} holds no last.pt yet: the run begins anew")
    elif config.resume and config.start_from is not None:
        console.print(f"going on from {last}; --from was for its beginning")


def _announce(
    config: "TrainConfig", name: str, experiment: "Experiment"
) -> "TrainConfig":
    """Say what a published run does, and how long it would take here."""
    from pxrdbench.diffraction.pattern import TwoThetaGrid
    from pxrdbench.learning.training.experiments import measure_step_rate

    recipe = config.recipe
    n_crystals = None
    if config.source is not None and config.is_endless:
        n_crystals = _count_crystals(config)
        config = replace(config, patterns=experiment.length(n_crystals))
    grid = TwoThetaGrid() if recipe is None else recipe.grid
    n_classes = 145 if recipe is None else len(recipe.space_groups)
    rate = measure_step_rate(config.model, n_classes, grid)
    console.print(
        f"[bold]{name}[/]: {experiment.summary}; {config.model}, batches of "
        f"{config.batch_size}, rate {config.learning_rate:g} ({config.schedule})"
    )
    if config.patterns is not None:
        console.print(
            f"about [bold]{_long_time(config.patterns / rate)}[/] here for "
            f"{config.patterns:,} patterns at {rate:,.0f}/s (a step, timed just now); "
            "Ctrl-C ends with a checkpoint, --resume goes on"
        )
    return config


def _count_crystals(config: "TrainConfig") -> int:
    """Crystals of a source of real ones, counted without simulating them."""
    from pxrdbench.learning.loading.real_crystals import count_real_crystals

    return count_real_crystals(config.source or "", config.data, config.limits)


def _long_time(seconds: float) -> str:
    """A duration that may be years."""
    if seconds < 172_800:
        return format_seconds(seconds)
    days = seconds / 86_400
    return f"{days:,.0f} days" if days < 730 else f"{days / 365.25:,.0f} years"


def models(as_json: JsonOption = False) -> None:
    """List the models that can be trained, and published runs (train --preset)."""
    from pxrdbench.learning.models.crystallographer import NAME
    from pxrdbench.learning.networks.registry import available_models, find_model
    from pxrdbench.learning.training.experiments import EXPERIMENTS

    if as_json:
        networks = {name: find_model(name).summary for name in available_models()}
        presets = {name: found.summary for name, found in EXPERIMENTS.items()}
        print_json({"models": networks, "presets": presets})
    for name in available_models():
        console.print(f"{name:26} {find_model(name).summary}".rstrip())
    console.print(f"{NAME:26} reads without a network: `eval {NAME}:open`")
    console.print()
    for name, experiment in EXPERIMENTS.items():
        console.print(f"--preset {name:34} {experiment.summary}".rstrip())


def export_model(
    checkpoint: Annotated[
        str, typer.Argument(help="Of `pxrdbench train`: file, folder or name.")
    ],
    out: Annotated[
        Optional[Path], typer.Option(help="File; beside the checkpoint if left away.")
    ] = None,
    patterns: Annotated[
        int, typer.Option(min=1, help="Patterns to compare on.")
    ] = 1000,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Difference of logits, as a part of their spread."),
    ] = 0.01,
    as_json: JsonOption = False,
) -> None:
    """Write a trained model as ONNX, and check that it guesses the same."""
    from pxrdbench.learning.models.onnx_export import export_onnx

    report = export_onnx(
        checkpoint, out or _beside(checkpoint), patterns, tolerance=tolerance
    )
    if as_json:
        print_json(report)
    console.print(
        f"{report.path}: {report.n_bytes / 1e6:.1f} MB; on {report.n_patterns:,} "
        f"patterns of dev the logits differ by at most {report.difference:.1e} "
        f"({report.relative:.1e} of their spread), the first guess in "
        f"{report.n_other_guesses}; top-1 "
        f"{100 * report.accuracy_onnx:.2f} % (here {100 * report.accuracy:.2f} %)"
    )


def _beside(checkpoint: str) -> Path:
    """Where the exported model goes: beside a file, here for a model that ships."""
    path = Path(checkpoint)
    return (path / "last.pt" if path.is_dir() else path).with_suffix(".onnx")


def run_train(config: "TrainConfig") -> "TrainReport":
    """Train under a live line, then say what came of it."""
    from pxrdbench.learning.training.trainer import train

    with live_line("train") as line:
        line("compiling kernels, drawing held-out patterns …")

        told = ""

        def show(progress: "TrainProgress") -> None:
            nonlocal told
            if progress.note not in ("", told):
                console.print(progress.note)
            told = progress.note
            if not progress.patterns_seen:
                return
            line(
                f"{progress.patterns_seen:,} patterns  "
                f"{progress.patterns_per_second:,.0f}/s  loss {progress.loss:.3f}  "
                f"{accuracy_text(progress.accuracy)}  "
                f"waiting {100 * progress.waited:.0f} %",
                progress.fraction,
            )

        report = train(config, show)
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        return report
    console.print(
        f"[bold]{config.model}[/], {report.n_parameters:,} parameters: "
        f"{report.patterns_seen:,} patterns in {format_seconds(report.seconds)}, "
        f"{report.patterns_per_second:,.0f}/s, "
        f"{100 * report.waited:.1f} % of the time waiting for data; one core makes "
        f"{report.made_per_core_second:,.0f} patterns/s"
    )
    if report.explanation:
        console.print(f"{report.explanation[0].upper()}{report.explanation[1:]}.")
    if report.acknowledged:
        console.print(
            f"{report.acknowledged:,} samples given free; {report.patterns_seen:,} "
            "learnt"
        )
    console.print(f"held-out accuracy: {accuracy_text(report.accuracy)}")
    if report.is_interrupted:
        console.print("Stopped early; the same command with --resume goes on.")
    console.print(f"checkpoint: {report.checkpoint}")
    return report
