"""GPT-2's GELU, computed with a sigmoid, its slope on the way forward.

    gelu(x) = x/2 (1 + tanh(v)) = x sigmoid(2 v),   2 v = x (k + c x^2)

On a CPU torch's tanh takes three times as long as its sigmoid. And everything that the slope needs
is at hand on the way forward: s + s (1 - s) x (k + 3 c x^2), with s the sigmoid. So the slope is
kept instead of x, which takes as much memory, and backward is a single product.

Lesson: notebook 14.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LINEAR = 2 * math.sqrt(2 / math.pi)  # k
CUBIC = 0.044715 * LINEAR  # c
BLOCK = 2**20  # numbers that are worked on at a time, so that they stay in the cache


class SigmoidGELU(nn.GELU):
    """`nn.GELU` in its tanh form, quicker where a model trains on a CPU.

    Values and slopes are the same up to rounding. Compiled, it is the formula with the sigmoid,
    which becomes one loop with what stands around it.

    Lesson: notebook 14.

    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> gelu = SigmoidGELU(approximate="tanh")
    >>> torch.allclose(gelu(x), nn.GELU(approximate="tanh")(x))
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if self.approximate != "tanh" or input.device.type != "cpu":
            return super().forward(input)
        if torch.compiler.is_compiling():
            return input * torch.sigmoid(input * (LINEAR + CUBIC * input * input))
        small = input.dtype in (torch.float32, torch.bfloat16)  # the others were not measured
        if not (small and torch.is_grad_enabled() and input.requires_grad):
            return super().forward(input)
        return _SigmoidGELU.apply(input)


class _SigmoidGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        one = x.new_full((), LINEAR)
        factors, sigmoids = (x.new_empty(min(BLOCK, x.numel())) for _ in range(2))
        parts = (tensor.view(-1).split(BLOCK) for tensor in (x, y, slope))
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


def use_sigmoid_gelu(model: nn.Module) -> int:
    """Let every GELU in its tanh form be computed so from now on; return how many there are.

    Lesson: notebook 14.

    >>> use_sigmoid_gelu(nn.Sequential(nn.GELU(), nn.GELU(approximate="tanh")))
    1
    """
    found = [m for m in model.modules() if type(m) is nn.GELU and m.approximate == "tanh"]
    for module in found:
        module.__class__ = SigmoidGELU
    return len(found)
