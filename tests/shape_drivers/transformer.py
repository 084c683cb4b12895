"""One block with the parts of its own course."""

import torch

from bhushgpt.attention import CausalSelfAttention


def drive(m, s):
    block = m.Block(s.C, CausalSelfAttention(s.C, s.H), m.MLP(s.C))
    block(torch.randn(s.B, s.T, s.C))
