"""``pxrdbench import``: crystals from files into one table, with an account of each."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import (
    console,
    format_seconds,
    live_line,
    make_table,
    print_json,
)
from pxrdbench.cli.options import JsonOption, OutOption

if TYPE_CHECKING:
    from pxrdbench.sources.structures.load import ImportReport


class Kind(StrEnum):
    """Where crystals come from."""

    icsd = "icsd"
    cod = "cod"
    mp = "mp"
    amcsd = "amcsd"
    cif = "cif"


def import_crystals(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="icsd: an ICSD export; cod: COD or American Mineralogist; mp: a "
            "Materials Project table; amcsd: the American Mineralogist database of the "
            "wheel larixite, or its CIFs; cif: any CIFs."
        ),
    ],
    out: OutOption,
    path: Annotated[
        Optional[Path],
        typer.Argument(
            help="Folder, zip archive or file; for mp a table; not needed for amcsd."
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Filters of the paper: 7000 Å³, 100 sites, 50 a group."
        ),
    ] = False,
    max_volume: Annotated[
        Optional[float], typer.Option(min=0.0, help="Of the conventional cell [Å³].")
    ] = None,
    max_sites: Annotated[
        Optional[int], typer.Option(min=1, help="Rows of the atom table.")
    ] = None,
    min_crystals: Annotated[
        Optional[int], typer.Option(min=1, help="Drop thinner space groups.")
    ] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Drop crystals with partial occupancy.")
    ] = False,
    same_group: Annotated[
        bool, typer.Option("--same-group", help="Drop: group found not as given.")
    ] = False,
    symprec: Annotated[
        float, typer.Option(help="Tolerance of the search for symmetry [Å].")
    ] = 0.01,
    csv: Annotated[
        Optional[Path], typer.Option(help="ICSD table; else looked for in PATH.")
    ] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="The crystals are licensed.")
    ] = False,
    workers: Annotated[Optional[int], typer.Option("--workers", min=1)] = None,
    time_limit: Annotated[
        float, typer.Option(min=1.0, help="Longest time for one file [s].")
    ] = 20.0,
    as_json: JsonOption = False,
) -> None:
    """Import crystals; the same command goes on where it stopped.

    Writes crystals.parquet, import.json and rejected.csv. What was read is kept, so
    other filters take seconds.
    """
    from pxrdbench.sources.guarded import available_cores
    from pxrdbench.sources.structures.filters import PAPER_FILTERS, ImportFilters
    from pxrdbench.sources.structures.load import import_structures

    usual = PAPER_FILTERS if paper else ImportFilters()
    filters = ImportFilters(
        max_volume=usual.max_volume if max_volume is None else max_volume,
        max_sites=usual.max_sites if max_sites is None else max_sites,
        min_crystals=usual.min_crystals if min_crystals is None else min_crystals,
        ordered=ordered,
        same_group=same_group,
    )
    with live_line("import") as line:
        # Files done and the clock when the first file came: starting takes seconds.
        began: list[tuple[int, float]] = []

        def tell(done: int, total: int, cpu: float) -> None:
            if cpu > 0.0 and not began:
                began.append((done, time.monotonic()))
            now = done - began[0][0] if began else 0
            text = f"{done:,} of {total:,} files"
            if now >= 20:
                rate = now / max(time.monotonic() - began[0][1], 1e-9)
                left = format_seconds((total - done) / rate)
                text += f"  {rate:.1f} a second, {left} left"
            line(text, done / max(total, 1))

        report = import_structures(
            kind.value,
            path,
            out,
            workers=workers or available_cores(),
            symprec=symprec,
            filters=filters,
            restricted=restricted,
            csv_path=csv,
            time_limit=time_limit,
            on_progress=tell,
        )
    if as_json:
        print_json(report)
    _print_report(report, symprec)


def _print_report(report: "ImportReport", symprec: float) -> None:
    table = make_table(f"{report.kind}: {report.n_files:,} files", ("", "entries"))
    table.add_row("there", f"{report.n_entries:,}")
    for reason, count in report.not_read.items():
        table.add_row(f"not read — {reason}", f"{count:,}")
    table.add_row("read", f"{report.n_read:,}")
    for reason, count in report.dropped.items():
        table.add_row(f"dropped — {reason}", f"{count:,}")
    table.add_row("[bold]kept[/]", f"[bold]{report.n_kept:,}[/]")
    for note, count in report.notes.items():
        table.add_row(f"  {note}", f"{count:,}")
    console.print(table)
    rate = report.n_files / max(report.cpu_seconds, 1e-9)
    console.print(
        f"{report.n_groups} space groups (found at symprec {symprec:g} Å), "
        f"{report.n_types:,} structure types; {rate:.1f} files a second and core"
    )
    if report.restricted:
        console.print(
            "[bold]restricted[/]: these crystals are licensed; what is made from them "
            "carries the mark and must not be passed on"
        )
    console.print(f"crystals.parquet, import.json, rejected.csv → {report.out}")
