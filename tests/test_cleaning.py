"""What is cut from a Gutenberg file, what is left alone, and what is no text at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt.errors import UserError
from bhushgpt.sources.cleaning import (
    clean_gutenberg,
    decode_text,
    has_gutenberg_markers,
    plain_lines,
)

BOOK = "CHAPTER ONE\n\nDorothy lived in Kansas.\n\n  An indented line.\n"
STARTS = [
    "*** START OF THE PROJECT GUTENBERG EBOOK OZ ***",
    "*** START OF THIS PROJECT GUTENBERG EBOOK OZ ***",
    "***START OF THE PROJECT GUTENBERG EBOOK, OZ***",
    "*** START OF THE PROJECT GUTENBERG ETEXT OZ ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK THE WONDERFUL\nWIZARD OF OZ ***",
    "*** Start of the Project Gutenberg eBook Oz ***",
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*",
]
ENDS = [
    "*** END OF THE PROJECT GUTENBERG EBOOK OZ ***",
    "            *** END OF THE PROJECT GUTENBERG EBOOK OZ ***",
    "***END OF THIS PROJECT GUTENBERG EBOOK, OZ***",
    "End of the Project Gutenberg EBook of Oz, by L. Frank Baum",
    "End of Project Gutenberg's Oz, by Baum\n\n*** END OF THIS PROJECT GUTENBERG EBOOK OZ ***",
]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("end", ENDS)
def test_only_the_book_is_left_between_any_two_markers(start, end):
    head = "\ufeffThe Project Gutenberg EBook of Oz\n\nTitle: Oz\n\n"
    raw = f"{head}{start}\n\n\n{BOOK}\n\n{end}\n\nLaw\n"
    assert clean_gutenberg(raw) == BOOK
    assert clean_gutenberg(raw.replace("\n", "\r\n").encode()) == BOOK
    assert has_gutenberg_markers(raw)


@pytest.mark.parametrize(
    "credit",
    [
        "Produced by An Anonymous Volunteer",
        "Produced by A. Volunteer and the Online\nDistributed Proofreading Team at a web page",
        "(Additional editing by Jose Menendez)",
        "E-text prepared by A. Volunteer",
        "This eBook was produced by A. Volunteer",
        "[Transcribed by A. Volunteer]\n\nProduced by another",
        "Credits: A. Volunteer",
    ],
)
def test_credits_at_the_head_of_the_book_are_cut(credit):
    assert clean_gutenberg(f"{STARTS[0]}\n\n{credit}\n\n\n{BOOK}\n{ENDS[0]}\n") == BOOK


def test_words_of_a_credit_inside_the_book_stay():
    story = "The play was\n\nProduced by Mr. Holmes, at the end of the Project.\n"
    assert clean_gutenberg(f"{STARTS[0]}\n{story}{ENDS[0]}") == story


def test_a_text_without_markers_stays_but_for_its_line_ends():
    assert clean_gutenberg(f"\ufeff\r\n{BOOK}".replace("\n", "\r\n")) == BOOK
    assert clean_gutenberg("a\rb") == "a\nb\n"
    assert not has_gutenberg_markers(BOOK)


def test_a_mark_in_the_middle_where_two_files_were_joined_goes_too():
    assert plain_lines("one\ufefftwo") == "onetwo"
    assert decode_text("one\ufefftwo".encode()) == "onetwo"


def test_a_header_that_is_there_twice_is_cut_twice():
    head = f"Title: Oz\n{STARTS[0]}\n"
    assert clean_gutenberg(f"{head}{head}{BOOK}{ENDS[0]}\n{ENDS[0]}\nLaw") == BOOK


def test_a_missing_half_of_the_markers_is_no_harm():
    assert clean_gutenberg(f"{STARTS[1]}\n{BOOK}") == BOOK
    assert clean_gutenberg(f"{BOOK}{ENDS[0]}\nLaw") == BOOK


def test_of_two_books_in_one_file_the_first_is_taken():
    two = f"{STARTS[0]}\n{BOOK}{ENDS[0]}\nLaw\n{STARTS[1]}\nAnother book.\n{ENDS[0]}\n"
    assert clean_gutenberg(two) == BOOK


def test_a_header_without_a_book_leaves_nothing():
    assert clean_gutenberg(f"{STARTS[0]}\n\n{ENDS[0]}\n") == ""


pieces = st.sampled_from(
    [
        *STARTS,
        *ENDS,
        BOOK,
        "\ufeff",
        "\r\n",
        "\r",
        "\n",
        " ",
        "\t",
        "***",
        "Produced by X",
        "(",
        "é",
        "\x1c",
    ]
)


@settings(deadline=None)
@given(st.lists(st.one_of(pieces, st.text(max_size=8)), max_size=12))
def test_cleaning_a_clean_text_changes_nothing(parts):
    clean = clean_gutenberg("".join(parts))
    assert clean_gutenberg(clean) == clean
    assert not has_gutenberg_markers(clean)
    assert "\r" not in clean and "\ufeff" not in clean


@settings(deadline=None)
@given(st.text())
def test_utf8_bytes_are_decoded_to_the_text_they_spell(text):
    plain = text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in plain or not plain.strip():
        with pytest.raises(UserError):
            decode_text(text.encode())
    else:
        assert decode_text(text.encode()) == plain


@pytest.mark.parametrize(
    ("raw", "sentences"),
    [
        (b"", ["my.txt is empty: 0 bytes and no text in them"]),
        (b"\xef\xbb\xbf \r\n", ["is empty: 6 bytes"]),
        (b"%PDF-1.7 ...", ["is a PDF file, not a text file"]),
        (b"PK\x03\x04...", ["is a zip archive"]),
        ("Zoë".encode("utf-16"), ["looks like UTF-16", "read_text('utf-16')", "p.write_text"]),
        ("Holmes and Watson".encode("utf-16-le"), ["UTF-16", "read_text('utf-16-le')"]),
        ("Holmes and Watson".encode("utf-16-be"), ["UTF-16", "read_text('utf-16-be')"]),
        (b"Holmes\x00\x00 and Watson", ["NUL bytes (2, the first at offset 6)"]),
        (
            "one\ntwo cafés".encode("latin-1"),
            ["byte 0xe9 at offset 11 (line 2)", "Latin-1", "'one\\ntwo cafés'", "'latin-1'"],
        ),
        ("“To Holmes”".encode("cp1252"), ["0x93 at offset 0 (line 1)", "Windows-1252", "'cp1252'"]),
    ],
)
def test_what_is_no_utf8_text_is_refused_with_the_way_out(raw, sentences):
    with pytest.raises(UserError) as refused:
        decode_text(raw, "my.txt")
    for sentence in sentences:
        assert sentence in str(refused.value)


def test_the_recipe_in_the_message_converts_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.txt"
    file.write_bytes("café au lait".encode("latin-1"))
    with pytest.raises(UserError) as refused:
        decode_text(file.read_bytes(), file.name)
    recipe = str(refused.value).partition("in Python: ")[2]
    exec(f"import pathlib; {recipe}", {})
    assert decode_text(file.read_bytes()) == "café au lait"
