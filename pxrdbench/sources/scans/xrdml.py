"""PANalytical's XRDML, versions 1.0 to 2.3, read so that no XML can do harm.

Files come from strangers: a document type (and with it every entity) is refused, and
depth and size are limited.
"""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pyexpat import ExpatError, ParserCreate

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

_MAX_DEPTH = 64
_MAX_ELEMENTS = 200_000


def read_xrdml(data: bytes, name: str) -> tuple[MeasuredPattern, ...]:
    """Read every scan over 2θ of an XRDML file.

    Raises:
        SourceError: If it is no XRDML, no valid XML, or holds no such scan.
    """
    root = parse_xml(data, name)
    if _bare(root.tag) != "xrdMeasurements":
        raise SourceError(f"{name}: XML of kind {_bare(root.tag)!r}, no XRDML")
    scans: list[MeasuredPattern] = []
    axes: list[str] = []
    for measurement in _children(root, "xrdMeasurement"):
        radiation = _find_radiation(measurement)
        metadata = _find_metadata(root, measurement)
        for scan in _children(measurement, "scan"):
            points = _child(scan, "dataPoints")
            if points is None:
                continue
            axes.append(scan.get("scanAxis", "?"))
            angles = _find_angles(points, name)
            if angles is not None:
                scans.append(_make(points, angles, radiation, metadata, name))
    if not scans:
        seen = ", ".join(dict.fromkeys(axes)) or "none"
        raise SourceError(f"{name}: no scan over 2θ (scanned axes: {seen})")
    if len(scans) == 1:
        return (scans[0],)
    return tuple(
        replace(scan, name=f"{name} (scan {number})")
        for number, scan in enumerate(scans, 1)
    )


def parse_xml(data: bytes, name: str) -> ET.Element:
    """Parse XML that nobody vouches for.

    Raises:
        SourceError: If it has a document type, is too deep, or is no XML.
    """
    builder = ET.TreeBuilder()
    depth = elements = 0

    def refuse(*_: object) -> None:
        raise SourceError(
            f"{name}: the XML declares a document type, which no scan needs and which "
            "can blow up a reader; remove the <!DOCTYPE …> part"
        )

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
            raise SourceError(
                f"{name}: XML of more than {_MAX_DEPTH} levels or {_MAX_ELEMENTS:,} "
                "elements is no scan"
            )
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser = ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except SourceError:
        raise
    except (ExpatError, LookupError, ValueError, AssertionError) as error:
        raise SourceError(f"{name}: no valid XML ({error})") from None


def _bare(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _children(element: ET.Element, tag: str) -> list[ET.Element]:
    return [child for child in element if _bare(child.tag) == tag]


def _child(element: ET.Element | None, *path: str) -> ET.Element | None:
    for tag in path:
        if element is None:
            return None
        element = next(iter(_children(element, tag)), None)
    return element


def _text(element: ET.Element | None, *path: str) -> str:
    found = _child(element, *path)
    return "" if found is None else (found.text or "").strip()


def _find_radiation(measurement: ET.Element) -> Radiation | None:
    """Lines of the tube that reach the sample.

    ``intended="K-Alpha 1"`` is written with and without a monochromator: the second
    line is there unless a crystal in the incident beam takes it away.
    """
    used = _child(measurement, "usedWavelength")
    if used is None:
        return None
    unit = _child(used, "kAlpha1")
    scale = 10.0 if unit is not None and unit.get("unit") == "nm" else 1.0
    first, second, beta = (
        None if value is None else scale * value
        for value in (
            read_number(_text(used, tag)) for tag in ("kAlpha1", "kAlpha2", "kBeta")
        )
    )
    if "Beta" in used.get("intended", ""):
        return None if beta is None else find_radiation(beta)
    incident = _child(measurement, "incidentBeamPath")
    ratio = read_number(_text(used, "ratioKAlpha2KAlpha1"))
    if incident is not None and _children(incident, "monochromator"):
        ratio = None
    anode = _text(incident, "xRayTube", "anodeMaterial")
    return make_doublet(first, second, ratio, anode)


def _find_metadata(root: ET.Element, measurement: ET.Element) -> dict[str, str]:
    incident = _child(measurement, "incidentBeamPath")
    found = {
        "schema": root.tag.rsplit("}", 1)[0].rsplit("/", 1)[-1],
        "sample": _text(root, "sample", "name") or _text(root, "sample", "id"),
        "anode": _text(incident, "xRayTube", "anodeMaterial"),
        "incident_optics": ", ".join(
            child.get("name", "")
            for child in (() if incident is None else incident)
            if child.get("name")
        ),
        "sample_mode": measurement.get("sampleMode", ""),
        "status": measurement.get("status", ""),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value}


def _find_angles(
    points: ET.Element, name: str
) -> np.ndarray | tuple[float, float] | None:
    """All angles 2θ, or the first and the last; None if the scan is over another."""
    for positions in _children(points, "positions"):
        if positions.get("axis") != "2Theta":
            continue
        listed = _child(positions, "listPositions")
        if listed is not None:
            return _numbers(listed.text, name)
        first = read_number(_text(positions, "startPosition"))
        last = read_number(_text(positions, "endPosition"))
        if first is not None and last is not None and first != last:
            return first, last
    return None


def _make(
    points: ET.Element,
    angles: np.ndarray | tuple[float, float],
    radiation: Radiation | None,
    metadata: dict[str, str],
    name: str,
) -> MeasuredPattern:
    counts = _child(points, "counts")
    is_raw = counts is not None
    if counts is None:
        counts = _child(points, "intensities")
    if counts is None:
        raise SourceError(f"{name}: a scan without counts and without intensities")
    intensity = _numbers(counts.text, name)
    warnings: tuple[str, ...] = ()
    factors = _child(points, "beamAttenuationFactors")
    # Since version 2.0 `counts` are what the detector saw, behind the attenuator.
    if is_raw and factors is not None:
        intensity = intensity * _fitting(factors, len(intensity), name)
    time = read_number(_text(points, "commonCountingTime"))
    times = _child(points, "countingTimes")
    if times is not None:
        seconds = _fitting(times, len(intensity), name)
        if not (seconds > 0.0).all():
            raise SourceError(f"{name}: a counting time is not above zero")
        time = float(seconds.mean())
        intensity = intensity * (time / seconds)
        warnings = ("Counting times vary: intensities are scaled to their mean.",)
    if isinstance(angles, tuple):
        angles = np.linspace(angles[0], angles[1], len(intensity))
    if counts.get("unit", "counts") == "cps":
        time = 1.0
    return make_pattern(
        angles, intensity, radiation, None, name, metadata, warnings, counting_time=time
    )


def _fitting(element: ET.Element, count: int, name: str) -> np.ndarray:
    values = _numbers(element.text, name)
    if len(values) != count:
        raise SourceError(
            f"{name}: {len(values)} {_bare(element.tag)} for {count} points"
        )
    return values


def _numbers(text: str | None, name: str) -> np.ndarray:
    words = (text or "").split()
    if len(words) > MAX_POINTS:
        raise SourceError(
            f"{name}: {len(words):,} points, more than the {MAX_POINTS:,} that are "
            "read; add up neighbouring points first"
        )
    try:
        return np.array(words, np.float64)
    except ValueError:
        raise SourceError(f"{name}: letters where intensities are expected") from None
