"""Byte-pair encoding learned fast: the counts are kept and changed, never taken anew.

Three ideas make it hundreds of times faster than `bpe_by_hand` with the same result. Each different
piece is stored once, with its count. A merge touches only the pieces that hold its pair. And the
best pair comes from a queue, not from a search through all pairs.

A piece is a string with one character for each id, `chr(id)`. So a pair is a string of two, a merge
is `str.replace`, and strings compare as their ids do.

Lesson: notebook 13.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from operator import add

from bhushgpt.bpe_by_hand import BYTE_IDS, Merge


def learn_merges(piece_counts: Mapping[bytes, int], n_merges: int) -> Iterator[Merge]:
    """Yield the merges that training finds, the first one first.

    The same merges as `learn_merges_naively`: the most frequent pair, of several the one with the
    smallest ids. It ends early if no pair is left.

    Args:
        piece_counts: Each different piece in UTF-8 and how often it occurs, from `count_pieces`.
        n_merges: How many merges are wanted.

    Example:
        >>> list(learn_merges({b"aaabdaaabac": 1}, n_merges=3))
        [(64, 64), (64, 65), (256, 257)]
    """
    words = [piece.translate(BYTE_IDS).decode("latin-1") for piece in piece_counts]
    weights = list(piece_counts.values())
    counts, homes = _count_pairs(words, weights)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapify(queue)
    learned = 0
    while learned < n_merges and queue:
        noted, pair = heappop(queue)
        count = counts[pair]
        if count != -noted:
            # Since it was put there, other merges took some of its places. Counts only ever sink.
            if count:
                heappush(queue, (-count, pair))
            continue
        new = chr(256 + learned)
        for found in _merge(words, weights, counts, homes, pair, new):
            heappush(queue, (-counts[found], found))
        learned += 1
        yield ord(pair[0]), ord(pair[1])


def _count_pairs(
    words: list[str], weights: list[int]
) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Return how often each pair occurs, and the numbers of the words that it occurs in."""
    counts: dict[str, int] = defaultdict(int)
    homes: dict[str, list[int]] = defaultdict(list)
    for number, (word, weight) in enumerate(zip(words, weights, strict=True)):
        for pair in map(add, word, word[1:]):
            counts[pair] += weight
            homes[pair].append(number)
    return counts, homes


def _merge(
    words: list[str],
    weights: list[int],
    counts: dict[str, int],
    homes: dict[str, list[int]],
    pair: str,
    new: str,
) -> set[str]:
    """Merge the pair wherever it is, bring the counts up to date, and return the new pairs."""
    found: set[str] = set()
    for number in homes.pop(pair):
        word, weight = words[number], weights[number]
        left, here, right = word.partition(pair)
        if not here:  # an earlier merge took this place
            continue
        if pair in right:  # several places: all pairs of the word are counted anew
            before, after = word, word.replace(pair, new)
            words[number] = after
        else:  # mostly only the pairs at both ends of the place change
            before, after = left[-1:] + pair + right[:1], left[-1:] + new + right[:1]
            words[number] = left + new + right
        for old in map(add, before, before[1:]):
            counts[old] -= weight
        for now in map(add, after, after[1:]):
            counts[now] += weight
            if new in now:
                found.add(now)
                homes[now].append(number)
    return found
