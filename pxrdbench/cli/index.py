"""``pxrdbench index``: a scan in; cells, extinction symbols and space groups out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import console, first_use, make_table
from pxrdbench.cli.options import (
    BravaisLatticeOption,
    CellOption,
    CrystalSystemOption,
    MostVolumeOption,
    parse_cell,
    refuse_idle,
)
from pxrdbench.errors import SourceError

if TYPE_CHECKING:
    from pxrdbench.indexing.index import Indexing
    from pxrdbench.sources.scans.read import MeasuredPattern

# Cells and symbols in the tables of a terminal.
_CELLS, _SYMBOLS = 5, 3


def index(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A scan, in any format of `predict`.")],
    radiation: Annotated[
        Optional[str],
        typer.Option(
            help="Of a file that does not tell: CuKa, MoKa1, 0.4959 Å, 17.4 keV."
        ),
    ] = None,
    scan: Annotated[
        Optional[int], typer.Option(min=1, help="Which, of a file with several.")
    ] = None,
    max_volume: MostVolumeOption = None,
    crystal_system: CrystalSystemOption = None,
    cell: CellOption = None,
    bravais_lattice: BravaisLatticeOption = None,
    prior: Annotated[
        str,
        typer.Option(
            help="Frequencies of groups: icsd, open, uniform, minerals, or a file."
        ),
    ] = "icsd",
    top: Annotated[int, typer.Option(min=1, max=230, help="Groups to list.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON, nothing else.")
    ] = False,
    out: Annotated[
        Optional[Path], typer.Option(help="Picture (.png, .svg, .pdf).")
    ] = None,
    cif: Annotated[Optional[Path], typer.Option(help="Write the cell (.cif).")] = None,
    hkl: Annotated[
        Optional[Path], typer.Option(help="Write its intensities (.hkl).")
    ] = None,
) -> None:
    """Find the cell of a scan, what is absent, and the space groups that remain.

    Nothing learnt: lines, lattices, least squares of intensities, probabilities. The
    radiation comes from the file, or is asked for; it is never assumed.
    """
    from pxrdbench.indexing.index import index_pattern

    if out is not None and out.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise SourceError(f"--out {out}: a picture ends in .png, .svg or .pdf")
    pattern = _read(file, scan, radiation)
    if pattern.radiation is not None:
        refuse_idle(context, ["radiation"], "on a file that tells its own")
    source = pattern.radiation or radiation
    if source is None:
        raise SourceError(
            f"{pattern.name}: the file does not tell its radiation; say it, such as "
            "--radiation CuKa (a tube without monochromator), CuKa1 or 0.4959"
        )
    with first_use():
        found = index_pattern(
            pattern.two_theta,
            pattern.intensity,
            source,
            max_volume=max_volume,
            crystal_system=crystal_system,
            cell=None if cell is None else parse_cell(cell),
            bravais_lattice=bravais_lattice,
            prior=prior,
        )
    if cif is not None:
        found.write_cif(cif, file.stem)
    if hkl is not None:
        found.write_hkl(hkl)
    if out is not None:
        from pxrdbench.diffraction.radiation import Radiation
        from pxrdbench.prediction.figure import save_index_figure

        save_index_figure(
            found, pattern.two_theta, pattern.intensity, out, pattern.name,
            Radiation.parse(source),
        )  # fmt: skip
    if as_json:
        print(found.to_json(top))
    else:
        _show(found, pattern.name, top)
        for path in (out, cif, hkl):
            if path is not None:
                console.print(f"written: {path}", markup=False)
    if not found.cells:
        raise typer.Exit(1)


def _read(file: Path, scan: int | None, radiation: str | None) -> "MeasuredPattern":
    from pxrdbench.sources.scans.read import read_scan

    patterns = read_scan(file, radiation)
    if scan is None and len(patterns) > 1:
        names = ", ".join(f"{n} {p.name}" for n, p in enumerate(patterns, 1))
        raise SourceError(f"{file} holds {len(patterns)} scans: say --scan ({names})")
    number = scan or 1
    if number > len(patterns):
        raise SourceError(f"{file} holds {len(patterns)} scans, no number {number}")
    return patterns[number - 1]


def _show(found: "Indexing", name: str, top: int) -> None:
    """Cells, symbols and groups as tables."""
    if not found.cells:
        console.print(
            f"{name}: {len(found.lines)} lines, and no cell explains them. Foreign "
            "lines, a second phase, or too few lines? A list of lines, "
            "--max-volume or --cell may help.",
            markup=False,
        )
        return
    table = make_table(
        f"{name}: {len(found.lines)} lines",
        ("lattice", "a", "b", "c", "α", "β", "γ", "V", "M20", "lines", "probability"),
    )
    for cell, share in zip(found.cells[:_CELLS], found.cell_probability, strict=False):
        a, b, c, alpha, beta, gamma = cell.conventional
        indexed = int((cell.hkl != 0).any(axis=1).sum())
        table.add_row(
            cell.bravais_lattice,
            *(f"{v:.4f}" for v in (a, b, c)),
            *(f"{v:.2f}" for v in (alpha, beta, gamma)),
            f"{cell.volume:.1f}",
            f"{cell.m20:.0f}" if cell.m20 else "–",
            f"{indexed}" if indexed else "–",
            f"{100 * share:.1f} %",
        )
    console.print(table)
    for cell in found.cells[:1]:
        for text in cell.ambiguities:
            console.print(f"! {text}", markup=False, style="yellow")
        if cell.zero_shift:
            console.print(f"zero shift {cell.zero_shift:+.4f}° in 2θ", markup=False)
    for one in found.extinction_symbols[:_SYMBOLS]:
        console.print(
            f"extinction symbol {one.symbol}  {100 * one.probability:.1f} %  "
            f"({', '.join(one.crystal_systems)}; groups "
            f"{', '.join(map(str, one.space_groups[:8]))}"
            f"{' …' if len(one.space_groups) > 8 else ''})",
            markup=False,
        )
    groups = make_table(
        f"space groups, with the frequencies {found.prior!r}",
        ("space group", "No.", "system", "probability"),
    )
    for choice in found.space_groups[:top]:
        groups.add_row(
            choice.symbol,
            str(choice.space_group),
            choice.crystal_system,
            f"{100 * choice.probability:.1f} %",
        )
    console.print(groups)
    console.print(
        f"the fit leaves {100 * found.residual:.1f} %; that no cell of these is "
        f"right: {100 * found.no_cell_probability:.1f} %",
        markup=False,
    )
