"""Documents: what one page, one line of JSON or one row of a table becomes, or why it does not.

A document is text. What is not clean UTF-8, is empty, holds NUL bytes or is larger than the limit
is left out and counted; nothing is repaired by guessing.

Lesson: notebook 13.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from bhushgpt.cleaning import plain_lines
from bhushgpt.unpacking import Limits

LONGEST_WORD = 1_000_000  # a tokenizer takes 50 bytes of memory for each letter of a word
_WORD = re.compile(r"\S++")


class Document(NamedTuple):
    """One text and the same text in UTF-8.

    Lesson: notebook 13.
    """

    text: str
    data: bytes


def document(data: bytes, skipped: Counter[str]) -> Document | None:
    r"""Return the document that the bytes spell, or count why there is none.

    A byte order mark is taken out and line ends become `\n`; nothing else is changed.

    Example:
        >>> why = Counter()
        >>> document(b"To Sherlock Holmes\r\n", why)
        Document(text='To Sherlock Holmes\n', data=b'To Sherlock Holmes\n')
        >>> document(b"caf\xe9", why), document(b"a\0b", why), document(b" \n", why), dict(why)
        (None, None, None, {'is not UTF-8 text': 1, 'holds NUL bytes': 1, 'is empty': 1})

    Lesson: notebook 13.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        skipped["is not UTF-8 text"] += 1
        return None
    if "\0" in text:
        skipped["holds NUL bytes"] += 1
        return None
    if not text or text.isspace():
        skipped["is empty"] += 1
        return None
    if len(text) >= LONGEST_WORD and _longest_word(text) >= LONGEST_WORD:
        skipped["has a word of a million letters"] += 1
        return None
    if "\r" in text or text.startswith("\ufeff"):
        text = plain_lines(text)
        data = text.encode("utf-8")
    return Document(text, data)


def from_texts(texts: list[str], limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield documents from strings, which may hold what UTF-8 cannot: half a surrogate pair.

    Lesson: notebook 13.
    """
    for text in texts:
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            skipped["is not UTF-8 text"] += 1
            continue
        if len(data) > limits.member_bytes:
            skipped[too_long(limits)] += 1
        elif found := document(data, skipped):
            yield found


def from_file(stream: BinaryIO, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the one document that a plain text file is.

    Lesson: notebook 13.
    """
    data = stream.read(limits.member_bytes + 1)
    if len(data) > limits.member_bytes:
        skipped[too_long(limits)] += 1
    elif found := document(data, skipped):
        yield found


def too_long(limits: Limits) -> str:
    """Return the words for a text above the limit.

    Lesson: notebook 13.
    """
    return f"is longer than {limits.member_bytes / 2**20:g} MiB"


def _longest_word(text: str) -> int:
    return max(found.end() - found.start() for found in _WORD.finditer(text))
