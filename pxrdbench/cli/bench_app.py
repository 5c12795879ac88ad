"""``pxrdbench bench``: the simulator's speed, and that of streams."""

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from pxrdbench.cli.display import console, live_line, make_table

bench_app = typer.Typer(
    help="Time the simulator against pymatgen, interleaved, in CPU time."
)


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    crystals: Annotated[int, typer.Option(min=1, help="How many to time.")] = 60,
    corpus: Annotated[
        Optional[Path], typer.Option(help="frozen_400.parquet; else drawn crystals.")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Keep the numbers (JSON).")
    ] = None,
) -> None:
    """Time the simulator against pymatgen, interleaved, in CPU time."""
    if context.invoked_subcommand is None:
        from pxrdbench.cli.verbs import run_bench

        run_bench(crystals, corpus, out)


@bench_app.command()
def stream(
    samples: Annotated[int, typer.Option(min=512, help="For each stage.")] = 8192,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    prior: Annotated[str, typer.Option(help="Name or path.")] = "open-v0",
    measurement: Annotated[
        Optional[str], typer.Option(help="With these effects: rruff-paper, …")
    ] = None,
    folder: Annotated[
        Optional[Path], typer.Option(help="For shards of the test; else temporary.")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Keep the numbers (JSON).")
    ] = None,
) -> None:
    """Time every stage from drawing to a training's batches, in CPU time."""
    from pxrdbench.dataset.recipe import Recipe
    from pxrdbench.learning.stream_benchmark import benchmark_stream

    recipe = Recipe(prior, measurement=measurement)
    with live_line("bench stream") as line:
        result = benchmark_stream(
            recipe,
            samples=samples,
            batch_size=batch_size,
            folder=folder,
            on_progress=lambda stage: line(f"{stage} …"),
        )
    table = make_table(
        f"One process, {result['samples']:,} samples a stage, prior {prior}"
        f"{', ' + measurement if measurement else ''}",
        ("", "CPU µs a sample", "a second of one core", "a second on the clock"),
    )
    for stage in result["stages"]:
        table.add_row(
            stage["name"],
            f"{stage['cpu_microseconds']:,.1f}",
            f"{stage['per_core_second']:,.0f}",
            f"{stage['per_second']:,.0f}",
        )
    console.print(table)
    waiting = result["waiting"]
    console.print(
        f"a trainer of {waiting['trained_per_second']:,.0f} patterns/s waited "
        f"{100 * waiting['waited']:.1f} % of its time for a loader with "
        f"{waiting['workers']} thread{'s' * (waiting['workers'] != 1)}"
    )
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {out}")
