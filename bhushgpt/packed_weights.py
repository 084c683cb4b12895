"""Weights laid out in the order in which one token reads them.

With one row of input a product waits for the weights to come from memory (notebook 02), and the
usual layout, one output after the other, does not let a CPU read as fast as it can. oneDNN, the
library inside PyTorch, sorts a matrix once into blocks that it then reads in a row; in bfloat16
there is also half as much to read.

Letters: I inputs, O outputs.

Lesson: notebook 09.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT


class PackedLinear(nn.Module):
    """A linear layer for a CPU whose weights were sorted for few rows of input.

    Args:
        linear: The layer it stands for, on the CPU.
        dtype: Of the weights and of the product: float32 or bfloat16. Input and result keep theirs.

    Lesson: notebook 09.

    >>> layer = nn.Linear(64, 32)
    >>> x = torch.ones(3, 64)
    >>> torch.allclose(PackedLinear(layer, torch.float32)(x), layer(x), atol=1e-5)
    True
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.bfloat16) -> None:
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


def with_packed_weights(model: GPT, dtype: torch.dtype = torch.bfloat16) -> GPT:
    """Return a copy of a GPT for generation on a CPU, the weights of its linear layers sorted.

    Raises:
        UserError: If the model is on another device, or this torch has no oneDNN.

    Lesson: notebook 09.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=2, n_embd=32))
    >>> with_packed_weights(model)(torch.tensor([[1, 2]])).shape
    torch.Size([1, 2, 7])
    """
    kind = next(model.parameters()).device.type
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        where = f"on the device {kind}" if kind != "cpu" else "in this build of PyTorch"
        raise UserError(
            f"Weights cannot be sorted {where}: that is a means of oneDNN for CPUs. Use "
            "model.bfloat16() there."
        )
    packed = copy.deepcopy(model)
    for parent in list(packed.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, PackedLinear(child, dtype))
    return packed.eval().requires_grad_(False)
