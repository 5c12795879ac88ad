"""The whole way in five minutes: generate, train, evaluate, report.

Each step is the function behind a verb; the command that a user would type stands
above its output.
"""

from pathlib import Path

from pxrdbench.cli.display import console
from pxrdbench.cli.evaluate import run_evaluate
from pxrdbench.cli.generate import run_generate
from pxrdbench.cli.train import run_train

MODEL = "peak-network"
# A minute on two cores writes about 3 GB, more than a demo should ask of a disk; the
# network reads about half of this.
MAX_SIZE = "1GB"
# Most of the time goes where it is needed: two cores make patterns many times faster
# than they learn from them.
GENERATE_SHARE = 0.25


def run_demo(out: Path, minutes: float) -> None:
    """Generate, train, evaluate; print every command and where the report lies.

    Args:
        out: Folder for all that is written.
        minutes: Time for generating and training together.
    """
    shards, run = out / "shards", out / "run"
    generating, training = GENERATE_SHARE * minutes, (1 - GENERATE_SHARE) * minutes
    _step(
        1,
        "Draw crystals, simulate their patterns, write shards",
        f"generate --minutes {generating:g} --max-size {MAX_SIZE} --out {shards}",
    )
    _generate(shards, generating)
    _step(
        2,
        "Train a network on them that finds its own peaks",
        f"train --model {MODEL} --shards {shards} --minutes {training:g} --out {run}",
    )
    _train(shards, run, training)
    _step(
        3,
        "Score it on 288 real compounds that pymatgen carries (AFLOW prototypes)",
        f"eval {run / 'last.pt'} --track aflow/prototypes",
    )
    run_evaluate(run / "last.pt", "aflow/prototypes")
    _step(
        4,
        "Score it on real crystals of structure types that its prior never saw",
        f"eval {run / 'last.pt'} --track open/structure-type",
    )
    run_evaluate(run / "last.pt", "open/structure-type")
    report = run / "eval" / "aflow-prototypes" / "report.html"
    console.print(f"\n[bold]Done.[/] Open {report.resolve().as_uri()} in a browser.")


def _step(number: int, title: str, command: str) -> None:
    console.rule(f"[bold]{number}. {title}", align="left")
    console.print(f"[dim]$[/] pxrdbench {command}", soft_wrap=True)


def _generate(shards: Path, minutes: float) -> None:
    from pxrdbench.dataset.recipes.recipe import Recipe
    from pxrdbench.factory import GenerateConfig
    from pxrdbench.factory.limits import parse_size

    run_generate(
        GenerateConfig(
            recipe=Recipe(),
            out=shards,
            minutes=minutes,
            max_size_bytes=parse_size(MAX_SIZE),
        )
    )


def _train(shards: Path, run: Path, minutes: float) -> None:
    from pxrdbench.learning.training.trainer import TrainConfig

    run_train(TrainConfig(model=MODEL, out=run, shards=shards, minutes=minutes))
