"""What can be known of a text without a network, and what the text itself gives away.

The floors: guessing, each token's frequency, pairs, the best n-gram, and PPMd, the strongest model
that only counts. They are computed on the learner's own text, so a curve can be put between them.
A text that was split carelessly lowers all of them and the curve alike; so its held-out part is
looked at, too.

Lesson: notebook 12.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from bhushgpt.diagnosis.findings import Finding
from bhushgpt.diagnosis.verbatim import share_found
from bhushgpt.errors import UserError
from bhushgpt.ngrams import NGramCounter, count_floors

COUNTED = 3_000_000  # tokens that are counted at most: seconds on a laptop
JUDGED = 20_000  # tokens that are predicted
ORDERS = 4  # of the counter that has read little: the longer ones know no more that early
RUN = 24  # tokens of a run that hardly anybody writes twice by chance
PPMD_ORDER, PPMD_MEMORY = 8, 2**26


@dataclass(frozen=True, kw_only=True)
class TextFloors:
    """A text's floors, in nats per token, and what its two parts have in common.

    >>> text = np.tile([0, 1, 2, 1], 2000)
    >>> floors = TextFloors.of(text[:6000], text[6000:], vocab_size=3)
    >>> list(floors.rungs), round(floors.rungs["uniform"], 3)
    (['uniform', 'unigram', 'bigram', 'n-gram', 'PPMd'], 1.099)
    """

    rungs: Mapping[str, float]
    """Name -> nats: uniform, unigram, bigram, n-gram and, where it was measured, PPMd."""
    counted: Callable[[int], float] | None = None
    """What the best counter reaches that has read the first so many tokens of the text."""
    tokens: int = 0
    """Of the training part."""
    harder: float = 1.0
    """Loss of pairs on the held-out part, divided by that on the last training tenth."""
    found: float = 0.0
    """Share of the held-out part's runs of 24 tokens that stand in the training part."""
    found_usually: float = 0.0
    """The same share of the last tenth of the training part, in what stands before it."""
    bytes_per_token: tuple[float, float] | None = None
    """Of the training and of the held-out part; None where nobody could decode them."""
    odd: Mapping[str, int] = field(default_factory=dict)
    """Characters that no book has, such as NUL and byte order marks -> how often."""

    @property
    def strongest(self) -> float:
        """The lowest rung that only counts."""
        return min(self.rungs.values())

    def findings(self) -> list[Finding]:
        """Return what the text itself says, before any curve is looked at; mostly nothing."""
        if not self.odd:
            return []
        signs = ", ".join(
            f"{sign} once" if count == 1 else f"{sign} {count:,} times"
            for sign, count in self.odd.items()
        )
        text = f"The training text holds signs that no book has: {signs}. Was a file read whole?"
        return [Finding("look", "text", text)]

    @classmethod
    def of(
        cls,
        train: np.ndarray | Sequence[int],
        held_out: np.ndarray | Sequence[int],
        vocab_size: int,
        decode: Callable[[np.ndarray], str] | None = None,
    ) -> "TextFloors":
        """Count a text, in seconds.

        Args:
            train: One-dimensional token ids; of very many only the first are counted.
            held_out: Token ids that are predicted; likewise.
            vocab_size: V.
            decode: Turns ids into text. With it, tokens of any vocabulary get the rung of PPMd,
                and what a token is worth in either part is compared.

        Raises:
            UserError: If a part is shorter than 40 tokens.
        """
        past = np.asarray(train[:COUNTED])
        judged = np.asarray(held_out[:JUDGED])
        if min(len(past), len(judged)) < 40:
            raise UserError(
                f"The parts of the text have {len(past):,} and {len(judged):,} tokens: too few to "
                "count anything. Take a text of at least 400 tokens."
            )
        rungs = count_floors(past, judged, vocab_size).rungs()
        to_bytes = _bytes_of(vocab_size, decode)
        if to_bytes:
            rungs["PPMd"] = ppmd_loss(to_bytes(past), to_bytes(judged), len(judged))

        @cache
        def counted(tokens: int) -> float:
            read = past[: max(tokens, ORDERS)]
            best = min(NGramCounter(ORDERS, vocab_size).fit(read).losses(judged))
            if to_bytes is None:
                return best
            return min(best, ppmd_loss(to_bytes(read), to_bytes(judged), len(judged)))

        before, last = past[: -len(past) // 10], past[-len(past) // 10 :][:JUDGED]
        pairs = NGramCounter(2, vocab_size).fit(before)
        run = min(RUN, len(judged) // 2)
        return cls(
            rungs=rungs,
            counted=counted,
            tokens=len(train),
            harder=pairs.loss(judged) / max(pairs.loss(last), 1e-9),
            found=share_found(judged, past, run),
            found_usually=share_found(last, before, min(run, len(last))),
            bytes_per_token=_densities(past, judged, decode),
            odd=_odd_characters(past, decode),
        )


def ppmd_loss(past: bytes, judged: bytes, tokens: int) -> float:
    """Return what PPMd loses on a text of so many tokens after it has read another, in nats each.

    Source: Cleary and Witten, "Data compression using adaptive coding and partial string
    matching", 1984; Shkarin's variant I, by the library pyppmd.

    >>> ppmd_loss(b"abc" * 500, b"abc" * 100, tokens=300) < 0.1
    True
    """
    import pyppmd

    def size(data: bytes) -> int:
        packed = pyppmd.compress(data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY, variant="I")
        return len(packed)

    return max(0, size(past + judged) - size(past)) * 8 * math.log(2) / tokens


def _bytes_of(
    vocab_size: int, decode: Callable[[np.ndarray], str] | None
) -> Callable[[np.ndarray], bytes] | None:
    """Return what makes bytes of ids. Up to 256 kinds each id is a byte: PPMd asks no names."""
    if vocab_size <= 256:
        return lambda ids: ids.astype(np.uint8).tobytes()
    if decode is None:
        return None
    return lambda ids: decode(ids).encode("utf-8", "replace")


def _densities(
    train: np.ndarray, held_out: np.ndarray, decode: Callable[[np.ndarray], str] | None
) -> tuple[float, float] | None:
    if decode is None:
        return None
    # The end of the training part: nearest to the held-out one in what it is about.
    one, other = (
        len(decode(part).encode("utf-8", "replace")) / len(part)
        for part in (train[-JUDGED:], held_out)
    )
    return one, other


def _odd_characters(
    train: np.ndarray, decode: Callable[[np.ndarray], str] | None
) -> Mapping[str, int]:
    if decode is None:
        return {}
    kinds, counts = np.unique(train, return_counts=True)
    found: dict[str, int] = {}
    for kind, count in zip(kinds, counts, strict=True):
        for character in set(decode(np.array([kind]))):
            if character == "\ufeff" or (character < " " and character not in "\t\n\r\f"):
                found[repr(character)] = found.get(repr(character), 0) + int(count)
    return found
