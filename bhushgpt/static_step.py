"""One step of generation in which no shape ever changes, so that it can be compiled or recorded.

`Cached` gives attention one key more at every step. Here the keys have their full length from the
start, and a mask hides the places that are still empty. Then every step runs the same code on
memory in the same place: torch.compile turns it into one program, and a GPU can replay it without
hearing of each operation from Python. Where nothing is compiled or recorded, the same step may
look at the filled places only.

Letters: B batch, C channels, H heads, D head size, S places that attention looks at, V vocabulary.

Lesson: notebook 09.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.gpt import GPT
from bhushgpt.int8_weights import Int8Linear
from bhushgpt.packed_weights import PackedLinear
from bhushgpt.positions import Positions, Rotary
from bhushgpt.transformer import MLP, Block

Function = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """The parts of a block as plain functions, and the keys and values kept for it."""

    norm_1: Function
    qkv: Function
    rotary: Rotary | None
    n_head: int
    head_size: int
    projection: Function
    norm_2: Function
    widen: Function
    activation: Function
    narrow: Function
    store: Tensor


def _layer(block: Block, store: Tensor) -> _Layer:
    attention, mlp = cast(CausalSelfAttention, block.attention), cast(MLP, block.mlp)
    n_rows = store.shape[1]
    return _Layer(
        norm_1=plain_function(block.norm_1, n_rows),
        qkv=plain_function(attention.qkv, n_rows),
        rotary=attention.rotary,
        n_head=attention.n_head,
        head_size=attention.head_size,
        projection=plain_function(attention.projection, n_rows),
        norm_2=plain_function(block.norm_2, n_rows),
        widen=plain_function(mlp.widen, n_rows),
        activation=plain_function(mlp.activation, n_rows),
        narrow=plain_function(mlp.projection, n_rows),
        store=store,
    )


def plain_function(module: nn.Module, n_rows: int) -> Function:
    """Return what a module computes for (B, I) as a function that looks nothing up.

    A small model's product is over in microseconds, and a module takes half as long again to find
    its weights and look for hooks. Of a kind not known here, the module itself is returned.

    Args:
        module: A norm, a linear layer of any kind, or an activation.
        n_rows: B.

    Lesson: notebook 09.

    >>> norm = nn.LayerNorm(4)
    >>> x = torch.randn(2, 4)
    >>> torch.equal(plain_function(norm, 2)(x), norm(x))
    True
    """
    if isinstance(module, Int8Linear):
        return module.function(n_rows)
    if isinstance(module, PackedLinear):
        return module.function()
    if type(module) is nn.Linear:
        return partial(F.linear, weight=module.weight, bias=module.bias)
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if isinstance(module, nn.GELU):
        return partial(F.gelu, approximate=module.approximate)
    return module


class StaticStep(nn.Module):
    """Computes the logits of one new token a row, each row at a place of its own.

    It uses the weights of the model and is no copy; hooks of its blocks are not called. Rows may
    stand at different places, as prompts of different lengths do. Nothing is dropped, whatever mode
    the model is in.

    Args:
        model: A GPT.
        stores: For each block its keys and values, (2, B, H, S, D), filled up to the places.
        filled_only: Whether attention reads only what is filled and leaves the rest of the cache
            alone. That is less to read, but then shapes do grow: not for compiling or recording.

    Lesson: notebook 09.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> step = StaticStep(model, [torch.zeros(2, 5, 3, 8, 4)])
    >>> step(torch.zeros(5, 1, dtype=torch.long), torch.zeros(5, dtype=torch.long)).shape
    torch.Size([5, 7])
    """

    places: Tensor
    rows: Tensor

    def __init__(self, model: GPT, stores: list[Tensor], *, filled_only: bool = False) -> None:
        super().__init__()
        # Not submodules: whoever walks through this module need not walk through the whole GPT.
        self._model, self.filled_only = (model,), filled_only
        pairs = zip(model.blocks, stores, strict=True)
        self._layers = [_layer(cast(Block, block), store) for block, store in pairs]
        n_rows, capacity = stores[0].shape[1], stores[0].shape[3]
        self.register_buffer("places", torch.arange(capacity, device=stores[0].device))
        self.register_buffer("rows", torch.arange(n_rows, device=stores[0].device))

    def forward(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return logits (B, V) after the ids (B, 1), which stand at the places `at` (B,)."""
        model = self._model[0]
        x = model.tokens(ids[:, 0])  # (B, C)
        if model.positions is not None:
            x = x + cast(Positions, model.positions).weight[at]  # (B, C)
        end, mask = self._visible(at, x.dtype)
        for layer in self._layers:
            x = x + self._attend(layer, layer.norm_1(x), at, end, mask)  # (B, C)
            hidden = layer.activation(layer.widen(layer.norm_2(x)))  # (B, 4*C)
            x = x + layer.narrow(hidden)  # (B, C)
        logits = model.head(model.norm(x))  # (B, V)
        return logits

    def _visible(self, at: Tensor, dtype: torch.dtype) -> tuple[int, Tensor | None]:
        """Return how many places attention reads, and what hides the empty ones from each row."""
        end = len(self.places)
        if self.filled_only:
            filled = at.tolist()
            end = max(filled) + 1
            if min(filled) == max(filled):  # all rows stand at the end: nothing is to be hidden
                return end, None
        hidden = self.places[:end] > at[:, None]  # (B, S)
        mask = torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, -torch.inf)  # (B, S)
        return end, mask[:, None, None]

    def _attend(
        self, layer: _Layer, x: Tensor, at: Tensor, end: int, mask: Tensor | None
    ) -> Tensor:
        B, H, D = x.shape[0], layer.n_head, layer.head_size
        qkv = layer.qkv(x).view(B, 3, H, D)  # (B, 3, H, D)
        if layer.rotary is not None:
            q, k, v = qkv.unbind(1)  # 3 x (B, H, D)
            q, k = turned(layer.rotary, q, at), turned(layer.rotary, k, at)  # 2 x (B, H, D)
            qkv = torch.stack([q, k, v], dim=1)  # (B, 3, H, D)
        # Keys and values lie side by side here and in the store: one operation writes both.
        layer.store[:, self.rows, :, at] = qkv[:, 1:].to(layer.store.dtype)
        keys, values = layer.store.narrow(3, 0, end).to(x.dtype).unbind()  # 2 x (B, H, S, D)
        # For one query no form stores more than a row of scores; the fused one is a single call.
        mixed = F.scaled_dot_product_attention(
            qkv[:, 0, :, None], keys, values, attn_mask=mask
        )  # (B, H, 1, D)
        return layer.projection(mixed.reshape(B, H * D))


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
