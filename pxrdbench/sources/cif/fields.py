"""What a data block says of its crystal besides the atoms."""

import re
from dataclasses import dataclass
from typing import Any

from pxrdbench.sources.labels.type_names import canonical_structure_type

# Both layouts of the ICSD, and the names that other databases use.
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_SYMBOL_TAGS = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M",
)
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_YEAR_TAGS = ("_journal_year", "_citation_year", "_citation.year")
_CODE_TAGS = {
    "ICSD": ("_database_code_ICSD",),
    "COD": ("_cod_database_code", "_database_code_COD"),
    "AMCSD": ("_database_code_amcsd", "_database_code_AMCSD"),
}


@dataclass(frozen=True)
class CifFields:
    """What a block says of itself; empty where it does not.

    Attributes:
        space_group: Number that it gives, or that its symbol stands for; else 0.
        structure_type: Name of the type, in the canonical spelling.
        formula: Chemical formula, as written.
        year: Of the publication; 0 if unknown.
        codes: Database and code of the entry in it.
    """

    space_group: int = 0
    structure_type: str = ""
    formula: str = ""
    year: int = 0
    codes: tuple[tuple[str, str], ...] = ()

    @property
    def is_licensed(self) -> bool:
        """Whether the entry is one of the ICSD, which is licensed."""
        held = dict(self.codes)
        # Open databases quote the code of the ICSD's entry now and then.
        return "ICSD" in held and not ({"COD", "AMCSD"} & set(held))


def read_fields(block: Any, name: str = "") -> CifFields:
    """Read what a block says of itself.

    Args:
        block: A ``gemmi.cif.Block``, or None.
        name: Of the data block; the ICSD's say what they are.
    """
    codes = {}
    of_name = re.fullmatch(r"(\d+)-ICSD", name, re.IGNORECASE)
    if of_name:
        codes["ICSD"] = of_name[1]
    if block is None:
        return CifFields(codes=tuple(codes.items()))
    for database, tags in _CODE_TAGS.items():
        code = _first(block, tags)
        if code:
            codes[database] = code
    year = re.search(r"\b(1[89]\d\d|20\d\d)\b", _first(block, _YEAR_TAGS))
    return CifFields(
        space_group=_space_group(block),
        structure_type=canonical_structure_type(
            _first(block, ("_chemical_name_structure_type",))
        ),
        formula=" ".join(_first(block, ("_chemical_formula_sum",)).split()),
        year=int(year[1]) if year else 0,
        codes=tuple(codes.items()),
    )


def find_symbol_group(symbol: str) -> int:
    """Find the number of a Hermann-Mauguin symbol, 0 if it is not understood.

    The ICSD appends the choice of origin or axes: Z, S, H, R.

    Example:
        >>> find_symbol_group("F d -3 m Z"), find_symbol_group("R -3 c H")
        (227, 167)
        >>> find_symbol_group("P 21/c"), find_symbol_group("nonsense")
        (14, 0)
    """
    import gemmi

    plain = re.sub(r"\s+[ZSHR]$|:[12HR]$", "", symbol.replace("_", "").strip())
    found = gemmi.find_spacegroup_by_name(plain) if plain else None
    return int(found.number) if found else 0


def _space_group(block: Any) -> int:
    import gemmi

    number = _first(block, _NUMBER_TAGS)
    if number.isdigit() and 1 <= int(number) <= 230:
        return int(number)
    for tag in _SYMBOL_TAGS:
        found = find_symbol_group(_first(block, (tag,)))
        if found:
            return found
    hall = _first(block, _HALL_TAGS)
    try:
        of_hall = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
    except (RuntimeError, ValueError):
        return 0
    return int(of_hall.number) if hall and of_hall is not None else 0


def _first(block: Any, tags: tuple[str, ...]) -> str:
    """First value of the first of these tags that has one."""
    import gemmi

    for tag in tags:
        for value in block.find_values(tag):
            text = gemmi.cif.as_string(value).strip()
            if text not in ("", "?", "."):
                return str(text)
    return ""
