"""Thirteen experts, two of them for each token."""

import torch
from torch import nn

SIZES = {"E": 13, "P": 2, "N": 35}


def drive(m, s):
    experts = m.Experts(s.C, n_expert=s.E, per_token=s.P, expert=lambda: nn.Linear(s.C, s.C))
    experts(torch.randn(s.B, s.T, s.C))
    m.imbalance(torch.rand(s.N, s.E))
