"""``pxrdbench split``: tracks, what they give away, and how to make one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pxrdbench.cli.display import console, live_line, make_table, print_json
from pxrdbench.cli.options import JsonOption, known_parent, refuse_idle

if TYPE_CHECKING:
    from pxrdbench.studies.leakage_report import KnownPeaks

split_app = typer.Typer(help="Tracks: frozen splits of real crystals.")
build_app = typer.Typer(help="Build tracks from data that cannot be shipped.")
split_app.add_typer(build_app, name="build", no_args_is_help=True)
TrackArgument = Annotated[
    str, typer.Argument(help="Name of a track, or folder of one built here.")
]


@split_app.command("list")
def split_list(as_json: JsonOption = False) -> None:
    """List the tracks, their parts and sizes."""
    from pxrdbench.tracks.load import available_tracks, load_record

    if as_json:
        records = {track: load_record(track) for track in available_tracks()}
        print_json({track: record["parts"] for track, record in records.items()})
    columns = ("track", "part", "crystals", "types", "groups", "frozen")
    table = make_table("Tracks", columns)
    for track in available_tracks():
        record = load_record(track)
        _add_parts(table, track, record)
    console.print(table)


@split_app.command("show")
def split_show(track: TrackArgument, as_json: JsonOption = False) -> None:
    """Say all about one track: parts, licence, digests, whom to cite."""
    from pxrdbench.tracks.load import load_record

    record = load_record(track)
    if as_json:
        print_json(record)
    console.print(f"[bold]{record['name']}[/] version {record['version']}")
    console.print(record["description"])
    columns = ("track", "part", "crystals", "types", "groups", "frozen")
    table = make_table("Parts", columns)
    _add_parts(table, record["name"], record)
    console.print(table)
    for reason, count in record["left_out"].items():
        console.print(f"left out: {count:,} — {reason}")
    for pair, distance in record.get("total_variation", {}).items():
        console.print(f"space groups of {pair}: {distance:.4f} apart")
    console.print(f"digest of the track:      {record['digest']}")
    console.print(f"digest of the assignment: {record['split_digest']}")
    console.print(f"licence: {record['licence']}")
    for text in record["attributions"]:
        console.print(f"cite: {text}")


def _add_parts(table: Any, track: str, record: dict[str, Any]) -> None:
    for part, counts in record["parts"].items():
        table.add_row(
            track,
            part,
            f"{counts['crystals']:,}",
            f"{counts['structure_types']:,}",
            str(counts["space_groups"]),
            "yes" if part in record["frozen_parts"] else "",
        )


@split_app.command("export")
def split_export(
    track: TrackArgument,
    out: Annotated[
        Path, typer.Option("--out", help="New folder.", callback=known_parent)
    ],
    as_json: JsonOption = False,
) -> None:
    """Write a track as Parquet with data card and Croissant."""
    from pxrdbench.tracks.export import export_track

    card = export_track(track, out)
    if as_json:
        print_json({"title": card.title, "rows": card.rows, "out": out})
    console.print(f"{card.title}: {card.rows:,} rows → {out}")
    console.print(f'datasets.load_dataset("{out}") opens it')


@split_app.command("check")
def split_check(track: TrackArgument, as_json: JsonOption = False) -> None:
    """Render the frozen patterns, and compare with those that were published."""
    from pxrdbench.tracks.load import find_track, load_record
    from pxrdbench.tracks.pattern_digest import check_patterns

    found = find_track(track)
    exact = {}
    for part in load_record(found)["frozen_parts"]:
        with live_line("check") as line:
            line(f"{track} {part}")
            same = check_patterns(found, part)
        exact[part] = same
        told = "to the last bit" if same else "within the tolerance of other machines"
        console.print(f"[green]sound[/]: {track} {part}, the same {told}")
    if as_json:
        print_json({"track": track, "is_sound": True, "is_exact": exact})


@split_app.command("audit")
def split_audit(
    context: typer.Context,
    tracks: Annotated[
        Optional[list[str]],
        typer.Argument(help="Names or folders; all tracks if left away."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Find it out anew, from the crystals.")
    ] = False,
    source: Annotated[
        Optional[list[Path]],
        typer.Option(help="Audit anew against this import too; may be repeated."),
    ] = None,
    cache: Annotated[
        Optional[Path],
        typer.Option(help="Keep simulated peak lists here (.npz)."),
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for reports of an audit anew.")
    ] = None,
) -> None:
    """Say what training sources give away of tracks; with --anew, find it out anew."""
    from pxrdbench.studies.leakage_report import (
        audit_track,
        load_report,
        write_report,
    )
    from pxrdbench.tracks.load import available_tracks, find_track

    names = [find_track(track) for track in tracks or available_tracks()]
    if not anew and not source:
        refuse_idle(
            context,
            ["cache", "out"],
            "without --anew or --source: what was found before is shown",
        )
        for name in names:
            _print_audit(load_report(name))
        return
    if not anew:
        refuse_idle(context, ["cache"], "without --anew: imports are simulated anew")
    sources = _find_sources(cache) if anew else []
    sources += [_open_import(folder) for folder in source or ()]
    for name in names:
        with live_line("audit") as line:
            line(f"{name}: search-match")
            report = audit_track(name, sources)
        _print_audit(report)
        if out is not None:
            folder = out / report["track"].replace("/", "-")
            folder.mkdir(parents=True, exist_ok=True)
            console.print(f"report: {write_report(report, folder)}")


def _open_import(folder: Path) -> Any:
    """Take the crystals of an import as something to learn from."""
    from pxrdbench.studies.leakage_report import load_import_source

    with live_line("simulate") as line:
        line(str(folder))
        source, left_out = load_import_source(folder)
    for reason, count in left_out.items():
        console.print(f"{folder} left out: {count:,} — {reason}", markup=False)
    return source


def _find_sources(cache: Path | None) -> list[Any]:
    """Take the parts that models learn from, with their peak lists."""
    from pxrdbench.studies.leakage_report import TRAINING_PARTS, load_source

    known = _find_peaks(cache)
    return [load_source(track, part, known) for track, part in TRAINING_PARTS]


def _find_peaks(cache: Path | None) -> "KnownPeaks":
    """Read the peak lists of all crystals to learn from, or simulate them."""
    from pxrdbench.studies.leakage_report import KnownPeaks
    from pxrdbench.tracks.load import OPEN_TRACK, load_table

    if cache is not None and cache.is_file():
        return KnownPeaks.read(cache)
    with live_line("simulate") as line:
        known = KnownPeaks.simulate(
            load_table(OPEN_TRACK)["id"].to_pylist(),
            lambda done, total: line(f"{done:,} of {total:,}", done / max(total, 1)),
        )
    if cache is not None:
        known.write(cache)
    return known


def _print_audit(report: dict[str, Any]) -> None:
    """Print shares in percent; recognition with its 95 % interval."""
    table = make_table(
        f"{report['track']} {report['part']}: what each source gives away (%)",
        (
            "learnt from",
            "same crystals",
            "types",
            "formulas",
            "recognised",
            "new types",
        ),
    )
    for pair in report["pairs"]:
        n = pair["crystals"]
        match = pair.get("search_match", {})
        table.add_row(
            pair["source"],
            f"{100 * pair['shared_crystals'] / n:.1f}",
            f"{100 * pair['crystals_of_shared_types'] / n:.1f}",
            f"{100 * pair['crystals_of_shared_formulas'] / n:.1f}",
            _percent(match.get("all")),
            _percent(match.get("new_types")),
        )
    console.print(table)


def _percent(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "–"
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


@build_app.command("icsd")
def build_icsd(
    context: typer.Context,
    imported: Annotated[
        Path, typer.Argument(help="Folder that `pxrdbench import icsd` wrote.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for both tracks.", callback=known_parent),
    ],
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="The paper's protocol: 70:30 exactly, its limits, no dispersion, B=0.",
        ),
    ] = False,
    min_crystals: Annotated[
        int,
        typer.Option(min=1, help="With --paper: valid ones of a group in statistics."),
    ] = 50,
) -> None:
    """Build icsd/random and icsd/structure-type from an import, of any kind."""
    from pxrdbench.tracks.build.icsd import PaperProtocol, build_icsd_tracks

    if not paper:
        refuse_idle(context, ["min_crystals"], "without --paper")

    with live_line("simulate") as line:
        records = build_icsd_tracks(
            imported,
            out,
            lambda done, total: line(f"{done:,} of {total:,}", done / max(total, 1)),
            PaperProtocol(min_crystals=min_crystals) if paper else None,
        )
    _print_built(records, out)


@build_app.command("rruff")
def build_rruff(
    folder: Annotated[
        Path, typer.Argument(help="Folder of RRUFF's archives, those of DIF files too.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for both tracks.", callback=known_parent),
    ],
    processed: Annotated[
        bool, typer.Option("--processed", help="Patterns without background.")
    ] = False,
) -> None:
    """Build rruff/all and rruff/clean from RRUFF's downloads."""
    from pxrdbench.tracks.build.rruff import build_rruff_tracks

    with live_line("read") as line:
        records = build_rruff_tracks(
            folder,
            out,
            "processed" if processed else "raw",
            lambda done, total: line(f"{done:,} of {total:,}", done / max(total, 1)),
        )
    _print_built(records, out)


@build_app.command("compare")
def build_compare(
    first: Annotated[Path, typer.Argument(help="public.json of one licence holder.")],
    second: Annotated[Path, typer.Argument(help="public.json of another.")],
) -> None:
    """Say whether two public forms are of one and the same track."""
    from pxrdbench.errors import SplitError
    from pxrdbench.outside import guard, read_strict_json
    from pxrdbench.tracks.public_form import compare_public_forms

    with guard(SplitError, "these are not two public forms"):
        forms = [read_strict_json(path, SplitError) for path in (first, second)]
        found = compare_public_forms(*forms)
    for sentence in found:
        console.print(sentence)
    if found:
        raise typer.Exit(1)
    console.print(f"[green]the same[/]: {forms[0]['split_digest']}")


def _print_built(records: list[dict[str, Any]], out: Path) -> None:
    columns = ("track", "part", "crystals", "types", "groups", "frozen")
    table = make_table("Built", columns)
    for record in records:
        _add_parts(table, record["name"], record)
    console.print(table)
    for record in records:
        folder = out / record["name"].replace("/", "-")
        for reason, count in record["left_out"].items():
            console.print(f"{record['name']} left out: {count:,} — {reason}")
        console.print(f"{record['name']}: {folder}, digest {record['split_digest']}")
