"""The loss of a large vocabulary without ever holding all its logits.

4,096 tokens with GPT-2's 50,257 scores each are 823 MB in float32, and the plain loss keeps three
such tables. Here a few hundred tokens at a time are scored, judged and forgotten. Their gradient
is known at that moment (softmax minus the truth), so it is computed by hand on the way forward,
and no score has to be computed twice.

Letters: B batch, T time, N tokens (B * T), C channels, V vocabulary, K tokens of one chunk.

Lesson: notebook 14.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError

# Takes the head's place for the moment of a chunked loss. Always the same one: compiled code
# looks whether it still is.
_NO_HEAD = nn.Identity()


def chunked_loss(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
    """Return the mean next-token loss of `hidden @ weight.T`, equal to the plain one.

    Under autocast the products are computed in its type; softmax and loss are in float32.

    Args:
        hidden: (N, C), what goes into the head.
        weight: (V, C), of a head without a bias.
        targets: (N,), the ids of the true next tokens.
        chunk_tokens: K, how many tokens are scored at a time.

    Raises:
        UserError: If `chunk_tokens` is below 1.

    Lesson: notebook 14.

    >>> from bhushgpt.losses import next_token_loss
    >>> hidden, weight = torch.randn(6, 4), torch.randn(9, 4)
    >>> targets = torch.tensor([0, 8, 3, 3, 1, 7])
    >>> plain = next_token_loss((hidden @ weight.T)[None], targets[None])
    >>> torch.allclose(chunked_loss(hidden, weight, targets, chunk_tokens=4), plain)
    True
    """
    if chunk_tokens < 1:
        raise UserError(f"chunk_tokens is {chunk_tokens}: it must be at least 1.")
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    # Custom functions are not autocast: what happens inside is in the types that are given.
    with torch.autocast(kind, enabled=False):
        return _ChunkedLoss.apply(hidden, weight, targets, chunk_tokens, dtype)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        chunk_tokens: int,
        dtype: torch.dtype,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        head = weight.to(dtype)  # (V, C)
        hidden_grad = torch.empty_like(hidden) if wanted[0] else None
        weight_grad = torch.zeros_like(weight) if wanted[1] else None
        total = torch.zeros((), device=hidden.device)
        for begin in range(0, len(hidden), chunk_tokens):
            rows = slice(begin, begin + chunk_tokens)
            chunk = hidden[rows].to(dtype)  # (_, C)
            loss, slope = _judge(chunk @ head.T, targets[rows], any(wanted))
            total += loss
            if slope is None:
                continue
            slope = slope.div_(len(hidden)).to(dtype)  # (_, V)
            if hidden_grad is not None:
                hidden_grad[rows] = slope @ head  # (_, C)
            if weight_grad is not None:
                weight_grad += slope.T @ chunk  # (V, C)
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        # The loss ends the computation, so what comes back is one number; in place, because these
        # two are as large as weights and nobody else has them.
        parts = (None if part is None else part.mul_(gradient) for part in ctx.saved_tensors)
        return (*parts, None, None, None)


def _judge(logits: Tensor, targets: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Return the summed loss of logits (K, V), and its slope there: softmax minus one-hot."""
    scores = logits.float()  # (K, V)
    norm = scores.logsumexp(dim=-1)  # (K,)
    loss = (norm - scores.gather(1, targets[:, None])[:, 0]).sum()
    if not with_slope:
        return loss, None
    slope = scores.sub_(norm[:, None]).exp_()  # (K, V)
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1
    return loss, slope


@contextmanager
def headless(model: nn.Module) -> Iterator[nn.Linear]:
    """Inside the `with` the model gives what would go into its head (B, T, C), not logits.

    Yields:
        The head.

    Raises:
        UserError: If the model has no linear `head` without a bias.

    Lesson: notebook 14.

    >>> from bhushgpt.gpt import GPT, GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=1, n_head=1, n_embd=8))
    >>> with headless(model) as head:
    ...     model(torch.zeros(1, 4, dtype=torch.long)).shape
    torch.Size([1, 4, 8])
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise UserError(
            "The chunked loss needs a model whose last layer is a linear `head` without a bias, "
            f"as a GPT's is; this one is a {type(model).__name__}. Set chunk_tokens to 0."
        )
    model.head = _NO_HEAD
    try:
        yield head
    finally:
        model.head = head
