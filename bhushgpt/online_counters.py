"""Counting while reading: what followed the same past, for several kinds of past at once.

A token is told by a few yes-or-no decisions along a code tree. For each decision sixteen
counters are asked, each of which has watched another piece of the past (the last token, the last
six, the word so far). `bhushgpt.mixing` makes one prediction of their answers.

Letters: K decisions made at once (rows), N counters, V vocabulary.

Lesson: notebook 19. Sources: Mahoney, "Adaptive weighing of context models for lossless data
compression", 2005 (PAQ); Volf, "Weighting techniques in data compression", 2002 (code trees).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def squash(x: np.ndarray) -> np.ndarray:
    """Return the probability whose log-odds are x: 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def stretch(p: np.ndarray) -> np.ndarray:
    """Return the log-odds ln(p / (1 - p)): what evidence adds up in.

    >>> float(squash(stretch(np.array(0.25))))
    0.25
    """
    return np.log(p / (1 - p))


@dataclass(frozen=True)
class CodeTree:
    """A Huffman tree: frequent tokens stand near the root, few decisions away.

    The leaves stand in a row, so a node is an interval of places, cut in two at its middle.

    >>> tree = CodeTree.of([4, 1, 2])
    >>> tree.place.tolist(), tree.bounds.tolist()
    ([2, 0, 1], [[0, 1, 2], [0, 2, 3]])
    """

    place: np.ndarray
    """(V,) where each token's leaf stands."""
    bounds: np.ndarray
    """(V - 1, 3) first place, middle and end of each node; the last node is the root."""
    children: np.ndarray
    """(V - 1, 2) what follows a 0 or a 1: a node's number, or -1 - token for a leaf."""

    @classmethod
    def of(cls, counts: Sequence[float] | np.ndarray) -> "CodeTree":
        """Return the tree for tokens that occur so often; what never occurs gets a long path."""
        heap = [(float(count), -1 - token) for token, count in enumerate(counts)]
        heapq.heapify(heap)
        children = np.zeros((max(0, len(heap) - 1), 2), dtype=np.int64)
        for node in range(len(children)):
            rare, other = heapq.heappop(heap), heapq.heappop(heap)
            children[node] = rare[1], other[1]
            heapq.heappush(heap, (rare[0] + other[0], node))
        place = np.zeros(len(counts), dtype=np.int64)
        bounds = np.zeros((len(children), 3), dtype=np.int64)
        sizes = [0] * len(children)

        def size(child: int) -> int:
            return 1 if child < 0 else sizes[child]

        for node, (left, right) in enumerate(children.tolist()):
            sizes[node] = size(left) + size(right)
        starts = [0] * len(children)
        for node in reversed(range(len(children))):  # the root first: its place is known
            start = starts[node]
            middle = start + size(children[node, 0])
            bounds[node] = start, middle, start + sizes[node]
            for child, first in zip(children[node].tolist(), (start, middle), strict=True):
                if child < 0:
                    place[-1 - child] = first
                else:
                    starts[child] = first
        return cls(place, bounds, children)


class Contexts:
    """What each lane has just read, as one number for each counter: (K, N) fingerprints.

    Args:
        lanes: Texts that are read side by side.
        is_letter: (V,) whether a token is part of a word.
        lower: (V,) the token that stands for the same letter in lower case, or itself.
    """

    ORDERS = (0, 1, 2, 3, 4, 5, 6, 8)
    LONGEST = 8
    NAMES = (
        *(f"last {n}" for n in ORDERS),
        "word",
        "word and the one before",
        "word and two before",
        "2nd and 3rd last",
        "2nd to 4th last",
        "last and the word before",
        "last 4 in lower case",
        "words without what is between",
    )

    def __init__(self, lanes: int, is_letter: np.ndarray, lower: np.ndarray) -> None:
        self.is_letter, self.lower = is_letter, lower.astype(np.uint64)
        self.last = np.zeros((lanes, self.LONGEST), dtype=np.uint64)  # newest first, 0 for none
        self.words = np.zeros((lanes, 3), dtype=np.uint64)  # this word so far, and two before
        self.small = np.zeros((lanes, 4), dtype=np.uint64)
        self.letters = np.zeros(lanes, dtype=np.int64)  # of this word so far

    def push(self, tokens: np.ndarray) -> None:
        """Read one token (lanes,) in each lane."""
        self.last[:, 1:] = self.last[:, :-1].copy()
        self.last[:, 0] = tokens.astype(np.uint64) + np.uint64(1)
        small = self.lower[tokens] + np.uint64(1)
        self.small[:, 1:] = self.small[:, :-1].copy()
        self.small[:, 0] = small
        letter = self.is_letter[tokens]
        longer = _hash(self.words[:, 0], small)
        ended = ~letter & (self.words[:, 0] != 0)
        self.words[ended, 1:] = self.words[ended, :-1]
        self.words[:, 0] = np.where(letter, longer, np.uint64(0))
        self.letters = np.where(letter, self.letters + 1, 0)

    def fingerprints(self) -> np.ndarray:
        """Return (K, N), a number for what each counter looks at."""
        last, words = self.last, self.words
        columns, run = [], np.zeros(len(last), dtype=np.uint64)
        for length in range(self.LONGEST + 1):
            if length:
                run = _hash(run, last[:, length - 1])
            if length in self.ORDERS:
                columns.append(run)
        pair = _hash(words[:, 0], words[:, 1])
        near = _hash(last[:, 1], last[:, 2])
        small = self.small
        columns += [
            _hash(words[:, 0], last[:, 0]),
            _hash(pair, last[:, 0]),
            _hash(_hash(pair, words[:, 2]), last[:, 0]),
            near,
            _hash(near, last[:, 3]),
            _hash(words[:, 1], last[:, 0]),
            _hash(_hash(_hash(small[:, 0], small[:, 1]), small[:, 2]), small[:, 3]),
            _hash(pair, words[:, 2]),
        ]
        return np.stack(columns, axis=1)


_MIX_A, _MIX_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def _hash(a: np.ndarray, b: np.ndarray | np.uint64) -> np.ndarray:
    """Scatter pairs of numbers over 64 bits; the product is meant to overflow."""
    mixed = (a + np.uint64(1)) * _MIX_A + b * _MIX_B
    return (mixed ^ (mixed >> np.uint64(29))) * _MIX_A


def _histories(longest: int = 15) -> np.ndarray:
    """Return what follows each bit history: (states, 2).

    A history is how many zeros and ones came, up to `longest`, and which came last. A one makes
    many earlier zeros count for less: what happened lately tells more.
    """
    side = longest + 1
    fewer = [n if n < 3 else 2 + (n - 1) // 3 for n in range(side)]
    following = np.zeros((side * side * 2, 2), dtype=np.int16)
    for state in range(len(following)):
        zeros, ones = state // 2 // side, state // 2 % side
        after_zero = min(zeros + 1, longest), fewer[ones]
        after_one = fewer[zeros], min(ones + 1, longest)
        following[state, 0] = (after_zero[0] * side + after_zero[1]) * 2
        following[state, 1] = (after_one[0] * side + after_one[1]) * 2 + 1
    return following


class Counters:
    """How often a decision was 1 in a context, for N kinds of contexts in one hash table.

    Each slot has two answers: the share of ones, nearly even at first and slower to change the
    more it has seen; and its bit history, for which a second table learns what it is worth.

    A context may live in either of two neighbouring slots. Where both are taken by others, the one
    that has seen less makes room: what comes once fills a table, and what comes often is worth it.

    Args:
        kinds: N.
        bits: The table has 2^bits slots of 10 bytes; memory that no context touches is not taken.
        patience: After so many looks a share moves by 1 / patience of the error.
    """

    def __init__(self, kinds: int, *, bits: int = 22, patience: int = 255) -> None:
        self.bits, self.patience = bits, patience
        self.share = np.zeros(1 << bits, dtype=np.float32)
        self.seen = np.zeros(1 << bits, dtype=np.int16)
        self.history = np.zeros(1 << bits, dtype=np.int16)
        self.check = np.zeros(1 << bits, dtype=np.uint16)  # 0: nobody's
        self.following = _histories()
        pairs = np.arange(len(self.following)) // 2
        zeros, ones = pairs // 16, pairs % 16
        self.worth = np.tile((ones + 0.4) / (zeros + ones + 0.8), (kinds, 1))  # (N, states)
        self.looks = np.zeros_like(self.worth)
        self.salt = _hash(np.arange(kinds, dtype=np.uint64), np.uint64(0))  # (N,)
        self.rates = 1 / (np.arange(patience + 1) + 1.6)
        self._kinds = np.arange(kinds)

    def predict(self, fingerprints: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return log-odds (K, 2 N) for decisions at nodes (K,) in contexts (K, N); 0 if unseen."""
        mixed = _hash(fingerprints + self.salt, nodes.astype(np.uint64)[:, None])  # (K, N)
        slots = (mixed >> np.uint64(64 - self.bits)).astype(np.int64)  # (K, N)
        checks = (mixed | np.uint64(1)).astype(np.uint16)  # (K, N)
        self._find(slots, checks)
        share = self.share[slots].astype(np.float64)  # (K, N)
        seen, history = self.seen[slots], self.history[slots]  # 2 x (K, N)
        worth = self.worth[self._kinds, history]  # (K, N)
        self._asked = slots, share, seen, history, worth
        both = np.concatenate([share, worth], axis=1)  # (K, 2*N)
        odds = stretch(np.clip(both, 0.0005, 0.9995))
        odds *= np.concatenate([seen, seen], axis=1) > 0
        return odds

    def _find(self, slots: np.ndarray, checks: np.ndarray) -> None:
        """Turn first slots (K, N) into those where the contexts live, or begin to."""
        row, kind = np.nonzero(self.check[slots] != checks)
        if not len(row):
            return
        first, check = slots[row, kind], checks[row, kind]
        other = first ^ 1
        found = self.check[other] == check
        moved = np.where(found | (self.seen[other] < self.seen[first]), other, first)
        slots[row, kind] = moved
        new = moved[~found]
        self.check[new] = check[~found]
        self.share[new], self.seen[new], self.history[new] = 0.5, 0, 0

    def learn(self, bits: np.ndarray) -> None:
        """Take in what the decisions asked last (K,) turned out to be."""
        slots, share, seen, history, worth = self._asked
        came = bits[:, None]
        self.share[slots] = share + (came - share) * self.rates[seen]
        self.seen[slots] = np.minimum(seen + 1, self.patience)
        self.history[slots] = self.following[history, came]
        looks = self.looks[self._kinds, history]
        self.worth[self._kinds, history] = worth + (came - worth) / (looks + 1.5)
        self.looks[self._kinds, history] = np.minimum(looks + 1, 255)


class Matches:
    """Where the same tokens stood before, and what followed them there, for each lane.

    Args:
        lanes: Texts that are read side by side.
        length: Tokens that must agree before a place is believed.
    """

    LONGEST = 60

    def __init__(self, lanes: int, *, length: int = 6) -> None:
        self.length = length
        self.texts: list[list[int]] = [[] for _ in range(lanes)]
        self.places: dict[tuple[int, ...], tuple[list[int], int]] = {}
        self.found: list[tuple[list[int], int]] = [([], 0)] * lanes
        self.agreed = np.zeros(lanes, dtype=np.int64)  # 0: no match
        self.expected = np.zeros(lanes, dtype=np.int64)

    def restart(self, lanes: int) -> None:
        """Begin `lanes` new texts, and remember the old ones."""
        self.texts = [[] for _ in range(lanes)]
        self.found = [([], 0)] * lanes
        self.agreed = np.zeros(lanes, dtype=np.int64)
        self.expected = np.zeros(lanes, dtype=np.int64)

    def push(self, tokens: Sequence[int], reading: Sequence[bool]) -> None:
        """Read one token in each lane that is still reading, and look for what may follow."""
        for lane, token in enumerate(tokens):
            if not reading[lane]:
                continue
            text = self.texts[lane]
            text.append(token)
            agreed = int(self.agreed[lane])
            before, place = self.found[lane]
            if agreed and before[place] == token and place + 1 < len(before):
                agreed, place = min(agreed + 1, self.LONGEST), place + 1
            else:
                agreed = 0
            if len(text) >= self.length:
                key = tuple(text[-self.length :])
                if not agreed and key in self.places:
                    before, place = self.places[key]
                    agreed = self._agreement(before, place, text) if place < len(before) else 0
                self.places[key] = text, len(text)  # what follows is not known yet
            self.found[lane] = before, place
            self.agreed[lane] = agreed
            self.expected[lane] = before[place] if agreed else 0

    def _agreement(self, before: list[int], place: int, text: list[int]) -> int:
        """Return how many tokens before `place` and before the end of `text` are the same."""
        longest = min(place, len(text), self.LONGEST)
        for length in range(self.length, longest):
            if before[place - 1 - length] != text[-1 - length]:
                return length
        return longest
