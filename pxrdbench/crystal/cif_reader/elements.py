"""Which element an atom is, from its type and its label, before any library sees it.

The type decides where it names an element. Labels are read with the formula of the
entry at hand: ``W1`` is tungsten where the formula has tungsten, and the oxygen of a
water molecule where it has none.
"""

import re
from collections.abc import Set
from functools import cache

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.errors import CrystalError

# What American Mineralogist and others write for water and hydroxyl; `W` alone is not
# among them.
_WATER = re.compile(
    r"(?:wat|ow|oh|od|o-h|hoh|h2o|d2o|h3o|aq)(?![a-z])|wat|water|hoh|h2o|d2o",
    re.IGNORECASE,
)
# Empty positions, and what programs put where no atom is: dummies, lone pairs, ghosts.
_VACANCY = re.compile(
    r"(?:va|vac|vacancy|vacant|void|\[\]|du|dum|dummy|lp|bq|ghost)\d*", re.IGNORECASE
)
# Names of positions that begin like an element: octahedral, site, cation, atom.
_POSITION = re.compile(
    r"(?:oct|tet|octahedr\w*|tetrahedr\w*|site|cat|cation|anion|atom|metal|centroid|"
    r"cent|centre|center)[\d_]*",
    re.IGNORECASE,
)
_UNKNOWN = ("", "?", ".", "-", "none", "null")
# Capitals that labels put behind an element to tell atoms apart: CA, CB, NE, OW, HO.
_SUFFIXES = frozenset("ABDEHMNOW")


def find_element(
    label: str,
    type_symbol: str = "",
    formula: Set[str] = frozenset(),
    *,
    is_partial: bool = False,
) -> str:
    """Find the element of an atom; "" if it is none that is known.

    Args:
        label: Of the atom.
        type_symbol: Its type, where the file has one.
        formula: Elements of the entry's formula, if it has one.
        is_partial: Whether the row fills a part of its position: then ``GeGa1`` is the
            germanium on that of gallium, and no mixture.

    Returns:
        A symbol from H to Cf (deuterium is H), ``Va`` for an empty position, or "".

    Raises:
        CrystalError: If the position is shared by elements that are not told apart.

    Example:
        >>> find_element("Watd"), find_element("SiT1"), find_element("KAm")
        ('O', 'Si', 'K')
        >>> find_element("M1"), find_element("Fe2+M1"), find_element("Oc")
        ('', 'Fe', 'O')
        >>> find_element("W1"), find_element("W1", "", {"Ca", "O"})
        ('W', 'O')
        >>> find_element("Fe57", "57Fe"), find_element("OH1", "OH")
        ('Fe', 'O')
    """
    for text, is_type in ((type_symbol, True), (label, False)):
        plain = text.strip().strip("'\"").strip()
        if plain.lower() in _UNKNOWN:
            continue
        _refuse_mixture(plain, is_type, formula, is_partial=is_partial)
        found = _read(plain, is_type, formula)
        if found:
            return found
    return ""


def _refuse_mixture(
    text: str, is_type: bool, formula: Set[str], *, is_partial: bool
) -> None:
    """``(Si,Al)``, ``Si/Al``, ``ZnMn`` and types such as ``CN``: several on a row."""
    bare = text.strip("()[]{} ")
    between = r"[-+_](?=[A-Z])|" if is_type else ""
    parts = re.split(rf"[,/;&|:]|(?<=[A-Za-z)])(?:{between}\+(?=[A-Z]))", bare)
    names = [re.match(r"\s*([A-Z][a-z]?)", part) for part in parts]
    known = {name[1] for name in names if name and name[1] in ATOMIC_NUMBERS}
    is_mixed = len(parts) > 1 and len(known - {"H", "D"}) > 1
    joined = re.sub(r"[-+_](?=[A-Z])", "", bare)
    if not is_mixed and re.fullmatch(r"(?:[A-Z][a-z]?[\d.]*){2,}[-+]?", joined):
        symbols = re.findall(r"[A-Z][a-z]?", joined)
        # FeIII is iron.
        distinct = set(symbols) - {"I", "V"} if is_type else set(symbols)
        if len(distinct) > 1 and all(symbol in ATOMIC_NUMBERS for symbol in symbols):
            # Labels put capitals behind an element (FeM1, SiT1, OC1, FeB); two symbols
            # of two letters are two elements. Types have no such suffixes.
            whole = {s for s in symbols if len(s) == 2 and _is_likely(s, formula)}
            if is_type:
                is_mixed = len(whole) > 1 or _stands_for_several(
                    bare, distinct, formula
                )
            else:
                is_mixed = len(whole) > 1 and not is_partial
    # In capitals the type of a carbonate is that of trivalent cobalt.
    if is_mixed or (is_type and bare == "CO3" and not formula):
        raise CrystalError(
            f"an unknown element: {text!r} is a mixture whose shares are not given"
        )


def _is_likely(symbol: str, formula: Set[str]) -> bool:
    """Whether an element may be meant: NaAm is sodium on the position A(m)."""
    return symbol in formula if formula else ATOMIC_NUMBERS[symbol] <= 92  # uranium


def _stands_for_several(text: str, symbols: Set[str], formula: Set[str]) -> bool:
    """Whether a type is a group of atoms none of which may be left out: CN, SO4."""
    letters = re.match(r"[A-Z]+", text)
    if letters is not None and letters[0].capitalize() in ATOMIC_NUMBERS:
        # CO and SN in capitals: cobalt and tin, unless the formula says otherwise.
        whole = len(letters[0]) == 2 and not re.search("[a-z]", text)
        if whole and (not formula or letters[0].capitalize() in formula):
            return False
    # Hydrogens are left out everywhere: OH, NH4, H2O.
    return len(symbols - {"H", "D"}) > 1


def _read(text: str, is_type: bool, formula: Set[str]) -> str:
    """The element that one text names, "" if none."""
    text = re.sub(r"^\(?\d{1,3}\)?(?=[A-Z])", "", text)  # 57Fe, (57)Fe
    if _VACANCY.fullmatch(text) and not (text[:1] == "V" and "V" in formula):
        return "Va"
    if _POSITION.fullmatch(text):
        return ""
    word = re.match(r"[A-Za-z]{3,}", text)
    if word is not None and word[0].lower() in _names_of_elements():
        return _names_of_elements()[word[0].lower()]
    valence = re.fullmatch(r"([A-Z][a-z]?)val?", text)
    if is_type and valence is not None and valence[1] in ATOMIC_NUMBERS:
        return valence[1]  # Cval and Siva of IT C, table 6.1.1.4
    if is_type and re.match(r"[A-Z][a-z]{2,}", text) and not _WATER.match(text):
        return ""  # a word, no symbol
    has_tungsten = not formula or "W" in formula
    is_tungsten = re.fullmatch(r"W\d*[a-zA-Z']?|W\d*[+-]?|W\d[+-]", text)
    if is_tungsten and not has_tungsten and "O" in formula:
        return "O"
    if _WATER.match(text) and not _names_element(text, formula):
        return "O"
    if re.match(r"NH4?(?![a-z])|NH\d", text, re.IGNORECASE) and "N" in (
        formula or {"N"}
    ):
        return "N"
    head = re.match(r"[A-Za-z]{1,2}", text)
    if head is None:
        return ""
    one = head[0][0].upper()
    two = head[0].capitalize() if len(head[0]) == 2 else ""
    if one == "D" and two not in ATOMIC_NUMBERS:
        return "H"  # deuterium, also that of water, Dw
    choices = [symbol for symbol in (two, one) if symbol in ATOMIC_NUMBERS]
    if formula:
        fitting = [symbol for symbol in choices if symbol in formula]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) == 2:
            choices = fitting
    if not choices:
        return ""
    if two in choices and head[0][1].islower():
        return two
    if one in choices and re.match(r"[A-Z][A-Z][a-z]", text):
        return one  # OSi: the oxygen at silicon, no osmium
    if two in choices and one in choices:
        # Two capitals: CL as a type is chlorine, KA as a label potassium on A.
        whole = re.match(r"[A-Za-z]+", text)
        if is_type and whole is not None and len(whole[0]) == 2:
            return two
        if two in formula or head[0][1] not in _SUFFIXES:
            # An element of the formula has its atoms somewhere.
            return two
        raise CrystalError(f"an unknown element: {text!r} may be {one} or {two}")
    if one in choices and not (two and head[0][1].islower() and is_type):
        return one
    return two if two in choices and head[0].isupper() else ""


@cache
def _names_of_elements() -> dict[str, str]:
    """Symbols by English names in small letters."""
    from pymatgen.core import Element

    named = {
        element.long_name.lower(): element.symbol
        for element in Element
        if element.symbol in ATOMIC_NUMBERS
    }
    return named | {
        "aluminium": "Al", "caesium": "Cs", "sulphur": "S", "wolfram": "W",
        "deuterium": "H",
    }  # fmt: skip


def _names_element(text: str, formula: Set[str]) -> bool:
    """Whether what looks like water is an element of the formula: Os, Ho."""
    head = re.match(r"[A-Z][a-z]", text)
    return bool(head and head[0] in formula)


def find_charge(type_symbol: str) -> int:
    """Formal charge that a type carries: ``Fe3+``, ``O-2``, ``Na+``; 0 if none."""
    match = re.match(
        r"\s*\d*([A-Za-z]{1,2})\s*(?:(\d)([+-])|([+-])(\d)?)(?![\dA-Za-z])",
        type_symbol,
    )
    if match is None or match[1].capitalize() not in {*ATOMIC_NUMBERS, "D", "Oh"}:
        return 0
    size = int(match[2] or match[5] or 1)
    return size if (match[3] or match[4]) == "+" else -size


def read_formula(text: str) -> dict[str, float]:
    """Amounts of the elements of a formula such as ``Mg (O H)2``; empty if unclear.

    Deuterium counts as hydrogen, a vacancy as nothing.
    """
    text = re.sub(r"[,;]", " ", text.strip().strip("'\""))
    tokens = re.findall(r"[A-Z][a-z]?|[(\[{]|[)\]}]|\d*\.\d+|\d+|\S", text)
    stack: list[dict[str, float]] = [{}]
    last: dict[str, float] | None = None
    for part in tokens:
        if part in "([{":
            stack.append({})
            last = None
        elif part in ")]}":
            if len(stack) < 2:
                return {}
            last = stack.pop()
            _add(stack[-1], last, 1.0)
        elif re.fullmatch(r"\d*\.\d+|\d+", part):
            if last is None:
                return {}
            # The group was added once already.
            _add(stack[-1], last, float(part) - 1.0)
            last = None
        elif part[0].isalpha() and part[0].isupper():
            symbol = "H" if part in ("D", "T") else part
            if symbol == "Va":
                symbol = ""
            elif symbol not in ATOMIC_NUMBERS:
                return {}
            last = {symbol: 1.0} if symbol else {}
            _add(stack[-1], last, 1.0)
        else:
            return {}
    if len(stack) != 1:
        return {}
    return {symbol: amount for symbol, amount in stack[0].items() if amount > 0.0}


def _add(amounts: dict[str, float], other: dict[str, float], times: float) -> None:
    for symbol, amount in other.items():
        amounts[symbol] = amounts.get(symbol, 0.0) + times * amount
