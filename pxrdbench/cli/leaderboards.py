"""The verbs ``submit`` and ``leaderboard``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pxrdbench.cli.display import console
from pxrdbench.cli.options import refuse_idle


def run_submit(
    predictions: Path | None,
    metadata: Path | None,
    folder: Path,
    template: Path | None,
    check: Path | None,
    replace: bool,
    unconfined: bool = False,
    hub_dataset: str | None = None,
) -> None:
    """Write a template, check a row, or make a row of predictions and metadata."""
    from pxrdbench.benchmark.leaderboard.submission import (
        submit,
        write_template,
    )
    from pxrdbench.errors import EvaluationError

    if template is not None:
        console.print(f"fill in and submit with --metadata: {write_template(template)}")
    elif check is not None:
        from pxrdbench.benchmark.row_check import check_row

        name, told = check_row(check, predictions, unconfined=unconfined)
        console.print(f"[green]sound[/]: {name}; {told}")
    elif predictions is None or metadata is None:
        raise EvaluationError(
            "give PREDICTIONS and --metadata FILE (--template FILE writes one to fill "
            "in), or --check ROW"
        )
    else:
        if hub_dataset is not None:
            from pxrdbench.benchmark.leaderboard.hub_results import (
                check_dataset_name,
                write_eval_results,
            )

            check_dataset_name(hub_dataset)
        path = submit(predictions, metadata, folder, replace=replace)
        console.print(f"row: {path}")
        if hub_dataset is not None:
            made = write_eval_results(path, hub_dataset)
            console.print(f"for .eval_results/ of the model's repository: {made}")


def run_leaderboard(folder: Path, out: Path | None) -> None:
    """Render the pages of all rows."""
    from pxrdbench.benchmark.leaderboard.site import render_leaderboards

    for page in render_leaderboards(folder, out):
        console.print(f"page: {page}")


def submit(
    context: typer.Context,
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
    unconfined: Annotated[
        bool,
        typer.Option(
            "--unconfined", help="Check even where this system cannot confine it."
        ),
    ] = False,
    hub_dataset: Annotated[
        Optional[str],
        typer.Option(help="OWNER/NAME: also write a file for Hugging Face."),
    ] = None,
) -> None:
    """Make a row of a leaderboard, checked and scored by trusted code."""
    from pxrdbench.cli.leaderboards import run_submit

    if template is not None:
        refuse_idle(
            context,
            [
                "predictions",
                "metadata",
                "folder",
                "check",
                "replace",
                "unconfined",
                "hub_dataset",
            ],
            "with --template, which writes a form and nothing else",
        )
    elif check is not None:
        refuse_idle(
            context,
            ["metadata", "folder", "replace", "hub_dataset"],
            "with --check, which writes nothing",
        )
    else:
        refuse_idle(context, ["unconfined"], "without --check")
    run_submit(
        predictions,
        metadata,
        folder,
        template,
        check,
        replace,
        unconfined,
        hub_dataset,
    )


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Of all rows.")] = Path("leaderboards"),
    out: Annotated[Optional[Path], typer.Option(help="Elsewhere than beside.")] = None,
) -> None:
    """Render the leaderboards as pages that work from a file."""
    from pxrdbench.cli.leaderboards import run_leaderboard

    run_leaderboard(folder, out)
