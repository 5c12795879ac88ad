"""Scans as columns of text: xy, xye, csv, tsv, and RRUFF's own dialect of it."""

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
    find_radiation,
    make_pattern,
)

# Lines that say nothing of the scan itself.
_COMMENT = ("#", "!", ";", "'", "/*", "//", "*", "%", "$")
_MAX_HEADER_LINES = 500
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?(\d+(,\d*)?|,\d+)([eE][-+]?\d+)?")
_ANGLE = re.compile(r"(2|two)[\s_*-]*(theta|th|θ)|tth|angle|°2|deg|^x$|2θ", re.I)
_COUNTS = re.compile(r"int|count|cps|^y$|^i$|obs", re.I)
_SIGMA = re.compile(r"sig|^s\.?u\.?$|esd|err|unc|^e$", re.I)
_NO_ANGLE = re.compile(
    r"^(d|q|d[\s_-]*spac\w*|q\w*|time|energy|wavelength|channel)\b", re.I
)
_WAVELENGTH = re.compile(
    r"(?:wave\s*-?_?length|lambda|λ)[^\d\n]{0,24}?(\d*\.\d+)", re.IGNORECASE
)
_NAMED = re.compile(
    r"\b(Cu|Mo|Co|Cr|Fe|Ag)[\s_-]*K[\s_-]*(?:α|a|alpha)?[\s_-]*(1|_1)?\b"
)


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are cut: by what, and what a comma means."""

    delimiter: str | None
    has_decimal_commas: bool

    def split(self, line: str) -> list[str]:
        """The cells of a line; blank ones at its end are dropped."""
        if self.has_decimal_commas:
            line = line.replace(",", ".")
        cells = [cell.strip() for cell in line.split(self.delimiter)]
        while cells and not cells[-1]:
            cells.pop()
        return cells


def read_columns(text: str, name: str, suffix: str) -> tuple[MeasuredPattern, ...]:
    """Read angles, intensities and perhaps uncertainties from columns.

    Args:
        text: Of the file.
        name: For messages.
        suffix: Of the file name; ``.xye`` says that the third column is σ.

    Raises:
        SourceError: If these are no columns of numbers that can be a scan.
    """
    lines = text.splitlines()
    header, start, layout = _find_start(lines, name)
    rows, line_numbers = _read_rows(lines, start, layout, name)
    names = _find_names(header, layout, len(rows[0]))
    angle, counts, sigma, warnings = _choose(names, len(rows[0]), suffix, name)
    metadata = _read_metadata(header)
    table = _as_table(rows, line_numbers, name)
    scans = _split_repeats(table, angle)
    return tuple(
        make_pattern(
            scan[:, angle],
            scan[:, counts],
            _find_radiation(header),
            None if sigma is None else scan[:, sigma],
            name if len(scans) == 1 else f"{name} (scan {number})",
            metadata,
            warnings,
        )
        for number, scan in enumerate(scans, 1)
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
        if len(cells) < min(width, 2) or not _is_number(cells[0]):
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


def _find_names(header: list[str], layout: _Layout, width: int) -> list[str]:
    """Names of the columns, from the last header line that has as many."""
    for line in reversed(header[-3:]):
        bare = line.lstrip("#!;%*/ ")
        for cut in dict.fromkeys((layout.delimiter, ",", ";", "\t", None)):
            if cut is None:
                choices = [re.split(r"\s{2,}|\t", bare), bare.split()]
            else:
                choices = [next(csv.reader([bare], delimiter=cut), [])]
            for cells in choices:
                names = [cell.strip().strip("\"'") for cell in cells]
                if len(names) == width and all(
                    re.search(r"[^\W\d]|°", name) for name in names
                ):
                    return names
    return []


def _choose(
    names: list[str], width: int, suffix: str, name: str
) -> tuple[int, int, int | None, tuple[str, ...]]:
    """Columns of angle, intensity and uncertainty (or None), and warnings."""
    if not names:
        if width == 2 or suffix == ".xye":
            return 0, 1, 2 if width > 2 else None, ()
        return (
            0,
            1,
            None,
            (
                f"There are {width} columns without names: the first is taken for the "
                "angle, the second for the intensity.",
            ),
        )
    angle = _first(names, _ANGLE)
    if angle is None:
        if _NO_ANGLE.search(names[0]):
            raise SourceError(
                f"{name}: the columns are named {', '.join(names)[:80]}, none of them "
                "an angle 2θ; convert the first to degrees 2θ"
            )
        angle = 0
    others = [i for i in range(min(width, len(names))) if i != angle]
    sigma = next((i for i in others if _SIGMA.search(names[i])), None)
    counts = next((i for i in others if _COUNTS.search(names[i]) and i != sigma), None)
    if counts is None:
        counts = next((i for i in others if i != sigma), None)
    if counts is None or max(angle, counts) >= width:
        raise SourceError(f"{name}: no column of intensities beside {names[angle]!r}")
    if sigma is None and suffix == ".xye" and width > 2:
        sigma = 2
    return angle, counts, sigma, ()


def _first(names: list[str], pattern: re.Pattern[str]) -> int | None:
    return next((i for i, n in enumerate(names) if pattern.search(n)), None)


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


def _find_radiation(header: list[str]) -> Radiation | None:
    """What the header says of the wavelength or the anode; None if it says nothing."""
    text = "\n".join(header)
    for match in _WAVELENGTH.finditer(text):
        wavelength = float(match[1])
        rest = text[match.end() : match.end() + 12].lower()
        if "nm" in rest:
            wavelength *= 10.0
        if 0.1 <= wavelength <= 3.0:
            return find_radiation(wavelength)
    named = _NAMED.search(text)
    if named is not None:
        return Radiation.parse(f"{named[1]}Ka{'1' if named[2] else ''}")
    return None


def _show(text: str) -> str:
    """A piece of a file for a message, whatever it holds."""
    return ascii(text[:40])
