"""``pxrdbench prior``: fit, look at, compare and change what the generator knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pxrdbench.cli.display import console, live_line, make_table
from pxrdbench.cli.options import refuse_idle
from pxrdbench.errors import OptionError

if TYPE_CHECKING:
    from pxrdbench.crystal.prior.prior import Prior
    from pxrdbench.crystal.report.report import PriorComparison
    from pxrdbench.tracks.crystals import SourceCrystals

prior_app = typer.Typer(help="What the generator knows of real crystals.")

PriorArgument = Annotated[str, typer.Argument(help="Name of a prior, or path (.npz).")]
OutOption = Annotated[Path, typer.Option("--out", help="File to write (.npz).")]
NameOption = Annotated[
    Optional[str], typer.Option("--name", help="Name inside the file; else the file's.")
]
TABLE = "mp_structures.parquet, or the folder that holds it"
WorkersOption = Annotated[Optional[int], typer.Option("--workers", min=1)]


@prior_app.command("fit")
def fit(
    context: typer.Context,
    out: OutOption,
    structures: Annotated[
        Optional[Path],
        typer.Argument(
            help="What `pxrdbench import` wrote; with --cif CIFs; "
            f"{TABLE}; not needed for a track, which carries its crystals."
        ),
    ] = None,
    track: Annotated[
        Optional[str],
        typer.Option(
            help="Name or folder; only its `statistics` part is seen. Of an import "
            "everything is, if left away; else it is open/structure-type."
        ),
    ] = None,
    name: NameOption = None,
    cif: Annotated[
        bool, typer.Option("--cif", help="Fit on CIFs, all of them.")
    ] = False,
    min_crystals: Annotated[
        int, typer.Option(min=1, help="Leave out thinner space groups.")
    ] = 20,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Thin groups borrow from their relatives.")
    ] = False,
    groups: Annotated[
        Optional[int],
        typer.Option(min=1, max=230, help="With --smooth: so many, by ICSD entries."),
    ] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="With --smooth: groups that were seen.")
    ] = False,
    minerals: Annotated[
        bool,
        typer.Option("--minerals", help="Of an import: named ones, each weighs one."),
    ] = False,
    per_element: Annotated[
        bool, typer.Option("--per-element", help="Positions given the element, too.")
    ] = False,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="The crystals are licensed (ICSD).")
    ] = False,
    icsd_counts: Annotated[
        Optional[Path],
        typer.Option(help="CSV of ICSD entries a group; else those of open-v0."),
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Fit a prior on the statistics part of a track, on an import, or on CIFs.

    Without anything else it is that of open/structure-type.
    """
    from pxrdbench.crystal.prior.prior import (
        find_equal_prior,
        fit_prior,
        load_prior,
    )
    from pxrdbench.crystal.prior.smoothing import cover_frequent_groups, smooth_prior
    from pxrdbench.sources.databases.space_group_counts import (
        ICSD_SOURCE,
        read_icsd_counts,
    )
    from pxrdbench.sources.structures.load import is_import
    from pxrdbench.tracks.load import split_digest

    if smooth:
        refuse_idle(
            context, ["min_crystals"], "with --smooth: thin groups borrow, none goes"
        )
    else:
        refuse_idle(context, ["groups", "seen"], "without --smooth")
    if groups is not None:
        refuse_idle(context, ["seen"], "with --groups, which says how many")
    if structures is None:
        refuse_idle(context, ["cif", "workers"], "on the crystals of a track")
    if track is not None or structures is None or not is_import(structures):
        refuse_idle(
            context, ["minerals"], "on other than a whole import, which names minerals"
        )
    if cif:
        refuse_idle(context, ["track"], "with --cif: all of the CIFs are taken")
    if structures is not None and is_import(structures):
        refuse_idle(context, ["cif"], "on an import, whose CIFs were read already")
        refuse_idle(
            context, ["workers"], "on an import, whose crystals were read already"
        )
    if track is None and (
        structures is None or (not cif and not is_import(structures))
    ):
        track = "open/structure-type"
    if track is not None:
        read = _read_part(structures, track, workers)
    elif structures is not None:
        read = _read_everything(structures, workers, minerals)
    prior, report = fit_prior(
        read.crystals,
        name=name or out.stem,
        min_crystals=1 if smooth else min_crystals,
        split_digest="" if track is None else split_digest(track),
        source=f"{read.source}; {ICSD_SOURCE}",
        restricted=restricted or read.restricted,
        frequencies_icsd=(
            load_prior("open-v0").icsd_crystals
            if icsd_counts is None
            else read_icsd_counts(icsd_counts)
        ),
        wyckoff_per_element=per_element,
    )
    if smooth and groups is not None:
        prior = cover_frequent_groups(prior, groups, name=prior.name)
    elif smooth:
        chosen = prior.space_groups if seen else range(1, 231)
        prior = smooth_prior(prior, chosen, name=prior.name)
    equal = find_equal_prior(prior)
    if equal is not None:
        if equal.digest != prior.digest:
            console.print(f"but for roundings of this processor it is {equal.name}")
        prior = equal
    prior.save(out)
    for reason, count in report.left_out.items():
        if count:
            console.print(f"left out: {count:,} — {reason}")
    if report.unrepresented:
        console.print(
            f"left out: {sum(report.unrepresented.values()):,} — of "
            f"{len(report.unrepresented)} space groups with fewer than {min_crystals}"
        )
    console.print(f"fitted on {report.n_fitted:,} of {len(read.crystals):,} crystals")
    _say_written(prior, out)


@prior_app.command("show")
def show(
    context: typer.Context,
    prior: PriorArgument = "open-v0",
    figures: Annotated[
        Optional[Path], typer.Option(help="Folder for figures: real and generated.")
    ] = None,
    structures: Annotated[
        Optional[Path], typer.Option(help=f"Real crystals for them: {TABLE}.")
    ] = None,
    track: Annotated[str, typer.Option(help="Its `statistics` part is drawn.")] = (
        "open/structure-type"
    ),
    workers: WorkersOption = None,
) -> None:
    """Print what a prior was fitted on and which groups it draws; draw figures."""
    from pxrdbench.crystal.prior.prior import load_prior
    from pxrdbench.crystal.symmetry.tables import crystal_system, space_group_symbol

    if figures is None:
        refuse_idle(context, ["structures"], "without --figures")
    if structures is None:
        refuse_idle(context, ["track", "workers"], "without --structures")
    loaded = load_prior(prior)
    console.print(f"[bold]{loaded.name}[/]  digest {loaded.digest}")
    console.print(f"fitted on: {loaded.source or 'unknown'}")
    console.print(f"split: {loaded.split_digest or 'none'}")
    console.print(f"restricted: {'yes' if loaded.restricted else 'no'}")
    if figures is not None:
        from pxrdbench.crystal.report.figures import draw_prior_figures

        real = None
        if structures is not None:
            real = _read_part(structures, track, workers).crystals
        for file in draw_prior_figures(loaded, real, figures):
            console.print(f"figure: {file}")
        return
    table = make_table(
        f"{len(loaded.space_groups)} space groups", ("symbol", "number", "%", "system")
    )
    shares = loaded.space_group_probability
    for group, share in zip(loaded.space_groups, shares, strict=True):
        table.add_row(
            space_group_symbol(group),
            str(group),
            f"{100 * share:.2f}",
            crystal_system(group),
        )
    console.print(table)


@prior_app.command("compare")
def compare(
    context: typer.Context,
    first: PriorArgument,
    second: Annotated[
        Optional[str], typer.Argument(help="Another prior; else real crystals.")
    ] = None,
    structures: Annotated[
        Optional[Path], typer.Option(help=f"Real crystals: {TABLE}.")
    ] = None,
    track: Annotated[str, typer.Option(help="Its `statistics` part is compared.")] = (
        "open/structure-type"
    ),
    count: Annotated[int, typer.Option(min=100, help="Crystals to draw.")] = 20_000,
    workers: WorkersOption = None,
) -> None:
    """Say how far two priors, or a prior and real crystals, are apart."""
    from pxrdbench.crystal.prior.prior import load_prior
    from pxrdbench.crystal.report.report import compare_priors, compare_to_crystals

    if (second is None) == (structures is None):
        raise OptionError("give either a second prior or --structures")
    if structures is None:
        refuse_idle(context, ["track", "workers"], "without --structures")
    if second is not None:
        result = compare_priors(load_prior(first), load_prior(second), count=count)
        _print_comparison(result, first, second)
        return
    if structures is not None:
        real = _read_part(structures, track, workers).crystals
        result = compare_to_crystals(load_prior(first), real, count=count)
        _print_comparison(result, f"{track} statistics", first)


@prior_app.command("merge")
def merge(
    first: PriorArgument, second: PriorArgument, out: OutOption, name: NameOption = None
) -> None:
    """Add up what two priors know."""
    from pxrdbench.crystal.prior.edit import merge_priors
    from pxrdbench.crystal.prior.prior import load_prior

    merged = merge_priors(load_prior(first), load_prior(second), name=name or out.stem)
    merged.save(out)
    _say_written(merged, out)


@prior_app.command("restrict")
def restrict(
    prior: PriorArgument,
    out: OutOption,
    min_crystals: Annotated[int, typer.Option(min=1, help="Thinner groups go.")],
    name: NameOption = None,
) -> None:
    """Keep the space groups that enough crystals were seen of."""
    from pxrdbench.crystal.prior.edit import restrict_prior
    from pxrdbench.crystal.prior.prior import load_prior

    kept = restrict_prior(
        load_prior(prior), min_crystals=min_crystals, name=name or out.stem
    )
    kept.save(out)
    _say_written(kept, out)


@prior_app.command("export")
def export(
    prior: PriorArgument,
    out: OutOption,
    fewest: Annotated[int, typer.Option(min=2, help="Crystals in a bin.")] = 10,
    release: Annotated[
        bool,
        typer.Option("--release", help="Lift `restricted`: the owner's decision."),
    ] = False,
    name: NameOption = None,
) -> None:
    """Write a binned copy from which no single volume or cell can be read back."""
    from pxrdbench.crystal.prior.edit import bin_prior
    from pxrdbench.crystal.prior.prior import load_prior

    binned = bin_prior(
        load_prior(prior),
        name=name or out.stem,
        fewest=fewest,
        restricted=False if release else None,
    )
    binned.save(out)
    _say_written(binned, out)


@prior_app.command("check")
def check(
    prior: PriorArgument = "open-v0",
    samples: Annotated[int, typer.Option(min=1, help="Crystals for spglib.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw crystals of all groups alike and let spglib name their space groups."""
    from pxrdbench.crystal.generator.check import check_labels
    from pxrdbench.crystal.prior.prior import load_prior

    loaded = load_prior(prior).with_frequencies("uniform")
    with live_line("check") as line:
        result = check_labels(
            loaded,
            seed,
            0,
            samples,
            progress=lambda done, total: line(f"{done:,} of {total:,}", done / total),
        )
    checked = int(result.n_checked.sum())
    console.print(
        f"spglib (symprec 1e-4) agrees for {checked - len(result.wrong):,} of "
        f"{checked:,} crystals; it found no group for {int(result.n_given_up.sum())}"
    )
    for wrong in result.wrong:
        cell = ", in a smaller cell" if wrong.has_smaller_cell else ""
        console.print(
            f"sample {wrong.index}: drawn in {wrong.space_group}, found "
            f"{wrong.found}{cell}"
        )


def _read_everything(
    structures: Path, workers: int | None, minerals: bool = False
) -> "SourceCrystals":
    """Read all crystals of an import, or of CIFs; say what could not be read."""
    from pxrdbench.errors import SourceError
    from pxrdbench.sources.cif.files import find_licensed, read_cifs
    from pxrdbench.sources.structures.load import is_import
    from pxrdbench.tracks.crystals import SourceCrystals, read_import

    if is_import(structures):
        return _said(read_import(structures, minerals))
    with live_line("read") as line:
        crystals, ids, report = read_cifs(
            structures,
            workers=workers,
            progress=lambda done, total: line(
                f"{done:,} of {total:,}", done / max(total, 1)
            ),
        )
    if not report.n_files:
        raise SourceError(
            f"{structures} holds no .cif file; archives inside a folder are not "
            "opened, name the archive itself"
        )
    name = find_licensed(structures)
    if name:
        console.print(f"{name} is of the ICSD")
    return _said(
        SourceCrystals(
            crystals,
            tuple(ids),
            bool(name),
            f"CIFs of {structures.name}",
            not_read=report.reasons,
        )
    )


def _read_part(
    structures: Path | None, track: str, workers: int | None
) -> "SourceCrystals":
    """Read the statistics part of a track; say what could not be read."""
    from pxrdbench.tracks.crystals import read_part_crystals

    with live_line("read") as line:
        return _said(
            read_part_crystals(
                track,
                "statistics",
                structures,
                workers=workers,
                progress=lambda done, total: line(
                    f"{done:,} of {total:,}", done / max(total, 1)
                ),
            )
        )


def _said(read: "SourceCrystals") -> "SourceCrystals":
    for reason, count in read.not_read.items():
        console.print(f"not read: {count:,} — {reason}")
    if read.restricted:
        console.print("the crystals are licensed: the prior is [bold]restricted[/]")
    return read


def _say_written(prior: "Prior", out: Path) -> None:
    console.print(
        f"prior [bold]{prior.name}[/]: {len(prior.space_groups)} space groups, digest "
        f"{prior.digest[:12]} → {out}"
    )


def _print_comparison(result: "PriorComparison", first: str, second: str) -> None:
    table = make_table(
        f"{first} ({result.n_first:,} crystals) and {second} ({result.n_second:,})",
        ("", "distance", "by chance", "median, first", "median, second"),
    )
    table.add_row(
        "space groups (total variation)",
        f"{result.space_group_distance:.4f}",
        f"{result.space_group_noise:.4f}",
        "",
        "",
    )
    for name, distance in result.descriptors.items():
        table.add_row(
            f"{name.replace('_', ' ')} (Kolmogorov-Smirnov)",
            f"{distance.kolmogorov_smirnov:.4f}",
            f"< {distance.noise:.4f}",
            f"{distance.median_first:,.4g}",
            f"{distance.median_second:,.4g}",
        )
    console.print(table)
    if result.n_outside:
        console.print(
            f"{result.n_outside:,} of the real crystals are outside the prior: their "
            "group, size or elements are not in it"
        )
