"""The whole way in five minutes: generate and train at once, evaluate, report.

Each step is the function behind a verb; the command that a user would type stands
above its output.
"""

from pathlib import Path

from pxrdbench.cli.display import console
from pxrdbench.cli.evaluate import run_evaluate
from pxrdbench.cli.stream import run_stream

MODEL = "peak-network"
# Producers wait here for the network, which learns more slowly than they make.
MAX_SIZE = "200MB"


def run_demo(out: Path, minutes: float) -> None:
    """Generate and train, evaluate; print every command and where the report lies.

    Args:
        out: Folder for all that is written.
        minutes: Time for generating and training together.
    """
    shards, run = out / "shards", out / "run"
    _step(
        1,
        "Draw crystals, write their patterns, and learn from them meanwhile",
        f"stream --model {MODEL} --minutes {minutes:g} --max-size {MAX_SIZE} "
        f"--shards {shards} --out {run}",
    )
    run_stream(MODEL, run, shards=shards, minutes=minutes, max_size=MAX_SIZE)
    _step(
        2,
        "Score it on 288 real compounds that pymatgen carries (AFLOW prototypes)",
        f"eval {run / 'last.pt'} --track aflow/prototypes",
    )
    run_evaluate(run / "last.pt", "aflow/prototypes")
    _step(
        3,
        "Score it on real crystals of structure types that its prior never saw",
        f"eval {run / 'last.pt'} --track open/structure-type",
    )
    run_evaluate(run / "last.pt", "open/structure-type")
    report = run / "eval" / "aflow-prototypes" / "report.html"
    console.print(f"\n[bold]Done.[/] Open {report.resolve().as_uri()} in a browser.")


def _step(number: int, title: str, command: str) -> None:
    console.rule(f"[bold]{number}. {title}", align="left")
    console.print(f"[dim]$[/] pxrdbench {command}", soft_wrap=True)
