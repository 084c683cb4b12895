"""A last chunk that is shorter than the others: K varies."""

import torch

SIZES = {"N": 13}
FREE = ("K",)


def drive(m, s):
    hidden = torch.randn(s.N, s.C, requires_grad=True)
    weight = torch.randn(s.V, s.C, requires_grad=True)
    targets = torch.zeros(s.N, dtype=torch.long)
    m.chunked_loss(hidden, weight, targets, 5).backward()
    m.chunked_loss(hidden, weight, targets, 5, weights=torch.ones(s.N)).backward()
