"""Fault 27: marks, line ends, encodings, NUL, damage, a line without an end, licences."""

import lzma
import subprocess
import sys

import pytest

from bhushgpt import files
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.sources.cleaning import clean_gutenberg, decode_text

WORDS = "Elementary, my dear naïve Watson – “café”.\n"


def load(data, tmp_path, name="odd.txt"):
    (tmp_path / name).write_bytes(data)
    return load_text(tmp_path / name)


@pytest.mark.parametrize(
    "data",
    [
        WORDS.encode(),
        b"\xef\xbb\xbf" + WORDS.encode(),
        WORDS.replace("\n", "\r\n").encode(),
        WORDS.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + WORDS.replace("\n", "\r\n").encode("utf-8-sig"),
    ],
    ids=["plain", "mark", "windows", "old mac", "marks twice"],
)
def test_marks_and_line_ends_never_reach_the_model(data, tmp_path) -> None:
    assert load(data, tmp_path).text == WORDS


@pytest.mark.parametrize(
    ("data", "words", "encoding"),
    [
        ("naïve\n".encode("latin-1"), "the byte 0xef at offset 2 (line 1)", "cp1252"),
        (WORDS.encode("cp1252"), "In other encodings the line reads", "cp1252"),
        (WORDS.encode("utf-16"), "it looks like UTF-16", "utf-16"),
        ("plain words\n".encode("utf-16-le"), "it looks like UTF-16", "utf-16-le"),
        ("plain words\n".encode("utf-16-be"), "it looks like UTF-16", "utf-16-be"),
    ],
)
def test_other_encodings_are_shown_and_the_conversion_makes_a_new_file(
    data, words, encoding, tmp_path
) -> None:
    with pytest.raises(UserError) as raised:
        load(data, tmp_path)
    message = str(raised.value)
    assert words in message
    assert "Save it as UTF-8 in your editor" in message and repr(encoding) in message
    command = message.partition("in Python: ")[2]
    subprocess.run([sys.executable, "-c", command], check=True)
    assert (tmp_path / "odd.txt").read_bytes() == data  # the only copy stays what it was
    assert load_text(tmp_path / "odd.utf8.txt").text == data.decode(encoding).removeprefix("\ufeff")


def test_nul_bytes_are_counted_and_placed(tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds NUL bytes \(2, the first at offset 3\)"):
        load(b"one\x00two three four five\x00", tmp_path)


@pytest.mark.parametrize(
    ("data", "what"), [(b"%PDF-1.7 ...", "a PDF file"), (b"PK\x03\x04...", "a zip archive")]
)
def test_what_is_no_text_at_all_is_named(data, what, tmp_path) -> None:
    with pytest.raises(UserError, match=f"is {what}"):
        load(data, tmp_path)


def test_invalid_utf8_in_the_middle_of_an_xz_file_is_placed(tmp_path) -> None:
    text = b"line one\n" * 1000 + b"br\xffken\n" + b"line two\n" * 1000
    with pytest.raises(UserError, match=r"byte 0xff at offset 9,002 \(line 1,001\)"):
        load(lzma.compress(text), tmp_path, "odd.txt.xz")


def test_a_damaged_xz_file_is_said_to_be_one(tmp_path) -> None:
    packed = bytearray(lzma.compress(WORDS.encode() * 1000))
    for spoilt in (packed[:-20], b"no xz at all", packed[:40] + b"\xff" * 40 + packed[80:]):
        with pytest.raises(UserError, match=r"odd\.txt\.xz .*damaged"):
            load(bytes(spoilt), tmp_path, "odd.txt.xz")


HEADER = "Legal words\n*** START OF THE PROJECT GUTENBERG EBOOK OZ ***\n"
LICENCE = "*** END OF THE PROJECT GUTENBERG EBOOK OZ ***\nMore legal words\n"
BOOK = "Dorothy lived in Kansas.\n"


@pytest.mark.parametrize(
    "file",
    [
        BOOK,
        HEADER + BOOK,
        BOOK + LICENCE,
        HEADER + BOOK + LICENCE,
        HEADER + HEADER + BOOK + LICENCE + LICENCE,
    ],
    ids=["neither", "no licence", "no header", "both", "twice"],
)
def test_a_gutenberg_header_or_licence_may_be_missing_or_there_twice(file, tmp_path) -> None:
    assert clean_gutenberg(file) == BOOK
    corpus = load(file.encode(), tmp_path)
    assert corpus.text == BOOK
    assert ("header and licence" in corpus.notice) == (file != BOOK)


def test_a_header_without_a_book_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="has a Project Gutenberg header and no book in it"):
        load((HEADER + LICENCE).encode(), tmp_path)


ENDLESS = """
import resource, sys
from pathlib import Path
from bhushgpt.errors import UserError
from bhushgpt.corpus import load_text
file = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    text = load_text(file).text
    print(len(text), text.count("\\n"))
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak memory so")
def test_a_single_endless_line_takes_memory_in_proportion_and_no_more(tmp_path) -> None:
    size = 64 * 2**20
    (tmp_path / "line.txt").write_bytes(b"a line without an end " * (size // 22))
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "line.txt")],
        capture_output=True,
        text=True,
        check=True,
    )
    said, grown = done.stdout.strip().rsplit("\n", 1)
    assert said == f"{size // 22 * 22} 0"
    scale = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * scale < 6 * size


def test_more_than_can_be_read_at_once_is_refused_packed_or_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 10**6)
    with pytest.raises(UserError, match=r"odd\.txt holds more than (?s:.*) bhushgpt prepare"):
        load(b"a" * (10**6 + 1), tmp_path)
    bomb = lzma.compress(b"a" * 10**7)
    assert len(bomb) < 10**4
    with pytest.raises(UserError, match=r"odd\.txt\.xz holds more than (?s:.*) bhushgpt prepare"):
        load(bomb, tmp_path, "odd.txt.xz")
    assert load(b"a" * 10**6, tmp_path).text == "a" * 10**6


def test_an_xz_file_of_several_streams_is_read_to_its_end(tmp_path) -> None:
    packed = lzma.compress(b"one\n") + lzma.compress(b"two\n") + bytes(4)
    assert load(packed, tmp_path, "odd.txt.xz").text == "one\ntwo\n"


def test_decoding_is_idempotent_on_what_it_gives() -> None:
    assert decode_text(decode_text(WORDS.encode()).encode()) == WORDS
