"""Attention a few texts at a time, so that its scores stay in the processor's cache.

The scores of a batch are its largest numbers: 64 texts, 8 heads and 128 tokens have 8 million, and
the explicit form carries them to memory and back at every operation. Texts do not look at each
other, so a block of them can go all the way before the next one begins. What autograd would do is
written out: softmax turns the slope d of its result w into w (d - sum(w d)), and the products turn
round.

Letters: B batch, T time, C channels, H heads, D head size, G texts of a block times heads.

Lesson: notebook 14. Source of the idea: Dao et al., "FlashAttention", arXiv 2205.14135.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhushgpt.attention import CausalSelfAttention, causal_mask

BLOCK = 2**20  # scores of a block: 2 to 4 MB


class BlockedAttention(CausalSelfAttention):
    """`CausalSelfAttention` in its explicit form, quicker where a large batch trains on a CPU.

    The weights of attention are computed and kept as there, by blocks. With dropout among them,
    rotary positions, or somebody who looks at them, it is the explicit form itself.

    Lesson: notebook 14.

    >>> attention = BlockedAttention(n_embd=12, n_head=3)
    >>> attention(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        B, T, _ = x.shape
        texts = max(1, BLOCK // (self.n_head * T * T))
        if texts >= B or not self._plain(x):
            return super().forward(x)
        joined = _Blocked.apply(self.qkv(x), self.n_head, texts)  # (B, T, C)
        return self.output_dropout(self.projection(joined))

    def _plain(self, x: Tensor) -> bool:
        """Say whether nothing but the bare formula is wanted, with a gradient, on a CPU."""
        special = self.form == "fused" or self.rotary is not None or self.past is not None
        dropping = self.training and self.weight_dropout.p > 0
        watched = self.weights._forward_hooks or self.weights._forward_pre_hooks
        training = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return x.device.type == "cpu" and training and not (special or dropping or watched)


def _by_head(qkv: Tensor, n_head: int) -> Tensor:
    """Return queries, keys and values (3, G, T, D) of (_, T, 3*C), one after the other."""
    T, D = qkv.shape[1], qkv.shape[2] // (3 * n_head)
    split = qkv.view(-1, T, 3, n_head, D).permute(2, 0, 3, 1, 4)  # (3, _, H, T, D)
    return split.reshape(3, -1, T, D)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, n_head: int, texts: int) -> Tensor:
        B, T, wide = qkv.shape
        C = wide // 3
        D = C // n_head
        mask = causal_mask(T, T).to(qkv.dtype)  # (T, T)
        mixed = qkv.new_empty(B, T, C)
        kept = []
        for part, out in zip(qkv.split(texts), mixed.split(texts), strict=True):
            q, k, v = _by_head(part, n_head)  # 3 x (G, T, D)
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(D))  # (G, T, T)
            kept.append(scores.softmax(dim=-1))
            heads = torch.bmm(kept[-1], v).view(-1, n_head, T, D)  # (_, H, T, D)
            out.view(-1, T, n_head, D).copy_(heads.transpose(1, 2))
        ctx.save_for_backward(qkv, *kept)
        ctx.sizes = n_head, texts
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        qkv, *kept = ctx.saved_tensors
        n_head, texts = ctx.sizes
        T, D = qkv.shape[1], qkv.shape[2] // (3 * n_head)
        slope = torch.empty_like(qkv)
        parts = (tensor.split(texts) for tensor in (qkv, gradient, slope))
        for part, part_gradient, part_slope, w in zip(*parts, kept, strict=True):
            q, k, v = _by_head(part, n_head)  # 3 x (G, T, D)
            heads = part_gradient.view(-1, T, n_head, D).transpose(1, 2)  # (_, H, T, D)
            g = heads.reshape(-1, T, D)  # (G, T, D)
            slopes = q.new_empty(3, *q.shape)
            torch.bmm(w.transpose(1, 2), g, out=slopes[2])
            d = torch.bmm(g, v.transpose(1, 2))  # (G, T, T)
            # torch's name for w (d - sum(w d)), in one pass.
            d = torch.ops.aten._softmax_backward_data(d, w, -1, w.dtype)  # (G, T, T)
            d.mul_(1 / math.sqrt(D))
            torch.bmm(d, k, out=slopes[0])
            torch.bmm(d.transpose(1, 2), q, out=slopes[1])
            by_token = slopes.view(3, -1, n_head, T, D).permute(1, 3, 0, 2, 4)  # (_, T, 3, H, D)
            part_slope.view(-1, T, 3, n_head, D).copy_(by_token)
        return slope, None, None


def use_blocked_attention(model: nn.Module) -> int:
    """Let every attention of a model compute by blocks from now on; return how many there are.

    The modules stay where they are, with their weights, so checkpoints do not notice.

    Lesson: notebook 14.

    >>> use_blocked_attention(nn.Sequential(CausalSelfAttention(n_embd=4, n_head=1)))
    1
    """
    found = [module for module in model.modules() if type(module) is CausalSelfAttention]
    for module in found:
        module.__class__ = BlockedAttention
    return len(found)
