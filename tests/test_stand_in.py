"""The stand-in for OpenWebText has its layout, and corpora are found by name."""

import io
import lzma
import re
import tarfile

import pytest

from bhushgpt.data import openwebtext as module
from bhushgpt.data.openwebtext import (
    FoundCorpus,
    cut_pages,
    find_openwebtext,
    kept,
    named_text,
    pack_pages,
    stand_in,
)
from bhushgpt.errors import UserError
from tests.pages import make_pages, real_pages

NAME = re.compile(r"openwebtext/urlsf_subset00-\d+_data\.xz")
INNER = re.compile(r"\d{7}-[0-9a-f]{32}\.txt")


def layout(data):
    """Return the names of all layers, after checking that each is what it should be."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as outer:
        for member in outer:
            assert member.isfile() and NAME.fullmatch(member.name)
            packed = outer.extractfile(member)
            assert packed is not None
            with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed.read()))) as inner:
                pages = inner.getmembers()
                assert all(page.isfile() and INNER.fullmatch(page.name) for page in pages)
                yield [page.name for page in pages]


def test_the_layout_is_that_of_the_real_archive():
    ours = list(layout(pack_pages(make_pages(250))))
    assert [len(names) for names in ours] == [100, 100, 50]
    assert ours[2][0].startswith("0000200-")
    assert sum(map(len, layout(real_pages().read_bytes()))) == 1904


def test_pages_are_cut_between_lines_and_nothing_is_lost():
    text = "".join(make_pages(60))
    pages = list(cut_pages(text, 500))
    assert "".join(pages) == text
    assert all(page.endswith("\n") and 500 <= len(page) < 1500 for page in pages[:-1])


def test_the_stand_in_is_three_books_and_made_once():
    file = stand_in()
    assert sum(map(len, layout(file.read_bytes()))) == 1419
    before = file.stat().st_mtime_ns
    assert stand_in().stat().st_mtime_ns == before


def test_a_damaged_stand_in_is_made_again(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return iter(make_pages(3))

    file = kept(tmp_path / "a.tar", make)
    data = file.read_bytes()
    kept(file, make)
    file.write_bytes(data[:-1])
    assert kept(file, make).read_bytes() == data
    assert len(calls) == 2


def test_the_whole_file_is_taken_from_the_learners_folder_if_it_is_the_right_one(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("BHUSHGPT_DATA", str(tmp_path))
    (tmp_path / "big.txt").write_text("another text")
    fetched = []
    monkeypatch.setattr(module, "cached", lambda *a: fetched.append(a) or b"")
    with pytest.raises(UserError, match=r"big\.txt is empty"):
        stand_in(tmp_path / "store")
    assert len(fetched) == 1


def test_without_network_and_folder_the_stand_in_comes_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    place = tmp_path / "made.tar"
    monkeypatch.setattr("bhushgpt.data.openwebtext.stand_in", lambda: place)
    monkeypatch.setattr("bhushgpt.data.openwebtext.cache_folder", lambda: tmp_path)
    (source,) = find_openwebtext()
    assert isinstance(source, FoundCorpus)
    assert source.places == [place] and source.title.startswith("Stand-in for OpenWebText")
    assert source.notice.startswith("OpenWebText itself could not be had (the environment var")


def test_archives_in_the_learners_folder_come_first(monkeypatch, tmp_path):
    (tmp_path / "urlsf_subset07.tar").write_bytes(pack_pages(make_pages(3)))
    monkeypatch.setenv("BHUSHGPT_DATA", str(tmp_path))
    (source,) = find_openwebtext()
    assert isinstance(source, FoundCorpus)
    assert source.places == [tmp_path / "urlsf_subset07.tar"]
    assert source.notice == "1 of its 21 archives, from BHUSHGPT_DATA."


def test_a_text_of_the_registry_becomes_pages():
    source = named_text("sherlock")
    assert source.title == "The Adventures of Sherlock Holmes"
    assert sum(map(len, layout(source.places[0].read_bytes()))) == 131
    with pytest.raises(UserError, match="Did you mean 'sherlock'"):
        named_text("sherlok")
