import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(m, s):
    m.next_token_loss(torch.randn(s.B, s.T, s.V), torch.zeros(s.B, s.T, dtype=torch.long))
    model = Bigram(BigramConfig(vocab_size=s.V, context_length=s.T))
    m.sample(model, torch.zeros(s.B, 2, dtype=torch.long), n_tokens=9)
