"""Verbs that look closer at models: compare, robustness, randomise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pxrdbench.cli.display import (
    console,
    live_line,
    make_table,
    p_value_text,
    print_json,
)
from pxrdbench.cli.options import JsonOption

if TYPE_CHECKING:
    from pxrdbench.benchmark.scoring.intervals import Estimate

_METRICS = {
    "top_1": "top-1",
    "top_5": "top-5",
    "top_10": "top-10",
    "macro_accuracy": "mean over space groups",
    "type_balanced_accuracy": "mean over structure types",
    "reweighted_top_1": "top-1, statistics part's frequencies",
    "crystal_system_accuracy": "crystal system",
}

ModelArgument = Annotated[
    str, typer.Argument(help="As for eval: file, name or module:factory.")
]
WeightsOption = Annotated[
    Optional[Path], typer.Option(help="For a name or module:factory.")
]
TrackOption = Annotated[str, typer.Option(help="Whose crystals.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command()(compare)
    app.command()(robustness)
    app.command()(randomise)


def compare(
    first: Annotated[
        Path, typer.Argument(help="predictions.h5, or a folder of them: one a seed.")
    ],
    second: Annotated[Path, typer.Argument(help="The other arm.")],
    track: Annotated[
        Optional[str], typer.Option(help="Where the folders hold several.")
    ] = None,
    paired_seeds: Annotated[
        bool, typer.Option("--paired-seeds", help="Model i of both shares its seed.")
    ] = False,
    out: Annotated[
        Optional[Path], typer.Option(help="Keep the numbers (JSON).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two models, or two sets of training seeds, on the same crystals."""
    import json

    from pxrdbench.studies.comparison import compare as run

    result = run(first, second, track, seeds_are_paired=paired_seeds)
    if as_json:
        print_json(result.to_dict())
    sizes = [len(names) for names in result.models]
    labels = [f"{names[0]} ({len(names)})" for names in result.models]
    table = make_table(
        f"A {labels[0]} and B {labels[1]} on {result.track['name']} "
        f"{result.track['part']}",
        ("%", "A", "B", "A − B", "95 % interval", "p, these models"),
    )
    for name, found in result.metrics.items():
        table.add_row(
            _METRICS.get(name, name),
            f"{100 * found.first.value:.1f}",
            f"{100 * found.second.value:.1f}",
            f"{100 * found.difference.value:+.1f}{' *' * found.is_significant}",
            _interval(found.difference, signed=True),
            "" if found.p_value is None else f"{found.p_value:.4f}",
        )
    console.print(table)
    console.print("* the interval leaves out zero")
    if result.mcnemar_p is not None:
        console.print(f"top-1, exact McNemar: {p_value_text(result.mcnemar_p)}")
    if min(sizes) == 1:
        console.print(
            "One seed in an arm: the interval does not know how far another seed "
            "would have come out."
        )
    if out is not None:
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False)
        out.write_text(text + "\n", encoding="utf-8")
        console.print(f"written: {out}")


def robustness(
    model: ModelArgument,
    track: TrackOption = "open/structure-type",
    part: Annotated[str, typer.Option(help="Part of the track.")] = "test",
    crystals: Annotated[int, typer.Option(min=2, help="How many to use.")] = 500,
    effect: Annotated[
        Optional[list[str]], typer.Option(help="Only these; may be repeated.")
    ] = None,
    structures: Annotated[
        Optional[Path],
        typer.Option(
            help="The track's crystals, for texture, thermal motion, strain, where it "
            "carries none: Materials Project table or folder, or an import."
        ),
    ] = None,
    weights: WeightsOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the effects.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("robustness"),
) -> None:
    """Measure accuracy under each effect of a measurement at rising strength."""
    from pxrdbench.studies.crystals import load_real_crystals
    from pxrdbench.studies.robustness import measure_robustness
    from pxrdbench.studies.robustness_page import write_robustness_page
    from pxrdbench.tracks.load import holds_crystals, load_track

    loaded = load_track(track, part)
    with live_line("robustness") as line:
        given = None
        if structures is not None or holds_crystals(track):
            read = load_real_crystals(
                structures, loaded, crystals, on_progress=_teller(line, "crystals read")
            )
            given = read.crystals, read.ids
        result = measure_robustness(
            model,
            loaded,
            weights=weights,
            count=crystals,
            effects=effect,
            crystals=given,
            seed=seed,
            on_progress=_teller(line, "patterns"),
        )
    result.write(out / "robustness.json")
    write_robustness_page(result, out / "robustness.html")
    table = make_table(
        f"{result.model['name']} on {result.crystals:,} crystals of {track} {part}: "
        f"top-1 {100 * result.top_1.value:.1f} %",
        ("effect", "strength", "top-1 %", "loss", "95 % interval"),
    )
    for curve in result.curves:
        for level in curve.levels:
            table.add_row(
                curve.title,
                f"{level.level:,g} {curve.unit}",
                f"{100 * level.top_1.value:.1f}",
                f"{100 * level.loss.value:+.1f}",
                _interval(level.loss, signed=True),
            )
        table.add_section()
    console.print(table)
    console.print(f"page: {out / 'robustness.html'}")


def randomise(
    model: ModelArgument,
    structures: Annotated[
        Optional[Path],
        typer.Option(
            help="The crystals, where the track carries none: Materials Project table "
            "or folder, or an import."
        ),
    ] = None,
    track: TrackOption = "open/structure-type",
    part: Annotated[str, typer.Option(help="Part of the track.")] = "test",
    crystals: Annotated[int, typer.Option(min=2, help="How many to use.")] = 1000,
    prior: Annotated[
        str, typer.Option(help="Whose volumes and shapes; name or path.")
    ] = "open-v0",
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each crystal.")] = 1,
    weights: WeightsOption = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(
        "randomisation"
    ),
) -> None:
    """Evaluate on real crystals with coordinates, cells or both drawn anew."""
    from pxrdbench.studies.crystals import load_real_crystals
    from pxrdbench.studies.randomisation import study_randomisation
    from pxrdbench.tracks.load import load_track

    with live_line("randomise") as line:
        read = load_real_crystals(
            structures,
            load_track(track, part),
            crystals,
            on_progress=_teller(line, "crystals read"),
        )
        result = study_randomisation(
            model,
            read,
            prior,
            weights=weights,
            seeds=tuple(range(seeds)),
            on_progress=_teller(line, "patterns"),
        )
    result.write(out / "randomisation.json")
    table = make_table(
        f"{result.model['name']} on {result.crystals:,} crystals of {track} {part}",
        ("drawn anew", "top-1 %", "top-5 %", "gain", "95 % interval"),
    )
    for name, variant in result.variants.items():
        table.add_row(
            "nothing" if name == "as they are" else name,
            f"{100 * variant.top_1.value:.1f}",
            f"{100 * variant.top_5.value:.1f}",
            f"{100 * variant.gain.value:+.1f}",
            _interval(variant.gain, signed=True),
        )
    console.print(table)
    for reason, number in result.left_out.items():
        console.print(f"left out: {number:,} crystals, {reason}")
    console.print(f"numbers: {out / 'randomisation.json'}")


def _teller(line: Any, what: str) -> Any:
    def tell(done: int, total: int) -> None:
        line(f"{done:,} of {total:,} {what}", done / max(total, 1))

    return tell


def _interval(estimate: "Estimate", *, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    return f"{100 * estimate.low:{form}} to {100 * estimate.high:{form}}"
