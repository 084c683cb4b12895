"""Training examples cut from one long row of token ids.

Letters: B batch, T time (positions of the context), V vocabulary.

Lesson: notebook 04. Memory-mapped files: notebook 14.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from bhushgpt.corpus import check_length, split_point
from bhushgpt.devices import abilities
from bhushgpt.errors import UserError, too_small
from bhushgpt.ngrams import token_ids

# Far behind the last step of any run, so that what takes the place of a batch is not seen twice.
ELSEWHERE = 10**9


def split_tokens(
    tokens: np.ndarray, held_out: float = 0.1, *, context_length: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a text in two: the first part to learn from, the last part to be judged on.

    The cut is one place, not a random choice of windows: overlapping windows on both sides of a
    random split would show the model what it will be judged on (notebook 03 measures that leak).

    Args:
        tokens: One-dimensional array of token ids.
        held_out: Share of the tokens, taken from the end.
        context_length: Both parts must hold at least one window of this length and its target.

    Returns:
        The training tokens and the held-out tokens, as views without a copy.

    Raises:
        UserError: If a part is too short; the message says what was found and what is needed.

    >>> train, test = split_tokens(np.arange(10), 0.2)
    >>> train.tolist(), test.tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9])
    """
    check_length(len(tokens), context_length, held_out)
    cut = split_point(len(tokens), held_out)
    return tokens[:cut], tokens[cut:]


def _row(tokens: object) -> np.ndarray:
    """Return ids as an array of one dimension.

    Raises:
        UserError: If they are a table, or no whole numbers.
    """
    row = np.asarray(tokens)
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        raise UserError(
            f"Batches are cut from one row of whole numbers; what came has the shape {row.shape} "
            f"and numbers of the kind {row.dtype}. Encode the text first, and join several texts "
            "into one row."
        )
    return row


class Batches:
    """Random windows of a text; batch number n is the same whenever it is asked for.

    `batches[n]` depends on the seed and on n alone. So a run that resumes at step n sees the data
    it would have seen, evaluating in between changes nothing, and nothing need be stored.

    Args:
        tokens: One-dimensional ids: a list, a tensor or numpy of any integer type, also a memory
            map, of which only the windows are ever read.
        batch_size: B, windows in a batch.
        context_length: T, tokens in a window.
        seed: Another seed (0 or more) gives other batches.
        device: Where the batch is wanted.
        vocab_size: V of the model; if given, each batch is checked for ids that are not below it,
            before it goes to the device.
        skip: Numbers of batches to leave out, such as one that made the loss infinite
            (`batches[n]` makes step n + 1); each has another batch in its place.

    Raises:
        UserError: If a size is too small, the ids are no row of whole numbers, or the text is
            shorter than one window and its target; from `batches[n]`, if an id is not in the
            vocabulary.

    >>> batches = Batches(np.arange(100), batch_size=2, context_length=4, seed=0)
    >>> inputs, targets = batches[0]
    >>> inputs.shape, bool((targets == inputs + 1).all())
    (torch.Size([2, 4]), True)
    >>> bool((batches[0][0] == inputs).all()), bool((batches[1][0] == inputs).all())
    (True, False)
    """

    def __init__(
        self,
        tokens: np.ndarray | Tensor | Sequence[int],
        batch_size: int,
        context_length: int,
        seed: int = 1337,
        device: torch.device | str = "cpu",
        vocab_size: int | None = None,
        skip: Iterable[int] = (),
    ) -> None:
        self.skip = frozenset(skip)
        sizes = {"batch_size": (batch_size, 1), "context_length": (context_length, 1)}
        sizes |= {"seed": (seed, 0), "a batch to skip": (min(self.skip, default=0), 0)}
        found = [too_small(name, value, least) for name, (value, least) in sizes.items()]
        wrong = [trouble for trouble in found if trouble]
        if wrong:
            raise UserError("These batches cannot be made: " + "; ".join(wrong) + ".")
        self.tokens = _row(tokens)  # a view: a memory map stays on the disk
        if len(self.tokens) < context_length + 1:
            raise UserError(
                f"The text has {len(self.tokens):,} tokens, but one example needs "
                f"{context_length + 1:,}: context length {context_length:,} and one target. "
                "Take a longer text or a shorter context."
            )
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self.device = torch.device(device)
        self.vocab_size = vocab_size

    def offsets(self, step: int) -> np.ndarray:
        """Return where the windows of batch `step` begin: (B,) positions in the text."""
        if step in self.skip:
            step += ELSEWHERE
        # A generator per step costs 30 microseconds and removes all state.
        random = np.random.default_rng((self.seed, step))
        return random.integers(0, len(self.tokens) - self.context_length, size=self.batch_size)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return `(inputs, targets)` of a step, each (B, T) int64; targets are one token later."""
        starts = self.offsets(step)  # (B,)
        windows = self.tokens[starts[:, None] + np.arange(self.context_length + 1)]  # (B, T+1)
        if self.vocab_size is not None:
            windows = token_ids(windows, self.vocab_size)  # (B, T+1)
        ids = torch.from_numpy(windows.astype(np.int64))  # (B, T+1)
        if abilities(self.device).pinned:
            # Pinned memory lets the copy run beside the computation of the step before.
            ids = ids.pin_memory().to(self.device, non_blocking=True)
        else:
            ids = ids.to(self.device)
        inputs = ids[:, :-1]  # (B, T)
        targets = ids[:, 1:]  # (B, T)
        return inputs, targets
