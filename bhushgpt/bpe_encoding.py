"""Encoding at speed: the `tiktoken` library, written in Rust, fed with merges of our own.

It looks for the token with the lowest id that two neighbours make, again and again. Since the ids
are in the order of the merges, that gives the ids of `encode_naively`.

Lesson: notebook 12.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import regex
import tiktoken

from bhushgpt.bpe_pieces import FAST_PATTERN, utf8

# At a million, tiktoken's search for the end of a gap overflows its stack and ends the program.
LONGEST_GAP = 500_000
# Never made, since it is never allowed. With no special token at all, tiktoken's encode_to_numpy
# looks for the empty text, which takes twice as long.
_NO_TOKEN = "<|no token|>"
# Python's own re finds quickly that there is no such gap. Its white space is a little wider than
# tiktoken's, so regex then looks again, where a count in the pattern would take 123 MB.
_LONG = re.compile(rf"\s{{{LONGEST_GAP}}}")
_GAP = regex.compile(r"\s++(?=\S)")


class FastEncoder:
    """Text to ids for a list of tokens in the order of their merges.

    Args:
        tokens: The bytes of every ordinary token; its place is its id.

    Example:
        >>> from bhushgpt.bpe_bytes import BYTE_ORDER
        >>> encoder = FastEncoder([bytes([byte]) for byte in BYTE_ORDER] + [b"ab"])
        >>> encoder.ids("cabs"), encoder.array("cabs").dtype
        ([66, 256, 82], dtype('uint32'))

    Lesson: notebook 12.
    """

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._library = tiktoken.Encoding(
            "bhushgpt",
            pat_str=FAST_PATTERN,
            mergeable_ranks={token: number for number, token in enumerate(tokens)},
            special_tokens={_NO_TOKEN: len(tokens)},
        )

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, in which nothing is special.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        utf8(text)  # the library would put other characters in the place of half a pair
        first, *others = (self._library.encode_ordinary(part) for part in _parts(text))
        for ids in others:
            first += ids
        return first

    def array(self, text: str) -> np.ndarray:
        """Return the ids as an array of uint32: the same, without a Python number for each.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        utf8(text)
        encode = self._library.encode_to_numpy
        return np.concatenate([encode(part, disallowed_special=()) for part in _parts(text)])


def _parts(text: str) -> Iterator[str]:
    """Yield a text in parts with the same pieces, none with a gap that the library cannot take.

    Of a gap before a word all but the last character is one piece, so it can stand alone.
    """
    start = 0
    has_long_gap = len(text) > LONGEST_GAP and _LONG.search(text)
    for gap in _GAP.finditer(text) if has_long_gap else ():
        if gap.end() - gap.start() < LONGEST_GAP:
            continue
        yield text[start : gap.start()]
        yield text[gap.start() : gap.end() - 1]
        start = gap.end() - 1
    yield text[start:]
