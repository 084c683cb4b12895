"""Runs the probe models of the first exercise."""

import torch


def drive(m, s):
    m.V = s.V
    m.Probe(lambda hot: hot)(torch.zeros(s.B, s.T, dtype=torch.long))
