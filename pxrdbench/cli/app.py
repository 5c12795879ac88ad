"""The verbs. Heavy libraries are imported by the verb that needs them."""

from pathlib import Path
from typing import Annotated

import typer

from pxrdbench.cli.bench import bench_app
from pxrdbench.cli.display import console, set_voice, tracebacks
from pxrdbench.cli.evaluate import evaluate
from pxrdbench.cli.export import export
from pxrdbench.cli.fetch import fetch
from pxrdbench.cli.generate import generate
from pxrdbench.cli.import_ import import_crystals
from pxrdbench.cli.index import index
from pxrdbench.cli.leaderboards import leaderboard, submit
from pxrdbench.cli.options import (
    OutOption,
)
from pxrdbench.cli.predict import predict
from pxrdbench.cli.prior import prior_app
from pxrdbench.cli.simulate import instrument_app, simulate
from pxrdbench.cli.split import split_app
from pxrdbench.cli.stream import stream
from pxrdbench.cli.studies import register as register_studies
from pxrdbench.cli.train import export_model, models, train
from pxrdbench.cli.verify import verify

app = typer.Typer(
    name="pxrdbench",
    help="Synthetic crystals, exact powder patterns, honest benchmarks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and --json, no more.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell where an error was raised.")
    ] = False,
) -> None:
    set_voice(quiet=quiet)
    tracebacks.shown = verbose
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


# The order in which help lists them: the way of a crystal through the house.
app.command()(generate)
app.command()(train)
app.command()(stream)
app.command("eval")(evaluate)
app.command()(predict)
app.command()(index)
app.command()(simulate)
app.add_typer(instrument_app, name="instrument", no_args_is_help=True)
app.command("import")(import_crystals)
app.command()(fetch)
app.command()(export)
app.command()(verify)
register_studies(app)
app.command()(submit)
app.command()(leaderboard)
app.command()(models)
app.command("export-model")(export_model)
app.add_typer(prior_app, name="prior", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(split_app, name="split", no_args_is_help=True)
