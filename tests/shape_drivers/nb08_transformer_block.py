"""The modules of notebook 08 at the course's sizes."""

import torch


def drive(nb, s):
    x = torch.randn(s.B, s.T, s.C)
    nb.HandMadeMLP(s.C)(x)
    nb.HandMadeBlock(s.C, s.H)(x)
    # The tower's attention has four heads: it takes any width that is a multiple of four.
    tower = nb.Tower(nb.pre_norm_way, s.V, s.C, depth=2)
    tower(torch.zeros(s.B, s.T, dtype=torch.long))
