"""The transformer block: attention mixes tokens, an MLP thinks about each, a stream carries both.

Letters: B batch, T time, C channels.

Lesson: notebook 08.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from bhushgpt.attention import Past


class MLP(nn.Module):
    """Two linear layers with a GELU in between, applied to each token by itself.

    The middle is four times as wide as the stream: two thirds of a block's weights are here.

    Args:
        n_embd: C.
        dropout: Share of output channels zeroed while training.
        linear: Makes a layer from so many channels to so many others.

    Source: layout of GPT-2, with its tanh form of GELU.

    >>> import torch
    >>> MLP(12)(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self,
        n_embd: int,
        *,
        dropout: float = 0.0,
        linear: Callable[[int, int], Any] = nn.Linear,
    ) -> None:
        super().__init__()
        self.widen = linear(n_embd, 4 * n_embd)
        self.activation = nn.GELU(approximate="tanh")
        self.projection = linear(4 * n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        hidden = self.activation(self.widen(x))  # (B, T, 4*C)
        return self.dropout(self.projection(hidden))


class Block(nn.Module):
    """One layer of a GPT: x + attention(norm(x)), then x + mlp(norm(x)).

    The norms stand before the parts ("pre-norm"), so the stream x itself runs from the first
    layer to the last by additions alone and gradients come back undamped.

    Args:
        n_embd: C, the width of the stream.
        attention: Mixes tokens, (B, T, C) to (B, T, C), such as `CausalSelfAttention`.
        mlp: Works on each token, (B, T, C) to (B, T, C), such as `MLP`.
        norm: Makes a norm for C channels.

    Source: Radford et al., "Language models are unsupervised multitask
    learners", 2019.

    >>> import torch
    >>> from bhushgpt.attention import CausalSelfAttention
    >>> block = Block(12, CausalSelfAttention(12, 3), MLP(12))
    >>> block(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self,
        n_embd: int,
        attention: nn.Module,
        mlp: nn.Module,
        *,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.norm_1 = norm(n_embd)
        self.attention = attention
        self.norm_2 = norm(n_embd)
        self.mlp = mlp

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return (B, T, C) for x (B, T, C); the attention is handed `past`, if there is one."""
        given = () if past is None else (past,)  # any part of this shape will do without one
        x = x + self.attention(self.norm_1(x), *given)  # (B, T, C)
        x = x + self.mlp(self.norm_2(x))  # (B, T, C)
        return x
