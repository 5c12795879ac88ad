"""What a person sees while they wait, and the tables they get."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

# Lines are left to the terminal to wrap: in a log they stay whole.
console = Console(highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = 110

# Without a terminal (a log file, CI) a line this often [s] is enough.
_PLAIN_INTERVAL = 15.0
# No scan takes as long to be read once kernels are compiled [s].
_LONGEST_READING = 10.0


@dataclass
class _Tracebacks:
    """Whether errors tell where they were raised; of the verb that runs."""

    shown: bool = False


tracebacks = _Tracebacks()


def set_voice(*, quiet: bool = False, for_scripts: bool = False) -> None:
    """Say where a person is spoken to: nowhere, or beside what a script reads.

    Args:
        quiet: Print nothing but results for scripts, and errors.
        for_scripts: The terminal's standard output belongs to JSON; words for a person
            go to standard error.
    """
    console.quiet = quiet
    console.stderr = for_scripts


def print_json(value: Any) -> None:
    """Print a report as one line of JSON to standard output."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """What JSON can hold: fields of dataclasses, paths as text, no number as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float) and value - value != 0.0:
        return None
    return value


class Line(Protocol):
    """A line that is kept up to date."""

    def __call__(self, text: str, fraction: float | None = None) -> None:
        """Show how far it is; a fraction draws a bar."""


@contextmanager
def live_line(title: str) -> Iterator[Line]:
    """Keep one line up to date on a terminal, print now and then elsewhere."""
    if console.is_terminal:
        with Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
        ) as progress:
            task = progress.add_task(title, total=None, text="")

            def show(text: str, fraction: float | None = None) -> None:
                total = None if fraction is None else 1.0
                progress.update(task, text=text, total=total, completed=fraction or 0)

            yield show
        return
    last = time.monotonic()

    def say(text: str, fraction: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_INTERVAL:
            last = time.monotonic()
            share = "" if fraction is None else f"{100 * fraction:3.0f} %  "
            console.print(f"{title}  {share}{text}")

    yield say


@contextmanager
def first_use(longest: float = _LONGEST_READING) -> Iterator[None]:
    """Say what the wait is for where reading one scan takes longer than it can.

    The first reading after an installation compiles the kernels of indexing.

    Args:
        longest: Seconds before it is said, on standard error.
    """

    def say() -> None:
        Console(stderr=True, quiet=console.quiet, soft_wrap=True).print(
            "still at it: the first reading after an installation compiles its "
            "kernels, which takes minutes, once"
        )

    timer = threading.Timer(longest, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def format_seconds(seconds: float) -> str:
    """Write a duration as a person would.

    Example:
        >>> format_seconds(3723)
        '1 h 02 min'
        >>> format_seconds(75)
        '1 min 15 s'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def accuracy_text(accuracy: Mapping[str, float]) -> str:
    """Write held-out accuracies in one line: top-1, and top-5 in brackets.

    Example:
        >>> accuracy_text({"real_top_1": 0.31, "real_top_5": 0.633})
        'real 31.0 % (top-5 63.3)'
    """
    ranked = [name for name in accuracy if "_top_" in name]
    sets = dict.fromkeys(name.rsplit("_top_", 1)[0] for name in ranked)
    texts = [
        f"{name} {100 * accuracy[f'{name}_top_1']:.1f} % "
        f"(top-5 {100 * accuracy[f'{name}_top_5']:.1f})"
        for name in sets
    ]
    others = [name for name in accuracy if name not in ranked]
    texts += [f"{n.replace('_', ' ')} {100 * accuracy[n]:.1f} %" for n in others]
    return "  ".join(texts)


def p_value_text(p: float) -> str:
    """Write a p value; what a float cannot hold is below its least.

    Example:
        >>> p_value_text(0.0), p_value_text(0.034)
        ('p < 1e-300', 'p = 0.034')
    """
    return "p < 1e-300" if p < 1e-300 else f"p = {p:.2g}"


def make_table(title: str, columns: tuple[str, ...]) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if number else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    return table
