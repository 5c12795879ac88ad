"""The verbs. Heavy libraries are imported by the verb that needs them."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pxrdbench.cli.bench_app import bench_app
from pxrdbench.cli.display import console
from pxrdbench.cli.export_app import export
from pxrdbench.cli.fetch_app import fetch
from pxrdbench.cli.import_app import import_crystals
from pxrdbench.cli.options import (
    CoordinatesOption,
    Frequencies,
    FrequenciesOption,
    MaxVolumeOption,
    MeasurementOption,
    OutOption,
    Preset,
    PresetOption,
    PriorOption,
    RadiationOption,
    SeedOption,
    TypeOption,
    make_recipe,
)
from pxrdbench.cli.predict_app import predict
from pxrdbench.cli.prior_app import prior_app
from pxrdbench.cli.split_app import split_app
from pxrdbench.cli.study_app import register as register_studies
from pxrdbench.cli.train_app import export_model, models, train

app = typer.Typer(
    name="pxrdbench",
    help="Synthetic crystals, exact powder patterns, honest benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(prior_app, name="prior", no_args_is_help=True)
app.command()(predict)
app.command("import")(import_crystals)
app.command()(fetch)
app.add_typer(bench_app, name="bench")
app.command()(export)
app.add_typer(split_app, name="split", no_args_is_help=True)
register_studies(app)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        from pxrdbench import __version__

        console.print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: OutOption = Path("pxrdbench-demo"),
    minutes: Annotated[
        float, typer.Option(help="Time for generating and training.", min=0.05)
    ] = 4.0,
) -> None:
    """The whole way in about five minutes: generate, train, evaluate, report."""
    from pxrdbench.cli.demo import run_demo

    run_demo(out, minutes)


@app.command()
def generate(
    hours: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    minutes: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    samples: Annotated[Optional[int], typer.Option(min=1)] = None,
    out: Annotated[
        str, typer.Option(help="Folder, or object store: s3://bucket/prefix.")
    ] = "shards/open-v0",
    seed: SeedOption = 0,
    prior: PriorOption = "open-v0",
    workers: Annotated[
        Optional[int], typer.Option(min=1, help="Ray workers; one a core if left away.")
    ] = None,
    max_size: Annotated[
        str, typer.Option(help="Stop before the folder outgrows this.")
    ] = "20GB",
    shard_samples: Annotated[
        int, typer.Option(min=1, help="Samples a shard.")
    ] = 50_000,
    address: Annotated[
        Optional[str], typer.Option(help="Ray cluster to join (HOST:PORT, auto).")
    ] = None,
    rolling: Annotated[
        str, typer.Option(help="Delete what this one consumer has acknowledged.")
    ] = "",
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Ray's dashboard, on this machine.")
    ] = False,
    preset: PresetOption = Preset.default,
    frequencies: FrequenciesOption = Frequencies.fitted,
    radiation: RadiationOption = "CuKa1",
    measurement: MeasurementOption = None,
    max_volume: MaxVolumeOption = None,
    coordinates: CoordinatesOption = None,
    structure_type: TypeOption = None,
) -> None:
    """Write shards of synthetic patterns with Ray workers on all cores.

    The same command goes on where it stopped. Ctrl-C ends cleanly.
    """
    from pxrdbench.cli.verbs import run_generate
    from pxrdbench.dataset.plan import parse_size
    from pxrdbench.factory import GenerateConfig

    run_generate(
        GenerateConfig(
            out=out,
            recipe=make_recipe(
                prior,
                seed,
                preset,
                frequencies,
                radiation,
                measurement=measurement,
                max_volume=max_volume,
                coordinates=coordinates,
                structure_type=structure_type,
            ),
            hours=hours,
            minutes=minutes,
            samples=samples,
            workers=workers,
            max_size_bytes=parse_size(max_size),
            shard_samples=shard_samples,
            address=address,
            rolling=rolling,
            dashboard=dashboard,
        )
    )


app.command()(train)


@app.command("eval")
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Checkpoint, state dict, ONNX, predictions (.h5), a model's name, "
            "or module:factory of your own code."
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
    part: Annotated[str, typer.Option(help="Part of the track.")] = "test",
    out: Annotated[
        Optional[Path], typer.Option(help="Folder; beside the model if left away.")
    ] = None,
) -> None:
    """Score a model on real crystals it has not seen, with 95 % intervals."""
    from pxrdbench.cli.verbs import default_track, run_evaluate

    tracks = track or [default_track(model)]
    for name in tracks:
        folder = out / name.replace("/", "-") if out and len(tracks) > 1 else out
        run_evaluate(model, name, part, folder, weights)


@app.command()
def submit(
    predictions: Annotated[
        Optional[Path], typer.Argument(help="predictions.h5 that `eval` wrote.")
    ] = None,
    metadata: Annotated[
        Optional[Path], typer.Option(help="Who, what, from what (JSON).")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Of all rows.")] = Path("leaderboards"),
    template: Annotated[
        Optional[Path], typer.Option(help="Write metadata to fill in.")
    ] = None,
    check: Annotated[
        Optional[Path], typer.Option(help="Check a row; with PREDICTIONS, recompute.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="A row of old.")] = False,
) -> None:
    """Make a row of a leaderboard, checked and scored by trusted code."""
    from pxrdbench.cli.verbs import run_submit

    run_submit(predictions, metadata, folder, template, check, replace)


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Of all rows.")] = Path("leaderboards"),
    out: Annotated[Optional[Path], typer.Option(help="Elsewhere than beside.")] = None,
) -> None:
    """Render the leaderboards as pages that work from a file."""
    from pxrdbench.cli.verbs import run_leaderboard

    run_leaderboard(folder, out)


@app.command()
def verify(
    shards: Annotated[str, typer.Argument(help="Folder of shards, or s3://…")],
    samples: Annotated[int, typer.Option(min=0, help="Samples to draw anew.")] = 256,
) -> None:
    """Hash every shard again, draw some samples again, and compare."""
    from pxrdbench.cli.verbs import run_verify

    run_verify(shards, samples)


app.command()(models)
app.command("export-model")(export_model)
