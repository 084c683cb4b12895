"""All forms, with and without a past: then S is larger than T."""

import torch
from torch import Tensor

from bhushgpt.positions import Rotary

FREE = ("S",)  # T, or two more with a past


class Memory:
    """Two keys and values that came before."""

    length = 2

    def __init__(self, s) -> None:
        self.old = torch.randn(2, s.B, s.H, self.length, s.D)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([self.old[0], keys], 2), torch.cat([self.old[1], values], 2)


def drive(m, s):
    x = torch.randn(s.B, s.T, s.C)
    for form in ("explicit", "fused"):
        attention = m.CausalSelfAttention(
            s.C, s.H, form=form, rotary=Rotary(s.T + Memory.length, s.D)
        )
        attention(x)
        attention(x, Memory(s))
