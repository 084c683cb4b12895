"""Linear layers that add their bias while they multiply.

torch fills the result with the bias first, then multiplies and adds to it: the result, by far the
largest of the three, is written, read and written again. oneDNN, the library inside PyTorch, adds
the bias to a number just before it is written.

Letters: N tokens (B * T), I inputs, O outputs.

Lesson: notebook 14.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FusedBiasLinear(nn.Linear):
    """`nn.Linear`, quicker where a model trains on a CPU; the numbers are the same.

    Lesson: notebook 14.

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
        if self.bias is None or torch.compiler.is_compiling() or input.device.type != "cpu":
            return super().forward(input)
        if not torch.is_grad_enabled() or not can_fuse(dtype):
            return super().forward(input)
        return _FusedBias.apply(input.to(dtype), self.weight.to(dtype), self.bias.to(dtype))


@cache
def can_fuse(dtype: torch.dtype) -> bool:
    """Say whether this PyTorch on this processor adds biases so for numbers of a type.

    Lesson: notebook 14.

    >>> can_fuse(torch.float64)
    False
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


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


def use_fused_bias(model: nn.Module) -> int:
    """Let every linear layer with a bias add it so from now on; return how many there are.

    The modules stay where they are, with their weights, so checkpoints do not notice.

    Lesson: notebook 14.

    >>> use_fused_bias(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False)))
    1
    """
    found = [m for m in model.modules() if type(m) is nn.Linear and m.bias is not None]
    for module in found:
        module.__class__ = FusedBiasLinear
    return len(found)
