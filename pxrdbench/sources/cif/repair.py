"""What is set right in a data block before the readers see it, and what is noted.

Databases write what readers of CIF stumble over. Nothing is invented here: a hydrogen
that has no coordinates is left out (and named), a fraction is a number, a symbol of a
space group has no underscores. Everything else is left to the readers.
"""

import re
from dataclasses import dataclass
from typing import Any

_FRACT = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_HM_TAGS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_space_group_name_H-M",
)
_UNKNOWN = ("?", ".")


@dataclass(frozen=True)
class Repaired:
    """A data block that readers understand.

    Attributes:
        text: The block.
        n_rows: Rows of its atom table that have a place; 0 if it was not understood.
        left_out: Labels of hydrogens and dummies that have none; ``O1+2H`` stands for
            two hydrogens that the block attaches to O1 without listing them.
        block: The ``gemmi.cif.Block``, None where gemmi cannot parse the text.
    """

    text: str
    n_rows: int
    left_out: tuple[str, ...]
    block: Any


def repair_block(text: str) -> Repaired:
    """Set right what can be, and say what was left out.

    Args:
        text: Of one data block.
    """
    import gemmi

    # Tags have no case, but pymatgen's have.
    text = re.sub(
        r"(?im)^(\s*)(_atom_site_fract_[xyz])\b", lambda m: m[1] + m[2].lower(), text
    )
    try:
        block = gemmi.cif.read_string(text).sole_block()
    except (ValueError, RuntimeError):
        return Repaired(text, 0, (), None)
    is_changed = _strip_underscores(block)
    column = block.find_loop(_FRACT[0])
    if not len(column):
        return Repaired(block.as_string() if is_changed else text, 0, (), block)
    loop = column.get_loop()
    tags = [tag.lower() for tag in loop.tags]
    rows = [
        [loop[row, column] for column in range(loop.width())]
        for row in range(loop.length())
    ]
    kept, left_out, is_edited = _edit_rows(rows, tags)
    if is_edited and kept:
        loop.set_all_values([list(column) for column in zip(*kept, strict=True)])
        is_changed = True
    left_out += _attached(kept, tags)
    return Repaired(
        block.as_string() if is_changed else text, len(kept), tuple(left_out), block
    )


def _strip_underscores(block: Any) -> bool:
    """Write P2_1/n as P21/n."""
    import gemmi

    is_changed = False
    for tag in _HM_TAGS:
        value = block.find_value(tag)
        if value and "_" in value:
            plain = gemmi.cif.as_string(value).replace("_", "")
            block.set_pair(tag, gemmi.cif.quote(plain))
            is_changed = True
    return is_changed


def _edit_rows(
    rows: list[list[str]], tags: list[str]
) -> tuple[list[list[str]], list[str], bool]:
    """Rows that have a place, with numbers for fractions; labels of the others."""
    places = [tags.index(tag) for tag in _FRACT if tag in tags]
    flag = _index(tags, "_atom_site_calc_flag")
    occupancy = _index(tags, "_atom_site_occupancy")
    kept, left_out, is_edited = [], [], False
    for row in rows:
        values = [row[place] for place in places]
        is_dummy = flag >= 0 and row[flag].lower() == "dum"
        if is_dummy or (
            any(value in _UNKNOWN for value in values) and _is_hydrogen(row, tags)
        ):
            left_out.append(_label(row, tags))
            is_edited = True
            continue
        for place in places:
            fraction = re.fullmatch(r"'?([-+]?\d+)/(\d+)'?", row[place])
            if fraction and int(fraction[2]):
                row[place] = f"{int(fraction[1]) / int(fraction[2]):.10f}"
                is_edited = True
        # The dictionary's default; a question mark stops pymatgen.
        if occupancy >= 0 and row[occupancy] in _UNKNOWN:
            row[occupancy] = "1"
            is_edited = True
        kept.append(row)
    return kept, left_out, is_edited


def _attached(rows: list[list[str]], tags: list[str]) -> list[str]:
    """Atoms that hydrogens are attached to, where none of these is listed."""
    column = _index(tags, "_atom_site_attached_hydrogens")
    if column < 0 or any(_is_hydrogen(row, tags) for row in rows):
        return []
    return [
        f"{_label(row, tags)}+{row[column]}H"
        for row in rows
        if row[column].isdigit() and int(row[column]) > 0
    ]


def _is_hydrogen(row: list[str], tags: list[str]) -> bool:
    column = _index(tags, "_atom_site_type_symbol")
    symbol = row[column] if column >= 0 and row[column] not in _UNKNOWN else ""
    return re.match(r"'?[HDT](?![a-z])", symbol or _label(row, tags)) is not None


def _label(row: list[str], tags: list[str]) -> str:
    column = _index(tags, "_atom_site_label")
    return row[column].strip("'\"") if column >= 0 else "?"


def _index(tags: list[str], tag: str) -> int:
    return tags.index(tag) if tag in tags else -1


# What American Mineralogist and others write for water and hydroxyl.
_WATER = re.compile(r"(?:wat?|ow|oh|o-h|h2o|w)(?![a-z])|wat", re.IGNORECASE)


def find_element(label: str, type_symbol: str = "") -> str:
    """Find the element of an atom whose type no reader knows; "" if there is none.

    Example:
        >>> find_element("Watd"), find_element("SiT1"), find_element("KAm")
        ('O', 'Si', 'K')
        >>> find_element("M1"), find_element("Fe2+M1"), find_element("Oc")
        ('', 'Fe', 'O')
    """
    from pxrdbench.crystal.elements import ATOMIC_NUMBERS

    for text in (type_symbol, label):
        if _WATER.match(text) and not re.match(r"W\d*[+-]?$", text):
            return "O"
        head = re.match("[A-Za-z]{1,2}", text)
        if head is None:
            continue
        # KAm is potassium on A, NaM4 sodium on M4: a capital begins a new word.
        if head[0][1:].islower() and head[0].capitalize() in ATOMIC_NUMBERS:
            return head[0].capitalize()
        if head[0][0] in ATOMIC_NUMBERS:
            return head[0][0]
    return ""
