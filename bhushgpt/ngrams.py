"""Language models that only count: how often each token followed the last n - 1 tokens.

They cost seconds and give the floor that a neural network has to get below. Smoothing after
Witten and Bell (1991): a context that has been followed by many different tokens trusts its own
counts less and the shorter context more.

"Is my loss normal?" is answered by the loss ladder: what ever better predictors reach on the same
held-out text. All its rungs but the last only count, so they do not depend on luck.

Letters: N number of predicted tokens, K number of different contexts, V vocabulary.

Lesson: notebook 04.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bhushgpt.errors import UserError


def token_ids(tokens: np.ndarray | Sequence[int], vocab_size: int) -> np.ndarray:
    """Return the ids as whole numbers of 64 bits, if all of them are in the vocabulary.

    Counting tables are addressed by id; one that is too large would land in another token's row.

    Raises:
        UserError: If an id is negative or not below `vocab_size`.

    >>> token_ids([0, 2], vocab_size=3)
    array([0, 2])
    """
    ids = np.asarray(tokens, dtype=np.int64)  # (N,)
    if len(ids) and not 0 <= ids.min() <= ids.max() < vocab_size:
        bad = ids.min() if ids.min() < 0 else ids.max()
        raise UserError(
            f"The text holds the token id {bad}, but a vocabulary of {vocab_size} has the ids 0 to "
            f"{vocab_size - 1}. Give the vocab_size of the tokenizer that made the ids."
        )
    return ids


@dataclass(frozen=True)
class _Counts:
    """What one order has seen. Contexts are numbered 0..K-1 and found by binary search."""

    pairs: np.ndarray
    """Sorted codes `context * V + token` of all pairs seen."""
    pair_counts: np.ndarray
    """How often each pair was seen."""
    totals: np.ndarray
    """(K,) how often each context was seen, followed by anything."""
    kinds: np.ndarray
    """(K,) how many different tokens followed each context."""

    @classmethod
    def of(
        cls, codes: np.ndarray, n_contexts: int, vocab_size: int
    ) -> "tuple[_Counts, np.ndarray]":
        """Count the codes (N,); also return each one's place among the pairs (N,)."""
        pairs, places, pair_counts = np.unique(codes, return_inverse=True, return_counts=True)
        owners = pairs // vocab_size
        totals = np.bincount(owners, weights=pair_counts, minlength=n_contexts)  # (K,)
        kinds = np.bincount(owners, minlength=n_contexts)  # (K,)
        return cls(pairs, pair_counts, totals, kinds), places

    def find(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each code's place among the pairs, and whether it was seen at all."""
        places = np.searchsorted(self.pairs, codes)  # (N,)
        places = np.minimum(places, len(self.pairs) - 1)  # (N,)
        return places, self.pairs[places] == codes


class NGramCounter:
    """Predicts the next token from counts of the last `order - 1` tokens, backing off smoothly.

    With p_0 = 1/V and, for each longer context h seen c(h) times with t(h) different successors,

        p_n(w | h) = (c(h w) + t(h) p_{n-1}(w | shorter h)) / (c(h) + t(h)).

    Args:
        order: n; 1 is the unigram, 2 the bigram.
        vocab_size: V.

    Raises:
        UserError: If the order is below 1, a text is too short or holds an id outside the
            vocabulary, or something is asked before `fit`.

    Source: Witten and Bell, "The zero-frequency problem", 1991.

    >>> counter = NGramCounter(order=2, vocab_size=2).fit(np.array([0, 1, 0, 1, 0, 1]))
    >>> counter.probabilities([0]).round(3).tolist()
    [0.125, 0.875]
    >>> round(counter.loss(np.array([0, 1, 0, 1])), 3)
    0.15
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        if order < 1:
            raise UserError(f"order is {order}: it starts at 1, the unigram. Take 2 for pairs.")
        self.order = order
        self.vocab_size = vocab_size
        self._levels: list[_Counts] = []

    def fit(self, tokens: np.ndarray) -> "NGramCounter":
        """Count a text (one-dimensional token ids) at every order up to n; returns self."""
        tokens = token_ids(tokens, self.vocab_size)
        if len(tokens) < self.order:
            raise UserError(
                f"The text has {len(tokens)} tokens, too few to count runs of {self.order}. "
                "Take a longer text or a lower order."
            )
        self._levels = []
        contexts, n_contexts = np.zeros(len(tokens), dtype=np.int64), 1  # order 1: the empty one
        for level in range(self.order):
            # The first `level` tokens have no full context of this length.
            codes = contexts * self.vocab_size + tokens[level:]
            counts, places = _Counts.of(codes, n_contexts, self.vocab_size)
            self._levels.append(counts)
            # A pair's number is the next order's context: codes stay small for any V and n.
            contexts, n_contexts = places[:-1], len(counts.pairs)
        return self

    def _token_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Return p(token | its past) for each token of a text: (N,)."""
        *_, probability = self._by_order(tokens)
        return probability

    def _by_order(self, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """Yield p(token | its past) (N,) of order 1, then 2, and so on: one array, changed."""
        if not self._levels:
            raise UserError("This counter has not counted anything yet. Call fit(tokens) first.")
        tokens = token_ids(tokens, self.vocab_size)
        probability = np.full(len(tokens), 1 / self.vocab_size)  # (N,)
        contexts = np.zeros(len(tokens), dtype=np.int64)  # (N,)
        found = np.ones(len(tokens), dtype=bool)  # (N,) was this context seen in training?
        for level, counts in enumerate(self._levels):
            totals, kinds = counts.totals[contexts], counts.kinds[contexts]
            places, seen = counts.find(contexts * self.vocab_size + tokens[level:])
            hits = np.where(seen, counts.pair_counts[places], 0)
            shorter = probability[level:]
            # A context that nothing ever followed says nothing: the shorter one's answer stands.
            speaks = found & (totals > 0)
            smoothed = (hits + kinds * shorter) / np.maximum(totals + kinds, 1)
            probability[level:] = np.where(speaks, smoothed, shorter)
            contexts, found = places[:-1], (seen & found)[:-1]
            yield probability

    def loss(self, tokens: np.ndarray) -> float:
        """Return the mean -ln p in nats over tokens[1:], the tokens that a model must predict."""
        return self.losses(tokens)[-1]

    def losses(self, tokens: np.ndarray) -> list[float]:
        """Return what the counters of order 1, 2, ... up to n lose, each as `loss` says.

        Counting runs of n tokens has counted all shorter ones, so all come from one `fit`.
        """
        if len(tokens) < 2:
            raise UserError(
                f"The text has {len(tokens)} tokens; it needs at least 2 to predict one."
            )
        return [float(-np.log(p[1:]).mean()) for p in self._by_order(tokens)]

    def probabilities(self, context: Sequence[int]) -> np.ndarray:
        """Return the distribution over the next token after `context`: (V,), sums to 1."""
        past = list(context)[-(self.order - 1) :] if self.order > 1 else []
        texts = [np.array([*past, token]) for token in range(self.vocab_size)]
        return np.array([self._token_probabilities(text)[-1] for text in texts])


HIGHEST_ORDER = 7


@dataclass(frozen=True)
class Floors:
    """Held-out losses of the predictors that only count, in nats per token."""

    uniform: float
    """Every token equally likely: ln V."""
    unigram: float
    """Each token as likely as it is frequent."""
    bigram: float
    """Given the last token."""
    ngram: float
    """Given the last n - 1 tokens, for the n that did best."""
    best_order: int
    """That n."""

    def rungs(self) -> dict[str, float]:
        """Return name -> nats, from the worst to the best, as `ladder.json` has them."""
        return {
            "uniform": self.uniform,
            "unigram": self.unigram,
            "bigram": self.bigram,
            "n-gram": self.ngram,
        }


def count_floors(train: np.ndarray, held_out: np.ndarray, vocab_size: int) -> Floors:
    """Count the training tokens and predict the held-out ones, each but the first.

    Args:
        train: One-dimensional token ids to count.
        held_out: Token ids to predict.
        vocab_size: V.

    Returns:
        The floors; the n-gram is the best of the orders 3 to 7, with Witten-Bell smoothing.

    >>> train, test = np.tile([0, 1, 2], 50), np.tile([0, 1, 2], 5)
    >>> floors = count_floors(train, test, vocab_size=3)
    >>> round(floors.uniform, 4), floors.unigram > floors.bigram > 0
    (1.0986, True)
    """
    losses = NGramCounter(HIGHEST_ORDER, vocab_size).fit(train).losses(held_out)
    by_order = dict(enumerate(losses, start=1))
    best = min(range(3, HIGHEST_ORDER + 1), key=lambda order: by_order[order])
    return Floors(math.log(vocab_size), by_order[1], by_order[2], by_order[best], best)


def ladder_table(rungs: Mapping[str, float], bits_per_token: str = "bits per character") -> str:
    """Return the rungs as a table for people: nats and bits, best last.

    >>> print(ladder_table({"uniform": 4.3694, "unigram": 3.0634}))
    model         nats  bits per character
    uniform     4.3694              6.3037
    unigram     3.0634              4.4196
    """
    names = max(10, *(len(name) + 2 for name in rungs))
    head = f"{'model':<{names}}{'nats':>8}  {bits_per_token}"
    width = len(bits_per_token) + 2
    rows = [
        f"{name:<{names}}{nats:>z8.4f}{nats / math.log(2):>z{width}.4f}"
        for name, nats in rungs.items()
    ]
    return "\n".join([head, *rows])
