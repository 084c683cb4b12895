"""One step of generation in which no shape ever changes, so that it can be compiled or recorded.

`Cached` gives attention one key more at every step. Here the keys have their full length from the
start, and a mask hides the places that are still empty. Then every step runs the same code on
memory in the same place: torch.compile turns it into one program, and a GPU can replay it without
hearing of each operation from Python.

Letters: B batch, C channels, H heads, D head size, S capacity of the cache, V vocabulary.

Lesson: notebook 09.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.gpt import GPT
from bhushgpt.positions import Positions, Rotary
from bhushgpt.transformer import Block


class StaticStep(nn.Module):
    """Computes the logits of one new token a row, each row at a place of its own.

    It uses the weights of the model and is no copy. Rows may stand at different places, as prompts
    of different lengths do.

    Args:
        model: A GPT.
        stores: For each block its keys and values, (2, B, H, S, D), filled up to the places.

    Lesson: notebook 09.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> step = StaticStep(model, [torch.zeros(2, 5, 3, 8, 4)])
    >>> step(torch.zeros(5, 1, dtype=torch.long), torch.zeros(5, dtype=torch.long)).shape
    torch.Size([5, 7])
    """

    places: Tensor
    rows: Tensor

    def __init__(self, model: GPT, stores: list[Tensor]) -> None:
        super().__init__()
        # Not submodules: whoever walks through this module need not walk through the whole GPT.
        self._model, self._stores = (model,), stores
        n_rows, capacity = stores[0].shape[1], stores[0].shape[3]
        self.register_buffer("places", torch.arange(capacity, device=stores[0].device))
        self.register_buffer("rows", torch.arange(n_rows, device=stores[0].device))

    def forward(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return logits (B, V) after the ids (B, 1), which stand at the places `at` (B,)."""
        model = self._model[0]
        x = model.tokens(ids)  # (B, 1, C)
        if model.positions is not None:
            x = x + cast(Positions, model.positions).weight[at][:, None]  # (B, 1, C)
        hidden = self.places > at[:, None]  # (B, S)
        mask = torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, -torch.inf)  # (B, S)
        for block, store in zip(model.blocks, self._stores, strict=True):
            block = cast(Block, block)
            x = x + self._attend(block, block.norm_1(x), store, at, mask)  # (B, 1, C)
            x = x + block.mlp(block.norm_2(x))  # (B, 1, C)
        logits = model.head(model.norm(x))[:, 0]  # (B, V)
        return logits

    def _attend(self, block: Block, x: Tensor, store: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        attention = cast(CausalSelfAttention, block.attention)
        B, H, D = len(x), attention.n_head, attention.head_size
        q, k, v = attention.qkv(x).view(B, 3, H, D).unbind(1)  # 3 x (B, H, D)
        if attention.rotary is not None:
            q, k = turned(attention.rotary, q, at), turned(attention.rotary, k, at)  # 2 x (B, H, D)
        store[0, self.rows, :, at] = k.to(store.dtype)
        store[1, self.rows, :, at] = v.to(store.dtype)
        keys, values = store[0].to(q.dtype), store[1].to(q.dtype)  # 2 x (B, H, S, D)
        # For one query no form stores more than a row of scores; the fused one is a single call.
        mixed = F.scaled_dot_product_attention(
            q[:, :, None], keys, values, attn_mask=mask[:, None, None].to(q.dtype)
        )  # (B, H, 1, D)
        return attention.projection(mixed.reshape(B, 1, H * D))


def turned(rotary: Rotary, x: Tensor, at: Tensor) -> Tensor:
    """Return queries or keys x (B, H, D), turned for the places at (B,): each row by its own.

    Lesson: notebook 09.

    >>> x, rotary = torch.randn(2, 3, 4), Rotary(8, 4)
    >>> torch.allclose(turned(rotary, x, torch.tensor([5, 0]))[1], x[1])
    True
    """
    cosines = rotary.cosines[at][:, None].to(x.dtype)  # (B, 1, D//2)
    sines = rotary.sines[at][:, None].to(x.dtype)  # (B, 1, D//2)
    first, second = x.chunk(2, dim=-1)  # 2 x (B, H, D//2)
    both = torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)
    return both  # (B, H, D)
