"""The prototypes of AFLOW: 288 real compounds that pymatgen carries.

They are small, famous structures (rock salt, quartz, perovskite, Laves phases, …), one
or a few for each of 273 AFLOW labels, and come with the package pymatgen (MIT): no
download is needed.

References:
    Mehl et al. (2017), Comput. Mater. Sci. 136, S1 (the library).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pxrdbench.errors import SourceError


@dataclass(frozen=True, eq=False)
class AflowPrototype:
    """One compound of the library.

    Attributes:
        id: AFLOW label and formula, ``AB_cF8_225_a_b:NaCl``; a number follows where
            a label has several structures of one formula.
        structure: A ``pymatgen.core.Structure``, the primitive cell.
        formula: Reduced formula.
        aflow_label: Label as published; its letters depend on the elements' alphabet.
        aflow_space_group: Space group in that label.
        mineral: Mineral or trivial name, "" if there is none.
        strukturbericht: Designation such as "B1", "" if there is none.
    """

    id: str
    structure: Any
    formula: str
    aflow_label: str
    aflow_space_group: int
    mineral: str
    strukturbericht: str


def read_prototypes() -> tuple[AflowPrototype, ...]:
    """Read the library out of the installed pymatgen, ordered by id.

    Raises:
        SourceError: If the installed pymatgen carries no such library.
    """
    try:
        from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
    except ImportError as error:
        raise SourceError(
            f"the installed pymatgen has no AFLOW prototypes: {error}"
        ) from error
    prototypes: dict[str, AflowPrototype] = {}
    seen: Counter[str] = Counter()
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure, tags = entry["snl"].structure, entry["tags"]
        name = f"{tags['aflow']}:{structure.composition.reduced_formula}"
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}:{seen[name]}"
        prototypes[unique] = AflowPrototype(
            id=unique,
            structure=structure,
            formula=structure.composition.reduced_formula,
            aflow_label=tags["aflow"],
            aflow_space_group=int(tags["aflow"].split("_")[2]),
            mineral=_text(tags["mineral"]),
            strukturbericht=_text(tags["strukturbericht"]),
        )
    return tuple(prototypes[name] for name in sorted(prototypes))


def _text(tag: str | None) -> str:
    """Read a tag; the library writes absence in three ways."""
    return "" if tag in (None, "None", "") else str(tag)
