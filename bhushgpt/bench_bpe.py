"""Byte-pair training beside the Rust library and the way one would write it first.

Lesson: notebook 16.
"""

from collections.abc import Callable

from bhushgpt.bpe_speed import time_training
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError

CHARACTERS, TOKENS = 1_000_000, 1_000
NAIVE_MERGES = 3  # of the 744: one takes about as long as the next, and all of them minutes


def bpe_training_seconds(
    *, quick: bool = False, progress: Callable[[str], object] = lambda line: None
) -> dict[str, list[float]]:
    """Return who -> seconds for 1,000 tokens from 1 MB of text; the naive trainer does 3 merges.

    The text is the course's book, repeated to a million characters. Where the book cannot be had
    the answer is empty.

    Lesson: notebook 16.
    """
    progress("byte-pair training")
    try:
        book = load_text("sherlock").text
    except UserError:
        return {}
    text = (book * (CHARACTERS // len(book) + 1))[: CHARACTERS // (10 if quick else 1)]
    times = time_training([text], TOKENS, repeats=3, naive_merges=NAIVE_MERGES)
    return {who: list(timing.seconds) for who, timing in times.items()}
