"""One honest number for how well a model predicts a text it has not seen.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 05.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.language_model import LanguageModel, eval_mode, token_losses

# Scores that an evaluation may hold at a time, 64 MiB of them: of a large vocabulary they fill the
# memory sooner than training does.
SCORES = 2**24


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` measured.

    >>> coin = Evaluation(nats_per_token=math.log(2), tokens=8, text_bytes=4)
    >>> round(coin.perplexity, 6), coin.bits_per_token, coin.bits_per_byte
    (2.0, 1.0, 2.0)
    """

    nats_per_token: float
    """Mean -ln p of each token given the tokens before it; the held-out loss."""
    tokens: int
    """How many tokens were predicted."""
    text_bytes: int | None = None
    """UTF-8 bytes of the predicted text, where known."""

    @property
    def perplexity(self) -> float:
        """exp(loss): as if choosing evenly among this many tokens each time."""
        return math.exp(self.nats_per_token)

    @property
    def bits_per_token(self) -> float:
        """The same loss in bits: nats / ln 2."""
        return self.nats_per_token / math.log(2)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits for each byte of text: comparable between tokenizers. None if bytes are unknown."""
        if not self.text_bytes:
            return None
        return self.bits_per_token * self.tokens / self.text_bytes


def windows_at_once(context_length: int, vocab_size: int) -> int:
    """Return how many windows to evaluate at a time, so that their scores find room.

    >>> windows_at_once(64, 79), windows_at_once(1024, 50257)
    (64, 1)
    """
    return max(1, min(64, SCORES // (context_length * vocab_size)))


def evaluate(
    model: LanguageModel,
    tokens: np.ndarray,
    *,
    context_length: int | None = None,
    stride: int | None = None,
    batch_size: int = 64,
    text_bytes: int | None = None,
    watch: Callable[[range], Iterable[int]] = iter,
) -> Evaluation:
    """Predict every token of a text but the first, each exactly once.

    Windows of T tokens slide over the text by `stride`; in each, only the tokens that the window
    before did not count are counted, so all but the first T have at least T - stride tokens of
    past. No random numbers are drawn and the model is left in the mode it was in: the result is
    the same each time, and training cannot notice.

    Args:
        model: Maps ids (B, T) to logits (B, T, V).
        tokens: One-dimensional ids of the whole held-out text.
        context_length: T; the model's own `context_length` if left out. A text that is shorter
            gets one window.
        stride: T // 2 if left out. T is fastest, 1 gives every token its full past.
        batch_size: B, windows at a time.
        text_bytes: UTF-8 bytes of tokens[1:], for bits per byte.
        watch: Is given the batches, as a range, and gives them back one by one: `tqdm` for a bar.

    Raises:
        UserError: If there are fewer than two tokens, the context is below 1, or the stride is
            not from 1 to T.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> untrained = Bigram(BigramConfig(vocab_size=7))
    >>> result = evaluate(untrained, np.arange(50) % 7)
    >>> result.tokens, round(result.nats_per_token, 4), round(result.perplexity, 4)
    (49, 1.9459, 7.0)
    """
    if len(tokens) < 2:
        raise UserError(f"The text to evaluate has {len(tokens)} tokens; it needs at least 2.")
    length = model.context_length if context_length is None else context_length
    if length < 1:
        raise UserError(f"context_length is {length}: it must be at least 1.")
    stride = max(1, length // 2) if stride is None else stride
    if not 1 <= stride <= length:
        raise UserError(
            f"stride is {stride}: it must be from 1 to the context length {length}, "
            "or tokens would be left out."
        )
    length = min(length, len(tokens) - 1)
    stride = min(stride, length)
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    starts = np.append(np.arange(0, len(tokens) - 1 - length, stride), len(tokens) - 1 - length)
    # The window that starts at s predicts tokens s+1 .. s+T; up to here they were counted before.
    skips = np.append(0, starts[:-1] + length) - starts
    total = 0.0
    with eval_mode(model):
        for first in watch(range(0, len(starts), batch_size)):
            chosen = slice(first, first + batch_size)
            windows = tokens[starts[chosen, None] + np.arange(length + 1)]
            losses = _window_losses(model, torch.from_numpy(windows.astype(np.int64)).to(device))
            total += _sum_new(losses, skips[chosen])
    return Evaluation(
        nats_per_token=total / (len(tokens) - 1), tokens=len(tokens) - 1, text_bytes=text_bytes
    )


def _window_losses(model: LanguageModel, windows: Tensor) -> Tensor:
    """Return the loss of every token but the first of each window, (B, T) for (B, T+1)."""
    logits = model(windows[:, :-1])  # (B, T, V)
    losses = token_losses(logits, windows[:, 1:])  # (B, T)
    return losses


def _sum_new(losses: Tensor, skip: np.ndarray) -> float:
    """Add up each row's losses (B, T) from position `skip` (B,) on, in double precision."""
    columns = torch.arange(losses.shape[1])
    new = columns >= torch.from_numpy(skip)[:, None]  # (B, T)
    return losses.cpu().double()[new].sum().item()
