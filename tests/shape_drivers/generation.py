"""Runs every shape comment of `generation`: the filters, and the loop over a bigram."""

import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(m, s):
    logits = torch.randn(s.B, s.V)
    m.keep_top_k(logits, 3)
    m.keep_top_p(logits, 0.9)
    m.keep_min_p(logits, 0.1)
    settings = m.Sampling(temperature=0.8, top_k=5, top_p=0.9, min_p=0.05)
    m.sampling_logits(logits, m.Sampling(temperature=0))
    prompts = torch.randint(s.V, (s.B, s.T))
    list(m.generate(Bigram(BigramConfig(vocab_size=s.V)), prompts, 2, settings))
