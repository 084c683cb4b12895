"""Runs the functions of notebook 10: the loop by hand, greedy choice and both filters."""

import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(nb, s):
    model = Bigram(BigramConfig(vocab_size=s.V))
    nb.write(model, torch.randint(s.V, (s.B, s.T)), 2, nb.greedy)
    logits = torch.randn(s.B, s.V)
    nb.greedy(logits)
    nb.top_k_by_hand(logits, 3)
    nb.top_p_by_hand(logits, 0.8)
