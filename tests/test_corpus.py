"""Texts by name and from files: the right characters, or a sentence."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt.corpus import check_length, load_text, split_point, split_text
from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.sources.cleaning import clean_gutenberg
from bhushgpt.sources.registry import corpora

FIXTURES = Path(os.environ.get("BHUSHGPT_DATA", "../shared/datasets"))


def fixture(name):
    if not (FIXTURES / name).is_file():
        pytest.skip(f"needs {name} in the folder that BHUSHGPT_DATA names")
    return FIXTURES / name


def test_the_course_book_has_the_characters_that_every_learner_has():
    book = load_text()
    assert (len(book.text), len(set(book.text))) == (562_203, 79)
    assert book.sha256 == sha256(book.text.encode()) == corpora()["sherlock"].sha256
    assert book.sha256 == "74d4345e5f0b8bcc8d540eee459b9fbc3222e9ec8a0ea701457bd67f06f0f0f4"
    assert book.title == "The Adventures of Sherlock Holmes"
    assert "Gutenberg" not in book.text and book.text.isascii()
    assert book.notice == ""


@pytest.mark.parametrize(
    ("name", "file"), [("oz", "pg55.txt"), ("tinystories", "tinystories_5M.txt.xz")]
)
def test_the_fixture_is_the_registered_edition(name, file, monkeypatch):
    monkeypatch.setenv("BHUSHGPT_DATA", str(fixture(file).parent))
    found, entry = load_text(name), corpora()[name]
    assert (found.sha256, len(found.text), len(set(found.text))) == (
        entry.sha256,
        entry.characters,
        entry.distinct,
    )
    assert "Gutenberg" not in found.text and "<|" not in found.text


def test_the_gutenberg_edition_of_the_course_book_passes_as_another_edition():
    raw = fixture("pg1661.txt").read_bytes()
    source = corpora()["sherlock"].sources[1]
    text = source.text(raw, "pg1661.txt")
    source.check_other_edition(raw, text)
    assert text == clean_gutenberg(raw)
    assert text.startswith("The Adventures of Sherlock Holmes\n\nby Arthur Conan Doyle")
    assert text.endswith("met with considerable success.\n")
    assert not {"\ufeff", "\r", "™"} & set(text)
    # By chance it is as long as the course's edition: only the fingerprint tells them apart.
    entry = corpora()["sherlock"]
    assert (len(text), len(set(text))) == (entry.characters, 88)
    assert sha256(text.encode()) != entry.sha256


def test_any_text_file_is_a_corpus(tmp_path):
    file = tmp_path / "my notes.txt"
    file.write_bytes("\ufeffGrüße\r\nan alle\r\n".encode())
    for name in (file, str(file)):
        mine = load_text(name)
        assert (mine.text, mine.name, mine.source) == ("Grüße\nan alle\n", "my notes", file.name)
        assert mine.sha256 == sha256("Grüße\nan alle\n".encode())
        assert mine.notice == ""


def test_the_header_of_a_gutenberg_file_is_left_out_and_said(tmp_path):
    file = tmp_path / "oz.txt"
    file.write_text(
        "Legal\n*** START OF THE PROJECT GUTENBERG EBOOK OZ ***\nDorothy.\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK OZ ***\nLaw\n"
    )
    mine = load_text(file)
    assert mine.text == "Dorothy.\n"
    assert mine.notice == (
        "oz.txt is a Project Gutenberg file: its header and licence (104 of 113 characters, 92%) "
        "are left out."
    )
    file.write_text("*** START OF THE PROJECT GUTENBERG EBOOK OZ ***\n")
    with pytest.raises(UserError, match="has a Project Gutenberg header and no book"):
        load_text(file)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UserError) as refused:
        load_text("sherlok")
    assert str(refused.value) == (
        "There is no corpus 'sherlok'. Did you mean 'sherlock'? There are: oz, shakespeare, "
        "sherlock, tinystories, war-and-peace. For a text of your own give its file, such as "
        "my.txt."
    )


def test_a_misspelt_file_gets_the_one_beside_it(tmp_path, monkeypatch):
    (tmp_path / "my novel.txt").write_text("Once.")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        load_text("my nvel.txt")
    assert str(refused.value) == (
        f"There is no file 'my nvel.txt' in {tmp_path}. Did you mean 'my novel.txt'?"
    )


@pytest.mark.parametrize("name", ["missing.txt", "folder/missing", Path("missing")])
def test_a_missing_file_is_named(name):
    with pytest.raises(UserError, match=r"There is no file '.*missing"):
        load_text(name)


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(UserError, match=r"is a folder without a text file \(\.txt\)\. Name one"):
        load_text(tmp_path)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "my.txt is empty"),
        ("café".encode("latin-1"), "my.txt is not UTF-8"),
        ("café".encode("utf-16"), "UTF-16"),
        (b"a\x00b", "NUL bytes"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, raw, sentence):
    (tmp_path / "my.txt").write_bytes(raw)
    with pytest.raises(UserError, match=sentence):
        load_text(tmp_path / "my.txt")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file.")
def test_a_file_without_permission_is_refused(tmp_path):
    file = tmp_path / "my.txt"
    file.write_text("secret")
    file.chmod(0)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        load_text(file)


@settings(deadline=None)
@given(st.text(), st.floats(0.01, 0.99))
def test_the_two_parts_are_the_text(text, held_out):
    train, test = split_text(text, held_out)
    assert train + test == text
    assert len(train) == split_point(len(text), held_out)


def test_the_last_tenth_of_the_book_is_held_out():
    assert (split_point(562_203), 562_203 - split_point(562_203)) == (505_983, 56_220)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 10])
def test_a_share_outside_0_and_1_is_refused(held_out):
    with pytest.raises(UserError, match="it is a share between 0 and 1"):
        split_text("abc", held_out)


@pytest.mark.parametrize(
    ("length", "context", "held_out", "sentence"),
    [
        (0, 8, 0.1, "The text is empty: 0 tokens"),
        (8, 8, 0.1, "The text has 8 tokens; one example needs 9 .* about 9 tokens or more"),
        (89, 8, 0.1, "The held-out part has 8 tokens; one example needs 9 .* about 90 tokens"),
        (16, 8, 0.6, "The training part has 7 tokens; one example needs 9 .* about 22 tokens"),
    ],
)
def test_a_text_too_short_for_the_context_says_how_long_it_must_be(
    length, context, held_out, sentence
):
    with pytest.raises(UserError, match=sentence):
        check_length(length, context, held_out)


def test_the_length_that_the_message_asks_for_is_enough():
    check_length(90, 8)
    check_length(23, 8, 0.6)
