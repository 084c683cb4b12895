"""A last chunk that is shorter than the others: K varies."""

import torch

SIZES = {"N": 13}
FREE = ("K",)


def drive(m, s):
    hidden = torch.randn(s.N, s.C, requires_grad=True)
    weight = torch.randn(s.V, s.C, requires_grad=True)
    m.chunked_loss(hidden, weight, torch.zeros(s.N, dtype=torch.long), 5).backward()
