r"""A text cut into pieces that no merge may cross: words, numbers, signs, white space.

Without this step a byte-pair tokenizer spends ids on "dog.", "dog!" and "dog?". GPT-2 cuts with one
regular expression; a word keeps the space before it.

Lesson: notebook 12. Source: Radford and others, "Language Models are Unsupervised Multitask
Learners", 2019, section 2.2.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import regex

from bhushgpt.errors import UserError

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern. The last but one part leaves one space of a longer gap to the next word."""

# The same pieces, found without ever going back over a run (the `++`), as tiktoken writes it.
FAST_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

_PIECE = regex.compile(GPT2_PATTERN)

# Two kinds of places where every text may be cut without changing a piece, whatever follows: before
# white space that follows anything else, and between a letter and a mark. Of letters and marks only
# the common ones: whether a new character is a letter depends on the Unicode version.
_LETTER = r"[0-9A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3]"
_MARK = r"[!-/:-@\[-`{-~\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff20]"
_LAST_CUT = regex.compile(rf"(?r)\S(?=\s)|{_LETTER}(?={_MARK})")


def pieces(text: str) -> list[str]:
    """Return the pieces of a text, in order; together they are the text.

    Example:
        >>> pieces("We'll see  2 dogs!")
        ['We', "'ll", ' see', ' ', ' 2', ' dogs', '!']

    Lesson: notebook 12.
    """
    return _PIECE.findall(text)


def count_pieces(texts: Iterable[str]) -> Counter[bytes]:
    """Return how often each piece occurs, as UTF-8: all that a trainer needs to know of the texts.

    Args:
        texts: Documents; no piece crosses from one into the next.

    Raises:
        UserError: If a single string came instead of several, or a text holds half a surrogate
            pair.

    Example:
        >>> count_pieces(["the cat", "the dog"]).most_common(1)
        [(b'the', 2)]

    Lesson: notebook 12.
    """
    if isinstance(texts, str):
        raise UserError("texts is one string; give a list of texts, such as [text].")
    counts: Counter[str] = Counter()
    for text in texts:
        utf8(text)  # names the place in the text, not in a piece
        counts.update(_PIECE.findall(text))
    return Counter({piece.encode(): count for piece, count in counts.items()})


def utf8(text: str) -> bytes:
    r"""Return the text in UTF-8.

    Raises:
        UserError: If it holds half a surrogate pair, which is no character and has no UTF-8.

    Lesson: notebook 12.

    >>> utf8("é")
    b'\xc3\xa9'
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"The text holds {text[error.start]!r} at position {error.start}: half of a surrogate "
            "pair, which is no character. Repair the text where it was read, or pass "
            "unknown='skip' to drop such halves or unknown='replace' to write U+FFFD instead."
        ) from None


def last_cut(text: str) -> int:
    """Return the last place where the text may be cut whatever comes after it; 0 if there is none.

    The pieces of the two parts are then the pieces of the whole.

    Example:
        >>> last_cut("We'll see"), last_cut("seeing")
        (5, 0)

    Lesson: notebook 12.
    """
    found = _LAST_CUT.search(text)
    return found.end() if found else 0


def stretches(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the text of the chunks in stretches whose pieces are the pieces of the whole text.

    What is kept back is at most a chunk and the longest stretch without a place to cut.

    Args:
        chunks: One text, in parts that may end anywhere.

    Example:
        >>> list(stretches(["We'", "ll see", " it"]))
        ['We', "'ll", ' see', ' it']

    Lesson: notebook 12.
    """
    kept: list[str] = []
    for chunk in chunks:
        # Only the new part is searched, with one character before it: no work is done twice.
        before = kept[-1][-1:] if kept else ""
        if cut := last_cut(before + chunk):
            cut -= len(before)
            yield "".join((*kept, chunk[:cut]))
            kept = []
            chunk = chunk[cut:]
        if chunk:
            kept.append(chunk)
    if kept:
        yield "".join(kept)
