"""Options that several verbs share, written once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from pxrdbench.dataset.recipes.recipe import Recipe


class Preset(StrEnum):
    """What a crystallographer calls right, or the reference work bug for bug."""

    default = "default"
    paper = "paper"


class Frequencies(StrEnum):
    """How often each space group is drawn."""

    fitted = "fitted"
    icsd = "icsd"
    uniform = "uniform"


# Options that several verbs share are written once.
PriorOption = Annotated[
    str, typer.Option("--prior", help="Name of a prior, or path of one (.npz).")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Key of all draws.")]
PresetOption = Annotated[
    Preset, typer.Option("--preset", help="Physics and generator together.")
]
FrequenciesOption = Annotated[
    Frequencies,
    typer.Option("--frequencies", help="Space groups: as fitted, as the ICSD, equal."),
]
RadiationOption = Annotated[
    str, typer.Option("--radiation", help="CuKa1, CuKa, …, or a wavelength [Å].")
]
MeasurementOption = Annotated[
    Optional[str],
    typer.Option(
        "--measurement", help="Add what an instrument does: rruff-paper, laboratory."
    ),
]
MaxVolumeOption = Annotated[
    Optional[float], typer.Option("--max-volume", help="Largest cell [Å³].")
]
CoordinatesOption = Annotated[
    Optional[str],
    typer.Option("--coordinates", help="uniform, or distant: atoms kept apart."),
]
TypeOption = Annotated[
    Optional[str],
    typer.Option("--structure-type", help="This type only, as '221 0:a 1:b O:c'."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]


def make_recipe(
    prior: str,
    seed: int,
    preset: Preset,
    frequencies: Frequencies,
    radiation: str,
    **choices: Any,
) -> "Recipe":
    """Make the recipe that options describe."""
    from pxrdbench.dataset.recipes.recipe import Recipe

    try:
        lines: str | float = float(radiation)
    except ValueError:
        lines = radiation
    return Recipe(
        prior=prior,
        seed=seed,
        preset=preset.value,
        space_group_frequencies=frequencies.value,
        radiation=lines,
        **choices,
    )
