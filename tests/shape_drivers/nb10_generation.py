"""Runs the functions of notebook 10: the loop, greedy choice, the filters, a sliding window."""

from collections import defaultdict

import numpy as np
import torch

from bhushgpt.bigram import Bigram, BigramConfig


def drive(nb, s):
    model = Bigram(BigramConfig(vocab_size=s.V))
    nb.write(model, torch.randint(s.V, (s.B, s.T)), 2, nb.greedy)
    logits = torch.randn(s.B, s.V)
    nb.greedy(logits)
    nb.top_k_by_hand(logits, 3)
    nb.top_p_by_hand(logits, 0.8)
    nb.min_p_by_hand(logits, 0.2)
    nb.seen_after = defaultdict(lambda: np.ones(s.V, dtype=np.float32))
    nb.counted_chances([0, 1, 2, 3, 0])
    nb.device = "cpu"
    nb.one_round(model, [0, 1, 2, 3, 0], torch.Generator())
    heads = torch.randn(2, s.B, s.H, s.T, s.D)
    nb.Sliding(5).append(*heads)
