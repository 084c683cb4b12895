"""How fast byte-pair training and encoding are, beside the libraries that people use for it.

Every measurement takes its turn with the others (`alternate`), on the same texts. The peers are
the Rust libraries `tokenizers` and `tiktoken`, and for training also the way that one would write
it first (`bpe_by_hand`).

Lesson: notebook 13.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import tiktoken

from bhushgpt.bpe import BPETokenizer
from bhushgpt.bpe_by_hand import BYTE_ORDER, FAST_PATTERN, learn_merges_naively
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.interop import fast_tokenizer
from bhushgpt.roofline import Seconds
from bhushgpt.timing import Timing, alternate

ONE_THREAD = "tokenizers, one thread"
AS_SHIPPED = "tokenizers, as shipped"
OURS = "bhushgpt"


def time_training(texts: Sequence[str], vocab_size: int, *, repeats: int = 5) -> dict[str, Timing]:
    """Return how long learning a vocabulary takes, from the texts to the merges.

    Args:
        texts: Documents; all candidates get the same list.
        vocab_size: Ids to learn, bytes included, without special tokens.
        repeats: Times to measure each.

    Example:
        >>> sorted(time_training(["the cat sat on the mat"] * 9, 260, repeats=2))
        ['bhushgpt', 'tokenizers, as shipped', 'tokenizers, one thread']
    """
    candidates: dict[str, Callable[[], object]] = {
        OURS: partial(BPETokenizer.train, texts, vocab_size, ())
    }
    train = partial(train_with_tokenizers, texts, vocab_size)
    candidates |= {
        ONE_THREAD: partial(_with_threads, False, train),
        AS_SHIPPED: partial(_with_threads, True, train),
    }
    return alternate(candidates, repeats=repeats, warmup=1)


def time_encoding(
    texts: Sequence[str], tokenizer: BPETokenizer, *, repeats: int = 5
) -> dict[str, Timing]:
    """Return how long encoding all texts takes, one after the other in one thread.

    Args:
        texts: Documents.
        tokenizer: Its merges are given to the other libraries.
        repeats: Times to measure each.

    Example:
        >>> times = time_encoding(["the cat sat"] * 9, BPETokenizer([]), repeats=2)
        >>> sorted(times)
        ['bhushgpt', 'bhushgpt, to numpy', 'tiktoken', 'tokenizers, one thread']
    """
    ordinary = tokenizer.tokens[: len(BYTE_ORDER) + len(tokenizer.merges)]
    ranks = {token: number for number, token in enumerate(ordinary)}
    encoding = tiktoken.Encoding(
        "peer", pat_str=FAST_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )

    def each(encode: Callable[[str], object]) -> Callable[[], object]:
        return lambda: [encode(text) for text in texts]

    candidates = {
        OURS: each(tokenizer.encode),
        f"{OURS}, to numpy": each(tokenizer.encode_to_numpy),
        "tiktoken": each(encoding.encode_ordinary),
    }
    peer = fast_tokenizer(BPETokenizer(tokenizer.merges, ()))
    candidates[ONE_THREAD] = partial(_with_threads, False, each(lambda text: peer.encode(text).ids))
    return alternate(candidates, repeats=repeats, warmup=1)


def train_with_tokenizers(texts: Sequence[str], vocab_size: int) -> Any:
    """Return the tokenizer that Hugging Face's library learns from the texts, GPT-2's way.

    >>> train_with_tokenizers(["hug hug pug"], 258).encode("hug").tokens
    ['hug']
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    settings: Any = {
        "vocab_size": vocab_size,
        "show_progress": False,
        "initial_alphabet": pre_tokenizers.ByteLevel.alphabet(),
    }
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(**settings))
    return tokenizer


def _with_threads(several: bool, work: Callable[[], object]) -> object:
    with _parallelism(several):
        return work()


@contextmanager
def _parallelism(several: bool) -> Iterator[None]:
    """Let `tokenizers` use several threads, or one; the library reads this at each call."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true" if several else "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


CHARACTERS, TOKENS = 1_000_000, 1_000
# The naive trainer needs minutes for all 744 merges, so it stops early: a bound that was seen.
NAIVE, NAIVE_MERGES, QUICK_MERGES = "naive", 100, 10
OTHER_MERGES = "It learned other merges than bhushgpt, so its time says nothing."
PAGE = 5_000  # characters of a document that is encoded: a page of the web
Progress = Callable[[str], object]
Task = Literal["training", "encoding"]


@dataclass(kw_only=True)
class BPEMeasured:
    """What came out for one library and one task.

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
    seconds: list[Seconds] = field(default_factory=list)
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
    """Return who encodes a text how fast, all with the same merges and in one thread."""
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
            seconds=list(times[who].seconds),
        )
        for who in names
    ]
