"""Whether a file that was downloaded is what it should be, and safe to open.

Archives are read in place and never unpacked; still, one that holds other people's
paths or more than any disk can take is refused at the door.
"""

import csv
import gzip
import stat
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from pxrdbench.errors import SourceError
from pxrdbench.sources.fetch.catalogue import RemoteFile

# The largest archive that is known here (RRUFF, RAW) holds some 500 MB.
MAX_UNPACKED = 20_000_000_000
# A text compresses by 4 to 20; a bomb by 1000.
MAX_RATIO = 200
MAX_MEMBERS = 2_000_000
_XZ_MAGIC = b"\xfd7zXZ\x00"
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


def check_file(path: Path, expected: RemoteFile) -> None:
    """Refuse a file that is not of its kind, cut off, or a trap.

    Raises:
        SourceError: It says in one sentence what came instead.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise SourceError(f"{expected.name}: the file that came is empty")
    if looks_like_html(head):
        raise SourceError(
            f"{expected.name}: a web page came instead of the file; the address has "
            "moved or wants a login, give another with --from"
        )
    if expected.kind == "zip":
        check_zip(path, expected.name)
    elif expected.kind == "txz":
        if not head.startswith(_XZ_MAGIC):
            raise SourceError(f"{expected.name}: what came is no .txz archive")
    elif expected.kind in ("csv", "csv.gz"):
        _check_table(path, expected, head)
    elif expected.kind == "cif" and b"data_" not in path.read_bytes().lower():
        raise SourceError(f"{expected.name}: what came is no CIF")


def looks_like_html(head: bytes) -> bool:
    """Whether a file begins as a web page does."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def check_zip(path: Path, name: str) -> None:
    """Refuse a zip archive that is cut off, damaged, a bomb, or leaves its folder.

    Raises:
        SourceError: It names the first member at fault.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise SourceError(f"{name}: {len(members):,} files in one archive")
            for info in members:
                _check_member(info, name)
            packed = max(path.stat().st_size, 1)
            total = sum(info.file_size for info in members)
            if total > MAX_UNPACKED or total > MAX_RATIO * packed + _CHUNK:
                raise SourceError(
                    f"{name}: {packed:,} bytes that would unpack to {total:,}; "
                    "no data set does"
                )
            for info in members:
                _read_through(archive, info, name)
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"{name}: what came is no whole zip archive ({error})"
        ) from error
    except (RuntimeError, NotImplementedError, OSError, EOFError) as error:
        raise SourceError(f"{name}: the archive cannot be read: {error}") from error


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    # zipfile cuts names at a NUL and turns backslashes on Windows only.
    given = info.orig_filename
    parts = PurePosixPath(given.replace("\\", "/"))
    is_drive = len(given) > 1 and given[1] == ":"
    if parts.is_absolute() or ".." in parts.parts or is_drive or "\0" in given:
        raise SourceError(f"{name}: the archive holds the path {given!r}: a trap")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise SourceError(f"{name}: the archive holds a link, {given!r}: a trap")
    if info.flag_bits & 1:
        raise SourceError(f"{name}: {given!r} in the archive is encrypted")


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
    """Read a member to its end: zipfile compares its checksum there."""
    import zlib

    read = 0
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK):
                read += len(chunk)
    except zlib.error as error:
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from error
    if read != info.file_size:
        raise SourceError(
            f"{name}: {info.filename!r} has {read:,} bytes, not {info.file_size:,}"
        )


def _check_table(path: Path, expected: RemoteFile, head: bytes) -> None:
    """Read a table to its end; its header must hold the columns."""
    is_packed = expected.kind == "csv.gz"
    if is_packed and not head.startswith(_GZIP_MAGIC):
        raise SourceError(f"{expected.name}: what came is not compressed by gzip")
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    opened: Any = gzip.open if is_packed else open
    limit = MAX_RATIO * path.stat().st_size + _CHUNK
    read = 0
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as text:
            header = next(csv.reader([text.readline(_CHUNK)]), [])
            missing = [name for name in expected.columns if name not in header]
            if missing:
                raise SourceError(
                    f"{expected.name}: the table that came has no column "
                    f"{', '.join(missing)}"
                )
            while chunk := text.read(_CHUNK):
                read += len(chunk)
                if read > limit:
                    raise SourceError(
                        f"{expected.name}: unpacks to more than {limit:,} bytes"
                    )
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{expected.name}: what came is no whole table ({error})"
        ) from error
