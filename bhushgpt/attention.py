"""Causal self-attention: every token gathers what it needs from the tokens before it.

Letters: B batch, T time (new tokens), S time (all tokens seen: T, or more with a cache), C
channels, H heads, D head size (C / H).

Lesson: notebook 07.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.positions import Rotary

Form = Literal["auto", "explicit", "fused"]


class Past(Protocol):
    """Keys and values of earlier tokens, such as the cache of notebook 10."""

    length: int

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of new tokens, (B, H, T, D) each; return all of them, (B, H, S, D) each."""
        ...


def causal_mask(n_queries: int, n_keys: int, device: torch.device | None = None) -> Tensor:
    """Return what is added to the scores: 0 for a key that may be seen, -infinity for the future.

    The queries are the last `n_queries` of the `n_keys` tokens, so query t sees the keys up to
    t + n_keys - n_queries.

    Returns:
        (T, S) float mask.

    >>> causal_mask(2, 3)
    tensor([[0., 0., -inf],
            [0., 0., 0.]])
    """
    mask = torch.full((n_queries, n_keys), -torch.inf, device=device)  # (T, S)
    return mask.triu(n_keys - n_queries + 1)


class CausalSelfAttention(nn.Module):
    """Multi-head attention to the past: softmax(q k^T / sqrt(D) + mask) v, in every head.

    Args:
        n_embd: C, channels of the stream.
        n_head: H, heads; each works in D = C / H channels.
        dropout: Share of attention weights and of output channels zeroed while training.
        rotary: Turns queries and keys by their position, if given.
        form: "explicit" writes the formula out and shows its weights to hooks; "fused" calls
            torch's `scaled_dot_product_attention`, which never stores the (T, S) scores; "auto"
            takes the one that was measured faster: explicit on a CPU, fused elsewhere.
        linear: Makes a layer from so many channels to so many others.

    Attributes:
        weights: An identity module that the explicit form's attention weights (B, H, T, S) pass
            through: hook it to look at them (notebook 07).

    Raises:
        UserError: If C is not a multiple of H.

    Sources: Vaswani et al., arXiv 1706.03762; layout of GPT-2.

    >>> CausalSelfAttention(n_embd=12, n_head=3)(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        *,
        dropout: float = 0.0,
        rotary: Rotary | None = None,
        form: Form = "auto",
        linear: Callable[[int, int], Any] = nn.Linear,
    ) -> None:
        super().__init__()
        if n_head < 1 or n_embd % n_head:
            raise UserError(
                f"n_embd {n_embd} cannot be shared out among {n_head} heads: it must be a "
                "multiple of n_head."
            )
        self.n_head = n_head
        self.head_size = n_embd // n_head
        self.form: Form = form
        self.qkv = linear(n_embd, 3 * n_embd)
        self.projection = linear(n_embd, n_embd)
        self.weights = nn.Identity()
        self.weight_dropout = nn.Dropout(dropout)
        self.output_dropout = nn.Dropout(dropout)
        self.rotary = rotary

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return (B, T, C) for x (B, T, C): each token's mix of what came up to it.

        Args:
            x: (B, T, C).
            past: Keys and values of the tokens before x, to attend to as well (notebook 10); it
                keeps those of x, too.
        """
        B, T, C = x.shape
        qkv = self.qkv(x)  # (B, T, 3*C)
        by_head = qkv.view(B, T, 3, self.n_head, self.head_size).permute(2, 0, 3, 1, 4)
        q, k, v = by_head  # 3 x (B, H, T, D)
        if self.rotary is not None:
            start = 0 if past is None else past.length
            q, k = self.rotary(q, start), self.rotary(k, start)  # 2 x (B, H, T, D)
        if past is not None:
            k, v = past.append(k, v)  # 2 x (B, H, S, D)
        explicit = self.form == "explicit" or (self.form == "auto" and abilities(x.device).host)
        mixed = self.explicit(q, k, v) if explicit else self.fused(q, k, v)  # (B, H, T, D)
        joined = mixed.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return self.output_dropout(self.projection(joined))

    def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the mix of values (B, H, T, D): the formula as it stands."""
        T, S = q.shape[2], k.shape[2]
        mask = causal_mask(T, S, q.device).to(q.dtype)  # (T, S)
        scores = q @ k.mT / math.sqrt(self.head_size) + mask  # (B, H, T, S)
        weights = self.weights(scores.softmax(dim=-1))  # (B, H, T, S)
        return self.weight_dropout(weights) @ v  # (B, H, T, D)

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the same from torch's own function."""
        T, S = q.shape[2], k.shape[2]
        dropout = self.weight_dropout.p if self.training else 0.0
        if T == S:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        # torch's is_causal lines the mask up with the first key, a cache with the last.
        mask = causal_mask(T, S, q.device).to(q.dtype)  # (T, S)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
