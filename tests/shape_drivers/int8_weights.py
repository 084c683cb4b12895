"""Runs every shape comment of `int8_weights`: few rows and many."""

import torch
from torch import nn

SIZES = {"O": 64, "I": 96}
FREE = {"N"}


def drive(m, s):
    layer = m.Int8Linear(nn.Linear(s.I, s.O))
    layer(torch.randn(2, s.I))
    layer(torch.randn(m.FEW_ROWS + 1, s.I))
