"""Text layouts that list counts alone: start, step and stop stand in a header.

    SIETRONICS XRD SCAN   .cpi: start, stop, step, anode, wavelength … SCANDATA
    SampleIdent, …        .udf of Philips: keys, then RawScan or ScannedScan
    *TYPE = Raw …         .asc of Rigaku: keys with a star, then counts
    name, then a line     .mdi of Jade: start, step, time, anode, wavelength, stop
    start step stop       FullProf (INSTRM = 0) and DBWS, counts below

A layout is taken for one of these only if as many counts follow as it announces. They
are those of files that the programs write, described in the manuals of FullProf
(Rodriguez-Carvajal) and DBWS (Young et al. 1995, J. Appl. Cryst. 28, 366), and in the
lists of formats of xylib and powDLL.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    find_radiation,
    make_doublet,
    make_pattern,
    read_number,
)
from pxrdbench.sources.scans.vendors import rigaku_time

# Kα2 of half the intensity of Kα1, where a file names both lines but no ratio.
_USUAL_RATIO = 0.5


def find_layout(text: str) -> Callable[[str, str], tuple[MeasuredPattern, ...]] | None:
    """Find the reader of a text's layout, None if it is none of these."""
    top = text[:4096].lstrip("\ufeff \t\r\n")
    if top.upper().startswith("SIETRONICS"):
        return _read_cpi
    if re.search(r"(?im)^\s*(?:Raw|Scanned)Scan\b", text) and re.search(
        r"(?im)^\s*DataAngleRange", top
    ):
        return _read_udf
    if re.search(r"(?m)^\*TYPE\s*=", top) and re.search(r"(?m)^\*START\s*=", text):
        return _read_asc
    lines = [line for line in text.splitlines() if line.strip()][:6]
    if len(lines) > 2 and _MDI.match(lines[1].strip()):
        return _read_mdi
    if any(_triple(line) is not None for line in lines[:5]) and _steps(text):
        return _read_steps
    return None


def _numbers(texts: Sequence[str], name: str) -> np.ndarray:
    words = re.split(r"[\s,/]+", " ".join(texts).strip(" ,/\t\x1a"))
    if len(words) > MAX_POINTS:
        raise SourceError(f"{name}: more than {MAX_POINTS:,} points")
    try:
        return np.array([word for word in words if word], np.float64)
    except ValueError as error:
        word = re.search(r"'(.{0,30})", str(error))
        shown = ascii(word[1].rstrip("'")) if word else "a word"
        raise SourceError(f"{name}: {shown} among the intensities") from None


def _make(
    start: float | None,
    step: float | None,
    stop: float | None,
    counts: np.ndarray,
    radiation: Radiation | None,
    name: str,
    metadata: dict[str, str],
    layout: str,
    counting_time: float | None = None,
) -> tuple[MeasuredPattern, ...]:
    if start is None or step is None or not 0.0 < step < 10.0:
        raise SourceError(f"{name}: no start and step of 2θ in this {layout} file")
    if stop is not None and abs((stop - start) / step + 1 - len(counts)) > 1.5:
        raise SourceError(
            f"{name}: {len(counts)} intensities, but {start:g} to {stop:g} degrees in "
            f"steps of {step:g} are {round((stop - start) / step) + 1}"
        )
    angles = start + step * np.arange(len(counts))
    told = "the header" if radiation is not None else "not stated"
    stated = {"quantity": f"the layout {layout}", "radiation": told}
    return (
        make_pattern(
            angles, counts, radiation, None, name, metadata, stated=stated,
            counting_time=counting_time,
        ),
    )  # fmt: skip


def _anode_radiation(anode: str, wavelength: float | None) -> Radiation | None:
    """The line that a file states; its anode is a name for it."""
    if wavelength is not None:
        return find_radiation(wavelength)
    name = f"{anode.strip().title()}Ka"
    return Radiation.parse(name) if name in NAMED_LINES else None


def _read_cpi(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Sietronics: one value a line."""
    lines = [line.strip() for line in text.strip("\x1a \r\n").splitlines()]
    at = next((i for i, x in enumerate(lines) if x.upper().startswith("SCANDATA")), -1)
    if at < 4:
        raise SourceError(f"{name}: no SCANDATA in this Sietronics file")
    start, stop, step = (read_number(text) for text in lines[1:4])
    wavelength = read_number(lines[5]) if at > 5 else None
    radiation = _anode_radiation(lines[4] if at > 4 else "", wavelength)
    counts = _numbers(lines[at + 1 :], name)
    return _make(start, step, stop, counts, radiation, name, {}, "Sietronics .cpi")


def _read_udf(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Philips: ``Key, value ,/`` a line, counts behind RawScan."""
    keys: dict[str, str] = {}
    lines = text.splitlines()
    at = len(lines)
    for number, line in enumerate(lines):
        if re.match(r"\s*(?:Raw|Scanned)Scan\b", line, re.IGNORECASE):
            at = number
            break
        key, _, value = line.partition(",")
        keys[key.strip()] = value.replace("/", "").strip(" ,\t")
    first, last = (
        read_number(part)
        for part in [*keys.get("DataAngleRange", "").split(","), "", ""][:2]
    )
    radiation = make_doublet(
        read_number(keys.get("LabdaAlpha1")),
        read_number(keys.get("LabdaAlpha2")),
        read_number(keys.get("RatioAlpha21")),
        keys.get("Anode", ""),
    )
    counts = _numbers(lines[at + 1 :], name)
    step = read_number(keys.get("ScanStepSize"))
    return _make(first, step, last, counts, radiation, name, keys, "Philips .udf")


def _read_asc(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Rigaku's text: ``*KEY = value`` and rows of counts, group by group."""
    scans: list[MeasuredPattern] = []
    keys: dict[str, str] = {}
    rows: list[str] = []

    def close() -> None:
        if not rows:
            return
        radiation = make_doublet(
            read_number(keys.get("WAVE_LENGTH1")),
            read_number(keys.get("WAVE_LENGTH2")),
            _USUAL_RATIO,
            keys.get("TARGET", ""),
        )
        scans.extend(
            _make(
                read_number(keys.get("START")), read_number(keys.get("STEP")),
                read_number(keys.get("STOP")), _numbers(rows, name), radiation, name,
                dict(keys), "Rigaku .asc",
                rigaku_time(
                    keys.get("YUNIT", ""), keys.get("SPEED", ""),
                    keys.get("SPEED_DIM", ""), keys.get("STEP", ""),
                ),
            )
        )  # fmt: skip
        rows.clear()

    for line in map(str.strip, text.splitlines()):
        if line.startswith("*"):
            if line.upper().startswith(("*BEGIN", "*END", "*EOF")):
                close()
                continue
            key, _, value = line[1:].partition("=")
            keys[key.strip().upper()] = value.strip()
        elif line:
            rows.append(line)
    close()
    axis = keys.get("SCAN_AXIS", "2theta/theta")
    if not re.match(r"2\s*th|two\s*th|th(eta)?\s*[-/_]\s*2", axis, re.IGNORECASE):
        raise SourceError(f"{name}: a scan over {axis!r}; only scans over 2θ are read")
    if not scans:
        raise SourceError(f"{name}: no counts in this Rigaku file")
    return tuple(scans)


_MDI = re.compile(
    r"([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(Cu|Mo|Co|Cr|Fe|Ag)\w*\s+([\d.]+)\s+([\d.]+)\s+"
    r"(\d+)\s*$",
    re.IGNORECASE,
)


def _read_mdi(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Jade: a title, then start, step, time, anode, wavelength, stop and count."""
    lines = [line for line in text.strip("\x1a \r\n").splitlines() if line.strip()]
    match = _MDI.match(lines[1].strip())
    if match is None:
        raise SourceError(f"{name}: no start, step and stop in this Jade file")
    start, step, _, wavelength, stop = (read_number(match[i]) for i in (1, 2, 3, 5, 6))
    radiation = _anode_radiation(match[4], wavelength)
    counts = _numbers(lines[2:], name)
    if len(counts) != int(match[7]):
        raise SourceError(f"{name}: {len(counts)} intensities of {match[7]} announced")
    metadata = {"title": lines[0].strip()[:200]}
    return _make(start, step, stop, counts, radiation, name, metadata, "Jade .mdi")


def _triple(line: str) -> tuple[float, float, float] | None:
    """Start, step and stop at the head of a line, in either order of the last two."""
    words = line.replace(",", " ").split()[:3]
    try:
        first, second, third = (float(word) for word in words)
    except ValueError:
        return None
    if 0.0 < second < 1.0 and second < third <= 180.0 and -20.0 < first < third:
        return first, second, third
    if 0.0 < third < 1.0 and -20.0 < first < second <= 180.0:
        return first, third, second
    return None


def _steps(text: str) -> tuple[tuple[float, float, float], list[str], str] | None:
    """Start, step, stop and lines of counts, if as many counts follow as announced."""
    lines = text.strip("\x1a \r\n").splitlines()
    filled = [(i, line) for i, line in enumerate(lines[:12]) if line.strip()][:5]
    for at, line in filled:
        triple = _triple(line)
        if triple is None:
            continue
        start, step, stop = triple
        count = round((stop - start) / step) + 1
        rest = lines[at + 1 :]
        words = sum(len(row.split()) for row in rest)
        first = next((row.split() for row in rest if row.strip()), [])
        is_table = len(first) > 2 or count == len([row for row in rest if row.strip()])
        if words in (count, count - 1) and is_table:
            return triple, rest, " ".join(line.split()[3:])
    return None


def _read_steps(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """FullProf with INSTRM = 0, DBWS: start, step, stop; then counts."""
    found = _steps(text)
    if found is None:
        raise SourceError(f"{name}: no start, step and stop of 2θ")
    (start, step, stop), rows, title = found
    return _make(
        start, step, stop, _numbers(rows, name), None, name,
        {"title": title[:200]} if title else {}, "start, step, stop (FullProf, DBWS)",
    )  # fmt: skip
