"""Byte-pair encoding in the fewest lines: the specification that the fast forms have to equal.

**Bytes.** GPT-2's files must show any byte in a text editor, line by line and without spaces. So
the 188 bytes that Latin-1 prints keep their sign, and the other 68 borrow the signs from U+0100 on:
the space becomes `Ġ`, the line break `Ċ`. GPT-2 numbers the printable bytes first, then the others;
that is also the order of the signs, so the `tokenizers` library breaks ties by it.

**Pieces.** A text is cut into pieces that no merge may cross: words, numbers, signs, white space.
Without this step a byte-pair tokenizer spends ids on "dog.", "dog!" and "dog?". GPT-2 cuts with one
regular expression; a word keeps the space before it.

**Merges.** Every pair of the whole text is counted again before each merge, as one would by hand.

Lesson: notebook 13. Sources: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words
with Subword Units", 2016, arXiv 1508.07909; Radford and others, "Language Models are Unsupervised
Multitask Learners", 2019, section 2.2.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import regex

from bhushgpt.errors import UserError

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_ORDER = bytes(_PRINTABLE + _OTHERS)
"""The byte of each id from 0 to 255."""

BYTE_IDS = bytes(BYTE_ORDER.index(byte) for byte in range(256))
"""The id of each byte: `data.translate(BYTE_IDS)` numbers a whole text at once."""

_SIGNS = [chr(byte) for byte in _PRINTABLE] + [chr(0x100 + n) for n in range(len(_OTHERS))]
_SIGN_OF = dict(zip(BYTE_ORDER, _SIGNS, strict=True))
_BYTE_OF = {sign: byte for byte, sign in _SIGN_OF.items()}


def to_signs(token: bytes) -> str:
    r"""Return the bytes as GPT-2's files write them, one sign for each byte.

    Example:
        >>> to_signs(b" the"), to_signs("é\n".encode())
        ('Ġthe', 'Ã©Ċ')

    Source: OpenAI, gpt-2/src/encoder.py, `bytes_to_unicode`, 2019.
    """
    return "".join(_SIGN_OF[byte] for byte in token)


def from_signs(signs: str) -> bytes:
    """Return the bytes that the signs stand for.

    Raises:
        UserError: If a character is none of the 256 signs.

    Example:
        >>> from_signs("Ġthe")
        b' the'
    """
    try:
        return bytes(_BYTE_OF[sign] for sign in signs)
    except KeyError as error:
        raise UserError(
            f"{signs!r} is not a token in GPT-2's signs: {error.args[0]!r} stands for no byte."
        ) from None


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


Merge = tuple[int, int]
"""Two ids that become one. The first merge makes the id 256, the next 257, and so on."""


def byte_ids(text: str) -> list[int]:
    """Return GPT-2's ids of the bytes of the text: what byte-pair encoding starts from.

    Raises:
        UserError: If the text holds half a surrogate pair.

    Example:
        >>> byte_ids("é!")
        [127, 102, 0]
    """
    return list(utf8(text).translate(BYTE_IDS))


def count_pairs(words: Iterable[Sequence[int]]) -> Counter[Merge]:
    """Return how often each pair of neighbours occurs.

    Example:
        >>> count_pairs([[0, 0, 0, 1], [0, 1]])
        Counter({(0, 0): 2, (0, 1): 2})
    """
    return Counter(pair for word in words for pair in pairwise(word))


def merge(ids: Sequence[int], pair: Merge, new_id: int) -> list[int]:
    """Return the ids with each occurrence of the pair replaced, from the left.

    Example:
        >>> merge([0, 0, 0, 1], pair=(0, 0), new_id=256)
        [256, 0, 1]
    """
    left, right = pair
    merged: list[int] = []
    place, last = 0, len(ids) - 1
    while place <= last:
        if ids[place] == left and place < last and ids[place + 1] == right:
            merged.append(new_id)
            place += 2
        else:
            merged.append(ids[place])
            place += 1
    return merged


def learn_merges_naively(texts: Iterable[str], n_merges: int) -> list[Merge]:
    """Return the merges that training finds, the first one first.

    The most frequent pair is merged; of several the one with the smallest ids, as the
    `tokenizers` library does it. There are fewer merges than asked for if no pair is left.

    Args:
        texts: Documents.
        n_merges: How many merges are wanted.

    Raises:
        UserError: If a text holds half a surrogate pair.

    Example:
        >>> learn_merges_naively(["aaabdaaabac"], n_merges=3)
        [(64, 64), (64, 65), (256, 257)]
    """
    words: list[list[int]] = []
    for text in texts:
        utf8(text)  # names the place in the text, not in a piece
        words += [byte_ids(piece) for piece in pieces(text)]
    merges: list[Merge] = []
    while len(merges) < n_merges and (counts := count_pairs(words)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [merge(word, best, 256 + len(merges)) for word in words]
        merges.append(best)
    return merges


def encode_naively(text: str, merges: Sequence[Merge]) -> list[int]:
    """Return the ids of a text: all merges in the order in which they were learned.

    Raises:
        UserError: If the text holds half a surrogate pair.

    Example:
        >>> encode_naively("aaabdaaabac", [(64, 64), (64, 65), (256, 257)])
        [258, 67, 258, 64, 66]
    """
    encoded: list[int] = []
    for piece in pieces(text):
        ids = byte_ids(piece)
        for number, pair in enumerate(merges):
            ids = merge(ids, pair, 256 + number)
        encoded += ids
    return encoded
