"""``pxrdbench predict``: files from a diffractometer in, short lists out."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import console, first_use, live_line, make_table
from pxrdbench.cli.options import (
    BravaisLatticeOption,
    CellOption,
    CrystalSystemOption,
    MostVolumeOption,
    all_options,
    parse_cell,
    refuse_idle,
)
from pxrdbench.errors import PatternError, PxrdbenchError, SourceError
from pxrdbench.files import atomic_path

if TYPE_CHECKING:
    from pxrdbench.prediction.known import Known
    from pxrdbench.prediction.result import Prediction
    from pxrdbench.prediction.simulation.instrument import Instrument
    from pxrdbench.sources.scans.read import MeasuredPattern

# Totals, cells and sets of groups that a terminal shows.
_TOTALS, _CELLS, _SETS = 4, 3, 2


def predict(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="Scans, or folders of scans.", show_default=False),
    ],
    radiation: Annotated[
        Optional[str],
        typer.Option(
            help="Of files that do not tell: CuKa, MoKa1, 0.4959 Å, 17.4 keV."
        ),
    ] = None,
    model: Annotated[
        Optional[str], typer.Option(help="Name or checkpoint; else the one that ships.")
    ] = None,
    cell: CellOption = None,
    bravais_lattice: BravaisLatticeOption = None,
    elements: Annotated[
        Optional[str], typer.Option(help="All that may be there: Fe,O.")
    ] = None,
    formula: Annotated[
        Optional[str], typer.Option(help="Of the compound: 'Ca3Al2(SiO4)3'.")
    ] = None,
    crystal_system: CrystalSystemOption = None,
    exclude: Annotated[
        Optional[str], typer.Option(help="What it is not: 'P21/c,62,cubic'.")
    ] = None,
    prior: Annotated[
        Optional[str],
        typer.Option(
            help="How frequent groups are: icsd, minerals, open, uniform, or a file."
        ),
    ] = None,
    max_volume: MostVolumeOption = None,
    instrument: Annotated[
        Optional[Path],
        typer.Option(help="File of `instrument fit`: its zero is taken off."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=230, help="Groups to list.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON a scan, nothing else.")
    ] = False,
    out: Annotated[
        Optional[Path],
        typer.Option(
            help="Of one scan a picture (.png, .svg, .pdf) or a page to zoom (.html); "
            "else a table (.csv)."
        ),
    ] = None,
) -> None:
    """Read cell and space group of scans from a diffractometer.

    The radiation comes from the file, or is asked for; it is never assumed. What is
    known of the sample is taken for all scans that are named.
    """
    _answer(_Asked(**all_options(context)), context)


@dataclass(frozen=True)
class _Asked:
    """What was typed, or its defaults; see `predict`."""

    files: Sequence[str | Path]
    radiation: str | None
    model: str | None
    cell: str | None
    bravais_lattice: str | None
    elements: str | None
    formula: str | None
    crystal_system: str | None
    exclude: str | None
    prior: str | None
    max_volume: float | None
    instrument: str | Path | None
    top: int
    as_json: bool
    out: str | Path | None


def _answer(asked: _Asked, context: typer.Context) -> None:
    """Do what was asked."""
    from pxrdbench.prediction.known import make_known

    if asked.as_json:
        refuse_idle(context, ["out"], "with --json, which writes to the terminal")
    known = make_known(
        cell=None if asked.cell is None else parse_cell(asked.cell),
        bravais_lattice=asked.bravais_lattice,
        elements=asked.elements,
        formula=asked.formula,
        crystal_system=asked.crystal_system,
        exclude=asked.exclude,
        prior=asked.prior,
        max_volume=asked.max_volume,
    )
    found = _find_all([Path(file) for file in asked.files])
    out = None if asked.out is None else Path(asked.out)
    _check(asked.radiation, asked.model, len(found))
    tool = None
    if asked.instrument is not None:
        from pxrdbench.prediction.simulation.instrument import Instrument

        tool = Instrument.read(asked.instrument)
    ask = _Question(asked.radiation, asked.model, known, tool)
    if asked.radiation is not None and _all_tell(found):
        refuse_idle(
            context, ["radiation"], "on files that tell their own: it is for others"
        )
    if asked.as_json:
        _print_json(found, ask, asked.top)
        return
    if asked.radiation is None and asked.instrument is None:
        ask = replace(ask, radiation=_ask_radiation(found))
    scans = list(_read(found[0], ask.radiation)) if len(found) == 1 else []
    if len(scans) == 1 and (out is None or out.suffix != ".csv"):
        _show_one(scans[0], ask, asked.top, out)
    else:
        _write_table(found, ask, asked.top, out or Path("predictions.csv"))


@dataclass(frozen=True)
class _Question:
    """What is asked of every scan."""

    radiation: str | None
    model: str | None
    known: "Known"
    instrument: "Instrument | None" = None


@dataclass(frozen=True)
class _Scan:
    """A scan of a file, or why it could not be read."""

    file: Path
    pattern: "MeasuredPattern | None"
    error: str = ""


def _check(radiation: str | None, model: str | None, files: int) -> None:
    """Refuse what no file can mend before any is read.

    A model takes seconds to load: a single file that cannot be read is told sooner.
    """
    from pxrdbench.diffraction.radiation import Radiation
    from pxrdbench.prediction.predict import find_model_file, load_model

    if radiation is not None:
        Radiation.parse(radiation)
    path = find_model_file(model)
    if files > 1:
        load_model(path)


def _find_all(starts: list[Path]) -> list[Path]:
    """All files that are named, or that lie in folders that are named."""
    from pxrdbench.sources.scans.read import find_scans

    found: dict[Path, None] = {}
    for start in starts:
        files = find_scans(start)
        if not files:
            raise SourceError(f"{start}: no files of scans in this folder or below it")
        found |= dict.fromkeys(files)
    return list(found)


def _read(file: Path, radiation: str | None = None) -> Iterator[_Scan]:
    """Every scan of a file, or why it cannot be read; the radiation converts Q."""
    from pxrdbench.sources.scans.read import read_scan

    try:
        patterns = read_scan(file, radiation)
    except SourceError as error:
        yield _Scan(file, None, str(error))
        return
    for pattern in patterns:
        yield _Scan(file, pattern)


def _all_tell(files: list[Path]) -> bool:
    """Whether every scan tells its radiation; no if none can be read."""
    patterns = (s.pattern for file in files for s in _read(file) if s.pattern)
    first = next(patterns, None)
    if first is None or first.radiation is None:
        return False
    return all(pattern.radiation is not None for pattern in patterns)


def _ask_radiation(files: list[Path]) -> str | None:
    """Ask a person, if there is one, as soon as one file does not tell."""
    from pxrdbench.diffraction.radiation import Radiation

    if not sys.stdin.isatty():
        return None
    scans = (scan for file in files for scan in _read(file))
    silent = next(
        (s for s in scans if s.pattern is not None and s.pattern.radiation is None),
        None,
    )
    if silent is None:
        return None
    console.print(
        f"{silent.file.name} does not tell the radiation. CuKa is a copper tube "
        "without monochromator, CuKa1 one with; MoKa, CoKa, … likewise; or give a "
        "wavelength in Å. It is taken for all files here that do not tell.",
        markup=False,
    )
    while True:
        answer: str = typer.prompt("Radiation")
        try:
            Radiation.parse(answer)
        except PxrdbenchError as error:
            console.print(str(error), markup=False)
        else:
            return answer


def _predict(scan: _Scan, ask: _Question) -> "Prediction":
    """Predict one scan; the file's own radiation goes before the one that is given."""
    from pxrdbench.prediction.predict import predict_pattern

    if scan.pattern is None:
        raise SourceError(scan.error)
    own = scan.pattern.radiation
    if own is None and ask.radiation is None and ask.instrument is None:
        raise SourceError(
            f"{scan.pattern.name}: the file does not tell its radiation; say it, such "
            "as --radiation CuKa (a tube without monochromator), CuKa1 or 0.4959"
        )
    with first_use():
        return predict_pattern(
            scan.pattern,
            own or ask.radiation,
            model=ask.model,
            known=ask.known,
            instrument=ask.instrument,
        )


def _print_json(files: list[Path], ask: _Question, top: int) -> None:
    """One object a line on stdout; reasons of what fails on stderr."""
    failed = 0
    for scan in (scan for file in files for scan in _read(file, ask.radiation)):
        try:
            result = _predict(scan, ask)
        except (SourceError, PatternError) as error:
            print(f"pxrdbench: {error}", file=sys.stderr)
            failed += 1
            continue
        name = scan.pattern.name if scan.pattern is not None else scan.file.name
        record = result.to_dict(top) | {
            "file": str(scan.file) + name.removeprefix(scan.file.name)
        }
        print(json.dumps(record, ensure_ascii=False), flush=True)
    if failed:
        raise typer.Exit(2)


def _show_one(scan: _Scan, ask: _Question, top: int, out: Path | None) -> None:
    out = out or Path(f"{scan.file.name.split('.')[0]}-space-groups.png")
    if out.suffix.lower() not in {".png", ".svg", ".pdf", ".html"}:
        raise SourceError(
            f"--out {out}: a picture ends in .png, .svg or .pdf, a page in .html"
        )
    result = _predict(scan, ask)
    from pxrdbench.crystal.symmetry.tables import crystal_system

    style = None if result.is_confident else "yellow"
    console.print(f"{result.name}: {result.headline()}", markup=False, style=style)
    for reason in result.reasons[1:]:
        console.print(f"! {reason}", markup=False, style="yellow")
    _show_cells(result)
    for one in result.sets[:_SETS]:
        console.print(f"same absences: {one}", markup=False)
        for text in one.deciding:
            console.print(f"  {text}", markup=False, style="dim")
    table = make_table(
        f"{result.radiation.name}, frequencies {result.prior}; no cell "
        f"{100 * result.no_cell_probability:.0f} %, for which {result.model} answers",
        ("space group", "No.", "system", "probability"),
    )
    for candidate in result.candidates[:top]:
        table.add_row(
            candidate.symbol,
            str(candidate.space_group),
            crystal_system(candidate.space_group),
            f"{100 * candidate.probability:.1f} %",
        )
    console.print(table)
    for title, totals in (
        ("Extinction symbols", result.by_extinction_symbol),
        ("Crystal systems", result.by_crystal_system),
    ):
        parts = [f"{t.name} {100 * t.probability:.0f} %" for t in totals[:_TOTALS]]
        console.print(f"{title}: {', '.join(parts)}", markup=False)
    for warning in result.warnings:
        console.print(f"! {warning}", markup=False, style="yellow")
    if out.suffix.lower() == ".html":
        result.save_page(out)
        console.print(f"page: {out}", markup=False)
    else:
        result.save_picture(out, top)
        console.print(f"picture: {out}", markup=False)


def _show_cells(result: "Prediction") -> None:
    for cell in result.cells[:_CELLS]:
        from pxrdbench.prediction.cell_report import with_error

        merit = f"  M20 {cell.m20:.0f}" if cell.m20 else ""
        zero = f"  zero {cell.zero_shift:+.3f}°" if cell.zero_shift else ""
        console.print(
            f"cell {100 * cell.probability:3.0f} %  {cell}  V "
            f"{with_error(cell.volume, cell.volume_error)} Å³{merit}{zero}",
            markup=False,
        )


def _write_table(files: list[Path], ask: _Question, top: int, out: Path) -> None:
    """One row a scan; what could not be read has its reason in the last column.

    Interrupted, it keeps the rows that are done.
    """
    if out.suffix != ".csv":
        raise SourceError(f"--out {out}: several scans go into one table (.csv)")
    failed: list[str] = []
    scans, unsure, is_broken_off = 0, 0, False
    with (
        atomic_path(out) as part,
        part.open("w", newline="", encoding="utf-8") as stream,
        live_line("predict") as line,
    ):
        writer = csv.DictWriter(stream, _columns(top), restval="")
        writer.writeheader()
        try:
            for done, file in enumerate(files, 1):
                for scan in _read(file, ask.radiation):
                    row = _table_row(scan, ask, top)
                    writer.writerow(row)
                    scans += 1
                    failed += [str(row["error"])] if row["error"] else []
                    unsure += row.get("confident") == "no"
                line(f"{done} of {len(files)}: {file.name}", done / len(files))
        except KeyboardInterrupt:
            is_broken_off = True
    console.print(
        f"{scans - len(failed)} of {scans} scans predicted → {out}; no confident "
        f"answer for {unsure}",
        markup=False,
    )
    for reason in failed:
        console.print(f"- {reason}", markup=False)
    if is_broken_off:
        console.print(
            f"interrupted: of {len(files)} files these are done", markup=False
        )
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(2)


def _columns(top: int) -> list[str]:
    ranks = [
        f"{name}_{rank}"
        for rank in range(1, top + 1)
        for name in ("space_group", "probability")
    ]
    return [
        *("file", "scan", "radiation", "points", "first", "last"),
        *("confident", "reasons", "bravais_lattice"),
        *("a", "b", "c", "alpha", "beta", "gamma", "m20", "no_cell_probability"),
        *ranks,
        *("extinction_symbol", "extinction_probability"),
        *("crystal_system", "crystal_system_probability", "warnings", "error"),
    ]


def _table_row(scan: _Scan, ask: _Question, top: int) -> dict[str, object]:
    row: dict[str, object] = {"file": str(scan.file), "error": ""}
    if scan.pattern is not None:
        angles = scan.pattern.two_theta
        row |= {"scan": scan.pattern.name, "points": len(angles)}
        row |= {"first": f"{angles[0]:g}", "last": f"{angles[-1]:g}"}
    try:
        result = _predict(scan, ask)
    except (SourceError, PatternError) as error:
        return row | {"error": str(error)}
    for rank, candidate in enumerate(result.candidates[:top], 1):
        row[f"space_group_{rank}"] = candidate.space_group
        row[f"probability_{rank}"] = f"{candidate.probability:.4f}"
    if result.cells:
        from pxrdbench.prediction.cell_report import with_error

        cell = result.cells[0]
        row |= {"bravais_lattice": cell.bravais_lattice, "m20": f"{cell.m20:.0f}"}
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        for name, value, spread in zip(names, cell.lattice, cell.errors, strict=True):
            row[name] = with_error(value, spread)
    symbol, system = result.by_extinction_symbol[0], result.by_crystal_system[0]
    return row | {
        "radiation": result.radiation.name,
        "confident": "yes" if result.is_confident else "no",
        "reasons": " ".join(result.reasons),
        "no_cell_probability": f"{result.no_cell_probability:.4f}",
        "extinction_symbol": symbol.name,
        "extinction_probability": f"{symbol.probability:.4f}",
        "crystal_system": system.name,
        "crystal_system_probability": f"{system.probability:.4f}",
        "warnings": " ".join(result.warnings),
    }
