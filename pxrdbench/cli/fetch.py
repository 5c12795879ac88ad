"""``pxrdbench fetch``: public data sets, licence first, every file checked."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pxrdbench.cli.display import console, live_line, make_table
from pxrdbench.cli.options import known_parent, refuse_idle
from pxrdbench.errors import OptionError


def fetch(
    context: typer.Context,
    source: Annotated[
        Optional[str], typer.Argument(help="rruff, mp-20, cod, …; without: a list.")
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option("--out", help="Folder for the files.", callback=known_parent),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="The licence is known and agreed to.")
    ] = False,
    mirror: Annotated[
        Optional[str], typer.Option("--from", help="Another address of the files.")
    ] = None,
    ids: Annotated[
        Optional[Path], typer.Option(help="COD: file with the numbers to fetch.")
    ] = None,
    lock: Annotated[
        Optional[Path], typer.Option(help="lock.json of others to compare with.")
    ] = None,
) -> None:
    """Fetch a public data set; the same command goes on where it was broken off."""
    from pxrdbench.sources.fetch.catalogue import CATALOGUE
    from pxrdbench.sources.fetch.get import fetch_source, licence_text

    if source is None:
        refuse_idle(
            context,
            ["out", "yes", "mirror", "ids", "lock"],
            "without the name of a set",
        )
        table = make_table("Public data sets", ("name", "size", "what"))
        for known in CATALOGUE.values():
            table.add_row(known.name, known.size, known.title)
        console.print(table)
        return
    if source != "cod":
        refuse_idle(
            context, ["ids"], f"on {source}: single entries are fetched of the COD only"
        )
    console.print(licence_text(source), markup=False)
    if out is None:
        raise OptionError("give --out, the folder for the files")
    if not yes:
        typer.confirm("Fetch under these terms?", abort=True)
    codes = ids.read_text(encoding="utf-8").split() if ids is not None else ()
    with live_line("fetch") as line:

        def tell(name: str, there: int, total: int) -> None:
            of = f" of {total / 1e6:,.1f}" if total else ""
            line(f"{name}  {there / 1e6:,.1f}{of} MB", there / total if total else None)

        files = fetch_source(
            source, out, base_url=mirror, codes=codes, lock=lock, on_progress=tell
        )
    for file in files:
        state = "downloaded" if file.is_new else "was there"
        checked = "sha256 recorded" if file.is_first else "sha256 as recorded"
        console.print(f"{file.path}  {file.n_bytes:,} bytes, {state}, {checked}")
    console.print(f"next: {CATALOGUE[source].use}".replace("FOLDER", str(out)))
