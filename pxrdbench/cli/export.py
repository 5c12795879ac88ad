"""``pxrdbench export``: shards for programs that know nothing of this one."""

from typing import Annotated, Optional

import typer

from pxrdbench.cli.display import console, format_seconds, live_line, print_json
from pxrdbench.cli.options import JsonOption, OutOption


def export(
    shards: Annotated[str, typer.Argument(help="Folder or URL of shards.")],
    out: OutOption,
    format_: Annotated[
        str, typer.Option("--format", help="parquet, webdataset or hdf5.")
    ] = "parquet",
    samples: Annotated[
        Optional[int], typer.Option(min=1, help="The first so many; else all.")
    ] = None,
    measurement: Annotated[
        Optional[str], typer.Option(help="Render with these effects: rruff-paper, …")
    ] = None,
    prior: Annotated[
        Optional[str],
        typer.Option(help="The recipe's, if it is not beside the shards; or a name."),
    ] = None,
    allow_restricted: Annotated[
        bool, typer.Option("--allow-restricted", help="For licence holders only.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write shards as Parquet, webdataset tars or HDF5, with card and Croissant.

    The same command goes on where it stopped.
    """
    from pxrdbench.dataset.export.write import ExportConfig, export_shards
    from pxrdbench.factory.limits import format_size

    config = ExportConfig(
        shards, out, format_, samples, measurement, prior, allow_restricted
    )
    with live_line("export") as line:
        report = export_shards(
            config,
            lambda done, total: line(f"{done:,} of {total:,} samples", done / total),
        )
    if as_json:
        print_json(report)
    console.print(
        f"{report.samples:,} samples in {report.files} file{'s' * (report.files != 1)} "
        f"({report.files_new} new), {format_size(report.bytes)}, in "
        f"{format_seconds(report.seconds)} → {report.out}"
    )
