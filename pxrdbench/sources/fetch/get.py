"""Fetching public data sets: licence first, every file checked, hashes kept.

The sha256 of a file is written to ``lock.json`` when it is first downloaded. From then
on the file must have it: one that changed on the disk or at its source is refused.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxrdbench.errors import SourceError
from pxrdbench.outside import guard, parse_strict_json, take
from pxrdbench.sources.fetch.catalogue import (
    COD_ENTRY_URL,
    RemoteFile,
    find_source,
    pick_entries,
)
from pxrdbench.sources.fetch.check import check_file
from pxrdbench.sources.fetch.download import Progress, ResumingDownloader
from pxrdbench.sources.structures.parts import write_json

LOCK = "lock.json"
LICENCE = "LICENCE.txt"


@dataclass(frozen=True)
class FetchedFile:
    """A file that is there and has been checked.

    Attributes:
        path: Where it is.
        sha256: Its digest.
        n_bytes: Its size.
        is_new: Whether it was downloaded now.
        is_first: Whether its digest was recorded now, not compared.
    """

    path: Path
    sha256: str
    n_bytes: int
    is_new: bool
    is_first: bool


def fetch_source(
    name: str,
    out: str | Path,
    *,
    base_url: str | None = None,
    codes: Sequence[str] = (),
    lock: str | Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[FetchedFile, ...]:
    """Fetch the files of a public data set into a folder.

    Args:
        name: "rruff", "amcsd", "cod", "mp-20", "mpts-52".
        out: Folder; gets the files, ``LICENCE.txt`` and ``lock.json``.
        base_url: Another place that holds the same files: a mirror.
        codes: Of the COD, numbers of single entries in place of everything.
        lock: A ``lock.json`` to compare with, from a colleague, say; what it does not
            name is recorded in that of the folder.
        on_progress: Is called with file, bytes there and bytes in all as they come.

    Returns:
        The files, each checked.

    Raises:
        SourceError: If a file cannot be had, is not what it should be, or is not what
            was downloaded first. Such a file is not kept.
    """
    source = find_source(name)
    if codes and name != "cod":
        raise SourceError(f"single entries can be fetched of the COD, not of {name}")
    files = pick_entries(codes) if codes else source.files
    base = base_url or (COD_ENTRY_URL if codes else source.base_url)
    if not base.startswith(("http://", "https://")):
        raise SourceError(
            f"{base!r} is no address that begins with http:// or https://"
        )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / LICENCE).write_text(licence_text(name), encoding="utf-8")
    held = _read_lock(out / LOCK) if (out / LOCK).is_file() else {}
    locked = {**held, **(_read_lock(Path(lock)) if lock else {})}
    fetched = []
    for file in files:
        url = f"{base.rstrip('/')}/{file.name}"
        known = locked.get(file.name, {}).get("sha256", "")
        done = _fetch_file(url, file, out, known, on_progress)
        fetched.append(done)
        if file.name not in held:
            held[file.name] = {
                "sha256": done.sha256,
                "bytes": done.n_bytes,
                "url": url if done.is_new else "",
            }
            write_json(out / LOCK, dict(sorted(held.items())))
    return tuple(fetched)


def licence_text(name: str) -> str:
    """What is shown before a download, and kept beside the data."""
    source = find_source(name)
    return (
        f"{source.title}\n\nLicence: {source.licence}\n\nTo cite: {source.citation}\n\n"
        f"From: {source.base_url}\nSize: {source.size}\n"
    )


def _fetch_file(
    url: str,
    file: RemoteFile,
    out: Path,
    known: str,
    on_progress: Progress | None,
) -> FetchedFile:
    """Have one file: the one that is there, or download it."""
    import pooch

    path = out / file.name
    if path.is_file():
        return _verify(path, file, known)

    def check(partial: Path) -> None:
        check_file(partial, file)
        digest = _sha256(partial)
        if known and digest != known:
            raise SourceError(
                f"{url} is not the file that was first downloaded: sha256 "
                f"{digest[:16]}…, not {known[:16]}… as in {LOCK}; it has changed "
                "there, or on its way. To take the new one, delete its entry in "
                f"{LOCK}"
            )

    downloader = ResumingDownloader(out / f"{file.name}.partial", check, on_progress)
    pooch.get_logger().setLevel("ERROR")
    # The digest is compared above, where what went wrong can be said.
    pooch.retrieve(
        url, known_hash=None, fname=file.name, path=out, downloader=downloader
    )
    return FetchedFile(path, _sha256(path), path.stat().st_size, True, not known)


def _verify(path: Path, file: RemoteFile, known: str) -> FetchedFile:
    """Check a file that is there already; it is the user's, and is left where it is."""
    digest = _sha256(path)
    if known and digest != known:
        raise SourceError(
            f"{path} is not the file that was first downloaded: sha256 {digest[:16]}…, "
            f"not {known[:16]}… as in {LOCK}; delete it to fetch it again"
        )
    check_file(path, file)
    return FetchedFile(path, digest, path.stat().st_size, False, not known)


def _read_lock(path: Path) -> dict[str, Mapping[str, Any]]:
    with guard(SourceError, f"{path} is no list of digests"):
        content = path.read_bytes()
    lock = parse_strict_json(content, f"{path} is no list of digests: it", SourceError)
    with guard(SourceError, f"{path} is no list of digests"):
        return {
            name: {**entry, "sha256": take(entry, "sha256", str)}
            for name, entry in lock.items()
        }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
