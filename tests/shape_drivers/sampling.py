import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(m, s):
    model = Bigram(BigramConfig(vocab_size=s.V, context_length=s.T))
    m.sample(model, torch.zeros(s.B, 2, dtype=torch.long), n_tokens=9)
