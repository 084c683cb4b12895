"""The model of notebook 06 reads N = 2 tokens of C channels, with M = 13 hidden units."""

import torch

SIZES = {"N": 2, "M": 13}


def drive(m, s):
    config = m.MLPConfig(vocab_size=s.V, context_length=s.N, n_embd=s.C, n_hidden=s.M)
    config.build()(torch.randint(s.V, (s.B, s.T)))
