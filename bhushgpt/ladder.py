"""The loss ladder: what ever better predictors reach on the same held-out text.

"Is my loss normal?" is answered by the rungs around it. All rungs but the last only count, so
they cost seconds and do not depend on luck.

Lesson: notebook 08.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bhushgpt.ngrams import NGramCounter

HIGHEST_ORDER = 7


@dataclass(frozen=True)
class Floors:
    """Held-out losses of the predictors that only count, in nats per token.

    Lesson: notebook 08.
    """

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

    Lesson: notebook 08.

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

    Lesson: notebook 08.

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
