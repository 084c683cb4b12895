"""Weights in one byte each: a quarter of the memory to read for every token.

A token of generation reads each weight once and does two operations with it, so memory decides
(notebook 02). Each row of a weight matrix is divided by its largest value / 127 and rounded; the
product is multiplied by that again. Inputs stay as they are.

And weights laid out in the order in which one token reads them. With one row of input a product
waits for the weights to come from memory (notebook 02), and the usual layout, one output after the
other, does not let a CPU read as fast as it can. oneDNN, the library inside PyTorch, sorts a matrix
once into blocks that it then reads in a row; in bfloat16 there is also half as much to read.

Letters: N rows of input, I inputs, O outputs.

Lesson: notebook 10. Source: Dettmers et al., "LLM.int8()", arXiv 2208.07339, without its outliers.
"""

import copy
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT

# From so many rows on arithmetic decides and not memory, and torch's int8 product is the slower.
FEW_ROWS = 16


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8 numbers with one scale for each output.

    Args:
        linear: The layer it stands for.

    Attributes:
        weight: (O, I) int8.
        scales: (O,) the value of one int8 step.

    >>> layer = Int8Linear(nn.Linear(64, 32))
    >>> layer.weight.dtype, layer(torch.ones(3, 64)).shape
    (torch.int8, torch.Size([3, 32]))
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()  # (O, I)
        scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127  # (O,)
        # bfloat16 first: the rounding of the scales is then undone by the rounding of the weights.
        scales = scales.bfloat16()
        self.register_buffer("scales", scales)
        steps = (weight / scales.float()[:, None]).round().clamp(-127, 127)  # (O, I)
        self.register_buffer("weight", steps.to(torch.int8))
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for x (..., I), in the type of x."""
        rows = x.reshape(-1, x.shape[-1])  # (N, I)
        result = self.function(len(rows))(rows)  # (N, O)
        return result.to(x.dtype).view(*x.shape[:-1], len(self.scales))

    def function(self, n_rows: int) -> Callable[[Tensor], Tensor]:
        """Return what maps n_rows inputs (N, I) to outputs (N, O) and looks nothing up.

        For a step of generation, where a module takes half as long as the product to look them up.
        The outputs have the type of the bias.
        """
        weight, scales, bias = self.weight, self.scales, self.bias
        int8_product = torch.ops.aten._weight_int8pack_mm.default

        def few(x: Tensor) -> Tensor:
            product = int8_product(x.bfloat16(), weight, scales)  # (N, O)
            # bfloat16 and float32 make float32: the sum needs no conversion of its own.
            return product.to(x.dtype) if bias is None else product + bias

        def many(x: Tensor) -> Tensor:
            product = F.linear(x.bfloat16(), weight.bfloat16()) * scales  # (N, O)
            return product.to(x.dtype) if bias is None else product + bias

        return few if n_rows <= FEW_ROWS else many


def with_int8_weights(model: GPT) -> GPT:
    """Return a copy of a GPT for generation, every linear layer with int8 weights.

    The table of token vectors stays as it is, since only one row of it is read for each token. It
    is no model to train: int8 numbers have no gradient.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=2, n_embd=32))
    >>> weight_bytes(with_int8_weights(model)) < 0.4 * weight_bytes(model)
    True
    """
    small = copy.deepcopy(model)
    for parent in list(small.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))
    return small.eval().requires_grad_(False)


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of all weights and scales; a tied weight counts once.

    >>> weight_bytes(nn.Linear(3, 2))
    32
    """
    own = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in own}.values())


@cache
def has_onednn(dtype: torch.dtype) -> bool:
    """Say whether oneDNN multiplies numbers of a type here: in this PyTorch, on this processor.

    For bfloat16 a processor must have AVX-512 or newer instructions; many laptops have not.

    >>> has_onednn(torch.float64)
    False
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


class PackedLinear(nn.Module):
    """A linear layer for a CPU whose weights were sorted for few rows of input.

    Args:
        linear: The layer it stands for, on the CPU.
        dtype: Of the weights and of the product: float32 or bfloat16. Input and result keep theirs.

    >>> layer = nn.Linear(64, 32)
    >>> x = torch.ones(3, 64)
    >>> torch.allclose(PackedLinear(layer, torch.float32)(x), layer(x), atol=1e-5)
    True
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        weight = linear.weight.detach().to(dtype)  # (O, I)
        # An opaque tensor: its layout is the library's own, so it is no buffer to save or move.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, 1)
        bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for x (..., I), in the type of x."""
        return self.function()(x)

    def function(self) -> Callable[[Tensor], Tensor]:
        """Return what `forward` does as a function that looks nothing up, for a step."""
        packed, bias, dtype = self.packed, self.bias, self.dtype
        product = torch.ops.mkldnn._linear_pointwise.default

        def linear(x: Tensor) -> Tensor:
            return product(x.to(dtype), packed, bias, "none", [], "").to(x.dtype)  # (..., O)

        return linear


def with_packed_weights(model: GPT, dtype: torch.dtype | None = None) -> GPT:
    """Return a copy of a GPT for generation on a CPU, the weights of its linear layers sorted.

    Args:
        model: The model, on the CPU.
        dtype: Of the sorted weights: float32 or bfloat16. Nothing means bfloat16 where oneDNN has
            it on this processor, and else float32.

    Raises:
        UserError: If the model is on another device, or oneDNN has no such numbers here.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=2, n_embd=32))
    >>> with_packed_weights(model)(torch.tensor([[1, 2]])).shape
    torch.Size([1, 2, 7])
    """
    device = next(model.parameters()).device
    if not abilities(device).host:
        raise UserError(
            f"Weights cannot be sorted on the device {device.type}: that is a means of oneDNN for "
            "CPUs. Use model.bfloat16() there."
        )
    if dtype is None:
        dtype = torch.bfloat16 if has_onednn(torch.bfloat16) else torch.float32
    if not has_onednn(dtype):
        name = str(dtype).removeprefix("torch.")
        also = " Give it dtype=torch.float32." if has_onednn(torch.float32) else ""
        raise UserError(
            f"Weights cannot be sorted in {name} here: oneDNN does not multiply such numbers in "
            f"this build of PyTorch on this processor.{also}"
        )
    packed = copy.deepcopy(model)
    for parent in list(packed.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, PackedLinear(child, dtype))
    return packed.eval().requires_grad_(False)
