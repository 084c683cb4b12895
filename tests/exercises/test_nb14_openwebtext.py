"""Every wrong answer of notebook 14 fails with a message of its own."""

import hashlib
import random

import numpy as np
import pytest
from kill_table import assert_exercise

from bhushgpt.exercises.nb14_openwebtext import passes, side_of, tar_header, window

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


def whole_percents(page, share):
    return int(hashlib.md5(page.encode()).hexdigest(), 16) % 100 < int(share * 100)


def nought_is_let_in(page, share):
    return int(hashlib.md5(page.encode()).hexdigest(), 16) % 5000 <= share * 5000


SIDES = [
    (nought_is_let_in, "no page at all is held out"),
    (whole_percents, "is too coarse for it"),
    (drawn, "asked for twice"),
    (pythons_own, "Python's own hash()"),
    (by_length, "of the same length fall"),
    (by_first_letter, "that begin alike"),
    (the_other_way, "True means held out"),
    (always_a_tenth, "the share changes nothing"),
    (a_byte, "of 2,000 pages are held out"),
]


# --- passes


def read(tokens, weights, budget):
    total = sum(weights.values())
    return {name: budget * weights[name] / total for name in tokens}


def popped(tokens, weights, budget):
    found = passes.reference(tokens, weights, budget)
    weights.clear()
    return found


PASSES = [
    (lambda t, w, n: {k: n * w[k] / t[k] for k in t}, "the weights were taken as they are"),
    (lambda t, w, n: {k: n * w[k] / sum(t.values()) * 0.25 for k in t}, "tokens of all sources"),
    (lambda t, w, n: {"web": w["web"] / 8, "books": w["web"] / 4}, "the budget was not used"),
    (read, "these are the tokens that are read"),
    (lambda t, w, n: {k: n / t[k] for k in t}, "the same budget"),
    (lambda t, w, n: {k: 1 / v for k, v in passes.reference(t, w, n).items()}, "upside down"),
    (lambda t, w, n: {"web": 0.375}, "the names should be"),
    (lambda t, w, n: {k: 2.0 for k in t}, "web should be 0.375"),
    (popped, "your code changes `weights`"),
    (lambda t, w, n: {k: n * w[k] // sum(w.values()) / t[k] for k in t}, "does // cut it off"),
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
        (passes, lambda tokens, weights, budget: ..., PASSES),
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
