"""Downloads that go on where they were broken off.

What has come lies in ``NAME.partial`` beside a note of what the server said of it. It
gets its name when all of it is there.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from pxrdbench.errors import SourceError
from pxrdbench.outside import one_line, read_strict_json

# File, bytes there, bytes in all (0 if unknown).
Progress = Callable[[str, int, int], None]

_CHUNK = 1 << 18
_TIMEOUT = (20.0, 60.0)  # s, to connect, and between two bytes
_TRIES = 3
# The largest file that is known here, all CIFs of the COD, has 18 GB.
MAX_BYTES = 40_000_000_000
_MOST_REDIRECTS = 5
# A note holds an address and a tag.
_MOST_NOTE = 100_000


class ResumingDownloader:
    """Downloads a file over http, in pieces if need be: a downloader for pooch.

    Args:
        partial: Where the pieces are kept.
        check: Raises if the whole file is not what it should be; it is then dropped,
            and never gets its name.
        on_progress: Is called as bytes come.
    """

    def __init__(
        self,
        partial: Path,
        check: Callable[[Path], None],
        on_progress: Progress | None = None,
    ) -> None:
        self.partial = partial
        self.check = check
        self.note = partial.with_name(f"{partial.name}.json")
        self.on_progress = on_progress

    def __call__(
        self, url: str, output_file: Any, _pooch: Any, check_only: bool = False
    ) -> None:
        """Download, and put the whole file where pooch wants it.

        Raises:
            SourceError: If the file cannot be had; what has come is kept.
        """
        del check_only
        import requests

        error: Exception | None = None
        for _ in range(_TRIES):
            try:
                self._go_on(url)
            except (requests.ConnectionError, requests.Timeout) as again:
                error = again
            except requests.exceptions.ChunkedEncodingError as again:
                error = again  # broken off in the middle
            except requests.RequestException as other:
                raise SourceError(f"{url} cannot be fetched: {other}") from other
            else:
                self._hand_over(output_file)
                return
        have = self.partial.stat().st_size if self.partial.is_file() else 0
        raise SourceError(
            f"{url} cannot be fetched: broken off after {have:,} bytes ({error}); "
            "the same command goes on there"
        ) from error

    def discard(self) -> None:
        """Forget what has come."""
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _hand_over(self, output_file: Any) -> None:
        try:
            self.check(self.partial)
        except SourceError:
            self.discard()
            raise
        self.partial.replace(str(getattr(output_file, "name", output_file)))
        self.note.unlink(missing_ok=True)

    def _go_on(self, url: str) -> None:
        """Fetch what is missing; all of it if the server's file has changed."""
        import requests

        have, known = self._find_partial(url)
        # Compressed on the way, no length would fit.
        headers = {"Accept-Encoding": "identity", "User-Agent": "pxrdbench"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": known["validator"]}
        with (
            _make_session() as session,
            session.get(
                url, headers=headers, stream=True, timeout=_TIMEOUT
            ) as response,
        ):
            if response.status_code == 416:  # nothing is missing, or all has changed
                self.discard()
                raise requests.ConnectionError("the file on the server has changed")
            if response.status_code >= 500:
                raise requests.ConnectionError(f"status {response.status_code}")
            if response.status_code not in (200, 206):
                raise SourceError(
                    f"{url} is not there (status {response.status_code}); the file "
                    "may have moved, give another address with --from"
                )
            is_rest = response.status_code == 206 and have > 0
            have = have if is_rest else 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else 0
            self._check_size(total)
            self._write_note(url, response.headers)
            self._write(response, have, total)

    def _write(self, response: Any, have: int, total: int) -> None:
        import requests

        with self.partial.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                have += len(chunk)
                self._check_size(have)
                file.write(chunk)
                if self.on_progress:
                    self.on_progress(self.partial.stem, have, total)
        if total and have != total:
            raise requests.ConnectionError(f"{have:,} of {total:,} bytes came")

    def _check_size(self, size: int) -> None:
        """Refuse more bytes than any known file has; what has come goes, too."""
        if size > MAX_BYTES:
            self.discard()
            raise SourceError(
                f"{self.partial.stem}: at least {size:,} bytes would come; at most "
                f"{MAX_BYTES:,} are fetched, no data set here is as large"
            )

    def _find_partial(self, url: str) -> tuple[int, dict[str, str]]:
        """Bytes that are there already, and what they belong to."""
        if not (self.partial.is_file() and self.note.is_file()):
            return 0, {}
        try:
            known = read_strict_json(self.note, SourceError, _MOST_NOTE)
        except SourceError:
            return 0, {}
        # Without a mark of the server nobody knows whether the rest would fit.
        validator = known.get("validator")
        if known.get("url") != url or not isinstance(validator, str) or not validator:
            return 0, {}
        return self.partial.stat().st_size, known

    def _write_note(self, url: str, headers: Mapping[str, str]) -> None:
        tag = headers.get("ETag", "")
        # A weak tag does not promise equal bytes.
        validator = tag if tag and not tag.startswith("W/") else ""
        validator = validator or headers.get("Last-Modified", "")
        self.note.write_text(
            json.dumps({"url": url, "validator": validator}), encoding="utf-8"
        )


def _make_session() -> Any:
    """A session of requests that never goes from https to http.

    requests follows redirects wherever they lead; who listens on the way could send
    one's own file. The digest is of no help when a file comes for the first time.
    """
    import requests

    session = requests.Session()
    session.max_redirects = _MOST_REDIRECTS

    def refuse(response: Any) -> None:
        target = urljoin(response.url, session.get_redirect_target(response) or "")
        if urlsplit(response.url).scheme == "https" != urlsplit(target).scheme:
            raise SourceError(
                f"{response.url} leads on to {one_line(target)}, which is not "
                "encrypted: give another address with --from"
            )

    session.hooks["response"].append(lambda response, *_, **__: refuse(response))
    return session
