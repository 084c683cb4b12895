"""int8 weights with few rows and with many; weights sorted for reading."""

import torch
from torch import nn

SIZES = {"O": 64, "I": 96}
FREE = {"N"}


def drive(m, s):
    layer = m.Int8Linear(nn.Linear(s.I, s.O))
    layer(torch.randn(2, s.I))
    layer(torch.randn(m.FEW_ROWS + 1, s.I))
    m.PackedLinear(nn.Linear(s.I, s.O), torch.float32)(torch.randn(s.B, s.T, s.I))
