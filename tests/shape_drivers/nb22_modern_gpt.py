"""Runs grouped attention by hand: three heads of queries on one of keys."""

import torch


def drive(nb, s):
    k, v = torch.randn(2, s.B, 1, s.T, s.D)
    nb.grouped_by_hand(torch.randn(s.B, s.H, s.T, s.D), k, v)
