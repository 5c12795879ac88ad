"""``pxrdbench bench``: the simulator's speed and exactness; that of streams."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pxrdbench.cli.display import console, live_line, make_table
from pxrdbench.cli.options import refuse_idle
from pxrdbench.errors import PatternError

bench_app = typer.Typer(
    help="Time the simulator against pymatgen and others, interleaved, in CPU time."
)


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    crystals: Annotated[int, typer.Option(min=1, help="How many to time.")] = 60,
    corpus: Annotated[
        Optional[Path], typer.Option(help="frozen_400.parquet; else drawn crystals.")
    ] = None,
    measurement: Annotated[
        str, typer.Option(help="Preset that is timed by stage; empty for none.")
    ] = "rruff-paper",
    workers: Annotated[
        int, typer.Option(min=0, help="Threads whose CPU times are compared with one.")
    ] = 2,
    out: Annotated[
        Optional[Path],
        typer.Option(help="Keep the numbers (JSON), and a picture beside them (SVG)."),
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="Time the indexer beside mlindex's instead.")
    ] = False,
    interpreter: Annotated[
        Optional[str],
        typer.Option(help="With --index: a Python that has mlindex; else this one."),
    ] = None,
) -> None:
    """Time the simulator against pymatgen and others, interleaved, in CPU time."""
    if context.invoked_subcommand is not None:
        refuse_idle(
            context,
            [
                "crystals",
                "corpus",
                "measurement",
                "workers",
                "out",
                "index",
                "interpreter",
            ],
            f"before {context.invoked_subcommand}, which has options of its own",
        )
    elif index:
        refuse_idle(
            context,
            ["corpus", "measurement", "workers"],
            "with --index: it takes crystals of open/structure-type, one core, no "
            "measurement",
        )
        _bench_index(crystals, interpreter, out)
    else:
        refuse_idle(context, ["interpreter"], "without --index")
        _bench(crystals, corpus, measurement, workers, out)


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
    from pxrdbench.dataset.recipes.recipe import Recipe
    from pxrdbench.speed.stream import benchmark_stream

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


def _bench(
    crystals: int,
    corpus: Path | None,
    measurement: str,
    workers: int,
    out: Path | None,
) -> None:
    from pxrdbench.diffraction.measurement.measurement import load_measurement
    from pxrdbench.speed.corpus import draw_corpus, read_frozen_corpus
    from pxrdbench.speed.measurement import benchmark_measurement
    from pxrdbench.speed.simulation import benchmark_simulation, benchmark_workers

    _check(corpus, out)
    if measurement:
        load_measurement(measurement)  # a wrong name is told before minutes of work
    with live_line("bench") as line:
        line("compiling kernels …")
        timed = (
            read_frozen_corpus(corpus, crystals) if corpus else draw_corpus(crystals)
        )
        result = benchmark_simulation(
            timed,
            on_progress=lambda done, total: line(
                f"{done} of {total} crystals by the other programs", done / total
            ),
        )
        if measurement:
            line(f"{measurement} by stage …")
            result["measurement"] = benchmark_measurement(measurement)
        if workers > 1:
            line(f"{workers} workers …")
            result["workers"] = benchmark_workers(workers)
    _print_simulation(result)
    if measurement:
        _print_measurement(result["measurement"])
    if workers > 1:
        _print_workers(result["workers"])
    if out is not None:
        _write(result, out)


def _bench_index(crystals: int, interpreter: str | None, out: Path | None) -> None:
    from pxrdbench.speed.indexing import benchmark_indexing

    _check(None, out)
    with live_line("bench --index") as line:
        line("compiling kernels …")
        result = benchmark_indexing(
            crystals,
            interpreter=interpreter,
            on_progress=lambda done, total: line(
                f"{done} of {total} patterns by both programs", done / total
            ),
        )
    table = make_table(
        f"{result['patterns']} clean patterns of {result['track']} "
        f"({', '.join(result['systems'])}), the same {result['lines']} lines",
        ("", "cell first", "among five", "CPU ms, median", "mean"),
    )
    for name, row in result["programs"].items():
        version = f" {result['mlindex_version']}" if name == "mlindex" else ""
        table.add_row(
            name + version,
            f"{100 * row['first']:.1f} %",
            f"{100 * row['five']:.1f} %",
            f"{1e3 * row['cpu_seconds_median']:,.1f}",
            f"{1e3 * row['cpu_seconds_mean']:,.1f}",
        )
    console.print(table)
    times = result["times_faster"]
    console.print(
        f"ours is {times['median']:,.0f} times faster (median of patterns; "
        f"{times['of_sums']:,.0f} of sums); first by ours alone "
        f"{result['only_pxrdbench']}, by mlindex alone {result['only_mlindex']}; "
        f"right is a {result['rule']}"
    )
    if result["mlindex_errors"]:
        console.print(f"mlindex raised an error {result['mlindex_errors']} times")
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {out}")


def _check(corpus: Path | None, out: Path | None) -> None:
    """Refuse before minutes of work what would fail after them.

    Raises:
        PatternError: If the corpus is no file, or the result could not be written.
    """
    if corpus is not None and not corpus.is_file():
        raise PatternError(f"corpus {corpus} is no file; without it crystals are drawn")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise PatternError(f"cannot write {out}: name a file in an existing folder")
    if out is not None and out.suffix.lower() == ".svg":
        raise PatternError(f"{out} is to be JSON; the picture is named after it")


def _print_simulation(result: dict[str, Any]) -> None:
    measured = result["corpus"]
    volumes = ", ".join(f"{volume:,.0f}" for volume in measured["volume_quantiles"])
    table = make_table(
        f"CPU time a crystal, {measured['crystals']} crystals of {measured['name']}",
        ("", "µs", "a second, one core", "× pymatgen's peaks"),
    )
    for name, time in result["microseconds_per_pattern"].items():
        ratio = result["speed_over_pymatgen"].get(name, 1.0)
        table.add_row(name, f"{time:,.1f}", f"{1e6 / time:,.0f}", f"{ratio:,.0f}")
    console.print(table)
    console.print(
        f"volumes (1, 10, 50, 90, 99 %): {volumes} Å³; "
        f"{measured['mean_sites']:.1f} sites on average"
    )
    accuracy = result["accuracy"]
    console.print(
        f"{accuracy['peaks_compared']:,} peaks of pymatgen compared: intensities "
        f"within {accuracy['relative_intensity']:.1e} relative, angles within "
        f"{accuracy['two_theta_degrees']:.1e} degrees"
    )
    table = make_table(
        "Other programs (peaks only)",
        ("", "crystals", "µs", "× ours", "differs by, median", "most"),
    )
    for name, row in result["simulators"].items():
        table.add_row(
            f"{name} {result['versions'][name]}",
            f"{row['crystals']}",
            f"{row['microseconds_per_pattern']:,.0f}",
            f"{row['times_our_peaks']:,.0f}",
            f"{row['difference_percent_median']:.2g} %",
            f"{row['difference_percent_largest']:.2g} %",
        )
    console.print(table)
    for name, row in result["simulators"].items():
        console.print(f"{name}: {row['computes']}; beside {row['compared_with']}")


def _print_measurement(measured: dict[str, Any]) -> None:
    table = make_table(
        f"{measured['name']} by stage, {measured['samples']} samples of open-v0",
        ("", "µs", "a second, one core"),
    )
    for name, time in measured["microseconds_per_pattern"].items():
        table.add_row(name, f"{time:,.1f}", f"{1e6 / time:,.0f}")
    console.print(table)
    console.print(
        f"complete patterns come at {measured['rate_over_plain']:.3f} of the plain rate"
    )


def _print_workers(measured: dict[str, Any]) -> None:
    times = measured["microseconds_per_pattern"]
    one, many = times["1"], times[str(measured["workers"])]
    low, high = (100 * value for value in measured["rise_interval"])
    console.print(
        f"{measured['workers']} workers (threads): {many:.1f} µs of CPU time a pattern "
        f"instead of {one:.1f}; median of {measured['rounds']} paired rounds "
        f"{100 * measured['rise']:+.1f} % ({low:+.1f} to {high:+.1f})"
    )


def _write(result: dict[str, Any], out: Path) -> None:
    from pxrdbench.speed.picture import draw_benchmark

    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    picture = out.with_suffix(".svg")
    draw_benchmark(result, picture)
    console.print(f"written: {out}, {picture}")
