"""The operations that a data block may mean: those it lists, and those it names.

A symbol without a suffix has two origins in 24 groups and two sets of axes in seven; a
number says even less. Each of them is a candidate; which one fits is for the atoms,
the cell and the formula to say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.cif_reader.text import CifTags
from pxrdbench.crystal.symmetry.symbols import derive_monoclinic, find_space_group

# Translations are whole multiples of this part of a cell: 1/2 … 1/10, 1/12, 1/24.
DENOMINATOR = 2520
# How far a decimal such as 0.333 or 0.67 may be from the fraction that it stands for.
_SNAP = 0.0045

LISTED_TAGS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
SYMBOL_TAGS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m",
    "_space_group_name_h-m_ref",
    "_symmetry.space_group_name_h-m",
    "_space_group.name_h-m_alt",
)
HALL_TAGS = (
    "_space_group_name_hall",
    "_symmetry_space_group_name_hall",
    "_space_group.name_hall",
)
NUMBER_TAGS = (
    "_space_group_it_number",
    "_symmetry_int_tables_number",
    "_space_group.it_number",
)


@dataclass(frozen=True, eq=False)
class Setting:
    """A set of operations x → R x + t, and where it comes from.

    Attributes:
        rotation: R of each.
        translation: t of each in units of 1 / `DENOMINATOR`, in [0, `DENOMINATOR`).
        source: What it is, for notes.
    """

    rotation: Int64[np.ndarray, "operations 3 3"]
    translation: Int64[np.ndarray, "operations 3"]
    source: str = ""

    def __len__(self) -> int:
        return len(self.rotation)

    @property
    def shift(self) -> Float64[np.ndarray, "operations 3"]:
        """Translations as fractions of the cell."""
        return self.translation / DENOMINATOR

    @property
    def keys(self) -> frozenset[tuple[int, ...]]:
        """The operations as numbers: equal sets are the same setting."""
        flat = np.hstack([self.rotation.reshape(-1, 9), self.translation])
        return frozenset(map(tuple, flat.tolist()))

    @property
    def n_rotations(self) -> int:
        """Order of the point group."""
        return len({tuple(r) for r in self.rotation.reshape(-1, 9).tolist()})

    @property
    def number(self) -> int:
        """Number of the space group, 0 if these are none that spglib knows."""
        return _number_of(self.keys)

    def is_group(self) -> bool:
        """Whether the product of any two operations is one of them."""
        n = len(self.rotation)
        if n > 192 * 4:
            return False
        products = np.einsum("aij,bjk->abik", self.rotation, self.rotation)
        moved = np.einsum("aij,bj->abi", self.rotation, self.translation)
        moved = (moved + self.translation[:, None]) % DENOMINATOR
        return bool(
            np.isin(_hash(products, moved), _hash(self.rotation, self.translation))
            .all()
        )  # fmt: skip

    def fits_cell(self, cell: Sequence[float], tolerance: float = 0.012) -> bool:
        """Whether each rotation leaves lengths and angles of the cell as they are."""
        metric = cell_metric(cell)
        turned = np.einsum(
            "nji,jk,nkl->nil", self.rotation, metric, self.rotation.astype(float)
        )
        scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
        return bool((np.abs(turned - metric) <= tolerance * scale).all())

    def with_centring(self, letter: str) -> "Setting":
        """The same with the translations that a centring letter stands for."""
        half = DENOMINATOR // 2
        third = DENOMINATOR // 3
        vectors = {
            "A": [(0, half, half)], "B": [(half, 0, half)], "C": [(half, half, 0)],
            "I": [(half, half, half)],
            "F": [(0, half, half), (half, 0, half), (half, half, 0)],
            "R": [(2 * third, third, third), (third, 2 * third, 2 * third)],
        }.get(letter, [])  # fmt: skip
        rotation = [self.rotation] * (1 + len(vectors))
        translation = [self.translation]
        translation += [self.translation + np.array(vector) for vector in vectors]
        return _unique(
            np.concatenate(rotation), np.concatenate(translation),
            f"the operations listed with the centring {letter}",
        )  # fmt: skip


def cell_metric(cell: Sequence[float]) -> Float64[np.ndarray, "3 3"]:
    """Products a·a, a·b, … [Å²] of a, b, c [Å], alpha, beta, gamma [degrees]."""
    lengths = np.array(cell[:3], np.float64)
    cosines = np.cos(np.radians(np.array(cell[3:], np.float64)))
    metric = np.outer(lengths, lengths)
    for (i, j), cosine in zip(((1, 2), (0, 2), (0, 1)), cosines, strict=True):
        metric[i, j] = metric[j, i] = metric[i, j] * cosine
    return metric


def _hash(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """One integer for each operation."""
    digits = (rotation.reshape(*rotation.shape[:-2], 9) + 4).astype(np.int64)
    code = digits @ (9 ** np.arange(9, dtype=np.int64))
    part = translation.astype(np.int64) @ np.array([1, 2521, 2521**2], np.int64)
    hashed: np.ndarray = code * np.int64(16_021_000_003) ^ part
    return hashed


def _unique(rotation: np.ndarray, translation: np.ndarray, source: str) -> Setting:
    flat = np.hstack([rotation.reshape(-1, 9), translation % DENOMINATOR])
    _, first = np.unique(flat, axis=0, return_index=True)
    flat = flat[np.sort(first)].astype(np.int64)
    return Setting(flat[:, :9].reshape(-1, 3, 3), flat[:, 9:], source)


@cache
def _number_of(keys: frozenset[tuple[int, ...]]) -> int:
    import spglib

    flat = np.array(sorted(keys), np.int64)
    try:
        found = spglib.get_spacegroup_type_from_symmetry(
            flat[:, :9].reshape(-1, 3, 3).astype(np.intc),
            flat[:, 9:] / DENOMINATOR,
        )
    except Exception:  # spglib's own errors differ between its versions
        return 0
    return 0 if found is None else int(found.number)


def listed_setting(tags: CifTags) -> Setting | str | None:
    """Operations that the block lists; None if it lists none; why not, as text."""
    texts: tuple[str, ...] = ()
    for tag in LISTED_TAGS:
        texts = tuple(t for t in tags.all(tag) if t.strip() not in ("", "?", "."))
        if texts:
            break
    if not texts:
        return None
    parsed = []
    for text in texts:
        operation = parse_operation(text)
        if operation is None:
            return f"the operation {text[:40]!r} is not understood"
        parsed.append(operation)
    rotation = np.array([r for r, _ in parsed], np.int64)
    translation = np.array([t for _, t in parsed], np.int64)
    return _unique(rotation, translation, "the operations listed")


_TERM = re.compile(r"([+-]?)(\d+\.?\d*/\d+\.?\d*|\d+\.?\d*|\.\d+)?\*?([xyz])?(/\d+)?")


_Operation = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]


@lru_cache(maxsize=4096)
def parse_operation(text: str) -> _Operation | None:
    """Read ``-y+0.667, x-y, 1/3+z``; None if it is no operation of a crystal."""
    numbered = re.sub(r"^\s*\d+\s*[).:]?\s+(?=[-+xyz])", "", text.lower())
    bare = re.sub(r"[\s'\"\[\]()]", "", numbered).rstrip(",;").replace("+-", "-")
    bare = re.sub(r"[^\x00-\x7f]", "-", bare)
    parts = re.split("[,;]", bare)
    if len(parts) != 3:
        return None
    rows, shifts = [], []
    for part in parts:
        row, shift, place = [0, 0, 0], 0.0, 0
        while place < len(part):
            match = _TERM.match(part, place)
            if match is None or match.end() == place or not (match[2] or match[3]):
                return None
            sign = -1 if match[1] == "-" else 1
            value = _ratio(match[2] or "1")
            if match[3] is None:
                shift += sign * value
            elif match[4] or value != 1.0:
                if match[4] or abs(value - round(value)) > 1e-6:
                    return None
                row["xyz".index(match[3])] += sign * round(value)
            else:
                row["xyz".index(match[3])] += sign
            place = match.end()
        snapped = _snap(shift)
        if snapped is None:
            return None
        rows.append(tuple(row))
        shifts.append(snapped % DENOMINATOR)
    if abs(round(float(np.linalg.det(np.array(rows, float))))) != 1:
        return None
    return tuple(rows), tuple(shifts)


def _ratio(text: str) -> float:
    top, _, bottom = text.partition("/")
    return float(top) / (float(bottom) or 1.0) if bottom else float(top)


def _snap(value: float) -> int | None:
    """The multiple of 1/24 that a decimal stands for, or of 1/5 … 1/10 if exact."""
    steps = round(value * 24)
    if abs(value - steps / 24) < _SNAP:
        return steps * (DENOMINATOR // 24)
    exact = round(value * DENOMINATOR)
    return exact if abs(value - exact / DENOMINATOR) < 1e-6 else None


@dataclass(frozen=True)
class Named:
    """What the block names: candidates, and how sure the name is.

    Attributes:
        settings: That the name may stand for; empty if it is not understood.
        number: Of the group, 0 if it is not understood.
        text: The name.
    """

    settings: tuple[Setting, ...]
    number: int
    text: str


def hall_setting(tags: CifTags) -> Setting | None:
    """Operations of a Hall symbol, None if there is none that is understood."""
    import gemmi

    text = tags.first(*HALL_TAGS)
    if not text:
        return None
    try:
        operations = gemmi.symops_from_hall(text.replace("_", " "))
    except (RuntimeError, ValueError):
        return None
    return _of_gemmi(operations, f"the Hall symbol {text}")


def symbol_settings(tags: CifTags, cell: Sequence[float]) -> Named | None:
    """Settings that the Hermann-Mauguin symbol may mean; None if there is none.

    Where two tags name different groups, both are candidates, and the number is 0.
    """
    texts = [text for text in (tags.first(tag) for tag in SYMBOL_TAGS) if text]
    if not texts and hall_setting(tags) is None:
        # Some write the Hermann-Mauguin symbol under the tag of Hall's.
        texts = [text for text in (tags.first(tag) for tag in HALL_TAGS) if text]
    read = [read_symbol(text, cell) for text in dict.fromkeys(texts)]
    understood = [named for named in read if named.settings]
    if len({named.number for named in understood}) > 1:
        return Named(
            tuple(setting for named in understood for setting in named.settings),
            0,
            " and ".join(named.text for named in understood),
        )
    return next(iter(understood or read), None)


def number_settings(tags: CifTags, cell: Sequence[float]) -> Named | None:
    """Settings of the group whose number is given; None if none is."""
    text = tags.first(*NUMBER_TAGS)
    if not text.isdigit() or not 1 <= int(text) <= 230:
        return None
    number = int(text)
    settings = [s for s, _ in _entries(number) if s.fits_cell(cell)]
    return Named(tuple(_distinct(settings)), number, f"number {number}")


_ORIGIN = re.compile(
    r"\(?\s*origin\s*(?:choice|at|no\.?)?\s*:?\s*([12])\s*\)?|:\s*([12])\s*$",
    re.IGNORECASE,
)


_AXES = re.compile(
    r"[:\s]+([HR])\s*$|\(?\s*(hexagonal|rhombohedral)\s*(axes)?\s*\)?$", re.IGNORECASE
)
_REMARK = re.compile(
    r"\(\s*(?:no\.?|#)\s*\d+\s*\)|\(?unique axis [abc]\)?|[:;,]+\s*$", re.IGNORECASE
)


def read_symbol(text: str, cell: Sequence[float]) -> Named:
    """Settings that a Hermann-Mauguin symbol may mean in a cell.

    Args:
        text: With or without blanks, underscores, ``:2`` or ``:H``, the ICSD's Z, S, H,
            R, or ``(origin choice 2)``.
        cell: Tells the unique axis and hexagonal from rhombohedral axes.
    """
    # 2~1~, 2<sub>1</sub>, 2sub1 and \bar{3}, 3bar, 3- as journals and pages write them.
    plain = re.sub(r"~(\d)~|<sub>(\d)</sub>|(?<=\d)sub(\d)", r"\1\2\3", text)
    plain = re.sub(r"\\(?:bar|overline)\s*\{?(\d)\}?", r"-\1", plain)
    plain = re.sub(r"([1346])(?:bar|-(?=\s*[a-z]?\s*\d?$))", r"-\1", plain)
    plain = re.sub(r"[_${}]", "", plain).strip()
    qualifier = ""
    origin = _ORIGIN.search(plain)
    if origin:
        qualifier = origin[1] or origin[2]
        plain = _ORIGIN.sub("", plain).strip()
    axes = _AXES.search(plain)
    if axes and len(plain[: axes.start()].strip()) > 1:
        qualifier = (axes[1] or axes[2])[0].upper()
        plain = plain[: axes.start()].strip()
    icsd = re.search(r"(?:\s+|(?<=[a-zA-Z0-9]))([ZS])$", plain)
    if icsd and len(plain) > 2:
        qualifier = "2" if icsd[1] == "Z" else "1"
        plain = plain[: icsd.start()].strip()
    plain = _REMARK.sub("", plain).strip()
    plain = re.sub(r":[-abc]+\d?$", "", plain).strip("'\"*.,; ")
    settings = _look_up(plain, qualifier, cell)
    if settings:
        return Named(tuple(settings), settings[0].number, text)
    return Named((), find_space_group(plain) if plain else 0, text)


def _look_up(plain: str, qualifier: str, cell: Sequence[float]) -> list[Setting]:
    import gemmi

    if not plain:
        return []
    index = _index()
    key = _key(plain)
    found = index.get(key) or index.get(_key(_modern(plain))) or []
    if not found:
        # The letter e of 2002 (C m c e), and spellings that gemmi knows.
        other: Any = gemmi.find_spacegroup_by_name(plain)
        found = index.get(_key(other.hm), []) if other is not None else []
    if not found:
        # A spelling of the standard symbol that gemmi's table lacks.
        number = find_space_group(plain)
        standard = {_key(g) for g in _standard_symbols(number)} if number else set()
        old = _key(plain).replace("-", "")
        if any(name.replace("-", "") == old for name in standard):
            found = _entries(number)
    settings = [
        setting
        for setting, kind in found
        if setting.fits_cell(cell)
        and (not qualifier or not kind or kind == qualifier or _differ(kind, qualifier))
    ]
    if not settings:
        # C2/a, B2_1/d, F2/m: no table lists all cells of the monoclinic groups.
        settings = [s for s in _monoclinic(plain) if s.fits_cell(cell)]
    settings = _distinct(settings)
    if len(settings) > 1 and _is_right_angled(cell):
        # A short monoclinic symbol in a cell without an oblique angle: axis b, or c
        # where there is none along b (B2/b).
        axes = [_unique_axis(s) for s in settings]
        wanted = 1 if 1 in axes else 2
        if min(axes) >= 0 and wanted in axes:
            return [s for s, x in zip(settings, axes, strict=True) if x == wanted]
    return settings


@cache
def _monoclinic(plain: str) -> tuple[Setting, ...]:
    """Settings that a monoclinic symbol says by itself, for each unique axis."""
    bare = re.sub(r"2\(1\)|2_1", "21", plain).strip()
    text = bare[:1].upper() + bare[1:].lower()
    derived = (
        _of_gemmi(operations, f"the symbol {plain}")
        for operations in derive_monoclinic(text)
    )
    # A quarter twice that is no vector of the centring contradicts itself.
    return tuple(setting for setting in derived if setting.is_group())


def _differ(kind: str, qualifier: str) -> bool:
    """Whether one is a choice of axes, the other one of origin."""
    return (kind in "HR") != (qualifier in "HR")


def _is_right_angled(cell: Sequence[float]) -> bool:
    return all(abs(angle - 90.0) < 0.01 for angle in cell[3:])


def _unique_axis(setting: Setting) -> int:
    """Axis of a monoclinic setting, -1 if it is of another system."""
    turns = [r for r in setting.rotation if not np.array_equal(np.abs(r.sum()), 3)]
    axes = set()
    for turn in turns:
        if np.count_nonzero(turn - np.diag(np.diag(turn))):
            return -1
        signs = np.diag(turn) * round(float(np.linalg.det(turn)))
        if (signs > 0).sum() == 1:
            axes.add(int(signs.argmax()))
    return axes.pop() if len(axes) == 1 else -1


def _modern(plain: str) -> str:
    """``F d 3 m`` as ``F d -3 m``."""
    return re.sub(r"(?<=[a-z0-9/])(\s*)3(\s*)(?=[mcnd]?$)", r"\1-3\2", plain)


def _key(text: str) -> str:
    """A symbol without what is written differently: blanks, case of the lattice."""
    bare = re.sub(r"[\s_]|\((?=\d\))|(?<=\d)\)", "", text)
    return bare[:1].upper() + bare[1:].lower()


def _distinct(settings: Sequence[Setting]) -> list[Setting]:
    seen: dict[frozenset[tuple[int, ...]], Setting] = {}
    for setting in settings:
        seen.setdefault(setting.keys, setting)
    return list(seen.values())


@cache
def _index() -> dict[str, list[tuple[Setting, str]]]:
    """Settings by the spellings of their symbols, with ``1``, ``2``, ``H``, ``R``."""
    import gemmi
    import spglib

    index: dict[str, list[tuple[Setting, str]]] = {}

    def put(key: str, entry: tuple[Setting, str]) -> None:
        held = index.setdefault(key, [])
        if all(entry[0].keys != other.keys for other, _ in held):
            held.append(entry)

    by_keys: dict[frozenset[tuple[int, ...]], str] = {}
    for group in gemmi.spacegroup_table():
        entry = _of_group(group)
        by_keys[entry[0].keys] = group.hm
        put(_key(group.hm), entry)
        # "P 1 21/c 1" is written P21/c, with a unique axis that the cell tells.
        parts = group.hm.split()
        if len(parts) == 4 and parts.count("1") == 2 and 3 <= group.number <= 15:
            put(_key("".join(part for part in parts if part != "1")), entry)
        put(_key(group.short_name()), entry)
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        data = spglib.get_symmetry_from_database(hall)
        setting = _unique(
            np.asarray(data["rotations"], np.int64),
            np.rint(np.asarray(data["translations"]) * DENOMINATOR).astype(np.int64),
            kind.international_full.replace("_", ""),
        )
        choice = kind.choice if kind.choice in ("1", "2", "H", "R") else ""
        put(_key(kind.international_full), (setting, choice))
    return index


@cache
def _entries(number: int) -> list[tuple[Setting, str]]:
    import gemmi

    return [
        _of_group(group) for group in gemmi.spacegroup_table() if group.number == number
    ]


@cache
def _standard_symbols(number: int) -> tuple[str, ...]:
    import gemmi

    return tuple(
        group.hm for group in gemmi.spacegroup_table() if group.number == number
    )


def _of_group(group: Any) -> tuple[Setting, str]:
    kind = group.ext if group.ext in ("1", "2", "H", "R") else ""
    return _of_gemmi(group.operations(), f"the symbol {group.xhm()}"), kind


def _of_gemmi(operations: Any, source: str) -> Setting:
    listed = list(operations)
    return _unique(
        np.array([op.rot for op in listed], np.int64) // 24,
        np.array([op.tran for op in listed], np.int64) * (DENOMINATOR // 24),
        source,
    )
