"""Grouped and plain heads, in both forms, with and without a past and a window; both MLPs."""

import torch
from torch import Tensor

from bhushgpt.positions import Rotary

SIZES = {"C": 24, "H": 6, "D": 4, "K": 2, "G": 3}
FREE = ("S",)  # T, or two more with a past


class Memory:
    """Two keys and values that came before."""

    length = 2

    def __init__(self, s) -> None:
        self.old = torch.randn(2, s.B, s.K, self.length, s.D)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([self.old[0], keys], 2), torch.cat([self.old[1], values], 2)


def drive(m, s):
    x = torch.randn(s.B, s.T, s.C)
    for form in ("explicit", "fused"):
        attention = m.GroupedAttention(
            s.C,
            s.H,
            n_kv_head=s.K,
            window=3,
            qk_norm=True,
            rotary=Rotary(s.T + Memory.length, s.D),
            form=form,
        )
        attention(x)
        attention(x, Memory(s))
    m.SquaredReLU(s.C)(x)
    m.SwiGLU(s.C)(x)
