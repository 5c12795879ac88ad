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
from pxrdbench.sources.scans.column_names import (
    NUMBER,
    Chosen,
    choose_columns,
    find_names,
    is_number,
)
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    make_pattern,
)
from pxrdbench.sources.scans.quantity import (
    Quantity,
    is_of_peaks,
    to_two_theta,
    undo_transform,
)
from pxrdbench.sources.scans.stated_radiation import find_stated_radiation

# Lines that say nothing of the scan itself.
_COMMENT = ("#", "!", ";", "'", "/*", "//", "*", "%", "$")
_MAX_HEADER_LINES = 500
_DECIMAL_COMMA = re.compile(r"[-+]?(\d+(,\d*)?|,\d+)([eEdD][-+]?\d+)?")
_GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_SPACED = re.compile(r"[-+]?\d{1,3}([\s'\u2019]\d{3})+([.,]\d+)?")
_GROUPED_POINT = re.compile(r"[-+]?\d{1,3}(\.\d{3})+(,\d+)?")
# Blanks that do not break: between columns of blanks they group digits.
_NARROW = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3})")
# Programs that compute pair distributions write no other quantity under these names.
_SUFFIXES = {
    ".gr": "r", ".iq": "Q", ".sq": "Q", ".fq": "Q", ".qye": "Q", ".q": "Q",
    ".tof": "a time of flight", ".dsp": "d",
}  # fmt: skip
# A scan that ends below [degrees] shows no lattice: it is in radians, or over Q or d.
_LEAST_END = 3.2
# FullProf's free format names factors of angles and counts (manual, INSTRM = 10).
_INTER = re.compile(r"^\s*INTER\s+([\d.eE+-]+)\s+([\d.eE+-]+)\s", re.IGNORECASE)


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are cut: by what, and what a comma means."""

    delimiter: str | None
    has_decimal_commas: bool

    def split(self, line: str) -> list[str]:
        """The cells of a line as plain numbers; blank ones at its end are dropped."""
        if self.delimiter is not None and '"' in line:
            raw = next(csv.reader([line], delimiter=self.delimiter), [])
        elif self.delimiter is None:
            line = _NARROW.sub("", line) if _NARROW.search(line) else line
            raw = line.split()
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
            if "." in cell and NUMBER.fullmatch(cell):
                return f"{cell}?"
            cell = cell.replace(",", ".")
        elif "," in cell and _GROUPED.fullmatch(cell):
            return cell.replace(",", "")
        if NUMBER.fullmatch(cell):
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
    names = find_names(header, layout.delimiter, width)
    _check_width(rows, line_numbers, len(names) or width, layout, name)
    is_spec = any(line.startswith("#L ") for line in header)
    if is_spec and names:
        _refuse_rocking(names, name)
    _refuse_thousands(rows, name)
    table = _as_table(rows, line_numbers, name)
    if not names:
        table = _one_below_the_other(table)
    chosen = choose_columns(names, header, table, suffix, name, is_spec=is_spec)
    axis, counts, sigma = chosen.axis, chosen.counts, chosen.sigma
    table = _scale_of_fullprof(table, header, chosen)
    _refuse_assumed(chosen, table[:, axis.place], suffix, name)
    stated, line = find_stated_radiation(header)
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
                (*warnings, *chosen.warnings),
                quantity=axis.quantity.kind,
                unit=axis.quantity.unit,
                stated={"quantity": chosen.said, "radiation": line or "not stated"},
            )
        )
    return tuple(made)


def _without_blocks(text: str) -> str:
    """The text without comments from ``/*`` to ``*/``; lines keep their numbers."""
    return re.sub(
        r"/\*.*?\*/",
        lambda match: "\n".join("# " + x for x in match[0].split("\n")),
        text,
        flags=re.DOTALL,
    )


def _refuse_thousands(rows: list[list[str]], name: str) -> None:
    """Refuse 952 beside 1.174, and 1 174 cut in two: each is one number of counts."""
    for place in range(1, len(rows[0])):
        cells = [row[place] for row in rows if place < len(row)]
        small = sum(bool(re.fullmatch(r"\d{1,3}", cell)) for cell in cells)
        grouped = sum(
            bool(re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3})+", cell)) for cell in cells
        )
        is_cut = (
            place > 1
            and small == len(cells)
            and all(len(cell) == 3 for cell in cells)
            and any(cell.startswith("0") for cell in cells)
            and all(re.fullmatch(r"\d{1,3}", row[place - 1]) for row in rows)
        )
        if is_cut or (small and grouped and small + grouped == len(cells)):
            raise SourceError(
                f"{name}: column {place + 1} holds numbers such as "
                f"{next(c for c in cells if len(c) > 2)!r}, which seem to be separated "
                "into thousands; write them without separators"
            )


def _one_below_the_other(table: np.ndarray) -> np.ndarray:
    """Pairs that stand beside each other, x y x y …, one below the other."""
    n_rows, width = table.shape
    if width < 4 or width % 2 or n_rows < 3:
        return table
    steps = np.diff(table[:, ::2].ravel())
    usual = float(np.median(steps))
    if (steps > 0.0).all() and (np.abs(steps - usual) < 0.5 * usual).all():
        return table.reshape(-1, 2)
    return table


def _scale_of_fullprof(
    table: np.ndarray, header: list[str], chosen: Chosen
) -> np.ndarray:
    """Angles and counts times the factors of FullProf's line ``INTER``."""
    if not any(line.upper().startswith("XYDATA") for line in header):
        return table
    for line in header:
        match = _INTER.match(line + " ")
        if match:
            try:
                factors = float(match[1]), float(match[2])
            except ValueError:
                return table
            if all(0.0 < factor < 1e6 for factor in factors):
                table = table.copy()
                table[:, chosen.axis.place] *= factors[0]
                table[:, chosen.counts.place] *= factors[1]
                if chosen.sigma is not None:
                    table[:, chosen.sigma] *= factors[1]
    return table


def _refuse_assumed(chosen: Chosen, angles: np.ndarray, suffix: str, name: str) -> None:
    """Refuse columns without names that the suffix, or their range, says are none."""
    if not chosen.is_assumed:
        return
    if suffix in _SUFFIXES:
        raise SourceError(
            f"{name}: columns without names in a {suffix} file, whose first is "
            f"{_SUFFIXES[suffix]}; name it, with its unit, or export the scan over 2θ"
        )
    if angles.min() >= 0.0 and angles.max() < _LEAST_END:
        raise SourceError(
            f"{name}: the first column has no name and runs from {angles.min():g} to "
            f"{angles.max():g}: too little for 2θ in degrees; name it, with its unit "
            "(2theta_rad, Q (1/A), d (A))"
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
            len(cells) > 1 and all(is_number(cell) for cell in cells[:2])
            for cells in (layout.split(line), layout.split(following or line))
        ):
            return layout
    return None


def _first_cell(cells: list[str]) -> str:
    return cells[0] if cells else ""


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
        if len(cells) < min(width, 2) or not is_number(_first_cell(cells)):
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
        if len(cells) > width and any(is_number(cell) for cell in cells[width:]):
            hint = (
                "; write numbers without separators of thousands"
                if layout.delimiter == ","
                else ""
            )
            raise SourceError(
                f"{name}: line {number} has {len(cells)} columns where the first has "
                f"{width}{hint}"
            )


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
