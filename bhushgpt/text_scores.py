"""BLEU and ROUGE: how many words and word runs a text shares with a reference.

Made for translations and summaries, where a good answer resembles a known one. `bhushgpt` shows
them because everybody asks; notebook 19 shows why a story that goes on well scores as low as one
that does not.

Lesson: notebook 19.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bhushgpt.errors import UserError


def word_runs(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    """Return how often each run of so many words occurs.

    >>> word_runs("a b a b".split(), 2) == {("a", "b"): 2, ("b", "a"): 1}
    True
    """
    return Counter(tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def _checked(texts: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(texts, str) or isinstance(references, str):
        raise UserError("Give lists of texts, such as [text] and [reference], not one string.")
    if len(texts) != len(references):
        raise UserError(
            f"There are {len(texts)} texts and {len(references)} references: each text needs one."
        )
    if not texts:
        raise UserError("There is no text to score: both lists are empty.")
    missing = [number for number, reference in enumerate(references) if not reference.split()]
    if missing:
        raise UserError(f"The reference of text {missing[0]} is empty: nothing to compare with.")


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return the BLEU score of texts against one reference each, from 0 to 100.

    With p_n the share of all runs of n words that the reference holds as well (each run at most as
    often as there), c the words of the texts and r those of the references,

        BLEU = 100 min(1, e^(1 - r/c)) (p_1 p_2 p_3 p_4)^(1/4).

    Words are what stands between spaces. Where no run of n words is shared, p_n is taken for
    1 / (2^k runs), the k-th time that happens.

    Args:
        texts: What was written.
        references: What is compared with, one for each text.

    Raises:
        UserError: If the lists do not fit together, or a reference is empty.

    Source: Papineni et al., "BLEU: a method for automatic evaluation of machine translation",
    2002; smoothing and the pooling of all texts as in Post, arXiv 1804.08771 (sacrebleu).

    >>> round(bleu(["the cat sat on the mat"], ["the cat sat on a mat"]), 2)
    53.73
    """
    _checked(texts, references)
    pairs = [
        (text.split(), reference.split()) for text, reference in zip(texts, references, strict=True)
    ]
    written = sum(len(text) for text, _ in pairs)
    expected = sum(len(reference) for _, reference in pairs)
    if not written:
        return 0.0
    logs, halvings = 0.0, 1
    for length in range(1, 5):
        shared = sum(
            (word_runs(text, length) & word_runs(reference, length)).total()
            for text, reference in pairs
        )
        runs = sum(max(0, len(text) - length + 1) for text, _ in pairs)
        if length == 1 and not shared:
            return 0.0
        if not runs:
            return 0.0
        if not shared:
            halvings *= 2
        logs += math.log((shared or 1 / halvings) / runs)
    too_short = min(0.0, 1 - expected / written)
    return 100 * math.exp(too_short + logs / 4)


@dataclass(frozen=True)
class Overlap:
    """How much two texts share.

    >>> Overlap(shared=2, written=4, expected=2)
    Overlap(shared=2, written=4, expected=2)
    >>> round(Overlap(shared=2, written=4, expected=2).f1, 4)
    0.6667
    """

    shared: int
    """What both have."""
    written: int
    """What the text has."""
    expected: int
    """What the reference has."""

    @property
    def precision(self) -> float:
        """Share of the text that the reference has as well."""
        return self.shared / self.written if self.written else 0.0

    @property
    def recall(self) -> float:
        """Share of the reference that the text has as well."""
        return self.shared / self.expected if self.expected else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two: high only if both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def rouge_words(text: str) -> list[str]:
    """Return the words of a text, in lower case and without punctuation.

    >>> rouge_words("Holmes's pipe, 221B!")
    ['holmes', 's', 'pipe', '221b']
    """
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


def rouge_n(text: str, reference: str, length: int = 1) -> Overlap:
    """Return how many runs of so many words the two texts share.

    Raises:
        UserError: If the reference is empty.

    Source: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004.

    >>> rouge_n("the cat sat", "The cat sat down.", 2)
    Overlap(shared=2, written=2, expected=3)
    """
    _checked([text], [reference])
    mine, theirs = (word_runs(rouge_words(t), length) for t in (text, reference))
    return Overlap((mine & theirs).total(), mine.total(), theirs.total())


def rouge_l(text: str, reference: str) -> Overlap:
    """Return the length of the longest series of words that both have in the same order.

    Other words may stand between them.

    Raises:
        UserError: If the reference is empty.

    >>> rouge_l("the cat quietly sat", "the old cat sat")
    Overlap(shared=3, written=4, expected=4)
    """
    _checked([text], [reference])
    mine, theirs = rouge_words(text), rouge_words(reference)
    best = [0] * (len(theirs) + 1)  # the longest so far, for each beginning of the reference
    for word in mine:
        diagonal = 0
        for place, other in enumerate(theirs, start=1):
            longer = diagonal + 1 if word == other else max(best[place], best[place - 1])
            diagonal, best[place] = best[place], longer
    return Overlap(best[-1], len(mine), len(theirs))
