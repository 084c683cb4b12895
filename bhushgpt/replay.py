"""Learning a second text without forgetting the first: batches of both, and what was forgotten.

Gradients of the new text alone pull the weights wherever it helps there, also away from what the
old text had taught. A few windows of the old text in every batch hold against it: replay.

Letters: B batch, T time.

Lesson: notebook 18.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError


class Replay:
    """Batches of a new text, in each of which some windows are of the old one.

    `replay[n]` depends on n alone, as `Batches` do, and its size is that of both together. The
    windows of the old text come last.

    Args:
        new: What is to be learned.
        old: What is not to be forgotten.

    Raises:
        UserError: If the two have windows of different lengths, or are on different devices.

    >>> import numpy as np
    >>> new = Batches(np.arange(100), batch_size=3, context_length=4)
    >>> old = Batches(np.arange(500, 600), batch_size=1, context_length=4)
    >>> (Replay(new, old)[0][0] >= 500).sum(dim=1).tolist()
    [0, 0, 0, 4]
    """

    def __init__(self, new: Batches, old: Batches) -> None:
        if new.context_length != old.context_length or new.device != old.device:
            raise UserError(
                f"Windows of {new.context_length} tokens on {new.device} cannot be in one batch "
                f"with windows of {old.context_length} on {old.device}. Make both alike."
            )
        self.new = new
        self.old = old

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return `(inputs, targets)` of a step, (B, T) each."""
        pairs = zip(self.new[step], self.old[step], strict=True)
        inputs, targets = (torch.cat(pair) for pair in pairs)  # 2 x (B, T)
        return inputs, targets


def shared_out(batch_size: int, share: float) -> tuple[int, int]:
    """Return how many windows of a batch are of the new text and how many of the old one.

    A share above 0 gets at least one window, and so does the new text.

    Args:
        batch_size: Windows in a batch.
        share: Of the old text, from 0 to below 1.

    Raises:
        UserError: If the share is not in that range, or a batch of one window is to be shared.

    >>> shared_out(32, 0.25), shared_out(32, 0.01), shared_out(32, 0)
    ((24, 8), (31, 1), (32, 0))
    """
    if not 0 <= share < 1:
        raise UserError(
            f"The share of old text is {share}; it is from 0 (none) to below 1, such as 0.25."
        )
    if not share:
        return batch_size, 0
    if batch_size < 2:
        raise UserError("A batch of one window cannot hold both texts. Take a larger batch.")
    old = min(batch_size - 1, max(1, round(batch_size * share)))
    return batch_size - old, old


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """The held-out losses on two texts before fine-tuning and after it, in nats per token.

    >>> plain = Forgetting(old_before=1.5, old_after=1.8, new_before=2.0, new_after=1.6)
    >>> round(plain.forgotten, 2), round(plain.gained, 2)
    (0.3, 0.4)
    """

    old_before: float
    """On the text that the model was trained on first."""
    old_after: float
    """The same, after fine-tuning."""
    new_before: float
    """On the text of the fine-tuning, which the model had never seen."""
    new_after: float
    """The same, after fine-tuning."""

    @property
    def forgotten(self) -> float:
        """By how much the loss on the old text rose; below 0 if it fell."""
        return self.old_after - self.old_before

    @property
    def gained(self) -> float:
        """By how much the loss on the new text fell."""
        return self.new_before - self.new_after
