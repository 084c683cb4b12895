"""Two blocks of five texts, forward and back: G is 5 times H."""

import torch

SIZES = {"B": 10, "G": 15}


def drive(m, s):
    m.BLOCK = 5 * s.H * s.T * s.T
    attention = m.BlockedAttention(s.C, s.H)
    attention(torch.randn(s.B, s.T, s.C)).sum().backward()
