"""Downloads from a server on this machine: whole, broken, changed and hostile ones."""

import csv
import gzip
import hashlib
import io
import json
import random
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from pxrdbench.errors import SourceError
from pxrdbench.sources.fetch import check as fetch_check
from pxrdbench.sources.fetch import download as fetch_download
from pxrdbench.sources.fetch.catalogue import CATALOGUE
from pxrdbench.sources.fetch.get import fetch_source, licence_text


def make_zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


def make_table(n_rows=3):
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(["", "material_id", "formation_energy_per_atom", "cif"])
    for number in range(n_rows):
        table.writerow([number, f"mp-{number}", -1.0, "data_x\n_cell_length_a 1\n"])
    return file.getvalue().encode()


# The layout of the archives as users know them: files at the top, these names.
DIF = "Quartz__R040031-1__Powder__DIF_File__1.txt"
RAW = "Quartz__R040031-1__Powder__Xray_Data_XY_RAW__1.txt"
PROCESSED = "Quartz__R040031-1__Powder__Xray_Data_XY_Processed__1.txt"
RRUFF = {
    "DIF.zip": make_zip({DIF: "      Quartz\n" * 50}),
    # Larger than what is read at once, and hardly compressed.
    "XY_RAW.zip": make_zip({RAW: random.Random(0).randbytes(2_000_000)}),
    "XY_Processed.zip": make_zip({PROCESSED: "##NAMES=Quartz\n5.00, 1\n##END=\n"}),
}


class Server(ThreadingHTTPServer):
    """Serves ``files``, and counts what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(RRUFF)
        self.requests = []
        self.break_after = {}
        self.has_tags = True
        self.says_its_length = True
        self.status = {}
        self.content_type = "application/octet-stream"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data/"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        name = self.path.rsplit("/", 1)[-1]
        server.requests.append((name, self.headers.get("Range")))
        if server.status.get(name):
            self.send_error(server.status[name])
            return
        if name not in server.files:
            self.send_error(404)
            return
        data = server.files[name]
        tag = f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324 - a tag, no secret
        start = 0
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.content_type)
        if server.says_its_length:
            self.send_header("Content-Length", str(len(data) - start))
        if server.has_tags:
            self.send_header("ETag", tag)
        self.end_headers()
        stop = server.break_after.pop(name, None)
        self.wfile.write(data[start:stop] if stop else data[start:])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


KEPT = ["DIF.zip", "LICENCE.txt", "XY_Processed.zip", "XY_RAW.zip", "lock.json"]


def test_a_source_is_fetched_recorded_and_then_only_checked(server, tmp_path):
    seen = []
    files = fetch_source(
        "rruff", tmp_path, base_url=server.url, on_progress=lambda *c: seen.append(c)
    )
    assert names(tmp_path) == KEPT
    assert all(file.is_new and file.is_first for file in files)
    lock = json.loads((tmp_path / "lock.json").read_text())
    for name, data in RRUFF.items():
        assert (tmp_path / name).read_bytes() == data
        assert lock[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert lock[name]["bytes"] == len(data)
    assert "no open licence" in (tmp_path / "LICENCE.txt").read_text()
    assert seen[-1] == ("XY_Processed.zip", *2 * (len(RRUFF["XY_Processed.zip"]),))
    before = len(server.requests)
    again = fetch_source("rruff", tmp_path, base_url=server.url)
    assert not any(file.is_new or file.is_first for file in again)
    assert len(server.requests) == before


def test_a_broken_download_goes_on(server, tmp_path):
    server.break_after["XY_RAW.zip"] = 1_000_000
    fetch_source("rruff", tmp_path, base_url=server.url)
    asked = [rest for name, rest in server.requests if name == "XY_RAW.zip"]
    assert asked[0] is None
    assert 0 < int(asked[1].removeprefix("bytes=").rstrip("-")) <= 1_000_000
    assert len(asked) == 2
    assert (tmp_path / "XY_RAW.zip").read_bytes() == RRUFF["XY_RAW.zip"]
    assert names(tmp_path) == KEPT


def test_a_later_run_goes_on_too(server, tmp_path):
    (tmp_path / "DIF.zip.partial").write_bytes(RRUFF["DIF.zip"][:100])
    tag = hashlib.md5(RRUFF["DIF.zip"]).hexdigest()  # noqa: S324 - a tag, no secret
    note = {"url": f"{server.url}DIF.zip", "validator": f'"{tag}"'}
    (tmp_path / "DIF.zip.partial.json").write_text(json.dumps(note))
    fetch_source("rruff", tmp_path, base_url=server.url)
    assert ("DIF.zip", "bytes=100-") in server.requests
    assert (tmp_path / "DIF.zip").read_bytes() == RRUFF["DIF.zip"]
    assert names(tmp_path) == KEPT


@pytest.mark.parametrize("case", ["changed", "no tag", "other address"])
def test_pieces_that_may_not_fit_are_not_joined(server, tmp_path, case):
    (tmp_path / "DIF.zip.partial").write_bytes(b"older" * 10)
    url = "http://elsewhere/DIF.zip" if case == "other address" else server.url
    note = {"url": f"{url}DIF.zip", "validator": "" if case == "no tag" else '"old"'}
    (tmp_path / "DIF.zip.partial.json").write_text(json.dumps(note))
    fetch_source("rruff", tmp_path, base_url=server.url)
    assert (tmp_path / "DIF.zip").read_bytes() == RRUFF["DIF.zip"]


def test_what_changed_on_the_disk_is_refused_and_left(server, tmp_path):
    fetch_source("rruff", tmp_path, base_url=server.url)
    path = tmp_path / "DIF.zip"
    path.write_bytes(make_zip({DIF: "another"}))
    with pytest.raises(SourceError, match="delete it to fetch it again"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    assert path.is_file()


def test_what_changed_at_the_source_is_refused(server, tmp_path):
    fetch_source("rruff", tmp_path, base_url=server.url)
    (tmp_path / "DIF.zip").unlink()
    server.files["DIF.zip"] = make_zip({DIF: "another"})
    with pytest.raises(SourceError, match="not the file that was first downloaded"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    assert "DIF.zip" not in names(tmp_path)
    # A lock of a colleague works the same in an empty folder.
    other = tmp_path / "other"
    with pytest.raises(SourceError, match="not the file that was first"):
        fetch_source("rruff", other, base_url=server.url, lock=tmp_path / "lock.json")
    with pytest.raises(SourceError, match="no list of digests"):
        fetch_source("rruff", other, base_url=server.url, lock=tmp_path / "none.json")


def link_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("link.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def flipped(data):
    """One bit of a member changed: only its checksum tells."""
    at = data.index(b"Quartz__R") + 60
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


STORED = io.BytesIO()
with zipfile.ZipFile(STORED, "w") as _archive:
    _archive.writestr("Quartz__R.txt", "5.00, 100\n" * 40)

BAD = {
    "a web page": (b"\n<!DOCTYPE html><html>moved</html>", "a web page came"),
    "cut off": (RRUFF["DIF.zip"][:-30], "no whole zip archive"),
    "no archive": (b"hello", "no whole zip archive"),
    "empty": (b"", "is empty"),
    "damaged": (flipped(STORED.getvalue()), "no whole zip archive"),
    "path": (make_zip({"../../outside.txt": "x"}), "a trap"),
    "absolute": (make_zip({"/etc/x": "x"}), "a trap"),
    "windows": (make_zip({"..\\..\\x": "x"}), "a trap"),
    "drive": (make_zip({"C:x.txt": "x"}), "a trap"),
    "link": (link_zip(), "holds a link"),
    "bomb": (make_zip({"a.txt": b"\0" * 5_000_000}), "no data set does"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_one_error_and_leaves_nothing(server, tmp_path, case):
    data, message = BAD[case]
    server.files["DIF.zip"] = data
    out = tmp_path / "deep" / "out"
    with pytest.raises(SourceError, match=message):
        fetch_source("rruff", out, base_url=server.url)
    assert names(out) == ["LICENCE.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_member_larger_than_it_says_is_refused(tmp_path):
    """The directory of the archive lies; reading stops at what it says."""
    data = bytearray(make_zip({"a.txt": b"0" * 200_000}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (1000).to_bytes(4, "little")
    path = tmp_path / "a.zip"
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"a\.zip: "):
        fetch_check.check_zip(path, "a.zip")


def test_a_server_that_fails(server, tmp_path):
    server.status["DIF.zip"] = 503
    with pytest.raises(SourceError, match="broken off after 0 bytes"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    server.status["DIF.zip"] = 403
    with pytest.raises(SourceError, match="status 403"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    server.status.clear()
    del server.files["XY_RAW.zip"]
    with pytest.raises(SourceError, match="give another address with --from"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    # What came before is kept, and its digest is.
    assert names(tmp_path) == ["DIF.zip", "LICENCE.txt", "lock.json"]
    with pytest.raises(SourceError, match="http://"):
        fetch_source("rruff", tmp_path, base_url="/some/folder")
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError, match="cannot be fetched"):
        fetch_source("amcsd", tmp_path / "x", base_url=server.url)


def test_tables_and_single_entries(server, tmp_path):
    for part in ("train", "val", "test"):
        server.files[f"{part}.csv"] = make_table()
        server.files[f"{part}.csv.gz"] = gzip.compress(make_table())
    assert len(fetch_source("mp-20", tmp_path / "a", base_url=server.url)) == 3
    assert len(fetch_source("mpts-52", tmp_path / "b", base_url=server.url)) == 3
    server.files["val.csv"] = b"404: Not Found"
    server.files["val.csv.gz"] = gzip.compress(make_table())[:-9]
    for name, message in (("mp-20", "no column material_id"), ("mpts-52", "no whole")):
        with pytest.raises(SourceError, match=message):
            fetch_source(name, tmp_path / f"{name}-bad", base_url=server.url)
        assert len(names(tmp_path / f"{name}-bad")) == 3
    server.files["1000041.cif"] = b"data_1000041\n_cell_length_a 5.6\n"
    (file,) = fetch_source(
        "cod", tmp_path / "c", base_url=server.url, codes=["1000041", "1000041"]
    )
    assert file.path.name == "1000041.cif"
    with pytest.raises(SourceError, match="no number of the COD"):
        fetch_source("cod", tmp_path / "c", base_url=server.url, codes=["../x"])
    with pytest.raises(SourceError, match="not of rruff"):
        fetch_source("rruff", tmp_path / "c", base_url=server.url, codes=["1000041"])
    with pytest.raises(SourceError, match="nothing is known of 'icsd'"):
        fetch_source("icsd", tmp_path / "c")


def test_the_verb_shows_the_licence_before_it_asks(server, tmp_path):
    from pxrdbench.cli.app import app

    run = CliRunner().invoke(app, ["fetch"])
    assert run.exit_code == 0
    assert all(name in run.output for name in CATALOGUE)
    command = ["fetch", "rruff", "--out", str(tmp_path / "r"), "--from", server.url]
    refused = CliRunner().invoke(app, command, input="n\n")
    assert refused.exit_code != 0
    assert "no open licence" in refused.output
    assert server.requests == []
    agreed = CliRunner().invoke(app, [*command, "--yes"])
    assert agreed.exit_code == 0, agreed.output
    assert agreed.output.index("Licence:") < agreed.output.index("downloaded")
    assert names(tmp_path / "r") == KEPT


def test_every_source_says_what_it_is():
    for name, source in CATALOGUE.items():
        assert source.base_url.startswith("https://")
        assert source.base_url.endswith("/")
        text = licence_text(name)
        assert "Licence:" in text
        assert "To cite:" in text
        assert source.files


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_file_larger_than_any_is_not_fetched(
    server, tmp_path, monkeypatch, says_its_length
):
    monkeypatch.setattr(fetch_download, "MAX_BYTES", 1_000_000)
    server.says_its_length = says_its_length
    with pytest.raises(SourceError, match="at most 1,000,000 are fetched"):
        fetch_source("rruff", tmp_path, base_url=server.url)
    assert not list(tmp_path.glob("XY_RAW.zip*"))


@pytest.mark.parametrize(
    ("begins", "leads_on", "is_refused"),
    [
        ("https://a.example/x", "http://a.example/x", True),
        ("HTTPS://a.example/x", "http://b.example/y", True),
        ("https://a.example/x", "https://b.example/y", False),
        ("http://a.example/x", "https://a.example/x", False),
        ("http://a.example/x", "http://b.example/y", False),
    ],
)
def test_a_download_never_goes_from_https_to_http(begins, leads_on, is_refused):
    """Through the redirects of requests itself, with answers made here."""
    import requests
    from requests.adapters import BaseAdapter

    class Answers(BaseAdapter):
        def send(self, request, **_):
            answer = requests.Response()
            answer.request, answer.url, answer.raw = request, request.url, io.BytesIO()
            is_first = request.url.lower() == begins.lower()
            answer.status_code = 302 if is_first else 200
            answer.headers["Location"] = leads_on
            return answer

        def close(self):
            pass

    with fetch_download._make_session() as session:
        session.mount("https://", Answers())
        session.mount("http://", Answers())
        if is_refused:
            with pytest.raises(SourceError, match="not encrypted"):
                session.get(begins, stream=True)
        else:
            assert session.get(begins, stream=True).url == leads_on


def test_a_note_that_is_none_begins_anew(server, tmp_path):
    (tmp_path / "DIF.zip.partial").write_bytes(b"x" * 10)
    for note in ("[]", "[" * 5000, '{"url": 1e999}', "\udcff"):
        (tmp_path / "DIF.zip.partial.json").write_bytes(
            note.encode(errors="surrogateescape")
        )
        fetch_source("rruff", tmp_path, base_url=server.url)
        assert (tmp_path / "DIF.zip").read_bytes() == RRUFF["DIF.zip"]
        (tmp_path / "DIF.zip").rename(tmp_path / "DIF.zip.partial")
