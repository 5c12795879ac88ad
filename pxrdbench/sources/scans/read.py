"""Scans of powder diffractometers, in the formats that laboratories keep them in.

    xy, xye, txt, csv, tsv,  columns; decimal commas; RRUFF's own headers; Q, d, theta
    chi, dat                 and radians are converted, other quantities refused
    cpi, udf, asc, mdi, dat  counts below a start, a step and a stop
    xrdml                    PANalytical, versions 1.0 to 2.3
    ras, rasx                Rigaku
    brml                     Bruker
    uxd, raw (RAW1.01)       Siemens and Bruker
    cif                      pdCIF with a measured profile
    gsas, gda, xra, …        GSAS with constant steps

What a file is, is told by what it holds, not by its name. A file that is packed with
gzip or bzip2 is unpacked on the way.
"""

import bz2
import gzip
import io
import zlib
from pathlib import Path

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.bruker import read_bruker_raw
from pxrdbench.sources.scans.columns import read_columns
from pxrdbench.sources.scans.grid import resample
from pxrdbench.sources.scans.layouts import find_layout
from pxrdbench.sources.scans.packed import read_packed
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    make_pattern,
)
from pxrdbench.sources.scans.pdcif import read_pdcif
from pxrdbench.sources.scans.ranges import join_ranges
from pxrdbench.sources.scans.vendors import read_gsas, read_ras, read_uxd
from pxrdbench.sources.scans.xrdml import read_xrdml

__all__ = [
    "MAX_BYTES",
    "SCAN_SUFFIXES",
    "MeasuredPattern",
    "find_scans",
    "make_pattern",
    "read_scan",
    "read_scan_bytes",
    "resample",
]

# A million points in the widest of columns.
MAX_BYTES = 64_000_000
# What is looked for in a folder; a file that is named is read whatever its suffix.
SCAN_SUFFIXES = frozenset(
    {".xy", ".xye", ".txt", ".csv", ".tsv", ".dat", ".xrdml", ".ras", ".uxd", ".cif",
     ".raw", ".asc", ".chi", ".cpi", ".udf", ".mdi", ".iq", ".int",
     ".xra", ".gsas", ".gda", ".fxye", ".rasx", ".brml",
     ".bz2", ".gz"}
)  # fmt: skip

# First bytes of formats that are not read, and what to do instead.
_REFUSED = (
    (b"RAW4.00", "Bruker RAW 4", "DIFFRAC.EVA exports it as .xy or .uxd"),
    (b"RAW_1.0", "Stoe RAW", "WinXPOW exports it as .xy (Raw Data > Export)"),
    (b"RAW2", "Bruker RAW 2", "Bruker's XCH or FILEEXCHANGE converts it to .uxd"),
    (b"RAW ", "Siemens RAW 1", "Bruker's XCH or FILEEXCHANGE converts it to .uxd"),
    (b"V3RD", "Philips RD", "X'Pert HighScore exports it as .xy or .xrdml"),
    (b"V5RD", "Philips RD", "X'Pert HighScore exports it as .xy or .xrdml"),
    (b"%PDF", "a PDF", "export the scan as .xy"),
    (b"\x89PNG", "a picture", "export the scan as .xy"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Office file", "save it as .csv"),
    (b"\x89HDF", "an HDF5 file", "export the scan as .xy"),
)  # fmt: skip


def read_scan(
    path: Path | str, radiation: str | float | Radiation | None = None
) -> tuple[MeasuredPattern, ...]:
    """Read all scans of a file.

    What the file gives along its first axis, in which unit, and where that and the
    radiation come from, is in the patterns' ``quantity``, ``unit`` and ``stated``.

    Args:
        path: Of the file; see the head of this module for what is read.
        radiation: Turns Q, s and d into 2θ where the file does not tell; it is not
            taken for what the file says.

    Returns:
        One pattern for each scan, at least one. Ranges that follow each other are one
        pattern, joined by their counting times (`ranges`).

    Raises:
        SourceError: If it cannot be read; one sentence with what to do.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(
                f"{path.name}: {size / 1e6:.0f} MB; scans have at most "
                f"{MAX_POINTS:,} points and {MAX_BYTES / 1e6:.0f} MB: add up "
                "neighbouring points first"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SourceError(f"{path}: this is a folder; name a file in it") from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    return read_scan_bytes(data, path.name, radiation)


def read_scan_bytes(
    data: bytes, name: str, radiation: str | float | Radiation | None = None
) -> tuple[MeasuredPattern, ...]:
    """Read all scans of a file that is in memory.

    Args:
        data: What the file holds.
        name: Its name, for messages and as the patterns' name.
        radiation: See `read_scan`.

    Raises:
        SourceError: If it cannot be read.
    """
    data = _unpack(data, name)
    suffix = Path(name.removesuffix(".bz2").removesuffix(".gz")).suffix.lower()
    if not data.strip():
        raise SourceError(f"{name}: the file is empty")
    if data.startswith(b"RAW1.01"):
        return join_ranges(read_bruker_raw(data, name), name)
    for start, kind, remedy in _REFUSED:
        if data.startswith(start):
            raise SourceError(f"{name}: {kind}, which is not read; {remedy}")
    if data.startswith(b"PK\x03\x04"):
        return join_ranges(read_packed(data, name), name)
    head = data[:4096]
    if b"<" in head and (b"<?xml" in head or b"<xrdMeasurements" in head):
        return join_ranges(read_xrdml(data, name), name)
    text = _decode(data, name)
    if "<?xml" in text[:4096] or "<xrdMeasurements" in text[:4096]:
        return join_ranges(read_xrdml(data, name), name)  # in UTF-16
    top = text[:65536]
    if top.lstrip().startswith("*RAS_"):
        return join_ranges(read_ras(text, name), name)
    if "_FILEVERSION" in top or "_2THETACOUNTS" in top or suffix == ".uxd":
        return join_ranges(read_uxd(text, name), name)
    if "\nBANK " in top or top.startswith("BANK "):
        return join_ranges(read_gsas(text, name), name)
    if suffix == ".cif" or "\n_pd_" in top or top.lstrip().startswith("data_"):
        return read_pdcif(text, name)
    layout = find_layout(text)
    if layout is not None:
        return join_ranges(layout(text, name), name)
    given = None if radiation is None else Radiation.parse(radiation)
    return read_columns(text, name, suffix, given)


def find_scans(path: Path | str) -> list[Path]:
    """Files that may be scans: the file itself, or those of a folder and below it.

    Raises:
        SourceError: If there is no such file or folder.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SCAN_SUFFIXES and file.is_file()
        )
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    return [path]


def _unpack(data: bytes, name: str) -> bytes:
    """Take off gzip or bzip2, up to the largest size that is read."""
    for start in (b"\x1f\x8b", b"BZh"):
        if data.startswith(start):
            try:
                packed = io.BytesIO(data)
                file = (
                    gzip.GzipFile(fileobj=packed)
                    if start == b"\x1f\x8b"
                    else bz2.BZ2File(packed)
                )
                with file:
                    unpacked = file.read(MAX_BYTES + 1)
            except (OSError, EOFError, zlib.error, ValueError):
                raise SourceError(f"{name}: the packed file is damaged") from None
            if len(unpacked) > MAX_BYTES:
                raise SourceError(
                    f"{name}: more than {MAX_BYTES / 1e6:.0f} MB when unpacked"
                )
            return unpacked
    return data


def _starts_with_mark(data: bytes) -> bool:
    return data[:2] in (b"\xff\xfe", b"\xfe\xff")


def _decode(data: bytes, name: str) -> str:
    """Text of the file in whichever encoding; binary files are refused."""
    if _starts_with_mark(data):
        return data.decode("utf-16", "replace").removeprefix("\ufeff")
    sample = data[:65536]
    strange = sum(byte < 9 or 13 < byte < 32 for byte in sample) - sample.count(b"\x1a")
    if b"\0" in data or strange > 0.01 * len(sample):
        raise SourceError(
            f"{name}: a binary file of a kind that is not read; export the scan as "
            "two columns of text (.xy)"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Every byte is a letter in these; headers may come out odd, numbers not.
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return data.decode("latin-1")
