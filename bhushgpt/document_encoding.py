"""From a document to token ids: in bounded memory, on its side of the split, with its end marked.

Lesson: notebook 13.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import Tokenizer

LONGEST_PIECE = 1 << 20  # characters that are encoded at once
# Between one line and the next, with no other white space around: there GPT-2's pattern always
# cuts, so encoding the two sides on their own gives the same ids.
_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")


def is_held_out(data: bytes, share: float) -> bool:
    """Return whether a document is kept for the examination; it depends on its bytes alone.

    So the same text falls on the same side wherever it stands, twice or a hundred times, whatever
    the number of workers; a copy of a held-out page is never trained on.

    Args:
        data: The document in UTF-8.
        share: How many of all documents to hold out, 0 to 1.

    Example:
        >>> pages = [f"page {number}".encode() for number in range(1000)]
        >>> sum(is_held_out(page, 0.1) for page in pages)
        103

    Lesson: notebook 13.
    """
    number = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return number < share * 2**64


class DocumentEncoder:
    """Encodes documents with a tokenizer, fast where the tokenizer has a fast way.

    Args:
        tokenizer: Any of the course's.

    Example:
        >>> from bhushgpt.tokenizers import ByteTokenizer
        >>> encoder = DocumentEncoder(ByteTokenizer())
        >>> encoder("Hi").tolist(), encoder.end.tolist()
        ([72, 105], [10, 10])

    Lesson: notebook 13.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        fast: Any = getattr(tokenizer, "encode_to_numpy", None)
        # "<|endoftext|>" in a page is text like any other: never the special token.
        self._encode = fast or getattr(tokenizer, "encode_ordinary", tokenizer.encode)
        end = getattr(tokenizer, "eot_id", None)
        self.end = np.array([end] if end is not None else tokenizer.encode("\n\n"))
        """What stands behind every document: the tokenizer's special token, else a blank line."""

    def __call__(self, text: str) -> np.ndarray:
        """Return the ids of a text, without its end mark.

        Raises:
            UserError: If the tokenizer cannot encode it.
        """
        if len(text) <= LONGEST_PIECE:
            return np.asarray(self._encode(text))
        return np.concatenate([np.asarray(self._encode(piece)) for piece in pieces(text)])


def pieces(text: str, longest: int = LONGEST_PIECE) -> Iterator[str]:
    r"""Yield a text in pieces that can be encoded on their own.

    Example:
        >>> list(pieces("one\ntwo\n\nthree\nfour", longest=8))
        ['one\n', 'two\n\nthree\n', 'four']

    Lesson: notebook 13.
    """
    start, best = 0, 0
    for found in _LINE_END.finditer(text):
        if found.end() - start > longest and best > start:
            yield text[start:best]
            start = best
        best = found.end()
    if len(text) - start > longest and best > start:
        yield text[start:best]
        start = best
    yield text[start:]


def check_share(held_out: float) -> None:
    """Refuse a share that holds out nothing or everything.

    Raises:
        UserError: If it is not between 0 and 1.

    Lesson: notebook 13.
    """
    if not 0 < held_out < 1:
        raise UserError(f"held_out is {held_out}; it is a share between 0 and 1, such as 0.01.")
