"""Downloads against a server and a wheel folder of our own: every fault becomes a sentence."""

import base64
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.sources import downloads
from bhushgpt.sources.downloads import (
    DownloadError,
    cached,
    fetch_from_wheel,
    fetch_url,
    read_member,
)

TEXT = b"To Sherlock Holmes she is always the woman.\n" * 100
PAGE = b"\r\n<!DOCTYPE html>\n<html><body>Please log in.</body></html>"


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/silent":
            return None
        body = PAGE if self.path == "/page" else TEXT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/half" else body)
        return None

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def server():
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()
    thread.join()


def test_the_bytes_that_come_are_the_bytes_that_were_served(server, capfd):
    assert fetch_url(f"{server}/book") == TEXT
    assert capfd.readouterr() == ("", "")


def test_a_web_page_is_no_book(server):
    with pytest.raises(DownloadError, match="a web page came instead of the file"):
        fetch_url(f"{server}/page")


def test_missing_file_gives_the_servers_answer(server):
    with pytest.raises(DownloadError, match="the server answered 404 Not Found"):
        fetch_url(f"{server}/missing")


def test_a_transfer_that_breaks_off_is_no_file(server):
    with pytest.raises(DownloadError, match="the transfer broke off in the middle"):
        fetch_url(f"{server}/half")


def test_a_server_that_hangs_up_is_named(server):
    with pytest.raises(DownloadError, match="the server could not be reached"):
        fetch_url(f"{server}/silent")


def test_offline_is_said_in_words():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match="the server could not be reached"):
        fetch_url(f"http://127.0.0.1:{port}/book")


def test_no_answer_in_time_is_said_in_words():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/book"
        with pytest.raises(DownloadError, match="no answer in time"):
            fetch_url(url, seconds=0.1)


def make_wheel(folder, text=TEXT, name="tinybook", version="1.0"):
    """Write the smallest wheel that pip accepts; return its path."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/book.txt": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index that is one folder: pip sees nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "no pip.conf"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch_tinybook(wheel_sha256):
    return fetch_from_wheel(
        "tinybook==1.0",
        wheel_sha256=wheel_sha256,
        member="tinybook/book.txt",
        member_sha256=sha256(TEXT),
    )


def test_a_member_of_a_wheel_comes_without_installing_it(index, capfd):
    wheel = make_wheel(index)
    assert fetch_tinybook(sha256(wheel.read_bytes())) == TEXT
    assert capfd.readouterr() == ("", "")
    listed = [sys.executable, "-m", "pip", "show", "tinybook"]
    assert subprocess.run(listed, capture_output=True).returncode != 0


def test_another_wheel_of_the_same_name_is_refused(index):
    genuine = sha256(make_wheel(index).read_bytes())
    make_wheel(index, text=b"import os  # something else")
    with pytest.raises(DownloadError, match=r"wheel tinybook-1\.0-py3-none-any\.whl is not the fi"):
        fetch_tinybook(genuine)


def test_a_damaged_wheel_is_refused(index):
    wheel = make_wheel(index)
    genuine = sha256(wheel.read_bytes())
    damaged = bytearray(wheel.read_bytes())
    damaged[100] ^= 1
    wheel.write_bytes(damaged)
    with pytest.raises(DownloadError, match="not the file it should be"):
        fetch_tinybook(genuine)


def test_half_a_wheel_is_refused(index):
    wheel = make_wheel(index)
    genuine = sha256(wheel.read_bytes())
    wheel.write_bytes(wheel.read_bytes()[:2000])
    with pytest.raises(
        DownloadError, match=r"pip said ERROR: .*tinybook|not the file it should be"
    ):
        fetch_tinybook(genuine)


def test_an_index_without_the_wheel_is_said_in_words(index):
    with pytest.raises(DownloadError, match=r"^the package index does not have it$"):
        fetch_tinybook("0" * 64)


def test_an_index_out_of_reach_is_said_in_words(index, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadError, match=r"^the package index could not be reached$"):
        fetch_tinybook("0" * 64)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("/usr/bin/python3: No module named pip", "this Python has no pip"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        ("SSLError(SSLCertVerificationError('certificate verify failed'))", "certificate was not"),
        ("WARNING: x\nERROR: Something new\n", "pip said ERROR: Something new"),
        ("", "pip said nothing"),
    ],
)
def test_what_pip_says_is_put_in_words(monkeypatch, output, reason):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=output)
    monkeypatch.setattr(downloads.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(DownloadError, match=reason):
        fetch_tinybook("0" * 64)


def test_a_pip_that_never_ends_is_stopped(monkeypatch):
    def never(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(downloads.subprocess, "run", never)
    with pytest.raises(DownloadError, match="pip was not done after 300 seconds"):
        fetch_tinybook("0" * 64)


def test_a_wheel_without_the_member_or_with_another_is_refused(tmp_path):
    wheel = make_wheel(tmp_path).read_bytes()
    with pytest.raises(
        DownloadError, match=r"the wheel cannot be read .*no item named 'gone\.txt'"
    ):
        read_member(wheel, "gone.txt", sha256(TEXT))
    with pytest.raises(DownloadError, match=r"tinybook/book\.txt is not the file it should be"):
        read_member(wheel, "tinybook/book.txt", sha256(b"another"))
    with pytest.raises(DownloadError, match="the wheel cannot be read"):
        read_member(b"no zip", "tinybook/book.txt", sha256(TEXT))


def test_cached_is_fetched_once_and_again_when_damaged(tmp_path):
    calls = []

    def fetch():
        calls.append(1)
        return TEXT

    file = tmp_path / "cache" / "book.txt"
    assert cached(file, sha256(TEXT), fetch) == cached(file, sha256(TEXT), fetch) == TEXT
    assert len(calls) == 1
    file.write_bytes(TEXT[:-1])
    assert cached(file, sha256(TEXT), fetch) == TEXT
    assert len(calls) == 2
    assert file.read_bytes() == TEXT


def test_wrong_bytes_never_reach_the_cache(tmp_path):
    with pytest.raises(DownloadError, match=r"book\.txt is not the file it should be"):
        cached(tmp_path / "book.txt", sha256(TEXT), lambda: b"another")
    assert list(tmp_path.iterdir()) == []


def test_of_two_wheels_none_is_taken(monkeypatch):
    def two(requirement, folder):
        for name in ("a.whl", "b.whl"):
            (Path(folder) / name).write_bytes(b"")

    monkeypatch.setattr(downloads, "_pip_download", two)
    with pytest.raises(UserError, match="pip brought 2 wheels of a==1 instead of one"):
        fetch_from_wheel("a==1", wheel_sha256="", member="", member_sha256="")
