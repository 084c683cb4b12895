"""How fast byte-pair training and encoding are, beside the libraries that people use for it.

Every measurement takes its turn with the others (`alternate`), on the same texts. The peers are
the Rust libraries `tokenizers` and `tiktoken`.

Lesson: notebook 12.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import tiktoken

from bhushgpt.bpe import BPETokenizer
from bhushgpt.bpe_bytes import BYTE_ORDER
from bhushgpt.bpe_export import tokenizers_description
from bhushgpt.bpe_pieces import FAST_PATTERN
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

    Lesson: notebook 12.
    """
    candidates: dict[str, Callable[[], object]] = {
        OURS: partial(BPETokenizer.train, texts, vocab_size, ())
    }
    if importlib.util.find_spec("tokenizers"):
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

    Lesson: notebook 12.
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
    if importlib.util.find_spec("tokenizers"):
        peer = _tokenizers_peer(tokenizer, ordinary)
        candidates[ONE_THREAD] = partial(
            _with_threads, False, each(lambda text: peer.encode(text).ids)
        )
    return alternate(candidates, repeats=repeats, warmup=1)


def train_with_tokenizers(texts: Sequence[str], vocab_size: int) -> Any:
    """Return the tokenizer that Hugging Face's library learns from the texts, GPT-2's way.

    Lesson: notebook 12.

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


def _tokenizers_peer(tokenizer: BPETokenizer, ordinary: list[bytes]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(tokenizers_description(ordinary, tokenizer.merges, {})))


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
