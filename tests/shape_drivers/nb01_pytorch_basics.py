"""Runs the functions and classes of notebook 01 with coprime sizes."""

import torch

SIZES = {"M": 13, "N": 17, "C2": 19}


def drive(nb, s):
    nb.matmul_by_loop(torch.randn(s.M, 2), torch.randn(2, s.N))
    nb.softmax(torch.randn(s.B, s.T))
    nb.Affine(s.C, s.C2)(torch.randn(s.B, s.T, s.C))
    parameters = {
        "table": torch.randn(s.V, s.C),
        "qkv": torch.randn(s.C, 3 * s.C),
        "up": torch.randn(4 * s.C, s.C),
        "down": torch.randn(4 * s.C, s.C),
    }
    nb.tiny_gpt(torch.randint(0, s.V, (s.B, s.T)), **parameters)
    nb.loss_of(parameters, torch.randint(0, s.V, (s.B, s.T + 1)))
