"""Attention in two blocks of five texts (G is 5 times H), a layer with its bias; backward, too."""

import torch

SIZES = {"B": 10, "G": 15, "N": 20, "I": 13, "O": 17}


FREE = {"S"}  # as T without a cache


def drive(m, s):
    m.SCORES_AT_ONCE = 5 * s.H * s.T * s.T
    attention = m.QuickAttention(s.C, s.H)
    attention(torch.randn(s.B, s.T, s.C)).sum().backward()
    m.QuickAttention(s.C, s.H, dropout=0.5)(torch.randn(s.B, s.T, s.C))
    x = torch.randn(2, s.B, s.I, requires_grad=True)
    m.FusedBiasLinear(s.I, s.O)(x).sum().backward()
