"""The memorisation meter: how much of a sample stands word for word in another text.

Short runs of tokens are found in any text of the same language, so a share says nothing by itself:
it is compared with the share of a text that nobody can have copied, the held-out one.

Letters: N tokens, W windows, L tokens in a window.

Lesson: notebook 12.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bhushgpt.errors import UserError

LENGTHS = (4, 8, 16, 32, 64)


def share_found(
    sample: np.ndarray | Sequence[int], text: np.ndarray | Sequence[int], length: int
) -> float:
    """Return which share of a sample's runs of `length` tokens stand word for word in a text.

    Args:
        sample: (N,) token ids.
        text: (N,) token ids that it may have been copied from.
        length: L, tokens of a run.

    Raises:
        UserError: If the length is below 1 or the sample has no run of it.

    >>> text = np.array([1, 2, 3, 4, 5, 6])
    >>> share_found([3, 4, 5, 9], text, length=2), share_found([3, 4, 5, 9], text, length=4)
    (0.6666666666666666, 0.0)
    """
    if not 1 <= length <= len(sample):
        raise UserError(
            f"A sample of {len(sample):,} tokens has no run of {length:,}. Take a longer sample, "
            "or a length of at least 1."
        )
    if len(text) < length:
        return 0.0
    ours, theirs = _fingerprints(sample, length), _fingerprints(text, length)
    return float(np.isin(ours, theirs).mean())


def _fingerprints(tokens: np.ndarray | Sequence[int], length: int) -> np.ndarray:
    """Return a number of 64 bits for each run of tokens; equal runs have equal ones: (W,)."""
    ids = np.asarray(tokens).astype(np.uint64) + np.uint64(1)  # (N,)
    # Random factors, summed modulo 2^64: two different runs agree once in about 2^47 pairs.
    factors = np.random.default_rng(0).integers(2**64, size=length, dtype=np.uint64)  # (L,)
    return sliding_window_view(ids, length) @ factors  # (W,)


def memorised(
    sample: np.ndarray | Sequence[int],
    train: np.ndarray | Sequence[int],
    held_out: np.ndarray | Sequence[int],
    lengths: Sequence[int] = LENGTHS,
) -> Mapping[int, tuple[float, float]]:
    """Return, for runs of each length, the share found in the training text, and the baseline.

    Args:
        sample: Token ids that a model wrote.
        train: Token ids that it learned from.
        held_out: Token ids of the same kind that it never saw: so much of *them* stands in the
            training text, by chance and because people repeat themselves.
        lengths: Of the runs, in tokens; those longer than sample or held-out text are left out.

    Returns:
        length -> (share of the sample, share of the held-out text).

    >>> train, fresh = np.arange(100) % 10, np.arange(100) % 7
    >>> memorised(train[:20], train, fresh, lengths=(2, 8))
    {2: (1.0, 0.8585858585858586), 8: (1.0, 0.0)}
    """
    longest = min(len(sample), len(held_out))
    return {
        length: (share_found(sample, train, length), share_found(held_out, train, length))
        for length in lengths
        if length <= longest
    }
