"""Layers of a GPT in the forms that are quickest where it trains on a CPU; the same numbers.

Attention a few texts at a time, so that its scores stay in the processor's cache. The scores of a
batch are its largest numbers: 64 texts, 8 heads and 128 tokens have 8 million, and the explicit
form carries them to memory and back at every operation. Texts do not look at each other, so a block
of them can go all the way before the next one begins. What autograd would do is written out:
softmax turns the slope d of its result w into w (d - sum(w d)), and the products turn round.

Dropout whose mask costs a fifth of torch's. torch draws a real number for every activation. But a
mask needs one bit of news about each, so a draw of 64 random bits can be cut into four numbers of
16 bits, and a number below the threshold switches its activation off.

GPT-2's GELU, computed with a sigmoid, its slope on the way forward.

    gelu(x) = x/2 (1 + tanh(v)) = x sigmoid(2 v),   2 v = x (k + c x^2)

torch's tanh takes three times as long as its sigmoid. And everything that the slope needs is at
hand on the way forward: s + s (1 - s) x (k + 3 c x^2), with s the sigmoid. So the slope is kept
instead of x, which takes as much memory, and backward is a single product.

Linear layers that add their bias while they multiply. torch fills the result with the bias first,
then multiplies and adds to it: the result, by far the largest of the three, is written, read and
written again. oneDNN, the library inside PyTorch, adds the bias to a number just before it is
written.

Letters: B batch, T time, S time (all tokens seen), C channels, H heads, D head size, G texts of a
block times heads, N tokens (B * T), I inputs, O outputs.

Lesson: notebook 15. Source of the idea: Dao et al., "FlashAttention", arXiv 2205.14135.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhushgpt.attention import CausalSelfAttention, Past, causal_mask
from bhushgpt.devices import abilities
from bhushgpt.speed.small_weights import has_onednn

SCORES_AT_ONCE = 2**20  # scores of a block: 2 to 4 MB


class QuickAttention(CausalSelfAttention):
    """`CausalSelfAttention` in its explicit form, quicker on a CPU; the numbers are the same.

    One operation adds the mask, multiplies and scales. Where a large batch trains, the weights of
    attention are computed and kept by blocks; not so with dropout among them, rotary positions, or
    somebody who looks at them.

    >>> attention = QuickAttention(n_embd=12, n_head=3)
    >>> attention(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        B, T, _ = x.shape
        texts = max(1, SCORES_AT_ONCE // (self.n_head * T * T))
        if texts >= B or past is not None or not self._plain(x):
            return super().forward(x, past)
        joined = _Blocked.apply(self.qkv(x), self.n_head, texts)  # (B, T, C)
        return self.output_dropout(self.projection(joined))

    def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the mix of values (B, H, T, D), with half the passes over the scores."""
        B, H, T, D = q.shape
        S = k.shape[2]
        q, k, v = (each.reshape(B * H, -1, D) for each in (q, k, v))
        mask = causal_mask(T, S, q.device).to(q.dtype)  # (T, S)
        scores = torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(D))  # (B*H, T, S)
        weights = self.weights(scores.softmax(dim=-1).view(B, H, T, S))  # (B, H, T, S)
        return torch.bmm(self.weight_dropout(weights).flatten(0, 1), v).view(B, H, T, D)

    def _plain(self, x: Tensor) -> bool:
        """Say whether nothing but the bare formula is wanted, with a gradient, on a CPU."""
        special = self.form == "fused" or self.rotary is not None
        dropping = self.training and self.weight_dropout.p > 0
        watched = self.weights._forward_hooks or self.weights._forward_pre_hooks
        training = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return abilities(x.device).host and training and not (special or dropping or watched)


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


LEVELS = 2**16


def random_mask(shape: torch.Size, dropout: float, dtype: torch.dtype) -> Tensor:
    """Return ones and zeros of a shape on the CPU, each zero with probability `dropout`.

    The probability is rounded to a multiple of 1/65536 (`kept_share` gives the true one). The
    draws come from torch's global random numbers, so a seed decides them.

    >>> _ = torch.manual_seed(0)
    >>> mask = random_mask(torch.Size([100, 100]), 0.25, torch.float32)
    >>> mask.unique().tolist(), 0.23 < 1 - mask.mean().item() < 0.27
    ([0.0, 1.0], True)
    """
    count = shape.numel()
    # From the lowest int64 on: the usual range starts at 0 and would leave the top bit unused.
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[:count]
    kept = levels.ge_(_threshold(dropout))  # in place: a mask of 0 and 1, still 16 bits each
    if dtype == torch.bfloat16:
        # 0x3F80 are the bits of 1.0. Converting would take longer than drawing did.
        return kept.mul_(0x3F80).view(torch.bfloat16).view(shape)
    return kept.view(shape).to(dtype)


# A compiler cannot follow bits that are read as another type, and so is told the shape. It takes
# two equal calls for one, whatever is said about them: a number drawn anew tells them apart.
@torch.library.custom_op("bhushgpt::random_mask", mutates_args=())
def _compiled_mask(drawn: Tensor, shape: list[int], dropout: float, dtype: torch.dtype) -> Tensor:
    return random_mask(torch.Size(shape), dropout, dtype)


@_compiled_mask.register_fake
def _(drawn: Tensor, shape: list[int], dropout: float, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def kept_share(dropout: float) -> float:
    """Return the share of activations that `random_mask` keeps, a multiple of 1/65536.

    >>> kept_share(0.5), round(kept_share(0.1), 6)
    (0.5, 0.899994)
    """
    return 1 - (_threshold(dropout) + LEVELS // 2) / LEVELS


def _threshold(dropout: float) -> int:
    """Return the lowest 16-bit level, of those from -32768 to 32767, that is kept."""
    return min(round(dropout * LEVELS) - LEVELS // 2, LEVELS // 2 - 1)


class CheapDropout(nn.Dropout):
    """`nn.Dropout`, drawn cheaply where the activations are on the CPU.

    The rule is the same: while training each number is zeroed with probability p, and the others
    are divided by the share that is kept, so that the mean stays.

    >>> dropout = CheapDropout(0.5)
    >>> sorted(dropout(torch.ones(64)).unique().tolist())
    [0.0, 2.0]
    >>> bool((dropout.eval()(torch.ones(64)) == 1).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the same shape, thinned out while training."""
        if not self.training or not 0 < self.p < 1 or not abilities(input.device).host:
            return super().forward(input)
        if torch.compiler.is_compiling():
            # The compiler finds its own way back; PyTorch 2.11 loses the slope of `_Masked`.
            mask = _compiled_mask(torch.rand(()), list(input.shape), self.p, input.dtype)
            return input * mask * (1 / kept_share(self.p))
        mask = random_mask(input.shape, self.p, input.dtype)
        return cast(Tensor, _Masked.apply(input, mask, self.p))


class _Masked(torch.autograd.Function):
    """x * mask / kept, which keeps the mask alone for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, dropout: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = 1 / kept_share(dropout)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None, None


LINEAR = 2 * math.sqrt(2 / math.pi)  # k
CUBIC = 0.044715 * LINEAR  # c
NUMBERS_AT_ONCE = 2**20  # numbers that are worked on at a time, so that they stay in the cache


class SigmoidGELU(nn.GELU):
    """`nn.GELU` in its tanh form, quicker where a model trains on a CPU.

    Values and slopes are the same up to rounding. Compiled, it is the formula with the sigmoid,
    which becomes one loop with what stands around it.

    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> gelu = SigmoidGELU(approximate="tanh")
    >>> torch.allclose(gelu(x), nn.GELU(approximate="tanh")(x))
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if self.approximate != "tanh" or not abilities(input.device).host:
            return super().forward(input)
        if torch.compiler.is_compiling():
            return input * torch.sigmoid(input * (LINEAR + CUBIC * input * input))
        small = input.dtype in (torch.float32, torch.bfloat16)  # the others were not measured
        if not (small and torch.is_grad_enabled() and input.requires_grad):
            return super().forward(input)
        return cast(Tensor, _SigmoidGELU.apply(input))


class _SigmoidGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        one = x.new_full((), LINEAR)
        factors, sigmoids = (x.new_empty(min(NUMBERS_AT_ONCE, x.numel())) for _ in range(2))
        parts = (tensor.view(-1).split(NUMBERS_AT_ONCE) for tensor in (x, y, slope))
        for x_part, y_part, slope_part in zip(*parts, strict=True):
            factor, s = factors[: len(x_part)], sigmoids[: len(x_part)]
            torch.addcmul(one, x_part, x_part, value=CUBIC, out=factor)
            torch.sigmoid(torch.mul(factor, x_part, out=s), out=s)
            torch.mul(x_part, s, out=y_part)
            torch.addcmul(one, x_part, x_part, value=3 * CUBIC, out=factor)
            # This is torch's name for x s (1 - s).
            torch.ops.aten.sigmoid_backward.grad_input(x_part, s, grad_input=slope_part)
            torch.addcmul(s, slope_part, factor, out=slope_part)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return gradient * slope


class FusedBiasLinear(nn.Linear):
    """`nn.Linear`, quicker where a model trains on a CPU; the numbers are the same.

    >>> layer = FusedBiasLinear(4, 3)
    >>> x = torch.randn(2, 5, 4)
    >>> torch.allclose(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., O) for (..., I)."""
        dtype = input.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        if self.bias is None or torch.compiler.is_compiling() or not abilities(input.device).host:
            return super().forward(input)
        if not torch.is_grad_enabled() or not has_onednn(dtype) or input.dim() < 2:
            return super().forward(input)
        return cast(
            Tensor, _FusedBias.apply(input.to(dtype), self.weight.to(dtype), self.bias.to(dtype))
        )


class _FusedBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        slope = gradient.flatten(0, -2)  # (N, O)
        x_grad, weight_grad, bias_grad = None, None, None
        if ctx.needs_input_grad[0]:
            x_grad = (slope @ weight).view(x.shape)  # (..., I)
        if ctx.needs_input_grad[1]:
            weight_grad = slope.t() @ x.flatten(0, -2)  # (O, I)
        if ctx.needs_input_grad[2]:
            bias_grad = slope.sum(dim=0)  # (O,)
        return x_grad, weight_grad, bias_grad


QUICK: dict[type[nn.Module], type[nn.Module]] = {
    CausalSelfAttention: QuickAttention,
    nn.Linear: FusedBiasLinear,
    nn.GELU: SigmoidGELU,
}
"""What a layer is computed with instead, in a view of a model that trains on a CPU."""
