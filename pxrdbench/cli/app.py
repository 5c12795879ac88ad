"""The verbs. Heavy libraries are imported by the verb that needs them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.bench_app import bench
from pxrdbench.cli.display import console
from pxrdbench.cli.prior_app import prior_app

if TYPE_CHECKING:
    from pxrdbench.dataset.recipe import Recipe

app = typer.Typer(
    name="pxrdbench",
    help="Synthetic crystals, exact powder patterns, honest benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
split_app = typer.Typer(help="Tracks: frozen splits of real crystals.")
app.add_typer(prior_app, name="prior", no_args_is_help=True)
app.add_typer(split_app, name="split", no_args_is_help=True)


class Preset(StrEnum):
    """What a crystallographer calls right, or the reference work bug for bug."""

    default = "default"
    paper = "paper"


class Frequencies(StrEnum):
    """How often each space group is drawn."""

    fitted = "fitted"
    icsd = "icsd"
    uniform = "uniform"


# Options that several verbs share are written once.
PriorOption = Annotated[
    str, typer.Option("--prior", help="Name of a prior, or path of one (.npz).")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Key of all draws.")]
PresetOption = Annotated[
    Preset, typer.Option("--preset", help="Physics and generator together.")
]
FrequenciesOption = Annotated[
    Frequencies,
    typer.Option("--frequencies", help="Space groups: as fitted, as the ICSD, equal."),
]
RadiationOption = Annotated[
    str, typer.Option("--radiation", help="CuKa1, CuKa, …, or a wavelength [Å].")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]


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
    out: OutOption = Path("shards/open-v0"),
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
    preset: PresetOption = Preset.default,
    frequencies: FrequenciesOption = Frequencies.fitted,
    radiation: RadiationOption = "CuKa1",
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
            recipe=_recipe(prior, seed, preset, frequencies, radiation),
            hours=hours,
            minutes=minutes,
            samples=samples,
            workers=workers,
            max_size_bytes=parse_size(max_size),
            shard_samples=shard_samples,
        )
    )


@app.command()
def train(
    model: Annotated[
        str, typer.Option(help="Name of a model; see `pxrdbench models`.")
    ],
    shards: Annotated[Optional[Path], typer.Option(help="Folder of shards.")] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Draw patterns while training.")
    ] = False,
    minutes: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    patterns: Annotated[Optional[int], typer.Option(min=1)] = None,
    out: OutOption = Path("runs/last"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT/last.pt.")
    ] = False,
    batch_size: Annotated[Optional[int], typer.Option(min=1)] = None,
    learning_rate: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    seed: SeedOption = 0,
    prior: PriorOption = "open-v0",
    preset: PresetOption = Preset.default,
    frequencies: FrequenciesOption = Frequencies.fitted,
    radiation: RadiationOption = "CuKa1",
) -> None:
    """Train a model on shards, or on patterns drawn meanwhile (--online)."""
    from pxrdbench.cli.verbs import run_train
    from pxrdbench.learning.trainer import TrainConfig

    if online == (shards is not None):
        raise typer.BadParameter("give either --shards FOLDER or --online")
    # Held-out crystals and online ones come from different ranges of one recipe.
    recipe = _recipe(prior, seed, preset, frequencies, radiation) if online else None
    run_train(
        TrainConfig(
            model=model,
            out=out,
            shards=shards,
            recipe=recipe,
            minutes=minutes,
            patterns=patterns,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            resume=resume,
        )
    )


@app.command("eval")
def evaluate(
    model: Annotated[
        Path, typer.Argument(help="Checkpoint (.pt) or predictions (.h5).")
    ],
    track: Annotated[
        Optional[list[str]], typer.Option(help="May be given more than once.")
    ] = None,
    part: Annotated[str, typer.Option(help="Part of the track.")] = "test",
    out: Annotated[
        Optional[Path], typer.Option(help="Folder; beside the model if left away.")
    ] = None,
) -> None:
    """Score a model on real crystals it has not seen, with 95 % intervals."""
    from pxrdbench.cli.verbs import run_evaluate

    for name in track or ["aflow/prototypes"]:
        run_evaluate(model, name, part, out)


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
    shards: Annotated[Path, typer.Argument(help="Folder of shards.")],
    samples: Annotated[int, typer.Option(min=0, help="Samples to draw anew.")] = 256,
) -> None:
    """Hash every shard again, draw some samples again, and compare."""
    from pxrdbench.cli.verbs import run_verify

    run_verify(shards, samples)


app.command()(bench)


@app.command()
def models() -> None:
    """List the models that can be trained."""
    from pxrdbench.learning.registry import available_models

    console.print("\n".join(available_models()))


@split_app.command("list")
def split_list() -> None:
    """List the tracks, their parts and sizes."""
    from pxrdbench.cli.verbs import run_split_list

    run_split_list()


def _recipe(
    prior: str, seed: int, preset: Preset, frequencies: Frequencies, radiation: str
) -> "Recipe":
    from pxrdbench.dataset.recipe import Recipe

    try:
        lines: str | float = float(radiation)
    except ValueError:
        lines = radiation
    return Recipe(
        prior=prior,
        seed=seed,
        preset=preset.value,
        space_group_frequencies=frequencies.value,
        radiation=lines,
    )
