"""Scans packed as zip archives: Bruker's .brml and Rigaku's .rasx.

An archive of a stranger is read in place, member by member, each up to a bound; nothing
is unpacked to a disk, and its XML is parsed as any other (`parse_xml`).

    .brml    Experiment*/RawData*.xml: a Datum a point, columns named by DataViews
    .rasx    Data*/Profile*.txt: angle, counts, attenuation; conditions beside it
"""

import io
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib

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
from pxrdbench.sources.scans.xrdml import parse_xml

_MAX_MEMBERS = 5000
_MAX_MEMBER = 64_000_000
_USUAL_RATIO = 0.5


def read_packed(data: bytes, name: str) -> tuple[MeasuredPattern, ...]:
    """Read every scan over 2θ of a .brml or .rasx archive.

    Raises:
        SourceError: If it is neither, damaged, too large, or holds no such scan.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, OSError, ValueError):
        raise SourceError(f"{name}: the zip archive is damaged") from None
    with archive:
        members = archive.namelist()
        if len(members) > _MAX_MEMBERS:
            raise SourceError(f"{name}: {len(members):,} members; no scan has so many")
        raw = [m for m in members if re.search(r"RawData\d*\.xml$", m, re.I)]
        profiles = [m for m in members if re.search(r"Profile\d*\.txt$", m, re.I)]
        if raw:
            scans = [
                scan for member in sorted(raw)
                for scan in _read_brml(_member(archive, member, name), name)
            ]  # fmt: skip
        elif profiles:
            scans = [_read_rasx(archive, member, name) for member in sorted(profiles)]
        else:
            kind = "a workbook" if "xl/workbook.xml" in members else "a zip archive"
            remedy = (
                "save the sheet as .csv"
                if kind == "a workbook"
                else "unpack it, and name the scan"
            )
            raise SourceError(
                f"{name}: {kind}, neither Bruker's .brml nor Rigaku's .rasx; {remedy}"
            )
    if not scans:
        raise SourceError(f"{name}: no scan over 2θ in this archive")
    return tuple(scans)


def _member(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    """One member, never more of it than the bound."""
    try:
        with archive.open(member) as stream:
            data = stream.read(_MAX_MEMBER + 1)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError,
            zlib.error, EOFError):  # fmt: skip
        raise SourceError(f"{name}: the member {member[:60]} cannot be read") from None
    if len(data) > _MAX_MEMBER:
        raise SourceError(f"{name}: the member {member[:60]} is larger than 64 MB")
    return data


def _bare(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _all(root: ET.Element, tag: str) -> list[ET.Element]:
    return [element for element in root.iter() if _bare(element.tag) == tag]


def _value(root: ET.Element, tag: str) -> float | None:
    """A number that stands as an attribute ``Value`` or as text of a tag."""
    for element in _all(root, tag):
        number = read_number(element.get("Value", element.text or ""))
        if number is not None:
            return number
    return None


def _read_brml(data: bytes, name: str) -> list[MeasuredPattern]:
    root = parse_xml(data, name)
    radiation = make_doublet(
        _value(root, "WaveLengthAlpha1"),
        _value(root, "WaveLengthAlpha2"),
        _value(root, "WaveLengthRatio"),
        next((e.get("Value", e.text or "") for e in _all(root, "TubeMaterial")), ""),
    )
    scans = []
    for route in _all(root, "DataRoute"):
        pattern = _read_route(route, radiation, name)
        if pattern is not None:
            scans.append(pattern)
    return scans


def _read_route(
    route: ET.Element, radiation: Radiation | None, name: str
) -> MeasuredPattern | None:
    """One range: a Datum is ``time,scale,2θ,θ,…,counts`` as the DataViews name it."""
    rows = [(e.text or "").split(",") for e in _all(route, "Datum")]
    if len(rows) > MAX_POINTS:
        raise SourceError(f"{name}: more than {MAX_POINTS:,} points")
    if len(rows) < 3:
        return None
    width = min(len(row) for row in rows)
    try:
        table = np.array([row[:width] for row in rows], np.float64)
    except ValueError:
        raise SourceError(f"{name}: letters where counts are expected") from None
    angle = _brml_place(route, r"2\s*theta|twotheta")
    counts = _brml_place(route, r"counter|detector|intensit|counts")
    if angle is None:
        # The order of instruments' own files: time, factor, 2θ, θ, counts.
        angle = 2 if width > 3 else None
    if angle is None or angle >= width:
        return None
    if counts is None or counts >= width or counts == angle:
        counts = width - 1
    return make_pattern(table[:, angle], table[:, counts], radiation, None, name)


def _brml_place(route: ET.Element, pattern: str) -> int | None:
    """Column of the view whose names fit a pattern."""
    for view in _all(route, "RawDataView"):
        start = read_number(view.get("Start"))
        names = " ".join(
            [view.get("LogicName", ""), view.get("VisibleName", "")]
            + [
                " ".join(v for k, v in e.attrib.items() if "ogic" in k or "ame" in k)
                for e in view.iter()
            ]
        )
        fields = [
            e.get("FieldName", e.get("AxisName", e.get("VisibleName", "")))
            for e in view.iter()
            if _bare(e.tag) in ("FieldDefinitions", "AxisDefinitions", "Recording")
        ]
        for place, field in enumerate(fields):
            if start is not None and re.search(pattern, field, re.IGNORECASE):
                return int(start) + place
        if start is not None and re.search(pattern, names, re.IGNORECASE):
            return int(start)
    return None


def _read_rasx(archive: zipfile.ZipFile, member: str, name: str) -> MeasuredPattern:
    text = _member(archive, member, name).decode("utf-8-sig", "replace")
    rows = [
        line.replace(",", " ").split() for line in text.splitlines() if line.strip()
    ]
    width = min((len(row) for row in rows), default=0)
    if width < 2 or len(rows) > MAX_POINTS:
        raise SourceError(f"{name}: {member[:60]} holds no two columns of numbers")
    try:
        table = np.array([row[:width] for row in rows], np.float64)
    except ValueError:
        raise SourceError(f"{name}: letters in the profile {member[:60]}") from None
    folder, number = member.rsplit("/", 1)[0], re.findall(r"\d+", member)[-1:]
    radiation = None
    for other in archive.namelist():
        is_near = other.startswith(f"{folder}/")
        if is_near and re.search(r"M[a-z]*urementConditions\d*\.xml$", other, re.I):
            if number and re.findall(r"\d+", other)[-1:] != number:
                continue
            radiation, axis = _rasx_conditions(_member(archive, other, name), name)
            if axis and not re.match(r"two|2", axis, re.IGNORECASE):
                raise SourceError(
                    f"{name}: a scan over {axis!r}; only scans over 2θ are read"
                )
    factor = table[:, 2] if width > 2 else 1.0
    return make_pattern(table[:, 0], table[:, 1] * factor, radiation, None, name)


def _rasx_conditions(data: bytes, name: str) -> tuple[Radiation | None, str]:
    """Radiation, and the scanned axis, of measurement conditions."""
    root = parse_xml(data, name)
    axis = next((e.get("AxisName", "") for e in _all(root, "ScanInformation")), "")
    axis = axis or next((e.text or "" for e in _all(root, "AxisName")), "")
    first, second = _value(root, "WavelengthKalpha1"), _value(root, "WavelengthKalpha2")
    kind = next((e.text or "" for e in _all(root, "WavelengthType")), "").lower()
    anode = next((e.text or "" for e in _all(root, "TargetName")), "")
    if "beta" in kind or kind.startswith("kb"):
        beta = _value(root, "WavelengthKbeta")
        return (None if beta is None else find_radiation(beta)), axis
    ratio = None if kind.endswith("1") else _USUAL_RATIO
    return make_doublet(first, second, ratio, anode.strip()), axis
