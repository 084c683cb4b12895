"""What is cut from a Gutenberg file, what is left alone, and what is no text at all."""

import bz2
import gzip
import lzma
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt.errors import UserError
from bhushgpt.sources import cleaning
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


LICENCE = "The Project Gutenberg licence: Project Gutenberg gives you these rights. " * 200
STORY = "The old man had a red hat, and the dog ran to the big house.\n" * 600


@pytest.mark.parametrize("law", ["", "Law\n", LICENCE, f"{LICENCE}\n\nTitle: Another\n"])
@pytest.mark.parametrize("books", [1, 2, 5])
def test_of_several_books_in_one_file_all_are_kept_and_all_licences_go(books, law):
    texts = [f"Book {number}.\n{STORY}" for number in range(books)]
    parts = [
        f"The Project Gutenberg eBook of X\n\n{STARTS[0]}\nProduced by A\n\n{text}{ENDS[0]}\n{law}"
        for text in texts
    ]
    assert clean_gutenberg("".join(parts)) == "\n\n\n".join(text.strip() for text in texts) + "\n"


@pytest.mark.parametrize("line", [*ENDS[:4], *STARTS[:4]])
def test_a_marker_that_is_only_quoted_cuts_nothing_to_speak_of(line):
    essay = f"Once there was a file that had this line in it:\n{line}\n{STORY}"
    assert STORY.strip() in clean_gutenberg(essay)
    if line in ENDS:
        assert clean_gutenberg(essay) == essay
    in_the_middle = f"{STORY}They ended so:\n{line}\n{STORY}"
    assert clean_gutenberg(in_the_middle).count("red hat") == 1200


def test_books_without_markers_between_them_are_kept():
    assert clean_gutenberg(f"{STARTS[0]}\n{STORY}{STARTS[1]}\n{STORY}").count("red hat") == 1200
    after = clean_gutenberg(f"{STARTS[0]}\n{STORY}{ENDS[0]}\n{LICENCE}\n\n{STORY}")
    assert after.count("red hat") == 1200 and "rights" not in after


SMALL_PRINT = (
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n"
    f"{LICENCE}\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
)


def test_small_print_at_the_start_or_at_the_end_goes_and_the_book_stays():
    head = "The Project Gutenberg Etext of Oz\nProject Gutenberg Etexts are free.\n\n"
    assert clean_gutenberg(f"{head}{SMALL_PRINT}{STORY}") == STORY
    assert clean_gutenberg(f"{STORY}{SMALL_PRINT}") == STORY


@pytest.mark.parametrize(
    "line",
    [
        "Ende dieses Projekt Gutenberg Etextes Faust",
        "Fin du Projet Gutenberg EBook de Candide",
        "Fine dell'Etext Progetto Gutenberg",
        "Fin de Proyecto Gutenberg EBook de Don Quijote",
        "End of Project Gutenberg's Oz, by Baum",
    ],
)
def test_footers_in_other_languages_are_known(line):
    assert clean_gutenberg(f"{STARTS[0]}\n{STORY}{line}\n\n{LICENCE}") == STORY


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
        ("Zoë".encode("utf-16"), ["looks like UTF-16", "decode('utf-16')", "write_text"]),
        ("Holmes and Watson".encode("utf-16-le"), ["UTF-16", "decode('utf-16-le')"]),
        ("Holmes and Watson".encode("utf-16-be"), ["UTF-16", "decode('utf-16-be')"]),
        (b"Holmes\x00\x00 and Watson", ["NUL bytes (2, the first at offset 6)"]),
        (b"a\0bc" * 400, ["NUL bytes (400"]),
        (
            "one\ntwo cafés".encode("latin-1"),
            ["byte 0xe9 at offset 11 (line 2)", "cp1252       two cafés", "decode('cp1252')"],
        ),
        ("“To Holmes”".encode("cp1252"), ["0x93 at offset 0 (line 1)", "cp1252       “To Holmes”"]),
        (b"<!DOCTYPE html><html>x", ["is a web page (HTML)"]),
        (b"{\\rtf1 x}", ["is a document in RTF"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            ["pointer of Git LFS", "git lfs pull"],
        ),
        (gzip.compress(b"x"), ["is a file packed with gzip", "Unpack it first"]),
        (bz2.compress(b"x"), ["is a file packed with bzip2"]),
        (lzma.compress(b"x"), ["is a file packed with xz"]),
    ],
)
def test_what_is_no_utf8_text_is_refused_with_the_way_out(raw, sentences):
    with pytest.raises(UserError) as refused:
        decode_text(raw, "my.txt")
    for sentence in sentences:
        assert sentence in str(refused.value)


SCRIPTS = {
    "Russian": "В начале было слово, и старый дом стоял у реки.\n",
    "Chinese": "从前有一座山，山里有一座庙，庙里有一个老和尚。\n",
    "Hebrew": "בראשית ברא אלוהים את השמים\n",
    "Hindi": "शुरुआत में शब्द था और शब्द\n",
    "Korean": "옛날 옛적에 산속에\n",
    "Thai": "ในปฐมกาลพระเจ้า ทรง\n",
    "emoji": "hi 😀 there 🎉\n",
}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_utf16_and_utf32_are_known_in_any_script(script, encoding):
    with pytest.raises(UserError) as refused:
        decode_text((SCRIPTS[script] * 20).encode(encoding), "my.txt")
    assert f"decode('{encoding}')" in str(refused.value)


def test_a_binary_file_is_not_taken_for_a_text_in_utf16():
    chance = random.Random(0)
    for _ in range(50):
        with pytest.raises(UserError, match=r"NUL bytes|fits no character"):
            decode_text(chance.randbytes(2000))
    with pytest.raises(UserError, match="NUL bytes"):
        decode_text(struct.pack("<500H", *(chance.randrange(50_000) for _ in range(500))) + b"\0\0")


@pytest.mark.parametrize(
    ("script", "encoding"),
    [
        ("Russian", "cp1251"),
        ("Russian", "koi8-r"),
        ("Chinese", "gbk"),
        ("Korean", "euc-kr"),
        ("Hebrew", "cp1255"),
    ],
)
def test_other_encodings_are_shown_side_by_side_and_nothing_is_claimed(script, encoding):
    with pytest.raises(UserError) as refused:
        decode_text((SCRIPTS[script] * 60).encode(encoding), "my.txt")
    said = str(refused.value)
    assert SCRIPTS[script].strip()[:50] in said  # the right one is among them
    assert "looks like" not in said and said.count("\n  ") >= 3


def test_the_recipe_in_the_message_converts_into_a_new_file(tmp_path, monkeypatch):
    file = tmp_path / "my own.txt"
    file.write_bytes("café au lait".encode("latin-1"))
    with pytest.raises(UserError) as refused:
        decode_text(file.read_bytes(), str(file))
    recipe = str(refused.value).partition("in Python: ")[2]
    monkeypatch.chdir("/")
    exec(recipe, {})
    assert file.read_bytes() == "café au lait".encode("latin-1")
    assert decode_text((tmp_path / "my own.utf8.txt").read_bytes()) == "café au lait"


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_the_mark_of_utf_16_is_known_in_both_orders_however_short_the_text(mark):
    with pytest.raises(UserError, match="it looks like UTF-16"):
        decode_text(mark + (b"a\0" if mark[0] == 0xFF else b"\0a"))


def test_a_name_alone_makes_no_licence():
    """A book may be about printing, and its last page may thank somebody once."""
    once = "Thanks to Project Gutenberg for the text.\n\nThe end.\n"
    assert cleaning._licence_end(once) == 0
    assert cleaning._licence_end(once[:41] + " Gutenberg's" + once[41:]) > 0
