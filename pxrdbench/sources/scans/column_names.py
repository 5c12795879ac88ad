"""Which column is the axis and which the intensities: names and header lines say so.

Names are looked for in the header line by line, the last first, cut as the rows are,
then otherwise. A name that is not known asks, and a header that speaks of another
quantity than an angle without naming a column does, too.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.quantity import (
    INTENSITY,
    MONITOR,
    SIGMA,
    TWO_THETA,
    Quantity,
    read_quantity,
)

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
_NOT_FINITE = {"nan", "inf", "infinity"}
# `# unit = q_A^-1`, `x-axis: Q [1/A]`, PDFgetX3's `dataformat = QA`.
_AXIS_LINE = re.compile(
    r"[#!;%*/\s]*(?:x?[\s_-]*(?:unit|axis|label)s?|abscissa|data[\s_-]*format|"
    r"scan[\s_-]*unit)\w*\s*[:=\s]\s*(.+)",
    re.I,
)
# `x: q_nm^-1`, `column 1 = Q (1/A)`, `data columns: Q, I, err`, `1. column: d [nm]`.
_COLUMN_LINE = re.compile(
    r"[#!;%*/\s]*(?:x|(?:data[\s_]*)?(?:columns?|col|fields?|axes)[\s_#]*1?|"
    r"1(?:st|\.)?\s*col(?:umn)?|first\s+column)\s*(?:[:=]|\bis\b)\s*(.+)",
    re.I,
)
# FIT2D's second line, alone: `2-Theta Angle (Degrees)`, `Radial Distance (mm)`.
_AXIS_ALONE = re.compile(
    r"(?:2[\s_-]*th(?:eta)?(?:[\s_-]*angle)?|q|radial[\s_-]*distance|d[\s_-]*spacing|"
    r"scattering[\s_-]*(?:angle|vector)|momentum[\s_-]*transfer|azimuth\w*)"
    r"\s*(?:[(\[][^()\[\]]*[)\]])?",
    re.I,
)
# What a header may say that is no angle in degrees; a value behind it is a setting.
_OTHER_AXIS = re.compile(
    r"scattering[\s_-]*vector|momentum[\s_-]*transfer|(?<![a-z])q[\s_]*[(\[/]|"
    r"1\s*/\s*(?:å|angstrom|nm)\b|(?:å|nm|angstroms?)\s*\^?\s*[({]?-1|[å]⁻¹|nm⁻¹|"
    r"inverse[\s_-]*(?:å|angstr|nano|nm)|time[\s_-]*of[\s_-]*flight|\btof\b|"
    r"binding[\s_-]*energy|raman|wave[\s_-]*number|cm\s*\^?-1|pair[\s_-]*distribution|"
    r"\bg\(r\)|d[\s_-]*spacing|(?<![a-z])m?rad(?:ians?)?(?![a-z])",
    re.I,
)
_PLAIN_NAMES = {"x", "y", "z", "x-axis", "y-axis"}
# Columns beside the measured intensities that are none, whatever else they are called.
_CALCULATED = re.compile(r"calc|cal\b|cal$|ycal|\bfit\b|_fit|model|simul", re.I)
_NO_COUNTS = re.compile(
    r"bkg|back|bgr?\b|diff(?!rac)|resid|delta|weight|yobs-ycal|obs-calc", re.I
)
_OBSERVED = re.compile(r"obs|meas|raw|exp\b|counts?", re.I)


@dataclass(frozen=True)
class NamedColumn:
    """A column and what it is."""

    place: int
    quantity: Quantity
    name: str


@dataclass(frozen=True)
class Chosen:
    """What the columns of a table are.

    Attributes:
        axis: Angle, Q, d ….
        counts: Intensities.
        sigma: Column of their uncertainties, if there is one.
        said: What says so of the axis.
        warnings: One sentence each.
    """

    axis: NamedColumn
    counts: NamedColumn
    sigma: int | None
    said: str
    warnings: tuple[str, ...] = ()

    @property
    def is_assumed(self) -> bool:
        """Whether nothing says what the axis is."""
        return self.said.startswith("assumed")


def is_number(cell: str) -> bool:
    """Whether a cell is a number, or none that is finite."""
    return bool(NUMBER.fullmatch(cell)) or cell.lower().lstrip("+-") in _NOT_FINITE


# What stands before the names of a header line; the first of several names may be
# empty, as in ";2theta;counts".
_MARKS = (
    r"^[#!;%*/\s]+(?:L\s+)?",
    r"^[#!;%*/\s]*(?:data\s+)?columns?\s*[:=]\s*",
    r"^[#!%*/\s]+",
    r"^;\s+",
    r"^",
)
_SETTING = re.compile(
    r"[:=]\s*[-+]?[\d.]+(?:e[-+]?\d+)?\s*(?:å|a|nm|angstrom\w*|k?ev|m)?$", re.I
)
# Words that say that a line speaks of columns, and names none.
_ABOUT = re.compile(r"^(?:(?:x-?)?units?|axis|axes|columns?|data|label|scan)$", re.I)


def find_names(header: list[str], delimiter: str | None, width: int) -> list[str]:
    """Names of the columns: the last header line that names one that is known.

    Args:
        header: Its lines.
        delimiter: That cuts the rows; None for blanks.
        width: Columns of the first row.
    """
    if len(header) > 1:
        both = _with_units(header[-1], header[-2], delimiter, width)
        if both:
            return both
    for line in reversed(header):
        for cells in _cut(line, delimiter):
            names = [_bare(cell) for cell in cells]
            while len(names) > width and not names[-1]:
                names.pop()
            if len(names) == width and _are_names(names):
                return names
    if not header:
        return []
    grouped = list(_in_groups(header[-1], width))
    if grouped:
        # The unit belongs to the name before it.
        return next((n for n in grouped if _has_unit(n[0])), grouped[0])
    return _unknown_names(header[-1], delimiter, width)


def _has_unit(name: str) -> bool:
    quantity = read_quantity(name)
    return quantity is not None and bool(quantity.unit)


def _bare(cell: str) -> str:
    return cell.strip().strip("\"'").strip().rstrip(",;").strip()


def _in_groups(line: str, width: int) -> Iterator[list[str]]:
    """Names with blanks in them, ``Q (1/A) Intensity (counts)``, cut where both fit."""
    words = re.sub(r"^[#!;%*/\s]+(?:L\s+)?", "", line).split()
    if not width < len(words) <= 10 or width > 3:
        return
    for ends in combinations(range(1, len(words)), width - 1):
        bounds = [0, *ends, len(words)]
        names = [" ".join(words[a:b]) for a, b in pairwise(bounds)]
        known = [read_quantity(name) for name in names]
        if any(quantity is None for quantity in known) or re.search(r"[:=]", line):
            continue
        if any(name.startswith(("(", "[")) for name in names):
            continue
        kinds = [quantity.kind for quantity in known if quantity is not None]
        if kinds[0] not in (INTENSITY, SIGMA, MONITOR) and all(
            kind in (INTENSITY, SIGMA, MONITOR) for kind in kinds[1:]
        ):
            yield names


def _unknown_names(line: str, delimiter: str | None, width: int) -> list[str]:
    """Names of which none is known, cut as the rows are: ``Field;Moment``."""
    if delimiter is None or line.startswith(("#", "!", "%", "*", "/", "'")):
        return []
    names = [_bare(cell) for cell in next(csv.reader([line], delimiter=delimiter), [])]
    if len(names) != width or {name.lower() for name in names} <= _PLAIN_NAMES:
        return []
    word = r"[^\W\d_][^\s:=]*(?:\s*[(\[][^()\[\]]*[)\]])?"
    return names if all(re.fullmatch(word, name) for name in names) else []


_UNIT_ONLY = re.compile(
    r"[\s(\[]*(?:(?:°|deg\w*|m?rad\w*|nm|å|a|angstr\w*|1/\w+|nm\^?[({]?-1[)}]?|"
    r"[aå]\^?[({]?-1[)}]?|counts?(?:/s)?|cps|cts|a\.?\s?u\.?|arb\.?\s?units?|s|"
    r"[a-zå]+\s?⁻¹)?)[)\]\s]*",
    re.IGNORECASE,
)


def _with_units(line: str, before: str, delimiter: str | None, width: int) -> list[str]:
    """Names of one line with the units of the next, where that holds nothing else."""
    for units in _cut(line, delimiter):
        if len(units) != width or not all(_UNIT_ONLY.fullmatch(u) for u in units):
            continue
        if not any(unit.strip() for unit in units):
            continue
        for cells in _cut(before, delimiter):
            names = [_bare(cell) for cell in cells]
            if any(re.search(r"[:=]", name) for name in names):
                continue
            # A unit belongs to the axis; counts need none.
            joined = [
                f"{n} ({u.strip(' ()[]')})"
                if u.strip() and not re.search(r"[(\[]", n)
                else n
                for n, u in zip(names, units, strict=False)
            ]
            if len(names) == width and (_are_names(names) or _are_names(joined)):
                return joined
    return []


def _cut(line: str, delimiter: str | None) -> list[list[str]]:
    """A line of a header, cut in each way that names may be; as the rows are, first."""
    choices = []
    for cut in dict.fromkeys((delimiter, ",", ";", "\t", None)):
        for mark in _MARKS:
            bare = re.sub(mark, "", line)
            if cut is None:
                choices += [re.split(r"\s{2,}|\t", bare.strip()), bare.split()]
            else:
                choices.append(next(csv.reader([bare], delimiter=cut), []))
    return choices


def _are_names(names: list[str]) -> bool:
    """Whether cells are names of columns, one of which is known at least."""
    if any(is_number(name) for name in names) or not any(names[1:]):
        return False
    # "Lambda 1: 1.5406" is a setting.
    if any(_SETTING.search(name) for name in names):
        return False
    if _ABOUT.search(names[0].rstrip(":=")):
        return False
    if not all(re.search(r"[^\W\d]|°|√", name) for name in names[1:]):
        return False
    known = [read_quantity(name) for name in names]
    if any(re.search(r"[:=]", name) for name in names):
        return all(known)
    if {name.lower() for name in names} <= _PLAIN_NAMES:
        return False
    # "Sample intensity" as a title of two words: the known one must be short.
    return any(
        quantity is not None and len(name.split()) <= 6
        for quantity, name in zip(known, names, strict=True)
    )


def choose_columns(
    names: list[str],
    header: list[str],
    table: np.ndarray,
    suffix: str,
    name: str,
    *,
    is_spec: bool = False,
) -> Chosen:
    """Say which columns are the axis, the intensity and σ.

    Args:
        names: Of the columns, as `find_names` found them.
        header: Its lines.
        table: The numbers, a row a line.
        suffix: Of the file; ``.xye`` says that the third column is σ.
        name: Of the file, for messages.
        is_spec: Whether SPEC wrote it, whose detector is the last column.

    Raises:
        SourceError: If the columns are named, and none is an angle or can be turned
            into one, or it is not told which are the intensities.
    """
    width = table.shape[1]
    if not names:
        return _choose_without_names(header, table, suffix, name)
    known = [read_quantity(text) for text in names]
    place = next((i for i, q in enumerate(known) if _is(q, TWO_THETA)), None)
    if place is None and names[0].lower() not in _PLAIN_NAMES:
        others = (INTENSITY, SIGMA, MONITOR)
        place = next(
            (i for i, q in enumerate(known) if q is not None and q.kind not in others),
            None,
        )
    said = "" if place is None else f"the column {names[place]!r}"
    if place is None:
        place = 0
        # A line of the header may say what a column without a name is.
        quantity, said = _find_axis(header)
        if not said and names[0].lower() not in ("", *_PLAIN_NAMES):
            raise SourceError(
                f"{name}: the columns are named {', '.join(names)[:80]}, none of them "
                "an angle 2θ; name the column of angles 2theta"
            )
        said = said or "assumed: the first column is 2θ by custom"
    else:
        quantity = known[place] or Quantity(TWO_THETA, "degrees")
    others_at = [i for i in range(min(width, len(names))) if i != place]
    sigma = next((i for i in others_at if _is(known[i], SIGMA)), None)
    second = [i for i in others_at if i > place + 1 and _is(known[i], TWO_THETA)]
    if second and _is(known[place], TWO_THETA) and second[0] + 1 < width:
        both = f"{names[place]!r} and {names[second[0]]!r}"
        raise SourceError(
            f"{name}: two columns of angles, {both[:80]}; give each scan a file of its "
            "own"
        )
    counts_at = _find_counts(names, known, others_at, place, table, name, is_spec)
    if counts_at is None:
        rest = [i for i in others_at if i != sigma]
        counts_at = next((i for i in rest if i > place), rest[0] if rest else None)
    if counts_at is None or max(place, counts_at) >= width:
        raise SourceError(f"{name}: no column of intensities beside {names[place]!r}")
    if _NO_COUNTS.search(names[counts_at]):
        raise SourceError(
            f"{name}: the only intensities are {names[counts_at][:60]!r}; give those "
            "that were measured"
        )
    if sigma is None and suffix == ".xye" and width > 2:
        sigma = 2
    found = known[counts_at]
    counts = NamedColumn(
        counts_at,
        found if found is not None and found.kind == INTENSITY else Quantity(INTENSITY),
        names[counts_at],
    )
    return Chosen(NamedColumn(place, quantity, names[place]), counts, sigma, said)


def _choose_without_names(
    header: list[str], table: np.ndarray, suffix: str, name: str
) -> Chosen:
    """The first column is the axis and the second the intensity, unless a line says."""
    width = table.shape[1]
    quantity, said = _find_axis(header)
    counts = NamedColumn(1, _find_transform(header), "the second column")
    axis = NamedColumn(0, quantity, said.removeprefix("the line ").strip("'"))
    if said:
        warnings: tuple[str, ...] = ()
    else:
        said = "assumed: columns without names, the first is 2θ by custom"
        line = _speaks_of_another(header)
        if line:
            raise SourceError(
                f"{name}: the line {line[:60]!a} speaks of another quantity than "
                "2θ, and the columns have no names; name the first one (2theta, "
                "Q (1/A), d (A) …)"
            )
    if width == 2 or suffix == ".xye":
        return Chosen(axis, counts, 2 if width > 2 else None, said)
    steps = np.diff(table[:, 1])
    if len(steps) > 10 and ((steps > 0.0).all() or (steps < 0.0).all()):
        raise SourceError(
            f"{name}: {width} columns without names, the second of which rises or "
            "falls steadily and is no intensity; name them, or give the angles and "
            "the intensities"
        )
    warnings = (
        f"There are {width} columns without names: the first is taken for the "
        "angle, the second for the intensity.",
    )
    return Chosen(axis, counts, None, said, warnings)


def _speaks_of_another(header: list[str]) -> str:
    """A header line that speaks of Q, d, time … and states no value of it."""
    for line in header:
        is_setting = re.search(r"[:=]\s*[\"']?[-+.]?\d", line)
        is_angle = re.search(r"2[\s_-]*th|two[\s_-]*th|2\s*θ", line, re.IGNORECASE)
        if _OTHER_AXIS.search(line) and not is_setting and not is_angle:
            return line.strip()
    return ""


def _find_counts(
    names: list[str],
    known: list[Quantity | None],
    others: list[int],
    place: int,
    table: np.ndarray,
    name: str,
    is_spec: bool,
) -> int | None:
    """Column of the measured intensities; None if none is called that."""
    counted = [i for i in others if _is(known[i], INTENSITY) and i < table.shape[1]]
    measured = [i for i in counted if not _NO_COUNTS.search(names[i])]
    measured = [i for i in measured if not _CALCULATED.search(names[i])] or measured
    if len(measured) > 1 and not is_spec:
        observed = [i for i in measured if _OBSERVED.search(names[i])]
        if len(observed) != 1 and not _are_proportional(table[:, measured]):
            shown = ", ".join(names[i] for i in measured)[:80]
            raise SourceError(
                f"{name}: any of the columns {shown} may be the intensities; give the "
                "angles and one of them"
            )
        measured = observed if len(observed) == 1 else measured
    if measured:
        return measured[0]
    free = [i for i in others if known[i] is None and names[i]]
    free = [i for i in free if i > place] or free
    if is_spec:
        free = free[-1:]  # SPEC puts the detector last
    if len(free) > 1:
        shown = ", ".join(names[i] for i in free)[:80]
        raise SourceError(
            f"{name}: any of the columns {shown} may be the intensities; give the "
            "angles and one of them"
        )
    return free[0] if free else next(iter(counted), None)


def _are_proportional(columns: np.ndarray) -> bool:
    """Whether all columns are the first one on other scales: counts and cps."""
    highest = np.abs(columns).max(axis=0)
    if not (np.isfinite(highest).all() and (highest > 0.0).all()):
        return False
    scaled = columns / highest
    return bool((np.abs(scaled - scaled[:, :1]) < 0.01).all())


def _is(quantity: Quantity | None, kind: str) -> bool:
    return quantity is not None and quantity.kind == kind


def _find_axis(header: list[str]) -> tuple[Quantity, str]:
    """What a line of the header says of the axis, and the line; 2θ if none does."""
    for line in header:
        match = _AXIS_LINE.match(line)
        found = read_quantity(match[1]) if match else None
        match = _COLUMN_LINE.match(line) if found is None else None
        if match:
            found = read_quantity(re.split(r"[,;|\t]", match[1])[0])
        bare = line.lstrip("#!;%*/ ").strip()
        if found is None and _AXIS_ALONE.fullmatch(bare):
            found = read_quantity(bare)
        if found is not None and found.kind not in (INTENSITY, SIGMA, MONITOR):
            return found, f"the line {line.strip()[:80]!r}"
    return Quantity(TWO_THETA, "degrees"), ""


def _find_transform(header: list[str]) -> Quantity:
    """Whether a line of its own says that intensities are logarithms or roots."""
    for line in header:
        bare = line.lstrip("#!;%*/ ").strip()
        found = read_quantity(bare) if len(bare.split()) <= 3 else None
        if found is not None and found.kind == INTENSITY and found.transform:
            return found
    return Quantity(INTENSITY)
