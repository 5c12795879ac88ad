"""Text formats of instruments: Rigaku RAS, Siemens/Bruker UXD, GSAS.

The layouts are those of files written by the instruments' own programs (the samples
that the tests name); GSAS' records are described in its manual (Larson & Von Dreele
2004, LAUR 86-748, "standard powder data file").
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    find_radiation,
    make_doublet,
    make_pattern,
    read_number,
)
from pxrdbench.sources.scans.stated_radiation import find_stated_radiation

# Kα2 of half the intensity of Kα1, where a file names both lines but no ratio.
_USUAL_RATIO = 0.5


def read_ras(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Read Rigaku's RAS: header and data between lines that begin with ``*RAS``.

    Raises:
        SourceError: If it holds no scan over 2θ.
    """
    scans: list[MeasuredPattern] = []
    header: dict[str, str] = {}
    rows: list[list[str]] | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("*RAS_HEADER_START"):
            header = {}
        elif line.startswith("*RAS_INT_START"):
            rows = []
        elif line.startswith("*RAS_INT_END") and rows is not None:
            scans.append(_make_ras(header, rows, name))
            rows = None
        elif rows is not None and line:
            rows.append(line.split())
            if len(rows[-1]) < 2:
                raise SourceError(f"{name}: line {number} holds no two numbers")
        elif match := re.match(r'\*(\S+)\s+"(.*)"', line):
            header[match[1]] = match[2].strip()
    if rows is not None:
        raise SourceError(f"{name}: the file ends within a scan (no *RAS_INT_END)")
    if not scans:
        raise SourceError(f"{name}: no scan in this RAS file (no *RAS_INT_START)")
    return tuple(scans)


def _make_ras(
    header: dict[str, str], rows: list[list[str]], name: str
) -> MeasuredPattern:
    axis = header.get("MEAS_SCAN_AXIS_X_INTERNAL", "TwoThetaTheta")
    if not axis.lower().startswith("twotheta"):
        raise SourceError(f"{name}: a scan over {axis!r}; only scans over 2θ are read")
    unit = header.get("MEAS_SCAN_UNIT_X", "deg")
    if not re.match(r"deg|°|$", unit, re.IGNORECASE):
        raise SourceError(f"{name}: angles in {unit!r}; only degrees are read")
    table = _as_table(rows, name)
    # The third column is the factor of the attenuator at that point.
    factor = table[:, 2] if table.shape[1] > 2 else 1.0
    return make_pattern(
        table[:, 0], table[:, 1] * factor, _ras_radiation(header), None, name, header,
        counting_time=rigaku_time(
            header.get("MEAS_SCAN_UNIT_Y", ""), header.get("MEAS_SCAN_SPEED", ""),
            header.get("MEAS_SCAN_SPEED_UNIT", ""), header.get("MEAS_SCAN_STEP", ""),
        ),
    )  # fmt: skip


def rigaku_time(unit: str, speed: str, speed_unit: str, step: str) -> float | None:
    """Seconds for each point: 1 for counts per second, else of speed and step.

    The speed is in degrees a minute, or seconds a step.
    """
    if re.search(r"cps|counts?\s*/\s*s", unit, re.IGNORECASE):
        return 1.0
    fast, width = read_number(speed), read_number(step)
    if fast is None or fast <= 0.0 or not unit.lower().startswith("count"):
        return None
    if re.match(r"deg\w*\.?\s*/\s*min", speed_unit, re.IGNORECASE):
        return None if width is None else 60.0 * width / fast
    return fast if re.match(r"s(ec)?\b", speed_unit, re.IGNORECASE) else None


def _ras_radiation(header: dict[str, str]) -> Radiation | None:
    first = read_number(header.get("HW_XG_WAVE_LENGTH_ALPHA1", ""))
    second = read_number(header.get("HW_XG_WAVE_LENGTH_ALPHA2", ""))
    kind = header.get("MEAS_COND_XG_WAVE_TYPE", "").replace("α", "a").lower()
    if kind in {"kb", "kbeta"}:
        beta = read_number(header.get("HW_XG_WAVE_LENGTH_BETA", ""))
        return None if beta is None else find_radiation(beta)
    ratio = None if kind in {"ka1", "kalpha1"} else _USUAL_RATIO
    return make_doublet(first, second, ratio, header.get("HW_XG_TARGET_NAME", ""))


def read_uxd(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Read Siemens' and Bruker's UXD: lines ``_KEY=value``, then data, range by range.

    Raises:
        SourceError: If it holds no scan over 2θ.
    """
    ranges = list(_uxd_ranges(text, name))
    if not ranges:
        raise SourceError(f"{name}: no range with counts in this UXD file")
    result = []
    for number, (kind, keys, values) in enumerate(ranges, 1):
        own_name = name if len(ranges) == 1 else f"{name} (range {number})"
        drive = keys.get("DRIVE", "COUPLED").upper()
        if drive not in {"COUPLED", "2THETA", "2 THETA", "DETECTOR"}:
            continue
        if kind.startswith("_2THETA"):
            if len(values) % 2:
                raise SourceError(f"{own_name}: an angle has no intensity")
            angles, counts = values[::2], values[1::2]
        else:
            angles, counts = _uxd_angles(keys, len(values), own_name), values
        time = 1.0 if kind.endswith("CPS") else read_number(keys.get("STEPTIME"))
        result.append(
            make_pattern(
                angles, counts, _uxd_radiation(keys), None, own_name, keys,
                counting_time=time,
            )
        )  # fmt: skip
    if not result:
        raise SourceError(f"{name}: none of its ranges is a scan over 2θ")
    return tuple(result)


def _uxd_ranges(
    text: str, name: str
) -> Iterator[tuple[str, dict[str, str], np.ndarray]]:
    """Kind of data, keys so far, and numbers of each range."""
    keys: dict[str, str] = {}
    kind, numbers = "", list[str]()
    bare = (line.split(";")[0].strip() for line in text.splitlines())
    for number, line in enumerate(bare, 1):
        if line.startswith("_"):
            if kind and numbers:
                yield kind, dict(keys), _floats(numbers, name)
            kind, numbers = "", []
            key, _, value = line[1:].partition("=")
            if key.strip().upper() in {"COUNTS", "CPS", "2THETACOUNTS", "2THETACPS"}:
                kind = "_" + key.strip().upper()
            else:
                keys[key.strip().upper()] = value.strip().strip("'\"")
        elif line and kind:
            numbers += line.replace(",", " ").split()
            if len(numbers) > 2 * MAX_POINTS + 2:
                raise SourceError(f"{name}: more than {MAX_POINTS:,} points")
        elif line:
            raise SourceError(f"{name}: line {number} holds numbers before _COUNTS")
    if kind and numbers:
        yield kind, dict(keys), _floats(numbers, name)


def _uxd_angles(keys: dict[str, str], count: int, name: str) -> np.ndarray:
    start, step = read_number(keys.get("START")), read_number(keys.get("STEPSIZE"))
    # Older files give the first angle as _2THETA.
    start = read_number(keys.get("2THETA")) if start is None else start
    if start is None or step is None or not 0.0 < step < 10.0:
        raise SourceError(f"{name}: no _START and _STEPSIZE to make angles of")
    return start + step * np.arange(count)


def _uxd_radiation(keys: dict[str, str]) -> Radiation | None:
    unit = 10.0 if keys.get("WL_UNIT", "A").lower() == "nm" else 1.0
    first, second = read_number(keys.get("WL1")), read_number(keys.get("WL2"))
    if first is None:
        return None
    return make_doublet(
        first * unit,
        None if second is None else second * unit,
        read_number(keys.get("WLRATIO")),
        keys.get("ANODE", ""),
    )


def read_gsas(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Read GSAS' powder data with constant steps (``BANK … CONST …``).

    Angles are in hundredths of a degree; ``STD`` has counts in fields of eight
    characters (two for the number of detectors, six for the counts), ``ESD`` pairs of
    intensity and uncertainty, ``FXY`` and ``FXYE`` columns.

    Raises:
        SourceError: If it is of another kind, such as time of flight.
    """
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("BANK")]
    # 11-BM and others write the wavelength as a comment above the first bank.
    radiation, said = find_stated_radiation(lines[: starts[0]] if starts else [])
    result = []
    for position, start in enumerate(starts):
        words = lines[start].split()
        stop = starts[position + 1] if position + 1 < len(starts) else len(lines)
        kind = words[9] if len(words) > 9 else "STD"
        if (
            len(words) < 7
            or words[4] not in {"CONST", "CONS"}
            or kind not in {"STD", "ESD", "FXYE", "FXY"}
        ):
            raise SourceError(
                f"{name}: a bank of kind {' '.join([*words[4:5], kind])!r}; read are "
                "CONST with STD, ESD, FXY or FXYE (convert time of flight first)"
            )
        bank = _make_bank(words, kind, lines[start + 1 : stop], name)
        if radiation is not None:
            stated = {"quantity": "the format", "radiation": said}
            bank = replace(bank, radiation=radiation, stated=stated)
        result.append(bank)
    if not result:
        raise SourceError(f"{name}: no BANK line in this GSAS file")
    return tuple(result)


def _make_bank(
    words: list[str], kind: str, lines: list[str], name: str
) -> MeasuredPattern:
    try:
        count, start, step = int(float(words[2])), float(words[5]), float(words[6])
    except (ValueError, OverflowError) as error:
        raise SourceError(
            f"{name}: the line BANK gives no count, start and step: {_reason(error)}"
        ) from None
    if not MAX_POINTS >= count > 0:
        raise SourceError(f"{name}: {count:,} points; 1 to {MAX_POINTS:,} are read")
    if kind in {"FXYE", "FXY"}:
        table = _as_table([line.split() for line in lines if line.strip()], name)
        table = table[:count]
        if table.shape[1] < len(kind) - 1:
            raise SourceError(f"{name}: fewer columns than kind {kind} has")
        sigma = table[:, 2] if kind == "FXYE" else None
        _refuse_degrees(table[:, 0], name)
        return make_pattern(table[:, 0] / 100, table[:, 1], None, sigma, name)
    cells = [
        line[column : column + 8]
        for line in lines
        for column in range(0, len(line.rstrip()), 8)
    ]
    if kind == "ESD":
        numbers = _floats(cells, name)
        values, sigma = numbers[::2][:count], numbers[1::2][:count]
    else:
        # The mean over several detectors has the uncertainty of their sum.
        values, sigma = _floats([cell[2:] for cell in cells], name)[:count], None
    if len(values) < count:
        raise SourceError(f"{name}: {len(values)} intensities of {count} announced")
    angles = start + step * np.arange(count)
    _refuse_degrees(angles, name)
    return make_pattern(angles / 100.0, values, None, sigma, name)


def _refuse_degrees(angles: np.ndarray, name: str) -> None:
    """Refuse angles that end below 3.2 degrees, in hundredths of a degree."""
    if angles.max() < 320.0:
        raise SourceError(
            f"{name}: angles of GSAS are in hundredths of a degree, and these run from "
            f"{angles.min():g} to {angles.max():g}; multiply them by 100 if they are "
            "degrees"
        )


def _floats(texts: list[str], name: str) -> np.ndarray:
    try:
        return np.array(texts, np.float64)
    except ValueError as error:
        raise SourceError(f"{name}: {_reason(error)} among the intensities") from None


def _as_table(rows: list[list[str]], name: str) -> np.ndarray:
    """Rows of equally many numbers as a table."""
    width = min((len(row) for row in rows), default=0)
    if width < 2:
        raise SourceError(f"{name}: a scan without points")
    try:
        return np.array([row[:width] for row in rows], np.float64)
    except ValueError as error:
        raise SourceError(f"{name}: {_reason(error)} among the data") from None


def _reason(error: Exception) -> str:
    """What numpy could not read, whatever it was."""
    word = re.search(r"'(.{0,40})", str(error))
    return f"{word[1].rstrip(chr(39))!a} is no number" if word else "no number"
