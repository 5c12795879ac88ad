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
from pxrdbench.sources.scans.vendors import rigaku_time
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
        twice = {m for m in members if members.count(m) > 1}
        if twice:
            raise SourceError(f"{name}: the member {min(twice)[:60]} is there twice")
        reader = _Reader(archive, name)
        raw = [m for m in members if _RAW.search(m)]
        profiles = [m for m in members if _PROFILE.search(m)]
        scans: list[MeasuredPattern] = []
        axes: list[str] = []
        if raw:
            for member in sorted(raw, key=_in_order):
                scans += _read_brml(reader.member(member), name, axes)
        elif profiles:
            for member in sorted(profiles, key=_in_order):
                scan = _read_rasx(reader, member, axes)
                scans += [] if scan is None else [scan]
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
        seen = ", ".join(dict.fromkeys(axes)) or "none"
        raise SourceError(
            f"{name}: no scan over 2θ in this archive (scanned axes: {seen[:100]})"
        )
    if len(scans) > 1:
        scans = [replace(s, name=f"{name} (scan {i})") for i, s in enumerate(scans, 1)]
    return tuple(scans)


# RawData0.xml … RawData12.xml; Data3/Profile3.txt.
_RAW = re.compile(r"(?:^|/)RawData\d*\.xml$", re.IGNORECASE)
_PROFILE = re.compile(r"(?:^|/)Profile\d*\.txt$", re.IGNORECASE)


def _in_order(member: str) -> list[tuple[int, str]]:
    """Numbers of a member's name as numbers: RawData2 before RawData10."""
    parts = re.findall(r"\d+|\D+", member)
    return [(int(p), "") if p.isdigit() and len(p) < 18 else (-1, p) for p in parts]


class _Reader:
    """Members of an archive, up to a bound for each and for all of them."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.archive, self.name = archive, name
        self.left = _MAX_MEMBER

    def member(self, member: str) -> bytes:
        data = _member(self.archive, member, self.name)
        self.left -= len(data)
        if self.left < 0:
            raise SourceError(f"{self.name}: more than 64 MB when unpacked")
        return data


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


def _read_brml(data: bytes, name: str, axes: list[str]) -> list[MeasuredPattern]:
    """Scans of one RawData.xml; axes of those that are not over 2θ are noted."""
    root = parse_xml(data, name)
    radiation = make_doublet(
        _value(root, "WaveLengthAlpha1"),
        _value(root, "WaveLengthAlpha2"),
        _value(root, "WaveLengthRatio"),
        next((e.get("Value", e.text or "") for e in _all(root, "TubeMaterial")), ""),
    )
    single = _value(root, "WaveLength")
    if radiation is None and single is not None:
        radiation = find_radiation(single)
    routes = _all(root, "DataRoute")
    # Beside what was measured a file may hold what was made of it.
    measured = [r for r in routes if r.get("RouteFlag", "").lower() == "measured"]
    scans = []
    for route in measured or routes:
        pattern = _read_route(route, radiation, name)
        if pattern is None:
            axes += [e.get("AxisId", "?") for e in _all(route, "ScanAxisInfo")] or [
                "no 2θ among the columns"
            ]
        else:
            scans.append(pattern)
    return scans


def _read_route(
    route: ET.Element, radiation: Radiation | None, name: str
) -> MeasuredPattern | None:
    """One range, each Datum of which has the columns that DataViews name."""
    rows = [(e.text or "").split(",") for e in _all(route, "Datum")]
    if len(rows) > MAX_POINTS:
        raise SourceError(f"{name}: more than {MAX_POINTS:,} points")
    if len(rows) < 3:
        return None
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise SourceError(f"{name}: a Datum has another number of values than others")
    try:
        table = np.array(rows, np.float64)
    except ValueError:
        raise SourceError(f"{name}: letters where counts are expected") from None
    places = _brml_places(route, name)
    if not places:
        return None
    if max(places.values()) >= width:
        raise SourceError(f"{name}: a Datum has fewer values than DataViews name")
    if "2theta" not in places or "counts" not in places:
        return None
    angles = table[:, places["2theta"]]
    if not (np.diff(angles) > 0.0).all() and np.ptp(angles) < 1e-3:
        return None  # a rocking curve: 2θ stands still
    # The factor of the absorber is in the counts already (DIFFRAC writes both).
    counts, time = table[:, places["counts"]], None
    warnings: tuple[str, ...] = ()
    unit = _brml_unit(route)
    if "time" in places:
        seconds = table[:, places["time"]]
        if (seconds > 0.0).all():
            time = float(seconds.mean())
            if np.ptp(seconds) > 0.01 * time and unit != "cps":
                counts = counts * (time / seconds)
                warnings = (
                    "Counting times vary: intensities are scaled to their mean.",
                )
    if unit == "cps":
        time = 1.0
    return make_pattern(
        angles, counts, radiation, None, name, {}, warnings, counting_time=time
    )


def _brml_unit(route: ET.Element) -> str:
    for recording in _all(route, "Recording"):
        for unit in _all(recording, "Unit"):
            base = unit.get("Base", "").lower().replace(" ", "")
            if base in ("cps", "countspersecond", "counts/s", "count/s"):
                return "cps"
    return ""


# Detectors of zero dimensions; others that are recorded are temperature, humidity ….
_COUNTERS = re.compile(r"counter|detector|intensit|^counts?$|lynx|^$", re.IGNORECASE)


def _brml_places(route: ET.Element, name: str) -> dict[str, int]:
    """Columns of ``time``, ``2theta`` and ``counts``, from the views of a route.

    Raises:
        SourceError: If each point is a frame of a position-sensitive detector.
    """
    places: dict[str, int] = {}
    for view in _all(route, "RawDataView"):
        start = read_number(view.get("Start"))
        length = read_number(view.get("Length", "1"))
        if start is None or length is None or not 0.0 <= start < 1e6:
            continue
        place, logic = int(start), view.get("LogicName", "")
        fields = [
            e.get("AxisId") or e.get("FieldName") or e.get("VisibleName") or ""
            for e in view.iter()
            if _bare(e.tag) in ("FieldDefinitions", "AxisDefinitions")
        ]
        for offset, field in enumerate(fields):
            if re.fullmatch(r"2\s*theta|twotheta", field, re.IGNORECASE):
                places.setdefault("2theta", place + offset)
        kind = next((v for k, v in view.attrib.items() if _bare(k) == "type"), "")
        if logic == "MeasuredTime":
            places["time"] = place
        elif re.fullmatch(r"2\s*theta|twotheta", logic, re.IGNORECASE):
            places.setdefault("2theta", place)
        elif kind.endswith("RecordedRawDataView") or _all(view, "Recording"):
            recorded = [e.get("LogicName", "") for e in _all(view, "Recording")]
            if not _COUNTERS.search(recorded[0] if recorded else logic):
                continue
            if length > 1:
                raise SourceError(
                    f"{name}: each point holds {length:g} channels of a detector; "
                    "integrate them to one scan in DIFFRAC.EVA and export .xy"
                )
            places.setdefault("counts", place)
        elif logic in ("ScanCounter", "Counter0D"):
            places.setdefault("counts", place)
    return places


def _read_rasx(
    reader: "_Reader", member: str, axes: list[str]
) -> MeasuredPattern | None:
    """One profile with its conditions; None, and its axis noted, if not over 2θ."""
    name = reader.name
    text = reader.member(member).decode("utf-8-sig", "replace")
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
    folder = member.rpartition("/")[0]
    number = re.findall(r"\d+", member)[-1:]
    radiation, time = None, None
    for other in reader.archive.namelist():
        # "MesurementConditions" is how the program spells it.
        if other.rpartition("/")[0] != folder or not re.search(
            r"M[a-z]*urementConditions\d*\.xml$", other, re.I
        ):
            continue
        if number and re.findall(r"\d+", other)[-1:] != number:
            continue
        root = parse_xml(reader.member(other), name)
        axis = _rasx_axis(root)
        if axis and not re.match(r"two|2", axis, re.IGNORECASE):
            axes.append(axis)
            return None
        radiation, time = _rasx_radiation(root), _rasx_time(root)
    factor = table[:, 2] if width > 2 else 1.0
    return make_pattern(
        table[:, 0], table[:, 1] * factor, radiation, None, name, counting_time=time
    )


def _word(root: ET.Element, tag: str) -> str:
    return next((e.text or "" for e in _all(root, tag)), "").strip()


def _rasx_axis(root: ET.Element) -> str:
    axis = next((e.get("AxisName", "") for e in _all(root, "ScanInformation")), "")
    return axis or _word(root, "AxisName")


def _rasx_time(root: ET.Element) -> float | None:
    for scan in _all(root, "ScanInformation"):
        return rigaku_time(
            _word(scan, "IntensityUnit"),
            _word(scan, "Speed"),
            _word(scan, "SpeedUnit"),
            _word(scan, "Step") or _word(scan, "Resolution"),
        )
    return None


def _rasx_radiation(root: ET.Element) -> Radiation | None:
    first, second = _value(root, "WavelengthKalpha1"), _value(root, "WavelengthKalpha2")
    kind = _word(root, "WavelengthType").lower()
    if "beta" in kind or kind.startswith("kb"):
        beta = _value(root, "WavelengthKbeta")
        return None if beta is None else find_radiation(beta)
    ratio = None if kind.endswith("1") else _USUAL_RATIO
    return make_doublet(first, second, ratio, _word(root, "TargetName"))
