"""Exercises of notebook 14: a window fetched, a side chosen, sources weighed, a header read.

Lesson: notebook 14.
"""

import hashlib
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bhushgpt.data import HEADER, TokenWriter
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.tokenizers import ByteTokenizer

Answer = Callable[..., Any]


# 1. What a tar header says


def _header(block: bytes) -> tuple[str, int]:
    name = block[:100].split(b"\0")[0].decode()
    return name, int(block[124:135], 8)


def _block(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _check_header(answer: Answer) -> str | None:
    result = answer(_block("pages/one.txt", 5000))
    name, size = result
    if (name, size) == (5000, "pages/one.txt"):
        return "name and size are exchanged: return the name first."
    if isinstance(name, bytes):
        return "the name is still bytes: .decode() makes text of it."
    if "\0" in name:
        return "the name is filled up with NUL bytes: it ends at the first of them."
    if name != "pages/one.txt":
        return f"the name is pages/one.txt, yours is {name!r}: it stands in the first 100 bytes."
    sizes = {
        11610: "the size is written with octal digits: int(digits, 8).",
        0o644: "that is the field at 100, who may read the file; the size stands at 124.",
        5120: "that is the size in whole blocks; the header says how long the page itself is.",
        5000 // 8: "the last digit of the size is missing: it has eleven digits, from 124 to 134.",
    }
    if isinstance(size, str | bytes):
        return "the size is still digits: make a number of them."
    if size != 5000:
        return sizes.get(size, f"the page has 5,000 bytes, your size is {size}.")
    if tuple(answer(_block("x" * 100, 0))) != ("x" * 100, 0):
        return "a name may fill all 100 bytes; then no NUL follows it."
    if tuple(answer(_block("huge.txt", 6_543_210_987))) != ("huge.txt", 6_543_210_987):
        return "right for a small page, but from 1 GiB on all eleven digits count, 124 to 134."
    return None


tar_header = Exercise(
    name="tar_header",
    question="Return (name, size) from the 512 bytes of a tar header.",
    hints=(
        "block[:100] is the name, filled up with b'\\0'; block[124:135] is the size in digits.",
        "block[:100].split(b'\\0')[0] ends at the first NUL; .decode() makes text of it.",
        "int(b'00000011610', 8) reads octal digits.",
    ),
    praise="that is all it takes to walk through an archive of any size.",
    reference=_header,
    checks=_check_header,
)


# 2. On which side is a page?


def _side(page: str, share: float) -> bool:
    digest = hashlib.sha256(page.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _check_side(answer: Any) -> str | None:
    pages = [f"{chr(97 + n % 26)} page number {n:04}" for n in range(2000)]
    first = [bool(answer(page, 0.1)) for page in pages]
    if any("hash" in code.co_names for code in getattr(answer, "codes", ())):
        return (
            "Python's own hash() of a text is another one in every process: after a restart the "
            "sides have changed. Take hashlib."
        )
    again = [bool(answer(page, 0.1)) for page in pages]
    if first != again:
        return "the same page, asked for twice, falls on two sides: nothing but its text may count."
    part = sum(first) / len(pages)
    if part > 0.85:
        return f"at a share of 0.1, {part:.0%} are held out: True means held out, not trained on."
    if part in (0, 1):
        return "all pages of the same length fall on the same side: the whole text must count."
    if len({side for page, side in zip(pages, first, strict=True) if page[0] == "c"}) == 1:
        return "all pages that begin alike fall on the same side: the whole text must count."
    ends = [bool(answer(f"page {n:04} has the same end as all", 0.4)) for n in range(200)]
    if len(set(ends)) == 1:
        return "all pages that end alike fall on the same side: the whole text must count."
    if abs(part - sum(bool(answer(page, 0.4)) for page in pages) / len(pages)) < 0.02:
        return f"the share changes nothing: {part:.0%} are held out at 0.1 and at 0.4."
    if abs(part - 0.1) > 0.03:
        return f"at a share of 0.1, {part:.1%} of 2,000 pages are held out."
    return _check_small_shares(answer)


def _check_small_shares(answer: Any) -> str | None:
    """Look at shares that are finer than a per cent and than a byte, and at 0."""
    pages = [f"page {n} of many" for n in range(12_000)]
    for share, fewest, most in ((0.005, 25, 100), (0.001, 1, 30)):
        found = sum(bool(answer(page, share)) for page in pages)
        if not fewest <= found <= most:
            return (
                f"a share of {share:g} is about {12_000 * share:.0f} of 12,000 pages; yours holds "
                f"out {found}. A number below 100 or 256 is too coarse for it."
            )
    if any(answer(page, 0.0) for page in pages):
        return "at a share of 0 no page at all is held out: compare with < and not <=."
    return None


side_of = Exercise(
    name="side_of",
    question="Return whether a page is held out; its text and the share alone decide.",
    hints=(
        "hashlib.sha256(page.encode()) gives the same 32 bytes for the same text, everywhere.",
        "int.from_bytes(digest[:8], 'big') is a number below 2**64, as good as drawn by chance.",
        "Held out are the pages whose number lies below share * 2**64.",
    ),
    praise="no list of pages is kept, and yet every worker agrees.",
    reference=_side,
    checks=_check_side,
)


# 3. How often each source is read


def _passes(
    tokens: Mapping[str, float], weights: Mapping[str, float], budget: float
) -> dict[str, float]:
    total = sum(weights.values())
    return {name: budget * weights[name] / total / tokens[name] for name in tokens}


def _check_passes(answer: Answer) -> str | None:
    tokens, weights = {"web": 800.0, "books": 100.0}, {"web": 3.0, "books": 1.0}
    result = {
        name: round(float(value), 6) for name, value in answer(tokens, weights, 400.0).items()
    }
    mistakes = {
        (
            1.5,
            4.0,
        ): "the weights were taken as they are: they sum to 4 here, so divide by their sum.",
        (0.375, 0.75): "the budget was not used, or only the weights were: 400 tokens are read.",
        (300.0, 100.0): "these are the tokens that are read of each source; divide by its own.",
        (0.333333, 0.111111): "divided by the tokens of all sources: each has its own number.",
        (0.5, 4.0): "every source gets the same budget: its weight says which part of it.",
        (2.666667, 1.0): "that is upside down: tokens read, divided by tokens there are.",
    }
    if set(result) != set(tokens):
        return f"the names should be web and books; yours are {sorted(result)}."
    found = result["web"], result["books"]
    if found != (0.375, 1.0):
        return mistakes.get(found, f"web should be 0.375 and books 1.0; yours are {found}.")
    turned = dict(reversed(weights.items()))
    if round(float(answer(tokens, turned, 400.0)["web"]), 6) != 0.375:
        return "weights may list the sources in another order: go by the names, not by the places."
    parted = float(answer(tokens, weights, 410.0)["web"])
    if round(parted, 6) != 0.384375:
        return (
            f"of 410 tokens web is read 0.384375 times, yours says {parted:g}: does // cut it off?"
        )
    return None


passes = Exercise(
    name="passes",
    question="Return how many times each source is read, from tokens, weights and the budget.",
    hints=(
        "A source's share of the budget is its weight divided by the sum of all weights.",
        "budget * share tokens are read of it; it has tokens[name].",
    ),
    praise="you see before a training what it will read once and what it will learn by heart.",
    reference=_passes,
    keeps_inputs=True,
    checks=_check_passes,
)


# 4. A window out of a large file


def _window(path: Path, start: int, length: int) -> np.ndarray:
    return np.fromfile(path, "<u2", length, offset=HEADER.size + 2 * start)


def _check_window(answer: Answer) -> str | None:
    ids = np.random.default_rng(0).integers(1, 256, 2_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.tokens"
        with TokenWriter(path, ByteTokenizer()) as writer:
            writer.write(ids)
        return _check_on(answer, path, ids)


def _check_on(answer: Answer, path: Path, ids: np.ndarray) -> str | None:
    start, length = 1000, 6
    tracemalloc.start()
    result = answer(path, start, length)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = [int(number) for number in result]
    raw = ids.astype("<u2").tobytes()
    half, swapped = raw[2 * start : 2 * start + length], ids.astype("<u2").byteswap()
    mistakes = {
        tuple(ids[start - 32 : start - 32 + length]): "these stand 32 ids earlier: the header of "
        "64 bytes comes first.",
        tuple(
            ids[start // 2 : start // 2 + length]
        ): "these stand at half the place: an id has two bytes.",
        tuple(half): "these are single bytes: an id has two, uint16.",
        tuple(swapped[start : start + length]): "the two bytes of each id are exchanged: the low "
        "one comes first, '<u2'.",
        tuple(ids[start : start + length + 1]): "one id too many came: the window ends before "
        "start + length.",
        tuple(ids[start : start + length - 1]): "one id is missing at the end.",
        tuple(ids[:length]): "these are the first ids of the file: start was not used.",
    }
    if tuple(found) != tuple(ids[start : start + length]):
        right = ids[start : start + length].tolist()
        return mistakes.get(tuple(found), f"the ids at {start} are {right}; yours are {found}.")
    if peak > path.stat().st_size // 4:
        return (
            "the right ids, but the whole file was read into the memory: open() and seek(), "
            "np.memmap, or np.fromfile with count and offset read only the window."
        )
    if len(answer(path, len(ids) - 2, 2)) != 2:
        return "right in the middle, but not at the end of the file."
    high = path.with_name("high.tokens")
    high.write_bytes(path.read_bytes()[: HEADER.size] + np.array([50_256], "<u2").tobytes())
    if int(answer(high, 0, 1)[0]) != 50_256:
        return "ids go up to 65,535: with a sign, '<i2', those above 32,767 become negative."
    return None


window = Exercise(
    name="window",
    question="Return the `length` ids from position `start` of a token file, reading no others.",
    hints=(
        "The ids begin behind a header of 64 bytes and have 2 bytes each.",
        "So id number start begins at byte 64 + 2 * start.",
        "np.fromfile(path, dtype, count, offset=...) reads count numbers from a byte on.",
    ),
    praise="the same six ids from a file of any size, at the same price.",
    reference=_window,
    checks=_check_window,
)
