"""Byte-pair encoding beside the Rust libraries, and training the way one would write it first.

Lesson: notebook 16.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from bhushgpt.bpe import BPETokenizer
from bhushgpt.bpe_bytes import BYTE_ORDER
from bhushgpt.bpe_naive import learn_merges_naively
from bhushgpt.bpe_speed import AS_SHIPPED, ONE_THREAD, OURS, time_encoding, time_training
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.timing import Timing

CHARACTERS, TOKENS = 1_000_000, 1_000
# The naive trainer needs minutes for all 744 merges, so it stops early: a bound that was seen.
NAIVE, NAIVE_MERGES, QUICK_MERGES = "naive", 100, 10
MISSING = "tokenizers is not installed: pip install 'bhushgpt[bench]'."
OTHER_MERGES = "It learned other merges than bhushgpt, so its time says nothing."
PAGE = 5_000  # characters of a document that is encoded: a page of the web
Progress = Callable[[str], object]
Task = Literal["training", "encoding"]


@dataclass(kw_only=True)
class BPEMeasured:
    """What came out for one library and one task.

    Lesson: notebook 16.

    >>> row = BPEMeasured(task="encoding", who="x", merges=744, text_bytes=10**6, seconds=[0.5])
    >>> row.megabytes_per_second
    2.0
    """

    task: Task
    """Learning merges from a text, or encoding it."""
    who: str
    """bhushgpt or a peer."""
    merges: int
    """How many were learned, or are known; the vocabulary has 256 more."""
    text_bytes: int
    """Of the text in UTF-8."""
    seconds: list[float] = field(default_factory=list)
    """Of the whole text, in the order of the rounds."""
    trouble: str | None = None
    """Why there is no number, in a sentence."""

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return Timing(tuple(self.seconds)).median

    @property
    def megabytes_per_second(self) -> float:
        """Megabytes (10**6) of text for each second, from the median."""
        return self.text_bytes / 1e6 / self.median


def measure_bpe(
    *, quick: bool = False, progress: Progress = lambda line: None
) -> list[BPEMeasured]:
    """Return training on 1 MB of text to 1,000 tokens, and encoding it, ours and the peers'.

    The text is the course's book, repeated to a million characters. The naive trainer learns the
    first 100 merges, once. Encoding takes the text in pages, in one thread, with GPT-2's merges, or
    with the learned ones where GPT-2's cannot be had. What is not there is a row with a reason.

    Args:
        quick: A tenth of the text, and 10 merges by the naive trainer.
        progress: Told in a line what is going on.

    Lesson: notebook 16.
    """
    try:
        book = load_text("sherlock").text
    except UserError as error:
        return [
            BPEMeasured(task=task, who=OURS, merges=0, text_bytes=0, trouble=str(error))
            for task in ("training", "encoding")
        ]
    text = (book * (CHARACTERS // len(book) + 1))[: CHARACTERS // (10 if quick else 1)]
    rows = training_rows(text, TOKENS, QUICK_MERGES if quick else NAIVE_MERGES, progress)
    return rows + encoding_rows(text, progress)


def training_rows(
    text: str, tokens: int, naive_merges: int, progress: Progress = lambda line: None
) -> list[BPEMeasured]:
    """Return who learns a vocabulary of `tokens` from a text how fast; the naive trainer last.

    Lesson: notebook 16.

    >>> [row.who for row in training_rows("the cat sat on the mat " * 9, 260, naive_merges=2)]
    ['bhushgpt', 'tokenizers, one thread', 'tokenizers, as shipped', 'naive']
    """
    progress("byte-pair training")
    times = time_training([text], tokens)
    wanted = tokens - len(BYTE_ORDER)
    rows = _rows("training", (OURS, ONE_THREAD, AS_SHIPPED), times, wanted, text)
    progress(f"byte-pair training, the naive way: {naive_merges} of {wanted} merges, a minute")
    begin = time.perf_counter()
    learned = learn_merges_naively([text], naive_merges)
    taken = Timing((time.perf_counter() - begin,))
    (naive,) = _rows("training", (NAIVE,), {NAIVE: taken}, len(learned), text)
    if learned != list(BPETokenizer.train([text], tokens, ()).merges[:naive_merges]):
        naive.seconds, naive.trouble = [], OTHER_MERGES
    return [*rows, naive]


def encoding_rows(text: str, progress: Progress = lambda line: None) -> list[BPEMeasured]:
    """Return who encodes a text how fast, all with the same merges and in one thread.

    Lesson: notebook 16.
    """
    progress("byte-pair encoding")
    try:
        tokenizer = BPETokenizer.from_gpt2()
    except UserError:  # it is nowhere on this machine, and there is no network
        tokenizer = BPETokenizer.train([text], TOKENS, ())
    pages = [text[start : start + PAGE] for start in range(0, len(text), PAGE)]
    times = time_encoding(pages, tokenizer)
    who = (OURS, f"{OURS}, to numpy", "tiktoken", ONE_THREAD)
    return _rows("encoding", who, times, len(tokenizer.merges), text)


def _rows(
    task: Task, names: tuple[str, ...], times: dict[str, Timing], merges: int, text: str
) -> list[BPEMeasured]:
    size = len(text.encode())
    return [
        BPEMeasured(
            task=task,
            who=who,
            merges=merges,
            text_bytes=size,
            seconds=list(times[who].seconds) if who in times else [],
            trouble=None if who in times else MISSING,
        )
        for who in names
    ]
