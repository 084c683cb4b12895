"""Fault 35: downloads that break off, lie, answer with a web page, or reach nobody."""

import pytest
import requests

from bhushgpt.data.openwebtext import FoundCorpus, find_openwebtext
from bhushgpt.sources.downloads import DownloadError, web_reason
from tests.test_large_downloads import FILE, Server, fetch, server

assert server  # a fixture


def test_interrupted_it_resumes(server, tmp_path) -> None:
    (tmp_path / ".a.tar.part").write_bytes(FILE[:500_000])
    fetch(tmp_path / "a.tar", f"{server}/a")
    assert (tmp_path / "a.tar").read_bytes() == FILE
    assert Server.asked == [("/a", "bytes=500000-")]


def test_a_wrong_sha256_is_deleted_and_the_mirror_tried(server, tmp_path) -> None:
    fetch(tmp_path / "a.tar", f"{server}/other", f"{server}/mirror")
    assert (tmp_path / "a.tar").read_bytes() == FILE
    assert [path for path, _ in Server.asked] == ["/other", "/mirror"]
    with pytest.raises(DownloadError, match="the sha256 differs"):
        fetch(tmp_path / "b.tar", f"{server}/other")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_server_without_range_sends_it_whole(server, tmp_path) -> None:
    (tmp_path / ".a.tar.part").write_bytes(FILE[:500_000])
    fetch(tmp_path / "a.tar", f"{server}/without_range")
    assert (tmp_path / "a.tar").read_bytes() == FILE


def test_a_web_page_is_no_archive(server, tmp_path) -> None:
    with pytest.raises(DownloadError, match=r"a web page came instead of the file \(a log-in or"):
        fetch(tmp_path / "a.tar", f"{server}/page")
    assert not (tmp_path / "a.tar").exists()


def test_offline_the_stand_in_comes_with_a_clear_note(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("bhushgpt.data.openwebtext.stand_in", lambda: tmp_path / "made.tar")
    monkeypatch.setattr("bhushgpt.data.openwebtext.cache_folder", lambda: tmp_path)
    (source,) = find_openwebtext()
    assert isinstance(source, FoundCorpus)
    assert source.notice == (
        "OpenWebText itself could not be had (the server could not be reached). "
        "This is a Stand-in for OpenWebText (pages cut from three books)."
    )


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (requests.exceptions.ProxyError(), "the environment variable HTTPS_PROXY"),
        (requests.exceptions.SSLError(), "set REQUESTS_CA_BUNDLE to the file with its certificate"),
    ],
)
def test_a_proxy_or_certificate_error_names_the_fix(error, fix) -> None:
    assert fix in web_reason(error)
