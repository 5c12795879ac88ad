"""Extinction symbols: what systematic absences leave to choose from.

A dash stands for an element that absences do not show. Monoclinic symbols are those of
unique axis b. Groups that no powder pattern can tell apart by absences share one.

Source: International Tables for Crystallography A (2016), table 1.6.4.
"""

from functools import cache

# Symbol and one group of its class; the class itself is that of the symmetry tables.
_SYMBOLS: tuple[tuple[str, int], ...] = (
    ("P -", 1), ("P 1 - 1", 3), ("P 1 21 1", 4), ("P 1 c 1", 7), ("P 1 21/c 1", 14),
    ("C 1 - 1", 5), ("C 1 c 1", 9),
    ("P - - -", 16), ("P - - 21", 17), ("P 21 21 -", 18), ("P 21 21 21", 19),
    ("P c - -", 26), ("P n - -", 31), ("P c c -", 27), ("P c a -", 29),
    ("P n c -", 30), ("P b a -", 32), ("P n a -", 33), ("P n n -", 34), ("P c c a", 54),
    ("P b a n", 50), ("P b c a", 61), ("P b c n", 60), ("P c c n", 56), ("P n n a", 52),
    ("P n n n", 48), ("C - - -", 21), ("C - - 21", 20), ("C - - (ab)", 39),
    ("C - c -", 36), ("C - c (ab)", 41), ("C c c -", 37), ("C c c (ab)", 68),
    ("I - - -", 23), ("I - - (ab)", 46), ("I b a -", 45), ("I b c a", 73),
    ("F - - -", 22), ("F d d -", 43), ("F d d d", 70),
    ("P - - -", 75), ("P - 21 -", 90), ("P 42 - -", 77), ("P 42 21 -", 94),
    ("P 41 - -", 76), ("P 41 21 -", 92), ("P - - c", 105), ("P - 21 c", 114),
    ("P - b -", 100), ("P - b c", 106), ("P - c -", 101), ("P - c c", 103),
    ("P - n -", 102), ("P - n c", 104), ("P n - -", 85), ("P 42/n - -", 86),
    ("P n - c", 137), ("P n b -", 125), ("P n b c", 133), ("P n c -", 138),
    ("P n c c", 130), ("P n n -", 134), ("P n n c", 126), ("I - - -", 79),
    ("I 41 - -", 80), ("I - - d", 109), ("I - c -", 108), ("I - c d", 110),
    ("I 41/a - -", 88), ("I a - d", 141), ("I a c d", 142),
    ("P - - -", 143), ("P 31 - - or P 62 - -", 144), ("P - - c", 159),
    ("P - c -", 158), ("R - -", 146), ("R - c", 161), ("P 63 - -", 173),
    ("P 61 - -", 169), ("P - c c", 184),
    ("P - - -", 195), ("P 21 - - or P 42 - -", 198), ("P 41 - -", 212),
    ("P - - n", 218), ("P a - -", 205), ("P n - -", 201), ("P n - n", 222),
    ("I - - -", 197), ("I 41 - -", 214), ("I - - d", 220), ("I a - -", 206),
    ("I a - d", 230), ("F - - -", 196), ("F 41 - -", 210), ("F - - c", 219),
    ("F d - -", 203), ("F d - c", 228),
)  # fmt: skip


@cache
def load_extinction_symbols() -> tuple[str, ...]:
    """Symbol of each space group, by number; the first of the 231 is empty.

    Example:
        >>> load_extinction_symbols()[62], load_extinction_symbols()[225]
        ('P n a -', 'F - - -')
    """
    from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

    classes = load_symmetry_tables().extinction_group
    symbol_of = {int(classes[group]): symbol for symbol, group in _SYMBOLS}
    return ("", *(symbol_of[int(classes[group])] for group in range(1, 231)))
