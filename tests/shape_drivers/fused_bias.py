"""Runs every shape comment of `fused_bias`, backward included."""

import torch

SIZES = {"N": 10, "I": 13, "O": 17}


def drive(m, s):
    x = torch.randn(2, s.B, s.I, requires_grad=True)
    m.FusedBiasLinear(s.I, s.O)(x).sum().backward()
