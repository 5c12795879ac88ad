"""The verb ``stream``: producers and a trainer from one command on one machine."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pxrdbench.cli.display import console
from pxrdbench.cli.options import (
    CoordinatesOption,
    MaxVolumeOption,
    MeasurementOption,
    OutOption,
    PriorOption,
    SeedOption,
    TypeOption,
    all_options,
    given,
    make_recipe,
)
from pxrdbench.cli.train import run_train
from pxrdbench.errors import ShardError

if TYPE_CHECKING:
    from pxrdbench.learning.training.config import TrainReport

CONSUMER = "trainer"
# Producers say within this time what they write, kernels compiled or not [s].
_DESCRIBED = 120.0
# And end their shards within this time when they are asked to [s].
_STOPPED = 20.0
# Linux: send a signal when the parent ends (prctl(2), PR_SET_PDEATHSIG).
_PDEATHSIG = 1


def stream(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Name of a model.")] = "peak-network",
    out: OutOption = Path("runs/stream"),
    minutes: Annotated[Optional[float], typer.Option(min=0.0)] = None,
    patterns: Annotated[Optional[int], typer.Option(min=1)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT/last.pt.")
    ] = False,
    shards: Annotated[
        Optional[str],
        typer.Option(help="Where the stream passes through; OUT/shards if left away."),
    ] = None,
    max_size: Annotated[
        str, typer.Option(help="The stream never holds more than this.")
    ] = "1GB",
    workers: Annotated[
        Optional[int],
        typer.Option(min=1, help="Producers; by measured rates if left away."),
    ] = None,
    address: Annotated[
        Optional[str], typer.Option(help="Ray cluster for the producers.")
    ] = None,
    seed: SeedOption = 0,
    prior: PriorOption = "open-v0",
    measurement: MeasurementOption = None,
    max_volume: MaxVolumeOption = None,
    coordinates: CoordinatesOption = None,
    structure_type: TypeOption = None,
) -> None:
    """Write shards without end while a model learns from them.

    The same as `generate --rolling` and `train --shards` in two terminals.
    """
    asked, said = all_options(context), given(context)
    recipe = {name: said[name] for name in _OF_THE_RECIPE if name in said}
    own = {name: asked[name] for name in asked if name not in _OF_THE_RECIPE}
    run_stream(**{**own, "out": Path(own["out"])}, recipe=recipe)


_OF_THE_RECIPE = (
    "seed",
    "prior",
    "measurement",
    "max_volume",
    "coordinates",
    "structure_type",
)


def run_stream(
    model: str,
    out: Path,
    *,
    shards: str | Path | None = None,
    minutes: float | None = None,
    patterns: int | None = None,
    resume: bool = False,
    max_size: str = "1GB",
    workers: int | None = None,
    address: str | None = None,
    recipe: dict[str, Any] | None = None,
) -> "TrainReport":
    """Start producers, train on what they write, end them; draw how it went.

    Args:
        model: Name in the registry.
        out: Folder of the run.
        shards: Where the stream passes through; a folder inside ``out`` if left away.
        minutes: Length of the training.
        patterns: Length of the training in patterns, instead.
        resume: Whether to go on from ``out/last.pt``.
        max_size: What the stream holds at most.
        workers: Producers; by measured rates if left away.
        address: Ray cluster for the producers.
        recipe: Options of the recipe, those that were chosen.

    Raises:
        ShardError: If the producers do not begin.
    """
    from pxrdbench.learning.training.config import TrainConfig
    from pxrdbench.speed.stream_picture import draw_stream

    recipe = recipe or {}
    place = str(shards or out / "shards")
    threads = None
    if address is None:
        producers, threads = _share(model, recipe)
        workers = workers or producers
    command = ["generate", "--rolling", CONSUMER, "--out", place]
    command += ["--max-size", max_size]
    command += [] if workers is None else ["--workers", str(workers)]
    command += [] if address is None else ["--address", address]
    for name, value in recipe.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    console.print(f"[dim]$[/] pxrdbench {' '.join(command)} &")
    console.print(f"[dim]$[/] pxrdbench train --model {model} --shards {place}")
    out.mkdir(parents=True, exist_ok=True)
    with _producers(command, place, out / "producers.log"):
        report = run_train(
            TrainConfig(
                model=model,
                out=out,
                shards=place,
                minutes=minutes,
                patterns=patterns,
                resume=resume,
                threads=threads,
                patience=_DESCRIBED,
            )
        )
    picture = out / "stream.png"
    if (out / "stream.jsonl").is_file() and draw_stream(out / "stream.jsonl", picture):
        console.print(f"both sides, over time: {picture} (from stream.jsonl)")
    return report


def _share(model: str, recipe: dict[str, Any]) -> tuple[int, int]:
    """Share the cores between producers and trainer, by measured rates.

    Returns:
        Producers, and threads of torch.
    """
    from pxrdbench.factory.limits import count_processors
    from pxrdbench.learning.training.experiments import measure_step_rate

    cores = count_processors()
    drawn = make_recipe(**recipe)
    drawn.draw(0, 256)
    started = time.thread_time()
    drawn.draw(0, 1024)
    made = 1024 / (time.thread_time() - started)
    learnt = measure_step_rate(model, len(drawn.space_groups), drawn.grid, seconds=0.5)
    # So many that they are just faster than what the remaining cores learn.
    producers = min(max(1, round(cores * learnt / (learnt + made))), max(1, cores - 1))
    threads = max(1, cores - producers)
    console.print(
        f"{cores} core{'s' * (cores != 1)}: {producers} for producers (one makes "
        f"{made:,.0f}/s), {threads} for the trainer (a step, timed just now: "
        f"{learnt:,.0f}/s)"
    )
    return producers, threads


@contextmanager
def _producers(command: Sequence[str], place: str, log: Path) -> Iterator[None]:
    """Producers in a process of their own, for the length of a ``with`` block."""
    from pxrdbench.dataset.shards.rolling import find_consumers
    from pxrdbench.dataset.storage.open import open_store

    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pxrdbench.cli", *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call of libc, before any thread
        )
    try:
        store, ends = open_store(place), time.monotonic() + _DESCRIBED
        while not find_consumers(store):
            if process.poll() is not None or time.monotonic() > ends:
                raise ShardError(f"the producers did not begin: {_last_line(log)}")
            time.sleep(0.2)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOPPED)
            except subprocess.TimeoutExpired:
                process.kill()
        console.print(f"producers: {_last_line(log)} ({log})")


def _end_with_parent() -> None:
    """Have this process asked to end when its parent has gone, however it went."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "they said nothing"
