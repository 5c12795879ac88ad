"""Space groups of symbols in whichever setting: C-1, Pbnm, Fd3m, I-42d, F2/d.

gemmi's table (that of the CCP4 libraries and of cctbx) holds some 560 settings. What
it lacks is worked out: a monoclinic symbol says where its rotation, glide and centring
lie, whatever the cell. Multiple tetragonal cells stand in a table.
"""

import re
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

# Cells of twice the volume, C for P and F for I (International Tables A, 1.5.4).
_TETRAGONAL = {
    "C4": 75, "C41": 76, "C42": 77, "C43": 78, "F4": 79, "F41": 80, "C-4": 81,
    "F-4": 82, "C4/m": 83, "C42/m": 84, "C4/a": 85, "C42/a": 86, "F4/m": 87,
    "F41/d": 88, "C422": 89, "C4221": 90, "F422": 97, "F4122": 98, "C4mm": 99,
    "F4mm": 107, "C-4m2": 111, "C-4c2": 112, "C-4m21": 113, "C-4c21": 114,
    "C-42m": 115, "C-42c": 116, "C-42b": 117, "C-42n": 118, "F-42m": 119,
    "F-42c": 120, "F-4m2": 121, "F-4d2": 122, "C4/mmm": 123, "F4/mmm": 139,
    "F4/mmc": 140, "F41/ddm": 141, "F41/ddc": 142,
}  # fmt: skip
# Without the bar that older papers leave out; gemmi knows those of m-3 and m-3m.
_SPELLINGS = {"F43m": 216, "I43m": 217, "P43m": 215, "P43n": 218, "F43c": 219,
              "I43d": 220}  # fmt: skip
_CENTRING = {
    "P": (), "A": ((0, 1, 1),), "B": ((1, 0, 1),), "C": ((1, 1, 0),),
    "I": ((1, 1, 1),), "F": ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
}  # fmt: skip
_GLIDE = {"a": (2, 0, 0), "b": (0, 2, 0), "c": (0, 0, 2)}
_PART = re.compile(r"-?\d(?:_\d)?(?:/[a-z])?|[a-z]")
_MONOCLINIC = re.compile(r"(2(?:_1)?)?/?([mabcnd])?")


@cache
def find_space_group(symbol: str, unique_axis: str = "") -> int:
    """Find the space group of a Hermann–Mauguin symbol of any usual spelling.

    Blanks may be there or not, screw axes be written ``2_1``, ``21`` or ``2(1)``; what
    the American Mineralogist database puts before or behind a symbol is taken off.

    Args:
        symbol: Such as ``P2_1/n``, ``P 1 21/n 1``, ``Fd3m`` or ``*C-1``.
        unique_axis: ``a``, ``b`` or ``c`` where the cell tells it: a short monoclinic
            symbol such as C2/a is another group with each axis.

    Returns:
        Its number, 1 to 230; 0 if the symbol is not understood.

    Example:
        >>> [find_space_group(s) for s in ("C-1", "Pbnm", "Fd3m", "I-42d", "F2/d")]
        [2, 62, 227, 122, 15]
    """
    import gemmi

    text = re.sub(r"\\[a-z]+\d*", "", symbol).strip().strip("'\"*.,;: ")
    text = re.sub(r"\((\d)\)", r"_\1", text).replace("\u2212", "-")
    if not text or len(text) > 40:
        return 0
    text = text[0].upper() + text[1:]
    for spelling in (text, text.replace("_", ""), _with_blanks(text)):
        group = gemmi.find_spacegroup_by_name(spelling)
        if group is not None:
            return int(group.number)
    bare = text.replace(" ", "")
    joined = bare.replace("_", "")
    found = _TETRAGONAL.get(joined) or _SPELLINGS.get(joined)
    return found if found is not None else _derive_monoclinic(text, unique_axis)


def _with_blanks(text: str) -> str:
    """``P2_12_12_1`` as ``P 21 21 21``, so that no axis joins its neighbour."""
    bare = text.replace(" ", "")
    parts = _PART.findall(bare[1:])
    if "".join(parts) != bare[1:]:
        return text
    return " ".join([bare[0], *(part.replace("_", "") for part in parts)])


def _derive_monoclinic(text: str, unique_axis: str = "") -> int:
    """Group of a monoclinic symbol in any cell, short or with its ones; else 0."""
    for operations in derive_monoclinic(text, unique_axis):
        found = _number_of(operations)
        if found:
            return found
    return 0


def derive_monoclinic(text: str, unique_axis: str = "") -> list[Any]:
    """Operations of a monoclinic symbol in any cell, of any centring.

    Args:
        text: Short (``C2/a``) or with its ones (``C 1 1 2/a``).
        unique_axis: ``a``, ``b`` or ``c`` where it is known.

    Returns:
        ``gemmi.GroupOps`` for each axis that the symbol may stand for, b first; an
        inversion, where there is one, is at the origin. None if it is not monoclinic.
    """
    parts = text.split()
    if len(parts) == 4 and sorted(parts[1:]).count("1") == 2:
        axis = next(i for i in range(3) if parts[1 + i] != "1")
        element = parts[1 + axis]
        axes = [axis]
    else:
        element = text.replace(" ", "")[1:]
        # The unique axis is b, or c or a where the glide would lie along b.
        axes = ["abc".index(unique_axis)] if unique_axis else [1, 2, 0]
    element = re.sub(r"^21", "2_1", element)
    match = _MONOCLINIC.fullmatch(element)
    if match is None or not any(match.groups()) or text[0] not in _CENTRING:
        return []
    if ("/" in element) != all(match.groups()):
        return []
    made = (
        _monoclinic_operations(text[0], match[1] or "", match[2] or "", axis)
        for axis in axes
    )
    return [operations for operations in made if operations is not None]


def _monoclinic_operations(lattice: str, rotation: str, glide: str, axis: int) -> Any:
    """Operations of a centring, a rotation about an axis, a glide across it; or None.

    With the inversion at the origin, a rotation whose translation is s along the axis
    and g across it makes a glide of -g.
    """
    import gemmi

    across = [i for i in range(3) if i != axis]
    shift = [Fraction(0)] * 3
    if glide == "n":
        for i in across:
            shift[i] = Fraction(1, 2)
    elif glide == "d":
        for i in across:
            shift[i] = Fraction(1, 4)
    elif glide in _GLIDE:
        shift = [Fraction(part, 4) for part in _GLIDE[glide]]
        if shift[axis]:
            return None
    turn = [1 if i == axis else -1 for i in range(3)]
    operations = ["x,y,z"]
    if rotation:
        moved = list(shift)
        moved[axis] = Fraction(1, 2) if rotation == "2_1" else Fraction(0)
        operations.append(_triplet(turn, moved))
        if glide:
            operations.append("-x,-y,-z")
    else:
        operations.append(_triplet([-part for part in turn], shift))
    for vector in _CENTRING[lattice]:
        operations.append(_triplet([1, 1, 1], [Fraction(part, 2) for part in vector]))
    group = gemmi.GroupOps([gemmi.Op(operation) for operation in operations])
    group.add_missing_elements()
    return group


def _triplet(signs: list[int], shift: list[Fraction]) -> str:
    return ",".join(
        f"{'-' if sign < 0 else ''}{letter}{'+' + str(part) if part else ''}"
        for sign, letter, part in zip(signs, "xyz", shift, strict=True)
    )


def _number_of(group: object) -> int:
    """Number of the group of operations, which spglib finds in whatever setting."""
    import spglib

    operations = list(group)  # type: ignore[call-overload]
    turns = np.array([op.rot for op in operations]) // 24
    shifts = np.array([op.tran for op in operations]) / 24.0
    try:
        found = spglib.get_spacegroup_type_from_symmetry(turns, shifts)
    except Exception:  # spglib's own errors differ between its versions
        return 0
    return 0 if found is None else int(found.number)
