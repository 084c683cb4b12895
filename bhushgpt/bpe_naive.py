"""Byte-pair encoding in the fewest lines: the specification that the fast trainer has to equal.

It counts every pair of the whole text again before each merge, as one would by hand.

Lesson: notebook 12. Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words
with Subword Units", 2016, arXiv 1508.07909.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from bhushgpt.bpe_bytes import BYTE_IDS
from bhushgpt.bpe_pieces import pieces, utf8

Merge = tuple[int, int]
"""Two ids that become one. The first merge makes the id 256, the next 257, and so on."""


def byte_ids(text: str) -> list[int]:
    """Return GPT-2's ids of the bytes of the text: what byte-pair encoding starts from.

    Raises:
        UserError: If the text holds half a surrogate pair.

    Example:
        >>> byte_ids("é!")
        [127, 102, 0]

    Lesson: notebook 12.
    """
    return list(utf8(text).translate(BYTE_IDS))


def count_pairs(words: Iterable[Sequence[int]]) -> Counter[Merge]:
    """Return how often each pair of neighbours occurs.

    Example:
        >>> count_pairs([[0, 0, 0, 1], [0, 1]])
        Counter({(0, 0): 2, (0, 1): 2})

    Lesson: notebook 12.
    """
    return Counter(pair for word in words for pair in pairwise(word))


def merge(ids: Sequence[int], pair: Merge, new_id: int) -> list[int]:
    """Return the ids with each occurrence of the pair replaced, from the left.

    Example:
        >>> merge([0, 0, 0, 1], pair=(0, 0), new_id=256)
        [256, 0, 1]

    Lesson: notebook 12.
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

    Lesson: notebook 12.
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

    Lesson: notebook 12.
    """
    encoded: list[int] = []
    for piece in pieces(text):
        ids = byte_ids(piece)
        for number, pair in enumerate(merges):
            ids = merge(ids, pair, 256 + number)
        encoded += ids
    return encoded
