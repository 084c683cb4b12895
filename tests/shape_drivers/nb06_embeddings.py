"""The hand-made model of notebook 06 reads N = 2 tokens and has M = 13 hidden units."""

import torch

SIZES = {"N": 2, "M": 13}


def drive(nb, s):
    nb.windows_by_loop(torch.randn(s.B, s.T, s.C), s.N)
    model = nb.HandMadeMLP(s.V, s.N, s.C, s.M)
    model(torch.zeros(s.B, s.T, dtype=torch.long))
