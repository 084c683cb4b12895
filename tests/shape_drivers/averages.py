"""Runs every shape comment of `averages`: two tables that predict together."""

import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(m, s):
    tables = [Bigram(BigramConfig(vocab_size=s.V)) for _ in range(2)]
    m.Ensemble(tables)(torch.randint(s.V, (s.B, s.T)))
