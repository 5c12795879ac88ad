"""What a data block says of its crystal besides the atoms."""

import re
from dataclasses import dataclass

from pxrdbench.crystal.cif_reader.text import CifTags
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
        mineral: Name of the mineral.
        codes: Database and code of the entry in it.
    """

    space_group: int = 0
    structure_type: str = ""
    formula: str = ""
    year: int = 0
    mineral: str = ""
    codes: tuple[tuple[str, str], ...] = ()

    @property
    def is_licensed(self) -> bool:
        """Whether the entry is one of the ICSD, which is licensed."""
        held = dict(self.codes)
        # Open databases quote the code of the ICSD's entry now and then.
        return "ICSD" in held and not ({"COD", "AMCSD"} & set(held))


# A licence mark counts whatever else is broken in the block: it is looked for in the
# raw text.
_CODE = re.compile(
    r"(?im)^\s*(_database_code_ICSD|_cod_database_code|_database_code_COD|"
    r"_database_code_amcsd)\s+['\"]?(\w+)"
)
_NAME = re.compile(r"(?im)^\s*data_(\d+)-ICSD\b")


def find_codes(text: str, name: str = "") -> tuple[tuple[str, str], ...]:
    """Databases that a block says it is from, and its codes, from the raw text."""
    codes = {}
    of_name = re.fullmatch(r"(\d+)-ICSD", name, re.IGNORECASE) or _NAME.search(text)
    if of_name:
        codes["ICSD"] = of_name[1]
    by_tag = {tag.lower(): base for base, tags in _CODE_TAGS.items() for tag in tags}
    for tag, code in _CODE.findall(text):
        codes.setdefault(by_tag[tag.lower()], code)
    return tuple(codes.items())


def read_fields(tags: CifTags, text: str = "", name: str = "") -> CifFields:
    """Read what a block says of itself.

    Args:
        tags: Of the block; none if it could not be parsed.
        text: Of the block, as it is: licence marks count whatever is broken.
        name: Of the data block; the ICSD's say what they are.
    """
    codes = dict(find_codes(text, name))
    for database, names in _CODE_TAGS.items():
        code = tags.first(*(tag.lower() for tag in names))
        if code:
            codes[database] = code
    year = re.search(
        r"\b(1[89]\d\d|20\d\d)\b", tags.first(*(tag.lower() for tag in _YEAR_TAGS))
    )
    return CifFields(
        space_group=_space_group(tags),
        structure_type=canonical_structure_type(
            tags.first("_chemical_name_structure_type")
        ),
        formula=" ".join(tags.first("_chemical_formula_sum").split()),
        year=int(year[1]) if year else 0,
        mineral=" ".join(tags.first("_chemical_name_mineral").split()),
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


def _space_group(tags: CifTags) -> int:
    import gemmi

    number = tags.first(*(tag.lower() for tag in _NUMBER_TAGS))
    if number.isdigit() and 1 <= int(number) <= 230:
        return int(number)
    for tag in _SYMBOL_TAGS:
        found = find_symbol_group(tags.first(tag.lower()))
        if found:
            return found
    hall = tags.first(*(tag.lower() for tag in _HALL_TAGS))
    try:
        of_hall = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
    except (RuntimeError, ValueError):
        return 0
    return int(of_hall.number) if hall and of_hall is not None else 0
