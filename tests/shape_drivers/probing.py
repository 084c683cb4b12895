"""Runs every shape comment of `probing`."""

import torch

SIZES = {"N": 17}


def drive(m, s):
    m.fit_probe(torch.randn(s.N, s.C), torch.arange(s.N) % 2)
