"""Every wrong answer of notebook 14 fails with a message of its own."""

import hashlib
import random

import numpy as np
import pytest
from kill_table import assert_exercise

from bhushgpt.exercises.nb14_openwebtext import one_row, side_of, tar_header, window

# --- tar_header


def decimal(block):
    return block[:100].split(b"\0")[0].decode(), int(block[124:135])


def exchanged(block):
    name, size = tar_header.reference(block)
    return size, name


def with_nul(block):
    return block[:100].decode(), int(block[124:135], 8)


def as_bytes(block):
    return block[:100].split(b"\0")[0], int(block[124:135], 8)


def wrong_name(block):
    return block[1:100].split(b"\0")[0].decode(), int(block[124:135], 8)


def permissions(block):
    return tar_header.reference(block)[0], int(block[100:107], 8)


def rounded(block):
    name, size = tar_header.reference(block)
    return name, -(-size // 512) * 512


def short(block):
    return tar_header.reference(block)[0], int(block[124:134], 8)


def digits(block):
    return tar_header.reference(block)[0], block[124:135].decode()


def needs_nul(block):
    return block[: block.index(b"\0")].decode(), int(block[124:135], 8)


HEADERS = [
    (decimal, "written with octal digits"),
    (exchanged, "name and size are exchanged"),
    (with_nul, "filled up with NUL"),
    (as_bytes, "the name is still bytes"),
    (wrong_name, "yours is 'ages/one.txt'"),
    (permissions, "who may read the file"),
    (rounded, "the size in whole blocks"),
    (short, "the last digit of the size"),
    (digits, "the size is still digits"),
    (needs_nul, "a name may fill all 100 bytes"),
]


# --- side_of


def drawn(page, share):
    return random.random() < share


def pythons_own(page, share):
    return hash(page) % 1000 < share * 1000


def by_length(page, share):
    return len(page) % 10 < share * 10


def by_first_letter(page, share):
    return (ord(page[0]) * 7) % 10 < share * 10


def the_other_way(page, share):
    return not side_of.reference(page, share)


def always_a_tenth(page, share):
    return side_of.reference(page, 0.1)


def a_byte(page, share):
    return hashlib.sha256(page.encode()).digest()[0] < share * 100


SIDES = [
    (drawn, "asked for twice"),
    (pythons_own, "Python's own hash()"),
    (by_length, "of the same length fall"),
    (by_first_letter, "that begin alike"),
    (the_other_way, "True means held out"),
    (always_a_tenth, "the share changes nothing"),
    (a_byte, "of 2,000 pages are held out"),
]


# --- one_row


def no_marks(pages, tokenizer):
    return [i for page in pages for i in tokenizer.encode_ordinary(page)]


def between(pages, tokenizer):
    return one_row.reference(pages, tokenizer)[:-1]


def before(pages, tokenizer):
    return [i for page in pages for i in (tokenizer.eot_id, *tokenizer.encode_ordinary(page))]


def one_mark(pages, tokenizer):
    return [*no_marks(pages, tokenizer), tokenizer.eot_id]


def as_text(pages, tokenizer):
    return tokenizer.encode("<|endoftext|>".join(pages))


def as_text_behind(pages, tokenizer):
    return tokenizer.encode("".join(page + "<|endoftext|>" for page in pages))


def special_everywhere(pages, tokenizer):
    ids = one_row.reference(pages, tokenizer)
    return [tokenizer.eot_id if i == 0 else i for i in ids]


def nested(pages, tokenizer):
    return [[*tokenizer.encode_ordinary(page), tokenizer.eot_id] for page in pages]


def sorted_pages(pages, tokenizer):
    return one_row.reference(sorted(pages, reverse=True), tokenizer)


def empties(pages, tokenizer):
    ids = one_row.reference(pages, tokenizer)
    pages.clear()
    return ids


ROWS = [
    (no_marks, "nothing stands between"),
    (between, "the last page is missing"),
    (before, "the mark stands before"),
    (one_mark, "one mark for all pages"),
    (as_text, "was put into the text"),
    (as_text_behind, "was put behind each text"),
    (special_everywhere, "got the special id in its middle"),
    (nested, "lists inside the list"),
    (sorted_pages, "the row should be"),
    (empties, "your code changes `pages`"),
]


# --- window


def numbers(path, dtype="<u2", offset=64):
    return np.memmap(path, dtype, "r", offset=offset)


WINDOWS = [
    (lambda path, s, n: numbers(path, offset=0)[s : s + n], "32 ids earlier"),
    (lambda path, s, n: np.fromfile(path, "<u2", n, offset=64 + s), "half the place"),
    (lambda path, s, n: numbers(path, "u1")[2 * s : 2 * s + n], "single bytes"),
    (lambda path, s, n: numbers(path, ">u2")[s : s + n], "are exchanged"),
    (lambda path, s, n: numbers(path)[s : s + n + 1], "one id too many"),
    (lambda path, s, n: numbers(path)[s : s + n - 1], "missing at the end"),
    (lambda path, s, n: numbers(path)[:n], "start was not used"),
    (lambda path, s, n: np.fromfile(path, "<u2", offset=64)[s : s + n], "the whole file was read"),
    (lambda path, s, n: numbers(path)[s + 1 : s + n + 1], "the ids at 1000 are"),
    (lambda path, s, n: numbers(path)[s : min(s + n, 1_999_999)], "not at the end of the file"),
]


@pytest.mark.parametrize(
    ("exercise", "stub", "wrong"),
    [
        (tar_header, lambda block: ..., HEADERS),
        (side_of, lambda page, share: ..., SIDES),
        (one_row, lambda pages, tokenizer: ..., ROWS),
        (window, lambda path, start, length: ..., WINDOWS),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_wrong_answer_gets_its_own_message(exercise, stub, wrong):
    random.seed(0)
    assert_exercise(exercise, stub, wrong)


def test_other_right_answers_pass():
    def by_md5(page, share):
        return int(hashlib.md5(page.encode()).hexdigest(), 16) < share * 2**128

    assert side_of.judge(by_md5).status == "right"
    assert window.judge(lambda path, s, n: numbers(path)[s : s + n]).status == "right"
