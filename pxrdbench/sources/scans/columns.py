"""Scans as columns of text: xy, xye, csv, tsv, and RRUFF's own dialect of it.

A column is an angle only if something says so: its name, a line of the header, or that
there is no name at all and the first of two columns is one by custom.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    make_pattern,
)
from pxrdbench.sources.scans.quantity import (
    INTENSITY,
    MONITOR,
    SIGMA,
    TWO_THETA,
    Quantity,
    is_of_peaks,
    read_quantity,
    to_two_theta,
    undo_transform,
)
from pxrdbench.sources.scans.stated_radiation import find_stated_radiation

# Lines that say nothing of the scan itself.
_COMMENT = ("#", "!", ";", "'", "/*", "//", "*", "%", "$")
_MAX_HEADER_LINES = 500
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?(\d+(,\d*)?|,\d+)([eEdD][-+]?\d+)?")
_GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_SPACED = re.compile(r"[-+]?\d{1,3}([\s'\u2019]\d{3})+([.,]\d+)?")
_GROUPED_POINT = re.compile(r"[-+]?\d{1,3}(\.\d{3})+(,\d+)?")
# `# unit = q_A^-1`, `x-axis: Q [1/A]`, PDFgetX3's `dataformat = QA`.
_AXIS_LINE = re.compile(
    r"[#!;%*/\s]*(?:x?[\s_-]*(?:unit|axis|label)s?|abscissa|data[\s_-]*format|"
    r"scan[\s_-]*unit)\w*\s*[:=\s]\s*(.+)",
    re.I,
)
# FIT2D's second line, alone: `2-Theta Angle (Degrees)`, `Radial Distance (mm)`.
_AXIS_ALONE = re.compile(
    r"(?:2[\s_-]*th(?:eta)?(?:[\s_-]*angle)?|q|radial[\s_-]*distance|d[\s_-]*spacing|"
    r"scattering[\s_-]*(?:angle|vector)|momentum[\s_-]*transfer|azimuth\w*)"
    r"\s*(?:[(\[][^()\[\]]*[)\]])?",
    re.I,
)
_PLAIN_NAMES = {"x", "y", "z", "x-axis", "y-axis"}


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are cut: by what, and what a comma means."""

    delimiter: str | None
    has_decimal_commas: bool

    def split(self, line: str) -> list[str]:
        """The cells of a line as plain numbers; blank ones at its end are dropped."""
        if self.delimiter is not None and '"' in line:
            raw = next(csv.reader([line], delimiter=self.delimiter), [])
        else:
            raw = line.split(self.delimiter)
        cells = [cell.strip().strip("\"'").strip() for cell in raw]
        if self.delimiter is not None:
            # 1 234,5 and 1'234.5, with whichever blank or apostrophe.
            cells = [
                re.sub(r"[\s'\u2019]", "", cell) if _SPACED.fullmatch(cell) else cell
                for cell in cells
            ]
        cells = [self._plain(cell) for cell in cells]
        while cells and not cells[-1]:
            cells.pop()
        return cells

    def _plain(self, cell: str) -> str:
        """A number as Python reads it; anything else as it is."""
        if self.has_decimal_commas:
            if "." in cell and _GROUPED_POINT.fullmatch(cell):
                return cell.replace(".", "").replace(",", ".")
            # "179.5" among decimal commas may be either: no number, so it is refused.
            if "." in cell and _NUMBER.fullmatch(cell):
                return f"{cell}?"
            cell = cell.replace(",", ".")
        elif "," in cell and _GROUPED.fullmatch(cell):
            return cell.replace(",", "")
        if _NUMBER.fullmatch(cell):
            return cell.replace("D", "E").replace("d", "e")
        return cell


def read_columns(
    text: str, name: str, suffix: str, radiation: Radiation | None = None
) -> tuple[MeasuredPattern, ...]:
    """Read angles, intensities and perhaps uncertainties from columns.

    Args:
        text: Of the file.
        name: For messages.
        suffix: Of the file name; ``.xye`` says that the third column is σ.
        radiation: Converts Q and d where the file does not say what it was.

    Raises:
        SourceError: If these are no columns of numbers that can be a scan, or nothing
            says that one of them can be turned into an angle.
    """
    lines = _without_blocks(text.rstrip("\x1a \t\r\n")).splitlines()
    header, start, layout = _find_start(lines, name)
    rows, line_numbers = _read_rows(lines, start, layout, name)
    rows, line_numbers, warnings = _drop_count(rows, line_numbers, bool(header))
    width = len(rows[0])
    names = _find_names(header, layout, width)
    _check_width(rows, line_numbers, len(names) or width, layout, name)
    is_spec = any(line.startswith("#L ") for line in header)
    if is_spec and names:
        _refuse_rocking(names, name)
    axis, counts, sigma, said, more = _choose(
        names, header, width, suffix, name, is_spec
    )
    stated, line = find_stated_radiation(header)
    table = _as_table(rows, line_numbers, name)
    _refuse_peaks(names, table[:, axis.place], name)
    used = stated if stated is not None else radiation
    scans = _split_repeats(table, axis.place)
    made = []
    for number, scan in enumerate(scans, 1):
        angles = to_two_theta(scan[:, axis.place], axis.quantity, used, name, axis.name)
        intensity = undo_transform(
            scan[:, counts.place], counts.quantity.transform, name, counts.name
        )
        # Angles fall where d rises.
        turn = -1 if _falls(angles, axis.quantity) else 1
        made.append(
            make_pattern(
                angles[::turn],
                intensity[::turn],
                stated,
                None if sigma is None else scan[::turn, sigma],
                name if len(scans) == 1 else f"{name} (scan {number})",
                _read_metadata(header),
                (*warnings, *more),
                quantity=axis.quantity.kind,
                unit=axis.quantity.unit,
                stated={"quantity": said, "radiation": line or "not stated"},
            )
        )
    return tuple(made)


@dataclass(frozen=True)
class _Column:
    """A column and what it is."""

    place: int
    quantity: Quantity
    name: str


def _without_blocks(text: str) -> str:
    """The text without comments from ``/*`` to ``*/``; lines keep their numbers."""
    return re.sub(
        r"/\*.*?\*/",
        lambda match: "\n".join("# " + x for x in match[0].split("\n")),
        text,
        flags=re.DOTALL,
    )


def _refuse_rocking(names: list[str], name: str) -> None:
    """Refuse SPEC's scans over theta alone: the detector stands still."""
    if re.fullmatch(r"th|theta|omega|om|eta|mu", names[0], re.IGNORECASE):
        raise SourceError(
            f"{name}: a SPEC scan over {names[0]!r}, a rocking curve; only scans over "
            "2θ are read"
        )


def _falls(angles: np.ndarray, quantity: Quantity) -> bool:
    return (
        quantity.kind == "d" and len(angles) > 1 and bool((np.diff(angles) < 0).all())
    )


def _refuse_peaks(names: list[str], angles: np.ndarray, name: str) -> None:
    """Refuse a table of peaks, which is read as a scan with strange steps."""
    steps = np.diff(angles)
    if len(steps) < 4 or not (steps > 0.0).all():
        return
    usual = float(np.median(steps))
    n_even = int((np.abs(steps - usual) < 0.1 * usual).sum())
    is_uneven = n_even < 0.5 * len(steps)
    if is_uneven and (is_of_peaks(names) or (len(steps) < 300 and usual > 0.3)):
        raise SourceError(
            f"{name}: {len(angles)} rows at uneven steps are a list of peaks, not a "
            "scan; give the measured pattern with all its points"
        )


def _split_repeats(table: np.ndarray, angle: int) -> list[np.ndarray]:
    """Cut where the angles begin again, if they do so in scans of equal length."""
    angles = table[:, angle]
    starts = np.flatnonzero(angles == angles[0])
    scans = np.split(table, starts[1:])
    if len(scans) > 1 and len(scans[0]) > 1 and len({len(s) for s in scans}) == 1:
        return scans
    return [table]


def _find_start(lines: Sequence[str], name: str) -> tuple[list[str], int, _Layout]:
    """Header lines, the first line of numbers, and how lines are cut."""
    header: list[str] = []
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped:
            continue
        if not stripped.startswith(_COMMENT):
            layout = _guess(stripped, _next_line(lines, number))
            if layout is not None:
                return header, number, layout
        header.append(stripped)
        if len(header) > _MAX_HEADER_LINES:
            break
    if not header:
        raise SourceError(f"{name}: the file is empty")
    raise SourceError(
        f"{name}: no two columns of numbers are found (line 1 reads "
        f"{_show(header[0])}); a scan has an angle 2θ and an intensity in each line"
    )


def _next_line(lines: Sequence[str], number: int) -> str:
    """The next line of any content; a header may hold numbers, two lines seldom do."""
    for line in lines[number + 1 : number + 50]:
        if line.strip() and not line.strip().startswith(_COMMENT):
            return line.strip()
    return ""


def _guess(line: str, following: str) -> _Layout | None:
    """How two lines of at least two numbers are cut, or None."""
    choices = []
    for delimiter in (";", "\t", "|"):
        if delimiter in line:
            choices += [_Layout(delimiter, False), _Layout(delimiter, True)]
    if "," in line:
        # "10,02 179,5" has decimal commas; "10.0, 179.0" and "10,179" do not.
        cells = line.split()
        if (
            len(cells) > 1
            and all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
            and not any(cell.endswith(",") for cell in cells[:-1])
        ):
            choices.append(_Layout(None, True))
        choices.append(_Layout(",", False))
    # "10 5" may be followed by "10,02 6".
    choices += [_Layout(None, False), _Layout(None, True)]
    for layout in choices:
        if all(
            len(cells) > 1 and all(_is_number(cell) for cell in cells[:2])
            for cells in (layout.split(line), layout.split(following or line))
        ):
            return layout
    return None


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) or cell.lower().lstrip("+-") in _NOT_FINITE


def _first_cell(cells: list[str]) -> str:
    return cells[0] if cells else ""


_NOT_FINITE = {"nan", "inf", "infinity"}


def _read_rows(
    lines: Sequence[str], start: int, layout: _Layout, name: str
) -> tuple[list[list[str]], list[int]]:
    """Cells of all lines of numbers, to the end or to RRUFF's ``##END=``."""
    rows, numbers = [], []
    width = len(layout.split(lines[start].strip()))
    for number in range(start, len(lines)):
        line = lines[number].strip()
        if not line:
            continue
        if line.startswith(_COMMENT):
            if line.upper().startswith("##END"):
                break
            continue
        cells = layout.split(line)
        if len(cells) < min(width, 2) or not _is_number(_first_cell(cells)):
            raise SourceError(
                f"{name}: line {number + 1} reads {_show(line)} where an angle and an "
                "intensity are expected"
            )
        rows.append(cells)
        numbers.append(number + 1)
        if len(rows) > MAX_POINTS:
            raise SourceError(
                f"{name}: more than {MAX_POINTS:,} points; add up neighbouring points "
                "first"
            )
    return rows, numbers


def _drop_count(
    rows: list[list[str]], numbers: list[int], has_header: bool
) -> tuple[list[list[str]], list[int], tuple[str, ...]]:
    """Drop a first line of whole numbers that belongs to the header, as FIT2D's."""
    if not has_header or len(rows) < 6:
        return rows, numbers, ()
    first, rest = rows[0][:2], [row[0] for row in rows[1:6]]
    if not all(re.fullmatch(r"[-+]?\d+", cell) for cell in first):
        return rows, numbers, ()
    if not all("." in cell or "e" in cell.lower() for cell in rest):
        return rows, numbers, ()
    try:
        values = np.array([rows[0][0], *rest], np.float64)
    except ValueError:
        return rows, numbers, ()
    steps = np.diff(values)
    if abs(steps[0]) > 5.0 * abs(float(np.median(steps[1:]))):
        said = f"Line {numbers[0]} ({' '.join(first)}) is taken for the header's."
        return rows[1:], numbers[1:], (said,)
    return rows, numbers, ()


def _check_width(
    rows: list[list[str]], numbers: list[int], width: int, layout: _Layout, name: str
) -> None:
    """Refuse rows with more cells than there are columns: 1,174 is one number."""
    for cells, number in zip(rows, numbers, strict=True):
        if len(cells) > width and any(_is_number(cell) for cell in cells[width:]):
            hint = (
                "; write numbers without separators of thousands"
                if layout.delimiter == ","
                else ""
            )
            raise SourceError(
                f"{name}: line {number} has {len(cells)} columns where the first has "
                f"{width}{hint}"
            )


# What stands before the names of a header line; the first of several names may be
# empty, as in ";2theta;counts".
_MARKS = (
    r"^[#!;%*/\s]+(?:L\s+)?",
    r"^[#!;%*/\s]*columns?\s*[:=]\s*",
    r"^[#!%*/\s]+",
    r"^;\s+",
    r"^",
)
# Words that say that a line speaks of columns, and names none.
_ABOUT = re.compile(r"^(?:(?:x-?)?units?|axis|axes|columns?|data|label|scan)$", re.I)


def _find_names(header: list[str], layout: _Layout, width: int) -> list[str]:
    """Names of the columns: the last header line that names one that is known."""
    if len(header) > 1:
        both = _with_units(header[-1], header[-2], layout, width)
        if both:
            return both
    for line in reversed(header):
        for cells in _cut(line, layout.delimiter):
            names = [cell.strip().strip("\"'").strip() for cell in cells]
            while len(names) > width and not names[-1]:
                names.pop()
            if len(names) == width and _are_names(names):
                return names
    return []


_UNIT_ONLY = re.compile(
    r"[\s(\[]*(?:(?:°|deg\w*|m?rad\w*|nm|å|a|angstr\w*|1/\w+|nm\^?[({]?-1[)}]?|"
    r"[aå]\^?[({]?-1[)}]?|counts?(?:/s)?|cps|cts|a\.?\s?u\.?|arb\.?\s?units?|s|"
    r"[a-zå]+\s?⁻¹)?)[)\]\s]*",
    re.IGNORECASE,
)


def _with_units(line: str, before: str, layout: _Layout, width: int) -> list[str]:
    """Names of one line with the units of the next, where that holds nothing else."""
    for units in _cut(line, layout.delimiter):
        if len(units) != width or not all(_UNIT_ONLY.fullmatch(u) for u in units):
            continue
        if not any(unit.strip() for unit in units):
            continue
        for cells in _cut(before, layout.delimiter):
            names = [cell.strip().strip("\"'").strip() for cell in cells]
            if len(names) == width and _are_names(names):
                pairs = zip(names, units, strict=True)
                # A unit belongs to the axis; counts need none.
                return [
                    f"{n} ({u.strip(' ()[]')})"
                    if u.strip() and not re.search(r"[(\[]", n)
                    else n
                    for n, u in pairs
                ]
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
    if any(_is_number(name) for name in names) or not any(names[1:]):
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


def _choose(
    names: list[str],
    header: list[str],
    width: int,
    suffix: str,
    name: str,
    is_spec: bool = False,
) -> tuple[_Column, _Column, int | None, str, tuple[str, ...]]:
    """Columns of the axis, the intensity and σ (or None), who says so, warnings."""
    if not names:
        quantity, said = _find_axis(header)
        counts = _Column(1, _find_transform(header), "the second column")
        column = _Column(0, quantity, said.removeprefix("the line ").strip("'"))
        if not said:
            said = "assumed: columns without names, the first is 2θ by custom"
        if width == 2 or suffix == ".xye":
            return column, counts, 2 if width > 2 else None, said, ()
        warning = (
            f"There are {width} columns without names: the first is taken for the "
            "angle, the second for the intensity."
        )
        return column, counts, None, said, (warning,)
    known = [read_quantity(text) for text in names]
    place = next(
        (i for i, q in enumerate(known) if q is not None and q.kind == TWO_THETA), None
    )
    if place is None:
        place = next(
            (
                i
                for i, q in enumerate(known)
                if q is not None and q.kind not in (INTENSITY, SIGMA, MONITOR)
            ),
            None,
        )
    said = "" if place is None else f"the column {names[place]!r}"
    if place is None:
        place = 0
        # A line of the header may say what a column without a name is.
        quantity, said = _find_axis(header)
        if not said and names[0].lower() not in ("", "x"):
            raise SourceError(
                f"{name}: the columns are named {', '.join(names)[:80]}, none of them "
                "an angle 2θ; name the column of angles 2theta"
            )
        said = said or "assumed: the first column is 2θ by custom"
    else:
        quantity = known[place] or Quantity(TWO_THETA, "degrees")
    others = [i for i in range(min(width, len(names))) if i != place]
    sigma = next((i for i in others if _is(known[i], SIGMA)), None)
    second = [i for i in others if i > place + 1 and _is(known[i], TWO_THETA)]
    if second and _is(known[place], TWO_THETA) and second[0] + 1 < width:
        both = f"{names[place]!r} and {names[second[0]]!r}"
        raise SourceError(
            f"{name}: two columns of angles, {both[:80]}; give each scan a file of its "
            "own"
        )
    counts_at = next((i for i in others if _is(known[i], INTENSITY)), None)
    if counts_at is None:
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
        counts_at = free[0] if free else None
    if counts_at is None:
        rest = [i for i in others if i != sigma]
        counts_at = next((i for i in rest if i > place), rest[0] if rest else None)
    if counts_at is None or max(place, counts_at) >= width:
        raise SourceError(f"{name}: no column of intensities beside {names[place]!r}")
    if sigma is None and suffix == ".xye" and width > 2:
        sigma = 2
    found = known[counts_at]
    counts = _Column(
        counts_at,
        found if found is not None and found.kind == INTENSITY else Quantity(INTENSITY),
        names[counts_at],
    )
    return _Column(place, quantity, names[place]), counts, sigma, said, ()


def _is(quantity: Quantity | None, kind: str) -> bool:
    return quantity is not None and quantity.kind == kind


def _find_axis(header: list[str]) -> tuple[Quantity, str]:
    """What a line of the header says of the axis, and the line; 2θ if none does."""
    for line in header:
        match = _AXIS_LINE.match(line)
        found = read_quantity(match[1]) if match else None
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


def _as_table(rows: list[list[str]], line_numbers: list[int], name: str) -> np.ndarray:
    """All cells as numbers; lines must have as many columns as the first."""
    width = len(rows[0])
    for cells, number in zip(rows, line_numbers, strict=True):
        if len(cells) < width:
            raise SourceError(
                f"{name}: line {number} has {len(cells)} columns where the first line "
                f"of numbers has {width}"
            )
    try:
        return np.array([cells[:width] for cells in rows], np.float64)
    except ValueError:
        return _read_cells(rows, line_numbers, width, name)


def _read_cells(
    rows: list[list[str]], line_numbers: list[int], width: int, name: str
) -> np.ndarray:
    """As above for files with text in columns beyond the second, or bad cells."""
    table = np.full((len(rows), width), np.nan)
    for row, (cells, number) in enumerate(zip(rows, line_numbers, strict=True)):
        for column in range(width):
            try:
                table[row, column] = float(cells[column])
            except ValueError:
                if column < 2:
                    raise SourceError(
                        f"{name}: line {number} has {_show(cells[column])} where a "
                        "number is expected"
                    ) from None
    return table


def _read_metadata(header: list[str]) -> dict[str, str]:
    """Pairs such as ``##NAMES=Quartz`` or ``# wavelength: 1.54``; RRUFF's keys kept."""
    metadata: dict[str, str] = {}
    for line in header[:_MAX_HEADER_LINES]:
        match = re.match(r"[#!;%*/\s]*([A-Za-z][\w .()-]{0,40}?)\s*[=:]\s*(.*)", line)
        if match and match[1] not in metadata:
            metadata[match[1]] = match[2].strip().strip("\"'")[:400]
    return metadata


def _show(text: str) -> str:
    """A piece of a file for a message, whatever it holds."""
    return ascii(text[:40])
