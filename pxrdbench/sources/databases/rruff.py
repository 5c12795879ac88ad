"""RRUFF's powder patterns, as its users download them.

Three kinds of archive (or folders of what was in them) go together:

    XY_RAW, XY_Processed   measured: lines ``##KEY=value``, then ``2θ, intensity``
    DIF                    calculated from a structure of the literature; it has the
                           space group, in the symbol of that paper, and the cell

A measurement and its label share the mineral and the RRUFF id in their file names,
``Quartz__R040031-1__Powder__Xray_Data_XY_RAW__5234.txt``. One mineral has many
measurements. RRUFF's own site states no open licence: nothing of it is shipped here.

References:
    Lafuente, Downs, Yang & Stone (2015), "The power of databases: the RRUFF project",
    Highlights in Mineralogical Crystallography, 1-30.
"""

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pxrdbench.crystal.symmetry.symbols import find_space_group
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import find_radiation, read_number
from pxrdbench.sources.scans.read import MeasuredPattern, read_scan_bytes

Kind = Literal["raw", "processed"]

_FILE_NAME = re.compile(
    r"(?P<mineral>.+?)__(?P<id>[A-Z]\d{5,6}(?:[-.]\w+)?)__Powder__"
    r"(?P<kind>Xray_Data_XY_RAW|Xray_Data_XY_Processed|DIF_File)__(?P<number>\w+)\.txt",
    re.IGNORECASE,
)
_KINDS = {
    "xray_data_xy_raw": "raw",
    "xray_data_xy_processed": "processed",
    "dif_file": "dif",
}
# One file of RRUFF is some 150 kB; an archive holds some 4,000.
_MAX_MEMBER = 8_000_000
_MAX_MEMBERS = 100_000
# What a clean pattern covers at least [degrees]: from the first lines of most minerals
# to enough of them; the reference work asks for 5 to 89.9.
_CLEAN_START = 10.0
_CLEAN_STOP = 70.0
_CLEAN_STEP = 0.05


@dataclass(frozen=True, eq=False)
class DifRecord:
    """A calculated list of reflections: of the label's source, never a measurement.

    Attributes:
        mineral: As the record names it.
        space_group_symbol: As written there.
        space_group: Its number; 0 if the symbol is not understood.
        cell: a, b, c [Å], α, β, γ [degrees]; empty if it is not there.
        wavelength: What the list is calculated for [Å]; 0 if it is not there.
        two_theta: Angles 2θ [degrees].
        intensity: Of 100.
        code: Entry of the American Mineralogist database, "" if none is named.
    """

    mineral: str
    space_group_symbol: str
    space_group: int
    cell: tuple[float, ...]
    wavelength: float
    two_theta: np.ndarray
    intensity: np.ndarray
    code: str = ""


@dataclass(frozen=True, eq=False)
class RruffEntry:
    """One measurement of RRUFF and what is known of it.

    Attributes:
        rruff_id: Of the measurement, such as ``R050071-1``.
        mineral: Name of the mineral.
        chemistry: Ideal chemistry as the header gives it, "" if it does not.
        space_group: From the DIF file; 0 if unknown.
        pattern: What was measured; None if it could not be read.
        excluded: Why it is not clean; "" if it is.
        kind: ``raw`` has its background, ``processed`` has it removed.
        file_name: Of the measurement.
        space_group_symbol: As the DIF file writes it.
        status: What RRUFF says of the identification.
    """

    rruff_id: str
    mineral: str
    chemistry: str
    space_group: int
    pattern: MeasuredPattern | None
    excluded: str
    kind: Kind = "raw"
    file_name: str = ""
    space_group_symbol: str = ""
    status: str = ""


def read_rruff(
    source: Path | str | Iterable[Path | str],
    kind: Kind | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[RruffEntry, ...], dict[str, int]]:
    """Read measurements and their labels, and count what is left out by reason.

    Args:
        source: A folder (with archives or text files, at any depth), an archive, or
            several of either; the DIF files must be among them.
        kind: Which measurements, if not both.
        on_progress: Is called with the files done and the files there are.

    Returns:
        One entry for each measurement, by file name: an order that does not depend on
        that of the files. Then the number of entries by reason; "" are the clean ones.

    Raises:
        SourceError: If there is no such folder or no measurement in it.
    """
    paths = [source] if isinstance(source, Path | str) else list(source)
    members = sorted(_find_members(paths), key=lambda member: member.name)
    labels = _read_labels(members)
    scans = [m for m in members if m.kind != "dif" and kind in (None, m.kind)]
    if not scans:
        raise SourceError(
            f"no RRUFF patterns in {', '.join(str(p) for p in paths)}; looked for "
            "files named like Quartz__R040031-1__Powder__Xray_Data_XY_RAW__5234.txt, "
            "in folders and .zip archives"
        )
    entries, seen = [], set[str]()
    for done, member in enumerate(scans, 1):
        if member.name not in seen:  # the same file, unpacked beside its archive
            seen.add(member.name)
            entries.append(_read_entry(member, labels))
        if on_progress is not None:
            on_progress(done, len(scans))
    reasons = Counter(entry.excluded.split(":")[0] for entry in entries)
    return tuple(entries), dict(sorted(reasons.items()))


def read_dif(text: str) -> tuple[DifRecord, ...]:
    """Read all records of a DIF file; the database's own download holds many.

    Raises:
        SourceError: If no record has a space group.
    """
    records = []
    # Remains of rich text stand at the ends of some lines.
    text = re.sub(r"\\[a-z]+\d*\b ?", "", text.replace("\r\n", "\n"))
    for part in re.split(r"^[=_]{5,}.*$|^_END_.*$", text, flags=re.MULTILINE):
        if (record := _read_record(part)) is not None:
            records.append(record)
    if not records:
        raise SourceError("no record with a SPACE GROUP line")
    return tuple(records)


def _read_record(text: str) -> DifRecord | None:
    symbol = re.search(r"^\s*SPACE GROUP:[ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    if symbol is None:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cell = re.search(r"CELL PARAMETERS:((?:\s+[-\d.]+){6})", text)
    numbers = tuple(map(float, _numbers(cell[1]))) if cell else ()
    wavelength = re.search(r"X-RAY WAVELENGTH:\s*([\d.]+)", text)
    code = re.search(r"_database_code_amcsd\s+(\d+)", text)
    _, _, table = text.partition("2-THETA")
    rows = [_numbers(line) for line in table.splitlines()[1:]]
    reflections = [row[:2] for row in rows if len(row) >= 6]
    angles = np.array(reflections, np.float64).reshape(-1, 2)
    return DifRecord(
        mineral=lines[0],
        space_group_symbol=symbol[1],
        space_group=find_space_group(symbol[1], _unique_axis(numbers)),
        cell=numbers,
        wavelength=(read_number(wavelength[1]) or 0.0) if wavelength else 0.0,
        two_theta=angles[:, 0],
        intensity=angles[:, 1],
        code=code[1] if code else "",
    )


def _numbers(text: str) -> list[str]:
    """Words of a line if all of them are numbers, else none."""
    words = text.split()
    return words if all(read_number(word) is not None for word in words) else []


def _unique_axis(cell: tuple[float, ...]) -> str:
    """Axis of a monoclinic cell, "" for others."""
    oblique = [i for i, angle in enumerate(cell[3:]) if abs(angle - 90.0) > 1e-3]
    return "abc"[oblique[0]] if len(oblique) == 1 else ""


@dataclass(frozen=True)
class _Member:
    """A file of RRUFF, in a folder or in an archive."""

    name: str
    mineral: str
    rruff_id: str
    kind: str
    path: Path
    inside: str = ""

    def read(self) -> bytes:
        try:
            if not self.inside:
                return self.path.read_bytes()[:_MAX_MEMBER]
            with (
                zipfile.ZipFile(self.path) as archive,
                archive.open(self.inside) as file,
            ):
                return file.read(_MAX_MEMBER)
        except (
            OSError,
            zipfile.BadZipFile,
            RuntimeError,
            EOFError,
            ValueError,
        ) as error:
            raise SourceError(f"{self.name}: {error}") from None


def _find_members(paths: list[Path | str]) -> Iterator[_Member]:
    for start in map(Path, paths):
        if not start.exists():
            raise SourceError(f"there is no folder or archive {start}")
        files = sorted(start.rglob("*")) if start.is_dir() else [start]
        for path in files:
            if path.suffix.lower() == ".zip":
                yield from _find_in_archive(path)
            elif (member := _make_member(path.name, path)) is not None:
                yield member


def _find_in_archive(path: Path) -> Iterator[_Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path}: no whole zip archive ({error}); fetch it again"
        ) from None
    if len(names) > _MAX_MEMBERS:
        raise SourceError(f"{path}: {len(names):,} files; RRUFF's hold some thousand")
    for inside in names:
        member = _make_member(inside.rsplit("/", 1)[-1], path, inside)
        if member is not None:
            yield member


def _make_member(name: str, path: Path, inside: str = "") -> _Member | None:
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        return None
    kind = _KINDS[match["kind"].lower()]
    return _Member(name, match["mineral"], match["id"].upper(), kind, path, inside)


def _read_labels(members: list[_Member]) -> dict[tuple[str, str], DifRecord]:
    """Label of each (mineral, id), and of the id without its number behind the dash.

    Where several measurements of one sample have DIF files, each has its own; a
    measurement without one takes that of its sample, the first by name.
    """
    labels: dict[tuple[str, str], DifRecord] = {}
    for member in members:
        if member.kind != "dif":
            continue
        try:
            record = read_dif(member.read().decode("latin-1"))[0]
        except SourceError:
            continue
        mineral = member.mineral.casefold()
        labels[mineral, member.rruff_id] = record
        labels.setdefault((mineral, _sample_of(member.rruff_id)), record)
    return labels


def _sample_of(rruff_id: str) -> str:
    return re.split(r"[-.]", rruff_id)[0]


def _read_entry(
    member: _Member, labels: dict[tuple[str, str], DifRecord]
) -> RruffEntry:
    mineral = member.mineral.casefold()
    label = labels.get((mineral, member.rruff_id)) or labels.get(
        (mineral, _sample_of(member.rruff_id))
    )
    try:
        pattern = read_scan_bytes(member.read(), member.name)[0]
        problem = ""
    except SourceError as error:
        pattern, problem = None, str(error).removeprefix(f"{member.name}: ")
    metadata = {} if pattern is None else pattern.metadata
    if pattern is not None and pattern.radiation is None and label is not None:
        # The DIF file is calculated for the tube that the pattern was measured with.
        radiation = find_radiation(label.wavelength) if label.wavelength else None
        pattern = replace(pattern, radiation=radiation)
    status = metadata.get("STATUS", "")
    return RruffEntry(
        rruff_id=member.rruff_id,
        mineral=metadata.get("NAMES", "") or member.mineral.replace("_", " "),
        chemistry=metadata.get("IDEAL CHEMISTRY", ""),
        space_group=0 if label is None else label.space_group,
        pattern=pattern,
        excluded=_exclude(pattern, problem, label, status),
        kind="raw" if member.kind == "raw" else "processed",
        file_name=member.name,
        space_group_symbol="" if label is None else label.space_group_symbol,
        status=status,
    )


def _exclude(
    pattern: MeasuredPattern | None, problem: str, label: DifRecord | None, status: str
) -> str:
    """Why an entry is not clean, the first reason that holds; "" if it is."""
    if pattern is None:
        return f"cannot be read: {problem}"
    if label is None:
        return "no DIF file, so no space group"
    if label.space_group == 0:
        return f"space group symbol not understood: {label.space_group_symbol}"
    if re.search(
        r"not (yet )?(been )?(confirmed|identified)|unconfirmed", status, re.I
    ):
        return f"identification not confirmed: {status}"
    angles = pattern.two_theta
    if angles[0] > _CLEAN_START or angles[-1] < _CLEAN_STOP:
        return (
            f"does not cover {_CLEAN_START:g} to {_CLEAN_STOP:g} degrees: "
            f"{angles[0]:g} to {angles[-1]:g}"
        )
    if pattern.step > _CLEAN_STEP:
        return f"steps above {_CLEAN_STEP:g} degrees: {pattern.step:g}"
    return ""
