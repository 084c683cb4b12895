"""Runs every shape comment of `packed_weights`."""

import torch
from torch import nn

SIZES = {"O": 64, "I": 96}


def drive(m, s):
    m.PackedLinear(nn.Linear(s.I, s.O))(torch.randn(s.B, s.T, s.I))
