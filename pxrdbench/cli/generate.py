"""The verb ``generate``."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import console, format_seconds, live_line
from pxrdbench.cli.options import (
    CoordinatesOption,
    Frequencies,
    FrequenciesOption,
    MaxVolumeOption,
    MeasurementOption,
    Preset,
    PresetOption,
    PriorOption,
    RadiationOption,
    SeedOption,
    TypeOption,
    given,
    make_recipe,
    refuse_idle,
)

if TYPE_CHECKING:
    from pxrdbench.dataset.recipes.recipe import Recipe
    from pxrdbench.factory import GenerateConfig
    from pxrdbench.factory.progress import GenerateProgress, GenerateReport

DEFAULT_OUT = "shards/open-v0"


def run_generate(config: "GenerateConfig") -> "GenerateReport":
    """Write shards under a live line, then say what came of it."""
    from pxrdbench.factory import generate
    from pxrdbench.factory.limits import format_size

    recipe = config.recipe
    console.print(
        f"recipe [bold]{recipe.digest[:12]}[/]: prior {recipe.card.prior_name}, "
        f"{len(recipe.space_groups)} space groups, {recipe.radiation.name}, "
        f"seed {recipe.card.seed} → {config.out}"
    )
    with live_line("generate") as line:

        def show(progress: "GenerateProgress") -> None:
            if progress.note:
                console.print(progress.note)
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
            if progress.consumer is not None:
                reads = progress.consumer
                text += (
                    f"  learnt {reads.samples:,} ({reads.per_second:,.0f}/s), "
                    f"producers wait {100 * progress.waited:.0f} %, trainer "
                    f"{100 * reads.waited:.0f} %"
                )
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


def generate(
    context: typer.Context,
    hours: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    minutes: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    samples: Annotated[Optional[int], typer.Option(min=1)] = None,
    out: Annotated[
        str, typer.Option(help="Folder, or object store: s3://bucket/prefix.")
    ] = DEFAULT_OUT,
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
        str, typer.Option(help="Delete what this consumer, or all of a,b,…, have read.")
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
    if run_generate(_read_config(context)).is_short:
        raise typer.Exit(1)


# Options of the recipe; the others are those of the run.
_OF_THE_RECIPE = (
    "seed",
    "prior",
    "preset",
    "frequencies",
    "radiation",
    "measurement",
    "max_volume",
    "coordinates",
    "structure_type",
)


def _read_config(context: typer.Context) -> "GenerateConfig":
    """Make the configuration of the options."""
    from pxrdbench.factory import GenerateConfig
    from pxrdbench.factory.limits import parse_size

    said = given(context)
    if "structure_type" in said:
        refuse_idle(
            context,
            ["frequencies"],
            "with --structure-type, which leaves one space group",
        )
    if "address" in said:
        refuse_idle(
            context, ["dashboard"], "with --address: that cluster has its own, or none"
        )
    recipe = {name: said.pop(name) for name in _OF_THE_RECIPE if name in said}
    if "max_size" in said:
        said["max_size_bytes"] = parse_size(said.pop("max_size"))
    made = make_recipe(**recipe)
    return GenerateConfig(
        recipe=made,
        learnt=_read_learnt(made, recipe.get("prior")),
        **{"out": DEFAULT_OUT, **said},
    )


def _read_learnt(recipe: "Recipe", prior: str | None) -> str:
    """What a prior of one's own was fitted on; "" where nothing tells."""
    from pathlib import Path

    from pxrdbench.tracks.learnt import Learnt

    if prior is None or not recipe.prior.learnt or not Path(prior).is_file():
        return ""
    found = Learnt.read(Path(prior), recipe.prior.learnt)
    return "" if found is None else found.to_json()
