"""Runs every shape comment of `fast_generation`: a cached text, and prompts together."""

import torch

from bhushgpt.gpt import GPT, GPTConfig


def drive(m, s):
    sizes = {"vocab_size": s.V, "context_length": s.T + 4, "n_head": s.H, "n_embd": s.C}
    model = GPT(GPTConfig(n_layer=1, **sizes)).eval()
    fast, ids = m.FastCached(model), torch.randint(s.V, (s.B, s.T + 1))
    fast(ids[:, :-1])
    fast(ids)
    texts = [list(range(1, 2 + i)) for i in range(s.B - 1)] + [[1] * s.T]
    list(m.generate_together(model, texts, 3))
