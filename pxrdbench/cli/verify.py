"""The verb ``verify``."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from pxrdbench.cli.display import console, live_line, print_json
from pxrdbench.cli.options import JsonOption, refuse_idle
from pxrdbench.errors import ShardError


def run_verify(
    folder: Path | str, samples: int, prior: str | None = None, *, as_json: bool = False
) -> None:
    """Check shards and print what was found; exit status 1 if something is wrong."""
    from pxrdbench.dataset.shards.verify import verify_shards
    from pxrdbench.factory.limits import format_size

    with live_line("verify") as line:
        report = verify_shards(
            folder,
            sample=samples,
            prior=prior,
            on_progress=lambda done, total: line(
                f"{done} of {total} shards", done / max(total, 1)
            ),
        )
    if as_json:
        print_json({**asdict(report), "is_sound": report.is_sound})
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
    if not report.shards:
        raise ShardError(f"{folder} holds no shard: there was nothing to verify")
    console.print("[green]sound[/]")


def verify(
    context: typer.Context,
    shards: Annotated[str, typer.Argument(help="Folder of shards, or s3://…")],
    samples: Annotated[int, typer.Option(min=0, help="Samples to draw anew.")] = 256,
    prior: Annotated[
        Optional[str],
        typer.Option(help="The recipe's, if it is not beside the shards; or a name."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every shard again, draw some samples again, and compare."""
    from pxrdbench.cli.verify import run_verify

    if samples == 0:
        refuse_idle(context, ["prior"], "with --samples 0: nothing is drawn anew")
    run_verify(shards, samples, prior, as_json=as_json)
