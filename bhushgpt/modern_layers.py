"""Parts that today's models have where GPT-2 has others: attention and MLP, each usable alone.

Letters: B batch, T time (new tokens), S time (all tokens seen: T, or more with a cache), C
channels, H heads of queries, K heads of keys and values, G queries that share a head of keys
(H / K), D head size (C / H), W window.

Lesson: notebook 22.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import Form, Past
from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.positions import Rotary


def window_mask(
    n_queries: int, n_keys: int, window: int = 0, device: torch.device | None = None
) -> Tensor:
    """Return what is added to the scores: 0 for a key that may be seen, -infinity for the others.

    A query sees itself and the `window` - 1 tokens before it; with window 0 all before it.

    Returns:
        (T, S) float mask.

    Source: Beltagy et al., "Longformer", arXiv 2004.05150, section 3.1.

    >>> window_mask(4, 4, window=2)
    tensor([[0., -inf, -inf, -inf],
            [0., 0., -inf, -inf],
            [-inf, 0., 0., -inf],
            [-inf, -inf, 0., 0.]])
    """
    queries = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]  # (T, 1)
    keys = torch.arange(n_keys, device=device)  # (S,)
    hidden = keys > queries  # (T, S)
    if window:
        hidden = hidden | (keys <= queries - window)  # (T, S)
    return torch.zeros(n_queries, n_keys, device=device).masked_fill_(hidden, -torch.inf)


class GroupedAttention(nn.Module):
    """Causal self-attention of today: shared keys, normed queries, turned positions, a window.

    With K heads of keys and values for H heads of queries a cache takes K / H of the memory. With
    `qk_norm` each query and key is brought to length sqrt(D), so that no score can pass sqrt(D),
    however large the weights grow. With `window` a token looks W tokens back and no further; what
    lies behind reaches it through the layers in between.

    Args:
        n_embd: C.
        n_head: H, heads of queries; D = C / H.
        n_kv_head: K, heads of keys and values; it divides H. 0 stands for H.
        qk_norm: Whether queries and keys are normed.
        window: W; 0 for the whole past.
        bias: Whether the linear layers have biases.
        dropout: Share of attention weights and of output channels zeroed while training.
        rotary: Turns queries and keys by their position, if given.
        form: As in `CausalSelfAttention`.

    Attributes:
        weights: An identity module that the explicit form's attention weights (B, H, T, S) pass
            through: hook it to look at them.

    Raises:
        UserError: If heads do not fit the channels or each other, or the window is negative.

    Sources: grouped queries: Ainslie et al., arXiv 2305.13245; norm of queries and keys: Henry et
    al., arXiv 2010.04245.

    >>> attention = GroupedAttention(24, 4, n_kv_head=2, qk_norm=True, window=3)
    >>> attention(torch.randn(2, 5, 24)).shape
    torch.Size([2, 5, 24])
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        *,
        n_kv_head: int = 0,
        qk_norm: bool = False,
        window: int = 0,
        bias: bool = False,
        dropout: float = 0.0,
        rotary: Rotary | None = None,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        wrong = misfits(n_embd, n_head, n_kv_head, window)
        if wrong:
            raise UserError("This attention cannot be built: " + "; ".join(wrong) + ".")
        self.n_head = n_head
        self.n_kv_head = n_kv_head or n_head
        self.head_size = n_embd // n_head
        self.qk_norm = qk_norm
        self.window = window
        self.form: Form = form
        wide = (n_head + 2 * self.n_kv_head) * self.head_size
        self.qkv = nn.Linear(n_embd, wide, bias=bias)
        self.projection = nn.Linear(n_embd, n_embd, bias=bias)
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
        heads = self.qkv(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)  # (B, H+2*K, T, D)
        q, k, v = heads.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=1)
        if self.qk_norm:
            q, k = F.rms_norm(q, (self.head_size,)), F.rms_norm(k, (self.head_size,))
        if self.rotary is not None:
            start = 0 if past is None else past.length
            q, k = self.rotary(q, start), self.rotary(k, start)  # (B, H, T, D), (B, K, T, D)
        q, k = q.to(v.dtype), k.to(v.dtype)  # a norm computes in float32 where v is smaller
        if past is not None:
            k, v = past.append(k, v)  # 2 x (B, K, S, D)
        explicit = self.form == "explicit" or (self.form == "auto" and abilities(x.device).host)
        mixed = self.explicit(q, k, v) if explicit else self.fused(q, k, v)  # (B, H, T, D)
        joined = mixed.transpose(1, 2).flatten(2)  # (B, T, C)
        return self.output_dropout(self.projection(joined))

    def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the mix of values (B, H, T, D): the formula as it stands.

        Queries that share a head of keys lie one below the other, so that no key is copied.
        """
        B, H, T, D = q.shape
        K, S = k.shape[1:3]
        G = H // K
        mask = window_mask(T, S, self.window, q.device).to(q.dtype).repeat(G, 1)  # (G*T, S)
        q, k, v = q.reshape(B * K, G * T, D), k.flatten(0, 1), v.flatten(0, 1)
        # The mask is added and the scores are scaled while they are multiplied: nothing else is as
        # large as the scores, and each pass over them counts.
        scores = torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(D))  # (B*K, G*T, S)
        weights = self.weights(scores.softmax(dim=-1).view(B, H, T, S))  # (B, H, T, S)
        dropped = self.weight_dropout(weights).view(B * K, G * T, S)
        return torch.bmm(dropped, v).view(B, H, T, D)

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the same from torch's own function."""
        T, S = q.shape[2], k.shape[2]
        plain = T == S and not self.window
        mask = None if plain else window_mask(T, S, self.window, q.device).to(q.dtype)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=plain,
            dropout_p=self.weight_dropout.p if self.training else 0.0,
            enable_gqa=self.n_kv_head < self.n_head,
        )


def misfits(n_embd: int, n_head: int, n_kv_head: int, window: int) -> list[str]:
    """Return what is wrong about the sizes of a `GroupedAttention`; an empty list is good.

    >>> misfits(24, 4, 3, 0)
    ['n_head 4 is not a multiple of n_kv_head 3: each head of keys serves equally many queries']
    """
    wrong = []
    if n_head < 1 or n_embd % n_head:
        wrong.append(f"n_embd {n_embd} is not a multiple of n_head {n_head}")
    if n_kv_head < 0 or (n_kv_head and n_head % n_kv_head):
        wrong.append(
            f"n_head {n_head} is not a multiple of n_kv_head {n_kv_head}: each head of keys "
            "serves equally many queries"
        )
    if window < 0:
        wrong.append(f"window is {window}, it must be at least 0, which stands for the whole past")
    return wrong


class SquaredReLU(nn.Module):
    """The MLP of notebook 08 with max(0, x)^2 in its middle, and no biases: W2 max(0, W1 x)^2.

    Args:
        n_embd: C; the middle is four times as wide.
        dropout: Share of output channels zeroed while training.

    Source: So et al., "Primer", arXiv 2109.08668.

    >>> SquaredReLU(12)(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(self, n_embd: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.widen = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.projection = nn.Linear(4 * n_embd, n_embd, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        hidden = self.widen(x).relu().square()  # (B, T, 4*C)
        return self.dropout(self.projection(hidden))


def gated_width(n_embd: int) -> int:
    """Return the middle of a `SwiGLU`: 8/3 C, to the next multiple of 8.

    Three matrices instead of two: at two thirds of the width they have as many weights.

    >>> gated_width(128), gated_width(24)
    (344, 64)
    """
    return 8 * math.ceil(n_embd / 3)


class SwiGLU(nn.Module):
    """An MLP in which one half of the middle says how much of the other passes.

        W3 (silu(W1 x) * W2 x),    silu(z) = z / (1 + exp(-z))

    Args:
        n_embd: C.
        dropout: Share of output channels zeroed while training.

    Source: Shazeer, arXiv 2002.05202.

    >>> SwiGLU(12)(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(self, n_embd: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate = nn.Linear(n_embd, gated_width(n_embd), bias=False)
        self.widen = nn.Linear(n_embd, gated_width(n_embd), bias=False)
        self.projection = nn.Linear(gated_width(n_embd), n_embd, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        hidden = F.silu(self.gate(x)) * self.widen(x)  # (B, T, _)
        return self.dropout(self.projection(hidden))
