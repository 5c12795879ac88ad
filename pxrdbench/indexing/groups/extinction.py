"""Which reflections of a Bravais lattice each extinction symbol forbids.

An operator (R, t) of a space group extinguishes h where hR = h and h·t is no integer.
All operators of all groups on one lattice, in all settings that keep the lattice's
axes, give a few dozen distinct elementary conditions; a *pattern* is the set of those
that hold, kept as the bits of one integer. Whether a reflection is absent is then one
AND of two integers.

Source of operators and classes: International Tables for Crystallography A, as carried
by ``pxrdbench.crystal.symmetry.tables``.
"""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int16, Int64
from numba import njit

from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import (
    CENTRINGS,
    LATTICE_TYPES,
    TRANSLATION_DENOMINATOR,
    load_symmetry_tables,
)
from pxrdbench.errors import CrystalError

BRAVAIS_LATTICES: tuple[str, ...] = (
    "aP", "mP", "mC", "oP", "oC", "oI", "oF", "tP", "tI", "hP", "hR", "cP", "cI", "cF",
)  # fmt: skip

# Settings are changes of axes (a', b', c') = (a, b, c) S that keep the kind of axes.
_IDENTITY = np.eye(3, dtype=np.int64)
_PERMUTATIONS = tuple(
    _IDENTITY[list(order)]
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0))
)
# Cell choices 1-3 of unique axis b, ITA (2016) section 1.5.3, and a <-> c.
_MONOCLINIC = tuple(
    np.array(columns, np.int64).T
    for columns in (
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((-1, 0, -1), (0, 1, 0), (1, 0, 0)),
        ((0, 0, 1), (0, 1, 0), (-1, 0, -1)),
        ((0, 0, 1), (0, -1, 0), (1, 0, 0)),
    )
)


@dataclass(frozen=True, eq=False)
class ExtinctionPatterns:
    """All absences that occur on one Bravais lattice.

    Attributes:
        bravais_lattice: One of ``BRAVAIS_LATTICES``.
        rotation: R of each elementary condition.
        translation: Its t [1/24].
        condition_bits: For each pattern, bit c stands for elementary condition c.
        symbol: Extinction symbol of each pattern, without its setting.
        symbol_index: Extinction group of each pattern, as in the symmetry tables.
        setting_share: Share of a group's settings that show a pattern; rows are
            patterns, columns space-group numbers 0-230. Columns of the groups on this
            lattice add up to 1.
        space_groups: Numbers of the groups on this lattice, ascending.
        implies: Whether pattern j forbids all that pattern i forbids; ``[i, j]``.
    """

    bravais_lattice: str
    rotation: Int8[np.ndarray, "conditions 3 3"]
    translation: Int8[np.ndarray, "conditions 3"]
    condition_bits: Int64[np.ndarray, " patterns"]
    symbol: tuple[str, ...]
    symbol_index: Int16[np.ndarray, " patterns"]
    setting_share: Float64[np.ndarray, "patterns 231"]
    space_groups: Int16[np.ndarray, " groups"]
    implies: Bool[np.ndarray, "patterns patterns"]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.condition_bits)


@cache
def bravais_lattice_of(space_group: int) -> str:
    """Name the Bravais lattice of a space group.

    Example:
        >>> bravais_lattice_of(62), bravais_lattice_of(167), bravais_lattice_of(39)
        ('oP', 'hR', 'oC')
    """
    tables = load_symmetry_tables()
    family = LATTICE_TYPES[int(tables.lattice_type[space_group])]
    centring = CENTRINGS[int(tables.centring[space_group])]
    if family in {"monoclinic", "orthorhombic"} and centring == "A":
        centring = "C"
    letter = {"triclinic": "a"}.get(family, family[0])
    return letter + centring


@cache
def load_patterns(bravais_lattice: str) -> ExtinctionPatterns:
    """Derive the extinction patterns of a lattice from the groups' operators, once.

    Raises:
        CrystalError: If there is no such Bravais lattice.
    """
    if bravais_lattice not in BRAVAIS_LATTICES:
        raise CrystalError(
            f"there is no Bravais lattice {bravais_lattice!r}; the 14 are "
            f"{' '.join(BRAVAIS_LATTICES)}"
        )
    groups = [g for g in range(1, 231) if bravais_lattice_of(g) == bravais_lattice]
    settings = {"o": _PERMUTATIONS, "m": _MONOCLINIC}.get(
        bravais_lattice[0], (_IDENTITY,)
    )
    probe = _probe_reflections(bravais_lattice)
    absent_by_operator: dict[bytes, tuple[int, bytes]] = {}
    conditions: list[tuple[np.ndarray, np.ndarray]] = []
    index_of: dict[bytes, int] = {}
    members: dict[int, dict[int, int]] = {}
    for group in groups:
        rotations, translations = _primitive_operators(group)
        for change in settings:
            if not _keeps_centring(group, change, bravais_lattice):
                continue
            bits = 0
            inverse = np.rint(np.linalg.inv(change)).astype(np.int64)
            for rotation, translation in zip(rotations, translations, strict=True):
                moved = inverse @ rotation @ change
                shift = (inverse @ translation) % TRANSLATION_DENOMINATOR
                key = moved.tobytes() + shift.tobytes()
                if key not in absent_by_operator:
                    absent = is_absent(probe, moved, shift)
                    number = -1
                    if absent.any():
                        number = index_of.setdefault(absent.tobytes(), len(conditions))
                        if number == len(conditions):
                            conditions.append((moved, shift))
                    absent_by_operator[key] = (number, b"")
                number = absent_by_operator[key][0]
                if number >= 0:
                    bits |= 1 << number
            counts = members.setdefault(bits, {})
            counts[group] = counts.get(group, 0) + 1
    # An elementary condition that others of a pattern imply is one of the pattern's.
    masks = np.array([np.frombuffer(key, bool) for key in index_of]).reshape(
        len(conditions), len(probe)
    )
    closed: dict[bytes, tuple[int, dict[int, int]]] = {}
    for bits, counts in members.items():
        chosen = [c for c in range(len(conditions)) if bits >> c & 1]
        absent = np.zeros(len(probe), bool)
        for condition in chosen:
            absent |= masks[condition]
        whole = sum(
            1 << c for c in range(len(conditions)) if not np.any(masks[c] & ~absent)
        )
        _, kept = closed.setdefault(absent.tobytes(), (whole, {}))
        for group, count in counts.items():
            kept[group] = kept.get(group, 0) + count
    ordered = sorted(closed.items(), key=lambda item: (sum(item[0]), item[1][0]))
    share = np.zeros((len(ordered), 231))
    for row, (_, (_, counts)) in enumerate(ordered):
        for group, count in counts.items():
            share[row, group] = count
    share /= np.maximum(share.sum(axis=0), 1.0)
    first = [min(counts) for _, (_, counts) in ordered]
    classes = load_symmetry_tables().extinction_group
    absences = np.array([np.frombuffer(key, bool) for key, _ in ordered])
    return ExtinctionPatterns(
        bravais_lattice=bravais_lattice,
        rotation=np.array([r for r, _ in conditions], np.int8).reshape(-1, 3, 3),
        translation=np.array([t for _, t in conditions], np.int8).reshape(-1, 3),
        condition_bits=np.array([bits for _, (bits, _) in ordered], np.int64),
        symbol=tuple(load_extinction_symbols()[group] for group in first),
        symbol_index=classes[first].astype(np.int16),
        setting_share=share,
        space_groups=np.array(groups, np.int16),
        implies=~(absences[:, None] & ~absences[None]).any(axis=2),
    )


def is_absent(
    hkl: Int64[np.ndarray, "reflections 3"],
    rotation: Int64[np.ndarray, "3 3"],
    translation: Int64[np.ndarray, " 3"],
) -> Bool[np.ndarray, " reflections"]:
    """Tell which reflections one operator extinguishes; translation in 1/24."""
    fixed: Bool[np.ndarray, " reflections"] = np.all(hkl @ rotation == hkl, axis=1)
    absent: Bool[np.ndarray, " reflections"] = fixed & (
        (hkl @ translation) % TRANSLATION_DENOMINATOR != 0
    )
    return absent


def allowed_by_centring(
    hkl: Int64[np.ndarray, "reflections 3"], centring: str
) -> Bool[np.ndarray, " reflections"]:
    """Tell which reflections a centring allows: P A C I F R (obverse)."""
    h, k, l = hkl.T
    conditions = {
        "P": np.ones(len(h), bool),
        "A": (k + l) % 2 == 0,
        "B": (h + l) % 2 == 0,
        "C": (h + k) % 2 == 0,
        "I": (h + k + l) % 2 == 0,
        "F": ((h + k) % 2 == 0) & ((h + l) % 2 == 0),
        "R": (-h + k + l) % 3 == 0,
    }
    allowed: Bool[np.ndarray, " reflections"] = conditions[centring]
    return allowed


def _probe_reflections(bravais_lattice: str) -> Int64[np.ndarray, "reflections 3"]:
    """Reflections that tell any two conditions apart.

    Translations are sixths or quarters, so that indices up to 6 on axes and up to 4
    elsewhere do.
    """
    box = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1)
    axes = [n * row for n in (5, 6, 8, 12) for row in _IDENTITY]
    hkl = np.concatenate([box.reshape(-1, 3), axes]).astype(np.int64)
    # One of h and -h, and of those only the ones that the centring allows.
    sign = (hkl[:, 0] * 100 + hkl[:, 1]) * 100 + hkl[:, 2]
    hkl = hkl[sign > 0]
    kept: Int64[np.ndarray, "reflections 3"] = hkl[
        allowed_by_centring(hkl, bravais_lattice[1])
    ]
    return kept


def _primitive_operators(
    group: int,
) -> tuple[Int64[np.ndarray, "operators 3 3"], Int64[np.ndarray, "operators 3"]]:
    """One operator for each rotation part: centring adds integers to h·t."""
    rotations, translations = load_symmetry_tables().operators(group)
    _, first = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)
    first.sort()
    return rotations[first].astype(np.int64), translations[first].astype(np.int64)


def _keeps_centring(
    group: int, change: Int64[np.ndarray, "3 3"], bravais_lattice: str
) -> bool:
    """Whether a setting has the centring that the lattice's name says."""
    centring = CENTRINGS[int(load_symmetry_tables().centring[group])]
    box = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1)
    hkl = box.reshape(-1, 3).astype(np.int64)
    before = allowed_by_centring(hkl, centring)
    after = allowed_by_centring(hkl @ change, bravais_lattice[1])
    return bool(np.array_equal(before, after))


@njit(cache=True, nogil=True)
def condition_masks(hkl, rotation, translation):
    """Bits of the elementary conditions that extinguish each reflection."""
    n = hkl.shape[0]
    masks = np.zeros(n, np.int64)
    for i in range(n):
        h, k, l = np.int64(hkl[i, 0]), np.int64(hkl[i, 1]), np.int64(hkl[i, 2])
        bits = np.int64(0)
        for c in range(rotation.shape[0]):
            r = rotation[c]
            if (
                h * r[0, 0] + k * r[1, 0] + l * r[2, 0] == h
                and h * r[0, 1] + k * r[1, 1] + l * r[2, 1] == k
                and h * r[0, 2] + k * r[1, 2] + l * r[2, 2] == l
            ):
                t = translation[c]
                if (h * t[0] + k * t[1] + l * t[2]) % 24 != 0:
                    bits |= np.int64(1) << c
        masks[i] = bits
    return masks


@njit(cache=True, nogil=True)
def forbidden_lines(masks, line_of, n_lines, condition_bits):
    """Whether all reflections of a line are absent in a pattern; lines x patterns."""
    n_patterns = condition_bits.shape[0]
    forbidden = np.ones((n_lines, n_patterns), np.bool_)
    for i in range(masks.shape[0]):
        line = line_of[i]
        if line < 0:
            continue
        for p in range(n_patterns):
            if masks[i] & condition_bits[p] == 0:
                forbidden[line, p] = False
    return forbidden
