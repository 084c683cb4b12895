"""Both tables and the rotation are computed once."""

import torch

SIZES = {"P": 17}  # the longest context, larger than T


def drive(m, s):
    positions = m.sinusoidal_positions(s.P, s.C)
    positions(s.T)
    m.learned_positions(s.P, s.C)
    m.Rotary(s.P, s.D)(torch.randn(s.B, s.H, s.T, s.D), start=2)
