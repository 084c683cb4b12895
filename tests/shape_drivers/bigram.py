import numpy as np
import torch


def drive(m, s):
    text = np.random.default_rng(0).integers(0, s.V, 100)
    m.CountedBigram(text, s.V).loss(text)
    model = m.Bigram(m.BigramConfig(vocab_size=s.V, context_length=s.T))
    model(torch.zeros(s.B, s.T, dtype=torch.long))
