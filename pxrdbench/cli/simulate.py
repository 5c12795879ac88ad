"""``pxrdbench simulate`` and ``pxrdbench instrument``: from crystals to patterns."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import console, make_table
from pxrdbench.cli.options import refuse_idle
from pxrdbench.errors import OptionError, SourceError

if TYPE_CHECKING:
    from pxrdbench.crystal.structure import Crystal
    from pxrdbench.prediction.simulation.instrument import Instrument
    from pxrdbench.sources.scans.read import MeasuredPattern

_PICTURES = {".png", ".svg", ".pdf"}
# Reflections in the table of a terminal.
_SHOWN = 15

instrument_app = typer.Typer(help="Measure an instrument with a standard.")


def simulate(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="CIFs; of one, or of several phases.")
    ],
    radiation: Annotated[
        Optional[str],
        typer.Option(help="CuKa (doublet) if not told; CuKa1, MoKa, 0.4959, …"),
    ] = None,
    first: Annotated[float, typer.Option("--from", help="First angle 2θ [°].")] = 5.0,
    last: Annotated[float, typer.Option("--to", help="Last angle 2θ [°].")] = 90.0,
    step: Annotated[float, typer.Option(help="[°]")] = 0.01,
    mode: Annotated[
        str, typer.Option(help="Form factors: default, or paper (as pymatgen).")
    ] = "default",
    fwhm: Annotated[
        Optional[float], typer.Option(help="One width of all lines [°].")
    ] = None,
    size: Annotated[
        Optional[float], typer.Option(help="Of crystallites [nm]; 60 if no width is.")
    ] = None,
    instrument: Annotated[
        Optional[Path], typer.Option(help="File of `instrument fit`, or of GSAS.")
    ] = None,
    measurement: Annotated[
        Optional[str], typer.Option(help="laboratory, rruff-paper: with its noise.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the measurement.")] = 0,
    scan: Annotated[
        Optional[Path], typer.Option(help="Lay the crystals over this scan.")
    ] = None,
    out: Annotated[
        Optional[list[Path]],
        typer.Option(help="Files to write, by suffix: .xy .json .hkl .png .svg .pdf."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a crystal, nothing else.")
    ] = False,
) -> None:
    """Simulate the patterns of crystals, or lay them over a scan.

    The list of reflections has h k l, d, |F|² and multiplicity.
    """
    import json

    from pxrdbench.prediction.simulation.instrument import Instrument
    from pxrdbench.prediction.simulation.simulate import read_crystals
    from pxrdbench.prediction.simulation.simulate import simulate as simulate_one

    if mode not in {"default", "paper"}:
        raise OptionError(f"--mode {mode}: known are default and paper")
    written = list(out or [])
    crystals = [one for file in files for one in read_crystals(file)]
    tool = None if instrument is None else Instrument.read(instrument)
    if measurement is None:
        refuse_idle(context, ["seed"], "without --measurement")
    if scan is not None:
        refuse_idle(
            context,
            ["first", "last", "step", "mode", "fwhm", "size", "measurement", "seed"],
            "with --scan, which has its own angles and widths",
        )
        _lay_over(scan, crystals, radiation, tool, written, as_json=as_json)
        return
    if tool is not None:
        refuse_idle(context, ["radiation"], "with --instrument, which has its own")
    patterns = [
        simulate_one(
            crystal,
            radiation or "CuKa",
            (first, last),
            step,
            scattering="paper" if mode == "paper" else "default",
            fwhm=fwhm,
            crystallite_size_nm=size,
            instrument=tool,
            measurement=measurement,
            seed=seed,
            name=name,
        )
        for name, crystal in crystals
    ]
    for path in written:
        if path.suffix.lower() in _PICTURES:
            from pxrdbench.prediction.simulation.picture import save_patterns

            save_patterns(patterns, path)
        elif len(patterns) == 1:
            patterns[0].write(path)
        else:
            for number, pattern in enumerate(patterns, 1):
                pattern.write(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    if as_json:
        for pattern in patterns:
            print(json.dumps(pattern.to_dict(), ensure_ascii=False))
        return
    for pattern in patterns:
        _show(pattern.name, pattern.reflections, pattern.radiation.name)
    for path in written:
        many = (
            ""
            if len(patterns) == 1 or path.suffix.lower() in _PICTURES
            else f" as {path.stem}-1{path.suffix} …"
        )
        console.print(f"written: {path}{many}", markup=False)


def _show(name: str, reflections: object, radiation: str) -> None:
    from pxrdbench.prediction.simulation.simulate import Reflections

    if not isinstance(reflections, Reflections):
        raise TypeError(type(reflections).__name__)
    table = make_table(
        f"{name}: {len(reflections)} reflections, {radiation}; the first {_SHOWN}",
        ("h k l", "d [Å]", "2θ [°]", "|F|²", "multiplicity", "intensity"),
    )
    for i in range(min(len(reflections), _SHOWN)):
        table.add_row(
            " ".join(str(v) for v in reflections.hkl[i]),
            f"{reflections.d[i]:.5f}",
            f"{reflections.two_theta[i]:.4f}",
            f"{reflections.f_squared[i]:.2f}",
            str(reflections.multiplicity[i]),
            f"{reflections.intensity[i]:.3f}",
        )
    console.print(table)


def _lay_over(
    scan: Path,
    crystals: "list[tuple[str, Crystal]]",
    radiation: str | None,
    tool: "Instrument | None",
    written: list[Path],
    *,
    as_json: bool,
) -> None:
    """Overlay, its figures, and files."""
    import json

    from pxrdbench.files import write_atomically
    from pxrdbench.prediction.simulation.overlay import overlay

    for path in written:
        if path.suffix.lower() not in {*_PICTURES, ".xy", ".json"}:
            raise OptionError(
                f"--out {path}: an overlay is written as .png, .svg, .pdf, .xy (angle, "
                "scan, calculated, background) or .json"
            )
    pattern = _read_scan(scan, radiation)
    source = pattern.radiation or (tool.radiation if tool else None) or radiation
    if source is None:
        raise SourceError(
            f"{pattern.name}: the file does not tell its radiation; say it, such as "
            "--radiation CuKa"
        )
    found = overlay(
        pattern.two_theta, pattern.intensity, crystals, source, sigma=pattern.sigma,
        instrument=tool,
    )  # fmt: skip
    record = {
        "scan": pattern.name,
        "r_wp": round(found.r_wp, 5),
        "zero": round(found.zero, 5),
        "fwhm_at_40": round(found.fwhm, 5),
        "phases": [
            {"name": name, "scale": float(scale)}
            for name, scale in zip(found.names, found.scale, strict=True)
        ],
    }
    for path in written:
        if path.suffix.lower() in _PICTURES:
            from pxrdbench.prediction.simulation.picture import save_overlay

            save_overlay(found, path, pattern.name)
        elif path.suffix.lower() == ".json":
            write_atomically(path, json.dumps(record, ensure_ascii=False) + "\n")
        else:
            columns = zip(
                found.two_theta, found.observed, found.calculated, found.background,
                strict=True,
            )  # fmt: skip
            rows = [" ".join(f"{v:.6g}" for v in row) for row in columns]
            write_atomically(
                path, "\n".join(["# 2theta scan calculated background", *rows]) + "\n"
            )
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    console.print(
        f"{pattern.name}: R_wp {100 * found.r_wp:.1f} %, zero {found.zero:+.3f}°, fwhm "
        f"{found.fwhm:.3f}° at 40°",
        markup=False,
    )
    for name, scale in zip(found.names, found.scale, strict=True):
        console.print(f"  {name}: scale {scale:.4g}", markup=False)
    for path in written:
        console.print(f"written: {path}", markup=False)


def _read_scan(file: Path, radiation: str | None) -> "MeasuredPattern":
    from pxrdbench.sources.scans.read import read_scan

    return read_scan(file, radiation)[0]


@instrument_app.callback()
def _group() -> None:
    """Measure an instrument with a standard."""


@instrument_app.command("fit")
def fit(
    file: Annotated[Path, typer.Argument(help="Scan of a standard.")],
    standard: Annotated[
        str, typer.Option(help="LaB6, Si, Al2O3, CeO2, or the CIF of another.")
    ] = "LaB6",
    radiation: Annotated[
        Optional[str], typer.Option(help="Of a file that does not tell.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write (.json).")] = Path(
        "instrument.json"
    ),
) -> None:
    """Find widths, zero and displacement of an instrument with a standard."""
    from pxrdbench.prediction.simulation.instrument import fit_instrument
    from pxrdbench.prediction.simulation.simulate import read_crystals

    pattern = _read_scan(file, radiation)
    source = pattern.radiation or radiation
    if source is None:
        raise SourceError(
            f"{pattern.name}: the file does not tell its radiation; say it, such as "
            "--radiation CuKa"
        )
    known = read_crystals(standard)[0][1] if Path(standard).is_file() else standard
    found = fit_instrument(pattern.two_theta, pattern.intensity, source, known)
    found.write(out)
    console.print(
        f"{pattern.name}: {found.lines} lines of {standard}; zero {found.zero:+.4f}°, "
        f"displacement {found.displacement:+.4f}° · cos θ, left "
        f"{found.residual:.4f}°",
        markup=False,
    )
    console.print(
        f"fwhm² = {found.u:.5f} tan²θ {found.v:+.5f} tanθ {found.w:+.5f}; Lorentzian "
        f"{100 * found.lorentz_share:.0f} %",
        markup=False,
    )
    console.print(f"written: {out}", markup=False)
