"""The loss of a large vocabulary without ever holding all its logits.

4,096 tokens with GPT-2's 50,257 scores each are 823 MB in float32, and the plain loss keeps three
such tables. Here a few hundred tokens at a time are scored, judged and forgotten. Their gradient
is known at that moment (softmax minus the truth), so it is computed by hand on the way forward,
and no score has to be computed twice.

Letters: B batch, T time, N tokens (B * T), C channels, V vocabulary, K tokens of one chunk.

Lesson: notebook 15.
"""

from typing import Any, cast

import torch
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.language_model import total_weight


def chunked_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    chunk_tokens: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean next-token loss of `hidden @ weight.T`, equal to the plain one.

    Under autocast the products are computed in its type; softmax and loss are in float32.

    Args:
        hidden: (N, C), what goes into the head.
        weight: (V, C), of a head without a bias.
        targets: (N,), the ids of the true next tokens.
        chunk_tokens: K, how many tokens are scored at a time.
        weights: (N,), how much each target counts; see `next_token_loss`.

    Raises:
        UserError: If `chunk_tokens` is below 1.

    >>> from bhushgpt.language_model import next_token_loss
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
        # Shares of at most 1, and what they are multiplied by after the products: divided by N
        # before, the small slopes of a large vocabulary would be rounded to zero in float16.
        if weights is None:
            scale, shares = torch.full((), 1 / len(hidden), device=hidden.device), None
        else:
            largest = weights.max()
            scale, shares = largest / total_weight(weights), weights / largest
        return cast(
            Tensor, _ChunkedLoss.apply(hidden, weight, targets, shares, scale, chunk_tokens, dtype)
        )


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        shares: Tensor | None,
        scale: Tensor,
        chunk_tokens: int,
        dtype: torch.dtype,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        head = weight.to(dtype)  # (V, C)
        hidden_grad = torch.empty_like(hidden, dtype=torch.float32) if wanted[0] else None
        weight_grad = torch.zeros_like(weight) if wanted[1] else None
        total = torch.zeros((), device=hidden.device)
        for begin in range(0, len(hidden), chunk_tokens):
            rows = slice(begin, begin + chunk_tokens)
            chunk = hidden[rows].to(dtype)  # (_, C)
            losses, slope = _judge(chunk @ head.T, targets[rows], any(wanted))
            if shares is not None:
                losses = losses * shares[rows]  # (_,)
            total += losses.sum()
            if slope is None:
                continue
            if shares is not None:
                slope *= shares[rows, None]  # (_, V)
            slope = slope.to(dtype)  # (_, V)
            if hidden_grad is not None:
                hidden_grad[rows] = (slope @ head).float() * scale  # (_, C)
            if weight_grad is not None:
                weight_grad += slope.T @ chunk  # (V, C)
        if weight_grad is not None:
            weight_grad *= scale
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.dtype = hidden.dtype
        return total * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        hidden_grad, weight_grad = ctx.saved_tensors
        # The loss ends the computation, so what comes back is one number; in place, because these
        # two are as large as weights and nobody else has them.
        if hidden_grad is not None:
            hidden_grad = hidden_grad.mul_(gradient).to(ctx.dtype)
        if weight_grad is not None:
            weight_grad = weight_grad.mul_(gradient)
        return hidden_grad, weight_grad, None, None, None, None, None


def _judge(logits: Tensor, targets: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Return the losses (K,) of logits (K, V), and their slopes there: softmax minus one-hot."""
    scores = logits.float()  # (K, V)
    norm = scores.logsumexp(dim=-1)  # (K,)
    losses = norm - scores.gather(1, targets[:, None])[:, 0]  # (K,)
    if not with_slope:
        return losses, None
    slope = scores.sub_(norm[:, None]).exp_()  # (K, V)
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1
    return losses, slope
