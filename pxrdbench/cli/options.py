"""Options that several verbs share, written once."""

from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pxrdbench.cli.display import console, set_voice
from pxrdbench.errors import OptionError, PatternError

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
# What is known of a sample before its scan is read.
CellOption = Annotated[
    Optional[str],
    typer.Option(
        "--cell",
        help="Known or nearly: 'a b c alpha beta gamma'; no search then.",
    ),
]
BravaisLatticeOption = Annotated[
    Optional[str],
    typer.Option(
        "--bravais-lattice", help="Of --cell: cF, mP, …; else all are weighed."
    ),
]
MostVolumeOption = Annotated[
    Optional[float],
    typer.Option("--max-volume", help="Largest primitive cell [Å³]."),
]
CrystalSystemOption = Annotated[
    Optional[str],
    typer.Option("--crystal-system", help="Where it is known: triclinic … cubic."),
]


def parse_cell(text: str) -> list[float]:
    """Six numbers of ``--cell``.

    Raises:
        PatternError: If they are none.
    """
    words = text.replace(",", " ").split()
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise PatternError(
            f"--cell {text!r}: six numbers are needed, a b c [Å] and alpha beta gamma "
            "[degrees]"
        ) from error


def known_parent(context: typer.Context, parameter: Any, out: Any) -> Any:
    """Refuse a typed place to write to that is two folders from any that is there.

    One folder is made (``--out imports/icsd``); more is a slip of the pen.

    Raises:
        OptionError: If neither the folder of it nor the one above exists.
    """
    name = parameter.name or ""
    if out is None or "://" in str(out) or not _is_given(context, name):
        return out
    parent = Path(out).absolute().parent
    if not parent.exists() and not parent.parent.exists():
        raise OptionError(
            f"{parameter.opts[0]} {out}: neither {parent} nor {parent.parent} is "
            "there; make the folder first if the path is meant"
        )
    return out


OutOption = Annotated[
    Path, typer.Option("--out", help="Folder to write to.", callback=known_parent)
]


def _speak_to_scripts(as_json: bool) -> bool:
    if as_json:
        set_voice(quiet=console.quiet, for_scripts=True)
    return as_json


JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One line of JSON; words for people go to standard error.",
        callback=_speak_to_scripts,
    ),
]


def given(context: typer.Context) -> dict[str, Any]:
    """Options and arguments that were typed, by the names of the verb's parameters."""
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in context.params.items()
        if _is_given(context, name)
    }


def all_options(context: typer.Context) -> dict[str, Any]:
    """Options and arguments, typed or not, by the names of the verb's parameters."""
    return dict(context.params)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def refuse_idle(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that were typed and cannot act.

    Args:
        context: Of the verb.
        names: Parameters of the verb that cannot act now.
        why: The end of the sentence, as ``without --smooth``.

    Raises:
        OptionError: If one of them was typed.
    """
    flags = {
        parameter.name: parameter.opts[0] if parameter.opts else parameter.name
        for parameter in context.command.params
    }
    typed = [str(flags[name]) for name in names if _is_given(context, name)]
    if typed:
        raise OptionError(f"{', '.join(typed)} cannot act {why}")


def make_recipe(**options: Any) -> "Recipe":
    """Make the recipe that options describe, those that were typed."""
    from pxrdbench.dataset.recipes.recipe import Recipe

    radiation = options.pop("radiation", "CuKa1")
    with suppress(ValueError):  # a name is no number
        radiation = float(radiation)
    return Recipe(
        space_group_frequencies=options.pop("frequencies", "fitted"),
        radiation=radiation,
        **options,
    )
