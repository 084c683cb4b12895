"""Large downloads against a server of our own: resumed, checked, from a mirror where one fails."""

import hashlib
import http.server
import json
import random
import threading
from typing import Any

import pytest

from bhushgpt.data import openwebtext
from bhushgpt.data.openwebtext import FoundCorpus, download, find_openwebtext, hub_files
from bhushgpt.sources.downloads import DownloadError
from tests.pages import make_pages
from tests.pages import openwebtext as pack

FILE = random.Random(0).randbytes(900_000)
SHA = hashlib.sha256(FILE).hexdigest()
PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves FILE: whole, in part, broken off, as a web page, as other bytes."""

    asked: list[tuple[str, str | None]] = []
    files: dict[str, bytes] = {}
    hub: Any = None

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        kind = self.path.strip("/").partition("/")[0]
        if kind == "api":
            return self.send(json.dumps(self.hub).encode() if self.hub else PAGE)
        if kind == "missing":
            return self.send_error(404)
        body = self.files.get(self.path, {"page": PAGE, "other": FILE[::-1]}.get(kind, FILE))
        if kind == "longer":
            body += b"more"
        wanted = self.headers.get("Range")
        if wanted and kind != "without_range":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            return self.send(body, start, half=kind == "breaks")
        return self.send(body, half=kind in ("breaks", "breaks_always"))

    def send(self, body, start=0, half=False):
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half and len(body) > 50_000 else body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    Server.asked, Server.files, Server.hub = [], {}, None
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()
    thread.join()


def fetch(path, *urls, expected=SHA, size=900_000):
    return list(download(urls, path, expected, size, seconds=5))


def test_the_file_that_comes_is_the_file_that_was_served(server, tmp_path):
    path = tmp_path / "new" / "a.tar"
    steps = fetch(path, f"{server}/a")
    assert path.read_bytes() == FILE
    assert steps == sorted(steps) and steps[-1] == len(FILE)
    assert fetch(path, f"{server}/a") == [len(FILE)]  # there already: nobody is asked
    assert len(Server.asked) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tar"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    path = tmp_path / "a.tar"
    steps = download([f"{server}/a"], path, SHA, len(FILE))
    there = next(steps)
    steps.close()
    assert not path.exists()
    kept = (tmp_path / ".a.tar.part").stat().st_size
    assert 0 < kept <= there < len(FILE)
    fetch(path, f"{server}/a")
    assert path.read_bytes() == FILE
    assert Server.asked[-1] == ("/a", f"bytes={kept}-")


def test_a_connection_that_breaks_is_resumed_until_all_is_there(server, tmp_path):
    fetch(tmp_path / "a.tar", f"{server}/breaks")
    assert (tmp_path / "a.tar").read_bytes() == FILE
    assert len(Server.asked) > 5  # half of the rest each time


def test_a_server_without_range_begins_anew(server, tmp_path):
    (tmp_path / ".a.tar.part").write_bytes(FILE[:1000])
    fetch(tmp_path / "a.tar", f"{server}/without_range")
    assert (tmp_path / "a.tar").read_bytes() == FILE


def test_a_server_that_always_breaks_off_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(openwebtext, "TRIES", 2)
    with pytest.raises(DownloadError, match="the transfer broke off in the middle"):
        fetch(tmp_path / "a.tar", f"{server}/breaks_always", size=2 * len(FILE))
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("other", r"serves another file \(the sha256 differs\); what came was deleted"),
        ("page", "a web page came instead of the file"),
        ("missing", "the server answered 404 Not Found"),
        ("longer", r"serves more than the 900,000 bytes of the file"),
    ],
)
def test_a_wrong_answer_is_deleted_and_the_mirror_is_tried(server, tmp_path, kind, reason):
    path = tmp_path / "a.tar"
    with pytest.raises(DownloadError, match=rf"a\.tar could not be had:\n- .*/{kind}: .*{reason}"):
        fetch(path, f"{server}/{kind}")
    left = tmp_path / ".a.tar.part"
    assert not path.exists() and (not left.exists() or left.stat().st_size == 0)
    fetch(path, f"{server}/{kind}", f"{server}/mirror")
    assert path.read_bytes() == FILE


def test_an_old_beginning_of_another_file_is_thrown_away(server, tmp_path):
    (tmp_path / ".a.tar.part").write_bytes(b"\1" * 5000)
    fetch(tmp_path / "a.tar", f"{server}/a")
    assert (tmp_path / "a.tar").read_bytes() == FILE
    assert [wanted for _, wanted in Server.asked] == ["bytes=5000-", None]


def test_a_damaged_file_under_the_right_name_is_fetched_again(server, tmp_path):
    (tmp_path / "a.tar").write_bytes(FILE[:-1] + b"\0")
    fetch(tmp_path / "a.tar", f"{server}/a")
    assert (tmp_path / "a.tar").read_bytes() == FILE


def test_nobody_there_is_said_in_words(tmp_path):
    with pytest.raises(DownloadError, match="the server could not be reached"):
        fetch(tmp_path / "a.tar", "http://127.0.0.1:9/a")


# --- the hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """A hub with OpenWebText of two archives."""
    for number in range(2):
        name = f"subsets/urlsf_subset0{number}.tar"
        data = pack(tmp_path / "made.tar", make_pages(40, seed=number)).read_bytes()
        path = f"/datasets/{openwebtext.DATASET}/resolve/{openwebtext.REVISION}/{name}"
        Server.files[path] = data
        entry = {"type": "file", "path": name, "size": len(data)}
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
        Server.hub = [*(Server.hub or []), entry | {"lfs": lfs}]
    Server.hub += [{"type": "file", "path": "subsets/README.md", "size": 3}]
    monkeypatch.setenv("HF_ENDPOINT", server)
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("BHUSHGPT_CACHE", str(tmp_path / "cache"))
    return server


def source_of(shards=None):
    *news, source = find_openwebtext(shards)
    assert isinstance(source, FoundCorpus)
    return news, source


def test_openwebtext_comes_from_the_hub_at_the_pinned_revision(hub, tmp_path):
    news, source = source_of()
    assert source.title == "OpenWebText" and source.notice == ""
    assert [place.name for place in source.places] == ["urlsf_subset00.tar", "urlsf_subset01.tar"]
    assert all(place.is_relative_to(tmp_path / "cache") for place in source.places)
    assert str(news[-1]).endswith("of 0 MB")
    assert Server.asked[0][0].endswith(f"/tree/{openwebtext.REVISION}/subsets")


def test_only_the_archives_that_hold_the_wanted_shards_are_fetched(hub):
    assert len(source_of(shards=2)[1].places) == 1
    assert len(source_of(shards=3)[1].places) == 2


def test_a_mirror_serves_what_the_hub_does_not(hub, monkeypatch):
    files = Server.files
    Server.files = {path.replace("/datasets/", "/mirror/datasets/"): d for path, d in files.items()}
    Server.files |= {path: b"\0" * len(data) for path, data in files.items()}
    with pytest.raises(DownloadError, match=r"(?s)sha256 differs.*What has come is kept"):
        source_of()
    monkeypatch.setenv("BHUSHGPT_MIRROR", f"{hub}/mirror")
    assert len(source_of()[1].places) == 2


def test_without_the_hub_what_is_in_the_cache_is_taken(hub, monkeypatch):
    source_of(shards=1)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = source_of()[1]
    assert source.title == "OpenWebText"
    assert source.notice.startswith("1 of its 21 archives, from the cache (the environment")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "no list of files"),
        ({"error": "gone"}, "no list of files that we can read"),
        ([], "no list of files"),
        ([{"type": "directory", "path": "x"}], "has no files in subsets at 5"),
    ],
)
def test_a_hub_that_answers_strangely_is_said_in_words(hub, answer, reason):
    Server.hub = answer
    with pytest.raises(DownloadError, match=reason):
        hub_files("owner/name", "5" * 40, "subsets")
