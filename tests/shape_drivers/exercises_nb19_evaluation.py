"""Runs the mistakes of the reliability exercise, which say the shapes of their tables."""

import torch


def drive(m, s):
    m._reliability_mistakes(torch.rand(s.T), torch.rand(s.T) > 0.5, bins=4)
