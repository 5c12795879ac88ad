"""Names of structure types, as databases write them, brought into one spelling.

The ICSD writes one type in two ways: ``Rutile#TiO2`` in its tables, ``Rutile-TiO2``
in its CIFs. A split by type must see one. The rules:

1. Unicode is normalised (NFKC), all dashes become ``-``, blanks at the ends go.
2. ``#`` and ``-`` are one separator. What follows the last one is the formula of the
   type, if it reads as one: element symbols, numbers, brackets. The rest is its name.
3. Of the formula, blanks and underscores go; its case stays, for ``Co`` is no ``CO``.
4. Of the name, case is dropped, blanks and underscores become one blank, and blanks
   around separators and brackets go. Names that are one without these are one.
5. A remark in round brackets behind the formula (``ZnS(2H)``, ``Cu(cF4)``) stays: it
   tells polytypes apart. ``merge_subtypes`` drops it.
6. The result is ``name#formula``, or the one of the two there is. The order of the
   elements in the formula is left as it is: the ICSD has one for each type.

Coarser levels are functions of the label and of what else is known of an entry.
"""

import re
import unicodedata

from pxrdbench.crystal.elements import ATOMIC_NUMBERS

# Not in the table of elements, but in formulas of types.
_SYMBOLS = {*ATOMIC_NUMBERS, "D", "T", "Es", "Fm"}
_DASHES = re.compile("[‐‑‒–—―−﹣-]")
_REMARK = re.compile(r"\(([^()]*)\)$")
_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+|[nx])?"
_UNKNOWN = {"", "?", ".", "-", "none", "n/a", "nan", "null"}


def canonical_structure_type(text: str) -> str:
    """Bring the name of a structure type into one spelling; "" if there is none.

    Example:
        >>> canonical_structure_type("Rutile-TiO2")
        'rutile#TiO2'
        >>> canonical_structure_type(" RUTILE # TiO2 ")
        'rutile#TiO2'
        >>> canonical_structure_type("Half-Heusler#AlLiSi")
        'half-heusler#AlLiSi'
        >>> canonical_structure_type("NaCl")
        'NaCl'
        >>> canonical_structure_type("?")
        ''
    """
    text = unicodedata.normalize("NFKC", text)
    text = " ".join(_DASHES.sub("-", text).strip(" \t\r\n'\"").split())
    if text.casefold() in _UNKNOWN:
        return ""
    parts = [part.strip() for part in re.split("[#-]", text)]
    parts = [part for part in parts if part]
    if not parts:
        return ""
    formula = re.sub(r"[\s_]", "", parts[-1])
    if _is_formula(formula):
        parts.pop()
    else:
        formula = ""
    name = "-".join(_plain_name(part) for part in parts)
    return f"{name}#{formula}" if name and formula else name or formula


def merge_subtypes(structure_type: str) -> str:
    """Drop what tells subtypes apart: perovskites are one, and polytypes are.

    The name of a type without its formula, brackets and numbers; the formula without
    the remark behind it where there is no name. Prototype labels stay as they are.

    Args:
        structure_type: What `canonical_structure_type` gives, or a prototype label.

    Example:
        >>> merge_subtypes("perovskite#GdFeO3"), merge_subtypes("perovskite#CaTiO3")
        ('perovskite', 'perovskite')
        >>> merge_subtypes("laves(2h)#MgZn2"), merge_subtypes("ZnS(2H)")
        ('laves', 'ZnS')
        >>> merge_subtypes("AB_cF8_225_a_b")
        'AB_cF8_225_a_b'
    """
    if re.fullmatch(r"\w+_[a-z][A-Z]\d+_\d+_\w+", structure_type):
        return structure_type
    name, _, formula = structure_type.partition("#")
    if not formula and _is_formula(name):
        return _REMARK.sub("", name)
    merged = re.sub(r"\([^()]*\)", "", name)
    merged = re.sub(r"[\s-]*\d+$", "", merged).strip(" -")
    return merged or name


def type_and_formula(structure_type: str, formula: str) -> str:
    """Name a type with one composition: polymorphs differ, remeasurements do not.

    Example:
        >>> type_and_formula("rutile#TiO2", "SnO2")
        'rutile#TiO2|SnO2'
    """
    return f"{structure_type}|{formula}"


def formula_and_group(anonymous_formula: str, space_group: int) -> str:
    """Name all crystals of one anonymous formula and space group.

    Coarser than any type: whatever shares a type shares these, but for disorder.

    Example:
        >>> formula_and_group("AB2", 136)
        'AB2|136'
    """
    return f"{anonymous_formula}|{space_group}"


def _plain_name(text: str) -> str:
    text = re.sub(r"\s*([()/,])\s*", r"\1", text.casefold())
    return " ".join(re.split(r"[\s_]+", text)).strip()


def _is_formula(text: str) -> bool:
    """Whether a text is made of element symbols, numbers and brackets alone."""
    text = _REMARK.sub(_keep_formula, text)
    if not text or not re.match(r"[A-Z(\[]", text):
        return False
    tokens = re.findall(rf"[A-Z][a-z]?{_NUMBER}|[()\[\]]{_NUMBER}|.", text)
    symbols = [re.match("[A-Z][a-z]?", token) for token in tokens]
    if any(
        s is None and t[0] not in "()[]" for s, t in zip(symbols, tokens, strict=True)
    ):
        return False
    found = [s[0] for s in symbols if s is not None]
    return bool(found) and all(symbol in _SYMBOLS for symbol in found)


def _keep_formula(match: re.Match[str]) -> str:
    """Keep a bracket at the end that is part of the formula, such as in Mg(OH)."""
    inner = match[1]
    is_remark = not inner or not _is_formula(inner) or inner[0].isdigit()
    return "" if is_remark else f"({inner})"


def choose_type(given: str | None, prototype: str | None, name: str) -> tuple[str, str]:
    """Name what stays together, and where the name is from.

    Example:
        >>> choose_type("rutile#TiO2", "A2B_tP6_136_f_a", "9")
        ('rutile#TiO2', 'given')
        >>> choose_type("", "A2B_tP6_136_f_a", "9")
        ('A2B_tP6_136_f_a', 'prototype')
        >>> choose_type("", "", "9")
        ('entry 9', 'entry')
    """
    if given:
        return given, "given"
    if prototype:
        return prototype, "prototype"
    return f"entry {name}", "entry"
